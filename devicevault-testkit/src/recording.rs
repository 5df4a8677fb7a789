//! A sink and an event sink that remember what they were told.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::{ArtifactInfo, Error, ErrorKind, Event, EventSink, Note, Result, Sink};

/// How far an artefact came.
#[derive(Debug, Clone)]
pub enum Ending {
    /// [`Sink::end`] was called: it is whole.
    Ended,
    /// [`Sink::fail`] was called.
    Failed(Error),
    /// Neither was.
    Open,
}

/// An artefact that a sink was told of.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What [`Sink::begin`] said of it.
    pub info: ArtifactInfo,
    /// Its bytes.
    pub content: Bytes,
    /// How far it came.
    pub ending: Ending,
}

/// A sink that keeps everything in memory, and holds its caller to the contract of [`Sink`].
///
/// ```
/// use devicevault_core::{ArtifactInfo, Sink as _};
/// use devicevault_testkit::recording::RecordingSink;
///
/// # futures::executor::block_on(async {
/// let mut sink = RecordingSink::new();
/// sink.begin(ArtifactInfo::text("running-config")).await?;
/// sink.write("hostname sw1\n".into()).await?;
/// sink.end().await?;
/// assert_eq!(sink.content("running-config").unwrap(), "hostname sw1\n");
/// assert!(sink.end().await.is_err() && sink.violations().len() == 1);
/// # Ok::<(), devicevault_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct RecordingSink {
    wanted: Option<BTreeSet<String>>,
    refuse: Option<(usize, Error)>,
    yields: bool,
    calls: usize,
    refused: bool,
    asked: Mutex<Vec<String>>,
    artefacts: Vec<(ArtifactInfo, BytesMut, Ending)>,
    notes: Vec<Note>,
    violations: Vec<String>,
}

impl RecordingSink {
    /// Wants everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants only the artefacts of these names.
    #[must_use]
    pub fn wanting<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.wanted = Some(names.into_iter().map(str::to_owned).collect());
        self
    }

    /// Answers the call of this number with this error (0 is the first `begin`, `write`, `end` or `fail`).
    #[must_use]
    pub fn refusing(mut self, call: usize, error: Error) -> Self {
        self.refuse = Some((call, error));
        self
    }

    /// Lets its caller wait at each call, as a full pipeline does.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        self.yields = true;
        self
    }

    /// The artefacts in the order of their beginning.
    #[must_use]
    pub fn artefacts(&self) -> Vec<Recorded> {
        let copy = |(info, content, ending): &(ArtifactInfo, BytesMut, Ending)| Recorded {
            info: info.clone(),
            content: content.clone().freeze(),
            ending: ending.clone(),
        };
        self.artefacts.iter().map(copy).collect()
    }

    /// The content of an artefact that was ended.
    #[must_use]
    pub fn content(&self, artefact: &str) -> Option<Bytes> {
        let ended = self.artefacts.iter().filter(|(_, _, ending)| matches!(ending, Ending::Ended));
        ended.into_iter().find(|(info, ..)| info.name == artefact).map(|(_, content, _)| content.clone().freeze())
    }

    /// The notes in order.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What [`Sink::wants`] was asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often `begin`, `write`, `end` and `fail` were called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// What its caller did against the contract.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    async fn called(&mut self, what: &'static str) -> Result<()> {
        if self.refused {
            self.violations.push(format!("`{what}` was called after a call had returned an error"));
        }
        if self.yields {
            tokio::task::yield_now().await;
        }
        let number = self.calls;
        self.calls += 1;
        match &self.refuse {
            Some((at, error)) if *at == number => {
                self.refused = true;
                Err(error.clone())
            }
            _ => Ok(()),
        }
    }

    fn violation<T>(&mut self, why: String) -> Result<T> {
        self.violations.push(why.clone());
        Err(Error::new(ErrorKind::Internal, "take artefact", why))
    }

    fn open(&mut self, what: &'static str) -> Result<&mut (ArtifactInfo, BytesMut, Ending)> {
        if !matches!(self.artefacts.last(), Some((.., Ending::Open))) {
            return self.violation(format!("`{what}` was called outside an artefact"));
        }
        let outside = || Error::new(ErrorKind::Internal, "take artefact", "no artefact has begun");
        self.artefacts.last_mut().ok_or_else(outside)
    }
}

#[async_trait]
impl Sink for RecordingSink {
    fn wants(&self, artefact: &str) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(artefact.to_owned());
        self.wanted.as_ref().is_none_or(|w| w.contains(artefact))
    }

    async fn begin(&mut self, artefact: ArtifactInfo) -> Result<()> {
        self.called("begin").await?;
        if let Some((open, _, Ending::Open)) = self.artefacts.last() {
            let why = format!("`{}` was begun before `{}` was ended", artefact.name, open.name);
            return self.violation(why);
        }
        if self.wanted.as_ref().is_some_and(|w| !w.contains(&artefact.name)) {
            self.violations.push(format!("`{}` was begun, though it is not wanted", artefact.name));
        }
        self.artefacts.push((artefact, BytesMut::new(), Ending::Open));
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.called("write").await?;
        self.open("write")?.1.extend_from_slice(&chunk);
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.called("end").await?;
        self.open("end")?.2 = Ending::Ended;
        Ok(())
    }

    async fn fail(&mut self, error: Error) -> Result<()> {
        self.called("fail").await?;
        self.open("fail")?.2 = Ending::Failed(error);
        Ok(())
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

/// An event sink that keeps what it is told.
#[derive(Debug, Default)]
pub struct RecordingEvents(Mutex<Vec<Event>>);

impl RecordingEvents {
    /// Nothing happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What happened so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened since the last time that this was asked.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EventSink for RecordingEvents {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}
