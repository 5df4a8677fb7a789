//! A destination as runs use it: a backend, the view it keeps, and a queue that turns what arrives into batches.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::retry::RetryPolicy;
use crate::clock::Clock;
use crate::run::Copy;
use crate::storage::{Entry, StorageBackend, StorageRef, Verdict};
use crate::{Body, DestinationId, Error, ErrorKind, Kind, Result, Retry, View};

/// How a destination is used.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DestinationOptions {
    /// Which view it keeps. One that does not keep originals takes no binaries.
    pub view: View,
    /// At most so many entries in one batch; the backend's own bound holds too.
    pub max_batch: usize,
    /// How long a batch waits for more once its first entry is there.
    pub max_wait: Duration,
    /// So many batches are stored at a time. While all are under way, the next one grows.
    pub at_a_time: usize,
    /// How often storing is tried.
    pub retry: RetryPolicy,
    /// Whether it takes binaries, where it keeps originals.
    pub binaries: bool,
    /// Look whether a copy is there, by its size, before it is relied upon once more; one that somebody removed or cut
    /// off is stored anew. For destinations where a look is cheap.
    pub look_again: bool,
}

impl Default for DestinationOptions {
    /// Originals, in batches of up to 256 that wait 5 ms, one at a time, tried three times.
    fn default() -> Self {
        Self {
            view: View::Original,
            max_batch: 256,
            max_wait: Duration::from_millis(5),
            at_a_time: 1,
            retry: RetryPolicy::default(),
            binaries: true,
            look_again: false,
        }
    }
}

impl DestinationOptions {
    /// Sets the view.
    #[must_use]
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Sets how long a batch waits for more.
    #[must_use]
    pub fn with_max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets the largest batch.
    #[must_use]
    pub fn with_max_batch(mut self, entries: usize) -> Self {
        self.max_batch = entries;
        self
    }

    /// Sets whether it takes binaries.
    #[must_use]
    pub fn with_binaries(mut self, binaries: bool) -> Self {
        self.binaries = binaries;
        self
    }

    /// Sets whether copies are looked at before they are relied upon.
    #[must_use]
    pub fn with_look_again(mut self, look: bool) -> Self {
        self.look_again = look;
        self
    }

    /// Sets how many batches are stored at a time.
    #[must_use]
    pub fn with_at_a_time(mut self, batches: usize) -> Self {
        self.at_a_time = batches;
        self
    }

    /// Sets how often storing is tried.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }
}

/// A place where runs store: share one between all the jobs that use it, so that they share its batches.
#[derive(Debug)]
pub struct Destination {
    id: DestinationId,
    backend: Arc<dyn StorageBackend>,
    options: DestinationOptions,
    clock: Arc<dyn Clock>,
    queue: OnceLock<mpsc::Sender<Order>>,
}

/// How storing one entry went.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) result: Result<StorageRef>,
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Order {
    entry: Entry,
    body: Arc<dyn Body>,
    reply: oneshot::Sender<Stored>,
}

impl Destination {
    /// A destination. Batches are formed by a task that is started at first use and ends with the destination.
    #[must_use]
    pub fn new(
        id: impl Into<DestinationId>,
        backend: Arc<dyn StorageBackend>,
        options: DestinationOptions,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { id: id.into(), backend, options, clock, queue: OnceLock::new() })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &DestinationId {
        &self.id
    }

    /// Which view it keeps.
    #[must_use]
    pub fn view(&self) -> View {
        self.options.view
    }

    /// Whether it keeps artefacts of this kind. Of a binary there is no view but the original.
    #[must_use]
    pub fn takes(&self, kind: Kind) -> bool {
        kind == Kind::Text || (self.options.view == View::Original && self.options.binaries)
    }

