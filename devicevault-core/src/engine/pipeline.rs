//! The way of one device's artefacts through the house, top to bottom:
//!
//! collect (limit, normalise, views, hash) → compare → store at each destination → record → tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::backlog::Share;
use super::destination::{Destination, Stored};
use super::intake::{Collected, Intake};
use super::judging::{breaches, is_good_at, reasons, told_apart, was_accepted};
use super::places::Place;
use super::seat::Seat;
use super::{Inner, Job, absent, checking, parking};
use crate::catalog::{CopyKey, Latest};
use crate::collector::{Note, NoteLevel};
use crate::manifest::{Manifest, ManifestSeed, Source, Transform};
use crate::run::{
    ArtefactResult, ArtefactStatus, Backup, Copy, CopyResult, CopyStatus, NewRun, Outcome, Quarantine, Run, RunState,
};
use crate::scrub::Scrubber;
use crate::{BackupId, Entry, Error, ErrorKind, Event, Kind, Result, RunId, Timestamp, Turn, View};

/// How an attempt ended: its record, and the error that a retry is decided on.
pub(super) struct Attempt {
    pub(super) run: Run,
    pub(super) error: Option<Error>,
}

/// What attempts before this one stored for the same job, and whether it was a first backup: it is as new to whoever asked.
pub(super) type Earlier = BTreeMap<BackupId, bool>;

/// So often an attempt's outcome is made anew because what it builds on was deleted meanwhile.
const MADE_ANEW: u32 = 3;

/// One attempt to back up one device, from its beginning in the catalog to its end there. The place is held for the
/// length of stage 1 and no longer.
pub(super) async fn attempt(
    engine: &Inner,
    job: &Job,
    start: NewRun,
    place: Place,
    earlier: &Earlier,
) -> Result<Attempt> {
    let id = engine.catalog.begin(&start).await?;
    let mut run = Run::begun(id, start);
    tell_start(engine, &run);

    let Conversation { collected, mut failed, absent, error, _share } = collect(engine, job, &mut run, place).await;
    run.collected_at = Some(engine.clock.now());
    tell_step(&run, "collected");
    run.size_before = collected.iter().map(|c| c.original.size).sum();
    engine.events.emit(&Event::Collected { run: id });
    // The device is done with: a slow checker holds up no session.
    let (collected, refused) = checking::check(engine, job, collected).await;
    let _storing = engine.places.store();
    failed.extend(refused);
    failed.extend(absent::missed(engine, job, id, absent).await?);

    if !collected.is_empty() {
        engine.catalog.advance(id, RunState::Storing).await?;
    }
    run.error = error.as_ref().map(Error::to_record);
    let mut before = BTreeMap::new();
    let mut times = 1;
    let missing = loop {
        let mut outcomes = store(engine, job, &mut run, &collected, (&before, earlier)).await?;
        for (info, e) in &failed {
            let mut result = ArtefactResult::new(&info.name, info.kind, info.mandatory);
            result.error = Some(e.to_record());
            run.artefacts.push(result);
        }
        let missing = if error.is_none() { not_collected(job, &mut run) } else { None };
        run.finished_at = Some(engine.clock.now());
        run.state = verdict(&run);
        let rests = outcomes.iter().any(|o| matches!(o, Outcome::Extended { .. }));
        outcomes.push(Outcome::End(run.clone()));
        tell_step(&run, "stored");
        match engine.catalog.record(id, outcomes).await {
            // A backup that was found again was deleted before that could be recorded: it is new, then.
            Err(e) if e.kind() == ErrorKind::NotFound && rests && times < MADE_ANEW => times += 1,
            recorded => {
                recorded?;
                break missing;
            }
        }
        before = std::mem::take(&mut run.artefacts).into_iter().filter_map(|a| Some((a.artefact, a.backup?))).collect();
    };
    tell_end(engine, &run);

    let first_failed = || failed.into_iter().find(|(info, _)| info.mandatory).map(|(_, e)| e);
    Ok(Attempt { error: error.or_else(first_failed).or(missing), run })
}

