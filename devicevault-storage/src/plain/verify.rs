//! Whether a backup is still what was stored.

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Digest, ErrorKind, Manifest, Result, StorageRef};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::record::Record;
use super::{Plain, chain, layout};
use crate::fault;

impl Plain {
    pub(super) async fn verify(
        &self,
        at: &StorageRef,
        expect: Option<&Manifest>,
        depth: VerifyDepth,
    ) -> Result<Verdict> {
        let record = match self.record(at).await {
            Ok(record) => record,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                return Ok(Verdict::Damaged(vec![format!("the manifest: {}", e.message())]));
            }
            Err(e) => return Err(e),
        };
        let content = layout::content_path(at)?;
        let mut wrong = expect.map(|m| differences(&record.manifest, m)).unwrap_or_default();
        let size = match self.store.head(&content).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(Verdict::Missing),
            Err(e) => return Err(fault::of_store("verify backup", &content, e)),
        };
        if size != record.stored.size {
            wrong.push(format!("{size} bytes are stored, the manifest says {}", record.stored.size));
        } else if depth >= VerifyDepth::Stored {
            wrong.extend(self.stored_faults(&content, &record).await?);
        }
        // What is damaged below need not be opened to be called so.
        if wrong.is_empty() && depth >= VerifyDepth::Content {
            wrong.extend(self.content_faults(&content, &record).await?);
        }
        Ok(if wrong.is_empty() { Verdict::Good(depth) } else { Verdict::Damaged(wrong) })
    }

    async fn stored_faults(&self, content: &Path, record: &Record) -> Result<Option<String>> {
        let hash_all = async {
            let mut stream = self.stored(content, record, None).await?;
            let mut hash = Sha256::new();
            while let Some(chunk) = stream.try_next().await? {
                hash.update(&chunk);
            }
            Ok(Digest(hash.finalize().into()))
        };
        Ok(match damage_of(hash_all.await)? {
            Ok(found) if found == record.stored.sha256 => None,
            Ok(found) => Some(format!("the stored bytes hash to {found}, the manifest says {}", record.stored.sha256)),
            Err(what) => Some(what),
        })
    }

    async fn content_faults(&self, content: &Path, record: &Record) -> Result<Option<String>> {
        // As it is in the store, it has just been hashed.
        if chain::is_as_is(&record.manifest) && record.stored.sha256 == record.manifest.sha256 {
            return Ok(None);
        }
        let read_all = async {
            let stored = self.stored(content, record, None).await?;
            let mut opened = chain::out_of_store(stored, &record.manifest)?;
            while let Some(chunk) = opened.next().await {
                chunk?;
            }
            Ok(())
        };
        Ok(damage_of(read_all.await)?.err())
    }
}

/// Damage is a finding; anything else is a verification that could not be done.
fn damage_of<T>(done: Result<T>) -> Result<std::result::Result<T, String>> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(Err(e.message().to_owned())),
        Err(e) => Err(e),
    }
}

/// Where the store's manifest is not what the catalog expects.
fn differences(found: &Manifest, expected: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, found: String, expected: String| {
        if found != expected {
            wrong.push(format!("{what} is {found}, the catalog says {expected}"));
        }
    };
    compare("the size", found.size.to_string(), expected.size.to_string());
    compare("the hash", found.sha256.to_string(), expected.sha256.to_string());
    compare("the backup", found.backup.to_string(), expected.backup.to_string());
    compare("the run", found.run.to_string(), expected.run.to_string());
    compare("the artefact", found.artefact.escape_debug().to_string(), expected.artefact.escape_debug().to_string());
    compare("the view", found.view.to_string(), expected.view.to_string());
    wrong
}
