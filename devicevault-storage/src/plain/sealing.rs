//! The keys of a sealed destination: what seals, what opens, and the containers in the store.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{Body, ByteStream, Error, ErrorKind, Result, Transform};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::chain::Form;
use super::envelope::{Envelope, ManifestFile};
use super::record::{MAX_MANIFEST, Record, Stored};
use super::{ClearAccess, Plain, layout};
use crate::codec::Compression;
use crate::seal::keys::NAMES;
use crate::seal::{EpochId, HEADER_LEN, Header, Key, Keyring, SealOptions, Sealed, open_record, seal_record};

/// An epoch key object is not replaced more often than this while it is stored.
const MAX_REVISIONS: usize = 16;

/// For so long a place that was ours is thinned out without another look.
const LOOKED_AT: Duration = Duration::from_secs(30);

/// So many backups are looked at for the key that made their paths.
const MOST_TRIED: usize = 16;

/// What the key of opaque names is made by.
const NAMES_KEY: &[u8] = b"devicevault names key v1";

/// How new backups are sealed.
#[derive(Debug, Clone)]
pub(super) struct Sealing {
    pub(super) epoch: EpochId,
    pub(super) key: Key,
    pub(super) options: SealOptions,
    /// Makes opaque names.
    pub(super) names: Option<Key>,
}

impl Sealing {
    /// Seals a manifest.
    pub(super) fn envelope(&self, record: &Record) -> Result<Envelope> {
        let container = seal_record(&record.to_json()?, self.epoch, &self.key)?;
        Ok(Envelope { stored: record.stored.clone(), container })
    }
}

#[derive(Serialize, Deserialize)]
struct NamesRecord {
    format: u32,
    readable_by: u32,
    sealed: String,
}

impl Plain {
    /// How new backups are written. Where they are sealed, the object of the epoch key is at the destination, durably.
    pub(super) async fn form(&self) -> Result<Form> {
        self.options.check()?;
        let ring = match &self.options.keyring {
            Some(ring) if self.options.sealed => ring,
            _ => return Ok(Form::Clear(self.options.compression)),
        };
        ring.look_again().await?;
        let (epoch, key) = ring.current().await?;
        self.publish(ring, epoch).await?;
        let level = (self.options.compression == Compression::Zstd).then_some(SealOptions::default().level).flatten();
        let options = SealOptions::default().with_level(level);
        let names = if self.options.opaque_names { Some(self.names(ring, epoch, &key).await?) } else { None };
        Ok(Form::Sealed(Box::new(Sealing { epoch, key, options, names })))
    }

    async fn publish(&self, ring: &Keyring, epoch: EpochId) -> Result<()> {
        let Some(object) = ring.object(epoch) else { return Ok(()) };
        let published = || self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published().contains(&(epoch, object.revision)) {
            return Ok(());
        }
        let mut next = ring.object_now(epoch).await?.unwrap_or(object);
        ring.refuse_replaced(&self.keys).await?;
        // A rotation may replace it in the home, and then here, while this writes. What was written last is what the
        // home had after it: otherwise a key that was retired would be the only one that opens it.
        for _ in 0..MAX_REVISIONS {
            self.keys.publish(&next).await?;
            match ring.object_now(epoch).await? {
                Some(now) if now != next => next = now,
                _ => {
                    published().insert((epoch, next.revision));
                    return Ok(());
                }
            }
        }
        Err(Error::new(ErrorKind::Conflict, "store epoch key", "it is replaced again and again").with("epoch", epoch))
    }

    /// Refuses to delete, or to write over what is not this home's alone, where another home has taken the place over: it
    /// is that home's to thin out. A backup is stored there all the same: it takes nothing from anybody. Batches of one
    /// operation follow one another, and the place is looked at for the first of them.
    pub(super) async fn may_replace(&self) -> Result<()> {
        let Some(ring) = &self.options.keyring else { return Ok(()) };
        let ours = || self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.options.clock.monotonic();
        if ours().is_some_and(|seen| now.saturating_sub(seen) < LOOKED_AT) {
            return Ok(());
        }
        match ring.refuse_taken_over(&self.keys).await {
            Err(e) if e.kind() == ErrorKind::Conflict => return Err(e),
            // A place without its keys is thinned out as any other.
            Err(_) => {}
            Ok(()) => *ours() = Some(now),
        }
        Ok(())
    }

    /// The key of opaque names, made before the first backup.
    async fn names(&self, ring: &Keyring, epoch: EpochId, key: &Key) -> Result<Key> {
        let load = async {
            let there = match self.keys.read_record(NAMES).await? {
                Some(there) => there,
                None => {
                    // Made of the epoch key: of two that come first at once, both make the same one, also where the store
                    // keeps the later.
                    let made = match self.names_before(ring, epoch).await? {
                        Some(before) => before,
                        None => names_key(epoch, key),
                    };
                    self.keys.make_record(NAMES, names_record(&made, epoch, key)?).await?
                }
            };
            Ok(self.open_names(ring, &there).await?.1)
        };
        self.names.get_or_try_init(|| load).await.cloned()
    }