/// What came of stage 1.
struct Conversation {
    collected: Vec<Collected>,
    failed: Vec<(crate::ArtifactInfo, Error)>,
    absent: Vec<absent::Absent>,
    error: Option<Error>,
    /// Held as long as the bodies are.
    _share: Share,
}

/// Stage 1.
async fn collect(engine: &Inner, job: &Job, run: &mut Run, place: Place) -> Conversation {
    let device = &job.target.device;
    let seat = Seat::new(&engine.places, &engine.antechamber, device.site.as_deref(), place);
    let mut target = job.target.clone();
    target.turn = Turn::at(seat.clone());
    let mut intake = Intake::new(engine, run.id, job);
    let verdict = {
        let paused = intake.paused();
        let conversation = job.collector.collect(&target, &mut intake);
        let deadline = paused.outlast(engine.limits.collect, engine.clock.as_ref());
        tokio::select! {
            verdict = conversation => verdict,
            () = deadline => Err(Error::new(ErrorKind::Timeout, "collect", "the conversation took longer than it may")
                .with("limit in seconds", engine.limits.collect.as_secs())),
            never = seat.lend(engine.clock.as_ref()) => match never {},
        }
    };
    seat.leave();
    let scrubber = Scrubber::of(&job.target);
    let error = verdict.err().map(|e| told_of(device, scrubber.error(e)));
    intake.close(error.as_ref());
    intake.scrub(&scrubber);
    run.log.append(&mut intake.log);
    let absent = intake.take_absent();
    let (collected, failed, share) = intake.into_parts();
    Conversation { collected, failed, absent, error, _share: share }
}

/// A rejected login names what it was taken from: that is what has to be mended. One at a jump host is that one's own, or
/// the device's where it has none.
fn told_of(device: &crate::Device, e: Error) -> Error {
    let e = e.with("device", &device.name);
    if e.kind() != ErrorKind::AuthRejected {
        return e;
    }
    let hop = e.context().find(|(name, _)| *name == "jump host").map(|(_, at)| at);
    let login = match hop.map(|at| device.jump.iter().find(|hop| stands_at(hop, at))) {
        Some(None) => return e,
        Some(Some(hop)) if hop.login.proves() => &hop.login,
        _ => &device.login,
    };
    match &login.credential {
        Some(credential) => e.with("credential", credential),
        None => e,
    }
}

/// Whether a jump host has this address, `host:port`.
fn stands_at(hop: &crate::Hop, address: &str) -> bool {
    const SSH_PORT: u16 = 22;
    let port = hop.port.unwrap_or(SSH_PORT).to_string();
    address.rsplit_once(':').is_some_and(|(host, p)| p == port && host.trim_matches(['[', ']']) == hop.host)
}

/// Stage 2: every artefact at every destination that lacks it. `before` holds the backups of a first time that could not
/// be recorded: their names stand in manifests already.
async fn store(
    engine: &Inner,
    job: &Job,
    run: &mut Run,
    collected: &[Collected],
    (before, earlier): (&BTreeMap<String, BackupId>, &Earlier),
) -> Result<Vec<Outcome>> {
    let now: &Run = run;
    let stored = collected.iter().map(|c| artefact(engine, job, now, c, (before.get(&c.info.name), earlier)));
    let stored = join_all(stored).await;
    let mut outcomes = Vec::new();
    run.size_after = 0;
    for one in stored {
        let (result, outcome) = one?;
        run.size_after += stored_bytes(&outcome);
        if result.quarantined {
            let note = Note::suspect(format!("{} is in quarantine: {}", result.artefact, result.suspect.join("; ")));
            // What is made anew was told already.
            if !run.log.contains(&note) {
                run.log.push(note);
            }
        }
        run.artefacts.push(result);
        outcomes.extend(outcome);
    }
    Ok(outcomes)
}

