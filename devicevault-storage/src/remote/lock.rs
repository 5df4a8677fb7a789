//! One writer of a name at a time, where the server has no step for it: a folder in `.tmp/`, which only one can make.

use std::time::Duration;

use chrono::{DateTime, Utc};
use devicevault_core::{Error, ErrorKind, Result};

use super::staging::STAGING;
use super::{RemoteStore, Server};
use crate::names::hash_suffix;

/// A lock that is older was left by a writer that died: giving a name takes seconds.
const LEFT_AFTER: i64 = 10 * 60;

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether it is done.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs `work` while no other writer of this program gives this name to anything. `now` is the server's time, as of the
/// file that was written last.
pub(super) async fn locked<S: Server, T>(
    store: &RemoteStore<S>,
    name: &str,
    now: Option<DateTime<Utc>>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let lock = format!("{STAGING}/lock{}", hash_suffix(name));
    let begun = store.0.clock.monotonic();
    let held = loop {
        if let Some(held) = take(store, &lock).await? {
            break held;
        }
        if store.0.clock.monotonic().saturating_sub(begun) > PATIENCE {
            return Err(Error::new(ErrorKind::Conflict, "write object", "another writer holds the lock of its name")
                .with("lock", lock)
                .hint("try again; if no other program writes there, remove the folder of the lock"));
        }
        if let (Some(now), Some(made)) = (now, made(store, &lock).await?)
            && now.signed_duration_since(made).num_seconds() > LEFT_AFTER
        {
            // Gone already, or not: the next try tells.
            let _ = store.server().remove_folder(&lock).await;
            continue;
        }
        store.0.clock.sleep(PAUSE).await;
    };
    let done = work.await;
    held.release().await;
    done
}

/// When a lock was made. Some servers tell that of a folder only when they list it.
async fn made<S: Server>(store: &RemoteStore<S>, lock: &str) -> Result<Option<DateTime<Utc>>> {
    let looked = store.server().look(vec![lock.to_owned()]).await?.into_iter().next().flatten();
    if looked.is_none() || looked.is_some_and(|f| f.modified.is_some()) {
        return Ok(looked.and_then(|f| f.modified));
    }
    let entries = store.server().list(STAGING).await?.unwrap_or_default();
    Ok(entries.into_iter().find(|(name, _)| lock.ends_with(name.as_str())).and_then(|(_, found)| found.modified))
}

/// Makes the folder, if nobody else has. On a task of its own: where the caller goes away meanwhile, it is given back.
async fn take<S: Server>(store: &RemoteStore<S>, lock: &str) -> Result<Option<Held<S>>> {
    let (store, lock) = (store.clone(), lock.to_owned());
    let taking = tokio::spawn(async move {
        let made = store.server().make_folder(&lock).await?;
        Ok(made.then(|| Held { store, lock }))
    });
    let lost = |e| Error::new(ErrorKind::Internal, "write object", "the task that took a lock was lost").because(e);
    taking.await.map_err(lost)?
}

/// A lock that is given back when this is dropped, as far as a drop can.
struct Held<S: Server> {
    store: RemoteStore<S>,
    lock: String,
}

impl<S: Server> Held<S> {
    async fn release(mut self) {
        give_back(&self.store, &std::mem::take(&mut self.lock)).await;
    }
}

impl<S: Server> Drop for Held<S> {
    fn drop(&mut self) {
        if !self.lock.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, lock) = (self.store.clone(), std::mem::take(&mut self.lock));
            runtime.spawn(async move { give_back(&store, &lock).await });
        }
    }
}

async fn give_back<S: Server>(store: &RemoteStore<S>, lock: &str) {
    if let Err(e) = store.server().remove_folder(lock).await {
        tracing::debug!(lock, error = %e, "a lock stays until it is stale");
    }
}
