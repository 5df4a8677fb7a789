//! A collector that plays steps, a backend that can be down, and an engine over both.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::engine::{Destination, DestinationOptions, EngineBuilder, Job, RetryPolicy};
use devicevault_core::layer::Layer;
use devicevault_core::text::{InstanceKey, SecretRule, SuspectRules, TextRules};
use devicevault_core::{
    ArtifactInfo, Body, Clock, Collector, CollectorInfo, Device, Engine, Entry, Error, ErrorKind, Login, Manifest,
    Note, Result, Retry, Sink, StorageBackend, StorageRef, SystemClock, Target, View,
};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use regex::bytes::Regex;

/// One thing that a scripted conversation does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Begin(ArtifactInfo),
    Write(&'static str),
    /// As `Write`; what is refused is failed, and the conversation goes on behind its end.
    Offer(&'static str),
    WriteMany(usize),
    /// As `WriteMany`, and others get a turn after each piece.
    Yielding(usize),
    End,
    Fail(ErrorKind),
    Suspect(&'static str),
    /// It shows none of an artefact that it need not have; whether its words are known to mean that.
    Absent(&'static str, bool),
    Wait(Duration),
    Die(ErrorKind),
}

/// Plays one list of steps per conversation; the last list is played again and again.
#[derive(Debug)]
pub(crate) struct Script {
    info: CollectorInfo,
    steps: Mutex<VecDeque<Vec<Step>>>,
    expected: Vec<ArtifactInfo>,
    pub(crate) conversations: AtomicUsize,
    now: AtomicUsize,
    pub(crate) most: AtomicUsize,
}

/// Counts who talks at a time, on every way out.
struct Talking<'a>(&'a Script);

impl Drop for Talking<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    pub(crate) fn new(conversations: Vec<Vec<Step>>) -> Arc<Self> {
        Self::expecting(conversations, vec![config_info()])
    }

    pub(crate) fn expecting(conversations: Vec<Vec<Step>>, expected: Vec<ArtifactInfo>) -> Arc<Self> {
        Arc::new(Self {
            info: CollectorInfo::new("script", "Script", "plays steps"),
            steps: Mutex::new(conversations.into()),
            expected,
            conversations: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.conversations.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Collector for Script {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(self.expected.clone())
    }

    async fn collect(&self, _target: &Target, out: &mut dyn Sink) -> Result<()> {
        self.conversations.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        let _talking = Talking(self);
        self.most.fetch_max(now, Ordering::SeqCst);
        let steps = {
            let mut all = self.steps.lock().unwrap();
            if all.len() > 1 { all.pop_front().unwrap() } else { all.front().cloned().unwrap_or_default() }
        };
        let mut left_out = false;
        for step in steps {
            if std::mem::take(&mut left_out) && matches!(step, Step::End) {
                continue;
            }
            match step {
                Step::Begin(info) => out.begin(info).await?,
                Step::Write(text) => out.write(Bytes::from_static(text.as_bytes())).await?,
                Step::Offer(text) => {
                    if let Err(e) = out.write(Bytes::from_static(text.as_bytes())).await {
                        out.fail(e).await?;
                        left_out = true;
                    }
                }
                Step::WriteMany(bytes) | Step::Yielding(bytes) => {
                    for i in 0..bytes / 1000 {
                        let line = format!("{i:09} ").repeat(100).replace("9 ", "9\n");
                        out.write(line.into()).await?;
                        if matches!(step, Step::Yielding(_)) {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Step::End => out.end().await?,
                Step::Fail(kind) => out.fail(Error::new(kind, "show config", "refused")).await?,
                Step::Suspect(why) => out.note(Note::suspect(why)),
                Step::Absent(name, certain) => {
                    let why = Error::new(ErrorKind::Refused, "show config", "there is none");
                    out.absent(ArtifactInfo::text(name).optional(), why, certain);
                }
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Die(kind) => {
                    return Err(Error::new(kind, "talk", "scripted").retry_advice(match kind {
                        ErrorKind::AuthRejected | ErrorKind::HostKeyRejected => Retry::Never,
                        _ => Retry::After(Duration::ZERO),
                    }));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn rules() -> Arc<TextRules> {
    let mut rules = TextRules::default();
    rules.volatile.push(devicevault_core::text::LineRule::drop(Regex::new("^! Time").unwrap()));
    rules.secrets.push(SecretRule::new(Regex::new(r"community (\S+)").unwrap()));
    let mut suspect = SuspectRules::default();
    suspect.end_marker = Some(Regex::new("^end$").unwrap());
    suspect.failure.push(Regex::new("^% Invalid input").unwrap());
    suspect.stated_length = Some(Regex::new(r"^! (?<bytes>\d+) bytes$").unwrap());
    rules.suspect = suspect;
    Arc::new(rules)
}

pub(crate) fn config_info() -> ArtifactInfo {
    ArtifactInfo::text("running-config").with_rules(rules())
}

/// A conversation that yields this running configuration.
pub(crate) fn config(text: &'static str) -> Vec<Step> {
    vec![Step::Begin(config_info()), Step::Write(text), Step::End]
}

/// A backend that refuses a number of calls before it works.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) inner: MemoryBackend,
    pub(crate) refuse: AtomicUsize,
    pub(crate) calls: AtomicUsize,
    pub(crate) pause: Duration,
}

impl Down {
    pub(crate) fn new(refuse: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBackend::new(),
            refuse: AtomicUsize::new(refuse),
            calls: AtomicUsize::new(0),
            pause: Duration::ZERO,
        })
    }

    pub(crate) fn slow(pause: Duration) -> Arc<Self> {
        Arc::new(Self { inner: MemoryBackend::new(), refuse: AtomicUsize::new(0), calls: AtomicUsize::new(0), pause })
    }
}

#[async_trait]
impl Layer for Down {
    fn inner(&self) -> &dyn StorageBackend {
        &self.inner
    }

    async fn store(&self, batch: Vec<(Entry, Arc<dyn Body>)>) -> Vec<Result<StorageRef>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.pause).await;
        let refuse = self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if refuse {
            let e = Error::new(ErrorKind::Unavailable, "store backup", "it is down");
            return batch.iter().map(|_| Err(e.clone())).collect();
        }
        self.inner.store(batch).await
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Retries that do not make a test wait.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::default().with_base(Duration::from_millis(1))
}

pub(crate) fn destination(name: &str, backend: Arc<dyn StorageBackend>, view: View) -> Arc<Destination> {
    Destination::new(name, backend, DestinationOptions::default().with_view(view).with_retry(quick()), clock())
}

pub(crate) struct House {
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) engine: Engine,
}

pub(crate) fn house() -> House {
    house_with(devicevault_core::engine::Limits::default())
}

pub(crate) fn house_with(limits: devicevault_core::engine::Limits) -> House {
    built(|builder| builder.limits(limits))
}

/// A house whose engine is set up so.
pub(crate) fn built(set: impl FnOnce(EngineBuilder) -> EngineBuilder) -> House {
    let catalog = Arc::new(MemoryCatalog::new());
    let engine = set(Engine::builder(catalog.clone(), InstanceKey::new([5; 32]))).build();
    House { catalog, engine }
}

pub(crate) fn target(name: &str) -> Target {
    Target::new(Device::new(name, name, "127.0.0.1", "test"), Login::default())
}

pub(crate) fn job(collector: Arc<Script>, destinations: Vec<Arc<Destination>>) -> Job {
    let mut job = Job::new(target("sw1"), collector, destinations);
    job.retry = quick();
    job
}

pub(crate) fn stored(backend: &MemoryBackend) -> Vec<(Manifest, String)> {
    backend.contents().into_iter().map(|(m, b)| (m, String::from_utf8_lossy(&b).into_owned())).collect()
}
