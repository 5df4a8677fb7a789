//! Verification on write: what was stored is read back before it counts as stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::body::Body;
use crate::layer::Layer;
use crate::storage::{Entry, StorageBackend, StorageRef, Verdict, VerifyDepth};
use crate::{Error, ErrorKind, Manifest, Result, Retry};

/// The option of a destination that says how deep what was stored is looked at before it counts as stored: `size`,
/// `stored`, `content` or `no`.
pub const ON_WRITE: &str = "verify.on_write";

/// How deep a destination looks at what it has just stored; `None`: it does not.
///
/// # Errors
/// `Config` for another value.
pub fn on_write(options: &BTreeMap<String, String>) -> Result<Option<VerifyDepth>> {
    match options.get(ON_WRITE).map(String::as_str) {
        None | Some("no") => Ok(None),
        Some("size") => Ok(Some(VerifyDepth::Size)),
        Some("stored") => Ok(Some(VerifyDepth::Stored)),
        Some("content") => Ok(Some(VerifyDepth::Content)),
        Some(other) => Err(Error::new(ErrorKind::Config, "read option", "there is no such depth of verification")
            .with("option", ON_WRITE)
            .with("value", other.escape_debug())
            .hint("it is size, stored, content or no")),
    }
}

/// Looks at every copy that the backend confirms before it passes that on. One that does not read back is taken away
/// again, where the backend can do that, and its storing has failed in a way that may pass.
#[derive(Debug)]
pub struct ReadBack {
    inner: Arc<dyn StorageBackend>,
    depth: VerifyDepth,
}

impl ReadBack {
    /// A backend whose copies are looked at as deep as this.
    #[must_use]
    pub fn new(inner: Arc<dyn StorageBackend>, depth: VerifyDepth) -> Arc<Self> {
        Arc::new(Self { inner, depth })
    }

    async fn look(&self, at: StorageRef, manifest: &Manifest) -> Result<StorageRef> {
        // A copy of an earlier attempt may have been stored with other words about the same bytes.
        let wrong = match self.inner.verify(&at, None, self.depth).await? {
            Verdict::Good(_) => {
                let found = self.inner.stat(&at).await?;
                let same =
                    (found.backup, found.size, found.sha256) == (manifest.backup, manifest.size, manifest.sha256);
                if same {
                    return Ok(at);
                }
                "another backup is in its place".to_owned()
            }
            Verdict::Missing => "it is not there".to_owned(),
            Verdict::Damaged(what) => {
                if self.inner.capability().delete {
                    // Best effort: a copy that stays is told as damaged by whoever looks at it next.
                    let _ = self.inner.delete(std::slice::from_ref(&at)).await;
                }
                what.join("; ")
            }
        };
        let e =
            Error::new(ErrorKind::Corrupt, "store backup", format!("it does not read back as it was stored: {wrong}"));
        Err(e
            .with("copy", &at)
            .hint("look at the destination's disk or network: it does not keep what it confirms")
            .retry_advice(Retry::After(std::time::Duration::ZERO)))
    }
}

#[async_trait]
impl Layer for ReadBack {
    fn inner(&self) -> &dyn StorageBackend {
        &*self.inner
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        let manifests: Vec<Manifest> = batch.iter().map(|(entry, _)| entry.manifest.clone()).collect();
        let stored = self.inner.store(batch).await;
        let mut verdicts = Vec::with_capacity(stored.len());
        let mut manifests = manifests.iter();
        for one in stored {
            verdicts.push(match (one, manifests.next()) {
                (Ok(at), Some(manifest)) => self.look(at, manifest).await,
                (other, _) => other,
            });
        }
        verdicts
    }
}
