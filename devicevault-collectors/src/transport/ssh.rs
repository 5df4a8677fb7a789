//! Shells and commands over SSH.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{
    Clock, Error, ErrorKind, ExposeSecret as _, Login, Note, Result, Retry, StepLimits, SystemClock, Target, Turn,
};
use devicevault_ssh::{
    Agent, Connection, Credentials, Endpoint, Environment, Exec, Gate, Hop, HopLogins, HostKeyPolicy, HostKeyStore,
    Options, Output, PtySize, Route, SSH_PORT, Shell, SshError, Tunnel, connect_by,
};

use super::{Dialer, Greeting, Link, RunEnd, Running, Terminal};
use crate::escape::shown;
use crate::options;
use crate::platform::{Channel, Platform};

/// Dials over SSH.
#[derive(Debug, Clone)]
pub struct SshDialer {
    host_keys: Arc<dyn HostKeyStore>,
    policy: HostKeyPolicy,
    clock: Arc<dyn Clock>,
    environment: Environment,
}

impl SshDialer {
    /// Remembers host keys there, recording them at first use.
    #[must_use]
    pub fn new(host_keys: Arc<dyn HostKeyStore>) -> Self {
        let (policy, environment) = (HostKeyPolicy::FirstUse, Environment::default());
        Self { host_keys, policy, clock: Arc::new(SystemClock), environment }
    }

    /// How unknown host keys are met where the device's options do not say.
    #[must_use]
    pub fn with_policy(mut self, policy: HostKeyPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// In which environment proxy commands are started.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// By which clock host certificates are valid.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

/// A window in bytes that all devices work with: RouterOS stalls above.
const SURE_WINDOW: u32 = 2 << 20;

impl SshDialer {
    /// Connects and logs in as the device's options say, by its platform's profile where they say none.
    pub(crate) async fn connect(&self, target: &Target, profile: Option<&str>, window: u32) -> Result<Connection> {
        self.connect_as(&target.login.username, target, profile, window).await
    }

    async fn connect_as(
        &self,
        username: &str,
        target: &Target,
        profile: Option<&str>,
        window: u32,
    ) -> Result<Connection> {
        let device = &target.device;
        let server = Endpoint::new(device.host.as_str(), device.port.unwrap_or(SSH_PORT));
        let connected = async {
            let options = self.options(&device.options, profile, &target.limits)?.with_window(window);
            let options = options.with_gate(gate(target));
            let route = self.route(target)?;
            connect_by(&route, &server, &ssh_credentials(username, &target.login), &options, self.host_keys.clone())
                .await
        };
        connected.await.map_err(|e| core_error(e).with("address", &server))
    }

    /// Opens the way to a server of the device that need not speak SSH.
    pub(crate) async fn open(&self, target: &Target, server: &Endpoint) -> Result<Tunnel, SshError> {
        let options = self.options(&target.device.options, None, &target.limits)?.with_gate(gate(target));
        let route = self.route(target)?;
        let tunnel = route.open(server, &target.login.username, &options, &self.host_keys).await?;
        target.turn.reached().await;
        Ok(tunnel)
    }

    /// The way that a device's jump hosts and proxy command make.
    fn route(&self, target: &Target) -> Result<Route, SshError> {
        let device = &target.device;
        let mut route = match options::proxy_command(&device.options)? {
            Some(proxy) => Route::direct().by(proxy),
            None => Route::direct(),
        };
        route = route.in_environment(self.environment.clone()).with_logins(target.round.shared::<HopLogins>());
        for (i, hop) in device.jump.iter().enumerate() {
            let server = Endpoint::new(hop.host.as_str(), hop.port.unwrap_or(SSH_PORT));
            let mut options = self.options(&hop.options, None, &target.limits)?.with_window(SURE_WINDOW);
            options = options.with_gate(gate(target));
            if i == 0 {
                // The address that is left from is the device's affair.
                options = options.with_source(options::source_address(&device.options)?);
            }
            // Whoever built the target without logins of the jump hosts means the device's own.
            let login = target.login.jump.get(i).unwrap_or(&target.login);
            route = route.over(Hop::new(server, ssh_credentials(&login.username, login), options));
        }
        Ok(route)
    }

    fn options(
        &self,
        settings: &BTreeMap<String, String>,
        profile: Option<&str>,
        limits: &StepLimits,
    ) -> Result<Options, SshError> {
        let chosen = options::get(settings, options::PROFILE).or(profile);
        let now = u64::try_from(self.clock.now().as_second()).unwrap_or_default();
        Ok(Options::default()
            .with_profile(chosen.map(str::parse).transpose()?.unwrap_or_default())
            .with_host_key(options::host_key_policy(settings, &self.policy)?)
            .with_timeouts(limits.connect, limits.login)
            .with_source(options::source_address(settings)?)
            .with_keepalive(options::keepalive(settings)?)
            .with_now(now))
    }
}

/// What a login has for SSH: keys and certificates before an agent's, and those before the password.
#[must_use]
pub fn ssh_credentials(username: &str, login: &Login) -> Credentials {
    let mut credentials = Credentials::new(username);
    if let Some(key) = &login.private_key {
        let passphrase = login.passphrase.as_ref().map(|p| p.expose_secret().to_owned());
        credentials = credentials.with_private_key(key.expose_secret(), passphrase);
    }
    if let Some(certificate) = &login.certificate {
        credentials = credentials.with_certificate(certificate.expose_secret());
    }
    if let Some(agent) = &login.agent {
        credentials = credentials.with_agent(Agent::at(&agent.socket).with_keys(agent.keys.iter().cloned()));
    }
    if let Some(password) = &login.password {
        credentials = credentials.with_password(password.expose_secret());
    }
    credentials
}

/// Logins wait for the conversation's turn, at jump hosts too.
#[derive(Debug)]
struct InTurn(Turn);

fn gate(target: &Target) -> Arc<dyn Gate> {
    Arc::new(InTurn(target.turn.clone()))
}

#[async_trait]
impl Gate for InTurn {
    fn connecting(&self) {
        self.0.connecting();
    }

    async fn pass(&self) {
        self.0.reached().await;
    }
}

#[async_trait]
impl Dialer for SshDialer {
    async fn dial(&self, target: &Target, platform: &Platform) -> Result<Box<dyn Link>> {
        let username = username(target, platform)?;
        let profile = platform.ssh_profile.as_deref();
        let connection = self.connect_as(&username, target, profile, SURE_WINDOW).await?;
        Ok(Box::new(SshLink { connection: Some(connection) }))
    }
}

/// The user name, with what the platform says of its terminal in it; a user's own such words stay alone.
fn username<'t>(target: &'t Target, platform: &Platform) -> Result<Cow<'t, str>> {
    let name = target.login.username.as_str();
    let shell = options::channel(&target.device, platform.channel)? == Channel::Shell;
    let suffix = platform.shell.as_ref().map_or("", |s| s.login_suffix.as_str());
    let own = suffix.chars().next().is_none_or(|first| name.contains(first));
    Ok(if shell && !own { format!("{name}{suffix}").into() } else { name.into() })
}

