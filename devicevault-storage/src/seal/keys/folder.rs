//! The folder `keys/` of a destination or a home: where epoch key objects lie.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::key::KekId;
use devicevault_core::{Error, ErrorKind, Result};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode};

use super::epoch::{EpochId, EpochObject};
use crate::fault;

/// The record of the key that makes opaque names, beside the epoch keys.
pub(crate) const NAMES: &str = "names.json";

/// No object under `keys/` is longer.
const MAX_OBJECT: u64 = 256 << 10;
/// More objects than this are not listed.
const MAX_OBJECTS: usize = 10_000;

/// Epoch key objects in a store.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl fmt::Display for KeyFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.prefix, self.store)
    }
}

impl KeyFolder {
    /// The folder `keys/` of a destination.
    #[must_use]
    pub fn of_destination(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, prefix: Path::from("keys") }
    }

    /// A store that holds nothing but keys: a home's.
    #[must_use]
    pub fn of_home(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, prefix: Path::default() }
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn object(&self, id: EpochId) -> Path {
        self.path(&format!("{id}.json"))
    }

    /// The object of this id; `None` where there is none.
    ///
    /// # Errors
    /// What the store answers; `Corrupt` when it is another one's, or none.
    pub async fn load(&self, id: EpochId) -> Result<Option<EpochObject>> {
        let path = self.object(id);
        let Some(json) = self.get(&path).await? else { return Ok(None) };
        let object = EpochObject::from_json(&json).map_err(|e| e.with("path", &path))?;
        if object.id != id {
            let why = "it is the object of another key";
            return Err(Error::new(ErrorKind::Corrupt, "read epoch key", why)
                .with("path", &path)
                .with("id", object.id));
        }
        Ok(Some(object))
    }

    /// The ids of the objects that are there, oldest first.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn list(&self) -> Result<Vec<EpochId>> {
        let prefix = (self.prefix != Path::default()).then_some(&self.prefix);
        let fail = |e| fault::of_store("list epoch keys", &self.prefix, e);
        let found = self.store.list_with_delimiter(prefix).await.map_err(fail)?;
        let mut ids: Vec<EpochId> = found
            .objects
            .iter()
            .filter_map(|o| o.location.filename()?.strip_suffix(".json")?.parse().ok())
            .take(MAX_OBJECTS)
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Stores an object durably, unless a later revision of it is there. What is there under its name and is not it, or
    /// is damaged, is replaced. One to which another home added a key stays as it is, where keys of ours open it too.
    ///
    /// # Errors
    /// What the store answers; `Conflict` where the keys of this one were replaced there by others that it has never
    /// known: they were changed from another home, or this one is older than it was.
    pub async fn publish(&self, object: &EpochObject) -> Result<()> {
        match self.load(object.id).await {
            Ok(Some(there)) if there == *object => Ok(()),
            Ok(Some(there)) if is_replaced(&there, object) => Err(of_another(&there)),
            Ok(Some(there)) if is_taken_over(&there, object) => Ok(()),
            // A revision alone says nothing: whoever writes at a destination writes revisions too.
            Ok(Some(there)) if there.revision > object.revision && opens_no_less(&there, object) => Ok(()),
            Ok(_) => self.replace(object).await,
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => self.replace(object).await,
            Err(e) => Err(e),
        }
    }

    /// Refuses a place that another home took over: one of these objects, which are all that the home has, opens there by a
    /// key that the home has never known. Whoever deletes there, or changes keys, asks this first.
    ///
    /// # Errors
    /// `Conflict`; what the store answers. What is there and is no object of this key is nobody's.
    pub async fn refuse_taken_over(&self, ours: &[EpochObject]) -> Result<()> {
        self.refuse_where(ours, is_taken_over).await
    }

    /// Refuses a place that was taken over so that no key of ours opens it any more, as [`publish`](KeyFolder::publish)
    /// does, and stores nothing.
    ///
    /// # Errors
    /// As [`refuse_taken_over`](Self::refuse_taken_over).
    pub async fn refuse_replaced(&self, ours: &[EpochObject]) -> Result<()> {
        self.refuse_where(ours, is_replaced).await
    }

    async fn refuse_where(
        &self,
        ours: &[EpochObject],
        refused: impl Fn(&EpochObject, &EpochObject) -> bool,
    ) -> Result<()> {
        for object in ours {
            match self.load(object.id).await {
                Ok(Some(there)) if refused(&there, object) => return Err(of_another(&there)),
                Err(e) if !matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Stores an object durably over whatever is there.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn replace(&self, object: &EpochObject) -> Result<()> {
        self.put(&self.object(object.id), object.to_json().into()).await
    }

    /// Removes an object; what is not there is removed.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn remove(&self, id: EpochId) -> Result<()> {
        let path = self.object(id);
        match self.store.delete(&path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(fault::of_store("remove epoch key", &path, e)),
        }
    }

    /// Whether the names of what is stored are made by a key of the destination, also where the record of that key is
    /// damaged.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn hides_names(&self) -> Result<bool> {
        match self.read_record(NAMES).await {
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok(true),
            read => Ok(read?.is_some()),
        }
    }

    /// A small record of this name beside the epoch keys.
    pub(crate) async fn read_record(&self, name: &str) -> Result<Option<Bytes>> {
        self.get(&self.path(name)).await
    }

    /// Stores a small record where there is none; what is there stays. The record that is there in the end.
    pub(crate) async fn make_record(&self, name: &str, bytes: Bytes) -> Result<Bytes> {
        let path = self.path(name);
        match self.store.put_opts(&path, bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(bytes),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                let gone = || Error::new(ErrorKind::Unavailable, "read key record", "it comes and goes");
                self.get(&path).await?.ok_or_else(|| gone().with("path", &path))
            }
            // The store has no conditions.
            Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => match self.get(&path).await? {
                Some(there) => Ok(there),
                None => self.put(&path, bytes.clone()).await.map(|()| bytes),
            },
            Err(e) => Err(fault::of_store("store key record", &path, e)),
        }
    }

    /// Stores a small record over the one that is there.
    pub(crate) async fn replace_record(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put(&self.path(name), bytes).await
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        let fail = |e| fault::of_store("read epoch key", path, e);
        let got = match self.store.get(path).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            other => other.map_err(fail)?,
        };
        if got.meta.size > MAX_OBJECT {
            return Err(Error::new(ErrorKind::Corrupt, "read epoch key", "it is too long to be one").with("path", path));
        }
        // The length in the listing is a promise: what comes is bounded as well.
        let mut bytes = Vec::new();
        let mut stream = got.into_stream();
        while let Some(chunk) = stream.try_next().await.map_err(fail)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > MAX_OBJECT {
                let why = "it is too long to be one";
                return Err(Error::new(ErrorKind::Corrupt, "read epoch key", why).with("path", path));
            }
        }
        Ok(Some(bytes.into()))
    }

    async fn put(&self, path: &Path, bytes: Bytes) -> Result<()> {
        match self.store.put(path, bytes.into()).await {
            Ok(_) => Ok(()),
            // That something is not there while it is written means that the destination itself has gone.
            Err(e @ StoreError::NotFound { .. }) => {
                let why = "the destination is no longer there";
                let gone = Error::new(ErrorKind::Unavailable, "store epoch key", why).with("path", path);
                Err(gone.because(fault::of_store("store epoch key", path, e)))
            }
            Err(e) => Err(fault::of_store("store epoch key", path, e)),
        }
    }
}