/// Stage 2 for one artefact: what is new goes to each destination that lacks it; the rest is extended.
async fn artefact(
    engine: &Inner,
    job: &Job,
    run: &Run,
    it: &Collected,
    (before, earlier): (Option<&BackupId>, &Earlier),
) -> Result<(ArtefactResult, Vec<Outcome>)> {
    let device = &job.target.device.id;
    let latest = engine.catalog.latest(device, &it.info.name).await?;
    let breaches = breaches(it, &latest);
    let quarantined = !breaches.is_empty();
    let mut suspect: Vec<String> = reasons(it, &latest).into_iter().chain(breaches.iter().cloned()).collect();
    let mut accepted = Vec::new();
    if !suspect.is_empty() && !quarantined {
        (accepted, suspect) = told_apart(suspect, &was_accepted(job, &latest).await, it, &latest);
    }
    let known = if suspect.is_empty() { &latest.reference } else { &latest.suspect };
    // What was only suspect is another thing once it breaks a rule, and the other way round.
    let known = known.as_ref().filter(|b| b.content == it.content && b.is_quarantined() == quarantined);
    let named = known.map(|b| b.id).or(before.copied());
    let (backup, is_new) = (named.unwrap_or_else(BackupId::generate), named.is_none());
    let now = engine.clock.now();

    let (mut extended, mut missing) = (Vec::new(), Vec::new());
    for destination in &job.destinations {
        if !destination.takes(it.info.kind) || !job.goes_to(&it.info.name, destination.id()) {
            continue;
        }
        match known.and_then(|b| b.copies.iter().find(|c| is_good_at(c, destination))) {
            Some(copy) => match destination.look_at(copy).await {
                Ok(unseen) => extended.push((destination, copy, unseen)),
                Err(gone) => {
                    tell_gone(engine, run, backup, destination, &gone).await?;
                    missing.push(destination);
                }
            },
            None => missing.push(destination),
        }
    }

    let first = latest.reference.is_none() && latest.suspect.is_none();
    let what = Plan {
        engine,
        job,
        run,
        it,
        backup,
        is_new,
        taken_at: after(&latest, run),
        known_since: known.map(|k| k.first_seen),
        suspect: &suspect,
        accepted: &accepted,
        quarantined,
        first,
    };
    let copies = join_all(missing.iter().map(|d| what.store(d))).await;

    let mut result = ArtefactResult::new(&it.info.name, it.info.kind, it.info.mandatory);
    result.size = it.original.size;
    result.sha256 = Some(it.original.sha256);
    let of_earlier = known.and_then(|k| earlier.get(&k.id));
    result.first = first || of_earlier.is_some_and(|first| *first);
    result.copies = extended.iter().map(|(d, copy, unseen)| relied_on(d, copy, unseen.as_ref())).collect();
    result.copies.extend(copies.iter().map(|(result, _)| result.clone()));
    // What is parked durably is kept, if not yet where it belongs.
    let kept = result
        .copies
        .iter()
        .any(|c| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Pending));
    result.backup = kept.then_some(backup);
    result.status = match (kept, suspect.is_empty(), known.is_some() && of_earlier.is_none()) {
        (false, _, _) => ArtefactStatus::Failed,
        (true, false, _) => ArtefactStatus::Suspect,
        (true, true, true) => ArtefactStatus::Unchanged,
        (true, true, false) => ArtefactStatus::Stored,
    };
    if !kept {
        result.error = copies.iter().find_map(|(r, _)| r.error.clone());
    }
    result.suspect.clone_from(&suspect);
    result.quarantined = quarantined;
    if quarantined {
        tell_quarantined(run, it, &breaches);
    }

    let mut outcomes = Vec::new();
    if !copies.is_empty() {
        let copies: Vec<_> = copies.into_iter().filter_map(|(_, copy)| copy).collect();
        // A backup that no destination has is no backup; its failed copies are told by the run.
        if kept || known.is_some() {
            outcomes.push(Outcome::Backup(what.record(known, copies, now)));
        }
    }
    if known.is_some() {
        let destinations = extended.iter().map(|(d, ..)| d.id().clone()).collect();
        outcomes.push(Outcome::Extended { backup, destinations, seen: now });
    }
    Ok((result, outcomes))
}

