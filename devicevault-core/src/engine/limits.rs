//! How much at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Devices that are talked to at a time.
    pub sessions: usize,
    /// Devices of one site that are talked to at a time; `None`: no bound of its own.
    pub sessions_per_site: Option<usize>,
    /// Bytes of small artefacts that wait in memory; beyond, they go to the spool.
    pub memory: usize,
    /// A body of at most this many bytes stays in memory.
    pub small_body: usize,
    /// The largest text, in bytes.
    pub max_text: u64,
    /// The largest binary, in bytes.
    pub max_binary: u64,
    /// The longest conversation with one device.
    pub collect: Duration,
    /// How long a run waits for another run of the same device.
    pub device_wait: Duration,
    /// A run that died lets go of its device after this long, where the catalog cannot tell earlier.
    pub lease: Duration,
}

impl Default for Limits {
    /// 30 sessions, 64 MiB in memory in bodies of up to 256 KiB, texts of 64 MiB, binaries of 8 GiB,
    /// 30 minutes for a conversation, 15 minutes to wait for another run, leases of one minute.
    fn default() -> Self {
        Self {
            sessions: 30,
            sessions_per_site: None,
            memory: 64 << 20,
            small_body: 256 << 10,
            max_text: 64 << 20,
            max_binary: 8 << 30,
            collect: Duration::from_secs(30 * 60),
            device_wait: Duration::from_secs(15 * 60),
            lease: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Sets how many devices are talked to at a time.
    #[must_use]
    pub fn with_sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions;
        self
    }

    /// Sets how many devices of one site are talked to at a time.
    #[must_use]
    pub fn with_sessions_per_site(mut self, sessions: Option<usize>) -> Self {
        self.sessions_per_site = sessions;
        self
    }
}

/// The right to talk to one more device.
#[derive(Debug)]
pub(super) struct SessionPermit {
    _all: Option<OwnedSemaphorePermit>,
    _site: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(super) struct Permits {
    all: Arc<Semaphore>,
    per_site: Option<usize>,
    sites: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Permits {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.sessions.clamp(1, Semaphore::MAX_PERMITS))),
            per_site: limits.sessions_per_site.map(|n| n.clamp(1, Semaphore::MAX_PERMITS)),
            sites: Mutex::default(),
        }
    }

    /// Waits in order of arrival. The site's permit comes first, so that a busy site holds none of the common ones.
    pub(super) async fn session(&self, site: Option<&str>) -> SessionPermit {
        let semaphore = self.per_site.and_then(|n| {
            let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
            Some(sites.entry(site?.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(n))).clone())
        });
        // The semaphores are never closed, so acquiring does not fail.
        let site = match semaphore {
            Some(s) => s.acquire_owned().await.ok(),
            None => None,
        };
        SessionPermit { _site: site, _all: self.all.clone().acquire_owned().await.ok() }
    }
}