/// Whether an object opens by a key that ours has never known: a home writes what it changes at home first. Revisions say
/// nothing of it: both homes go on counting.
fn is_taken_over(there: &EpochObject, ours: &EpochObject) -> bool {
    there.wraps.iter().any(|w| !has_known(ours, &w.kek))
}

/// Whether, besides, it opens by none of ours, or by fewer.
fn is_replaced(there: &EpochObject, ours: &EpochObject) -> bool {
    is_taken_over(there, ours) && !opens_no_less(there, ours)
}

fn has_known(object: &EpochObject, kek: &KekId) -> bool {
    object.is_wrapped_by(kek) || object.retired.contains(kek)
}

fn of_another(there: &EpochObject) -> Error {
    let why = "another home took this place over, or this home is an older copy of itself";
    let by = there.wraps.iter().map(|w| w.kek.0.as_str()).collect::<Vec<_>>().join(" or ");
    Error::new(ErrorKind::Conflict, "store epoch key", why)
        .with("epoch", there.id)
        .with("opened there by", by.escape_debug())
        .hint(
            "go on with the home that has that key; where there is none to go on with, `devicevault key check --repair --over` \
             lays this home's keys over those",
        )
}

/// Whether an object has every wrap that ours has, but for keys that were retired.
fn opens_no_less(there: &EpochObject, ours: &EpochObject) -> bool {
    let kept = |w| there.wraps.contains(w);
    ours.wraps.iter().all(|w| kept(w) || there.retired.contains(&w.kek)) && ours.wraps.iter().any(kept)
}
