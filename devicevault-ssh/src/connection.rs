//! From an address to an open, authenticated connection.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::{self, DisconnectReason, GexParams, Handle};
use russh::{ChannelOpenFailure, Disconnect, SshId};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::time::timeout;

use crate::channel::{Exec, PtySize, Shell};
use crate::error::shown;
use crate::host_key::{Believed, HostKey, HostKeyPolicy, HostKeyStore, judge, judge_certificate};
use crate::overhear::{Overhear, Overheard};
use crate::{Algorithms, Credentials, Profile, Result, Route, SshError, auth};

/// So much is read from a server at a time, in bytes.
const READ_AHEAD: usize = 16 << 10;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The jump hosts that lead there, in the order in which they are passed: private addresses are the same in many
    /// networks, and the server is another one in each. Empty: the address is one of the network here.
    pub over: Vec<Endpoint>,
}

impl Endpoint {
    /// Of the network here.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, over: Vec::new() }
    }

    /// The same address in the network that these jump hosts lead to.
    #[must_use]
    pub fn over(mut self, hops: impl IntoIterator<Item = Endpoint>) -> Self {
        self.over = hops.into_iter().map(|hop| hop.alone()).collect();
        self
    }

    /// The address, whichever network it is one of.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self::new(self.host.as_str(), self.port)
    }
}

impl fmt::Display for Endpoint {
    /// `host:port`, and behind an `@` each the jump hosts that lead there, the last of them first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        self.over.iter().rev().try_for_each(|hop| write!(f, "@{hop}"))
    }
}

/// How to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which algorithms are offered.
    pub profile: Profile,
    /// How unknown host keys are met.
    pub host_key: HostKeyPolicy,
    /// Longest time to a TCP connection, the look-up of the name included.
    pub connect_timeout: Duration,
    /// Longest time for key exchange and authentication together.
    pub login_timeout: Duration,
    /// How many bytes a server may send ahead on a channel. RouterOS stalls above 2 MiB.
    pub window: u32,
    /// The address that a TCP connection comes from.
    pub source: Option<IpAddr>,
    /// After so much silence of the server it is asked whether it is there; after three questions without an answer the
    /// connection is closed.
    pub keepalive: Option<Duration>,
    /// The time, in seconds since 1970: host certificates are checked by it, and not asked for without.
    pub now: Option<u64>,
    /// Is waited for once the server is reached, before anything is said to it.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Default for Options {
    /// Modern algorithms, keys recorded at first use, 15 s to connect, 30 s to log in, a window of 2 MiB.
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            host_key: HostKeyPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            login_timeout: Duration::from_secs(30),
            window: 2 << 20,
            source: None,
            keepalive: None,
            now: None,
            gate: None,
        }
    }
}

impl Options {
    /// Sets the algorithms.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets how host keys are checked.
    #[must_use]
    pub fn with_host_key(mut self, policy: HostKeyPolicy) -> Self {
        self.host_key = policy;
        self
    }

    /// Sets the bounds of the two steps.
    #[must_use]
    pub fn with_timeouts(mut self, connect: Duration, login: Duration) -> Self {
        self.connect_timeout = connect;
        self.login_timeout = login;
        self
    }

    /// Sets the address that a TCP connection comes from.
    #[must_use]
    pub fn with_source(mut self, address: Option<IpAddr>) -> Self {
        self.source = address;
        self
    }

    /// Sets after how much silence the server is asked whether it is there.
    #[must_use]
    pub fn with_keepalive(mut self, interval: Option<Duration>) -> Self {
        self.keepalive = interval;
        self
    }

    /// Sets the time, in seconds since 1970.
    #[must_use]
    pub fn with_now(mut self, seconds: u64) -> Self {
        self.now = Some(seconds);
        self
    }

    /// Sets what is waited for once the server is reached.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Sets the window in bytes.
    #[must_use]
    pub fn with_window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }
}

/// Stands between the connection and the login: what bounds how many logins there are at a time. Where a way has several
/// servers, each is connected to and passed in turn; the options of each name the gate.
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync {
    /// A server is being connected to, or what another login there comes to is waited for.
    fn connecting(&self);
    /// The server is reached; waits until it may be talked to. The time does not count towards the login's.
    async fn pass(&self);
}

/// Connects over TCP, checks the host key and logs in.
///
/// # Errors
/// `Unreachable`, `Timeout` with the step, `Unsupported` without a common algorithm, `HostKeyRejected`,
/// `AuthRejected` (nothing was offered twice), `PasswordExpired`, `PasswordUnanswered`, `Closed`, `Config` for a private key that cannot be read.
///
/// Dropping the future closes the connection.
pub async fn connect(
    server: &Endpoint,
    credentials: &Credentials,
    options: &Options,
    host_keys: Arc<dyn HostKeyStore>,
) -> Result<Connection> {
    connect_by(&Route::direct(), server, credentials, options, host_keys).await
}

