//! Ctrl-C and SIGTERM: the first cancels, the second kills.

use std::future::Future;

use devicevault_core::{Error, ErrorKind, Result};

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
    std::process::exit(Exit::Interrupted as i32);
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}
