//! A copy that is damaged or gone is stored anew, out of another destination that holds a good one.

use std::sync::Arc;

use bytes::Bytes;

use super::destination::Destination;
use super::{Engine, Inner, LEASE_POLL};
use crate::body::StoredBody;
use crate::catalog::{CatalogExt as _, CopyKey, Lease, Page, Query};
use crate::run::{Backup, Copy, CopyStatus, Outcome};
use crate::spool::Parked;
use crate::storage::{StorageBackendExt as _, Verdict, VerifyDepth};
use crate::verification::{may_be_looked_at, verify_copy};
use crate::{
    Body, DestinationId, DeviceId, Digest, Entry, Error, ErrorKind, Kind, Manifest, Result, StorageBackend, StorageRef,
    Transform, View,
};

/// Makes a view of an original by the rules of its platform; what the engine cannot know.
pub type MakeView<'a> = dyn Fn(&Manifest, Bytes, View) -> Result<Bytes> + Send + Sync + 'a;

/// An original that a view is made of is read into memory; no larger one is.
const MAX_TEXT: u64 = 256 << 20;

/// Later versions that are looked at.
const MOST_LATER: u32 = 1000;

/// What became of a copy that was to be repaired.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Repair {
    /// It was stored anew, and read back.
    Stored {
        /// Where the good bytes came from.
        from: DestinationId,
        /// Where the copy is now.
        at: StorageRef,
    },
    /// There was nothing to repair: it is good.
    Good,
    /// It could not be repaired, and why; it is as it was found, or gone where it was damaged.
    Failed(Error),
}

const OPERATION: &str = "repair copy";

fn cannot(kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::new(kind, OPERATION, why)
}

/// Good bytes for a copy, and where they are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GoodCopy {
    /// Where they are.
    pub from: DestinationId,
    /// What is to be stored, in the view of the copy.
    pub entry: Entry,
    /// The bytes.
    pub body: Arc<dyn Body>,
}

impl Engine {
    /// Stores a copy anew that is damaged or gone: out of a copy of the same view at another of these destinations, or,
    /// where `make` is given, made of an original. What it is taken from is read through and compared with what was
    /// recorded before the damaged copy is touched, and once more while it is stored; what was stored is read back before
    /// it is recorded as good. No run talks to the device meanwhile. Dropped or killed in between, the copy is as it was
    /// or gone, and recorded as damaged in either case: the next call mends it.
    ///
    /// # Errors
    /// What the catalog answers; `NotFound` where it knows no such copy; `Conflict` while a run holds the device. What
    /// keeps the copy from being repaired is [`Repair::Failed`].
    pub async fn repair(
        &self,
        places: &[Arc<Destination>],
        damaged: &CopyKey,
        make: Option<&MakeView<'_>>,
    ) -> Result<Repair> {
        let engine = &*self.0;
        let device = known(engine, damaged).await?.0.device;
        let lease = self.hold(&device).await?;
        let done = tokio::select! {
            done = Box::pin(repair(engine, places, damaged, make)) => done,
            lost = self.keep(lease.clone()) => Err(lost),
        };
        // Best effort: a lease that cannot be given back expires.
        let _ = engine.catalog.release(&lease).await;
        done
    }

    /// What [`repair`](Self::repair) would store a copy anew out of, read through and compared with what was recorded.
    ///
    /// # Errors
    /// `NotFound` where no other destination has it, with what each of them has, or the catalog knows no such copy;
    /// `KeyUnavailable`; what the catalog answers.
    pub async fn good_copy(
        &self,
        places: &[Arc<Destination>],
        copy: &CopyKey,
        make: Option<&MakeView<'_>>,
    ) -> Result<GoodCopy> {
        let (backup, copy) = known(&self.0, copy).await?;
        source(places, &backup, &copy, make).await
    }

