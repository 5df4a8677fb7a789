//! OpenSSH's server, on a port and with keys of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Sshd {
    pub(super) port: u16,
    pub(super) key: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_key(file: &Path) {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(file).status();
    assert!(done.unwrap().success());
}

impl Sshd {
    pub(super) fn start(parent: &Path) -> Self {
        let folder = parent.join("sshd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let key = folder.join("user key");
        make_key(&folder.join("host"));
        make_key(&key);
        std::fs::copy(key.with_extension("pub"), folder.join("authorized")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/authorized\n\
             StrictModes no\nUsePAM yes\nPrintMotd no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd is installed");
        let sshd = Self { port, key, folder, child };
        for _ in 0..6000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return sshd;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("sshd does not listen: {}", std::fs::read_to_string(sshd.folder.join("log")).unwrap());
    }

    /// A key that may not log in.
    pub(super) fn another_key(&self, name: &str) -> PathBuf {
        let key = self.folder.join(name);
        make_key(&key);
        key
    }
}
