//! Ctrl-C, SIGTERM and a terminal that goes away: the first cancels, the second kills.

use std::future::Future;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::seal::keys::end_tokens;
use futures::FutureExt as _;

use crate::Exit;

/// Does something that a signal may cancel: then the future is dropped, which cancels it, and the error is `Cancelled`.
/// A second signal ends the process at once.
pub(crate) async fn cancellable<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = signal() => {
            tokio::spawn(async {
                signal().await;
                kill();
            });
            Err(Error::new(ErrorKind::Cancelled, "run command", "it was interrupted"))
        }
    }
}

#[allow(clippy::exit, reason = "a second signal means that the user does not want to wait for anything")]
fn kill() {
    // What a token is asked is not to be torn down beneath it.
    end_tokens(Duration::from_millis(200));
    std::process::exit(Exit::Interrupted as i32);
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [Some(SignalKind::terminate()), (!is_hangup_ignored()).then(SignalKind::hangup)];
    let mut listening: Vec<_> = kinds.into_iter().flatten().filter_map(|kind| signal(kind).ok()).collect();
    let ended = listening.iter_mut().map(|signal| signal.recv().boxed());
    let ended = futures::future::select_all(ended.chain([tokio::signal::ctrl_c().map(|_| Some(())).boxed()]));
    ended.await;
}

/// Who was started by `nohup` is to outlive its terminal: listening to the signal would undo that.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    static IGNORED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
        mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & 1 == 1)
    });
    *IGNORED
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