/// Records that a copy is not what the catalog believes, so that nobody relies on it, whatever becomes of this run.
async fn tell_gone(engine: &Inner, run: &Run, backup: BackupId, at: &Destination, gone: &Error) -> Result<()> {
    tracing::warn!(event = "copy_gone", task_id = %run.start.task_id, task_identifier = %run.start.task_identifier,
        device = %run.start.device_name, stage = "storing", storage_backend = %at.id(), error = %gone.to_record().message);
    let key = CopyKey { backup, destination: at.id().clone() };
    match engine.catalog.verified(&key, Err(gone.to_record())).await {
        // The record went as well, meanwhile.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        told => told,
    }
}

/// When a new version was taken: now, and in any case after the one before. A clock that stood wrong for an hour would
/// otherwise make its version the latest one for as long as it was ahead.
fn after(latest: &Latest, run: &Run) -> Timestamp {
    let now = run.start.started_at;
    let newest = [&latest.reference, &latest.suspect].into_iter().flatten().map(|b| b.first_seen).max();
    let Some(next) = newest.and_then(|t| t.checked_add(Duration::from_micros(1)).ok()) else { return now };
    if next > now {
        tracing::warn!(event = "clock_behind", task_id = %run.start.task_id, task_identifier = %run.start.task_identifier,
            device = %run.start.device_name, stage = "storing", clock = %now, last_backup = %next,
            "the clock stands before the last backup; the new version is dated right behind it");
    }
    now.max(next)
}

/// What failed at a destination names it: the device is well.
fn at_destination(at: &Destination, e: Error) -> Error {
    if e.context().any(|(name, _)| name == "destination") { e } else { e.with("destination", at.id()) }
}

/// What all copies of one artefact have in common.
struct Plan<'a> {
    engine: &'a Inner,
    job: &'a Job,
    run: &'a Run,
    it: &'a Collected,
    backup: BackupId,
    /// Nobody can have heard of it before.
    is_new: bool,
    taken_at: Timestamp,
    /// Since when, where it was known.
    known_since: Option<Timestamp>,
    suspect: &'a [String],
    /// Reasons to be suspect that a person took for good in the version before.
    accepted: &'a [String],
    quarantined: bool,
    first: bool,
}

