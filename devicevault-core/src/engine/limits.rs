//! How much at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Devices that are talked to at a time.
    pub sessions: usize,
    /// Devices of one site that are talked to at a time; `None`: no bound of its own.
    pub sessions_per_site: Option<usize>,
    /// A device that is not reached within this time lends its place to another until it is. See [`Turn`](crate::Turn).
    pub connect_grace: Duration,
    /// At most so many devices are waited for so, beside the sessions.
    pub connecting: usize,
    /// The shortest time from the beginning of one conversation with a device to the beginning of the next, retries
    /// included; `None`: at once.
    pub device_interval: Option<Duration>,
    /// Bytes a second from all devices together; `None`: as fast as they come.
    pub bandwidth: Option<u64>,
    /// Runs that are being stored and not recorded yet. While there are so many, no conversation begins: the destinations are
    /// slower than the devices, and each run that waits takes memory. One that is stored for more than half a minute
    /// counts no more: its destination hangs, and the others go on.
    pub unstored: usize,
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
    /// 30 sessions, and 512 devices beside them that were not reached within half a second; no bounds of a site, an
    /// interval or a bandwidth; 512 runs that are stored at a time; 64 MiB in memory in bodies of up to 256 KiB, texts of
    /// 64 MiB, binaries of 8 GiB, 30 minutes for a conversation, 15 minutes to wait for another run, leases of one minute.
    fn default() -> Self {
        Self {
            sessions: 30,
            sessions_per_site: None,
            connect_grace: Duration::from_millis(500),
            connecting: 512,
            device_interval: None,
            bandwidth: None,
            unstored: 512,
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

    /// Sets the shortest time between two conversations with one device.
    #[must_use]
    pub fn with_device_interval(mut self, interval: Option<Duration>) -> Self {
        self.device_interval = interval;
        self
    }

    /// Sets how many runs are stored at a time before no conversation begins; at least one.
    #[must_use]
    pub fn with_unstored(mut self, runs: usize) -> Self {
        self.unstored = runs;
        self
    }

    /// Sets how many bytes a second come from all devices together.
    #[must_use]
    pub fn with_bandwidth(mut self, bytes: Option<u64>) -> Self {
        self.bandwidth = bytes;
        self
    }
}
