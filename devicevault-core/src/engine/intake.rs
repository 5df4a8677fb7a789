//! Stage 1: what a collector writes to. Bounds, line ends, views and hashes, as the bytes arrive.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::Inner;
use super::absent::Absent;
use super::backlog::Share;
use super::bandwidth::Paused;
use super::bodies::{ViewBody, ViewWriter};
use super::job::{Job, Selection};
use crate::collector::{Note, NoteLevel, Sink};
use crate::file_rules::{Check, FileRules, Judge, Judged};
use crate::scrub::Scrubber;
use crate::text::{LineEnds, StatedLength, ViewMaker};
use crate::{ArtifactInfo, DeviceId, Digest, Error, ErrorKind, Event, Kind, Result, RunId, View};

/// Notes beyond so many are counted and dropped: a device must not fill the log.
const MAX_NOTES: usize = 500;
/// A note is cut to so many bytes.
const MAX_NOTE: usize = 2000;
/// The longest line of a text.
const MAX_LINE: usize = 16 << 20;
/// Progress is told every so many bytes.
const PROGRESS: u64 = 256 << 10;

/// An artefact that is whole, in the views that somebody wants.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) info: ArtifactInfo,
    pub(super) original: ViewBody,
    pub(super) clean: Option<ViewBody>,
    pub(super) redacted: Option<ViewBody>,
    /// Ties the views together; what comparison looks at.
    pub(super) content: Digest,
    pub(super) suspect: Vec<String>,
    /// What the device says of its length, where that is much more than what came.
    pub(super) short: Option<StatedLength>,
    /// Which file rules it breaks.
    pub(super) breaches: Vec<String>,
    /// Who is to look at it before it is stored.
    pub(super) checks: Vec<Check>,
}

impl Collected {
    pub(super) fn view(&self, view: View) -> Option<&ViewBody> {
        match view {
            View::Original => Some(&self.original),
            View::Clean => self.clean.as_ref(),
            View::Redacted => self.redacted.as_ref(),
        }
    }
}

/// The engine's sink: one conversation with one device.
pub(super) struct Intake<'a> {
    engine: &'a Inner,
    run: RunId,
    device: DeviceId,
    selection: &'a Selection,
    rules: &'a [FileRules],
    views: BTreeSet<View>,
    current: Option<Current>,
    collected: Vec<Collected>,
    failed: Vec<(ArtifactInfo, Error)>,
    absent: Vec<Absent>,
    pub(super) log: Vec<Note>,
    dropped_notes: usize,
    names: BTreeSet<String>,
    share: Share,
    /// What the line, which others use as well, had it wait.
    paused: Arc<Paused>,
}

struct Current {
    info: ArtifactInfo,
    received: u64,
    told: u64,
    original: ViewWriter,
    text: Option<TextViews>,
    judge: Option<Judge>,
    suspect: Vec<String>,
}

struct TextViews {
    ends: LineEnds,
    maker: ViewMaker,
    clean: ViewWriter,
    redacted: ViewWriter,
    /// Reused between chunks.
    buffers: [BytesMut; 3],
}

impl<'a> Intake<'a> {
    pub(super) fn new(engine: &'a Inner, run: RunId, job: &'a Job) -> Self {
        Self {
            engine,
            run,
            device: job.target.device.id.clone(),
            selection: &job.selection,
            rules: &job.file_rules,
            views: wanted_views(&job.destinations),
            current: None,
            collected: Vec::new(),
            failed: Vec::new(),
            absent: Vec::new(),
            log: Vec::new(),
            dropped_notes: 0,
            names: BTreeSet::new(),
            share: engine.backlog.share(),
            paused: Arc::default(),
        }
    }

    /// What the line had it wait.
    pub(super) fn paused(&self) -> Arc<Paused> {
        self.paused.clone()
    }

    /// What the device shows none of.
    pub(super) fn take_absent(&mut self) -> Vec<Absent> {
        std::mem::take(&mut self.absent)
    }