    /// The key of opaque names in its record, and the epoch key that it is sealed under.
    async fn open_names(&self, ring: &Keyring, record: &[u8]) -> Result<(EpochId, Key)> {
        let broken = || {
            Error::new(ErrorKind::KeyUnavailable, "read key of names", "its record is damaged")
                .with("path", format!("keys/{NAMES}"))
                .hint(
                    "bring it back from a copy of the destination; where there is none, delete it: it is made again of \
                     the epoch keys there",
                )
        };
        let record: NamesRecord = serde_json::from_slice(record).map_err(|e| broken().because(e))?;
        if record.readable_by > 1 {
            return Err(Error::new(ErrorKind::Unsupported, "read key of names", "a newer release wrote it")
                .hint("upgrade this program"));
        }
        let container = hex::decode(&record.sealed).map_err(|e| broken().because(e))?;
        let epoch = epoch_of(&container).map_err(|e| broken().because(e))?;
        self.have(ring, epoch).await?;
        let key = open_record(&container, ring, 64).await.map_err(|e| broken().because(e))?;
        Ok((epoch, Key::from_slice(&key).ok_or_else(broken)?))
    }

    /// Seals the key of opaque names anew where it is sealed under another epoch key. It stays the same key: the paths are
    /// made by it.
    pub(super) async fn reseal_names(&self, sealing: &Sealing) -> Result<()> {
        let Some(ring) = &self.options.keyring else { return Ok(()) };
        let Some(there) = self.keys.read_record(NAMES).await? else { return Ok(()) };
        let (epoch, key) = self.open_names(ring, &there).await?;
        if epoch == sealing.epoch {
            return Ok(());
        }
        self.keys.replace_record(NAMES, names_record(&key, sealing.epoch, &sealing.key)?).await
    }

    /// The key of names that made the paths of what is stored, where its record is gone: it was made of an epoch key, and
    /// with another one the versions of one device would lie in two places from now on.
    async fn names_before(&self, ring: &Keyring, epoch: EpochId) -> Result<Option<Key>> {
        let mut epochs: BTreeSet<EpochId> = ring.objects().into_iter().map(|o| o.id).collect();
        epochs.extend(self.keys.list().await?);
        let mut forms = Vec::new();
        for of in epochs {
            if self.have(ring, of).await.is_ok() {
                let names = Some(names_key(of, &ring.epoch(of).await?));
                let (key, options) = (ring.epoch(epoch).await?, SealOptions::default());
                forms.push((names.clone(), Form::Sealed(Box::new(Sealing { epoch, key, options, names }))));
            }
        }
        let fail = |e| crate::fault::of_store("list backups", Path::default(), e);
        let mut tried = 0;
        let mut listed = self.store.list(None);
        while let Some(object) = listed.try_next().await.map_err(fail)? {
            let at = object.location;
            if !layout::is_manifest(at.as_ref()) || !layout::has_stamp(at.as_ref()) {
                continue;
            }
            let Ok((file, _)) = self.load(&at).await else { continue };
            let Ok(record) = self.opened(file).await else { continue };
            for (names, form) in &forms {
                if layout::Place::of(&self.options.template, &record.manifest, form).is_ok_and(|p| p.manifest == at) {
                    return Ok(names.clone());
                }
            }
            tried += 1;
            if tried >= MOST_TRIED {
                break;
            }
        }
        Ok(None)
    }

    /// Makes sure that an epoch key is open: with what the instance keeps, or with what lies at the destination.
    ///
    /// Its errors are all `KeyUnavailable` or the store's: a damaged key does not mean that a backup is damaged.
    pub(super) async fn have(&self, ring: &Keyring, epoch: EpochId) -> Result<()> {
        let Err(first) = ring.epoch(epoch).await else { return Ok(()) };
        let of_key = |e: Error| {
            if e.kind() == ErrorKind::KeyUnavailable && e.hint_text().is_none() {
                return e.hint("what it opens is not damaged: have this key at hand, or give the recovery kit");
            }
            if e.kind() != ErrorKind::Corrupt {
                return e;
            }
            let kek = e.context().find(|(name, _)| *name == "key").map(|(_, id)| id.to_owned());
            let unavailable =
                Error::new(ErrorKind::KeyUnavailable, "open epoch key", e.message().to_owned()).with("epoch", epoch);
            kek.into_iter().fold(unavailable, |e, id| e.with("key", id)).because(e)
        };
        match self.keys.load(epoch).await {
            Ok(Some(object)) => {
                ring.add_found(object);
                ring.epoch(epoch).await.map(drop).map_err(of_key)
            }
            Ok(None) => Err(of_key(first)),
            Err(e) => Err(of_key(e)),
        }
    }