    async fn hold(&self, device: &DeviceId) -> Result<Lease> {
        let engine = &*self.0;
        let begun = engine.clock.monotonic();
        loop {
            if let Some(lease) = engine.catalog.lease(device, engine.limits.lease).await? {
                return Ok(lease);
            }
            if engine.clock.monotonic().saturating_sub(begun) >= engine.limits.device_wait {
                return Err(cannot(ErrorKind::Conflict, "a run holds the device").with("device", device));
            }
            engine.clock.sleep(LEASE_POLL).await;
        }
    }
}

/// The backup, and its copy there.
async fn known(engine: &Inner, key: &CopyKey) -> Result<(Backup, Copy)> {
    let gone = || cannot(ErrorKind::NotFound, "the catalog knows no such copy").with("backup", key.backup);
    let query = Query { id: Some(key.backup), ..Query::default() };
    let backup = engine.catalog.newest(&query).await?.ok_or_else(gone)?;
    let copy = backup.copies.iter().find(|c| c.destination == key.destination).cloned().ok_or_else(gone)?;
    Ok((backup, copy))
}

async fn repair(
    engine: &Inner,
    places: &[Arc<Destination>],
    key: &CopyKey,
    make: Option<&MakeView<'_>>,
) -> Result<Repair> {
    let (backup, copy) = known(engine, key).await?;
    if !may_be_looked_at(&copy) {
        let e = cannot(ErrorKind::Conflict, format!("it is {}: there is nothing to repair", copy.status.as_str()));
        return Ok(Repair::Failed(e));
    }
    let Some(target) = places.iter().find(|d| *d.id() == key.destination) else {
        return Ok(Repair::Failed(cannot(ErrorKind::Unavailable, "its destination is not at hand")));
    };
    if copy.view.tells_more_than(target.view()) {
        let why = format!("its destination keeps the {} view by now, and this is the {} one", target.view(), copy.view);
        return Ok(Repair::Failed(cannot(ErrorKind::Unsupported, why)));
    }
    // What was found a while ago may have been mended by somebody else.
    match verify_copy(&**target.backend(), &backup, &copy, VerifyDepth::Content).await {
        Ok(Verdict::Good(_)) => {
            engine.catalog.verified(key, Ok(engine.clock.now())).await?;
            return Ok(Repair::Good);
        }
        // Nobody relies on it from here on, whatever becomes of it.
        Ok(Verdict::Missing) => told(engine, key, ErrorKind::NotFound, "it is not there").await?,
        Ok(Verdict::Damaged(what)) => told(engine, key, ErrorKind::Corrupt, &what.join("; ")).await?,
        // A record that does not say where the copy is can be mended as well.
        Err(e) if e.kind() == ErrorKind::Corrupt => {}
        Err(e) => return Ok(Repair::Failed(e)),
    }
    let mended = async {
        in_order(engine, target, &backup).await?;
        let source = source(places, &backup, &copy, make).await?;
        let from = source.from.clone();
        let at = put(engine, target, &backup, &copy, source).await?;
        Ok::<_, Error>((from, at))
    };
    let (from, at) = match mended.await {
        Ok(done) => done,
        Err(e) => {
            tracing::warn!(event = "repair_failed", device = %backup.device_name, artefact = %backup.artefact,
                storage_backend = %key.destination, error = %e.to_record().message);
            return Ok(Repair::Failed(e));
        }
    };
    let now = engine.clock.now();
    let mut mended = copy;
    mended.status = CopyStatus::Stored;
    mended.storage_ref = Some(at.clone());
    mended.attempts = 1;
    mended.stored_at = now;
    mended.verified_at = Some(now);
    mended.error = None;
    let (run, id) = (backup.run, backup.id);
    engine.catalog.record(run, vec![Outcome::Backup(Backup { copies: vec![mended], ..backup })]).await?;
    engine.catalog.verified(key, Ok(now)).await?;
    tracing::info!(event = "copy_repaired", backup = %id, storage_backend = %key.destination, from = %from);
    Ok(Repair::Stored { from, at })
}

async fn told(engine: &Inner, key: &CopyKey, kind: ErrorKind, what: &str) -> Result<()> {
    engine.catalog.verified(key, Err(Error::new(kind, "verify backup", what).to_record())).await
}

