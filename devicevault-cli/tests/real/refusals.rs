//! Logins and host keys that are not accepted.

use std::path::Path;

use crate::devicevault::Person;
use crate::dropbear::Dropbear;
use crate::process::free_port;
use crate::sshd::Sshd;
use crate::user::User;

/// No file below this folder is a backup or its manifest.
fn assert_nothing_stored(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            // What the program keeps for itself (host keys, its catalog) begins with a dot.
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if entry.path().is_dir() && !hidden {
                folders.push(entry.path());
            } else {
                assert!(hidden, "{} was stored", entry.path().display());
            }
        }
    }
}

#[test]
#[ignore = "needs sshd and root"]
fn a_wrong_password_is_tried_once() {
    let (user, person) = (User::add(), Person::new());
    // Both ways to give a password are open: the second one would be a second attempt.
    let sshd = Sshd::start("PasswordAuthentication yes\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no");
    let answer = person.back_up(sshd.port, "linux", &user.name, "not the password", &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.out.contains("auth_rejected") || answer.err.contains("rejected"), "{answer:?}");
    let log = sshd.log_with("Authentication failure");
    let attempts = log.lines().filter(|line| line.contains("Failed ") || line.contains("PAM: Authentication failure"));
    assert_eq!(attempts.count(), 1, "{log}");
    // The other one is ours, which looked whether the port was open.
    assert_eq!(log.lines().filter(|line| line.contains("Connection from")).count(), 2, "{log}");
    assert_nothing_stored(&person.folder());
}

#[test]
#[ignore = "needs dropbear and root"]
fn a_wrong_password_is_tried_once_on_dropbear() {
    let (user, person) = (User::add(), Person::new());
    let dropbear = Dropbear::start();
    let answer = person.back_up(dropbear.port, "linux", &user.name, "not the password", &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let log = dropbear.log_with("Bad password attempt");
    assert_eq!(log.lines().filter(|line| line.contains("Bad password attempt")).count(), 1, "{log}");
    assert_nothing_stored(&person.folder());
}

#[test]
#[ignore = "needs sshd and root"]
fn an_unknown_host_key_is_refused_under_strict() {
    let (user, person) = (User::add(), Person::new());
    let sshd = Sshd::start("PasswordAuthentication yes");
    let answer = person.back_up(sshd.port, "linux", &user.name, &user.password, &["--host-key", "strict"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.shows(&sshd.fingerprint()), "{answer:?}");
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
    assert_nothing_stored(&person.folder());
}

#[test]
#[ignore = "needs sshd and root"]
fn a_pinned_host_key_is_accepted_and_no_other() {
    let (user, person) = (User::add(), Person::new());
    let sshd = Sshd::start("PasswordAuthentication yes");
    let other = Sshd::start("");
    let with = |pin: &str| person.back_up(sshd.port, "linux", &user.name, &user.password, &["--host-key", pin]);
    let refused = with(&other.fingerprint());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.shows(&sshd.fingerprint()), "{refused:?}");
    assert_nothing_stored(&person.folder());
    with(&sshd.fingerprint()).good();
}

#[test]
#[ignore = "needs sshd and root"]
fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let (user, person, port) = (User::add(), Person::new(), free_port());
    let back_up = || person.back_up(port, "linux", &user.name, &user.password, &[]);
    let first = Sshd::start_on(port, "PasswordAuthentication yes");
    back_up().good();
    let known = first.fingerprint();
    drop(first);
    let second = Sshd::start_on(port, "PasswordAuthentication yes");
    for _ in 0..2 {
        let answer = back_up();
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.shows(&known) && answer.shows(&second.fingerprint()), "{answer:?}");
    }
    assert!(!second.log().contains("Accepted"), "{}", second.log());
}
