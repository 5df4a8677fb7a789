//! A running `ssh`: its streams, and what its end means.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::{Error, ErrorKind, Result, Retry, Turn};
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::askpass::{Asking, Folder};
use crate::escape::shown;
use crate::transport::{RunEnd, Running, Terminal};

/// Ends with this value.
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Arc<Mutex<Vec<u8>>>,
    reading_errors: Option<JoinHandle<()>>,
    read_any: bool,
    /// What was read, until the conversation has its turn.
    arrived: Option<Bytes>,
    turn: Turn,
    /// Told once the device was reached: it asks for a secret, or the login is over.
    reached: Arc<Notify>,
    asking: Asking,
    /// The login is over.
    is_in: Arc<AtomicBool>,
    status: Option<i32>,
    _folder: Arc<Folder>,
}

/// What a command of ours says on standard error when the login is over. A device that says it too gains nothing by it.
pub(super) const LOGGED_IN: &str = "devicevault-logged-in";
/// What is kept of standard error.
const MOST_ERRORS: usize = 4096;
const PIECE: usize = 16 << 10;
/// How long its end is waited for when its output has ended.
const ENDING: Duration = Duration::from_secs(2);
/// How `ssh` ends when it fails by itself (`ssh(1)`, EXIT STATUS).
const OWN_FAILURE: i32 = 255;

impl Process {
    pub(super) fn new(
        mut child: Child,
        folder: Arc<Folder>,
        turn: Turn,
        (reached, asking): (Arc<Notify>, Asking),
    ) -> Self {
        let errors = Arc::<Mutex<Vec<u8>>>::default();
        let is_in = Arc::<AtomicBool>::default();
        let reading_errors = child.stderr.take().map(|mut stream| {
            let (errors, turn, reached) = (errors.clone(), turn.clone(), reached.clone());
            let is_in = is_in.clone();
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(got @ 1..) = stream.read(&mut piece).await {
                    if keep(&errors, piece.get(..got).unwrap_or_default()) {
                        is_in.store(true, Ordering::Relaxed);
                        reached.notify_one();
                        turn.reached().await;
                    }
                }
            })
        });
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Self {
            child,
            input,
            output,
            errors,
            reading_errors,
            read_any: false,
            arrived: None,
            turn,
            reached,
            asking,
            is_in,
            status: None,
            _folder: folder,
        }
    }

    fn errors(&self) -> Vec<u8> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the password was told, and nobody knows yet whether it is accepted.
    fn awaits_verdict(&self) -> bool {
        self.asking.was_given() && !self.is_in.load(Ordering::Relaxed)
    }

    /// Waits until the device was reached, and tells why it was not: a session would find no prompt, and blame itself.
    pub(super) async fn reach(&mut self, limit: Duration) -> Result<()> {
        let reached = self.reached.clone();
        let first = async {
            tokio::select! {
                () = reached.notified() => Ok(None),
                arrived = self.arrive() => arrived,
            }
        };
        match tokio::time::timeout(limit, first).await {
            Ok(arrived) => {
                self.arrived = arrived?;
                Ok(())
            }
            Err(_) => {
                let message = "the system's ssh does not reach the device in time";
                let e = Error::new(ErrorKind::Unreachable, "connect", message).with("ssh says", said(&self.errors()));
                Err(e.with("after", format!("{} s", limit.as_secs_f32())))
            }
        }
    }

    /// The next bytes; `None` at a good end. Cancel safe: a pipe is read at once or not at all, and what was read is kept.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        if self.arrived.is_none() {
            self.arrived = self.arrive().await?;
        }
        if self.arrived.is_some() {
            self.turn.reached().await;
        }
        Ok(self.arrived.take())
    }

    async fn arrive(&mut self) -> Result<Option<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let got = match &mut self.output {
            None => return Ok(None),
            Some(output) => tokio::select! {
                got = output.read_buf(&mut piece) => got,
                why = self.asking.why() => {
                    // It waits for an answer that does not come.
                    let _ = self.child.start_kill();
                    return Err(why);
                }
            },
        };
        match got {
            Ok(1..) => {
                self.read_any = true;
                Ok(Some(piece.freeze()))
            }
            _ => {
                self.ended().await?;
                self.output = None;
                Ok(None)
            }
        }
    }

    async fn ended(&mut self) -> Result<()> {
        let status = tokio::time::timeout(ENDING, self.child.wait()).await;
        if let Some(reading) = &mut self.reading_errors {
            // Not taken before it has ended: whoever drops this future asks again.
            let _ = tokio::time::timeout(ENDING, reading).await;
            self.reading_errors = None;
        }
        self.status = status.ok().and_then(std::io::Result::ok).and_then(|s| s.code());
        if self.status == Some(OWN_FAILURE) { Err(failure(&self.errors(), self.read_any)) } else { Ok(()) }
    }
}

