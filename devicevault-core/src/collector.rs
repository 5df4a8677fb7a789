//! How bytes come out of devices: the trait that collectors implement and the sink that they write to.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt as _;
use futures::channel::mpsc;
use futures::stream::{BoxStream, StreamExt};
use serde::{Deserialize, Serialize};

use crate::{ArtifactInfo, Error, ErrorKind, Result, Target};

/// What a collector says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectorInfo {
    /// Registered under this key, and named by it in [`Device::collector`](crate::Device::collector).
    pub key: String,
    /// For people.
    pub name: String,
    /// One sentence.
    pub description: String,
}

impl CollectorInfo {
    /// All three.
    pub fn new(key: impl Into<String>, name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { key: key.into(), name: name.into(), description: description.into() }
    }
}

/// Talks to a device and yields artefacts as bytes.
///
/// # Contract
/// - [`collect`](Collector::collect) brackets each artefact by [`Sink::begin`] and [`Sink::end`] (or [`Sink::fail`]),
///   one at a time, asks [`Sink::wants`] before it troubles the device for an artefact, and returns at once when a call
///   of the sink returns an error.
/// - It calls [`Sink::end`] only when it knows that the artefact is whole. What it does not know is whole it fails, or
///   leaves un-ended: the engine takes both for [`Incomplete`](crate::ErrorKind::Incomplete).
/// - A fault of one artefact is told by [`Sink::fail`] and the conversation goes on where it can; an error returned by
///   `collect` ends the conversation, artefacts ended before it stay.
/// - It logs out on every path that it can; a failed logout is a [`Note`], not an error.
/// - It says by [`Target::turn`] when it connects and when the device was reached, so that a device that is not there
///   keeps no other waiting; one that says nothing holds its place among the sessions all along.
/// - It keeps the bounds of [`Target::limits`] and names the step in its timeout errors.
/// - Dropping the future cancels: connections are closed by their own drop, nothing is left running.
/// - No secret of the target appears in an error, a note or a trace.
///
/// # Wrappers
/// Retry, limits and faults are wrappers over the same trait that forward every method.
#[async_trait]
pub trait Collector: Debug + Send + Sync {
    /// Key, friendly name and description.
    fn info(&self) -> &CollectorInfo;

    /// The artefacts that this device has, and of which kind they are.
    ///
    /// # Errors
    /// `Config` or `Unsupported` when the device's settings are not for this collector.
    fn artefacts(&self, target: &Target) -> Result<Vec<ArtifactInfo>>;

    /// Connects, takes what the sink wants, logs out.
    ///
    /// # Errors
    /// What ended the conversation, with advice on retrying.
    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()>;

    /// Connects and logs in as [`collect`](Collector::collect) does, `enable` included, once, and logs out again.
    ///
    /// # Errors
    /// What ended the conversation; `Unsupported` by a collector that cannot be tried without collecting.
    async fn log_in(&self, _target: &Target) -> Result<()> {
        let why = format!("the collector '{}' cannot log in without collecting", self.info().key);
        Err(Error::new(ErrorKind::Unsupported, "log in", why).hint("back up the device instead"))
    }
}

