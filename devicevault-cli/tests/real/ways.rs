//! Telnet, jump hosts, agents and the system's `ssh`, by the program as its users run it.

use std::process::Command;

use crate::devicevault::{PASSPHRASE, PASSWORD, Person};
use crate::place::Place;
use crate::process::{Server, free_port, listens, program, run};
use crate::sshd::Sshd;
use crate::user::User;

/// FRRouting's own Telnet command line.
struct TelnetRouter {
    port: u16,
    _server: Server,
    _place: Place,
}

const LOGIN: &str = "vty-secret-word";
const ENABLE: &str = "enable-secret-word";

impl TelnetRouter {
    fn start() -> Self {
        let (place, port) = (Place::new(), free_port());
        let lists: String = (1..=100).map(|i| format!("ip prefix-list pl{i} seq 5 permit 10.{i}.0.0/16\n")).collect();
        let config =
            format!("hostname edge1\npassword {LOGIN}\nenable password {ENABLE}\n!\nrouter bgp 64512\n!\n{lists}");
        let config = place.write("bgpd.conf", &config);
        let mut bgpd = Command::new(program("bgpd"));
        bgpd.args(["--skip_runas", "-A", "127.0.0.1", "-P", &port.to_string(), "-p", "0", "-S"]).arg("-f").arg(config);
        bgpd.arg("-i").arg(place.join("pid")).arg("--vty_socket").arg(place.path());
        bgpd.arg("-z").arg(place.join("zserv.api"));
        let server = Server::start(&mut bgpd, &place.join("log")).until("an open port", || listens(port));
        Self { port, _server: server, _place: place }
    }
}

/// FRRouting without `terminal length 0`, so that it pages.
fn paged(place: &Place) -> String {
    let text = include_str!("../../../devicevault-collectors/platforms/frr.toml");
    let text =
        text.replacen("name = \"frr\"", "name = \"frr_paged\"", 1).replace("setup = [\"terminal length 0\"]", "");
    let text: String = text.lines().filter(|l| !l.starts_with("aliases")).map(|l| format!("{l}\n")).collect();
    std::fs::create_dir_all(place.join("platforms")).expect("a folder");
    place.write("platforms/frr_paged.toml", &text);
    place.join("platforms").display().to_string()
}

#[test]
#[ignore = "needs frr"]
fn a_router_by_telnet_with_enable_and_pages() {
    let (router, person, place) = (TelnetRouter::start(), Person::new(), Place::new());
    let enable = place.write("enable", ENABLE);
    let more = ["--transport", "telnet", "--enable-file", enable.to_str().expect("UTF-8")];
    let answer = person.back_up(router.port, "frr", "nobody", LOGIN, &more).good();
    let whole = answer.stored("running-config", &person.folder());
    assert!(whole.lines().last() == Some("end") && whole.contains("ip prefix-list pl100 "), "{whole}");
    let platforms = paged(&place);
    let person = Person::new();
    let more = [&more[..], &["--platforms-dir", &platforms]].concat();
    let answer = person.back_up(router.port, "frr_paged", "nobody", LOGIN, &more).good();
    assert_eq!(answer.stored("running-config", &person.folder()), whole);
    for (password, enable, says) in [("wrong-word", ENABLE, "password"), (LOGIN, "wrong-word", "enable secret")] {
        let enable = place.write("wrong", enable);
        let more = ["--transport", "telnet", "--enable-file", enable.to_str().expect("UTF-8")];
        let answer = Person::new().back_up(router.port, "frr", "nobody", password, &more);
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.shows("auth_rejected") && answer.shows(says), "{answer:?}");
    }
}

