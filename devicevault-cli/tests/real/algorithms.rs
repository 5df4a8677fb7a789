//! Servers that speak one old algorithm of a kind: what their owner is told, and whether that leads there.

use std::process::Command;

use crate::devicevault::Person;
use crate::place::Place;
use crate::process::{program, run};
use crate::sshd::Sshd;
use crate::user::User;

/// What a server is restricted to, and the profile that the program names.
const OLD: [(&str, &str); 11] = [
    ("KexAlgorithms diffie-hellman-group1-sha1", "ancient"),
    ("KexAlgorithms diffie-hellman-group14-sha1", "legacy"),
    ("KexAlgorithms diffie-hellman-group-exchange-sha1", "legacy"),
    ("Ciphers aes128-cbc", "legacy"),
    ("Ciphers aes192-cbc", "legacy"),
    ("Ciphers aes256-cbc", "legacy"),
    ("Ciphers 3des-cbc", "ancient"),
    ("Ciphers aes256-ctr\nMACs hmac-sha1", "legacy"),
    ("HostKeyAlgorithms ssh-rsa", "legacy"),
    ("HostKeyAlgorithms ssh-dss", "ancient"),
    // What no profile has.
    ("Ciphers aes256-ctr\nMACs hmac-md5", "openssh"),
];

#[test]
#[ignore = "needs sshd, ssh and root"]
fn each_old_algorithm_is_refused_with_the_way_that_leads_there() {
    let (user, place) = (User::add(), Place::new());
    for kind in ["rsa", "dsa"] {
        let file = place.join(kind);
        run(Command::new(program("ssh-keygen")).args(["-q", "-N", "", "-C", "", "-t", kind, "-f"]).arg(file));
    }
    let keys = format!("HostKey {0}/rsa\nHostKey {0}/dsa\n", place.path().display());
    for (only, way) in OLD {
        let sshd = Sshd::start(&format!("{keys}PasswordAuthentication yes\n{only}"));
        let person = Person::new();
        let back_up = |more: &[&str]| person.back_up(sshd.port, "linux", &user.name, &user.password, more);
        let refused = back_up(&[]);
        assert!(refused.code == 1 && refused.shows("unsupported"), "{only}: {refused:?}");
        // Both lists are told, and what to write.
        let last = only.rsplit(' ').next().unwrap_or_default();
        assert!(refused.shows("(ours: ") && refused.shows(&format!("the server's: {last}")), "{only}: {refused:?}");
        let told: &[&str] = match way {
            "openssh" => &["--transport", "openssh", "--ssh-profile", "ancient"],
            profile => &["--ssh-profile", profile],
        };
        let words = told.get(..2).unwrap_or_default().join(" ");
        assert!(refused.shows(&words), "{only}: {refused:?}");
        back_up(told).good();
        if way == "ancient" {
            assert!(back_up(&["--ssh-profile", "legacy"]).shows("--ssh-profile ancient"), "{only}");
        }
    }
}