#[derive(Debug)]
struct SshLink {
    connection: Option<Connection>,
}

impl SshLink {
    fn connection(&self) -> Result<&Connection> {
        let closed = || Error::new(ErrorKind::Internal, "use connection", "it was closed");
        self.connection.as_ref().ok_or_else(closed)
    }
}

#[async_trait]
impl Link for SshLink {
    fn greeting(&self) -> Greeting {
        let Some(connection) = &self.connection else { return Greeting::default() };
        let mut greeting =
            Greeting::default().with_version(connection.version().map(str::to_owned)).with_banner(connection.banner());
        if let Some(agreed) = connection.algorithms() {
            let named = [
                ("key exchange", &agreed.key_exchange),
                ("host key", &agreed.host_key),
                ("cipher", &agreed.cipher),
                ("MAC", &agreed.mac),
            ];
            greeting.algorithms = named.into_iter().map(|(what, name)| (what, name.clone())).collect();
        }
        greeting
    }

    async fn shell(&mut self, columns: u32, rows: u32) -> Result<Box<dyn Terminal>> {
        let shell = self.connection()?.shell(PtySize { columns, rows }).await.map_err(core_error)?;
        Ok(Box::new(SshTerminal(shell)))
    }

    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>> {
        let exec = self.connection()?.exec(command).await.map_err(core_error)?;
        Ok(Box::new(SshCommand { exec, errors: Vec::new() }))
    }

