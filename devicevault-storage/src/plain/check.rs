//! The connection test: what the store really does.

use devicevault_core::storage::Health;
use devicevault_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode};
use uuid::Uuid;

use super::Plain;
use crate::fault;

/// Where probes are written.
const FOLDER: &str = "devicevault-check";

/// A probe that is older was left by a test that was killed.
const LEFT_AFTER_SECONDS: i64 = 10 * 60;

/// Clocks that differ by more seconds are told as a fault.
const CLOCKS_DIFFER: u64 = 5 * 60;

/// Less free space than this is told as a fault.
const LITTLE_SPACE: u64 = 64 * 1024 * 1024;

/// What follows where nothing can be deleted; storing goes on.
const NO_RETENTION: &str = "retention cannot delete here";

const CONTENT: &[u8] = b"written by the connection test of a destination, and removed by it";

fn with_hint(e: &Error) -> String {
    let hint = e.hint_text().map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{}{hint}", e.to_record().message)
}

impl Plain {
    pub(super) async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        // What an earlier test left is no reason for this one to fail; a listing has a probe of its own.
        let removed = match self.old_probes().await {
            Ok(found) => self.remove_probes(&found).await.map(drop),
            Err(e) => Err(e.as_kind(ErrorKind::Unavailable)),
        };
        let can_write = match removed {
            // Each test would leave one more there for good.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                let why = format!("{}; no object was written for this test, since it would stay", with_hint(&e));
                health.push("delete", false, format!("{NO_RETENTION}: {why}"));
                self.probe_upload(&mut health).await
            }
            Err(e) => {
                tracing::debug!(error = %e, "old probes of connection tests stay");
                self.probe_objects(&mut health).await
            }
            Ok(()) => self.probe_objects(&mut health).await,
        };
        self.probe_folder(&mut health).await;
        if let Some(keep) = &self.keep {
            keep.probe(&mut health).await;
        }
        // What keeps anything from being written there would only be told twice.
        if self.options.sealed && can_write {
            match self.form().await {
                Ok(_) => {
                    health.push("sealing", true, "the key that seals is at hand, and its object is here");
                    // Backups go on; nothing is deleted.
                    if let Err(e) = self.may_replace().await {
                        health.push("another home", false, with_hint(&e));
                    }
                }
                Err(e) => health.push("sealing", false, with_hint(&e)),
            }
        }
        Ok(health)
    }

    /// Removes what connection tests left that were killed; returns how many bytes.
    pub(super) async fn remove_old_probes(&self) -> Result<u64> {
        self.remove_probes(&self.old_probes().await?).await
    }

    async fn old_probes(&self) -> Result<Vec<ObjectMeta>> {
        let failed = |e| fault::of_store("look for old probes", Path::from(FOLDER), e);
        let mut found: Vec<_> = self.store.list(Some(&Path::from(FOLDER))).try_collect().await.map_err(failed)?;
        let now = self.options.clock.now().as_second();
        found.retain(|probe| now - probe.last_modified.timestamp() > LEFT_AFTER_SECONDS);
        Ok(found)
    }

    async fn remove_probes(&self, old: &[ObjectMeta]) -> Result<u64> {
        let mut freed = 0;
        for probe in old {
            match self.store.delete(&probe.location).await {
                Ok(()) => freed += probe.size,
                Err(StoreError::NotFound { .. }) => {}
                Err(e) => return Err(fault::of_store("remove old probes", probe.location.clone(), e)),
            }
        }
        Ok(freed)
    }

    /// Begins an upload and gives it up, which leaves nothing. Whether one could be begun.
    async fn probe_upload(&self, health: &mut Health) -> bool {
        let at = Path::from(format!("{FOLDER}/{}.parts", Uuid::now_v7().simple()));
        let begun = async {
            let mut upload = self.store.put_multipart(&at).await?;
            let sent = upload.put_part(CONTENT.into()).await;
            // That it stays where nothing can be deleted was told.
            let _ = upload.abort().await;
            sent
        };
        let begun = begun.await;
        let can_write = begun.is_ok();
        probe(health, "write", begun.map(|()| "an upload can be begun".to_owned()), &at);
        can_write
    }

    /// Writes objects, and looks what can be done with them. Whether one could be written.
    async fn probe_objects(&self, health: &mut Health) -> bool {
        let at = Path::from(format!("{FOLDER}/{}.txt", Uuid::now_v7().simple()));
        let written = self.store.put_opts(&at, CONTENT.into(), PutMode::Create.into()).await;
        let can_write = written.is_ok();
        probe(health, "write", written.map(|_| "an object can be written".to_owned()), &at);
        if can_write {
            let mut of_parts = Health::default();
            // Over a network most of a probe is waiting.
            futures::join!(self.probe_object(health, &at), self.probe_parts(&mut of_parts));
            health.probes.append(&mut of_parts.probes);
        }
        can_write
    }

    async fn probe_object(&self, health: &mut Health, at: &Path) {
        let store = &self.store;
        // Entries have names of their own, so that this matters to two writers of the same entry alone.
        match store.put_opts(at, "another".into(), PutMode::Create.into()).await {
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                health.push("put-if-absent", true, "what is there is not replaced");
            }
            Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                health.push("put-if-absent", true, "the store cannot; one program at a time should write there");
            }
            Ok(_) => health.push(
                "put-if-absent",
                false,
                "the store says that it does, and replaces what is there all the same: let one program at a time write there",
            ),
            Err(e) => health.push("put-if-absent", false, told(at, e)),
        }
        let back = store.get(at).await;
        let back = match back {
            Ok(got) => got.bytes().await.map(|bytes| bytes == CONTENT || bytes == b"another"[..]),
            Err(e) => Err(e),
        };
        probe_bool(health, "read", back, "what was written reads back", "other bytes read back than were written", at);
        let part = store.get_range(at, 2..5).await.map(|bytes| bytes == CONTENT[2..5] || bytes == b"oth"[..]);
        probe_bool(health, "range", part, "a part can be read", "another part reads back than was asked for", at);
        let listed =
            store.list(Some(&Path::from(FOLDER))).try_any(|found| std::future::ready(found.location == *at)).await;
        probe_bool(health, "list", listed, "a new object is listed at once", "a new object is not listed", at);
        self.probe_clock(health, at).await;
        let deleted = match store.delete(at).await {
            Ok(()) => match store.head(at).await {
                Err(StoreError::NotFound { .. }) => Ok(()),
                Ok(_) => Err("a deleted object is still there".to_owned()),
                Err(e) => Err(told(at, e)),
            },
            Err(e) => Err(told(at, e)),
        };
        match deleted {
            Ok(()) => health.push("delete", true, "an object can be deleted"),
            Err(why) => health.push("delete", false, format!("{NO_RETENTION}: {why}")),
        }
    }

    /// How far the store's clock, by which its objects have their times, is from ours.
    async fn probe_clock(&self, health: &mut Health, at: &Path) {
        if self.in_folder() {
            return;
        }
        let written = match self.store.head(at).await {
            Ok(meta) => meta.last_modified.timestamp(),
            Err(e) => return health.push("clock", false, told(at, e)),
        };
        let ahead = written - self.options.clock.now().as_second();
        let (by, which) = (ahead.unsigned_abs(), if ahead > 0 { "ahead of" } else { "behind" });
        if by <= CLOCKS_DIFFER {
            return health.push("clock", true, format!("the store's is within {CLOCKS_DIFFER} s of ours"));
        }
        let why =
            "let both be set by NTP: the age of leavings is told by them, and clouds refuse requests from another time";
        health.push("clock", false, format!("the store's is {by} s {which} ours; {why}"));
    }

    /// Whether large objects can be put in parts, and given up without anything being left.
    async fn probe_parts(&self, health: &mut Health) {
        if self.in_folder() {
            return;
        }
        let at = Path::from(format!("{FOLDER}/{}.parts.txt", Uuid::now_v7().simple()));
        let whole = async {
            let mut upload = self.store.put_multipart(&at).await?;
            let sent = async {
                upload.put_part(CONTENT.into()).await?;
                upload.complete().await
            };
            if let Err(e) = sent.await {
                let _ = upload.abort().await;
                return Err(e);
            }
            let there = self.store.get(&at).await?.bytes().await? == CONTENT;
            // That nothing can be deleted has a probe of its own.
            let _ = self.store.delete(&at).await;
            // Given up: nothing of it may be seen. Under a name of its own, since the other may be there still.
            let at = Path::from(format!("{FOLDER}/{}.parts.txt", Uuid::now_v7().simple()));
            let mut upload = self.store.put_multipart(&at).await?;
            let sent = upload.put_part(CONTENT.into()).await;
            match upload.abort().await {
                // Who may delete nothing may mostly not give up either: that is told there.
                Ok(()) | Err(StoreError::PermissionDenied { .. }) => {}
                Err(e) => return Err(e),
            }
            sent?;
            let left = match self.store.head(&at).await {
                Err(StoreError::NotFound { .. }) => false,
                other => other.map(|_| true)?,
            };
            Ok(there && !left)
        };
        let (good, bad) = (
            "large backups can be put in parts, and given up",
            "what was put in parts does not read back, or is there after it was given up: large backups may be lost",
        );
        probe_bool(health, "multipart", whole.await, good, bad, &at);
    }

    #[cfg(unix)]
    async fn probe_folder(&self, health: &mut Health) {
        let Some(folder) = &self.folder else { return };
        match folder.flushes_folders().await {
            Ok(true) => health.push("durability", true, "files and folders can be flushed"),
            Ok(false) => {
                health.push(
                    "durability",
                    false,
                    "the file system does not flush folders: a power cut may lose the last backups",
                );
            }
            Err(e) => health.push("durability", false, e.to_record().message),
        }
        match folder.free_space().await {
            Ok(free) => health.push("free space", free >= LITTLE_SPACE, format!("{} MiB are free", free / 1024 / 1024)),
            Err(e) => health.push("free space", false, e.to_record().message),
        }
    }

    #[cfg(not(unix))]
    async fn probe_folder(&self, _health: &mut Health) {}
}

fn probe(health: &mut Health, name: &str, done: std::result::Result<String, StoreError>, at: &Path) {
    match done {
        Ok(detail) => health.push(name, true, detail),
        Err(e) => health.push(name, false, told(at, e)),
    }
}

fn probe_bool(
    health: &mut Health,
    name: &str,
    done: std::result::Result<bool, StoreError>,
    good: &str,
    bad: &str,
    at: &Path,
) {
    match done {
        Ok(true) => health.push(name, true, good),
        Ok(false) => health.push(name, false, bad),
        Err(e) => health.push(name, false, told(at, e)),
    }
}

fn told(at: &Path, e: StoreError) -> String {
    let e: Error = fault::of_store("test destination", at, e);
    match e.hint_text() {
        Some(hint) => format!("{}: {hint}", e.to_record().message),
        None => e.to_record().message,
    }
}
