//! The history of another program's repository, taken in as backups.
//!
//! A version is known by the repository, the commit and the file that it comes from, so that the same import adds nothing
//! when it is done again, and goes on where it was cut off. Versions go in the order of their commits, while no run stores of
//! their devices.

mod files;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::catalog::{Lease, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::{Backup, Copy, CopyStatus, Outcome};
use devicevault_core::{
    BackupId, Body, DestinationId, Device, Digest, Entry, Error, ErrorKind, Kind, Login, Manifest, ManifestSeed,
    Result, RunId, Source, StorageBackend, Target, Timestamp, Transform, View,
};
use serde::Serialize;

use self::files::Files;
use crate::copying::wait_for;
use crate::instance::Instance;
use crate::ui::Ui;
use crate::ui::progress::counter;
use crate::views;
use crate::wiring::{ForeignCommit, ForeignHistory};

/// A text is read into memory; no larger one is.
const MAX_TEXT: u64 = 256 << 20;
/// Versions that go in one batch, or fewer with so many bytes.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 16 << 20;
/// Leases are taken anew well before they end.
const RENEW: Duration = Duration::from_secs(60);
/// The longest subject that is kept.
const MAX_SUBJECT: usize = 300;

/// What became of the versions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Imported {
    pub(crate) commits: usize,
    pub(crate) imported: usize,
    /// They were there already, at every destination.
    pub(crate) there: usize,
    /// They hold what the version before holds.
    pub(crate) same: usize,
    /// Copies that a destination cannot take, because it has newer versions and keeps them in order.
    pub(crate) too_old: usize,
    pub(crate) failed: Vec<String>,
    /// Files of nodes that no device of the home is.
    pub(crate) unknown: BTreeMap<String, usize>,
    /// Files that are no node by the layout, and symbolic links; those whose names begin with a dot not counted.
    pub(crate) left_out: BTreeMap<String, usize>,
    /// Names that no file can have, such as `..`, or that two have in one folder.
    pub(crate) refused: BTreeSet<String>,
    /// Files that are the same device as another one that was there at the same time and changed too, with that one.
    pub(crate) doubles: BTreeMap<String, String>,
    /// What came before the first commit is not in the repository.
    pub(crate) cut: bool,
    /// Commits that are dated after now, with their dates: each counts as made when the next one with a time that can be
    /// was, for what is newest would stay so until then.
    pub(crate) ahead: BTreeMap<String, Timestamp>,
    /// Merges, with their dates: each has as one version what was changed on the side that was merged in.
    pub(crate) merges: BTreeMap<String, Timestamp>,
}

/// A version that is to be imported.
#[derive(Debug)]
struct Item {
    commit: usize,
    device: usize,
    /// Its file, among those of the import.
    file: usize,
    content: String,
}

/// An import, planned.
#[derive(Debug)]
pub(crate) struct Import {
    history: ForeignHistory,
    artefact: String,
    devices: Vec<Device>,
    items: Vec<Item>,
    /// What commits that are dated after now are taken as.
    dates: HashMap<usize, Timestamp>,
    done: Imported,
}

/// Clocks differ by no more.
const APART: Duration = Duration::from_secs(3600);

/// A later time cannot be.
fn latest(now: Timestamp) -> Timestamp {
    now.checked_add(APART).unwrap_or(Timestamp::MAX)
}

/// Those of commits, in their order, that are dated after now, with the time of the next one that is not.
fn dates(times: &[Timestamp], now: Timestamp) -> HashMap<usize, Timestamp> {
    let (mut dates, mut next) = (HashMap::new(), now);
    for (commit, at) in times.iter().enumerate().rev() {
        if *at > latest(now) {
            dates.insert(commit, next);
        } else {
            next = *at;
        }
    }
    dates
}

/// Where versions go.
struct Place {
    config: DestinationConfig,
    backend: Arc<dyn StorageBackend>,
    /// Of an ordered one: the newest version of each device that was there before, and is not of this import.
    newest: HashMap<usize, Timestamp>,
}

/// What is known of a version.
struct Known {
    content: Digest,
    at: BTreeSet<DestinationId>,
}

