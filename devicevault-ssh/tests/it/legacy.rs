//! Servers that speak one old algorithm each: refused by what is newer, reached by the profile that the error names.

use std::fmt::Write as _;
use std::sync::Arc;

use devicevault_ssh::{Credentials, HostKeysInMemory, Options, Profile, SshError, connect};

use crate::server::{Sshd, User, keygen};

/// What a server is restricted to, in sshd's words, and the newest profile that reaches it.
const OLD: [(&str, &str, Profile); 12] = [
    ("kex group1-sha1", "KexAlgorithms diffie-hellman-group1-sha1", Profile::Ancient),
    ("kex group14-sha1", "KexAlgorithms diffie-hellman-group14-sha1", Profile::Legacy),
    ("kex gex-sha1", "KexAlgorithms diffie-hellman-group-exchange-sha1", Profile::Legacy),
    ("cipher aes128-cbc", "Ciphers aes128-cbc", Profile::Legacy),
    ("cipher aes192-cbc", "Ciphers aes192-cbc", Profile::Legacy),
    ("cipher aes256-cbc", "Ciphers aes256-cbc", Profile::Legacy),
    ("cipher 3des-cbc", "Ciphers 3des-cbc", Profile::Ancient),
    ("MAC hmac-sha1", "Ciphers aes256-ctr\nMACs hmac-sha1", Profile::Legacy),
    ("host key ssh-rsa", "HostKeyAlgorithms ssh-rsa", Profile::Legacy),
    ("host key ssh-dss", "HostKeyAlgorithms ssh-dss", Profile::Ancient),
    ("public key ssh-rsa", "PasswordAuthentication no\nPubkeyAcceptedAlgorithms ssh-rsa", Profile::Legacy),
    (
        "all of 2003",
        "KexAlgorithms diffie-hellman-group1-sha1\nHostKeyAlgorithms ssh-dss\nCiphers 3des-cbc\nMACs hmac-sha1",
        Profile::Ancient,
    ),
];

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn each_old_algorithm_is_refused_with_the_profile_that_reaches_it() {
    let user = User::create("table");
    let keys = tempfile::tempdir().unwrap();
    keygen("dsa", &keys.path().join("dsa"), "");
    keygen("rsa", &keys.path().join("login"), "");
    let login = std::fs::read_to_string(keys.path().join("login")).unwrap();
    let with_password = Credentials::new(&user.name).with_password(&user.password);
    let with_key = Credentials::new(&user.name).with_private_key(login, None);
    let mut table = format!("{:<20} {:<34} {:<9} {:<9}\n", "the server has only", "modern", "legacy", "ancient");
    for (what, config, works) in OLD {
        let dsa = keys.path().join("dsa");
        let server = Sshd::start(&format!("UsePAM yes\nHostKey {}\n{config}", dsa.display()));
        std::fs::copy(keys.path().join("login.pub"), server.path("authorized_keys")).unwrap();
        let credentials = if what.starts_with("public key") { &with_key } else { &with_password };
        let mut row = format!("{what:<20}");
        for profile in Profile::ALL {
            let options = Options::default().with_profile(profile);
            let store = Arc::new(HostKeysInMemory::default());
            let reached = connect(&server.endpoint(), credentials, &options, store).await;
            let cell = match reached {
                Ok(_) => {
                    assert!(profile >= works, "{what} was reached under {profile}");
                    "reached".to_owned()
                }
                Err(e) => {
                    assert!(profile < works, "{what} under {profile}: {e:?}\n{}", server.log());
                    match &e {
                        SshError::Unsupported { what: kind, ours, theirs, profile: Some(told) } => {
                            assert_eq!(*told, works, "{what}: {e}");
                            assert!(!ours.is_empty() && !theirs.is_empty(), "{e}");
                            assert!(e.hint().unwrap().contains(works.as_str()), "{:?}", e.hint());
                            format!("no {kind}: {told}")
                        }
                        // Of its own accord this server announces signatures that it does not take.
                        SshError::AuthRejected { message, .. } if what.starts_with("public key") => {
                            assert!(message.contains("the profile legacy gives them"), "{message}");
                            "key refused: legacy".to_owned()
                        }
                        _ => panic!("{what} under {profile}: {e:?}"),
                    }
                }
            };
            let width = if profile == Profile::Modern { 34 } else { 9 };
            let _ = write!(row, " {cell:<width$}");
        }
        table.push_str(row.trim_end());
        table.push('\n');
    }
    println!("{table}");
}

/// Dropbear, built for small devices, with what it is.
#[tokio::test]
#[ignore = "needs dropbear and root"]
async fn dropbear_is_reached_by_every_profile() {
    let user = User::create("bear");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    crate::server::run(std::process::Command::new("dropbearkey").args(["-t", "rsa", "-f"]).arg(&key));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut dropbear = std::process::Command::new("/usr/sbin/dropbear")
        .args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-r"])
        .arg(&key)
        .arg("-P")
        .arg(folder.path().join("pid"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("dropbear is installed");
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let credentials = Credentials::new(&user.name).with_password(&user.password);
    let server = devicevault_ssh::Endpoint::new("127.0.0.1", port);
    let mut failed = Vec::new();
    for profile in Profile::ALL {
        let store = Arc::new(HostKeysInMemory::default());
        let reached = connect(&server, &credentials, &Options::default().with_profile(profile), store).await;
        failed.extend(reached.err().map(|e| format!("{profile}: {e:?}")));
    }
    let _ = dropbear.kill();
    let _ = dropbear.wait();
    assert!(failed.is_empty(), "{failed:?}");
}