#[test]
#[ignore = "needs telnetd, socat and root"]
fn a_login_by_telnetd() {
    let (user, place, port) = (User::add(), Place::new(), free_port());
    let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr");
    let telnetd = format!("EXEC:{},nofork", program("telnetd").display());
    let mut socat = Command::new(program("socat"));
    let _server =
        Server::start(socat.args([&listen, &telnetd]), &place.join("log")).until("an open port", || listens(port));
    std::fs::create_dir_all(place.join("platforms")).expect("a folder");
    let platform = "name = \"unix_shell\"\ntitle = \"A shell\"\ntransport = \"telnet\"\n[session]\nprompt = '^[$#] $'\n\
                    [logout]\ncommand = \"exit\"\n[[artefacts]]\nname = \"users\"\ncommands = [\"cat /etc/passwd\"]\n";
    place.write("platforms/unix_shell.toml", platform);
    let platforms = place.join("platforms").display().to_string();
    let person = Person::new();
    let back_up =
        |password: &str| person.back_up(port, "unix_shell", &user.name, password, &["--platforms-dir", &platforms]);
    let answer = back_up(&user.password).good();
    let stored = answer.stored("users", &person.folder());
    assert!(stored.starts_with("root:x:0:0:") && stored.contains(&user.name), "{stored}");
    let answer = back_up("not the password");
    assert!(answer.code == 1 && answer.shows("auth_rejected") && answer.shows("Login incorrect"), "{answer:?}");
    run(Command::new("chage").args(["-d", "0", &user.name]));
    let answer = back_up(&user.password);
    assert!(answer.code == 1 && answer.shows("password to be changed"), "{answer:?}");
}

#[test]
#[ignore = "needs sshd, frr and root"]
fn two_jump_hosts_lead_to_ssh_and_to_telnet() {
    let (users, place) = ([User::add(), User::add(), User::add()], Place::new());
    let servers = [(); 3].map(|()| Sshd::start("PasswordAuthentication yes"));
    let router = TelnetRouter::start();
    let hop = |i: usize| {
        let file = place.write(&format!("password{i}"), &users[i].password);
        format!("{}@127.0.0.1:{},password-file={}", users[i].name, servers[i].port, file.display())
    };
    let (first, second) = (hop(0), hop(1));
    let way = ["--jump", &first, "--jump", &second];
    let person = Person::new();
    person.back_up(servers[2].port, "linux", &users[2].name, &users[2].password, &way).good();
    for (server, user) in servers.iter().zip(&users) {
        let accepted = format!("Accepted password for {}", user.name);
        assert!(server.log_with(&accepted).contains(&accepted), "{}", server.log());
    }
    let enable = place.write("enable", ENABLE);
    let more = [&way[..], &["--transport", "telnet", "--enable-file", enable.to_str().expect("UTF-8")]].concat();
    let answer = person.back_up(router.port, "frr", "nobody", LOGIN, &more).good();
    assert!(answer.stored("running-config", &person.folder()).contains("router bgp 64512"));
    // All three keys are remembered, each under its own name.
    let home = person.folder().join(".devicevault");
    let (home, port) = (home.to_str().expect("UTF-8"), servers[0].port.to_string());
    let device = format!("127.0.0.1_{}", servers[2].port);
    let shown = person.run("", &["--home", home, "device", "host-key", "show", &device, "--json"]).good();
    let keys: Vec<_> = shown.json().as_array().expect("a list").iter().map(|k| k["fingerprint"].clone()).collect();
    assert_eq!(keys, servers.each_ref().map(Sshd::fingerprint));
    // Another server in the place of the first jump host.
    let first = format!("127.0.0.1:{port}");
    person.run("", &["--home", home, "device", "host-key", "forget", "--address", &first]).good();
    let known = std::fs::read_to_string(person.folder().join(".devicevault/known_hosts")).expect("known_hosts");
    let named = format!("[127.0.0.1]:{}@[127.0.0.1]:{port} ", servers[1].port);
    let stranger = known.lines().find_map(|l| l.strip_prefix(&named)).expect("its line");
    let planted = place.write("planted", &format!("[127.0.0.1]:{port} {stranger}\n"));
    person.run("", &["--home", home, "device", "host-key", "import", planted.to_str().expect("UTF-8")]).good();
    let answer = person.back_up(servers[2].port, "linux", &users[2].name, &users[2].password, &way);
    assert!(answer.code == 1 && answer.shows("host_key_rejected") && answer.shows("jump host"), "{answer:?}");
    assert!(answer.shows(&servers[0].fingerprint()) && answer.shows(&servers[1].fingerprint()), "{answer:?}");
}