impl Import {
    /// Goes through a history once: which versions it has, of which devices. `device` says which one a file is of; `Err` is
    /// the node that none is, `Ok(None)` a file that is no configuration.
    ///
    /// # Errors
    /// The history cannot be read.
    pub(crate) fn plan(
        mut history: ForeignHistory,
        artefact: &str,
        now: Timestamp,
        device: &dyn Fn(&str) -> std::result::Result<Option<Device>, String>,
    ) -> Result<Self> {
        let (mut devices, mut places) = (Vec::new(), HashMap::new());
        let (mut items, mut done) = (Vec::new(), Imported { commits: history.len(), ..Imported::default() });
        done.cut = history.is_cut();
        let mut files = Files::default();
        let mut times = Vec::new();
        for commit in 0..history.len() {
            let Some(found) = history.commit(commit)? else { break };
            times.push(found.at);
            if found.is_merge {
                done.merges.insert(found.id.clone(), found.at);
            }
            if found.at > latest(now) {
                done.ahead.insert(found.id, found.at);
            }
            done.refused.extend(found.refused);
            found.removed.iter().for_each(|path| files.remove(path));
            for file in found.files {
                let hidden = file.path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
                match if file.is_link { Ok(None) } else { device(&file.path) } {
                    Ok(None) if hidden => {}
                    Ok(None) => *done.left_out.entry(file.path).or_default() += 1,
                    Err(node) => *done.unknown.entry(node).or_default() += 1,
                    Ok(Some(device)) => {
                        let number = *places.entry(device.id.clone()).or_insert_with(|| {
                            devices.push(device);
                            devices.len() - 1
                        });
                        let at = files.note(file.path, number, commit);
                        items.push(Item { commit, device: number, file: at, content: file.content });
                    }
                }
            }
        }
        let doubles = files.doubles();
        items.retain(|item| !doubles.contains_key(&item.file));
        done.doubles = doubles.into_iter().map(|(n, of)| (files.path(n), files.path(of))).collect();
        Ok(Self { history, artefact: artefact.to_owned(), devices, items, dates: dates(&times, now), done })
    }

    /// Of how many devices it has versions.
    pub(crate) fn devices(&self) -> usize {
        self.devices.len()
    }

    /// What carrying it out would do, where nothing is known of it yet.
    pub(crate) fn foretold(self) -> Imported {
        Imported { imported: self.items.len(), ..self.done }
    }

