//! OpenSSH's server on a port of 127.0.0.1, for the user that runs the tests.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devicevault_ssh::{Credentials, Endpoint, HostKeysInMemory};
use devicevault_storage::sftp::{SftpOptions, SftpServer};

use super::Peer;

/// A running server; it ends with this value.
pub(super) struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Sshd {
    pub(super) fn start() -> Self {
        Self::with_subsystem("internal-sftp")
    }

    /// With options of its SFTP server, such as the requests that it is to deny.
    pub(super) fn with_subsystem(subsystem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            let done = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.path().join(name))
                .status();
            assert!(done.expect("ssh-keygen is installed").success());
        }
        std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile {at}/pid\nLogLevel VERBOSE\n\
             StrictModes no\nMaxStartups 100\nUsePAM no\nPermitRootLogin yes\nAuthorizedKeysFile {at}/authorized_keys\n\
             Subsystem sftp {subsystem}\n"
        );
        std::fs::write(folder.path().join("sshd_config"), config).unwrap();
        // Of the system; sshd run by another user has no need of it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f"])
            .arg(folder.path().join("sshd_config"))
            .arg("-E")
            .arg(folder.path().join("log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd is installed");
        let started = Self { child, folder, port };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return started;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("sshd does not listen: {}", started.log());
    }

    pub(super) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How a folder is reached, over this address.
    pub(super) fn options(&self, folder: &str, at: SocketAddr) -> SftpOptions {
        options(folder, at, &self.key())
    }

    /// The file of the key that logs in.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.path().join("user")
    }
}

/// How a folder of the server at an address is reached, by this key.
pub(super) fn options(folder: &str, at: SocketAddr, key: &Path) -> SftpOptions {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let endpoint = Endpoint::new(at.ip().to_string(), at.port());
    let key = std::fs::read_to_string(key).unwrap();
    SftpOptions::new(endpoint, folder, &user, Arc::new(HostKeysInMemory::default()))
        .with_credentials(Credentials::new(user).with_private_key(key, None))
}

impl Peer for Sshd {
    type Server = SftpServer;

    fn server(&self, folder: &Path) -> SftpServer {
        SftpServer::new(self.options(folder.to_str().unwrap(), self.addr()))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