    /// What was collected and what failed, and the part of the spool that it takes.
    pub(super) fn into_parts(self) -> (Vec<Collected>, Vec<(ArtifactInfo, Error)>, Share) {
        (self.collected, self.failed, self.share)
    }

    /// The conversation is over. What was begun and not ended is incomplete.
    pub(super) fn close(&mut self, because: Option<&Error>) {
        if let Some(current) = self.current.take() {
            let cut = Error::new(
                ErrorKind::Incomplete,
                "collect artefact",
                "the conversation ended before the artefact was whole",
            )
            .with("artefact", &current.info.name)
            .with("bytes so far", current.received);
            let cut = match because {
                Some(e) => cut.because(e.clone()).retry_advice(e.retry()),
                None => cut,
            };
            self.failed.push((current.info, cut));
        }
        if self.dropped_notes > 0 {
            let text = format!("{} more notes were dropped", self.dropped_notes);
            self.log.push(Note::warning(text));
        }
    }

    /// Takes the login's own secrets out of all that is told.
    pub(super) fn scrub(&mut self, scrubber: &Scrubber) {
        let absent = self.absent.iter_mut().map(|a| &mut a.why);
        for e in self.failed.iter_mut().map(|(_, e)| e).chain(absent) {
            *e = scrubber.error(e.clone());
        }
        self.log.iter_mut().for_each(|note| scrubber.note(note));
        let reasons = self.collected.iter_mut().flat_map(|c| &mut c.suspect);
        reasons.for_each(|reason| scrubber.text(reason));
    }

    fn current(&mut self, call: &'static str) -> Result<&mut Current> {
        let out_of_order = || Error::new(ErrorKind::Internal, call, "no artefact has begun");
        self.current.as_mut().ok_or_else(out_of_order)
    }

    fn limit(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Text => self.engine.limits.max_text,
            Kind::Binary => self.engine.limits.max_binary,
        }
    }
}

