//! A platform tried: on a recording or on a device, with everything that happened told.

mod exchange;
mod lines;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::{ArtifactInfo, Collector as _, Error, ErrorKind, Note, NoteLevel, Result, Sink, Target};

use crate::collector::CliCollector;
use crate::platform::{Platform, PlatformSet};
use crate::transport::{Dialer, Greeting, Tape, TapeDialer, Wire};

pub use exchange::{EndedBy, Exchange};
pub use lines::{Change, ChangedLine};

/// So much of what goes over the wire is looked at.
const MOST: usize = 64 << 20;

/// What came of trying a platform.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trial {
    /// What the device said of itself, once the connection was open.
    pub greeting: Option<Greeting>,
    /// What was typed and what came, in order.
    pub exchanges: Vec<Exchange>,
    /// The artefacts of the platform.
    pub artefacts: Vec<TriedArtefact>,
    /// Remarks that belong to no artefact.
    pub notes: Vec<Note>,
    /// What ended the conversation before its time.
    pub error: Option<Error>,
    /// All that went over the wire.
    pub tape: Tape,
}

/// What came of an artefact.
#[derive(Debug)]
#[non_exhaustive]
pub struct TriedArtefact {
    /// What the platform says of it.
    pub info: ArtifactInfo,
    /// The commands that it is made from, every spelling.
    pub commands: Vec<String>,
    /// How far it came.
    pub state: State,
    /// Its text, as it would be kept.
    pub text: Bytes,
    /// Lines that are left out or changed where versions are compared, and those with a secret.
    pub changed: Vec<ChangedLine>,
    /// Why it would be kept as suspect; empty where it would not.
    pub suspect: Vec<String>,
    /// Remarks.
    pub notes: Vec<Note>,
}

/// How far an artefact came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// It is whole.
    Whole,
    /// The device refused it.
    Failed(Error),
    /// The conversation ended in the middle of it.
    Unfinished,
    /// It was not reached, or the device has none.
    Absent,
}

impl TriedArtefact {
    /// Whether a backup of it would be a good one.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.state {
            State::Whole => self.suspect.is_empty(),
            State::Absent => !self.info.mandatory,
            _ => false,
        }
    }
}

impl Trial {
    /// Visits a device as the platform says, and collects everything.
    ///
    /// # Errors
    /// The device's settings are wrong. What goes wrong with the device is told in the trial.
    pub async fn run(platform: &Arc<Platform>, dialer: Arc<dyn Dialer>, target: &Target) -> Result<Self> {
        let tape = Tape::new(MOST);
        let platforms = Arc::new(PlatformSet::of(platform.clone()));
        let collector = CliCollector::new(platforms, Arc::new(TapeDialer::new(dialer, tape.clone())));
        let mut target = target.clone();
        platform.name().clone_into(&mut target.device.platform);
        collector.artefacts(&target)?;
        let mut sink = TrialSink::default();
        let error = collector.collect(&target, &mut sink).await.err();
        let greeting = tape.moments().into_iter().find_map(|m| match m.what {
            Wire::Connected(greeting) => Some(greeting),
            _ => None,
        });
        let mut seen: BTreeMap<String, Begun> =
            sink.begun.into_iter().map(|begun| (begun.info.name.clone(), begun)).collect();
        let artefacts = platform.artefacts().map(|info| match seen.remove(&info.name) {
            Some(begun) => begun.judged(platform),
            None => TriedArtefact {
                info: info.clone(),
                commands: spellings(platform, &info.name),
                state: State::Absent,
                text: Bytes::new(),
                changed: Vec::new(),
                suspect: Vec::new(),
                notes: Vec::new(),
            },
        });
        Ok(Self {
            greeting,
            artefacts: artefacts.collect(),
            exchanges: Exchange::all(&tape, platform, &target.login),
            notes: sink.notes,
            error,
            tape,
        })
    }

    /// Whether a backup by this platform would be a good one.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.artefacts.iter().all(TriedArtefact::is_good)
    }
}

/// An artefact that was begun.
#[derive(Debug)]
struct Begun {
    info: ArtifactInfo,
    text: BytesMut,
    state: State,
    notes: Vec<Note>,
}

impl Begun {
    fn judged(self, platform: &Platform) -> TriedArtefact {
        let (text, commands) = (self.text.freeze(), spellings(platform, &self.info.name));
        let (changed, mut suspect) = lines::changed(&self.info, &text);
        let (doubts, notes): (Vec<_>, Vec<_>) = self.notes.into_iter().partition(|n| n.level == NoteLevel::Suspect);
        suspect.extend(doubts.into_iter().map(|n| n.text));
        if matches!(self.state, State::Whole) && (text.len() as u64) < self.info.min_size {
            suspect.push(format!("it has {} bytes, and at least {} were expected", text.len(), self.info.min_size));
        }
        TriedArtefact { info: self.info, commands, state: self.state, text, changed, suspect, notes }
    }
}

fn spellings(platform: &Platform, artefact: &str) -> Vec<String> {
    platform.spellings(artefact).map(str::to_owned).collect()
}

/// Keeps everything.
#[derive(Debug, Default)]
struct TrialSink {
    begun: Vec<Begun>,
    notes: Vec<Note>,
    open: bool,
}

impl TrialSink {
    fn current(&mut self) -> Result<&mut Begun> {
        let none = || Error::new(ErrorKind::Internal, "collect artefact", "none was begun");
        self.begun.last_mut().ok_or_else(none)
    }
}

#[async_trait]
impl Sink for TrialSink {
    fn wants(&self, _: &str) -> bool {
        true
    }

    async fn begin(&mut self, info: ArtifactInfo) -> Result<()> {
        self.begun.push(Begun { info, text: BytesMut::new(), state: State::Unfinished, notes: Vec::new() });
        self.open = true;
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let begun = self.current()?;
        if begun.text.len() + chunk.len() > MOST {
            return Err(Error::new(ErrorKind::TooLarge, "try platform", "a text is larger than is looked at")
                .with("limit in bytes", MOST));
        }
        begun.text.extend_from_slice(&chunk);
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.open = false;
        self.current()?.state = State::Whole;
        Ok(())
    }

    async fn fail(&mut self, error: Error) -> Result<()> {
        self.open = false;
        self.current()?.state = State::Failed(error);
        Ok(())
    }

    fn note(&mut self, note: Note) {
        match self.begun.last_mut().filter(|_| self.open) {
            Some(begun) => begun.notes.push(note),
            None => self.notes.push(note),
        }
    }
}
