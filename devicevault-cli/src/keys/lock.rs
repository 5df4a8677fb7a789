//! One at a time: whatever changes a home's keys, whatever changes a credential that is sealed under them, what deletes
//! by its retention, and what notes which purges are under way.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use devicevault_storage::regular;

use crate::files;

/// Name of the file that is locked.
pub(crate) const LOCK: &str = "keys.lock";
/// Name of the file that is locked for credentials.
const CREDENTIALS: &str = "credentials.lock";
/// Name of the file that is locked by whatever deletes.
pub(crate) const SWEEP: &str = "retention.lock";
/// Name of the file that is locked while purges are noted.
const PURGES: &str = "purging.lock";
/// How long is waited for another command: most take moments.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);

/// Held from before the keys are read until they are as they are to be. It ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct KeyLock {
    _file: File,
}

/// Waits for whoever changes the keys of this home.
///
/// # Errors
/// `Conflict` when that takes long; the file cannot be made or locked.
pub(crate) async fn lock(home: &Path) -> Result<KeyLock> {
    lock_within(home, LOCK, PATIENCE).await
}

/// Waits for whoever changes a credential of this home, which takes moments: a rotation of data seals each anew, and neither
/// may write what the other has changed since it was read.
///
/// # Errors
/// As [`lock`].
pub(crate) async fn lock_credentials(home: &Path) -> Result<KeyLock> {
    lock_within(home, CREDENTIALS, PATIENCE).await
}

/// Waits for whoever deletes by the retention of this home: two that do so at two destinations at once could each take the
/// other's copy for the one that stays.
///
/// # Errors
/// As [`lock`].
pub(crate) async fn lock_for_sweep(home: &Path) -> Result<KeyLock> {
    lock_within(home, SWEEP, PATIENCE).await
}

/// Waits for whoever notes a purge in this home, which takes moments: the note of one must not be lost by that of another.
///
/// # Errors
/// As [`lock`].
pub(crate) async fn lock_purges(home: &Path) -> Result<KeyLock> {
    lock_within(home, PURGES, PATIENCE).await
}

/// [`lock`] where nobody has it, and `None` where somebody has.
pub(crate) async fn lock_at_once(home: &Path) -> Option<KeyLock> {
    lock_within(home, LOCK, Duration::ZERO).await.ok()
}

async fn lock_within(home: &Path, name: &str, patience: Duration) -> Result<KeyLock> {
    let path = home.join(name);
    files::make_private_file(&path)?;
    let failed = |e: &std::io::Error| files::failed(e, "lock home", "the file cannot be locked", &path);
    let file = regular::open_with(OpenOptions::new().read(true).write(true), &path).map_err(|e| failed(&e))?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(KeyLock { _file: file }),
            Err(TryLockError::Error(e)) => return Err(failed(&e)),
            Err(TryLockError::WouldBlock) if waited >= patience => return Err(busy(name)),
            Err(TryLockError::WouldBlock) => {
                tokio::time::sleep(STEP).await;
                waited += STEP;
            }
        }
    }
}

fn busy(name: &str) -> Error {
    let (operation, what) = match name {
        SWEEP => ("apply retention", "applies the retention"),
        CREDENTIALS => ("change credential", "changes the credentials"),
        PURGES => ("note purge", "notes the purges"),
        _ => ("change keys", "changes the keys"),
    };
    Error::new(ErrorKind::Conflict, operation, format!("another command {what} of this home at the moment"))
        .hint("nothing was changed; run this again when the other command has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_one_waits_or_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let first = lock(home.path()).await.unwrap();
        let refused = lock_within(home.path(), LOCK, Duration::ZERO).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let path = home.path().to_owned();
        let waits = tokio::spawn(async move { lock_within(&path, LOCK, Duration::MAX).await });
        tokio::task::yield_now().await;
        drop(first);
        waits.await.unwrap().unwrap();
    }
}