/// The same over jump hosts or by a proxy command.
///
/// # Errors
/// As [`connect`], and [`Route::open`].
pub async fn connect_by(
    route: &Route,
    server: &Endpoint,
    credentials: &Credentials,
    options: &Options,
    host_keys: Arc<dyn HostKeyStore>,
) -> Result<Connection> {
    let tunnel = route.open(server, &credentials.username, options, &host_keys).await?;
    let said = tunnel.said();
    match connect_over(tunnel, &route.leads_to(server), credentials, options, host_keys).await {
        Ok(connection) => Ok(connection),
        Err(e) => Err(e.by_proxy(said).await),
    }
}

/// The same over a stream that is open already.
///
/// # Errors
/// As [`connect`].
pub async fn connect_over<S>(
    stream: S,
    server: &Endpoint,
    credentials: &Credentials,
    options: &Options,
    host_keys: Arc<dyn HostKeyStore>,
) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let keys = auth::Keys::read(credentials, options.now)?;
    if let Some(gate) = &options.gate {
        gate.pass().await;
    }
    let recorded = Believed::of(host_keys.as_ref(), server).await?.recorded;
    let pinned = matches!(options.host_key, HostKeyPolicy::Pinned(_));
    let certificates = options.now.is_some() && !pinned && !recorded.authorities.is_empty();
    let config = Arc::new(client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-DeviceVault_", env!("CARGO_PKG_VERSION")).into()),
        preferred: options.profile.preferred(&recorded.keys, certificates),
        // Equipment that asks for no more than 2048 bits fails when the client insists on more.
        gex: GexParams::new(2048, 2048, 4096).map_err(|e| SshError::closed("negotiate", e))?,
        window_size: options.window,
        nodelay: true,
        keepalive_interval: options.keepalive,
        ..client::Config::default()
    });
    let farewell = Farewell::default();
    let guard = Guard {
        policy: options.host_key.clone(),
        store: host_keys,
        server: server.clone(),
        farewell: farewell.clone(),
        now: options.now,
    };
    // Packets are read in two parts, and most are small.
    let (stream, heard) = Overhear::new(BufReader::with_capacity(READ_AHEAD, stream));
    let negotiate = client::connect_stream(config, stream, guard);
    // One bound for both halves; which of them was slow is told by its name.
    let started = tokio::time::Instant::now();
    let mut handle = within(options.login_timeout, "negotiate", negotiate)
        .await?
        .map_err(|fault| explain(fault, options.profile, &heard, &farewell))?;
    let left = options.login_timeout.saturating_sub(started.elapsed());
    let given = AtomicBool::new(false);
    let log_in = auth::log_in(&mut handle, credentials, keys, options.profile, (&farewell, &heard), &given);
    match timeout(left, log_in).await {
        Ok(done) => done?,
        Err(_) if given.load(Ordering::Relaxed) => {
            return Err(SshError::PasswordUnanswered { after: options.login_timeout });
        }
        Err(_) => return Err(SshError::Timeout { step: "log in", after: options.login_timeout }),
    }
    let algorithms = heard.offer().and_then(|offer| options.profile.agreed(&recorded.keys, &offer));
    Ok(Connection { handle, farewell, version: heard.version(), algorithms })
}

pub(crate) async fn within<F: Future>(limit: Duration, step: &'static str, work: F) -> Result<F::Output> {
    timeout(limit, work).await.map_err(|_| SshError::Timeout { step, after: limit })
}

/// Turns a failed negotiation into what a person can act on.
fn explain(fault: Fault, profile: Profile, heard: &Overheard, farewell: &Farewell) -> SshError {
    let e = match fault {
        Fault::Refused(e) => return e,
        Fault::Ssh(e) => e,
    };
    if let Some(offer) = heard.offer()
        && let Some((what, ours, theirs)) = profile.first_gap(&offer)
    {
        return SshError::Unsupported { what, ours, theirs, profile: Profile::that_works_with(&offer) };
    }
    if let russh::Error::NoCommonAlgo { ours, theirs, .. } = e {
        return SshError::Unsupported { what: "algorithm", ours, theirs, profile: None };
    }
    let said = farewell.said().or_else(|| heard.is_empty().then(|| "before a word was said".to_owned()));
    SshError::Closed { step: "negotiate", said, source: Some(Arc::new(e)) }
}

/// An authenticated connection. Dropping it closes it.
pub struct Connection {
    handle: Handle<Guard>,
    farewell: Farewell,
    version: Option<String>,
    algorithms: Option<Algorithms>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens a shell on a terminal.
    ///
    /// # Errors
    /// `Refused` or `Closed`.
    pub async fn shell(&self, size: PtySize) -> Result<Shell> {
        Shell::open(self.session().await?, size, self.farewell.clone()).await
    }