/// What a collector writes to. The engine's first stage implements it; wrappers filter it.
///
/// # Contract
/// Calls outside the order `begin (write)* (end | fail)` are answered by an
/// [`Internal`](crate::ErrorKind::Internal) error. An error means stop: the collector returns it. One of kind
/// [`Quarantined`](crate::ErrorKind::Quarantined) or [`TooLarge`](crate::ErrorKind::TooLarge) is about the artefact that is
/// being written alone: a collector that can stop its transfer hands the error to [`fail`](Sink::fail) and goes on with the
/// next.
#[async_trait]
pub trait Sink: Send {
    /// Whether this artefact is to be collected.
    fn wants(&self, artefact: &str) -> bool;
    /// An artefact begins.
    async fn begin(&mut self, artefact: ArtifactInfo) -> Result<()>;
    /// Bytes of it. Waits while the pipeline is full.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;
    /// It is whole. Only this makes it so: begun and not ended is incomplete.
    async fn end(&mut self) -> Result<()>;
    /// It failed, and the conversation goes on.
    async fn fail(&mut self, error: Error) -> Result<()>;
    /// Something for the run's log.
    fn note(&mut self, note: Note);
    /// The device showed none of an artefact that it need not have, which was not begun. The last argument: whether it said
    /// so in words that are known to mean that.
    fn absent(&mut self, artefact: ArtifactInfo, why: Error, _certain: bool) {
        self.note(Note::info(format!("the device has no {}: {why}", artefact.name)));
    }
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteLevel {
    /// Worth knowing.
    Info,
    /// Something did not go as it should, and the run went on.
    Warning,
    /// The artefact that is being written may not be what the device holds: it is stored as suspect.
    Suspect,
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Note {
    /// How much it matters.
    pub level: NoteLevel,
    /// What happened. Bytes of the device in it are escaped.
    pub text: String,
}

impl Note {
    /// Worth knowing.
    pub fn info(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Info, text: text.into() }
    }

    /// Not as it should be.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Warning, text: text.into() }
    }

    /// Marks the artefact that is being written as suspect.
    pub fn suspect(text: impl Into<String>) -> Self {
        Self { level: NoteLevel::Suspect, text: text.into() }
    }
}

/// What [`stream`] yields: the calls of a [`Sink`], in order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Item {
    /// [`Sink::begin`].
    Begin(ArtifactInfo),
    /// [`Sink::write`].
    Chunk(Bytes),
    /// [`Sink::end`].
    End,
    /// [`Sink::fail`].
    Fail(Error),
    /// [`Sink::note`].
    Note(Note),
}

/// The pull view of a collector, for callers without the engine: every artefact, as a stream of items.
///
/// Dropping the stream cancels the conversation. At most a few chunks are held in memory.
pub fn stream(collector: Arc<dyn Collector>, target: Target) -> BoxStream<'static, Result<Item>> {
    let (tx, rx) = mpsc::channel(4);
    let conversation = async move {
        let mut errors = tx.clone();
        let mut sink = ChannelSink { tx, notes: Vec::new() };
        let verdict = collector.collect(&target, &mut sink).await;
        let rest = sink.flush_notes().await;
        if let Err(e) = verdict.and(rest) {
            let _ = errors.send(Err(e)).await;
        }
    };
    // The conversation runs only while the stream is polled, and ends with it: no task is left behind.
    let driver = futures::stream::once(conversation).filter_map(|()| std::future::ready(None));
    futures::stream::select(rx, driver).boxed()
}

struct ChannelSink {
    tx: mpsc::Sender<Result<Item>>,
    notes: Vec<Note>,
}

impl ChannelSink {
    async fn flush_notes(&mut self) -> Result<()> {
        for note in std::mem::take(&mut self.notes) {
            self.push(Item::Note(note)).await?;
        }
        Ok(())
    }

    async fn push(&mut self, item: Item) -> Result<()> {
        let gone = |_| Error::new(crate::ErrorKind::Cancelled, "hand over item", "the reader is gone");
        self.tx.send(Ok(item)).await.map_err(gone)
    }

    async fn item(&mut self, item: Item) -> Result<()> {
        self.flush_notes().await?;
        self.push(item).await
    }
}

#[async_trait]
impl Sink for ChannelSink {
    fn wants(&self, _artefact: &str) -> bool {
        true
    }

    async fn begin(&mut self, artefact: ArtifactInfo) -> Result<()> {
        self.item(Item::Begin(artefact)).await
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.item(Item::Chunk(chunk)).await
    }

    async fn end(&mut self) -> Result<()> {
        self.item(Item::End).await
    }

    async fn fail(&mut self, error: Error) -> Result<()> {
        self.item(Item::Fail(error)).await
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
