//! Against OpenSSH's server. It runs as root, with a user of its own, on 127.0.0.1.

use std::sync::Arc;

use devicevault_ssh::{
    Connection, Credentials, HostKeyFault, HostKeyPolicy, HostKeysInMemory, KnownHostsFile, Options, Output, Profile,
    PtySize, Result, SshError, connect,
};

use crate::server::{Sshd, User, keygen};

async fn reach(server: &Sshd, credentials: &Credentials, options: &Options) -> Result<Connection> {
    connect(&server.endpoint(), credentials, options, Arc::new(HostKeysInMemory::default())).await
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_command_and_a_shell_give_what_they_print() {
    let (server, user) = (Sshd::start("UsePAM yes"), User::create("run"));
    let credentials = Credentials::new(&user.name).with_password(&user.password);
    let connection = reach(&server, &credentials, &Options::default()).await.unwrap();

    let mut exec = connection.exec("printf 'out\\n'; printf 'err\\n' >&2; seq 1 100000; exit 3").await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(part) = exec.read().await.unwrap() {
        match part {
            Output::Stdout(b) => out.extend_from_slice(&b),
            Output::Stderr(b) => err.extend_from_slice(&b),
            _ => {}
        }
    }
    let whole: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(out, format!("out\n{whole}").as_bytes());
    assert_eq!((err.as_slice(), exec.status()), (&b"err\n"[..], Some(3)));

    let mut shell = connection.shell(PtySize::default()).await.unwrap();
    shell.write("stty size; exit\n".into()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(bytes) = shell.read().await.unwrap() {
        seen.extend_from_slice(&bytes);
    }
    assert!(String::from_utf8_lossy(&seen).contains("1000 512"), "{}", seen.escape_ascii());
    connection.close().await;
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_wrong_password_is_sent_once() {
    let user = User::create("wrong");
    for (config, what) in [
        ("UsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes", "password"),
        ("UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes", "keyboard-interactive"),
    ] {
        let server = Sshd::start(config);
        let wrong = Credentials::new(&user.name).with_password("not-the-password");
        let e = reach(&server, &wrong, &Options::default()).await.unwrap_err();
        assert!(matches!(e, SshError::AuthRejected { .. }), "{e:?}");
        assert!(!format!("{e} {e:?}").contains("not-the-password"));
        let right = Credentials::new(&user.name).with_password(&user.password);
        reach(&server, &right, &Options::default()).await.unwrap_or_else(|e| panic!("{what}: {e:?} {}", server.log()));
        let failures = || server.log().lines().filter(|l| l.contains("Failed ") && !l.contains("Failed none")).count();
        // The server's log is written behind its answers.
        let mut patience = 100;
        while failures() == 0 && patience > 0 {
            patience -= 1;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(failures(), 1, "{what}: {}", server.log());
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn keys_of_each_kind_log_in() {
    let (server, user) = (Sshd::start("UsePAM yes\nPasswordAuthentication no"), User::create("key"));
    let mut authorized = String::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let path = server.path(&format!("user_{kind}"));
        keygen(kind, &path, "a passphrase");
        authorized.push_str(&std::fs::read_to_string(path.with_extension("pub")).unwrap());
    }
    std::fs::write(server.path("authorized_keys"), authorized).unwrap();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let text = std::fs::read_to_string(server.path(&format!("user_{kind}"))).unwrap();
        let good = Credentials::new(&user.name).with_private_key(&text, Some("a passphrase".to_owned()));
        reach(&server, &good, &Options::default()).await.unwrap_or_else(|e| panic!("{kind}: {e:?} {}", server.log()));
        let e = reach(&server, &Credentials::new(&user.name).with_private_key(&text, None), &Options::default()).await;
        assert!(matches!(e.unwrap_err(), SshError::Config { .. }));
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn each_profile_reaches_what_the_newer_one_cannot() {
    let user = User::create("old");
    let credentials = Credentials::new(&user.name).with_password(&user.password);
    let cases = [
        ("KexAlgorithms diffie-hellman-group14-sha1", Profile::Legacy),
        ("KexAlgorithms diffie-hellman-group-exchange-sha1", Profile::Legacy),
        ("HostKeyAlgorithms ssh-rsa", Profile::Legacy),
        ("Ciphers aes128-cbc", Profile::Legacy),
        ("Ciphers aes256-ctr\nMACs hmac-sha1", Profile::Legacy),
        (
            "KexAlgorithms diffie-hellman-group1-sha1\nHostKeyAlgorithms ssh-rsa\nCiphers 3des-cbc\nMACs hmac-sha1",
            Profile::Ancient,
        ),
    ];
    for (config, works) in cases {
        let server = Sshd::start(&format!("UsePAM yes\n{config}"));
        for profile in Profile::ALL {
            let reached = reach(&server, &credentials, &Options::default().with_profile(profile)).await;
            if profile >= works {
                reached.unwrap_or_else(|e| panic!("{config} under {profile}: {e:?}"));
                continue;
            }
            match reached.unwrap_err() {
                SshError::Unsupported { profile: Some(told), ours, theirs, .. } => {
                    assert_eq!(told, works, "{config}");
                    assert!(!ours.is_empty() && !theirs.is_empty());
                }
                e => panic!("{config} under {profile}: {e:?}"),
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let user = User::create("host");
    let credentials = Credentials::new(&user.name).with_password(&user.password);
    let folder = tempfile::tempdir().unwrap();
    let store = || Arc::new(KnownHostsFile::new(folder.path().join("known_hosts")));
    let (first, second) = (Sshd::start("UsePAM yes"), Sshd::start("UsePAM yes"));

    let strict = Options::default().with_host_key(HostKeyPolicy::Strict);
    let e = connect(&first.endpoint(), &credentials, &strict, store()).await.unwrap_err();
    assert!(matches!(e, SshError::HostKeyRejected { fault: HostKeyFault::Unknown, .. }), "{e:?}");
    connect(&first.endpoint(), &credentials, &Options::default(), store()).await.unwrap();
    connect(&first.endpoint(), &credentials, &strict, store()).await.unwrap();

    // The second server under the first one's name.
    let path = folder.path().join("known_hosts");
    let text = std::fs::read_to_string(&path).unwrap();
    let moved = text.replace(&first.endpoint().port.to_string(), &second.endpoint().port.to_string());
    std::fs::write(&path, moved).unwrap();
    let e = connect(&second.endpoint(), &credentials, &Options::default(), store()).await.unwrap_err();
    match &e {
        SshError::HostKeyRejected { fault: HostKeyFault::Changed, recorded, offered, .. } => {
            assert!(recorded[0].starts_with("SHA256:") && offered.starts_with("SHA256:") && recorded[0] != *offered);
            let text = e.to_string();
            assert!(text.contains(&recorded[0]) && text.contains(offered.as_str()), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let pinned = Options::default().with_host_key(
        HostKeyPolicy::pinned(&match e {
            SshError::HostKeyRejected { offered, .. } => offered,
            _ => String::new(),
        })
        .unwrap(),
    );
    connect(&second.endpoint(), &credentials, &pinned, store()).await.unwrap();
    let e = connect(&first.endpoint(), &credentials, &pinned, store()).await.unwrap_err();
    assert!(matches!(e, SshError::HostKeyRejected { fault: HostKeyFault::NotPinned, .. }), "{e:?}");
}
