//! Agents and certificates, of users and of hosts, against OpenSSH's server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use devicevault_ssh::{
    Agent, Credentials, Endpoint, HostKeyFault, HostKeyPolicy, HostKeysInMemory, KnownHostsFile, Options, Result,
    SshError, connect,
};

use crate::server::{Sshd, User, keygen, run};

/// An agent of OpenSSH that ends with this value.
struct RunningAgent {
    child: Child,
    socket: PathBuf,
}

impl RunningAgent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stdin(Stdio::null());
        let child = agent.spawn().expect("ssh-agent is installed");
        for _ in 0..200 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { child, socket }
    }

    fn add(&self, key: &Path) {
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket));
    }

    fn forget_all(&self) {
        run(Command::new("ssh-add").args(["-q", "-D"]).env("SSH_AUTH_SOCK", &self.socket));
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn reach(server: &Sshd, credentials: &Credentials) -> Result<()> {
    let store = Arc::new(HostKeysInMemory::default());
    connect(&server.endpoint(), credentials, &Options::default(), store).await.map(drop)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn fingerprint(public: &Path) -> String {
    run(Command::new("ssh-keygen").arg("-lf").arg(public)).split_whitespace().nth(1).unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs sshd, ssh-keygen and root"]
async fn the_keys_of_an_agent_log_in_and_only_the_chosen_ones_are_offered() {
    let (server, user) = (Sshd::start("UsePAM yes\nPasswordAuthentication no"), User::create("agent"));
    let folder = tempfile::tempdir().unwrap();
    let agent = RunningAgent::start(folder.path());
    let login = |agent: Agent| Credentials::new(&user.name).with_agent(agent);
    let e = reach(&server, &login(Agent::at(&agent.socket))).await.unwrap_err();
    assert!(matches!(e, SshError::Agent { .. }) && e.to_string().contains("no keys"), "{e:?}");
    let mut authorized = String::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let (good, other) = (folder.path().join(kind), folder.path().join(format!("{kind}_other")));
        keygen(kind, &good, "");
        keygen(kind, &other, "");
        authorized.push_str(&read(&good.with_extension("pub")));
        std::fs::write(server.path("authorized_keys"), &authorized).unwrap();
        agent.forget_all();
        agent.add(&other);
        let e = reach(&server, &login(Agent::at(&agent.socket))).await.unwrap_err();
        assert!(matches!(&e, SshError::AuthRejected { message, .. } if message.contains("agent")), "{kind}: {e:?}");
        agent.add(&good);
        reach(&server, &login(Agent::at(&agent.socket))).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        let pick = |path: &Path| Agent::at(&agent.socket).with_keys([fingerprint(path)]);
        reach(&server, &login(pick(&good.with_extension("pub")))).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        assert!(reach(&server, &login(pick(&other.with_extension("pub")))).await.is_err(), "{kind}");
    }
    let none = Agent::at(&agent.socket).with_keys(["SHA256:not-there".to_owned()]);
    let e = reach(&server, &login(none)).await.unwrap_err();
    assert!(e.to_string().contains("holds none of the chosen keys"), "{e}");
    let e = reach(&server, &login(Agent::at(folder.path().join("nowhere")))).await.unwrap_err();
    assert!(matches!(e, SshError::Agent { .. }), "{e:?}");
}

/// Signs a public key with an authority.
fn certify(authority: &Path, public: &Path, args: &[&str]) -> PathBuf {
    run(Command::new("ssh-keygen").arg("-q").arg("-s").arg(authority).args(["-I", "test"]).args(args).arg(public));
    let stem = public.file_stem().unwrap().to_str().unwrap().to_owned();
    public.with_file_name(format!("{stem}-cert.pub"))
}

#[tokio::test]
#[ignore = "needs sshd, ssh-keygen and root"]
async fn user_certificates_of_every_kind_log_in() {
    let user = User::create("cert");
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority");
    keygen("ed25519", &authority, "");
    let trusted = authority.with_extension("pub");
    let server =
        Sshd::start(&format!("UsePAM yes\nPasswordAuthentication no\nTrustedUserCAKeys {}", trusted.display()));
    let agent = RunningAgent::start(folder.path());
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = folder.path().join(kind);
        keygen(kind, &key, "");
        let bare = Credentials::new(&user.name).with_private_key(read(&key), None);
        assert!(matches!(reach(&server, &bare).await.unwrap_err(), SshError::AuthRejected { .. }), "{kind}");
        let certificate = read(&certify(&authority, &key.with_extension("pub"), &["-n", &user.name]));
        let certified = bare.clone().with_certificate(&certificate);
        reach(&server, &certified).await.unwrap_or_else(|e| panic!("{kind}: {e:?} {}", server.log()));
        // The agent has taken the certificate from beside the key; and it is given apart.
        agent.forget_all();
        agent.add(&key);
        let by_agent = Credentials::new(&user.name).with_agent(Agent::at(&agent.socket));
        reach(&server, &by_agent).await.unwrap_or_else(|e| panic!("{kind}: {e:?} {}", server.log()));
        agent.forget_all();
        std::fs::remove_file(folder.path().join(format!("{kind}-cert.pub"))).unwrap();
        agent.add(&key);
        assert!(reach(&server, &by_agent).await.is_err(), "{kind}");
        reach(&server, &by_agent.with_certificate(&certificate)).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        let other = read(&certify(&authority, &key.with_extension("pub"), &["-n", "somebody-else"]));
        let e = reach(&server, &bare.with_certificate(other)).await.unwrap_err();
        assert!(matches!(&e, SshError::AuthRejected { message, .. } if message.contains("for somebody-else")), "{e:?}");
    }
}

#[tokio::test]
#[ignore = "needs sshd, ssh-keygen and root"]
async fn a_certificate_that_is_refused_for_its_time_is_told_so() {
    let user = User::create("oldcert");
    let folder = tempfile::tempdir().unwrap();
    let (authority, key) = (folder.path().join("authority"), folder.path().join("key"));
    keygen("ed25519", &authority, "");
    keygen("ed25519", &key, "");
    let trusted = authority.with_extension("pub");
    let server =
        Sshd::start(&format!("UsePAM yes\nPasswordAuthentication no\nTrustedUserCAKeys {}", trusted.display()));
    let now = std::fs::metadata(&key).unwrap().modified().unwrap();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let options = Options::default().with_now(now);
    for (valid, says) in [("-5d:-3d", "expired 3 days ago"), ("+3d:+5d", "is not valid before")] {
        let certificate = certify(&authority, &key.with_extension("pub"), &["-n", &user.name, "-V", valid]);
        let credentials = Credentials::new(&user.name).with_private_key(read(&key), None);
        let credentials = credentials.with_certificate(read(&certificate));
        let store = Arc::new(HostKeysInMemory::default());
        let e = connect(&server.endpoint(), &credentials, &options, store).await.unwrap_err();
        assert!(matches!(&e, SshError::AuthRejected { message, .. } if message.contains(says)), "{e:?}");
    }
}

#[tokio::test]
#[ignore = "needs sshd, ssh-keygen and root"]
async fn a_host_certificate_is_trusted_by_its_authority_alone() {
    let user = User::create("hcert");
    let folder = tempfile::tempdir().unwrap();
    let (authority, host) = (folder.path().join("authority"), folder.path().join("host"));
    keygen("ed25519", &authority, "");
    keygen("ecdsa", &host, "");
    let credentials = Credentials::new(&user.name).with_password(&user.password);
    let now = std::fs::metadata(&host).unwrap().modified().unwrap();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 5;
    let store = Arc::new(KnownHostsFile::new(folder.path().join("known_hosts")));
    let entry = format!("@cert-authority 127.0.0.* {}", read(&authority.with_extension("pub")));
    store.import(&entry).await.unwrap();
    let strict = Options::default().with_host_key(HostKeyPolicy::Strict).with_now(now);
    let cases: [(&[&str], Option<&str>); 5] = [
        (&["-h", "-n", "127.0.0.1,r1"], None),
        (&["-h", "-n", "r1"], Some("other hosts")),
        (&["-h"], Some("names no host")),
        (&["-h", "-n", "127.0.0.1", "-V", "20200101:20200102"], Some("expired")),
        (&["-h", "-n", "127.0.0.1", "-V", "20990101:20990102"], Some("not valid yet")),
    ];
    for (args, fault) in cases {
        let certificate = certify(&authority, &host.with_extension("pub"), args);
        let server =
            Sshd::start(&format!("UsePAM yes\nHostKey {}\nHostCertificate {}", host.display(), certificate.display()));
        let reached = connect(&server.endpoint(), &credentials, &strict, store.clone()).await;
        match (reached, fault) {
            (Ok(_), None) => {}
            (Err(SshError::HostKeyRejected { fault: HostKeyFault::Certificate(why), .. }), Some(told)) => {
                assert!(why.contains(told), "{why}");
            }
            (other, _) => panic!("{args:?}: {other:?}"),
        }
    }
    // Of another authority it is worth what its key is: nothing, when checking is strict.
    let other = folder.path().join("other");
    keygen("ed25519", &other, "");
    let certificate = certify(&other, &host.with_extension("pub"), &["-h", "-n", "127.0.0.1"]);
    let server =
        Sshd::start(&format!("UsePAM yes\nHostKey {}\nHostCertificate {}", host.display(), certificate.display()));
    let e = connect(&server.endpoint(), &credentials, &strict, store.clone()).await.unwrap_err();
    assert!(matches!(e, SshError::HostKeyRejected { fault: HostKeyFault::Unknown, .. }), "{e:?}");
    // A host that shows no certificate is not trusted for its authority's sake, nor recorded.
    let plain = Sshd::start("UsePAM yes");
    let first_use = Options::default().with_now(now);
    let e = connect(&plain.endpoint(), &credentials, &first_use, store).await.unwrap_err();
    assert!(matches!(e, SshError::HostKeyRejected { fault: HostKeyFault::Unknown, .. }), "{e:?}");
    let nobody = Endpoint::new("127.0.0.1", 1);
    assert!(connect(&nobody, &credentials, &first_use, Arc::new(HostKeysInMemory::default())).await.is_err());
}
