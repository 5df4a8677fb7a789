//! A program that is the connection, its last words, and its end.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use super::environment::Environment;
use crate::error::shown;
use crate::{Result, SshError};

/// A running proxy command. Dropping it ends it, and what it started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    said: Said,
}

/// What a proxy command wrote to standard error.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    program: String,
    text: Arc<Mutex<Vec<u8>>>,
    ended: watch::Receiver<bool>,
}

/// So many bytes of its last words are kept.
const MOST: usize = 2048;
/// How long its last words are waited for.
const PATIENCE: Duration = Duration::from_millis(500);

impl Process {
    pub(super) fn start(program: &str, arguments: &[String], environment: &Environment) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        environment.of(&mut command);
        // A group of its own, so that what a shell starts for it ends with it.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| SshError::Config {
            message: format!("the proxy command '{}' cannot be started: {e}", program.escape_debug()),
        })?;
        let (tell, ended) = watch::channel(false);
        let text = Arc::<Mutex<Vec<u8>>>::default();
        if let Some(mut errors) = child.stderr.take() {
            let text = text.clone();
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(got @ 1..) = errors.read(&mut piece).await {
                    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.extend_from_slice(piece.get(..got).unwrap_or_default());
                    let over = text.len().saturating_sub(MOST);
                    text.drain(..over);
                }
                let _ = tell.send(true);
            });
        }
        Ok(Self { child, said: Said { program: program.to_owned(), text, ended } })
    }

    /// Its output and input.
    pub(super) fn pipes(&mut self) -> Option<(ChildStdout, ChildStdin)> {
        Some((self.child.stdout.take()?, self.child.stdin.take()?))
    }

    pub(super) fn said(&self) -> Said {
        self.said.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
    }
}

impl SshError {
    /// The error of a connection by a proxy command, with that command's last words.
    pub(crate) async fn by_proxy(self, said: Option<Said>) -> Self {
        let Some(mut said) = said else { return self };
        let _ = tokio::time::timeout(PATIENCE, said.ended.wait_for(|ended| *ended)).await;
        let text = said.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8_lossy(&text);
        let last: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let last = last.get(last.len().saturating_sub(3)..).unwrap_or_default().join("; ");
        let words = (!last.is_empty()).then(|| shown(&last));
        Self::ByProxy { program: shown(&said.program), said: words, error: Box::new(self) }
    }
}
