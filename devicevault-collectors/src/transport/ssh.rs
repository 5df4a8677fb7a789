//! Shells and commands over SSH.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, Retry, Target};
use devicevault_ssh::{
    Connection, Credentials, Endpoint, Exec, HostKeyPolicy, HostKeyStore, Options, Output, PtySize, SSH_PORT, Shell,
    SshError, connect,
};

use super::{Dialer, Greeting, Link, RunEnd, Running, Terminal};
use crate::options;
use crate::platform::{Channel, Platform};

/// Dials over SSH.
#[derive(Debug, Clone)]
pub struct SshDialer {
    host_keys: Arc<dyn HostKeyStore>,
    policy: HostKeyPolicy,
}

impl SshDialer {
    /// Remembers host keys there, recording them at first use.
    #[must_use]
    pub fn new(host_keys: Arc<dyn HostKeyStore>) -> Self {
        Self { host_keys, policy: HostKeyPolicy::FirstUse }
    }

    /// How unknown host keys are met where the device's options do not say.
    #[must_use]
    pub fn with_policy(mut self, policy: HostKeyPolicy) -> Self {
        self.policy = policy;
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
        let wrong = |e: SshError| core_error(e).with("device", &device.name);
        let chosen = options::get(device, options::PROFILE).or(profile);
        let profile = chosen.map(str::parse).transpose().map_err(wrong)?.unwrap_or_default();
        let policy = options::host_key_policy(device, &self.policy).map_err(wrong)?;
        let ssh = Options::default()
            .with_window(window)
            .with_profile(profile)
            .with_host_key(policy)
            .with_timeouts(target.limits.connect, target.limits.login);
        let mut credentials = Credentials::new(username);
        if let Some(key) = &target.login.private_key {
            let passphrase = target.login.passphrase.as_ref().map(|p| p.expose_secret().to_owned());
            credentials = credentials.with_private_key(key.expose_secret(), passphrase);
        }
        if let Some(password) = &target.login.password {
            credentials = credentials.with_password(password.expose_secret());
        }
        let opened = connect(&server, &credentials, &ssh, self.host_keys.clone()).await;
        opened.map_err(|e| core_error(e).with("address", &server))
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
    let hint = e.hint();
    let error = match e {
        SshError::AtHop { hop, error } => core_error(*error).with("jump host", hop),
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
        SshError::AuthRejected { .. } => (ErrorKind::AuthRejected, "log in"),
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
    if kind == ErrorKind::Unsupported {
        error = error.retry_advice(Retry::Never);
    }
    match e {
        SshError::Unreachable { source, .. } | SshError::HostKeyStore { source, .. } => error.because(source),
        SshError::Closed { source: Some(source), .. } => error.because(source),
        SshError::Agent { source: Some(source), .. } => error.because(source),
        _ => error,
    }
}
