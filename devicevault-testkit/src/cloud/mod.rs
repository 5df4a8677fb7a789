//! A server that keeps objects as S3 and Google Cloud Storage do (their XML API), in memory, and misbehaves on request. It
//! believes every signature, and has one bucket under every name.
#![allow(clippy::unwrap_used, reason = "what a test sends it is well-formed, or the test fails")]

mod held;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

pub use held::Held;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Of HTTP.
    pub method: String,
    /// Decoded, without the bucket.
    pub key: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// By their names in small letters.
    pub headers: HashMap<String, String>,
    body: Bytes,
}

impl Request {
    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    /// What it is, in a word.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match (self.method.as_str(), self.key.is_empty()) {
            ("GET", true) if self.has("uploads") => "list uploads",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("HEAD", _) => "head",
            ("DELETE", _) if self.has("uploadId") => "abort",
            ("DELETE", _) => "delete",
            ("PUT", _) if self.has("partNumber") => "part",
            ("PUT", _) => "put",
            ("POST", true) => "bulk delete",
            ("POST", _) if self.has("uploads") => "begin",
            ("POST", _) => "complete",
            _ => "other",
        }
    }
}

/// What the server does instead of answering well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends at once, and this much later it is done.
    Late(Duration),
    /// This status and code, and nothing is done.
    Answer(u16, &'static str),
    /// It is done, and the connection ends before the answer.
    LoseReply,
    /// It is done, and then this status and code are answered.
    DoneAndAnswer(u16, &'static str),
    /// The answer comes twice.
    Twice,
    /// The body of the answer ends in its middle.
    Truncate,
    /// The answer comes this much later.
    Stall(Duration),
    /// The answer has another etag than the object.
    WrongEtag,
    /// A listing that does not have what came last.
    Stale,
    /// A page of a listing that says that there is more, and not how to ask for it.
    Cut,
    /// A page for people in place of the answer, as of a portal on the way: it has an etag.
    Page,
    /// A redirection to such a page, by this status.
    Elsewhere(u16),
}

type Plan = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct State {
    held: Mutex<Held>,
    plan: Mutex<Plan>,
    log: Mutex<Vec<&'static str>>,
    /// Before every answer.
    latency: Duration,
    conditions: bool,
    /// Whether a condition is looked at when a request comes, and not when it is carried out: several writers get through.
    racing: bool,
    /// How often an object took the place of one that it was not to replace.
    replaced: std::sync::atomic::AtomicU32,
    /// Requests that it is at, whether or not somebody waits for the answer.
    busy: std::sync::atomic::AtomicU32,
    /// How far the server's clock is ahead, in seconds.
    ahead: i64,
}

/// The server; gone when dropped.
pub struct Double {
    state: Arc<State>,
    addr: SocketAddr,
    listening: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Double").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Double {
    /// One that behaves.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start() -> Self {
        Self::with(Duration::ZERO, true, 0).await
    }

    /// With a latency, with or without preconditions, with its clock so many seconds ahead.
    ///
    /// # Panics
    /// No port is free.
    pub async fn with(latency: Duration, conditions: bool, ahead: i64) -> Self {
        Self::of(latency, conditions, false, ahead).await
    }

    /// One whose put-if-absent lets several writers through at once, and whose clock is so far behind that all that it
    /// holds looks old.
    ///
    /// # Panics
    /// No port is free.
    pub async fn racing(latency: Duration) -> Self {
        Self::of(latency, true, true, -10 * 86_400).await
    }

    async fn of(latency: Duration, conditions: bool, racing: bool, ahead: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (held, plan, log) = (Mutex::default(), Mutex::new(Box::new(|_: &Request| None) as Plan), Mutex::default());
        let replaced = std::sync::atomic::AtomicU32::default();
        let state =
            Arc::new(State { held, plan, log, latency, conditions, racing, replaced, busy: Default::default(), ahead });
        let served = state.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(wire::serve(served.clone(), stream));
            }
        });
        Self { state, addr, listening }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it does from now on.
    ///
    /// # Panics
    /// One of its answers did.
    pub fn plan(&self, plan: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.state.plan.lock().unwrap() = Box::new(plan);
    }

    /// The k-th request of this kind, counted from 1, meets a fault; none after it.
    pub fn fault_at(&self, verb: &'static str, k: u32, fault: Fault) {
        let mut count = 0;
        self.plan(move |r| {
            count += u32::from(r.verb() == verb);
            (r.verb() == verb && count == k).then_some(fault)
        });
    }

    /// What it holds, to look at and to change; it answers nobody meanwhile.
    ///
    /// # Panics
    /// One of its answers did.
    pub fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.state.held.lock().unwrap()
    }

    /// How often an object took the place of one that it was not to replace.
    #[must_use]
    pub fn replaced(&self) -> u32 {
        self.state.replaced.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether it is at something, also if nobody waits for the answer.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.busy.load(std::sync::atomic::Ordering::Acquire) > 0
    }

    /// The requests so far.
    ///
    /// # Panics
    /// One of its answers did.
    #[must_use]
    pub fn log(&self) -> Vec<&'static str> {
        self.state.log.lock().unwrap().clone()
    }
}

/// A request that is being answered.
struct AtIt(Arc<State>);

impl AtIt {
    fn new(state: &Arc<State>) -> Self {
        state.busy.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        Self(state.clone())
    }
}

impl Drop for AtIt {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}
