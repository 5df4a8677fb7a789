//! Connections that are not tried over and over.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// Callers that wait while a connection fails are told the same, and do not each try for themselves.
const SHARED_FAILURE: Duration = Duration::from_secs(2);

/// Why the last attempt to connect failed, and when.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Option<(Instant, Error)>);

impl Attempts {
    /// Whether to try now. A login or a server's key that was refused is not tried again at all.
    pub(crate) fn may_try(&self) -> Result<()> {
        let Some((when, e)) = &self.0 else { return Ok(()) };
        let for_ever = matches!(e.kind(), ErrorKind::AuthRejected | ErrorKind::HostKeyRejected);
        if for_ever || when.elapsed() < SHARED_FAILURE { Err(e.clone()) } else { Ok(()) }
    }

    pub(crate) fn failed(&mut self, e: &Error) {
        self.0 = Some((Instant::now(), e.clone()));
    }

    pub(crate) fn succeeded(&mut self) {
        self.0 = None;
    }
}