/// Refuses where what arrives last is shown as the present, and something newer is there.
async fn in_order(engine: &Inner, target: &Destination, backup: &Backup) -> Result<()> {
    if !target.backend().capability().ordered {
        return Ok(());
    }
    let query = Query {
        device: Some(backup.device.clone()),
        artefact: Some(backup.artefact.clone()),
        destination: Some(target.id().clone()),
        since: Some(backup.first_seen),
        ..Query::default()
    };
    let later = engine.catalog.find(&query, Page::first(MOST_LATER)).await?.items;
    // What waits for it, or is missing there, is not before it.
    let is_there = |c: &Copy| match c.status {
        CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Marked => true,
        CopyStatus::Damaged => c.error.as_ref().is_none_or(|e| e.kind != ErrorKind::NotFound),
        CopyStatus::Pending | CopyStatus::Failed => false,
    };
    let has = |b: &Backup| b.copies.iter().any(|c| c.destination == *target.id() && is_there(c));
    if later.iter().any(|b| (b.first_seen, b.id) > (backup.first_seen, backup.id) && has(b)) {
        return Err(cannot(
            ErrorKind::Unsupported,
            "it keeps versions in order, and newer ones of the artefact are there",
        )
        .hint("`devicevault git mend` puts it back where it was"));
    }
    Ok(())
}

/// Also of a copy that is about to go: its bytes may be there still.
fn may_be_read(copy: &Copy) -> bool {
    may_be_looked_at(copy) || copy.status == CopyStatus::Marked
}

/// The first good copy that the bytes can be taken from: of the same view, else an original that it can be made of.
async fn source(
    places: &[Arc<Destination>],
    backup: &Backup,
    damaged: &Copy,
    make: Option<&MakeView<'_>>,
) -> Result<GoodCopy> {
    let mut others: Vec<&Copy> =
        backup.copies.iter().filter(|c| c.destination != damaged.destination && may_be_read(c)).collect();
    others
        .sort_by_key(|c| (c.view != damaged.view, c.status != CopyStatus::Stored && c.status != CopyStatus::Extended));
    let mut why = Vec::new();
    let mut closed = false;
    for copy in others {
        let tried = match places.iter().find(|d| *d.id() == copy.destination) {
            None => Err(cannot(ErrorKind::Unavailable, "it is not at hand")),
            Some(place) if copy.view == damaged.view => same_view(place.backend(), backup, copy, damaged).await,
            Some(place) => match make.filter(|_| copy.view == View::Original && backup.kind == Kind::Text) {
                Some(make) => made(place.backend(), backup, copy, damaged, make).await,
                None => Err(cannot(ErrorKind::Unsupported, format!("it keeps the {} view", copy.view))),
            },
        };
        match tried {
            Ok((manifest, body)) => {
                let from = copy.destination.clone();
                let mut entry = Entry::new(manifest);
                entry.summary = format!("{}: {} repaired from {from}", backup.device_name, backup.artefact);
                return Ok(GoodCopy { from, entry, body });
            }
            Err(e) => {
                closed |= e.kind() == ErrorKind::KeyUnavailable;
                why.push(format!("{}: {}", copy.destination, e.message()));
            }
        }
    }
    if closed {
        let e = cannot(ErrorKind::KeyUnavailable, format!("no other copy could be opened: {}", why.join("; ")));
        return Err(e.hint("have the key of the others at hand, and repair again"));
    }
    let e = cannot(
        ErrorKind::NotFound,
        if why.is_empty() {
            "no other destination holds a copy".to_owned()
        } else {
            format!("no other destination holds a good copy: {}", why.join("; "))
        },
    );
    Err(e.hint("the next backup stores what the device holds now anew"))
}

