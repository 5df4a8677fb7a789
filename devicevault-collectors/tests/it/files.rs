//! Files of a real server, over SFTP and SCP.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_collectors::{PlatformSet, ScpCollector, SftpCollector, SshDialer};
use devicevault_core::{
    ArtifactInfo, Collector, Device, Error, ErrorKind, Kind, Login, Note, NoteLevel, Result, SecretString, Sink,
    StepLimits, Target,
};
use devicevault_ssh::{Endpoint, HostKeysInMemory};
use devicevault_testkit::conformance::{self, Situation, Subject};
use devicevault_testkit::recording::{Ending, RecordingSink};
use proptest::prelude::*;

use crate::relay::{Trouble, relay};
use crate::server::{Sshd, User, keygen};

/// A server, a user, and a folder that is the user's.
struct Place {
    server: Sshd,
    user: User,
    folder: tempfile::TempDir,
}

impl Place {
    fn start(tag: &str, extra: &str) -> Self {
        let config = format!("UsePAM yes\nSubsystem sftp internal-sftp\n{extra}");
        let (server, user) = (Sshd::start(&config), User::create(tag));
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { server, user, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8], seconds: u64) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn target(&self, at: &Endpoint, options: &[(&str, &str)]) -> Target {
        let mut device = Device::new("d1", "d1", at.host.clone(), "linux");
        device.port = Some(at.port);
        device.options = options.iter().map(|(k, v)| ((*k).to_owned(), v.replace("DIR", self.folder()))).collect();
        let mut login = Login::default();
        login.username.clone_from(&self.user.name);
        login.password = Some(SecretString::from(self.user.password.clone()));
        Target::new(device, login)
    }

    fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    async fn collect(&self, collector: &dyn Collector, options: &[(&str, &str)]) -> (Result<()>, RecordingSink) {
        let mut sink = RecordingSink::new();
        let target = self.target(&self.server.endpoint(), options);
        let declared: Vec<_> = collector.artefacts(&target).unwrap().into_iter().map(|a| a.name).collect();
        let done = collector.collect(&target, &mut sink).await;
        assert!(sink.violations().is_empty(), "{:?}", sink.violations());
        assert!(sink.artefacts().iter().all(|a| declared.contains(&a.info.name)));
        (done, sink)
    }

    fn logins(&self) -> usize {
        self.server.log().matches("Accepted ").count()
    }
}

fn dialer() -> SshDialer {
    SshDialer::new(Arc::new(HostKeysInMemory::default()))
}

fn sftp() -> SftpCollector {
    SftpCollector::new(Arc::new(PlatformSet::built_in()), dialer())
}

fn scp() -> ScpCollector {
    ScpCollector::new(Arc::new(PlatformSet::built_in()), dialer())
}

fn both() -> [Box<dyn Collector>; 2] {
    [Box::new(sftp()), Box::new(scp())]
}

fn failure(sink: &RecordingSink, artefact: &str) -> Error {
    let found = sink.artefacts().into_iter().find(|a| a.info.name == artefact).unwrap();
    match found.ending {
        Ending::Failed(e) => e,
        other => panic!("{artefact}: {other:?}"),
    }
}

/// Bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut step).flatten().take(length).collect()
}

async fn promises(collector: Arc<dyn Collector>) {
    let place = Place::start("suite", "");
    let content = noise(1 << 20);
    place.write("a.bin", &content, 1);
    place.write("b.cfg", b"hostname b\n", 1);
    let scene = async |s: Situation| subject(s, &place, &content, collector.clone()).await;
    conformance::collector(scene).await.assert();
}

