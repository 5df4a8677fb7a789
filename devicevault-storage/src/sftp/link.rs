//! The connection: made when it is needed, and again when it died.

use std::sync::Arc;

use devicevault_core::{Error, Result};
use devicevault_ssh::{Connection, SftpError, SftpSession, connect_by};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::SftpOptions;
use super::fault::{of_sftp, of_ssh, silent};
use crate::remote::Attempts;

/// A session that is open, and the connection that it runs over.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) sftp: SftpSession,
    _connection: Connection,
}

/// Whether a request may be sent a second time when it is not known what became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Once,
    Again,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) options: SftpOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Arc<Live>>,
    attempts: Attempts,
}

impl Link {
    pub(super) fn new(options: SftpOptions) -> Self {
        Self { options, state: Mutex::default() }
    }

    /// The session; and whether it was made for this call.
    pub(super) async fn live(&self) -> Result<(Arc<Live>, bool)> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live
            && live.sftp.is_open()
        {
            return Ok((live.clone(), false));
        }
        state.live = None;
        state.attempts.may_try()?;
        match self.dial().await {
            Ok(live) => {
                let live = Arc::new(live);
                state.live = Some(live.clone());
                state.attempts.succeeded();
                Ok((live, true))
            }
            Err(e) => {
                state.attempts.failed(&e);
                Err(e)
            }
        }
    }

    async fn dial(&self) -> Result<Live> {
        let operation = "connect to destination";
        let SftpOptions { endpoint, credentials, ssh, route, host_keys, .. } = &self.options;
        let fail = |e: Error| e.with("server", endpoint);
        let connection = connect_by(route, endpoint, credentials, ssh, host_keys.clone()).await;
        let connection = connection.map_err(|e| fail(of_ssh(operation, &e)))?;
        let sftp = match timeout(self.options.timeout, connection.sftp()).await {
            Ok(opened) => opened.map_err(|e| fail(of_sftp(operation, e)))?,
            Err(_) => return Err(fail(silent(operation, self.options.timeout))),
        };
        tracing::debug!(server = %endpoint, "SFTP session opened");
        Ok(Live { sftp, _connection: connection })
    }

    /// Forgets a session that no longer serves.
    async fn forget(&self, dead: &Arc<Live>) {
        let mut state = self.state.lock().await;
        if state.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, dead)) {
            state.live = None;
        }
    }

    /// Asks, within the time limit. Where the session had died unnoticed, it is replaced and asked once more, if the
    /// request bears that.
    pub(super) async fn ask<T, F>(
        &self,
        operation: &'static str,
        repeat: Repeat,
        work: impl Fn(Arc<Live>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, SftpError>> + Send,
        T: Send,
    {
        loop {
            let (live, fresh) = self.live().await?;
            let error = match self.within(operation, work(live.clone())).await {
                Ok(done) => return Ok(done),
                Err(e) => e,
            };
            let (error, dead) = match error {
                Fault::Silent(e) => (e, true),
                Fault::Sftp(e) => {
                    let dead = e.ends_session();
                    (of_sftp(operation, e), dead)
                }
            };
            if !dead {
                return Err(error);
            }
            self.forget(&live).await;
            if fresh || repeat == Repeat::Once {
                return Err(error.with("server", &self.options.endpoint));
            }
            tracing::debug!(server = %self.options.endpoint, error = %error, "the session died: another is opened");
        }
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = std::result::Result<T, SftpError>>,
    ) -> std::result::Result<T, Fault> {
        match timeout(self.options.timeout, work).await {
            Ok(done) => done.map_err(Fault::Sftp),
            Err(_) => Err(Fault::Silent(silent(operation, self.options.timeout))),
        }
    }

    /// The same for a step of a transfer, which runs over one session. A session that fell silent is forgotten.
    pub(super) async fn step<T>(
        &self,
        operation: &'static str,
        live: &Arc<Live>,
        work: impl Future<Output = std::result::Result<T, SftpError>>,
    ) -> std::result::Result<T, Fault> {
        let done = self.within(operation, work).await;
        if matches!(&done, Err(Fault::Silent(_))) {
            self.forget(live).await;
        }
        done
    }
}

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Fault {
    Silent(Error),
    Sftp(SftpError),
}

impl Fault {
    pub(super) fn told(self, operation: &'static str) -> Error {
        match self {
            Self::Silent(e) => e,
            Self::Sftp(e) => of_sftp(operation, e),
        }
    }
}
