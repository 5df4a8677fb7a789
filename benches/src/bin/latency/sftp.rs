//! A folder of OpenSSH's server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path as Folder;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Clock as _, SystemClock};
use devicevault_ssh::{CreateOptions, Credentials, Endpoint, HostKeysInMemory, ReadOptions, connect};
use devicevault_storage::plain::PlainBackend;
use devicevault_storage::sftp::{SftpOptions, SftpServer, SftpStore};
use devicevault_testkit::relay::Relay;
use devicevault_testkit::samples;

use super::{Figure, ONE_WAY, large_backup, megabytes, options, seconds, small_backups};

/// What the protocol's first draft has clients write and read at a time.
const PIECE: usize = 32 << 10;
/// So many of them, one after the other, are enough to tell how long one takes.
const PIECES: usize = 40;

const SSHD: &str = "/usr/sbin/sshd";

struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// With a key pair that logs in the user who runs this.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name));
            assert!(keygen.status().unwrap().success());
        }
        std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile {at}/pid\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nAuthorizedKeysFile {at}/authorized_keys\nSubsystem sftp internal-sftp\n"
        );
        std::fs::write(folder.path().join("config"), config).unwrap();
        // Of the system; sshd run by another user has no need of it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-f"]).arg(folder.path().join("config")).arg("-E").arg(folder.path().join("log"));
        let child = sshd.stdin(Stdio::null()).spawn().unwrap();
        let started = Self { child, folder, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return started;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("sshd does not listen");
    }

    /// How a folder is reached through an address.
    fn options(&self, folder: &Folder, through: SocketAddr) -> SftpOptions {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let key = std::fs::read_to_string(self.folder.path().join("user")).unwrap();
        let endpoint = Endpoint::new(through.ip().to_string(), through.port());
        let folder = folder.to_str().unwrap();
        SftpOptions::new(endpoint, folder, &user, Arc::new(HostKeysInMemory::default()))
            .with_credentials(Credentials::new(user).with_private_key(key, None))
    }
}

/// Nothing where there is no such server.
pub(super) async fn measure(round: u64) -> Option<Vec<Figure>> {
    if !Folder::new(SSHD).is_file() {
        return None;
    }
    let (sshd, folder) = (Sshd::start(), tempfile::tempdir().unwrap());
    let direct = SocketAddr::from(([127, 0, 0, 1], sshd.port));
    let relay = Relay::to(direct).with_delay(ONE_WAY).start().await.unwrap();
    let options_of_line = sshd.options(folder.path(), relay.addr());
    let server = SftpServer::new(options_of_line.clone());
    let store = SftpStore::init(server, &"main".into(), Arc::new(SystemClock)).await.unwrap();
    let backend = PlainBackend::kept(Arc::new(store), options());
    backend.publish_keys().await.unwrap();
    let small = small_backups(&backend, round, 5.0).await;
    let (written, read) = large_backup(&backend, round).await;
    let (written_alone, read_alone) = one_after_the_other(&options_of_line, folder.path()).await;
    let mega = |what, ours, one_by_one| Figure { what, unit: "MB/s", ours, one_by_one, bar: 10.0 };
    Some(vec![small, mega("64 MiB stored", written, written_alone), mega("64 MiB read", read, read_alone)])
}

/// Pieces that go, and come, when the one before is answered.
async fn one_after_the_other(line: &SftpOptions, folder: &Folder) -> (f64, f64) {
    let known = Arc::new(HostKeysInMemory::default());
    let connection = connect(&line.endpoint, &line.credentials, &line.ssh, known).await.unwrap();
    let sftp = connection.sftp().await.unwrap();
    let path = folder.join("simple").to_str().unwrap().to_owned();
    let whole = PIECES * PIECE;
    let begun = SystemClock.monotonic();
    for i in 0..PIECES {
        let mut file = sftp.create(&path, CreateOptions::default()).await.unwrap();
        file.write(samples::noise(i as u64, PIECE)).await.unwrap();
        file.close().await.unwrap();
    }
    // Opening and closing are two of its three round trips: they are not counted.
    let written = megabytes(whole) / (seconds(begun) / 3.0);
    let mut file = sftp.create(&path, CreateOptions::default()).await.unwrap();
    file.write(samples::noise(1, whole)).await.unwrap();
    file.close().await.unwrap();
    let begun = SystemClock.monotonic();
    for i in 0..PIECES as u64 {
        let range = i * PIECE as u64..(i + 1) * PIECE as u64;
        let mut file = sftp.read(&path, ReadOptions::default().with_range(range).with_in_flight(1)).await.unwrap();
        while file.next().await.unwrap().is_some() {}
    }
    // Opening, looking and closing are three of its four.
    (written, megabytes(whole) / (seconds(begun) / 4.0))
}
