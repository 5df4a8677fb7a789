//! A collector that says and does what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{
    ArtifactInfo, Clock, Collector, CollectorInfo, DeviceId, Error, Note, Result, Sink, SystemClock, Target,
};

/// How an artefact ends.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Ending {
    /// Whole.
    Whole,
    /// It is told as failed after so many bytes, and the conversation goes on.
    Fails(usize, Error),
    /// The conversation breaks after so many bytes of it.
    Breaks(usize, Error),
    /// No more comes after so many bytes, for ever.
    Hangs(usize),
    /// It is not ended, though the conversation goes on as if it were: against the contract of a collector.
    Unended,
}

/// One artefact of a device.
#[derive(Debug, Clone)]
#[must_use]
pub struct ScriptedArtefact {
    info: ArtifactInfo,
    content: Bytes,
    piece: usize,
    pause: Duration,
    ending: Ending,
    note: Option<Note>,
}

impl ScriptedArtefact {
    /// A mandatory text.
    pub fn text(name: &str, content: impl Into<Bytes>) -> Self {
        Self::new(ArtifactInfo::text(name), content)
    }

    /// Mandatory and binary.
    pub fn binary(name: &str, content: impl Into<Bytes>) -> Self {
        Self::new(ArtifactInfo::binary(name), content)
    }

    /// With all that is said of it.
    pub fn new(info: ArtifactInfo, content: impl Into<Bytes>) -> Self {
        let piece = 16 * 1024;
        Self { info, content: content.into(), piece, pause: Duration::ZERO, ending: Ending::Whole, note: None }
    }

    /// Comes in pieces of so many bytes (at least one).
    pub fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.piece = bytes.max(1);
        self
    }

    /// Pauses before each piece, on the collector's clock.
    pub fn pausing(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Ends so.
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Says this before its end.
    pub fn noting(mut self, note: Note) -> Self {
        self.note = Some(note);
        self
    }
}

/// What a conversation with one device is like.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Script {
    artefacts: Vec<ScriptedArtefact>,
    refuses: Option<Error>,
    breaks_after: Option<Error>,
}

impl Script {
    /// A device with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A device with one `running-config`.
    pub fn config(content: impl Into<Bytes>) -> Self {
        Self::new().artefact(ScriptedArtefact::text("running-config", content))
    }

    /// One artefact more.
    pub fn artefact(mut self, artefact: ScriptedArtefact) -> Self {
        self.artefacts.push(artefact);
        self
    }

    /// The conversation fails before its first artefact.
    pub fn refusing(mut self, error: Error) -> Self {
        self.refuses = Some(error);
        self
    }

    /// The conversation fails after its last artefact.
    pub fn breaking_after(mut self, error: Error) -> Self {
        self.breaks_after = Some(error);
        self
    }
}

/// How often its devices were talked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conversations {
    /// Begun.
    pub begun: usize,
    /// Come to an end by themselves, good or bad.
    pub ended: usize,
    /// Going on.
    pub open: usize,
    /// The most that went on at once.
    pub peak: usize,
}

/// A collector whose devices are scripts. Clones are the same collector; scripts may be changed at any time.
///
/// ```
/// use std::sync::Arc;
/// use devicevault_core::{Login, Target};
/// use devicevault_testkit::recording::RecordingSink;
/// use devicevault_testkit::scripted::{Script, ScriptedCollector};
/// use devicevault_testkit::samples;
/// use devicevault_core::Collector as _;
///
/// # futures::executor::block_on(async {
/// let collector = ScriptedCollector::new();
/// collector.set("sw1", Script::config("hostname sw1\n"));
/// let mut sink = RecordingSink::new();
/// collector.collect(&Target::new(samples::device("sw1"), Login::default()), &mut sink).await?;
/// assert_eq!(sink.content("running-config").unwrap(), "hostname sw1\n");
/// # Ok::<(), devicevault_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ScriptedCollector {
    info: CollectorInfo,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<DeviceId, Script>,
    fallback: Script,
    total: Conversations,
    of: BTreeMap<DeviceId, Conversations>,
}

