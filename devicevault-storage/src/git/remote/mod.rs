//! Another repository that a branch is pushed to, and what others pushed there.
//!
//! The way there is the `git` program: libgit2 is built without TLS and SSH, since both would be second ones of their
//! kind, and its own transports can only be registered by unsafe code. It reads no configuration but what it is given,
//! asks nothing of a person, and is handed secrets in its environment, where neither a process list nor a log shows them.
//!
//! Nothing is ever forced. What others pushed meanwhile is fetched and **merged**: the folders of our devices are ours, and
//! so are files that were changed here since, all others theirs, and both stay in history. A rebase would give versions of ours another name, by which the
//! catalog knows them.

mod program;
mod state;
mod steered;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Result, SecretString};

pub use state::RemoteState;
pub use url::RemoteUrl;

pub(super) use program::{Git, Pushed};
pub(super) use state::{load, save};

/// When a branch is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PushWhen {
    /// When [`push`](super::GitBackend::push) is called, at the end of a round; and by maintenance.
    #[default]
    Asked,
    /// Also after each batch, beside what is stored next.
    Batch,
    /// When `push` is called, and not by maintenance.
    Manual,
}

/// What opens a remote. Its Debug shows no secret.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RemoteAccess {
    /// User name, for HTTPS; `git` where there is none.
    pub user: Option<String>,
    /// A token or password, for HTTPS.
    pub token: Option<SecretString>,
    /// The file of a private key, for SSH; without it, the agent is asked.
    pub key_file: Option<PathBuf>,
    /// The socket of an agent whose keys alone are offered, for SSH, where there is no file.
    pub agent: Option<PathBuf>,
    /// The known_hosts file that host keys are checked by and remembered in.
    pub known_hosts: Option<PathBuf>,
    /// Refuse hosts that are not in it yet.
    pub strict_host_key: bool,
}

impl fmt::Debug for RemoteAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAccess")
            .field("user", &self.user)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("key_file", &self.key_file)
            .field("agent", &self.agent)
            .field("strict_host_key", &self.strict_host_key)
            .finish_non_exhaustive()
    }
}

/// Where a remote's secrets come from, looked up each time that they are needed.
#[async_trait]
pub trait RemoteLogin: fmt::Debug + Send + Sync {
    /// What opens it.
    async fn access(&self) -> Result<RemoteAccess>;
}

#[async_trait]
impl RemoteLogin for RemoteAccess {
    async fn access(&self) -> Result<RemoteAccess> {
        Ok(self.clone())
    }
}

/// Where a branch is pushed to, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Remote {
    /// Where it is.
    pub url: RemoteUrl,
    /// When it is pushed to.
    pub push: PushWhen,
    /// What opens it.
    pub login: Arc<dyn RemoteLogin>,
    /// The `git` program.
    pub program: PathBuf,
    /// A connection is given up after this.
    pub timeout: Duration,
}

impl Remote {
    /// Pushed to when asked, without a login, by the `git` that is found, in at most ten minutes.
    #[must_use]
    pub fn new(url: RemoteUrl) -> Self {
        Self {
            url,
            push: PushWhen::default(),
            login: Arc::new(RemoteAccess::default()),
            program: PathBuf::from("git"),
            timeout: Duration::from_secs(600),
        }
    }

    /// Sets when it is pushed to.
    #[must_use]
    pub fn with_push(mut self, push: PushWhen) -> Self {
        self.push = push;
        self
    }

    /// Sets what opens it.
    #[must_use]
    pub fn with_login(mut self, login: Arc<dyn RemoteLogin>) -> Self {
        self.login = login;
        self
    }

    /// Sets the `git` program.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Sets when a connection is given up.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Two with one URL are one remote: the rest is how it is reached.
impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.push == other.push
    }
}

impl Eq for Remote {}

/// Refuses a secret that would go over the network in the clear.
pub(super) fn refuse_clear_text(url: &RemoteUrl, access: &RemoteAccess) -> Result<()> {
    if url.is_clear_text() && access.token.is_some() {
        return Err(Error::new(ErrorKind::Config, "reach remote", "a token would go over the network in the clear")
            .with("remote", url)
            .hint("use https, or ssh"));
    }
    Ok(())
}