/// Keeps what the program says, but for the word that it has logged in. Tells whether that was there.
fn keep(errors: &Mutex<Vec<u8>>, piece: &[u8]) -> bool {
    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MOST_ERRORS.saturating_sub(errors.len()).min(piece.len());
    errors.extend_from_slice(piece.get(..room).unwrap_or_default());
    let Some(at) = memchr::memmem::find(&errors, LOGGED_IN.as_bytes()) else { return false };
    let end = at + LOGGED_IN.len();
    let line_end = usize::from(errors.get(end) == Some(&b'\n'));
    errors.drain(at..end + line_end);
    true
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Whether `ssh` says that its login was refused: `USER@HOST: Permission denied (METHODS).` A program on the way to the
/// device, or the shell that runs it, says the same of files.
fn is_refusal(line: &str) -> bool {
    let who = line.split_once(": permission denied (").map(|(who, _)| who.trim_start());
    who.is_some_and(|who| who.contains('@') && !who.contains(char::is_whitespace))
}

/// What `ssh` says when it fails.
fn failure(errors: &[u8], read_any: bool) -> Error {
    let text = String::from_utf8_lossy(errors).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    // A jump host that a proxy command logs in at may refuse in the same words.
    let is_reached = !has(&["kex_exchange_identification", "connection closed by unknown"]);
    let (kind, operation) =
        if has(&["host key verification failed", "identification has changed", "no matching host key fingerprint"]) {
            (ErrorKind::HostKeyRejected, "check host key")
        } else if is_reached && (text.lines().any(is_refusal) || has(&["too many authentication failures"])) {
            (ErrorKind::AuthRejected, "log in")
        } else if has(&["unable to negotiate", "no matching", "bad ssh2"]) {
            (ErrorKind::Unsupported, "negotiate algorithms")
        } else if has(&[
            "could not resolve",
            "connection refused",
            "no route",
            "unreachable",
            "timed out",
            "cannot assign",
        ]) {
            (ErrorKind::Unreachable, "connect")
        } else if read_any {
            (ErrorKind::Incomplete, "talk to device")
        } else {
            (ErrorKind::Unavailable, "connect")
        };
    let e = Error::new(kind, operation, format!("the system's ssh ended; it says: {}", said(errors)));
    match kind {
        ErrorKind::Unsupported => e.retry_advice(Retry::Never).hint("try ssh.profile = \"legacy\" or \"ancient\" for this device"),
        ErrorKind::AuthRejected => e.hint("check user name and credential of this device"),
        ErrorKind::HostKeyRejected => e.hint("compare the device's fingerprint with its own; `devicevault device host-key forget` drops the recorded one"),
        _ => e,
    }
}

/// Its last lines.
fn said(errors: &[u8]) -> String {
    let lines: Vec<&[u8]> = errors.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    let said = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(&b"; "[..]);
    if said.is_empty() { "nothing".to_owned() } else { shown(&said, 400) }
}

#[derive(Debug)]
pub(super) struct SshTerminal(Process);

impl SshTerminal {
    pub(super) fn new(process: Process) -> Self {
        Self(process)
    }
}

#[async_trait]
impl Terminal for SshTerminal {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        self.0.read().await
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        // An end takes time to be understood, and is left to a read that waits.
        self.0.read().now_or_never().unwrap_or(Ok(None))
    }

    fn awaits_verdict(&self) -> bool {
        self.0.awaits_verdict()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let closed = |e| Error::new(ErrorKind::Incomplete, "talk to device", "the system's ssh ended").because(e);
        match &mut self.0.input {
            Some(input) => {
                input.write_all(&bytes).await.map_err(closed)?;
                input.flush().await.map_err(closed)
            }
            None => Err(Error::new(ErrorKind::Incomplete, "talk to device", "the system's ssh ended")),
        }
    }
}

#[derive(Debug)]
pub(super) struct SshCommand(Process);

impl SshCommand {
    pub(super) fn new(mut process: Process) -> Self {
        // A command that reads finds the end of its input.
        process.input = None;
        Self(process)
    }
}

#[async_trait]
impl Running for SshCommand {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        self.0.read().await
    }

    fn end(&self) -> RunEnd {
        let status = self.0.status.and_then(|s| u32::try_from(s).ok());
        RunEnd { status, signal: None, errors: self.0.errors() }
    }

    fn awaits_verdict(&self) -> bool {
        self.0.awaits_verdict()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_login_is_no_error() {
        let errors = Mutex::default();
        assert!(!keep(&errors, b"banner\ndevicevault-"));
        assert!(keep(&errors, b"logged-in\nwarning"));
        assert_eq!(*errors.lock().unwrap(), b"banner\nwarning");
        assert!(!keep(&errors, &[b'x'; 2 * MOST_ERRORS]));
        assert_eq!(errors.lock().unwrap().len(), MOST_ERRORS);
    }

    #[test]
    fn what_ssh_says_has_a_kind() {
        for (text, kind) in [
            ("u@h: Permission denied (publickey,password).", ErrorKind::AuthRejected),
            (
                "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\nHost key verification failed.",
                ErrorKind::HostKeyRejected,
            ),
            (
                "Unable to negotiate with 192.0.2.1 port 22: no matching MAC found. Their offer: hmac-md5",
                ErrorKind::Unsupported,
            ),
            ("ssh: connect to host 192.0.2.1 port 22: Connection refused", ErrorKind::Unreachable),
            ("ssh: Could not resolve hostname r1", ErrorKind::Unreachable),
            ("", ErrorKind::Unavailable),
            (
                "/bin/sh: 1: exec: .: Permission denied\r\nConnection closed by UNKNOWN port 65535",
                ErrorKind::Unavailable,
            ),
            (
                "u@jump: Permission denied (publickey).\r\nkex_exchange_identification: Connection closed by remote host",
                ErrorKind::Unavailable,
            ),
            ("tunnel: cannot read /etc/a@b: Permission denied (os error 13)", ErrorKind::Unavailable),
        ] {
            assert_eq!(failure(text.as_bytes(), false).kind(), kind, "{text}");
        }
        assert_eq!(failure(b"client_loop: send disconnect: Broken pipe", true).kind(), ErrorKind::Incomplete);
    }
}