impl Plan<'_> {
    async fn store(&self, destination: &Arc<Destination>) -> (CopyResult, Option<Copy>) {
        let view = if self.it.info.kind == Kind::Binary { View::Original } else { destination.view() };
        let mut result = CopyResult::new(destination.id().clone(), view);
        let Some((body, size, sha256)) = self.it.view(view).and_then(|v| Some((v.body.clone()?, v.size, v.sha256)))
        else {
            let e = Error::new(ErrorKind::Internal, "store backup", "the view was not kept").with("view", view);
            result.status = CopyStatus::Failed;
            result.error = Some(e.to_record());
            return (result, None);
        };
        let mut entry = Entry::new(self.manifest(view, size, sha256));
        entry.summary = self.summary();
        tell_step(self.run, "storing");
        let begun = self.engine.clock.monotonic();
        let way = parking::store(self.engine, destination, entry, body, self.is_new).await;
        let Stored { result: verdict, attempts } = way.stored;
        result.duration = self.engine.clock.monotonic().saturating_sub(begun);
        result.attempts = attempts;
        let now = self.engine.clock.now();
        match verdict.map_err(|e| at_destination(destination, e)) {
            Ok(at) => {
                result.status = CopyStatus::Stored;
                result.storage_ref = Some(at);
            }
            Err(e) if way.parked => {
                tracing::warn!(event = "store_parked", task_id = %self.run.start.task_id, task_identifier = %self.run.start.task_identifier,
                    device = %self.run.start.device_name, stage = "storing", storage_backend = %destination.id(),
                    artefact = %self.it.info.name, error = %e.to_record().message);
                result.status = CopyStatus::Pending;
                result.error = Some(e.to_record());
            }
            Err(e) => {
                tracing::error!(event = "store_failed", task_id = %self.run.start.task_id, task_identifier = %self.run.start.task_identifier,
                    device = %self.run.start.device_name, stage = "storing", storage_backend = %destination.id(),
                    artefact = %self.it.info.name, error = %e.to_record().message);
                result.status = CopyStatus::Failed;
                result.error = Some(e.to_record());
            }
        }
        let copy = Copy {
            destination: destination.id().clone(),
            view,
            status: result.status,
            storage_ref: result.storage_ref.clone(),
            size,
            sha256,
            attempts,
            stored_at: now,
            last_seen: now,
            verified_at: None,
            error: result.error.clone(),
        };
        (result, Some(copy))
    }

    fn manifest(&self, view: View, size: u64, sha256: crate::Digest) -> Manifest {
        let mut manifest = Manifest::from(ManifestSeed {
            backup: self.backup,
            run: self.run.id,
            source: Source::of(&self.job.target.device, &self.job.collector.info().key),
            artefact: self.it.info.name.clone(),
            kind: self.it.info.kind,
            view,
            taken_at: self.taken_at,
            size,
            sha256,
            content: self.it.content,
        });
        manifest.known_since = self.known_since;
        manifest.task_id = self.run.start.task_id;
        manifest.task_identifier.clone_from(&self.run.start.task_identifier);
        manifest.extension.clone_from(&self.it.info.extension);
        manifest.triggered_by = self.run.start.triggered_by;
        manifest.instance.clone_from(&self.engine.instance);
        manifest.program.clone_from(&self.engine.program);
        manifest.suspect = self.suspect.to_vec();
        manifest.accepted = self.accepted.to_vec();
        manifest.quarantined = self.quarantined;
        manifest.metadata.clone_from(&self.job.metadata);
        if self.it.info.kind == Kind::Text {
            manifest.transforms.push(Transform::LineEnds);
            if view != View::Original {
                manifest.transforms.push(Transform::Volatile);
            }
            if view == View::Redacted {
                manifest.transforms.push(Transform::Masked);
            }
        }
        manifest
    }

    fn summary(&self) -> String {
        let what = match (self.suspect.is_empty(), self.first) {
            (false, _) if self.quarantined => "in quarantine",
            (false, _) => "suspect",
            (true, true) => "first backup",
            (true, false) => "changed",
        };
        let why = match self.run.start.triggered_by {
            crate::run::Trigger::Manual => "asked for by hand",
            crate::run::Trigger::Schedule => "by schedule",
            crate::run::Trigger::Event => "after a change on the device",
            crate::run::Trigger::Api => "asked for by the API",
        };
        format!("{}: {} {what}, {why}", self.job.target.device.name, self.it.info.name)
    }

    fn record(&self, known: Option<&Backup>, copies: Vec<Copy>, now: Timestamp) -> Backup {
        if let Some(known) = known {
            return Backup { copies, last_seen: now, ..known.clone() };
        }
        let device = &self.job.target.device;
        Backup {
            id: self.backup,
            run: self.run.id,
            device: device.id.clone(),
            device_name: device.name.clone(),
            artefact: self.it.info.name.clone(),
            kind: self.it.info.kind,
            extension: self.it.info.extension.clone(),
            size: self.it.original.size,
            content: self.it.content,
            first_seen: self.taken_at,
            last_seen: now.max(self.taken_at),
            suspect: self.suspect.to_vec(),
            quarantine: self.quarantined.then_some(Quarantine::Held),
            pinned: false,
            metadata: self.job.metadata.clone(),
            copies,
        }
    }
}

fn tell_quarantined(run: &Run, it: &Collected, breaches: &[String]) {
    tracing::warn!(event = "artefact_quarantined", task_id = %run.start.task_id,
        task_identifier = %run.start.task_identifier, device = %run.start.device_name, stage = "storing",
        artefact = %it.info.name, why = %breaches.join("; "));
}

/// `unseen`: why it could not be looked at. It is believed to be there, and the run says that nobody saw it.
fn relied_on(destination: &Destination, copy: &Copy, unseen: Option<&Error>) -> CopyResult {
    let mut result = CopyResult::new(destination.id().clone(), copy.view);
    result.status = CopyStatus::Extended;
    result.storage_ref.clone_from(&copy.storage_ref);
    result.error = unseen.map(Error::to_record);
    result
}

fn stored_bytes(outcomes: &[Outcome]) -> u64 {
    let copies = outcomes.iter().filter_map(|o| match o {
        Outcome::Backup(b) => Some(&b.copies),
        _ => None,
    });
    copies.flatten().filter(|c| c.status == CopyStatus::Stored).map(|c| c.size).sum()
}

