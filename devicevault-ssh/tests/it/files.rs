//! Files of OpenSSH's server, over SFTP and SCP.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_ssh::{
    Connection, CreateOptions, Credentials, Endpoint, FileType, HostKeysInMemory, Options, Pattern, ReadOptions,
    ScpError, SftpError, SftpSession, connect,
};
use rand::Rng as _;
use tokio::time::Instant;

use crate::relay::{Trouble, relay};
use crate::server::{Sshd, User, keygen};

/// A server with SFTP, a user, and a folder that is the user's.
struct Place {
    server: Sshd,
    user: User,
    folder: tempfile::TempDir,
}

impl Place {
    fn start(tag: &str, subsystem: &str) -> Self {
        let (server, user) = (Sshd::start(&format!("UsePAM yes\nSubsystem sftp {subsystem}")), User::create(tag));
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = Self { server, user, folder };
        place.own(place.folder.path());
        place
    }

    fn own(&self, path: &Path) {
        assert!(Command::new("chown").arg(&self.user.name).arg(path).status().unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn random(&self, name: &str, length: usize) -> Vec<u8> {
        let mut content = vec![0; length];
        rand::rng().fill_bytes(&mut content);
        fs::write(self.path(name), &content).unwrap();
        self.own(&self.path(name));
        content
    }

    async fn connect(&self) -> Connection {
        self.connect_to(&self.server.endpoint()).await
    }

    async fn connect_to(&self, at: &Endpoint) -> Connection {
        let credentials = Credentials::new(&self.user.name).with_password(&self.user.password);
        let options = Options::default().with_window(16 << 20);
        connect(at, &credentials, &options, Arc::new(HostKeysInMemory::default())).await.unwrap()
    }
}

async fn read(sftp: &SftpSession, path: &str) -> Result<Vec<u8>, SftpError> {
    let mut file = sftp.read(path, ReadOptions::default()).await?;
    let mut all = Vec::new();
    while let Some(chunk) = file.next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

async fn copy(connection: &Connection, path: &str) -> Result<Vec<u8>, ScpError> {
    let mut file = connection.scp_read(path).await?;
    let mut all = Vec::new();
    while let Some(chunk) = file.next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn files_of_every_size_come_whole() {
    for subsystem in ["internal-sftp", "/usr/lib/openssh/sftp-server"] {
        let place = Place::start("sizes", subsystem);
        let connection = place.connect().await;
        let sftp = connection.sftp().await.unwrap();
        for length in [0, 1, 32_767, 32_768, 32_769, 261_120, 261_121, 3_000_000] {
            let content = place.random("a b.bin", length);
            assert!(read(&sftp, &place.text("a b.bin")).await.unwrap() == content, "sftp {length}");
            assert!(copy(&connection, &place.text("a b.bin")).await.unwrap() == content, "scp {length}");
        }
        let content = place.random("part", 1_000_000);
        for range in [0..0, 0..1, 999_999..1_000_000, 5..700_000, 999_990..2_000_000, 2_000_000..3_000_000] {
            let options = ReadOptions::default().with_range(range.clone()).with_in_flight(3);
            let mut file = sftp.read(place.text("part"), options).await.unwrap();
            let mut got = Vec::new();
            while let Some(chunk) = file.next().await.unwrap() {
                got.extend_from_slice(&chunk);
            }
            let cut = |at: u64| at.min(1_000_000) as usize;
            assert!(got == content[cut(range.start)..cut(range.end)], "{range:?}");
        }
        // A file of the system's own making: it says that it is empty, and is not.
        assert_eq!(read(&sftp, "/proc/version").await.unwrap(), fs::read("/proc/version").unwrap());
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn what_cannot_be_read_says_why() {
    let place = Place::start("faults", "internal-sftp");
    let connection = place.connect().await;
    let sftp = connection.sftp().await.unwrap();
    place.random("secret", 10);
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    place.random("file", 100);
    symlink(place.path("file"), place.path("link")).unwrap();
    symlink(place.path("nowhere"), place.path("broken")).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());

    for (name, fits) in [
        ("missing", "there is no file"),
        ("broken", "there is no file"),
        ("secret", "denies access"),
        ("folder", "is not a file"),
    ] {
        let e = read(&sftp, &place.text(name)).await.unwrap_err();
        assert!(e.to_string().contains(fits) && e.to_string().contains(name), "sftp {name}: {e}");
        let e = copy(&connection, &place.text(name)).await.unwrap_err();
        assert!(e.to_string().contains(fits) && e.to_string().contains(name), "scp {name}: {e}");
    }
    // A pipe would block the server for ever.
    let e = tokio::time::timeout(Duration::from_secs(5), read(&sftp, &place.text("pipe"))).await.unwrap().unwrap_err();
    assert!(matches!(e, SftpError::NotAFile { .. }), "{e}");
    assert_eq!(read(&sftp, &place.text("link")).await.unwrap(), fs::read(place.path("file")).unwrap());
    assert_eq!(sftp.link_stat(place.text("link")).await.unwrap().file_type(), FileType::Link);
    assert_eq!(copy(&connection, &place.text("link")).await.unwrap().len(), 100);
    // A name with everything that a shell would act upon.
    let odd = "odd '$(touch x)`;&\"* name";
    let content = place.random(odd, 10);
    assert_eq!(copy(&connection, &place.text(odd)).await.unwrap(), content);
    assert_eq!(read(&sftp, &place.text(odd)).await.unwrap(), content);
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_file_that_changes_while_it_is_read_is_not_whole() {
    let place = Place::start("changes", "internal-sftp");
    let connection = place.connect().await;
    let sftp = connection.sftp().await.unwrap();
    let length = 40 << 20;
    for change in ["grow", "shrink", "rewrite"] {
        place.random("f", length);
        let mut file = sftp.read(place.text("f"), ReadOptions::default()).await.unwrap();
        file.next().await.unwrap().unwrap();
        let open = fs::OpenOptions::new().append(true).open(place.path("f")).unwrap();
        match change {
            "grow" => open.set_len(length as u64 + 1).unwrap(),
            "shrink" => open.set_len(length as u64 / 2).unwrap(),
            _ => open.set_modified(std::time::UNIX_EPOCH).unwrap(),
        }
        let end = loop {
            match file.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        match change {
            "rewrite" => assert!(end.is_ok() && file.was_rewritten()),
            _ => assert!(matches!(end, Err(SftpError::Incomplete { .. })), "{change}: {end:?}"),
        }
    }
    assert_eq!(read(&sftp, "/proc/version").await.unwrap(), fs::read("/proc/version").unwrap(), "the session goes on");

    place.random("f", length);
    let mut file = connection.scp_read(&place.text("f")).await.unwrap();
    file.next().await.unwrap().unwrap();
    fs::OpenOptions::new().append(true).open(place.path("f")).unwrap().set_len(length as u64 / 2).unwrap();
    let e = loop {
        match file.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut file came whole"),
            Err(e) => break e,
        }
    };
    assert!(matches!(e, ScpError::Incomplete { .. }), "{e}");
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_connection_that_breaks_is_an_error_and_not_an_end() {
    let place = Place::start("cut", "internal-sftp");
    place.random("f", 4 << 20);
    let at = relay(place.server.endpoint(), Duration::ZERO, Trouble::CutAfter(1 << 20)).await;
    let connection = place.connect_to(&at).await;
    let sftp = connection.sftp().await.unwrap();
    let e = tokio::time::timeout(Duration::from_secs(10), read(&sftp, &place.text("f"))).await.unwrap().unwrap_err();
    assert!(matches!(e, SftpError::Lost { .. }), "{e}");
    let connection = place.connect_to(&at).await;
    let e = tokio::time::timeout(Duration::from_secs(10), copy(&connection, &place.text("f"))).await.unwrap();
    assert!(e.is_err(), "a broken connection is no end");
    let silent = relay(place.server.endpoint(), Duration::ZERO, Trouble::SilentAfter(1 << 20)).await;
    let connection = place.connect_to(&silent).await;
    let sftp = connection.sftp().await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(1), read(&sftp, &place.text("f"))).await;
    assert!(waiting.is_err(), "silence is the caller's to bound");
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn what_is_written_is_there_and_replaces_in_one_step() {
    let place = Place::start("write", "internal-sftp");
    let connection = place.connect().await;
    let sftp = connection.sftp().await.unwrap();
    assert!(sftp.can_sync() && sftp.can_replace());
    let content = place.random("source", 5_000_001);
    for (i, length) in [0, 1, 261_121, 5_000_001].into_iter().enumerate() {
        let (new, name) = (place.text("new"), place.text("kept"));
        let mut file = sftp.create(&new, CreateOptions::default().exclusive()).await.unwrap();
        for piece in content[..length].chunks(100_000) {
            file.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(file.written(), length as u64);
        file.sync().await.unwrap();
        file.close().await.unwrap();
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
        if i > 0 {
            assert!(matches!(sftp.rename(&new, &name).await.unwrap_err(), SftpError::Refused { .. }));
            assert!(sftp.hard_link(&new, &name).await.is_err());
        }
        sftp.replace(&new, &name).await.unwrap();
        assert!(fs::read(&name).unwrap() == content[..length]);
    }
    sftp.sync(place.text("")).await.unwrap();
    sftp.hard_link(place.text("kept"), place.text("again")).await.unwrap();
    sftp.set_permissions(place.text("again"), 0o640).await.unwrap();
    sftp.make_folder(place.text("sub"), 0o700).await.unwrap();
    assert!(sftp.make_folder(place.text("sub"), 0o700).await.is_err());
    sftp.rename(place.text("again"), place.text("sub/kept")).await.unwrap();
    assert!(sftp.remove_folder(place.text("sub")).await.is_err());
    let listed = sftp.list(place.text("sub"), 10).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_ref(), listed[0].attributes.size), (1, &b"kept"[..], Some(5_000_001)));
    sftp.remove(place.text("sub/kept")).await.unwrap();
    sftp.remove_folder(place.text("sub")).await.unwrap();
    assert!(matches!(sftp.remove(place.text("sub/kept")).await.unwrap_err(), SftpError::NotFound { .. }));
    assert_eq!(sftp.real_path("/etc/../etc").await.unwrap(), "/etc");
    let space = sftp.space("/").await.unwrap();
    assert!(space.total > 0 && space.available <= space.total);
    let e = sftp.create("/etc/hostile", CreateOptions::default()).await.unwrap_err();
    assert!(matches!(e, SftpError::PermissionDenied { .. }), "{e}");

    for length in [0usize, 1, 300_000] {
        let mut file = connection.scp_write(&place.text("by scp"), length as u64, 0o600).await.unwrap();
        for piece in content[..length].chunks(100_000) {
            file.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert!(file.write(Bytes::from_static(b"x")).await.is_err(), "no more than was offered");
        file.close().await.unwrap();
        assert!(fs::read(place.path("by scp")).unwrap() == content[..length]);
    }
    assert!(matches!(
        connection.scp_write("/etc/hostile", 1, 0o600).await.unwrap_err(),
        ScpError::PermissionDenied { .. }
    ));
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn patterns_meet_files() {
    let place = Place::start("glob", "internal-sftp");
    let connection = place.connect().await;
    let sftp = connection.sftp().await.unwrap();
    for folder in ["a", "b", "shut", ".hidden"] {
        fs::create_dir(place.path(folder)).unwrap();
        for file in ["1.cfg", "2.cfg", "x.bin", ".cfg"] {
            fs::write(place.path(folder).join(file), folder).unwrap();
        }
    }
    fs::set_permissions(place.path("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    symlink("a", place.path("link")).unwrap();
    symlink("nowhere", place.path("a/broken.cfg")).unwrap();
    symlink("1.cfg", place.path("a/link.cfg")).unwrap();
    for (pattern, want, unread) in [
        ("a/*.cfg", &["a/1.cfg", "a/2.cfg", "a/link.cfg"][..], &[][..]),
        ("*/1.cfg", &["a/1.cfg", "b/1.cfg", "link/1.cfg"], &["shut/1.cfg"]),
        ("s*/*.cfg", &[], &["shut"]),
        ("?/[!1].cfg", &["a/2.cfg", "b/2.cfg"], &[]),
        ("a/*.none", &[], &[]),
        ("*", &[], &[]),
        (".h*/x.*", &[".hidden/x.bin"], &[]),
        ("b/x.bin", &["b/x.bin"], &[]),
    ] {
        let pattern = Pattern::parse(place.text(pattern)).unwrap();
        let found = sftp.glob(&pattern, 10).await.unwrap();
        let denied = unread.iter().map(|path| format!("the server denies access to {}", place.text(path)));
        assert_eq!(found.unread.iter().map(ToString::to_string).collect::<Vec<_>>(), denied.collect::<Vec<_>>());
        let found: Vec<_> = found.files.iter().map(|m| String::from_utf8(m.path.clone()).unwrap()).collect();
        let want: Vec<_> = want.iter().map(|w| place.text(w)).collect();
        assert_eq!(found, want, "{pattern:?}");
    }
    let all = Pattern::parse(place.text("*/*.cfg")).unwrap();
    assert!(matches!(sftp.glob(&all, 3).await.unwrap_err(), SftpError::TooMany { most: 3, .. }));
    let none = Pattern::parse(place.text("none/*.cfg")).unwrap();
    assert!(matches!(sftp.glob(&none, 3).await.unwrap_err(), SftpError::NotFound { .. }));
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn two_readers_and_a_writer_share_a_session() {
    let place = Place::start("share", "internal-sftp");
    let connection = place.connect().await;
    let sftp = connection.sftp().await.unwrap();
    let (one, two) = (place.random("one", 9_000_000), place.random("two", 7_000_000));
    let (one_path, two_path) = (place.text("one"), place.text("two"));
    let writing = async {
        let mut file = sftp.create(place.text("three"), CreateOptions::default()).await.unwrap();
        for piece in one.chunks(77_777) {
            file.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        file.close().await.unwrap();
    };
    let (a, b, ()) = tokio::join!(read(&sftp, &one_path), read(&sftp, &two_path), writing);
    assert!(a.unwrap() == one && b.unwrap() == two && fs::read(place.path("three")).unwrap() == one);
}

/// Not a bar but a look: prints MB/s beside the `sftp` program's, and the peak of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs sshd and root"]
async fn a_large_file_streams_in_bounded_memory() {
    for (cipher, subsystem) in
        [("the cipher of our choice", "internal-sftp"), ("aes128-gcm", "internal-sftp\nCiphers aes128-gcm@openssh.com")]
    {
        let place = Place::start(&cipher[..3], subsystem);
        let length: u64 = 250 << 20;
        let mut random = std::io::Read::take(fs::File::open("/dev/urandom").unwrap(), length);
        std::io::copy(&mut random, &mut fs::File::create(place.path("big")).unwrap()).unwrap();
        let rate = |since: Instant| length as f64 / 1e6 / since.elapsed().as_secs_f64();
        let far = relay(place.server.endpoint(), Duration::from_millis(25), Trouble::None).await;
        let before = peak();
        for (what, at) in [("loopback", place.server.endpoint()), ("50 ms round trip", far)] {
            let connection = place.connect_to(&at).await;
            let sftp = connection.sftp().await.unwrap();
            let started = Instant::now();
            let mut file = sftp.read(place.text("big"), ReadOptions::default()).await.unwrap();
            let mut got = 0;
            while let Some(chunk) = file.next().await.unwrap() {
                got += chunk.len() as u64;
            }
            assert_eq!(got, length);
            println!("{cipher}, SFTP, {what}: {:.0} MB/s", rate(started));
            if what == "loopback" {
                let started = Instant::now();
                let mut file = connection.scp_read(&place.text("big")).await.unwrap();
                while file.next().await.unwrap().is_some() {}
                println!("{cipher}, SCP, {what}: {:.0} MB/s", rate(started));
                println!("peak of memory: {} MiB before, {} MiB after", before >> 10, peak() >> 10);
                assert!(peak() - before < 48 << 10, "the whole file is {} KiB", length >> 10);
            }
        }
        let started = Instant::now();
        by_program(&place, "big");
        println!("{cipher}, the sftp program, loopback: {:.0} MB/s", rate(started));
    }
}

fn by_program(place: &Place, name: &str) {
    let key = place.server.path("user_key");
    keygen("ed25519", &key, "");
    fs::copy(key.with_extension("pub"), place.server.path("authorized_keys")).unwrap();
    let done = Command::new("sftp")
        .args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-P"])
        .arg(place.server.endpoint().port.to_string())
        .arg("-i")
        .arg(&key)
        .arg(format!("{}@127.0.0.1:{}", place.user.name, place.text(name)))
        .arg("/dev/null")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The peak of this process's memory, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