impl Default for ScriptedCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedCollector {
    /// Under the key `scripted`, with the machine's clock; every device has nothing on it until told.
    #[must_use]
    pub fn new() -> Self {
        let info =
            CollectorInfo::new("scripted", "Scripted devices", "Devices in memory that do what a test tells them.");
        Self { info, clock: Arc::new(SystemClock), state: Arc::default() }
    }

    /// Pauses on this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What this device is like from now on.
    pub fn set(&self, device: impl Into<DeviceId>, script: Script) {
        self.state().scripts.insert(device.into(), script);
    }

    /// What a device without a script of its own is like from now on.
    pub fn set_others(&self, script: Script) {
        self.state().fallback = script;
    }

    /// How often devices were talked to.
    #[must_use]
    pub fn conversations(&self) -> Conversations {
        self.state().total
    }

    /// How often this device was talked to.
    #[must_use]
    pub fn conversations_with(&self, device: impl Into<DeviceId>) -> Conversations {
        self.state().of.get(&device.into()).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self, device: &DeviceId) -> Script {
        let state = self.state();
        state.scripts.get(device).unwrap_or(&state.fallback).clone()
    }

    async fn converse(&self, script: Script, out: &mut dyn Sink) -> Result<()> {
        if let Some(error) = script.refuses {
            return Err(error);
        }
        for artefact in script.artefacts {
            if out.wants(&artefact.info.name) {
                self.send(artefact, out).await?;
            }
        }
        script.breaks_after.map_or(Ok(()), Err)
    }

    async fn send(&self, artefact: ScriptedArtefact, out: &mut dyn Sink) -> Result<()> {
        let ScriptedArtefact { info, content, piece, pause, ending, note } = artefact;
        let sent = match &ending {
            Ending::Fails(at, _) | Ending::Breaks(at, _) | Ending::Hangs(at) => {
                content.slice(..(*at).min(content.len()))
            }
            Ending::Whole | Ending::Unended => content,
        };
        out.begin(info).await?;
        for start in (0..sent.len()).step_by(piece) {
            if !pause.is_zero() {
                self.clock.sleep(pause).await;
            }
            out.write(sent.slice(start..(start + piece).min(sent.len()))).await?;
        }
        if let Some(note) = note {
            out.note(note);
        }
        match ending {
            Ending::Whole => out.end().await,
            Ending::Fails(_, error) => out.fail(error).await,
            Ending::Breaks(_, error) => Err(error),
            Ending::Hangs(_) => std::future::pending().await,
            Ending::Unended => Ok(()),
        }
    }
}

/// Counts a conversation, also when it is cancelled.
struct Counted<'a> {
    collector: &'a ScriptedCollector,
    device: &'a DeviceId,
    ended: bool,
}

impl<'a> Counted<'a> {
    fn begin(collector: &'a ScriptedCollector, device: &'a DeviceId) -> Self {
        let mut state = collector.state();
        let State { total, of, .. } = &mut *state;
        for count in [total, of.entry(device.clone()).or_default()] {
            count.begun += 1;
            count.open += 1;
            count.peak = count.peak.max(count.open);
        }
        Self { collector, device, ended: false }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut state = self.collector.state();
        let State { total, of, .. } = &mut *state;
        for count in [total, of.entry(self.device.clone()).or_default()] {
            count.open -= 1;
            count.ended += usize::from(self.ended);
        }
    }
}

#[async_trait]
impl Collector for ScriptedCollector {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(self.script(&target.device.id).artefacts.into_iter().map(|a| a.info).collect())
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        let mut counted = Counted::begin(self, &target.device.id);
        let verdict = self.converse(self.script(&target.device.id), out).await;
        counted.ended = true;
        verdict
    }
}