    /// Runs one command without a terminal.
    ///
    /// # Errors
    /// `Refused` or `Closed`.
    pub async fn exec(&self, command: &str) -> Result<Exec> {
        Exec::open(self.session().await?, command, self.farewell.clone()).await
    }

    /// The line by which the server names its software, such as `SSH-2.0-OpenSSH_9.2` (RFC 4253, section 4.2), with
    /// everything but printable ASCII escaped.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The algorithms that both sides settled on.
    #[must_use]
    pub fn algorithms(&self) -> Option<&Algorithms> {
        self.algorithms.as_ref()
    }

    /// What the server showed before the login (RFC 4252, section 5.4), cut off after a few thousand characters. It is
    /// the server's text: escape it before a person sees it.
    #[must_use]
    pub fn banner(&self) -> Option<String> {
        self.farewell.0.lock().unwrap_or_else(PoisonError::into_inner).banner.clone()
    }

    /// A stream to another server, which this one connects to.
    pub(crate) async fn forward(&self, to: &Endpoint) -> Result<russh::ChannelStream<client::Msg>> {
        let opened = self.handle.channel_open_direct_tcpip(to.host.as_str(), to.port.into(), "127.0.0.1", 0).await;
        let channel = opened.map_err(|e| match e {
            russh::Error::ChannelOpenFailure(reason) => SshError::NotForwarded {
                to: to.to_string(),
                reason: match reason {
                    ChannelOpenFailure::AdministrativelyProhibited => "it forbids forwarding".to_owned(),
                    ChannelOpenFailure::ConnectFailed => "it cannot connect there".to_owned(),
                    ChannelOpenFailure::UnknownChannelType => "it knows no forwarding".to_owned(),
                    _ => "it has no resources for that".to_owned(),
                },
                forbidden: !matches!(reason, ChannelOpenFailure::ConnectFailed),
            },
            e => SshError::Closed { step: "connect", said: self.farewell.said(), source: Some(Arc::new(e)) },
        })?;
        Ok(channel.into_stream())
    }

    pub(crate) fn farewell(&self) -> Farewell {
        self.farewell.clone()
    }

    pub(crate) async fn session(&self) -> Result<russh::Channel<client::Msg>> {
        self.handle.channel_open_session().await.map_err(|e| match e {
            russh::Error::ChannelOpenFailure(_) => SshError::Refused { what: "a session channel" },
            e => SshError::Closed { step: "open a channel", said: self.farewell.said(), source: Some(Arc::new(e)) },
        })
    }

    /// Says good-bye. Not needed: a connection that is dropped is closed too, without the message.
    pub async fn close(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }
}

/// The server's last words, where it said any, and its first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Farewell(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    last: Option<String>,
    banner: Option<String>,
    /// How many banners came.
    banners: usize,
    newest: String,
}

/// So many characters of a banner are kept.
const MOST_OF_BANNER: usize = 4096;

impl Farewell {
    pub(crate) fn said(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    fn greet(&self, banner: &str) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = words.banner.get_or_insert_default();
        let room = MOST_OF_BANNER.saturating_sub(kept.chars().count());
        kept.extend(banner.chars().take(room));
        words.banners += 1;
        words.newest = banner.chars().take(MOST_OF_BANNER).collect();
    }

    /// How many banners came, and what the newest one says.
    pub(crate) fn banners(&self) -> (usize, String) {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (words.banners, words.newest.clone())
    }
}

/// What russh calls back while a connection lives.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: HostKeyPolicy,
    store: Arc<dyn HostKeyStore>,
    server: Endpoint,
    farewell: Farewell,
    now: Option<u64>,
}

/// russh's error, or the reason why the host key was refused.
#[derive(Debug)]
pub(crate) enum Fault {
    Ssh(russh::Error),
    Refused(SshError),
}

impl From<russh::Error> for Fault {
    fn from(e: russh::Error) -> Self {
        Self::Ssh(e)
    }
}

impl client::Handler for Guard {
    type Error = Fault;

    async fn check_server_key(&mut self, key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, Fault> {
        let (store, server) = (self.store.as_ref(), &self.server);
        match (key.certificate(), self.now) {
            (Some(certificate), Some(now)) => judge_certificate(&self.policy, store, server, certificate, now).await,
            _ => judge(&self.policy, store, server, &HostKey::new(&key.public_key())).await,
        }
        .map_err(Fault::Refused)?;
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), Fault> {
        self.farewell.greet(banner);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Fault>) -> Result<(), Fault> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.farewell.0.lock().unwrap_or_else(PoisonError::into_inner).last = Some(shown(&info.message));
                Ok(())
            }
            DisconnectReason::Error(e) => Err(e),
        }
    }
}