async fn subject(
    situation: Situation,
    place: &Place,
    content: &[u8],
    collector: Arc<dyn Collector>,
) -> Result<Option<Subject>> {
    let trouble = match situation {
        Situation::CutOff => Trouble::CutAfter(300_000),
        Situation::Stalled => Trouble::SilentAfter(300_000),
        _ => Trouble::None,
    };
    let at = relay(place.server.endpoint(), Duration::ZERO, trouble).await;
    let options = [("files.a", "DIR/a.bin"), ("files.b", "DIR/b.cfg"), ("files.b.kind", "text")];
    let mut target = place.target(&at, &options);
    if situation == Situation::WrongPassword {
        target.login.password = Some(SecretString::from("not-the-password"));
    }
    let mut limits = StepLimits::default();
    // Where silence is not what is looked at, a busy machine may take its time.
    if situation == Situation::Stalled {
        limits.inactivity = Duration::from_millis(700);
        limits.command = Duration::from_millis(2000);
    }
    let subject = Subject::new(collector, target.with_limits(limits));
    Ok(Some(subject.with_content("a", content.to_vec()).with_content("b", &b"hostname b\n"[..])))
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn the_sftp_collector_keeps_its_promises() {
    promises(Arc::new(sftp())).await;
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn the_scp_collector_keeps_its_promises() {
    promises(Arc::new(scp())).await;
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn several_files_come_over_one_connection() {
    let place = Place::start("several", "");
    let big = noise(3_000_001);
    place.write("big.img", &big, 5);
    place.write("empty", b"", 5);
    place.write("startup.cfg", b"hostname a\n caf\xe9\n", 5);
    symlink(place.path("startup.cfg"), place.path("link")).unwrap();
    for (i, collector) in both().iter().enumerate() {
        let options = [
            ("files.big", "DIR/big.img"),
            ("files.empty", "DIR/empty"),
            ("files.empty.min_size", "0"),
            ("files.startup", "DIR/link"),
            ("files.startup.kind", "text"),
            ("files.startup.max_size", "1KiB"),
        ];
        let (done, sink) = place.collect(collector.as_ref(), &options).await;
        done.unwrap();
        assert!(sink.content("big").unwrap() == big);
        assert_eq!(sink.content("empty").unwrap(), "");
        assert_eq!(sink.content("startup").unwrap(), &b"hostname a\n caf\xe9\n"[..]);
        let infos: Vec<_> = sink.artefacts().into_iter().map(|a| (a.info.kind, a.info.extension)).collect();
        let is = |kind, extension: &str| (kind, extension.to_owned());
        assert_eq!(infos, [is(Kind::Binary, "img"), is(Kind::Binary, "bin"), is(Kind::Text, "txt")]);
        assert_eq!(place.logins(), i + 1);
        assert!(sink.notes().is_empty(), "{:?}", sink.notes());
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn what_fails_is_told_and_the_rest_is_had() {
    let place = Place::start("rest", "");
    place.write("good", b"good", 5);
    place.write("large", &noise(5000), 5);
    place.write("secret", b"x", 5);
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    for collector in both() {
        let options = [
            ("files.a-missing", "DIR/missing"),
            ("files.b-missing", "DIR/missing"),
            ("files.b-missing.mandatory", "no"),
            ("files.folder", "DIR/folder"),
            ("files.large", "DIR/large"),
            ("files.large.max_size", "4999"),
            ("files.secret", "DIR/secret"),
            ("files.z-good", "DIR/good"),
        ];
        let (done, sink) = place.collect(collector.as_ref(), &options).await;
        done.unwrap();
        assert_eq!(sink.content("z-good").unwrap(), "good");
        for (artefact, kind) in [
            ("a-missing", ErrorKind::NotFound),
            ("folder", ErrorKind::Config),
            ("large", ErrorKind::TooLarge),
            ("secret", ErrorKind::PermissionDenied),
        ] {
            let e = failure(&sink, artefact);
            assert_eq!(e.kind(), kind, "{e:?}");
            assert!(e.to_string().contains(artefact.trim_start_matches("a-")), "{e}");
        }
        assert!(!sink.artefacts().iter().any(|a| a.info.name == "b-missing"));
        assert!(sink.notes().iter().any(|n| n.level == NoteLevel::Info && n.text.contains("no b-missing")));
        let large = sink.artefacts().into_iter().find(|a| a.info.name == "large").unwrap();
        assert!(large.content.is_empty(), "it was not fetched");
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_pattern_takes_what_it_is_told_to() {
    let place = Place::start("pattern", "");
    for (name, seconds) in [("b-1.bin", 30), ("b-2.bin", 20), ("b-3.bin", 30), ("c.txt", 99), ("d/b-9.bin", 99)] {
        place.write(name, name.as_bytes(), seconds);
    }
    let options = [
        ("files.all", "DIR/b-*.bin"),
        ("files.all.take", "all"),
        ("files.last", "DIR/*.bin"),
        ("files.last.take", "last"),
        ("files.newest", "DIR/b-?.bin"),
        ("files.newest.take", "newest"),
        ("files.none", "DIR/*.none"),
        ("files.one", "DIR/[c]*"),
        ("files.several", "DIR/b*"),
    ];
    let (done, sink) = place.collect(&sftp(), &options).await;
    done.unwrap();
    assert_eq!(sink.content("last").unwrap(), "b-3.bin");
    assert_eq!(sink.content("newest").unwrap(), "b-3.bin", "of the same second the last by name");
    assert_eq!(sink.content("one").unwrap(), "c.txt");
    assert_eq!(failure(&sink, "none").kind(), ErrorKind::NotFound);
    let e = failure(&sink, "several");
    assert!(e.kind() == ErrorKind::Config && e.to_string().contains("3 files"), "{e}");
    assert!(sink.notes().iter().any(|n| n.text.contains("c.txt")), "the log says which: {:?}", sink.notes());
    let listed = unpack(&sink.content("all").unwrap(), place.path("out").as_path());
    let folder = place.folder().trim_start_matches('/');
    assert_eq!(listed, ["b-1.bin", "b-2.bin", "b-3.bin"].map(|n| format!("{folder}/{n}")));
    assert_eq!(fs::read(place.path("out").join(folder).join("b-2.bin")).unwrap(), b"b-2.bin");
    // Nothing in it but what the files are: the same files, the same archive.
    let (_, again) = place.collect(&sftp(), &options[..2]).await;
    assert!(again.content("all") == sink.content("all"));
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn what_may_not_be_looked_into_is_told() {
    let place = Place::start("shut", "");
    for name in ["s1/x.db", "s2/x.db"] {
        place.write(name, name.as_bytes(), 1);
    }
    fs::set_permissions(place.path("s2"), fs::Permissions::from_mode(0o700)).unwrap();
    let options = [
        ("files.all", "DIR/s*/x.db"),
        ("files.all.take", "all"),
        ("files.none", "DIR/s*2/*"),
        ("files.none.take", "newest"),
        ("files.none.mandatory", "no"),
    ];
    let (done, sink) = place.collect(&sftp(), &options).await;
    done.unwrap();
    let doubts: Vec<_> = sink.notes().iter().filter(|n| n.level == NoteLevel::Suspect).collect();
    let [doubt] = &doubts[..] else { panic!("{doubts:?}") };
    assert!(doubt.text.contains("denies access") && doubt.text.contains("s2/x.db"), "{doubt:?}");
    assert!(sink.content("all").unwrap().len() > 512);
    // Of a folder that nobody may look into, nobody says that there is nothing in it.
    assert_eq!(failure(&sink, "none").kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_file_that_is_written_to_while_it_is_read_is_suspect_over_scp_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("later");
    let changed = folder.path().join("changed");
    // As if somebody had written to the one file while it was read.
    let text = format!(
        "#!/bin/sh\nsh -c \"$SSH_ORIGINAL_COMMAND\"\ncase $SSH_ORIGINAL_COMMAND in *{0}) touch -d @9 {0};; esac\n",
        changed.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::start("torn", &format!("ForceCommand {}", script.display()));
    fs::write(&changed, "changed").unwrap();
    let own = Command::new("chown").arg(&place.user.name).arg(&changed).status().unwrap();
    assert!(own.success());
    place.write("still", b"still", 5);
    let options = [("files.a", changed.to_str().unwrap()), ("files.b", "DIR/still")];
    let (done, sink) = place.collect(&scp(), &options).await;
    done.unwrap();
    assert_eq!((&sink.content("a").unwrap()[..], &sink.content("b").unwrap()[..]), (&b"changed"[..], &b"still"[..]));
    let doubts: Vec<_> = sink.notes().iter().filter(|n| n.level == NoteLevel::Suspect).collect();
    assert!(doubts.len() == 1 && doubts[0].text.contains("changed was written to"), "{doubts:?}");
}

/// Unpacks by the program `tar`; the names it lists.
fn unpack(archive: &[u8], into: &Path) -> Vec<String> {
    fs::create_dir_all(into).unwrap();
    let file = into.join("archive.tar");
    fs::write(&file, archive).unwrap();
    let done = Command::new("tar").arg("-xvf").arg(&file).arg("-C").arg(into).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn an_archive_holds_names_of_any_length_and_files_of_any_size() {
    let place = Place::start("archive", "");
    let deep = format!("deep/{}/{}", "d".repeat(120), "f".repeat(200));
    let sizes = [0usize, 1, 511, 512, 513, 300_000];
    for size in sizes {
        place.write(&format!("{deep}-{size}"), &noise(size), 1_700_000_000);
    }
    fs::set_permissions(place.path(&format!("{deep}-1")), fs::Permissions::from_mode(0o744)).unwrap();
    let options = [("files.set", "DIR/deep/*/*"), ("files.set.take", "all")];
    let (done, sink) = place.collect(&sftp(), &options).await;
    done.unwrap();
    let out = place.path("out");
    assert_eq!(unpack(&sink.content("set").unwrap(), &out).len(), sizes.len());
    for size in sizes {
        let path = out.join(place.folder().trim_start_matches('/')).join(format!("{deep}-{size}"));
        assert!(fs::read(&path).unwrap() == noise(size));
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert_eq!(meta.permissions().mode() & 0o777, if size == 1 { 0o744 } else { 0o644 });
    }
    let (_, sink) = place.collect(&sftp(), &[options[0], options[1], ("files.set.max_size", "300KB")]).await;
    assert_eq!(failure(&sink, "set").kind(), ErrorKind::TooLarge);
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_device_that_hangs_up_behind_each_file_is_called_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("once");
    // The server's process for this connection is the parent of this, or of the shell that runs this.
    let text =
        "#!/bin/sh\nsh -c \"$SSH_ORIGINAL_COMMAND\"\nread -r _ _ _ above _ </proc/$PPID/stat\nkill -9 $above $PPID\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::start("hangup", &format!("ForceCommand {}", script.display()));
    for name in ["a", "b", "c"] {
        place.write(name, name.as_bytes(), 5);
    }
    let options = [("files.a", "DIR/a"), ("files.b", "DIR/b"), ("files.c", "DIR/c")];
    let (done, sink) = place.collect(&scp(), &options).await;
    done.unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(sink.content(name).unwrap(), name);
    }
    assert_eq!(place.logins(), 3);
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn what_the_device_does_not_offer_is_said_with_the_way_out() {
    let place = Place::start("lacks", "ForceCommand /bin/false\nSubsystem none /bin/false");
    let options = [("files.a", "DIR/a")];
    let (_, sink) = place.collect(&scp(), &options).await;
    let e = failure(&sink, "a");
    assert!(e.kind() == ErrorKind::Unsupported && e.hint_text().unwrap().contains("sftp"), "{e:?}");
    let (done, _) = place.collect(&sftp(), &options).await;
    let e = done.unwrap_err();
    assert!(!format!("{e:?}").contains(&place.user.password));
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_key_and_a_pinned_host_key_do() {
    let place = Place::start("key", "PasswordAuthentication no");
    place.write("a", b"a", 5);
    let key = place.server.path("user_key");
    keygen("ed25519", &key, "a passphrase");
    fs::copy(key.with_extension("pub"), place.server.path("authorized_keys")).unwrap();
    let fingerprint = Command::new("ssh-keygen").arg("-lf").arg(place.server.path("ed25519.pub")).output().unwrap();
    let fingerprint = String::from_utf8(fingerprint.stdout).unwrap();
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    let other = "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo";
    for (collector, pinned) in both().into_iter().flat_map(|c| [fingerprint, other].map(|f| (c.info().key.clone(), f)))
    {
        let collector = both().into_iter().find(|c| c.info().key == collector).unwrap();
        let options = [("files.a", "DIR/a"), ("ssh.host_key_fingerprint", pinned)];
        let mut target = place.target(&place.server.endpoint(), &options);
        target.login.password = None;
        target.login.private_key = Some(SecretString::from(fs::read_to_string(&key).unwrap()));
        target.login.passphrase = Some(SecretString::from("a passphrase"));
        let mut sink = RecordingSink::new();
        let done = collector.collect(&target, &mut sink).await;
        match pinned == other {
            true => assert_eq!(done.unwrap_err().kind(), ErrorKind::HostKeyRejected),
            false => assert_eq!(sink.content("a").unwrap(), "a"),
        }
    }
}

/// Drops what it gets, and touches the file after the first bytes of it.
#[derive(Default)]
struct Meddler {
    file: Option<PathBuf>,
    change: &'static str,
    notes: Vec<Note>,
    ended: usize,
    failed: Vec<Error>,
    bytes: u64,
}

#[async_trait]
impl Sink for Meddler {
    fn wants(&self, _artefact: &str) -> bool {
        true
    }

    async fn begin(&mut self, _artefact: ArtifactInfo) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.bytes += chunk.len() as u64;
        if let Some(path) = self.file.take() {
            let file = fs::File::options().append(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            match self.change {
                "grow" => file.set_len(length + 1).unwrap(),
                "shrink" => file.set_len(length / 2).unwrap(),
                _ => file.set_modified(UNIX_EPOCH).unwrap(),
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.ended += 1;
        Ok(())
    }

    async fn fail(&mut self, error: Error) -> Result<()> {
        self.failed.push(error);
        Ok(())
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_file_that_changes_under_the_reader_is_no_success() {
    let place = Place::start("meddle", "");
    let options = [("files.a", "DIR/a"), ("files.b", "DIR/b")];
    place.write("b", b"b", 5);
    let cases = [(&both()[0], "grow"), (&both()[0], "shrink"), (&both()[0], "rewrite"), (&both()[1], "shrink")]
        .map(|(c, change)| (c.info().key.clone(), change));
    for (key, change) in cases {
        let collector = both().into_iter().find(|c| c.info().key == key).unwrap();
        place.write("a", &noise(40 << 20), 5);
        let target = place.target(&place.server.endpoint(), &options);
        let mut sink = Meddler { file: Some(place.path("a")), change, ..Meddler::default() };
        collector.collect(&target, &mut sink).await.unwrap();
        if change == "rewrite" {
            assert_eq!(sink.ended, 2);
            assert!(sink.notes.iter().any(|n| n.level == NoteLevel::Suspect), "{:?}", sink.notes);
            continue;
        }
        assert_eq!((sink.ended, sink.failed.len()), (1, 1), "{key} {change}: the other file is whole");
        assert_eq!(sink.failed[0].kind(), ErrorKind::Incomplete, "{:?}", sink.failed[0]);
    }
}

#[tokio::test]
#[ignore = "needs sshd and root"]
async fn a_large_file_takes_little_memory() {
    let place = Place::start("memory", "");
    let length = 250u64 << 20;
    let mut from = std::io::Read::take(fs::File::open("/dev/urandom").unwrap(), length);
    std::io::copy(&mut from, &mut fs::File::create(place.path("big")).unwrap()).unwrap();
    for collector in both() {
        let before = peak();
        let target = place.target(&place.server.endpoint(), &[("files.big", "DIR/big")]);
        let mut sink = Meddler::default();
        let started = tokio::time::Instant::now();
        collector.collect(&target, &mut sink).await.unwrap();
        let rate = length as f64 / 1e6 / started.elapsed().as_secs_f64();
        assert_eq!((sink.ended, sink.bytes), (1, length));
        let more = (peak() - before) >> 10;
        println!("{}: {rate:.0} MB/s, {more} MiB more at the peak", collector.info().key);
        assert!(more < 48, "{}: {more} MiB", collector.info().key);
    }
}

/// The peak of this process's memory, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

proptest! {
    #[test]
    fn options_are_all_or_nothing(key in "(files|sftp|scp|ssh)[.][a-z._]{0,16}", value in ".{0,24}") {
        let mut device = Device::new("d", "d", "h", "linux");
        device.options.insert("files.a".into(), "/a".into());
        device.options.insert(key, value);
        let target = Target::new(device, Login::default());
        for collector in both() {
            match collector.artefacts(&target) {
                Ok(artefacts) => prop_assert!(!artefacts.is_empty()),
                Err(e) => prop_assert_eq!(e.kind(), ErrorKind::Config),
            }
        }
    }
}
