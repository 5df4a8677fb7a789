//! Programs that look at whole files: antivirus, YARA, whatever ends with 0 for a file that may be kept.

use std::ffi::OsString;
use std::io::Seek as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::file_rules::{CheckedFile, FileChecker, Finding};
use devicevault_core::{ByteStream, Error, ErrorKind, Result};
use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};

use crate::files;
use crate::process_group::ProcessGroup;
use crate::settings::CheckerSettings;

/// Stands in a command where a path of the file is wanted.
const FILE: &str = "{file}";
/// The path that a program finds its standard input at.
const STANDARD_INPUT: &str = "/dev/stdin";
/// So much of what it says is kept, of each of its two outputs.
const KEPT: usize = 4 << 10;
/// What says more than this is not going to end by itself.
const MOST_SAID: u64 = 4 << 20;
/// Something that a program left behind may hold its outputs for so long.
const GRACE: Duration = Duration::from_secs(1);

/// A program as a checker. It gets the bytes by its standard input; where its command holds `{file}`, that is a file
/// that can be sought in, which has no name and is gone with the program. It ends with 0: passed; with 1: rejected, for
/// what it said; anything else is no verdict.
///
/// No shell reads the command. Of the environment it has `PATH` and `HOME`, and texts in the C locale. It runs in a
/// process group of its own, and the group is killed when its time is over.
#[derive(Debug)]
pub(crate) struct ProgramChecker {
    settings: CheckerSettings,
    /// Where a file is made that can be sought in.
    scratch: PathBuf,
}

impl ProgramChecker {
    pub(crate) fn new(settings: CheckerSettings, scratch: PathBuf) -> Self {
        Self { settings, scratch }
    }

    fn program(&self) -> &str {
        self.settings.command.first().map_or("", String::as_str)
    }

    fn error(&self, kind: ErrorKind, why: impl Into<String>) -> Error {
        Error::new(kind, "check file", why).with("program", self.program().escape_debug())
    }

    async fn run(&self, file: &CheckedFile) -> Result<Finding> {
        let sought = self.settings.command.iter().any(|part| part.contains(FILE));
        let stdin = if sought { Stdio::from(self.nameless_copy(file).await?) } else { Stdio::piped() };
        let mut command = Command::new(self.program());
        command.args(self.settings.command.iter().skip(1).map(|part| part.replace(FILE, STANDARD_INPUT)));
        command.env_clear().envs(environment()).current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| {
            let why = match e.kind() {
                std::io::ErrorKind::NotFound => "it is not there".to_owned(),
                other => other.to_string(),
            };
            let why = format!("the program cannot be started: {why}");
            self.error(ErrorKind::Config, why).because(e).hint("see the command of the checker in devicevault.toml")
        })?;
        let group = ProcessGroup::of(&child);
        let (out, err) = (Said::default(), Said::default());
        let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut talk = Box::pin(async {
            tokio::try_join!(feed(input, file.body.read(None)), self.listen(stdout, &out), self.listen(stderr, &err))
        });
        let (status, over) = tokio::select! {
            status = child.wait() => (status, false),
            done = &mut talk => {
                done?;
                (child.wait().await, true)
            }
        };
        // Whatever it has left behind ends with it.
        drop(group);
        let status = status.map_err(|e| self.error(ErrorKind::Internal, "its end cannot be told").because(e))?;
        if !over {
            // What it said is there at once; only what left the group can keep the outputs open.
            match tokio::time::timeout(GRACE, &mut talk).await {
                Ok(done) => drop(done?),
                Err(_) => tracing::warn!(event = "checker_left_something_behind", program = %self.program()),
            }
        }
        drop(talk);
        self.finding(status, &out.words(), &err.words())
    }

    fn finding(&self, status: ExitStatus, out: &str, err: &str) -> Result<Finding> {
        let words = if out.trim().is_empty() { err } else { out }.trim();
        match status.code() {
            Some(0) => Ok(Finding::Passed),
            Some(1) => Ok(Finding::Rejected(words.to_owned())),
            _ => {
                let said = if words.is_empty() { String::new() } else { format!(": {words}") };
                Err(self.error(ErrorKind::Refused, format!("it ended with {status}{said}")))
            }
        }
    }

    /// A file without a name, at its beginning, that holds the bytes.
    async fn nameless_copy(&self, file: &CheckedFile) -> Result<std::fs::File> {
        let fail = |e: std::io::Error| {
            files::failed(&e, "check file", "the file for the checker cannot be written", &self.scratch)
        };
        let nameless = files::create_nameless(&self.scratch)?;
        let mut copy = tokio::fs::File::from_std(nameless);
        let mut bytes = file.body.read(None);
        while let Some(chunk) = bytes.next().await {
            copy.write_all(&chunk?).await.map_err(fail)?;
        }
        copy.flush().await.map_err(fail)?;
        let mut copy = copy.into_std().await;
        copy.rewind().map_err(fail)?;
        Ok(copy)
    }

    /// Keeps the beginning of what it says, and lets it say more for a while.
    async fn listen(&self, from: Option<impl AsyncRead + Unpin>, to: &Said) -> Result<()> {
        let Some(mut from) = from else { return Ok(()) };
        let mut buffer = vec![0; 8 << 10];
        let mut total = 0;
        loop {
            let read = from.read(&mut buffer).await;
            let read = read.map_err(|e| self.error(ErrorKind::Internal, "its output cannot be read").because(e))?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { return Ok(()) };
            to.add(part);
            total += read as u64;
            if total > MOST_SAID {
                return Err(self.error(ErrorKind::TooLarge, format!("it said more than {MOST_SAID} bytes")));
            }
        }
    }
}

