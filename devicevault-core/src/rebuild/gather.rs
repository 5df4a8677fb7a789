//! What one destination after another holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::believed::{Recorded, Words};
use super::plausible;
use crate::clock::Timestamp;
use crate::sightings::{SLACK, Sighting};
use crate::storage::{ListFilter, MISSING, StorageBackend, Verdict, VerifyDepth};
use crate::{
    BackupId, Catalog, DestinationId, Digest, Error, ErrorKind, ErrorRecord, Kind, Manifest, Result, RunId, StorageRef,
    View,
};

/// What was not believed.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Where.
    pub destination: DestinationId,
    /// What it lies under, where that is known.
    pub at: Option<String>,
    /// Why.
    pub error: Error,
}

/// What no key at hand opens, of one destination and under one epoch key.
#[derive(Debug)]
pub(super) struct Closed {
    destination: DestinationId,
    epoch: Option<String>,
    pub(super) copies: usize,
    /// Records of how long versions were valid, by their months.
    pub(super) months: BTreeSet<String>,
    /// That of the first.
    error: Error,
}

impl Closed {
    /// Told once, however many there are.
    pub(super) fn refused(&self) -> Refused {
        let months: Vec<_> = self.months.iter().map(String::as_str).collect();
        let known = format!("what was seen, pinned and accepted in {}", months.join(", "));
        let what = match self.copies {
            0 => format!("{known} stays closed"),
            n => {
                let copies = if n == 1 { "1 copy stays closed".to_owned() } else { format!("{n} copies stay closed") };
                if months.is_empty() { copies } else { format!("{copies}, and {known}") }
            }
        };
        let keys = self.error.context().filter(|(name, _)| matches!(*name, "wrapped by" | "key"));
        let keys: Vec<_> = keys.map(|(name, id)| format!("{name}: {id}")).collect();
        let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
        let why = format!("{what}: {}{keys}", self.error.message());
        let error = Error::new(self.error.kind(), "open backup", why).because(self.error.clone());
        let at = self.epoch.as_ref().map(|id| format!("epoch key {id}"));
        Refused { destination: self.destination.clone(), at, error }
    }
}

/// A copy that is listed.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) backup: BackupId,
    pub(super) run: RunId,
    pub(super) device: Arc<str>,
    pub(super) device_name: Arc<str>,
    pub(super) artefact: Arc<str>,
    pub(super) extension: Arc<str>,
    pub(super) kind: Kind,
    pub(super) view: View,
    pub(super) size: u64,
    pub(super) sha256: Digest,
    pub(super) content: Digest,
    pub(super) taken_at: Timestamp,
    /// Since when the version is known.
    pub(super) since: Timestamp,
    pub(super) suspect: Vec<String>,
    pub(super) quarantined: bool,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) at: StorageRef,
    /// Where anybody can write, another good text claims to be the same version.
    pub(super) disputed: bool,
    /// Why it is not what was stored, where it was looked at.
    pub(super) damaged: Option<ErrorRecord>,
}

/// How many copies are looked at at once: of a store that is a network away, most of the time is waiting.
const LOOKS_AT_ONCE: usize = 16;

/// Why something is in quarantine whose manifest does not say it.
const NO_REASON: &str = "it broke a file rule";

/// What a destination told.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: DestinationId,
    /// Nobody without a key can have written there.
    pub(super) sealed: bool,
    pub(super) found: Vec<Found>,
    pub(super) seen: HashMap<BackupId, (Timestamp, Sighting)>,
    /// Versions that are pinned by records that were set aside, and when the last of those was written.
    pub(super) pinned_aside: HashMap<BackupId, Timestamp>,
}