    /// The backend behind it.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn StorageBackend> {
        &self.backend
    }

    /// Looks whether a copy that is recorded can be relied upon. What cannot be looked at now is left to verification;
    /// why it cannot is returned.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt`: it cannot be relied upon.
    pub(super) async fn look_at(&self, copy: &Copy) -> Result<Option<Error>> {
        let Some(at) = copy.storage_ref.as_ref().filter(|_| self.options.look_again) else { return Ok(None) };
        let found = |kind, why: String| Err(Error::new(kind, "look at copy", why).with("destination", &self.id));
        match self.backend.look_at(at).await {
            Ok(Verdict::Missing) => found(ErrorKind::NotFound, "it is not there".to_owned()),
            Ok(Verdict::Damaged(what)) => found(ErrorKind::Corrupt, what.join("; ")),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(e.with("destination", &self.id)),
            Err(e) => Ok(Some(e.with("destination", &self.id))),
            Ok(_) => Ok(None),
        }
    }

    /// Stores one entry, in a batch with others that come at the same time.
    ///
    /// What waited may be of a time when more was kept here: secrets do not come back that way.
    pub(super) async fn store(&self, entry: Entry, body: Arc<dyn Body>) -> Stored {
        let (view, kept) = (entry.manifest.view, self.options.view);
        if view.tells_more_than(kept) {
            let why = format!("the destination keeps the {kept} view by now, and this is the {view} one");
            let e = Error::new(ErrorKind::Unsupported, "store backup", why).with("destination", &self.id);
            let e = e.retry_advice(Retry::Never).hint("the next backup stores the present version in that view");
            return Stored { result: Err(e), attempts: 0 };
        }
        let (reply, answer) = oneshot::channel();
        let gone = || Stored {
            result: Err(Error::new(ErrorKind::Internal, "store backup", "the destination's batch task is gone")
                .with("destination", &self.id)),
            attempts: 0,
        };
        if self.queue().send(Order { entry, body, reply }).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    fn queue(&self) -> &mpsc::Sender<Order> {
        self.queue.get_or_init(|| {
            let largest = self.options.max_batch.min(self.backend.capability().max_batch).max(1);
            let (tx, rx) = mpsc::channel(2 * largest);
            let batches = Batches {
                id: self.id.clone(),
                backend: self.backend.clone(),
                options: self.options.clone(),
                clock: self.clock.clone(),
                largest,
            };
            tokio::spawn(Arc::new(batches).run(rx));
            tx
        })
    }
}

#[derive(Debug)]
struct Batches {
    id: DestinationId,
    backend: Arc<dyn StorageBackend>,
    options: DestinationOptions,
    clock: Arc<dyn Clock>,
    largest: usize,
}

impl Batches {
    async fn run(self: Arc<Self>, mut orders: mpsc::Receiver<Order>) {
        let hands = Arc::new(Semaphore::new(self.options.at_a_time.clamp(1, Semaphore::MAX_PERMITS)));
        // The semaphore is never closed.
        while let Ok(hand) = hands.clone().acquire_owned().await
            && let Some(first) = orders.recv().await
        {
            let mut batch = vec![first];
            let mut patience = std::pin::pin!(self.clock.sleep(self.options.max_wait));
            while batch.len() < self.largest {
                tokio::select! {
                    biased;
                    more = orders.recv() => match more {
                        Some(order) => batch.push(order),
                        None => break,
                    },
                    () = &mut patience => break,
                }
            }
            let this = self.clone();
            tokio::spawn(async move {
                this.store(batch).await;
                drop(hand);
            });
        }
    }

    /// Stores a batch, and again what of it may pass. Whoever no longer waits is served all the same.
    async fn store(&self, mut batch: Vec<Order>) {
        let mut attempt = 0;
        while !batch.is_empty() {
            attempt += 1;
            let entries = batch.iter().map(|o| (o.entry.clone(), o.body.clone())).collect();
            let mut verdicts = self.backend.store(entries).await.into_iter();
            let mut again = Vec::new();
            let mut wait = Duration::ZERO;
            for order in batch {
                let silent = || {
                    Err(Error::new(ErrorKind::Internal, "store backup", "the backend returned no verdict for an entry"))
                };
                let result = verdicts.next().unwrap_or_else(silent).map_err(|e| e.with("destination", &self.id));
                match result.as_ref().err().and_then(|e| self.options.retry.wait(attempt, e)) {
                    Some(pause) => {
                        wait = wait.max(pause);
                        again.push(order);
                    }
                    None => drop(order.reply.send(Stored { result, attempts: attempt })),
                }
            }
            if !again.is_empty() {
                tracing::warn!(event = "store_retry", storage_backend = %self.id, attempt, entries = again.len(),
                    wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "destination failed, trying again");
                self.clock.sleep(wait).await;
            }
            batch = again;
        }
    }
}