#[async_trait]
impl FileChecker for ProgramChecker {
    async fn check(&self, file: &CheckedFile) -> Result<Finding> {
        match tokio::time::timeout(self.settings.timeout, self.run(file)).await {
            Ok(found) => found,
            Err(_) => {
                let seconds = self.settings.timeout.as_secs_f64();
                Err(self.error(ErrorKind::Timeout, format!("it took longer than the {seconds} s that it may")))
            }
        }
    }
}

/// Hands over the bytes. A program that wants no more of them has what it needs.
async fn feed(to: Option<ChildStdin>, mut bytes: ByteStream<'static>) -> Result<()> {
    let Some(mut to) = to else { return Ok(()) };
    while let Some(chunk) = bytes.next().await {
        if to.write_all(&chunk?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// All that a program gets of the environment.
fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let kept = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    kept.chain([("LC_ALL", OsString::from("C"))])
}

/// The beginning of what a program said.
#[derive(Debug, Default)]
struct Said(Mutex<Vec<u8>>);

impl Said {
    fn add(&self, part: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len()).min(part.len());
        kept.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use bytes::Bytes;
    use devicevault_core::{Body, Digest};
    use tempfile::TempDir;

    use super::*;

    /// A program of the shell, at work in a folder of its own.
    struct Program(TempDir);

    impl Program {
        fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("checker");
            std::fs::write(&path, format!("#!/bin/sh\nhere='{}'\n{script}\n", dir.path().display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            Self(dir)
        }

        /// By the shell: a file that was just written may be open for writing in a child that another test forks.
        fn checker(&self, args: &[&str], timeout: Duration) -> ProgramChecker {
            let script = self.0.path().join("checker").display().to_string();
            let command = ["/bin/sh", &script].iter().chain(args).map(ToString::to_string).collect();
            ProgramChecker::new(CheckerSettings { command, timeout }, self.0.path().to_owned())
        }

        async fn checks(&self, args: &[&str], content: impl Into<Bytes>) -> Result<Finding> {
            self.checker(args, Duration::from_secs(60)).check(&file(content)).await
        }

        /// Whether a process that wrote its number here is gone, or going.
        async fn is_gone(&self, name: &str) -> bool {
            let number = std::fs::read_to_string(self.0.path().join(name)).unwrap();
            let status = format!("/proc/{}/stat", number.trim());
            for _ in 0..3000 {
                // One that nobody has waited for yet has ended all the same.
                match std::fs::read_to_string(&status) {
                    Ok(stat) if !stat.contains(") Z") => tokio::time::sleep(Duration::from_millis(10)).await,
                    _ => return true,
                }
            }
            false
        }
    }

    fn file(content: impl Into<Bytes>) -> CheckedFile {
        let content: Bytes = content.into();
        CheckedFile::new("fw1", "state", Digest::of(&content), Arc::new(content))
    }

    #[tokio::test]
    async fn how_it_ends_is_the_verdict() {
        let by_code = Program::new("cat > /dev/null; echo \"  Eicar found \"; echo noise >&2; exit \"$1\"");
        assert_eq!(by_code.checks(&["0"], "x").await.unwrap(), Finding::Passed);
        assert_eq!(by_code.checks(&["1"], "x").await.unwrap(), Finding::Rejected("Eicar found".to_owned()));
        let e = by_code.checks(&["2"], "x").await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Refused);
        assert!(e.to_string().contains("exit status: 2") && e.to_string().contains("Eicar"), "{e}");
        let e = Program::new("kill -9 $$").checks(&[], "x").await.unwrap_err();
        assert!(e.to_string().contains("signal: 9"), "{e}");
        let quiet = Program::new("echo said to the other >&2; exit 1").checks(&[], "x").await.unwrap();
        assert_eq!(quiet, Finding::Rejected("said to the other".to_owned()));
    }

    #[tokio::test]
    async fn it_gets_every_byte_by_a_pipe_or_in_a_file_that_is_gone_with_it() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let want = Digest::of(&content).to_string();
        let by_pipe = Program::new("sha256sum | cut -c1-64; exit 1");
        assert_eq!(by_pipe.checks(&[], content.clone()).await.unwrap(), Finding::Rejected(want.clone()));
        let sought = Program::new(
            "tail -c 3 \"$1\" > /dev/null && head -c 10 \"$1\" > /dev/null; sha256sum \"$1\" | cut -c1-64; exit 1",
        );
        assert_eq!(sought.checks(&["{file}"], content).await.unwrap(), Finding::Rejected(want));
        let left: Vec<_> = std::fs::read_dir(sought.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["checker"], "nothing of the file is left");
    }

    #[tokio::test]
    async fn one_that_is_not_there_or_cannot_be_started_gives_no_verdict() {
        for program in ["/nonexistent/checker", "no-such-program-anywhere", "/etc/passwd"] {
            let settings = CheckerSettings { command: vec![program.to_owned()], timeout: Duration::from_secs(60) };
            let checker = ProgramChecker::new(settings, std::env::temp_dir());
            let e = checker.check(&file("x")).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(e.to_string().contains(program), "{e}");
        }
    }

    #[tokio::test]
    async fn one_that_closes_its_input_early_says_its_word_all_the_same() {
        let big = vec![7; 4 << 20];
        let early = Program::new("head -c 4 > /dev/null; exec <&-; echo enough; exit 1");
        assert_eq!(early.checks(&[], big.clone()).await.unwrap(), Finding::Rejected("enough".to_owned()));
        assert_eq!(Program::new("exit 0").checks(&[], big).await.unwrap(), Finding::Passed);
    }

    #[tokio::test]
    async fn one_that_prints_without_end_is_ended() {
        let endless =
            Program::new("echo $$ > $here/pid; while :; do echo yes yes yes yes yes yes yes yes yes yes yes; done");
        let e = endless.checks(&[], "x").await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TooLarge, "{e}");
        assert!(endless.is_gone("pid").await);
        let much = Program::new("head -c 1000000 /dev/zero | tr '\\0' 'x'; exit 1").checks(&[], "x").await.unwrap();
        assert!(matches!(much, Finding::Rejected(words) if words.len() == KEPT), "its beginning is kept");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_started() {
        let hangs = Program::new("echo $$ > $here/pid; sleep 1000 & echo $! > $here/child; wait");
        // Long enough for it to have begun: a deadline that passes before is tried again with a longer one.
        let mut timeout = Duration::from_millis(500);
        loop {
            let checker = hangs.checker(&[], timeout);
            let e = checker.check(&file("x")).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Timeout, "{e}");
            let begun = std::fs::read_to_string(hangs.0.path().join("child")).is_ok_and(|n| n.ends_with('\n'));
            if begun {
                break;
            }
            timeout *= 2;
        }
        assert!(hangs.is_gone("pid").await && hangs.is_gone("child").await);
    }

    #[tokio::test]
    async fn what_it_leaves_behind_ends_with_it() {
        let leaves = Program::new("sleep 1000 & echo $! > $here/child; echo bad; exit 1");
        assert_eq!(leaves.checks(&[], "x").await.unwrap(), Finding::Rejected("bad".to_owned()));
        assert!(leaves.is_gone("child").await);
        let apart = Program::new("setsid sleep 3 & echo bad; exit 1");
        assert_eq!(apart.checks(&[], "x").await.unwrap(), Finding::Rejected("bad".to_owned()));
    }

    #[tokio::test]
    async fn it_gets_nothing_of_the_environment_but_what_programs_need() {
        let tells =
            Program::new("env | cut -d= -f1 | sort | grep -v -x -e PWD -e _ -e SHLVL -e OLDPWD | tr '\\n' ' '; exit 1");
        let Finding::Rejected(names) = tells.checks(&[], "x").await.unwrap() else { panic!("it ended with 1") };
        assert!(names.split_whitespace().all(|name| ["HOME", "LC_ALL", "PATH"].contains(&name)), "{names}");
    }

    #[tokio::test]
    async fn bytes_that_cannot_be_read_are_no_verdict() {
        #[derive(Debug)]
        struct Broken;
        impl Body for Broken {
            fn len(&self) -> u64 {
                10
            }
            fn read(&self, _: Option<std::ops::Range<u64>>) -> ByteStream<'static> {
                let broken = Error::new(ErrorKind::Corrupt, "read spool", "it is damaged");
                futures::stream::iter([Ok(Bytes::from_static(b"half")), Err(broken)]).boxed()
            }
        }
        for args in [&[][..], &["{file}"]] {
            let program = Program::new("cat > /dev/null; exit 0");
            let checker = program.checker(args, Duration::from_secs(60));
            let e =
                checker.check(&CheckedFile::new("fw1", "state", Digest::of(b""), Arc::new(Broken))).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        }
    }
}