impl Place {
    fn new(id: &DestinationId, backend: &dyn StorageBackend) -> Self {
        let sealed = backend.capability().private_content;
        let (seen, pinned_aside) = (HashMap::new(), HashMap::new());
        Self { id: id.clone(), sealed, found: Vec::new(), seen, pinned_aside }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Gathered {
    pub(super) places: Vec<Place>,
    /// What was told of devices and pins.
    pub(super) words: Words,
    /// What a catalog knows beside these places.
    pub(super) recorded: Recorded,
    /// What is dated after this is ahead of every clock.
    pub(super) latest: Option<Timestamp>,
    pub(super) refused: Vec<Refused>,
    pub(super) closed: Vec<Closed>,
    /// Copies of a backup of which the destination has another, better one.
    pub(super) surplus: Vec<(DestinationId, StorageRef)>,
    texts: HashSet<Arc<str>>,
}

impl Gathered {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many copies were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.iter().map(|p| p.found.len()).sum()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was not believed.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Refuses to go on with nothing where there is something that no key at hand opens.
    ///
    /// # Errors
    /// Why the first of it stays closed.
    pub fn refuse_all_closed(&self) -> Result<()> {
        match self.closed.iter().find(|c| c.copies > 0) {
            Some(closed) if self.is_empty() => Err(closed.error.clone()),
            _ => Ok(()),
        }
    }

    /// Every view that a destination holds.
    #[must_use]
    pub fn views(&self, destination: &DestinationId) -> Vec<View> {
        let of_place = self.places.iter().filter(|p| p.id == *destination).flat_map(|p| &p.found);
        let mut views: Vec<_> = of_place.filter(|f| f.kind == Kind::Text).map(|f| f.view).collect();
        views.sort_unstable();
        views.dedup();
        views
    }

    /// Believes a catalog as it believes sealed places: what others add to it of devices that these `sealed` destinations of
    /// it know is heard as if the destinations themselves were gathered.
    ///
    /// # Errors
    /// What the catalog answers.
    pub async fn heed(&mut self, catalog: &dyn Catalog, sealed: &BTreeSet<DestinationId>) -> Result<()> {
        self.recorded = Recorded::of(catalog, sealed).await?;
        Ok(())
    }

    /// Lists a destination. `tell` is told how many copies were found so far.
    ///
    /// # Errors
    /// The destination cannot be listed. What is wrong with a single manifest or record is among the
    /// [refused](Gathered::refused); what no key at hand opens joins them when all is [put together](Gathered::assemble).
    pub async fn gather(
        &mut self,
        destination: &DestinationId,
        backend: &dyn StorageBackend,
        now: Timestamp,
        tell: &(dyn Fn(usize) + Sync),
    ) -> Result<()> {
        let mut place = Place::new(destination, backend);
        self.latest = self.latest.max(now.checked_add(SLACK).ok());
        let mut list = backend.list(ListFilter::default());
        while let Some(item) = list.next().await {
            match item {
                Ok((at, manifest)) => match plausible::check(&manifest) {
                    Ok(()) => place.found.push(self.found(place.sealed, at, manifest)),
                    Err(error) => self.refuse(destination, Some(at.to_string()), error),
                },
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                    let at = e.context().find(|(n, _)| [MISSING, "path", "object", "manifest", "commit"].contains(n));
                    let at = at.map(|(_, v)| v.to_owned());
                    self.refuse(destination, at, e);
                }
                Err(e) if e.kind() == ErrorKind::KeyUnavailable => self.close(destination, e, |c| c.copies += 1),
                Err(e) => return Err(e),
            }
            if place.found.len().is_multiple_of(256) {
                tell(self.len() + place.found.len());
            }
        }
        drop(list);
        self.drop_surplus(&mut place, backend).await?;
        self.sightings(&mut place, backend, now).await?;
        self.places.push(place);
        tell(self.len());
        Ok(())
    }

    /// Looks whether what was gathered of a destination has the size that its manifest says: a listing tells what manifests
    /// say, and content may have been cut off since. What is not what was stored comes back as damaged, and so does a copy
    /// that may not be looked at where others may.
    ///
    /// # Errors
    /// What the destination answers; that no copy there may be looked at.
    pub async fn look(&mut self, destination: &DestinationId, backend: &dyn StorageBackend) -> Result<()> {
        for place in self.places.iter_mut().filter(|p| p.id == *destination) {
            look_at(backend, &mut place.found).await?;
        }
        Ok(())
    }

    /// Lists what these runs stored at a destination, without how long it was valid. What is not believed is left alone.
    ///
    /// # Errors
    /// The destination cannot be listed.
    pub(super) async fn gather_of(
        &mut self,
        destination: &DestinationId,
        backend: &dyn StorageBackend,
        runs: &BTreeMap<RunId, Timestamp>,
    ) -> Result<()> {
        let Some(first) = runs.values().min() else { return Ok(()) };
        let mut place = Place::new(destination, backend);
        let filter = ListFilter { since: Some(first.checked_sub(SLACK).unwrap_or(*first)), ..ListFilter::default() };
        let mut list = backend.list(filter);
        while let Some(item) = list.next().await {
            match item {
                Ok((at, manifest)) if runs.contains_key(&manifest.run) && plausible::check(&manifest).is_ok() => {
                    place.found.push(self.found(place.sealed, at, manifest));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {}
                Err(e) => return Err(e),
            }
        }
        drop(list);
        self.drop_surplus(&mut place, backend).await?;
        self.places.push(place);
        Ok(())
    }

    fn refuse(&mut self, destination: &DestinationId, at: Option<String>, error: Error) {
        self.refused.push(Refused { destination: destination.clone(), at, error });
    }

    /// Counts what is closed there for one reason.
    fn close(&mut self, destination: &DestinationId, error: Error, count: impl FnOnce(&mut Closed)) {
        let epoch = error.context().find(|(name, _)| *name == "epoch").map(|(_, id)| id.to_owned());
        if let Some(known) = self.closed.iter_mut().find(|c| c.destination == *destination && c.epoch == epoch) {
            return count(known);
        }
        let (destination, months) = (destination.clone(), BTreeSet::new());
        let mut closed = Closed { destination, epoch, copies: 0, months, error };
        count(&mut closed);
        self.closed.push(closed);
    }

    /// Texts that many manifests share are kept once.
    fn text(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.texts.get(text.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }

    fn found(&mut self, sealed: bool, at: StorageRef, m: Manifest) -> Found {
        self.words.of(sealed).hear(&m);
        let since = m.first_seen();
        Found {
            backup: m.backup,
            run: m.run,
            device: self.text(m.source.device.0),
            device_name: self.text(m.source.device_name),
            artefact: self.text(m.artefact),
            extension: self.text(m.extension),
            kind: m.kind,
            view: m.view,
            size: m.size,
            sha256: m.sha256,
            content: m.content,
            taken_at: m.taken_at,
            since,
            // Whatever is kept apart is suspect: a manifest that says one without the other is not believed to be good.
            suspect: if m.quarantined && m.suspect.is_empty() { vec![NO_REASON.to_owned()] } else { m.suspect },
            quarantined: m.quarantined,
            metadata: m.metadata,
            at,
            disputed: false,
            damaged: None,
        }
    }

    /// Of several copies of one backup, stored anew after one was damaged, the last one that is good counts. What the
    /// first said of when it was taken is kept.
    async fn drop_surplus(&mut self, place: &mut Place, backend: &dyn StorageBackend) -> Result<()> {
        // Of one that somebody copied elsewhere, the one that lies under its device's name comes last, and counts.
        let named = |f: &Found| f.at.as_str().split(['/', ':']).any(|part| part == f.device_name.as_ref());
        place
            .found
            .sort_by(|a, b| (a.backup, a.taken_at, named(a), &b.at).cmp(&(b.backup, b.taken_at, named(b), &a.at)));
        let mut kept: Vec<Found> = Vec::with_capacity(place.found.len());
        let mut all = std::mem::take(&mut place.found).into_iter().peekable();
        while let Some(first) = all.next() {
            let mut versions = vec![first];
            while let Some(same) = all.next_if(|f| versions.first().is_some_and(|v| v.backup == f.backup)) {
                versions.push(same);
            }
            let earliest = versions.iter().map(|f| (f.since, f.run)).min();
            let (mut good, mut disputed) = (None::<(usize, Digest)>, false);
            if versions.len() > 1 {
                for (i, version) in versions.iter().enumerate().rev() {
                    // Two that took a key to write differ where one was made anew; elsewhere one of them may be a forgery.
                    let is_alike = good.is_some_and(|(_, known)| place.sealed || known == version.sha256);
                    if !is_alike
                        && backend.verify(&version.at, None, VerifyDepth::Content).await.is_ok_and(|v| v.is_good())
                    {
                        disputed |= good.is_some();
                        good = good.or(Some((i, version.sha256)));
                    }
                }
            }
            let best = good.map_or(versions.len() - 1, |(i, _)| i);
            for (i, mut version) in versions.into_iter().enumerate() {
                if i != best {
                    self.surplus.push((place.id.clone(), version.at));
                    continue;
                }
                if let Some((since, run)) = earliest {
                    (version.since, version.run) = (since, run);
                }
                version.disputed = disputed;
                kept.push(version);
            }
        }
        place.found = kept;
        Ok(())
    }

    async fn sightings(&mut self, place: &mut Place, backend: &dyn StorageBackend, now: Timestamp) -> Result<()> {
        let latest = now.checked_add(SLACK).unwrap_or(Timestamp::MAX);
        let is_ahead = |at: Timestamp| at > latest;
        let mut aside = Vec::new();
        for period in backend.sighting_periods().await? {
            let record = match backend.sightings(&period).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                    self.refuse(&place.id, Some(format!("sightings of {period}")), e);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::KeyUnavailable => {
                    self.close(&place.id, e, |c| c.months.extend([month_of(&period)]));
                    continue;
                }
                Err(e) => return Err(e),
            };
            self.words.of(place.sealed).hear_of(&record, now, latest);
            let mut ahead = 0_usize;
            for sighting in record.seen {
                if is_ahead(sighting.last_seen) || sighting.here.is_some_and(is_ahead) {
                    ahead += 1;
                    continue;
                }
                if record.set_aside {
                    aside.push((record.made_at, sighting));
                    continue;
                }
                let newer = place
                    .seen
                    .get(&sighting.backup)
                    .is_none_or(|(made_at, known)| (known.last_seen, *made_at) < (sighting.last_seen, record.made_at));
                if newer {
                    place.seen.insert(sighting.backup, (record.made_at, sighting));
                }
            }
            if ahead > 0 {
                let e = Error::new(ErrorKind::Corrupt, "read sightings", format!("{ahead} of them lie in the future"));
                self.refuse(&place.id, Some(format!("sightings of {period}")), e);
            }
        }
        // Later records may have been written without knowing these: what they do not say is not taken back.
        for (made_at, sighting) in aside {
            if sighting.pinned {
                let last = place.pinned_aside.entry(sighting.backup).or_insert(made_at);
                *last = made_at.max(*last);
            }
            let (_, known) = place.seen.entry(sighting.backup).or_insert_with(|| (made_at, sighting.clone()));
            known.last_seen = known.last_seen.max(sighting.last_seen);
            known.suspect &= sighting.suspect;
        }
        Ok(())
    }
}

/// Why one object may not be looked at, while its place answers for others. Anything else may be the place's own trouble, which
/// says nothing of what lies there.
const OF_ONE_COPY: [ErrorKind; 5] =
    [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::TooLarge];

/// Notes what is not what was stored, as far as sizes tell, and what could not be looked at where others could.
///
/// # Errors
/// What the place answers; that no copy can be looked at.
pub(super) async fn look_at(backend: &dyn StorageBackend, found: &mut [Found]) -> Result<()> {
    let all: Vec<_> = found.iter().map(|f| (f.at.clone(), f.sha256)).collect();
    let look = |(at, sha256): (StorageRef, Digest)| async move {
        match backend.verify(&at, None, VerifyDepth::Size).await? {
            // What somebody took out of a branch is whole all the same, and read.
            Verdict::Damaged(_) if is_given_out(backend, &at, sha256).await => Ok(Verdict::Good(VerifyDepth::Content)),
            verdict => Ok::<_, Error>(verdict),
        }
    };
    let mut verdicts = futures::stream::iter(all).map(look).buffered(LOOKS_AT_ONCE);
    let (mut looked, mut refused) = (false, None);
    for copy in found {
        let bad = |kind, why: String| Some(Error::new(kind, "look at copy", why).to_record());
        let verdict = match verdicts.next().await {
            Some(Err(e)) if OF_ONE_COPY.contains(&e.kind()) => {
                copy.damaged = bad(e.kind(), format!("it could not be looked at: {}", e.message()));
                refused.get_or_insert(e);
                continue;
            }
            // Its manifest was open a moment ago.
            Some(Err(e)) if e.kind() != ErrorKind::KeyUnavailable => return Err(e),
            verdict => verdict,
        };
        looked = true;
        copy.damaged = match verdict {
            Some(Ok(Verdict::Damaged(what))) => bad(ErrorKind::Corrupt, what.join("; ")),
            Some(Ok(Verdict::Missing)) => bad(ErrorKind::NotFound, "it is not there".to_owned()),
            _ => None,
        };
    }
    match refused {
        Some(e) if !looked => Err(e),
        _ => Ok(()),
    }
}

/// Whether all of a copy comes, and has this hash.
async fn is_given_out(backend: &dyn StorageBackend, at: &StorageRef, sha256: Digest) -> bool {
    let mut hash = Sha256::new();
    let Ok(mut bytes) = backend.read(at, None).await else { return false };
    while let Some(piece) = bytes.next().await {
        let Ok(piece) = piece else { return false };
        hash.update(&piece);
    }
    Digest(hash.finalize().into()) == sha256
}

/// The month of a record, for people.
fn month_of(period: &str) -> String {
    period.split('.').next().unwrap_or_default().to_owned()
}
