//! One writer at a time, over processes too: a lock that dies with whoever holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use devicevault_core::{Clock, Error, ErrorKind, Result};

use super::fault;
use crate::regular;

/// A file that is locked while this lives. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock if nobody has it. Blocks on nothing but the file system.
    pub(super) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let operation = "lock repository";
        let file = regular::open_with(OpenOptions::new().create(true).truncate(false).write(true), path)
            .map_err(|e| fault::io(operation, path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(fault::io(operation, path, e)),
        }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// `Unavailable`, worth a retry, when another process has it for longer than `timeout`.
    pub(super) async fn acquire(path: &Path, timeout: Duration, clock: &dyn Clock) -> Result<Self> {
        let begun = clock.monotonic();
        let mut pause = Duration::from_millis(1);
        loop {
            // Opening the file may wait for a disk.
            let at = path.to_owned();
            let tried = tokio::task::spawn_blocking(move || Self::try_acquire(&at)).await;
            if let Some(lock) = tried.map_err(fault::panicked)?? {
                return Ok(lock);
            }
            if clock.monotonic().saturating_sub(begun) >= timeout {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "lock repository",
                    "another process has been writing all the time",
                )
                .with("path", path.display())
                .with("waited in seconds", timeout.as_secs()));
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}