#[test]
#[ignore = "needs sshd, ssh and root"]
fn the_systems_ssh_reaches_what_ours_does_not_speak() {
    let (user, person, place) = (User::add(), Person::new(), Place::new());
    let sshd = Sshd::start("PasswordAuthentication yes\nCiphers aes256-ctr\nMACs hmac-md5-96");
    let answer = person.back_up(sshd.port, "linux", &user.name, &user.password, &["--ssh-profile", "ancient"]);
    assert!(answer.code == 1 && answer.shows("hmac-md5-96"), "{answer:?}");
    let by = ["--transport", "openssh", "--ssh-profile", "ancient"];
    person.back_up(sshd.port, "linux", &user.name, &user.password, &by).good();
    let answer = person.back_up(sshd.port, "linux", &user.name, "not the password", &by);
    assert!(answer.code == 1 && answer.shows("auth_rejected"), "{answer:?}");
    let log = sshd.log_with("Failed keyboard-interactive");
    let failed = |l: &&str| l.contains("Failed ") && !l.contains("Failed none");
    assert_eq!(log.lines().filter(failed).count(), 1, "{log}");
    let key = sshd.authorised_key(&["-t", "ed25519", "-N", ""]);
    let more = [&by[..], &["--key-file", key.to_str().expect("UTF-8")]].concat();
    person.back_up(sshd.port, "linux", &user.name, "", &more).good();
    assert!(sshd.log().contains("Accepted publickey"), "{}", sshd.log());
    // Without a home too, where nothing is remembered.
    let port = sshd.port.to_string();
    let at = ["platform", "detect", "--host", "127.0.0.1", "--port", &port, "--user", &user.name];
    let found = person.run(&user.password, &[&at[..], &["--password-env", PASSWORD], &by].concat());
    assert!(found.code == 0 && found.shows("linux"), "{found:?}");
    // One that is not known is refused under strict, and the secrets leave nothing behind.
    let fresh = Person::new();
    let strict = [&more[..], &["--host-key", "strict"]].concat();
    let answer = fresh.back_up(sshd.port, "linux", &user.name, "", &strict);
    assert!(answer.code == 1 && answer.shows("host_key_rejected"), "{answer:?}");
    drop(place);
}

#[test]
#[ignore = "needs sshd, ssh, ssh-keygen, socat and root"]
fn the_systems_ssh_uses_keys_that_lie_in_no_file() {
    let (user, place) = (User::add(), Place::new());
    let authority = place.join("authority");
    run(Command::new(program("ssh-keygen")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&authority));
    let trusted = authority.with_extension("pub");
    let settings = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nTrustedUserCAKeys";
    let sshd = Sshd::start(&format!("{settings} {}", trusted.display()));
    let seen = place.join("seen");
    let proxy = format!("sh -c 'cat $TMPDIR/dv-*/key* > {}; exec socat - TCP:%h:%p'", seen.display());
    for (kind, phrase, certified) in
        [("ed25519", "", false), ("rsa", "open sesame 42", false), ("ecdsa", "", true), ("rsa", "", true)]
    {
        let key = sshd.authorised_key(&["-t", kind, "-N", phrase]);
        let (public, certificate) = (key.with_extension("pub"), key.with_file_name("user_key-cert.pub"));
        let mut more = vec!["--transport", "openssh", "--proxy-command", &proxy];
        more.extend(["--key-file", key.to_str().expect("UTF-8")]);
        if !phrase.is_empty() {
            more.extend(["--key-passphrase-env", PASSPHRASE]);
        }
        if certified {
            std::fs::write(key.with_file_name("authorized_keys"), "").expect("the keys that may log in");
            let mut sign = Command::new(program("ssh-keygen"));
            run(sign.args(["-q", "-I", "x", "-n", &user.name, "-s"]).arg(&authority).arg(&public));
            more.extend(["--certificate-file", certificate.to_str().expect("UTF-8")]);
        }
        let person = Person::new().with_passphrase(phrase).with_temporary(place.path());
        let answer = person.back_up(sshd.port, "linux", &user.name, "", &more);
        assert_eq!(answer.code, 0, "{kind} {phrase} {certified}: {answer:?} {}", sshd.log());
        let seen = std::fs::read_to_string(&seen).expect("what lies there");
        assert!(!seen.is_empty() && !seen.contains("PRIVATE"), "{kind}: {seen}");
        std::fs::remove_file(&key).and_then(|()| std::fs::remove_file(public)).expect("the key's files");
    }
}

