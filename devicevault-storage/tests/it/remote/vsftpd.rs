//! vsftpd on a port of 127.0.0.1, with a user and certificates of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use devicevault_storage::ftp::{FtpOptions, FtpSecurity, FtpServer};

use super::Peer;

/// A running server; it ends with this value.
pub(super) struct Vsftpd {
    child: Child,
    folder: tempfile::TempDir,
    user: String,
    port: u16,
    security: FtpSecurity,
}

impl Vsftpd {
    /// With further lines in its configuration. Fails where it is not installed.
    pub(super) fn start(security: FtpSecurity, extra: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let user = format!("dvftp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("useradd").args(["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", &user]));
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().unwrap();
        let line = format!("{user}:{}\n", password(&user));
        std::io::Write::write_all(chpasswd.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
        drop(chpasswd.stdin.take());
        assert!(chpasswd.wait().unwrap().success());
        certificates(folder.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let tls = match security {
            FtpSecurity::ClearText => String::new(),
            other => format!(
                "ssl_enable=YES\nrsa_cert_file={at}/cert.pem\nrsa_private_key_file={at}/key.pem\nssl_ciphers=HIGH\n\
                 force_local_data_ssl=YES\nforce_local_logins_ssl=YES\nimplicit_ssl={}\n",
                if other == FtpSecurity::Implicit { "YES" } else { "NO" }
            ),
        };
        let config = format!(
            "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nlocal_enable=YES\n\
             write_enable=YES\nanonymous_enable=NO\nxferlog_enable=NO\nsyslog_enable=NO\nvsftpd_log_file={at}/log\n\
             dual_log_enable=YES\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\npam_service_name=vsftpd\n\
             secure_chroot_dir={at}\n{tls}{extra}\n"
        );
        std::fs::write(folder.path().join("vsftpd.conf"), config).unwrap();
        let child = Command::new("/usr/sbin/vsftpd")
            .arg(folder.path().join("vsftpd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("vsftpd is installed");
        let started = Self { child, folder, user, port, security };
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return started;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("vsftpd does not listen");
    }

    pub(super) fn options(&self, folder: &str) -> FtpOptions {
        let options =
            FtpOptions::new("127.0.0.1", folder, &self.user).with_port(self.port).with_security(self.security);
        options.with_password(password(&self.user)).with_authorities(self.authority())
    }

    /// How many were let in until now.
    pub(super) fn logins(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.matches("OK LOGIN").count()
    }

    pub(super) fn authority(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("ca.pem")).unwrap()
    }
}

fn password(user: &str) -> String {
    format!("s3cret-of-{user}")
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) {
    let openssl = |args: &str| run(Command::new("openssl").args(args.split(' ')).current_dir(folder));
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=authority -days 30"));
    openssl(&format!("req {new} -keyout key.pem -out csr.pem -subj /CN=server"));
    openssl("x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 30 -extfile ext");
}

fn run(command: &mut Command) {
    let done = command.output().expect("the program is installed");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Peer for Vsftpd {
    type Server = FtpServer;

    fn server(&self, folder: &Path) -> FtpServer {
        FtpServer::new(self.options(folder.to_str().unwrap())).unwrap()
    }

    fn tells_links(&self) -> bool {
        false
    }

    fn own(&self, folder: &Path) {
        run(Command::new("chown").arg(&self.user).arg(folder));
    }
}

impl Drop for Vsftpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its children may still be ending a session of the user's; without force the user would stay.
        let _ = Command::new("userdel").arg("--force").arg(&self.user).stderr(Stdio::null()).status();
    }
}
