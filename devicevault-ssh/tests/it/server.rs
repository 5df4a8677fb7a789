//! OpenSSH's server on a port of 127.0.0.1, with keys, a log and a user of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devicevault_ssh::Endpoint;

/// A running server; it ends with this value.
pub(crate) struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Sshd {
    /// Starts a server with further lines in its configuration. Fails where sshd is not installed.
    pub(crate) fn start(extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for kind in ["ed25519", "rsa"] {
            keygen(kind, &folder.path().join(kind), "");
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/ed25519\nHostKey {at}/rsa\nPidFile {at}/pid\n\
             LogLevel VERBOSE\nStrictModes no\nMaxStartups 100\nAuthorizedKeysFile {at}/authorized_keys\n{extra}\n"
        );
        std::fs::write(folder.path().join("sshd_config"), config).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f"])
            .arg(folder.path().join("sshd_config"))
            .arg("-E")
            .arg(folder.path().join("log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is installed");
        let started = Self { child, folder, port };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return started;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("sshd does not listen: {}", started.log());
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A user of the system with a password, removed with this value. Needs root.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl User {
    pub(crate) fn create(tag: &str) -> Self {
        let name = format!("dv-{tag}-{}", std::process::id());
        let user = Self { password: format!("s3cret-of-{name}"), name };
        run(Command::new("useradd").args(["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", &user.name]));
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().unwrap();
        let line = format!("{}:{}\n", user.name, user.password);
        std::io::Write::write_all(chpasswd.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
        drop(chpasswd.stdin.take());
        assert!(chpasswd.wait().unwrap().success());
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // The server may still be ending a session of the user's; without force the user would stay.
        let _ = Command::new("userdel").arg("--force").arg(&self.name).stderr(Stdio::null()).status();
    }
}

pub(crate) fn keygen(kind: &str, path: &Path, passphrase: &str) {
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-f"]).arg(path));
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().expect("the program is installed");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}