    /// Imports. What goes wrong with a version is told with it; the others go on.
    ///
    /// # Errors
    /// What the catalog answers; the history cannot be read.
    pub(crate) async fn carry_out(
        mut self,
        instance: &Instance,
        destinations: Vec<DestinationConfig>,
        ui: &Ui,
    ) -> Result<Imported> {
        let mut leases = Vec::new();
        for device in &self.devices {
            leases.push(wait_for(instance, &device.id).await?);
        }
        let extensions: Vec<String> = self.devices.iter().map(|d| extension(instance, d, &self.artefact)).collect();
        let mut known = HashMap::new();
        let mut places = places(instance, destinations).await?;
        for number in 0..self.devices.len() {
            self.look_up(instance, number, &mut known, &mut places).await?;
        }
        let bar = counter(ui, self.items.len(), "versions");
        let items = std::mem::take(&mut self.items);
        let mut last: HashMap<usize, (Digest, Timestamp)> = HashMap::new();
        let mut commit: Option<(usize, ForeignCommit)> = None;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut renewed = tokio::time::Instant::now();
        for item in items {
            bar.inc(1);
            if renewed.elapsed() > RENEW {
                renew(instance, &mut leases).await?;
                renewed = tokio::time::Instant::now();
            }
            if commit.as_ref().is_none_or(|(n, _)| *n != item.commit) {
                commit = self.history.commit(item.commit)?.map(|c| (item.commit, c));
            }
            let Some((_, of)) = &commit else { continue };
            let (backup, run) = identity(&self.history.root(), of, &self.devices[item.device], &self.artefact);
            let after = last.get(&item.device).and_then(|(_, t)| t.checked_add(Duration::from_micros(1)).ok());
            let date = self.dates.get(&item.commit).copied().unwrap_or(of.at);
            let at = after.map_or(date, |after| after.max(date));
            let there = known.get(&backup);
            if there.is_some_and(|k: &Known| places.iter().all(|p| k.at.contains(&p.config.id))) {
                self.done.there += 1;
                last.extend(there.map(|k| (item.device, (k.content, at))));
                continue;
            }
            let version = match self.version(instance, &item, of, (backup, run, at), &extensions[item.device]) {
                Ok(version) => version,
                Err(e) => {
                    let file = of.files.iter().find(|f| f.content == item.content).map_or("", |f| &f.path);
                    let why = e.to_record().message;
                    self.done.failed.push(format!("{} at {}: {why}", file.escape_debug(), of.id));
                    continue;
                }
            };
            if last.get(&item.device).is_some_and(|(content, _)| *content == version.manifest.content) {
                self.done.same += 1;
                continue;
            }
            last.insert(item.device, (version.manifest.content, at));
            bytes += version.original.len();
            batch.push((item.device, version));
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                self.store(instance, &places, &known, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.store(instance, &places, &known, batch).await?;
        bar.finish_and_clear();
        for lease in &leases {
            instance.catalog.release(lease).await?;
        }
        Ok(self.done)
    }

    /// What the catalog has of a device.
    async fn look_up(
        &self,
        instance: &Instance,
        number: usize,
        known: &mut HashMap<BackupId, Known>,
        places: &mut [Place],
    ) -> Result<()> {
        let mut query = Query::default();
        query.device = Some(self.devices[number].id.clone());
        query.artefact = Some(self.artefact.clone());
        for b in instance.find_all(&query, usize::MAX).await? {
            let ours = b.metadata.contains_key(COMMIT);
            let good = |c: &&Copy| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended);
            let at: BTreeSet<DestinationId> = b.copies.iter().filter(good).map(|c| c.destination.clone()).collect();
            for place in
                places.iter_mut().filter(|p| !ours && p.backend.capability().ordered && at.contains(&p.config.id))
            {
                let newest = place.newest.entry(number).or_insert(b.first_seen);
                *newest = b.first_seen.max(*newest);
            }
            known.insert(b.id, Known { content: b.content, at });
        }
        Ok(())
    }

    fn version(
        &mut self,
        instance: &Instance,
        item: &Item,
        of: &ForeignCommit,
        (backup, run, at): (BackupId, RunId, Timestamp),
        extension: &str,
    ) -> Result<Version> {
        let original = Bytes::from(self.history.content(&item.content, MAX_TEXT)?);
        let device = &self.devices[item.device];
        let sha256 = Digest::of(&original);
        let mut manifest = Manifest::from(ManifestSeed {
            backup,
            run,
            source: Source::of(device, &device.collector),
            artefact: self.artefact.clone(),
            kind: Kind::Text,
            view: View::Original,
            taken_at: at,
            size: original.len() as u64,
            sha256,
            content: sha256,
        });
        extension.clone_into(&mut manifest.extension);
        let subject: String = of.subject.chars().take(MAX_SUBJECT).collect();
        let metadata = [(COMMIT, of.id.clone()), ("import.author", of.author.clone()), ("import.subject", subject)];
        // What a program leaves behind that got nothing of its device.
        if original.trim_ascii().is_empty() {
            manifest.suspect.push("it is empty".to_owned());
        }
        manifest.metadata.extend(metadata.map(|(k, v)| (k.to_owned(), v)));
        let clean = views::make(&instance.collectors, &instance.key, &manifest, original.clone(), View::Clean)?;
        manifest.content = instance.key.content(&Digest::of(&clean));
        Ok(Version { manifest, original })
    }

    /// Stores a batch at every place that lacks it, and records what was stored.
    async fn store(
        &mut self,
        instance: &Instance,
        places: &[Place],
        known: &HashMap<BackupId, Known>,
        batch: Vec<(usize, Version)>,
    ) -> Result<()> {
        let mut copies: HashMap<BackupId, Vec<Copy>> = HashMap::new();
        for place in places {
            let (mut entries, mut waiting) = (Vec::new(), Vec::new());
            for (device, version) in &batch {
                let m = &version.manifest;
                if known.get(&m.backup).is_some_and(|k| k.at.contains(&place.config.id)) {
                    continue;
                }
                if place.newest.get(device).is_some_and(|newest| *newest >= m.taken_at) {
                    self.done.too_old += 1;
                    continue;
                }
                match version.at(instance, &place.config) {
                    Ok((entry, body)) => {
                        let mut copy = Copy::new(
                            place.config.id.clone(),
                            entry.manifest.view,
                            entry.manifest.size,
                            entry.manifest.sha256,
                            instance.now(),
                        );
                        (copy.status, copy.attempts, copy.last_seen) = (CopyStatus::Stored, 1, m.taken_at);
                        waiting.push((m.backup, copy));
                        entries.push((entry, body));
                    }
                    Err(e) => self.done.failed.push(told(m, &place.config, &e)),
                }
            }
            let silent = || Err(Error::new(ErrorKind::Internal, "import version", "the backend gave no verdict"));
            let mut verdicts =
                if entries.is_empty() { Vec::new() } else { place.backend.store(entries).await }.into_iter();
            for (backup, mut copy) in waiting {
                match verdicts.next().unwrap_or_else(silent) {
                    Ok(at) => {
                        copy.storage_ref = Some(at);
                        copies.entry(backup).or_default().push(copy);
                    }
                    Err(e) => {
                        let manifest = batch.iter().map(|(_, v)| &v.manifest).find(|m| m.backup == backup);
                        self.done.failed.extend(manifest.map(|m| told(m, &place.config, &e)));
                    }
                }
            }
        }
        let mut outcomes = Vec::new();
        for (_, version) in batch {
            let m = version.manifest;
            let Some(copies) = copies.remove(&m.backup) else { continue };
            let mut backup = Backup::new(m.backup, m.run, m.source.device.clone(), &m.artefact, m.content, m.taken_at);
            backup.device_name.clone_from(&m.source.device_name);
            backup.extension.clone_from(&m.extension);
            backup.size = m.size;
            backup.suspect = m.suspect;
            backup.metadata = m.metadata;
            backup.copies = copies;
            outcomes.push(Outcome::Backup(backup));
        }
        // One transaction for all of them: each tells its own run.
        let count = outcomes.len();
        if let Some(Outcome::Backup(first)) = outcomes.first() {
            instance.catalog.record(first.run, outcomes).await?;
        }
        self.done.imported += count;
        Ok(())
    }
}

/// The key of the commit that a version comes from.
const COMMIT: &str = "import.commit";

/// A version, complete.
struct Version {
    manifest: Manifest,
    original: Bytes,
}

impl Version {
    /// As a destination keeps it.
    fn at(&self, instance: &Instance, config: &DestinationConfig) -> Result<(Entry, Arc<dyn Body>)> {
        let mut manifest = self.manifest.clone();
        let bytes = if config.view == View::Original {
            self.original.clone()
        } else {
            let original = self.original.clone();
            Bytes::from(views::make(&instance.collectors, &instance.key, &manifest, original, config.view)?)
        };
        if config.view != View::Original {
            manifest.view = config.view;
            manifest.size = bytes.len() as u64;
            manifest.sha256 = Digest::of(&bytes);
            manifest.transforms.push(Transform::Volatile);
        }
        if config.view == View::Redacted {
            manifest.transforms.push(Transform::Masked);
        }
        let subject = manifest.metadata.get("import.subject").map(String::as_str).unwrap_or_default();
        let summary = format!("{}: {} imported: {subject}", manifest.source.device_name, manifest.artefact);
        let mut entry = Entry::new(manifest);
        entry.summary = summary;
        Ok((entry, Arc::new(bytes)))
    }
}

fn told(m: &Manifest, at: &DestinationConfig, e: &Error) -> String {
    let commit = m.metadata.get(COMMIT).map(String::as_str).unwrap_or_default();
    format!("{} at {commit}, for {}: {}", m.source.device_name, at.name, e.to_record().message)
}

/// The same for the same version of the same repository, whenever it is imported.
fn identity(root: &str, commit: &ForeignCommit, device: &Device, artefact: &str) -> (BackupId, RunId) {
    let id = |what: &str| {
        let text = format!("{what}\0{root}\0{}\0{}\0{artefact}", commit.id, device.id);
        let Digest(hash) = Digest::of(text.as_bytes());
        let random: [u8; 10] = std::array::from_fn(|i| hash[i]);
        let millis = u64::try_from(commit.at.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    };
    (BackupId(id("backup")), RunId(id("run")))
}

/// The destinations, opened.
async fn places(instance: &Instance, configs: Vec<DestinationConfig>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for config in configs {
        let backend = instance.open_backend(&config, false).await?;
        places.push(Place { config, backend, newest: HashMap::new() });
    }
    Ok(places)
}

async fn renew(instance: &Instance, leases: &mut [Lease]) -> Result<()> {
    for lease in leases {
        *lease = match instance.catalog.renew(lease, crate::copying::LEASE).await? {
            Some(lease) => lease,
            None => wait_for(instance, &lease.device).await?,
        };
    }
    Ok(())
}

/// How files of this artefact end, by the device's platform.
fn extension(instance: &Instance, device: &Device, artefact: &str) -> String {
    let target = Target::new(device.clone(), Login::default());
    let known = instance.collectors.get(&device.collector).and_then(|c| c.artefacts(&target)).unwrap_or_default();
    known.into_iter().find(|a| a.name == artefact).map_or_else(|| "txt".to_owned(), |a| a.extension)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left out of files of one device. Of each commit: what it takes away, and what it adds or changes.
    fn doubles(commits: &[(&[&str], &[&str])]) -> Vec<(String, String)> {
        let mut files = Files::default();
        for (commit, (removed, changed)) in commits.iter().enumerate() {
            removed.iter().for_each(|path| files.remove(path));
            for path in *changed {
                files.note((*path).to_owned(), 0, commit);
            }
        }
        files.doubles().into_iter().map(|(n, of)| (files.path(n), files.path(of))).collect()
    }

    #[test]
    fn a_device_that_moved_is_one_and_a_node_in_two_places_is_not() {
        let (a, b) = (&["a"][..], &["b"][..]);
        let is_double = |path: &str, of: &str| vec![(path.to_owned(), of.to_owned())];
        assert_eq!(doubles(&[(&[], a), (a, b), (b, a), (&[], a)]), [], "there and back");
        assert_eq!(doubles(&[(&[], a), (&[], b), (&[], a), (&[], a)]), [], "the files stay when a device moves");
        assert_eq!(doubles(&[(&[], a), (&[], b), (&[], a), (&[], b)]), is_double("a", "b"));
        assert_eq!(doubles(&[(&[], a), (&[], b), (&[], a), (&[], b), (&[], a)]), is_double("b", "a"));
        assert_eq!(doubles(&[(&[], &["a", "b"]), (&[], a)]), is_double("b", "a"));
    }

    proptest! {
        #[test]
        fn nothing_is_left_out_of_a_file_that_moves_about(moves in prop::collection::vec((0..4usize, any::<bool>()), 0..40)) {
            let paths = ["a", "b", "c", "d"].map(str::to_owned);
            let (mut files, mut at) = (Files::default(), 0);
            files.note(paths[at].clone(), 0, 0);
            for (commit, (to, stays)) in moves.into_iter().enumerate() {
                // Moved, or changed where it is.
                if !stays && to != at {
                    files.remove(&paths[at]);
                    at = to;
                }
                files.note(paths[at].clone(), 0, commit + 1);
            }
            prop_assert!(files.doubles().is_empty());
        }

        #[test]
        fn one_of_two_that_go_on_changing_is_kept(changes in prop::collection::vec(any::<bool>(), 0..40)) {
            let mut files = Files::default();
            let path = |second: bool| if second { "b" } else { "a" }.to_owned();
            let all: Vec<bool> = [false, true, false, true].into_iter().chain(changes).collect();
            for (commit, second) in all.iter().enumerate() {
                files.note(path(*second), 0, commit);
            }
            let last = usize::from(all.last() == Some(&true));
            prop_assert_eq!(files.doubles(), BTreeMap::from([(1 - last, last)]));
        }
    }

    #[test]
    fn a_commit_dated_after_now_is_taken_as_the_next_one() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of = |times: &[i64]| {
            let times: Vec<_> = times.iter().map(|t| at(*t)).collect();
            let mut dates: Vec<_> = dates(&times, at(1_000_000)).into_iter().collect();
            dates.sort_unstable();
            dates.into_iter().map(|(commit, at)| (commit, at.as_second())).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[5, 3, 999_999, 1_003_600]), [], "clocks may be a little apart");
        assert_eq!(of(&[10, 9_000_000, 20, 9_500_000, 9_000_000]), [(1, 20), (3, 1_000_000), (4, 1_000_000)]);
    }
}