async fn checked(backend: &Arc<dyn StorageBackend>, backup: &Backup, copy: &Copy) -> Result<(StorageRef, Manifest)> {
    let at =
        copy.storage_ref.clone().ok_or_else(|| cannot(ErrorKind::Corrupt, "its record does not say where it is"))?;
    match verify_copy(&**backend, backup, copy, VerifyDepth::Content).await? {
        Verdict::Good(_) => {}
        Verdict::Missing => return Err(cannot(ErrorKind::NotFound, "it is not there")),
        Verdict::Damaged(what) => {
            return Err(cannot(ErrorKind::Corrupt, format!("it is damaged: {}", what.join("; "))));
        }
    }
    let mut manifest = backend.stat(&at).await?;
    // What was done on the way into the one store is not done on the way into the other.
    manifest.transforms.retain(|t| !matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. }));
    Ok((at, manifest))
}

async fn same_view(
    backend: &Arc<dyn StorageBackend>,
    backup: &Backup,
    copy: &Copy,
    damaged: &Copy,
) -> Result<(Manifest, Arc<dyn Body>)> {
    let (at, manifest) = checked(backend, backup, copy).await?;
    if (manifest.size, manifest.sha256) != (damaged.size, damaged.sha256) {
        return Err(cannot(ErrorKind::Conflict, "its bytes are not those that were recorded of the damaged one"));
    }
    let body = Arc::new(StoredBody::new(backend.clone(), at, manifest.size));
    Ok((manifest, body))
}

async fn made(
    backend: &Arc<dyn StorageBackend>,
    backup: &Backup,
    copy: &Copy,
    damaged: &Copy,
    make: &MakeView<'_>,
) -> Result<(Manifest, Arc<dyn Body>)> {
    let (at, mut manifest) = checked(backend, backup, copy).await?;
    let original = backend.read_all(&at, MAX_TEXT).await?;
    let bytes = make(&manifest, original.into(), damaged.view)?;
    if (bytes.len() as u64, Digest::of(&bytes)) != (damaged.size, damaged.sha256) {
        let why = "the view that is made of its original today is not the one that was stored";
        return Err(cannot(ErrorKind::Conflict, why));
    }
    manifest.view = damaged.view;
    manifest.size = damaged.size;
    manifest.sha256 = damaged.sha256;
    manifest.transforms.push(Transform::Volatile);
    if damaged.view == View::Redacted {
        manifest.transforms.push(Transform::Masked);
    }
    Ok((manifest, Arc::new(bytes)))
}

/// Takes the damaged copy away, stores the good bytes, and reads them back.
async fn put(
    engine: &Inner,
    target: &Arc<Destination>,
    backup: &Backup,
    damaged: &Copy,
    source: GoodCopy,
) -> Result<StorageRef> {
    let GoodCopy { entry, body, .. } = source;
    let line = Parked { destination: target.id().clone(), entry: entry.clone(), attempts: 0 }.line();
    let _turn = engine.lines.enter(&line).await;
    take_away(target.backend(), backup, damaged).await?;
    let at = target.store(entry, body).await.result?;
    let stored = Copy { storage_ref: Some(at.clone()), ..damaged.clone() };
    match verify_copy(&**target.backend(), backup, &stored, VerifyDepth::Content).await? {
        Verdict::Good(_) => Ok(at),
        Verdict::Missing => Err(cannot(ErrorKind::Corrupt, "it was stored anew and is not there")),
        Verdict::Damaged(what) => {
            let e = cannot(ErrorKind::Corrupt, format!("it was stored anew and is damaged still: {}", what.join("; ")));
            Err(if target.backend().capability().delete {
                e.hint("look at the destination's disk")
            } else {
                e.hint("the store keeps what it has: `devicevault git mend` makes its history whole again")
            })
        }
    }
}

/// A store that finds the entry in its place would take it for stored.
async fn take_away(backend: &Arc<dyn StorageBackend>, backup: &Backup, damaged: &Copy) -> Result<()> {
    let Some(at) = damaged.storage_ref.as_ref().filter(|_| backend.capability().delete) else { return Ok(()) };
    match backend.stat(at).await {
        // What lies there is another backup's; that one is not touched.
        Ok(manifest) if manifest.backup != backup.id => return Ok(()),
        Err(e) if !matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => return Err(e),
        _ => {}
    }
    backend.delete_one(at).await
}