    fn notes(&self) -> Vec<Note> {
        const MOST: usize = 500;
        let banner = self.connection.as_ref().and_then(Connection::banner);
        banner.map(|text| Note::info(format!("login banner: {}", shown(text.as_bytes(), MOST)))).into_iter().collect()
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}

#[derive(Debug)]
struct SshTerminal(Shell);

#[async_trait]
impl Terminal for SshTerminal {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        self.0.read().await.map_err(core_error)
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        self.0.read_now().map_err(core_error)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(bytes).await.map_err(core_error)
    }

    fn aside(&self) -> u64 {
        self.0.aside()
    }
}

#[derive(Debug)]
struct SshCommand {
    exec: Exec,
    errors: Vec<u8>,
}

/// What is kept of standard error.
const MOST_ERRORS: usize = 4096;

#[async_trait]
impl Running for SshCommand {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.exec.read().await.map_err(core_error)? {
                Some(Output::Stdout(bytes)) => return Ok(Some(bytes)),
                Some(Output::Stderr(bytes)) => {
                    let room = MOST_ERRORS.saturating_sub(self.errors.len()).min(bytes.len());
                    self.errors.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn end(&self) -> RunEnd {
        RunEnd {
            status: self.exec.status(),
            signal: self.exec.signal().map(str::to_owned),
            errors: self.errors.clone(),
        }
    }
}

/// The house's error for one of SSH.
pub(crate) fn core_error(e: SshError) -> Error {
    // What no profile has, another program may.
    let foreign = matches!(e, SshError::Unsupported { profile: None, .. });
    let hint = e.hint().map(|h| if foreign { h + "; the system's ssh may have one: --transport openssh" } else { h });
    let error = match e {
        SshError::AtHop { hop, error } => core_error(*error).with("jump host", hop),
        SshError::Shared { error } => core_error(*error).with("tried by", "another device of this round"),
        SshError::ByProxy { program, said, error } => {
            let error = core_error(*error).with("proxy command", program);
            if let Some(said) = said { error.with("it says", said) } else { error }
        }
        e => simple_error(e),
    };
    if let Some(hint) = hint { error.hint(hint) } else { error }
}

/// The error for what is not wrapped in where it happened.
fn simple_error(e: SshError) -> Error {
    let (kind, operation) = match &e {
        SshError::Unreachable { .. } => (ErrorKind::Unreachable, "connect"),
        SshError::NotForwarded { forbidden: false, .. } => (ErrorKind::Unreachable, "connect"),
        SshError::NotForwarded { .. } => (ErrorKind::PermissionDenied, "connect"),
        SshError::Timeout { step, .. } => (ErrorKind::Timeout, *step),
        SshError::PasswordUnanswered { .. } => (ErrorKind::Timeout, "log in"),
        SshError::AuthRejected { .. } | SshError::PasswordExpired { .. } => (ErrorKind::AuthRejected, "log in"),
        SshError::Agent { .. } => (ErrorKind::Config, "log in"),
        SshError::HostKeyRejected { .. } => (ErrorKind::HostKeyRejected, "check host key"),
        SshError::Unsupported { .. } => (ErrorKind::Unsupported, "negotiate algorithms"),
        SshError::Refused { .. } => (ErrorKind::Unsupported, "open channel"),
        SshError::HostKeyStore { .. } => (ErrorKind::Config, "check host key"),
        SshError::Closed { step: "read" | "write", .. } => (ErrorKind::Incomplete, "talk to device"),
        SshError::Closed { step, .. } => (ErrorKind::Unavailable, *step),
        _ => (ErrorKind::Config, "prepare login"),
    };
    // The step stands in the operation already.
    let message = match &e {
        SshError::Timeout { after, .. } => format!("no answer within {} s", after.as_secs_f32()),
        SshError::Closed { said: Some(said), .. } => format!("the connection was closed: {said}"),
        SshError::Closed { .. } => "the connection was closed".to_owned(),
        other => other.to_string(),
    };
    let mut error = Error::new(kind, operation, message);
    if kind == ErrorKind::Unsupported || matches!(e, SshError::PasswordUnanswered { .. }) {
        error = error.retry_advice(Retry::Never);
    }
    match e {
        SshError::Unreachable { source, .. } | SshError::HostKeyStore { source, .. } => error.because(source),
        SshError::Closed { source: Some(source), .. } => error.because(source),
        SshError::Agent { source: Some(source), .. } => error.because(source),
        _ => error,
    }
}