/// Mandatory artefacts that the collector never began; and that nothing came at all.
fn not_collected(job: &Job, run: &mut Run) -> Option<Error> {
    let expected = match job.collector.artefacts(&job.target) {
        Ok(expected) => expected,
        Err(e) => return Some(e),
    };
    let mut first = None;
    for info in expected.into_iter().filter(|i| i.mandatory && job.selection.contains(&i.name)) {
        if run.artefacts.iter().any(|a| a.artefact == info.name) {
            continue;
        }
        let e = Error::new(ErrorKind::Incomplete, "collect artefact", "the collector did not deliver it")
            .with("artefact", &info.name);
        let mut result = ArtefactResult::new(&info.name, info.kind, true);
        result.error = Some(e.to_record());
        run.artefacts.push(result);
        first.get_or_insert(e);
    }
    if run.artefacts.is_empty() {
        // Nobody is to take for a backup what nothing came of.
        let e = Error::new(ErrorKind::NotFound, "collect artefact", "the device has nothing of what is asked for");
        run.error = Some(e.to_record());
        first = Some(e);
    }
    first
}

fn verdict(run: &Run) -> RunState {
    let kept = run.artefacts.iter().any(|a| a.status != ArtefactStatus::Failed);
    if !kept {
        return RunState::Failed;
    }
    let whole = run.error.is_none()
        && run.artefacts.iter().all(|a| match a.status {
            ArtefactStatus::Failed => !a.mandatory,
            ArtefactStatus::Suspect => false,
            ArtefactStatus::Stored | ArtefactStatus::Unchanged => a
                .copies
                .iter()
                .all(|c| c.error.is_none() && matches!(c.status, CopyStatus::Stored | CopyStatus::Extended)),
        });
    let copies = || run.artefacts.iter().flat_map(|a| &a.copies);
    let is_new = run.artefacts.iter().any(|a| a.status == ArtefactStatus::Stored);
    match (whole, is_new || copies().any(|c| c.status == CopyStatus::Stored)) {
        (false, _) => RunState::Partial,
        (true, true) => RunState::Succeeded,
        (true, false) => RunState::Unchanged,
    }
}

/// A step of a run is done; for those who trace.
fn tell_step(run: &Run, stage: &'static str) {
    tracing::debug!(event = "run_step", task_id = %run.start.task_id, task_identifier = %run.start.task_identifier,
        device = %run.start.device_name, stage);
}

fn tell_start(engine: &Inner, run: &Run) {
    tracing::info!(event = "run_started", task_id = %run.start.task_id, task_identifier = %run.start.task_identifier,
        device = %run.start.device_name, stage = "collecting", attempt = run.start.attempt);
    engine.events.emit(&Event::RunStarted {
        run: run.id,
        task_id: run.start.task_id,
        task_identifier: run.start.task_identifier.clone(),
        device: run.start.device.clone(),
        device_name: run.start.device_name.clone(),
        attempt: run.start.attempt,
    });
}

fn tell_end(engine: &Inner, run: &Run) {
    let millis = run.duration().map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    tracing::info!(event = "run_finished", task_id = %run.start.task_id, task_identifier = %run.start.task_identifier,
        device = %run.start.device_name, stage = "finished", state = %run.state, duration_ms = millis,
        size = run.size_before, error = run.error.as_ref().map(|e| e.message.as_str()));
    for result in &run.artefacts {
        engine.events.emit(&Event::Artefact {
            run: run.id,
            device_name: run.start.device_name.clone(),
            result: Box::new(result.clone()),
        });
    }
    engine.events.emit(&Event::RunFinished { run: Box::new(run.clone()) });
}

/// A run that never talked to its device, for the record.
pub(super) fn never_begun(engine: &Inner, start: NewRun, error: &Error) -> Run {
    let mut run = Run::begun(RunId(start.task_id.0), start);
    run.state = RunState::Failed;
    run.finished_at = Some(engine.clock.now());
    run.log.push(Note { level: NoteLevel::Warning, text: error.to_string() });
    run.error = Some(error.to_record());
    run
}
