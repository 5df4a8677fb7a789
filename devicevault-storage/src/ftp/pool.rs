//! The connections: a few, kept while they are of use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use suppaftp::{FtpError, FtpResult};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::FtpOptions;
use super::fault::{ends_session, of_ftp, silent};
use super::session::{self, Session, within};
use super::tls::Trust;
use crate::remote::Attempts;

/// A connection that nobody used for so long is asked whether it is still there before it is used again.
const DOUBTFUL: Duration = Duration::from_secs(20);

/// One that nobody used for so long is not kept: servers close it, and firewalls forget it.
const OLD: Duration = Duration::from_secs(240);

/// How long is waited for a connection that others use: large objects take their time.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) options: FtpOptions,
    trust: Trust,
    places: Arc<Semaphore>,
    /// How many connections the server seems to allow us.
    allowed: AtomicUsize,
    /// The login was accepted once: a refusal later is one of too many connections.
    accepted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<(Session, Instant)>,
    attempts: Attempts,
}

/// A connection in use. Dropping it closes it; [`give_back`](Self::give_back) keeps it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) session: Session,
    /// It was made for this use.
    pub(super) fresh: bool,
    pool: Arc<Pool>,
    place: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(options: FtpOptions) -> Result<Self> {
        options.check()?;
        let connections = options.connections.max(2);
        Ok(Self {
            trust: Trust::new(options.authorities.as_deref())?,
            options,
            places: Arc::new(Semaphore::new(connections)),
            allowed: AtomicUsize::new(connections),
            accepted: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// A connection; `fresh`: none that was used before.
    pub(super) async fn take(self: &Arc<Self>, fresh: bool) -> Result<Held> {
        let limit = self.options.timeout;
        loop {
            let Ok(Ok(place)) = timeout(PATIENCE, self.places.clone().acquire_owned()).await else {
                let why = "all connections to the server are in use";
                return Err(Error::new(ErrorKind::Unavailable, "connect to destination", why)
                    .hint("raise the option connections, if the server allows more"));
            };
            if !fresh && let Some(session) = self.idle().await {
                return Ok(Held { session, fresh: false, pool: self.clone(), place });
            }
            // One after the other, so that what fails for one is told to those who wait.
            let mut state = self.state.lock().await;
            state.attempts.may_try()?;
            let dialled = match within(limit, session::open(&self.options, &self.trust)).await {
                Ok(dialled) => dialled,
                Err(_) => Err(silent("connect to destination", limit)),
            };
            match dialled {
                Ok(session) => {
                    state.attempts.succeeded();
                    self.accepted.store(true, Ordering::Relaxed);
                    return Ok(Held { session, fresh: true, pool: self.clone(), place });
                }
                Err(e) if self.is_one_too_many(&e) => {
                    drop(state);
                    // Others are connected: this one waits for theirs.
                    self.allowed.fetch_sub(1, Ordering::Relaxed);
                    place.forget();
                }
                Err(e) => {
                    state.attempts.failed(&e);
                    return Err(e);
                }
            }
        }
    }

    fn is_one_too_many(&self, e: &Error) -> bool {
        let allowed = self.allowed.load(Ordering::Relaxed);
        let in_use = allowed - self.places.available_permits().min(allowed);
        self.accepted.load(Ordering::Relaxed)
            && matches!(e.kind(), ErrorKind::AuthRejected | ErrorKind::Unavailable)
            && in_use > 1
            && allowed > 1
    }

    async fn idle(&self) -> Option<Session> {
        loop {
            let (mut session, since) = self.state.lock().await.idle.pop()?;
            let age = since.elapsed();
            if age > OLD {
                continue;
            }
            if age < DOUBTFUL || matches!(within(self.options.timeout, session.ftp.noop()).await, Ok(Ok(()))) {
                return Some(session);
            }
        }
    }

    /// None of those that are kept is of use.
    async fn clear(&self) {
        self.state.lock().await.idle.clear();
    }

    /// Asks over a connection, within the time limit. Where the connection had died unnoticed, another is made and asked
    /// once more, if the request bears that.
    pub(super) async fn ask<T, F>(
        self: &Arc<Self>,
        operation: &'static str,
        again: bool,
        work: F,
    ) -> Result<std::result::Result<T, FtpError>>
    where
        F: for<'a> Fn(&'a mut Session) -> BoxFuture<'a, FtpResult<T>> + Send + Sync,
        T: Send,
    {
        let mut fresh = false;
        loop {
            let mut held = self.take(fresh).await?;
            let done = within(self.options.timeout, work(&mut held.session)).await;
            let error = match done {
                Ok(Ok(value)) => {
                    held.give_back().await;
                    return Ok(Ok(value));
                }
                Ok(Err(e)) if !ends_session(&e) => {
                    held.give_back().await;
                    return Ok(Err(e));
                }
                Ok(Err(e)) => of_ftp(operation, &e),
                Err(_) => silent(operation, self.options.timeout),
            };
            if held.fresh || !again {
                return Err(error.with("server", format_args!("{}:{}", self.options.host, self.options.port)));
            }
            drop(held);
            self.clear().await;
            fresh = true;
        }
    }
}

impl Held {
    /// Keeps the connection for others.
    pub(super) async fn give_back(self) {
        let Self { session, pool, place, .. } = self;
        pool.state.lock().await.idle.push((session, Instant::now()));
        drop(place);
    }
}