#[test]
#[ignore = "needs sshd, ssh, ssh-keygen, socat and root"]
fn a_proxy_command_that_needs_a_shell_gets_one() {
    let (user, person, place) = (User::add(), Person::new(), Place::new());
    let sshd = Sshd::start("PasswordAuthentication no\nKbdInteractiveAuthentication no");
    let key = sshd.authorised_key(&["-t", "ed25519", "-N", ""]);
    let settings = place.join("it's proxy.env");
    std::fs::write(&settings, "TUNNEL=socat\n").expect("the settings of a tunnel");
    let sourced = format!(". \"{}\"; exec $TUNNEL - TCP:%h:%p", settings.display());
    for transport in ["ssh", "openssh"] {
        for command in [&sourced, "false || socat - 'TCP:%h:%p'", "A=b socat - TCP:%h:%p"] {
            let by = ["--transport", transport, "--proxy-command", command, "--key-file", key.to_str().expect("UTF-8")];
            person.back_up(sshd.port, "linux", &user.name, "", &by).good();
        }
        // What a shell says of a file is no word of the device's.
        let by = ["--transport", transport, "--retries", "0", "--proxy-command", "exec /etc/ssh; %h"];
        let answer = person.back_up(sshd.port, "linux", &user.name, "pw", &by);
        assert!(answer.code == 1 && answer.shows("Permission denied"), "{answer:?}");
        assert!(!answer.shows("auth_rejected") && !answer.shows("check user name"), "{answer:?}");
    }
}

#[test]
#[ignore = "needs sshd, ssh-keygen and root"]
fn the_agents_key_logs_in() {
    let (user, person, place) = (User::add(), Person::new(), Place::new());
    let sshd = Sshd::start("PasswordAuthentication no\nKbdInteractiveAuthentication no");
    let key = sshd.authorised_key(&["-t", "ed25519", "-N", ""]);
    let socket = place.join("agent");
    let mut agent = Command::new(program("ssh-agent"));
    let _agent = Server::start(agent.arg("-D").arg("-a").arg(&socket), &place.join("log"))
        .until("its socket", || socket.exists());
    run(Command::new(program("ssh-add")).arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket));
    let answer = person.back_up(sshd.port, "linux", &user.name, "", &["--agent"]);
    assert!(answer.code == 2 && answer.shows("SSH_AUTH_SOCK is not set"), "{answer:?}");
    let person = person.with_agent(&socket);
    for transport in ["ssh", "openssh"] {
        person.back_up(sshd.port, "linux", &user.name, "", &["--agent", "--transport", transport]).good();
    }
    assert!(sshd.log().matches("Accepted publickey").count() >= 2, "{}", sshd.log());
}

#[test]
#[ignore = "needs ssh"]
fn what_the_systems_ssh_does_not_reach_is_told_as_such() {
    let person = Person::new();
    // Takes connections and says nothing, and nobody.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let by = ["--transport", "openssh", "--timeout", "2s", "--retries", "0"];
    for platform in ["cisco_ios", "linux"] {
        let behind = [&by[..], &["--option", "ssh.proxy_command=sleep 60"]].concat();
        for (port, more) in [(port, &by[..]), (free_port(), &by), (port, &behind)] {
            let answer = person.back_up(port, platform, "u", "pw", more);
            assert!(answer.code == 1 && answer.shows("unreachable"), "{platform} {more:?}: {answer:?}");
            assert!(!answer.shows("no prompt"), "{answer:?}");
        }
    }
}