#[async_trait]
impl Sink for Intake<'_> {
    fn wants(&self, artefact: &str) -> bool {
        self.selection.contains(artefact)
    }

    async fn begin(&mut self, info: ArtifactInfo) -> Result<()> {
        let refuse = |why| {
            Err(Error::new(ErrorKind::Internal, "begin artefact", why).with("artefact", info.name.escape_debug()))
        };
        crate::check_artefact_name(&info.name)?;
        if self.current.is_some() {
            return refuse("another artefact has not ended");
        }
        if !self.names.insert(info.name.clone()) {
            return refuse("the artefact was collected already in this run");
        }
        let text = (info.kind == Kind::Text).then(|| TextViews {
            ends: LineEnds::default(),
            maker: ViewMaker::new(info.rules.clone(), self.engine.key.clone(), self.device.clone(), MAX_LINE),
            clean: ViewWriter::new(self.views.contains(&View::Clean)),
            redacted: ViewWriter::new(self.views.contains(&View::Redacted)),
            buffers: Default::default(),
        });
        let original = ViewWriter::new(self.views.contains(&View::Original));
        let judge = Judge::new(self.rules, &info);
        self.current = Some(Current { info, received: 0, told: 0, original, text, judge, suspect: Vec::new() });
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let engine = self.engine;
        let kind = self.current("write artefact")?.info.kind;
        let limit = self.limit(kind);
        let run = self.run;
        let Self { current: Some(current), share, paused, .. } = self else { return Ok(()) };
        current.received += chunk.len() as u64;
        if current.received > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "collect artefact",
                format!("it is larger than {limit} bytes"),
            )
            .with("artefact", &current.info.name)
            .hint("raise the limit on the size of an artefact"));
        }
        if let Some(judge) = &mut current.judge {
            judge.push(&chunk)?;
        }
        if current.received >= current.told + PROGRESS {
            current.told = current.received;
            engine.events.emit(&Event::Progress { run, artefact: current.info.name.clone(), bytes: current.received });
        }
        engine.bandwidth.pass(chunk.len() as u64, engine.clock.as_ref(), paused).await;
        current.push(chunk, engine, share).await
    }

    async fn end(&mut self) -> Result<()> {
        self.current("end artefact")?;
        let Some(current) = self.current.take() else { return Ok(()) };
        let info = current.info.clone();
        let collected = match current.finish(self.engine, &self.share).await {
            Ok(collected) => collected,
            Err(e) if e.kind() == ErrorKind::Quarantined || e.kind() == ErrorKind::TooLarge => {
                self.failed.push((info, e));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if let Some(length) = collected.short {
            let name = &collected.info.name;
            let told =
                format!("the device says that its {name} has {} bytes, and {} came", length.stated, length.arrived);
            self.note(Note::warning(told));
        }
        self.collected.push(collected);
        Ok(())
    }

    async fn fail(&mut self, error: Error) -> Result<()> {
        self.current("fail artefact")?;
        if let Some(current) = self.current.take() {
            let error = error.with("artefact", &current.info.name);
            self.failed.push((current.info, error));
        }
        Ok(())
    }

    fn note(&mut self, mut note: Note) {
        if note.text.len() > MAX_NOTE {
            let cut = (0..=MAX_NOTE).rev().find(|i| note.text.is_char_boundary(*i)).unwrap_or(0);
            note.text.truncate(cut);
        }
        if note.level == NoteLevel::Suspect
            && let Some(current) = &mut self.current
        {
            current.suspect.push(note.text.clone());
        }
        if self.log.len() < MAX_NOTES {
            self.log.push(note);
        } else {
            self.dropped_notes += 1;
        }
    }

    fn absent(&mut self, artefact: ArtifactInfo, why: Error, certain: bool) {
        self.note(Note::info(format!("the device has no {}: {why}", artefact.name)));
        self.absent.push(Absent { info: artefact, why, certain });
    }
}

impl Current {
    async fn push(&mut self, chunk: Bytes, engine: &Inner, share: &Share) -> Result<()> {
        let (memory, spool) = (&engine.memory, engine.spool.as_ref());
        let Some(text) = &mut self.text else {
            return self.original.write(chunk, memory, spool, share).await;
        };
        let [plain, clean, redacted] = &mut text.buffers;
        text.ends.push(&chunk, plain);
        text.maker.push(plain, clean, redacted)?;
        self.original.write(plain.split().freeze(), memory, spool, share).await?;
        text.clean.write(clean.split().freeze(), memory, spool, share).await?;
        text.redacted.write(redacted.split().freeze(), memory, spool, share).await
    }

    async fn finish(mut self, engine: &Inner, share: &Share) -> Result<Collected> {
        let (memory, spool) = (&engine.memory, engine.spool.as_ref());
        let mut suspect = self.suspect;
        let mut short = None;
        let judged = self.judge.map(Judge::finish).transpose()?.unwrap_or_default();
        let (clean, redacted) = match self.text {
            None => (None, None),
            Some(mut text) => {
                let [plain, clean, redacted] = &mut text.buffers;
                text.ends.finish(plain);
                text.maker.push(plain, clean, redacted)?;
                self.original.write(plain.split().freeze(), memory, spool, share).await?;
                short = text.maker.stated_length().filter(StatedLength::is_short);
                suspect.extend(text.maker.finish(clean, redacted));
                text.clean.write(clean.split().freeze(), memory, spool, share).await?;
                text.redacted.write(redacted.split().freeze(), memory, spool, share).await?;
                (Some(text.clean.finish(share).await?), Some(text.redacted.finish(share).await?))
            }
        };
        if self.original.len() < self.info.min_size {
            suspect.push(format!(
                "it has {} bytes, fewer than the {} expected",
                self.original.len(),
                self.info.min_size
            ));
        }
        let original = self.original.finish(share).await?;
        let content = engine.key.content(clean.as_ref().map_or(&original.sha256, |c| &c.sha256));
        let Judged { breaches, checks } = judged;
        Ok(Collected { info: self.info, original, clean, redacted, content, suspect, short, breaches, checks })
    }
}

/// The views that destinations keep, and so have to be held until they are stored.
fn wanted_views(destinations: &[Arc<super::Destination>]) -> BTreeSet<View> {
    destinations.iter().map(|d| d.view()).collect()
}
