//! Jump hosts, proxy commands and source addresses, over real servers.

use std::sync::Arc;
use std::time::Duration;

use devicevault_ssh::{
    Credentials, Endpoint, Hop, HostKey, HostKeyFault, HostKeyPolicy, HostKeyStore, HostKeysInMemory, KnownHostsFile,
    Options, Profile, ProxyCommand, Result, Route, SshError, connect_by,
};

use crate::server::{Sshd, User};

/// The key that it shows first.
fn host_key(server: &Sshd) -> HostKey {
    HostKey::from_openssh(&std::fs::read_to_string(server.path("ed25519.pub")).unwrap()).unwrap()
}

/// The log, once this stands in it: a server writes it behind its answers.
fn log_with(server: &Sshd, text: &str) -> String {
    for _ in 0..100 {
        if server.log().contains(text) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.log()
}

fn login(user: &User) -> Credentials {
    Credentials::new(&user.name).with_password(&user.password)
}

fn memory() -> Arc<HostKeysInMemory> {
    Arc::new(HostKeysInMemory::default())
}

fn hop(server: &Sshd, user: &User, options: &Options) -> Hop {
    Hop::new(server.endpoint(), login(user), options.clone())
}

async fn says(connection: &devicevault_ssh::Connection, command: &str) -> String {
    let mut exec = connection.exec(command).await.unwrap();
    let mut out = Vec::new();
    while let Some(part) = exec.read().await.unwrap() {
        if let devicevault_ssh::Output::Stdout(bytes) = part {
            out.extend_from_slice(&bytes);
        }
    }
    String::from_utf8(out).unwrap().trim().to_owned()
}

fn inner(e: SshError) -> (String, SshError) {
    match e {
        SshError::AtHop { hop, error } => (hop, *error),
        e => panic!("{e:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and root"]
async fn two_jump_hosts_in_a_row_each_with_its_own_user_key_and_profile() {
    let users = ["hop1", "hop2", "end"].map(User::create);
    let [first, second, last] = [
        Sshd::start("UsePAM yes"),
        Sshd::start("UsePAM yes\nCiphers aes128-cbc\nHostKeyAlgorithms ssh-ed25519"),
        Sshd::start("UsePAM yes\nBanner /etc/hostname"),
    ];
    let modern = Options::default().with_host_key(HostKeyPolicy::Strict);
    let legacy = modern.clone().with_profile(Profile::Legacy);
    let known = |servers: &[&Sshd]| {
        let add = |store: HostKeysInMemory, s: &&Sshd| store.with(s.endpoint(), host_key(s));
        Arc::new(servers.iter().fold(HostKeysInMemory::default(), add))
    };
    let all = known(&[&first, &second, &last]);
    let route = |second_by: &Options| {
        Route::direct().over(hop(&first, &users[0], &modern)).over(hop(&second, &users[1], second_by))
    };
    let to = last.endpoint();
    let reach = |route: Route, store: Arc<HostKeysInMemory>| {
        let (to, modern, credentials) = (to.clone(), modern.clone(), login(&users[2]));
        async move { connect_by(&route, &to, &credentials, &modern, store).await }
    };
    let connection = reach(route(&legacy), all.clone()).await.unwrap();
    assert_eq!(says(&connection, "whoami").await, users[2].name);
    assert!(connection.banner().is_some_and(|b| !b.is_empty()));
    // One connection, many channels, and a long answer.
    let long = says(&connection, "seq 1 200000").await;
    assert_eq!(long.lines().count(), 200_000);
    // Each server saw its own user, and the last one a connection from the second.
    for (server, user) in [(&first, &users[0]), (&second, &users[1]), (&last, &users[2])] {
        assert!(log_with(server, "Accepted password").contains(&format!("Accepted password for {}", user.name)));
    }
    connection.close().await;
    assert!(log_with(&first, "Closing connection to").contains("Closing connection to"), "{}", first.log());
    // The second hop's algorithms are its own affair.
    let (at, e) = inner(reach(route(&modern), all.clone()).await.unwrap_err());
    assert_eq!(at, second.endpoint().to_string());
    assert!(matches!(&e, SshError::Unsupported { profile: Some(Profile::Legacy), .. }), "{e:?}");
    assert!(e.hint().unwrap().contains("legacy"));
    // Nobody vouches for the second hop's key.
    let (at, e) = inner(reach(route(&legacy), known(&[&first, &last])).await.unwrap_err());
    assert_eq!(at, second.endpoint().to_string());
    assert!(matches!(e, SshError::HostKeyRejected { fault: HostKeyFault::Unknown, .. }), "{e:?}");
    // A wrong password at a hop is told as that hop's, and was tried once.
    let wrong = Credentials::new(&users[1].name).with_password("not-it");
    let bad =
        Route::direct().over(hop(&first, &users[0], &modern)).over(Hop::new(second.endpoint(), wrong, legacy.clone()));
    let (at, e) = inner(reach(bad, all.clone()).await.unwrap_err());
    assert_eq!(at, second.endpoint().to_string());
    assert!(matches!(e, SshError::AuthRejected { .. }), "{e:?}");
    let log = log_with(&second, "Failed password");
    assert_eq!(log.lines().filter(|l| l.contains("Failed password")).count(), 1, "{log}");
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_changed_key_of_a_hop_is_refused_under_the_hops_own_name() {
    let user = User::create("chop");
    let (first, last) = (Sshd::start("UsePAM yes"), Sshd::start("UsePAM yes"));
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(KnownHostsFile::new(folder.path().join("known_hosts")));
    let options = Options::default();
    let route = Route::direct().over(hop(&first, &user, &options));
    connect_by(&route, &last.endpoint(), &login(&user), &options, store.clone()).await.unwrap();
    for (at, server) in [(first.endpoint(), &first), (last.endpoint().over([first.endpoint()]), &last)] {
        assert_eq!(store.recorded(&at).await.unwrap().keys, [host_key(server)]);
    }
    assert!(store.recorded(&last.endpoint()).await.unwrap().keys.is_empty(), "its address is one behind the hop");
    store.forget(&first.endpoint()).await.unwrap();
    store.record(&first.endpoint(), &host_key(&last)).await.unwrap();
    let e = connect_by(&route, &last.endpoint(), &login(&user), &options, store.clone()).await.unwrap_err();
    let (at, e) = inner(e);
    assert_eq!(at, first.endpoint().to_string());
    match e {
        SshError::HostKeyRejected { fault: HostKeyFault::Changed, endpoint, .. } => assert_eq!(endpoint, at),
        e => panic!("{e:?}"),
    }
    assert!(!last.log().contains("Failed"));
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_hop_that_does_not_forward_says_so() {
    let user = User::create("nofwd");
    let (closed, open) = (Sshd::start("UsePAM yes\nAllowTcpForwarding no"), Sshd::start("UsePAM yes"));
    let options = Options::default();
    let reach = |by: &Sshd, to: Endpoint| {
        let route = Route::direct().over(hop(by, &user, &options));
        let (credentials, options) = (login(&user), options.clone());
        async move { inner(connect_by(&route, &to, &credentials, &options, memory()).await.unwrap_err()).1 }
    };
    let e = reach(&closed, open.endpoint()).await;
    assert!(matches!(e, SshError::NotForwarded { forbidden: true, .. }), "{e:?}");
    let e = reach(&open, Endpoint::new("127.0.0.1", 1)).await;
    assert!(matches!(e, SshError::NotForwarded { forbidden: false, .. }), "{e:?}");
}

async fn by_command(command: &str, to: &Endpoint, credentials: &Credentials) -> Result<devicevault_ssh::Connection> {
    let proxy: ProxyCommand = command.parse()?;
    let options = Options::default().with_timeouts(Duration::from_secs(5), Duration::from_secs(5));
    connect_by(&Route::direct().by(proxy), to, credentials, &options, memory()).await
}

#[tokio::test]
#[ignore = "needs sshd, socat and root"]
async fn a_proxy_command_is_the_connection_and_ends_with_it() {
    let user = User::create("proxy");
    let server = Sshd::start("UsePAM yes");
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let plain = "socat STDIO TCP:%h:%p".to_owned();
    let by_shell = format!("echo $$ > '{}'; echo ready >&2; socat STDIO TCP:%h:%p | cat", pid.display());
    for command in [&plain, &by_shell] {
        let connection = by_command(command, &server.endpoint(), &login(&user)).await.unwrap();
        assert_eq!(says(&connection, "whoami").await, user.name);
        drop(connection);
    }
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = std::path::Path::new("/proc").join(pid.trim());
    for _ in 0..100 {
        // What was killed and not yet waited for has no command line any more.
        if std::fs::read(process.join("cmdline")).is_ok_and(|c| !c.is_empty()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(!std::fs::read(process.join("cmdline")).is_ok_and(|c| !c.is_empty()), "the proxy command runs on");
}

#[tokio::test]
async fn what_a_proxy_command_says_is_in_the_error() {
    let nobody = Credentials::new("u").with_password("p");
    let server = Endpoint::new("r1.example.net", 22);
    let fails = by_command("sh -c 'echo no route to %h on %p >&2; exit 1'", &server, &nobody);
    let e = fails.await.unwrap_err();
    assert!(e.to_string().contains("no route to r1.example.net on 22"), "{e}");
    assert!(matches!(e, SshError::ByProxy { .. }), "{e:?}");
    let e = by_command("/nonexistent/proxy %h", &server, &nobody).await.unwrap_err();
    assert!(matches!(e, SshError::Config { .. }), "{e:?}");
    // Silent, and without end.
    let started = tokio::time::Instant::now();
    let e = by_command("sleep 600", &server, &nobody).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(matches!(&e, SshError::ByProxy { error, .. } if matches!(**error, SshError::Timeout { .. })), "{e:?}");
    // A flood of words is cut.
    let e = by_command("yes '\u{1b}[2Jno' | head -c 3000000 >&2", &server, &nobody).await.unwrap_err();
    assert!(e.to_string().len() < 1000 && !e.to_string().contains('\u{1b}'), "{e}");
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_connection_comes_from_the_source_address() {
    let user = User::create("source");
    let server = Sshd::start("UsePAM yes");
    let from = |address: &str| Options::default().with_source(Some(address.parse().unwrap()));
    let direct = Route::direct();
    connect_by(&direct, &server.endpoint(), &login(&user), &from("127.0.0.7"), memory()).await.unwrap();
    assert!(log_with(&server, "from 127.0.0.7").contains("from 127.0.0.7"), "{}", server.log());
    for wrong in ["192.0.2.1", "::1"] {
        let e = connect_by(&direct, &server.endpoint(), &login(&user), &from(wrong), memory()).await.unwrap_err();
        assert!(matches!(e, SshError::Unreachable { .. }), "{e:?}");
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn keepalive_finds_a_server_that_went_silent() {
    let user = User::create("alive");
    let server = Sshd::start("UsePAM yes");
    let silent = crate::relay::relay(server.endpoint(), Duration::ZERO, crate::relay::Trouble::SilentAfter(6000)).await;
    let options = Options::default().with_keepalive(Some(Duration::from_millis(200)));
    let connection = connect_by(&Route::direct(), &silent, &login(&user), &options, memory()).await.unwrap();
    let started = tokio::time::Instant::now();
    let Ok(mut exec) = connection.exec("sleep 1; seq 1 100000; sleep 600").await else { return };
    loop {
        match tokio::time::timeout(Duration::from_secs(20), exec.read()).await {
            Ok(Ok(Some(_))) => {}
            Ok(_) => break,
            Err(_) => panic!("the silence was not noticed"),
        }
    }
    assert!(started.elapsed() < Duration::from_secs(15));
}