    pub(super) fn ring(&self, epoch: EpochId) -> Result<&Keyring> {
        self.options.keyring.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::KeyUnavailable, "read backup", "it is sealed, and no key is at hand")
                .with("epoch", epoch)
                .hint("give the key file, passphrase or recovery kit of this store")
        })
    }

    /// Whether what is not sealed is not believed here.
    pub(super) async fn refuses_clear(&self) -> Result<bool> {
        match self.options.clear {
            ClearAccess::AsWritten => Ok(self.options.sealed),
            ClearAccess::AsFound => self.holds_keys().await,
            ClearAccess::Never => Ok(true),
            ClearAccess::Always => Ok(false),
        }
    }

    /// Whether epoch keys lie here.
    pub(super) async fn holds_keys(&self) -> Result<bool> {
        let found = || async { Ok(!self.keys.list().await?.is_empty()) };
        self.holds_keys.get_or_try_init(found).await.copied()
    }

    /// The record in a manifest file.
    pub(super) async fn opened(&self, file: ManifestFile) -> Result<Record> {
        let corrupt = |why: &str| Error::new(ErrorKind::Corrupt, "read manifest", why.to_owned());
        let envelope = match file {
            ManifestFile::Sealed(envelope) => envelope,
            ManifestFile::Clear(_) if self.refuses_clear().await? => {
                return Err(corrupt("it is not sealed, where only what is sealed is believed").hint(
                    "anybody could have put it there; if it is yours from earlier, set accept_clear \
                     (of --from: --from-option accept_clear=yes)",
                ));
            }
            ManifestFile::Clear(record) => return Ok(*record),
        };
        let epoch = epoch_of(&envelope.container)?;
        let ring = self.ring(epoch)?;
        self.have(ring, epoch).await?;
        let json = open_record(&envelope.container, ring, MAX_MANIFEST).await?;
        let record = Record::from_json(&json)?;
        if record.stored != envelope.stored {
            return Err(corrupt("what it says of the stored bytes was changed after it was written"));
        }
        Ok(record)
    }

    /// The sealed content of a backup.
    pub(super) async fn unsealed(self: &Arc<Self>, content: &Path, record: &Record) -> Result<Sealed> {
        let corrupt = |why: &str| Error::new(ErrorKind::Corrupt, "read backup", why.to_owned());
        let epoch = sealed_under(&record.manifest.transforms)
            .and_then(|id| id.parse::<EpochId>().ok())
            .ok_or_else(|| corrupt("its manifest names no epoch key"))?;
        let ring = self.ring(epoch)?;
        self.have(ring, epoch).await?;
        let container = Container { plain: self.clone(), content: content.clone(), stored: record.stored.clone() };
        let header = record.stored.header.ok_or_else(|| corrupt("its manifest does not tell its header"))?;
        let opened = Sealed::open_as(Arc::new(container), header, ring).await?;
        if opened.len() != record.manifest.size {
            let why = format!("it opens to {} bytes, the manifest says {}", opened.len(), record.manifest.size);
            return Err(corrupt(&why));
        }
        Ok(opened)
    }

    /// A sealed object that a dead writer left: opened, if it is whole; with its header.
    pub(super) async fn left_sealed(self: &Arc<Self>, content: &Path, stored: Stored) -> Result<Sealed> {
        let container = Arc::new(Container { plain: self.clone(), content: content.clone(), stored });
        let head = container.read(Some(0..HEADER_LEN as u64));
        let epoch = epoch_of(&devicevault_core::body::read_to_vec(head, HEADER_LEN as u64).await?)?;
        let ring = self.ring(epoch)?;
        self.have(ring, epoch).await?;
        Sealed::open(container, ring).await
    }
}

/// The record of a key of names.
fn names_record(names: &Key, epoch: EpochId, key: &Key) -> Result<Bytes> {
    let sealed = hex::encode(seal_record(names.expose(), epoch, key)?);
    Ok(serde_json::to_vec(&NamesRecord { format: 1, readable_by: 1, sealed }).unwrap_or_default().into())
}

fn names_key(epoch: EpochId, key: &Key) -> Key {
    Key::new(key.mac(&[NAMES_KEY, epoch.0.as_bytes()]))
}

/// The epoch key that a manifest's transforms name, where it was sealed.
pub(super) fn sealed_under(transforms: &[Transform]) -> Option<&str> {
    transforms.iter().find_map(|t| match t {
        Transform::Sealed { key_id } => Some(key_id.as_str()),
        _ => None,
    })
}

pub(super) fn epoch_of(container: &[u8]) -> Result<EpochId> {
    let head = container.get(..HEADER_LEN).unwrap_or(container);
    Ok(Header::parse(head)?.epoch())
}

/// A container in the store.
#[derive(Debug)]
struct Container {
    plain: Arc<Plain>,
    content: Path,
    stored: Stored,
}

impl Body for Container {
    fn len(&self) -> u64 {
        self.stored.size
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let (plain, content, stored) = (self.plain.clone(), self.content.clone(), self.stored.clone());
        let size = stored.size;
        let range = range.map(|r| r.start.min(size)..r.end.min(size));
        if range.as_ref().is_some_and(Range::is_empty) {
            return futures::stream::empty().boxed();
        }
        let opening = async move { plain.stored(&content, &stored, range).await };
        futures::stream::once(opening).try_flatten().boxed()
    }
}
