//! What a [`Collector`] promises.

mod conversation;
mod stage;
mod trouble;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::{Collector, Result, Target};
use futures::future::LocalBoxFuture;

use self::stage::Stage;
use super::case::{Case, Selection, cases, chooses_cases, run};
use super::report::Report;

/// What sort of device a case talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Situation {
    /// Everything is as it should be.
    Good,
    /// The device closes the connection in the middle of an artefact, which is mandatory.
    CutOff,
    /// The device falls silent in the middle of an artefact, which is mandatory. The target's limits on silence and on
    /// an answer should be a second or less.
    Stalled,
    /// The device rejects the target's password or key.
    WrongPassword,
}

/// A collector and a device for it.
#[derive(Debug)]
#[must_use]
pub struct Subject {
    collector: Arc<dyn Collector>,
    target: Target,
    contents: BTreeMap<String, Bytes>,
    _held: Option<Held>,
}

struct Held {
    _what: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held(…)")
    }
}

impl Subject {
    /// A collector and how it reaches the device. Secrets of the target should be of eight characters at least, and
    /// stand in none of its artefacts.
    pub fn new(collector: Arc<dyn Collector>, target: Target) -> Self {
        Self { collector, target, contents: BTreeMap::new(), _held: None }
    }

    /// What an artefact of the device is when it is whole. Without it the suite cannot tell a whole artefact from a
    /// short one.
    pub fn with_content(mut self, artefact: &str, content: impl Into<Bytes>) -> Self {
        self.contents.insert(artefact.to_owned(), content.into());
        self
    }

    /// Keeps something (the simulated device) for as long as it is needed.
    pub fn holding(mut self, what: impl Any + Send) -> Self {
        self._held = Some(Held { _what: Box::new(what) });
        self
    }
}

/// Makes devices to talk to. Any `AsyncFn(Situation) -> Result<Option<Subject>>` does; `None` says that the situation
/// cannot be made, and skips its cases.
pub trait Scene {
    /// A device in this situation, and the collector under test.
    fn set_up(&self, situation: Situation) -> LocalBoxFuture<'_, Result<Option<Subject>>>;
}

impl<F: AsyncFn(Situation) -> Result<Option<Subject>>> Scene for F {
    fn set_up(&self, situation: Situation) -> LocalBoxFuture<'_, Result<Option<Subject>>> {
        Box::pin(async move { self(situation).await })
    }
}

/// Runs every case against the collector and the devices that `set_up` makes.
///
/// The future is driven by a tokio runtime of its own with its timer on: the suite watches that runtime's tasks to see
/// whether a cancelled conversation left something running.
pub async fn collector<M>(set_up: M) -> Report
where
    M: AsyncFn(Situation) -> Result<Option<Subject>>,
{
    CollectorSuite::new(&set_up).run().await
}

/// The suite with its settings.
pub struct CollectorSuite<'a> {
    scene: &'a dyn Scene,
    selection: Selection,
}

chooses_cases!(CollectorSuite);

impl<'a> CollectorSuite<'a> {
    /// All cases against what is set up there.
    #[must_use]
    pub fn new(scene: &'a dyn Scene) -> Self {
        Self { scene, selection: Selection::default() }
    }

    /// Runs the cases.
    pub async fn run(&self) -> Report {
        run("Collector", list(), &self.selection, |_| Stage { scene: self.scene }).await
    }
}

fn list<'a>() -> Vec<Case<Stage<'a>>> {
    cases![
        "info": "it has a key, a name and a description" => conversation::info,
        "artefacts": "the artefacts of a device have names of their own, and stay the same" => conversation::artefacts,
        "collect": "every artefact is bracketed, and whole when it is ended" => conversation::collect,
        "back-pressure": "a sink that lets it wait gets the same bytes" => conversation::back_pressure,
        "again": "a device can be talked to again and again" => conversation::again,
        "wants": "it asks before it begins an artefact, and begins only what is wanted" => conversation::wants,
        "sink-error": "when a call of the sink returns an error, it is returned at once" => conversation::sink_error,
        "cancel": "dropping the future cancels: nothing is left running" => conversation::cancel,
        "stream": "the pull view yields what the sink is given" => conversation::stream,
        "cut-off": "an artefact that was cut off is not ended" => trouble::cut_off,
        "stalled": "silence ends in a Timeout that names the step; what was cut is not ended" => trouble::stalled,
        "wrong-password": "a rejected login is AuthRejected, never retried, before any artefact" => trouble::wrong_password,
        "secrets": "no secret of the target is in an error, a note or a Debug" => trouble::no_secrets,
    ]
}
