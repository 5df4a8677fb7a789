//! Secrets from where their references point: the environment, a file, a command, the terminal.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use devicevault_core::{
    AgentAccess, Device, Error, ErrorKind, ExposeSecret as _, Hop, Login, LoginRef, Result, SecretRef, SecretString,
};
use devicevault_storage::seal::keys::read_secret_file;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::instance::Instance;
use crate::process_group::ProcessGroup;
use crate::shared_logins::SharedLogins;
use crate::wiring;

/// The longest secret, in bytes: private keys are the longest.
const MAX_SECRET: u64 = 64 << 10;
/// No more is kept of what a command says on its standard error, in bytes.
const MAX_SAID: usize = 500;
/// A command that takes longer is given up.
const COMMAND_TIME: Duration = Duration::from_secs(60);
/// How long is waited for the end of what a command says, once it has failed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Looks secrets up, each reference once: a command that unlocks a password store is not run for every device.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    known: Mutex<HashMap<(Reading, String), Cell>>,
    asked: Asked,
    shared: SharedLogins,
}

/// Passwords that were asked for, by user name: whoever recognises a device first does not ask again for its backup.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<std::sync::Mutex<HashMap<String, SecretString>>>);

impl Asked {
    fn of(&self, user: &str) -> Option<SecretString> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned()
    }

    fn keep(&self, user: String, password: SecretString) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user, password);
    }
}

/// A secret, once it was read, or why it could not be: a command that fails is not run for every device either.
type Cell = Arc<OnceCell<Result<SecretString>>>;

/// How much of a source is the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// The first line: what a person types.
    FirstLine,
    /// All of it: keys and certificates.
    Whole,
}

impl Secrets {
    /// With the credentials and policies that an instance has now.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) async fn of(instance: &Instance) -> Result<Self> {
        Ok(Self { shared: SharedLogins::of(instance).await?, asked: instance.asked.clone(), ..Self::default() })
    }

    /// With these credentials.
    pub(crate) fn with(shared: SharedLogins) -> Self {
        Self { shared, ..Self::default() }
    }

    /// Asks at the terminal, once for each user name, for the passwords that devices without a reference need.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub(crate) fn ask(&self, devices: &[Device]) -> Result<()> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Ok(());
        }
        // A login that is not clear is told with its device's run.
        let login = |d: &Device| self.shared.of_device(d).ok().filter(|login| lacks_secret(d, login));
        let lacking: Vec<_> = devices.iter().filter_map(|d| Some((d, user(&login(d)?)))).collect();
        for (device, user) in &lacking {
            if self.asked.of(user).is_some() {
                continue;
            }
            let others = lacking.iter().filter(|(_, u)| u == user).count();
            let whom = if others == 1 { device.name.clone() } else { format!("{others} devices") };
            let password = prompt(format!("Password of {} on {}: ", user.escape_debug(), whom.escape_debug()))?;
            self.asked.keep(user.clone(), password);
        }
        Ok(())
    }

    /// The login of a device, with its secrets.
    ///
    /// # Errors
    /// `Config` that names the device and the reference, never the secret.
    pub(crate) async fn login(&self, device: &Device) -> Result<Login> {
        self.resolve(device).await.map_err(|e| e.with("device", &device.name))
    }

    /// The credential that a device's login is taken from.
    pub(crate) fn credential(&self, device: &Device) -> Option<String> {
        self.shared.of_device(device).ok().filter(|_| !device.login.proves())?.credential
    }

    async fn resolve(&self, device: &Device) -> Result<Login> {
        let refs = self.shared.of_device(device)?;
        let mut login = self.secrets(&refs).await?;
        login.username = user(&refs);
        if lacks_secret(device, &refs) {
            let Some(password) = self.asked.of(&login.username) else {
                return Err(Error::new(ErrorKind::Config, "log in", "the device has neither password nor key")
                    .hint("give --password-env, --password-file, --password-command, --key-file, --agent or --credential, or run this on a terminal to be asked"));
            };
            login.password = Some(password);
        }
        let mut jump = Vec::with_capacity(device.jump.len());
        for hop in &device.jump {
            jump.push(self.of_hop(hop, &login).await.map_err(|e| e.with("jump host", hop.host.escape_debug()))?);
        }
        login.jump = jump;
        Ok(login)
    }

    /// The login of a store. Nothing is asked for, and without a user name there is none.
    ///
    /// # Errors
    /// `Config` that names the reference, never the secret.
    pub(crate) async fn of_store(&self, refs: &LoginRef) -> Result<Login> {
        self.secrets(&self.shared.filled(refs)?).await
    }

    /// The login of a jump host: its own, or the device's where it names none.
    async fn of_hop(&self, hop: &Hop, device: &Login) -> Result<Login> {
        let mut login =
            if hop.login.proves() { self.secrets(&self.shared.filled(&hop.login)?).await? } else { device.clone() };
        login.username = hop.login.username.clone().unwrap_or_else(|| match login.username.as_str() {
            "" => device.username.clone(),
            own => own.to_owned(),
        });
        login.enable = None;
        Ok(login)
    }

    /// What a login refers to, without a user name that is not told.
    async fn secrets(&self, refs: &LoginRef) -> Result<Login> {
        let mut login = Login::default();
        login.username = refs.username.clone().unwrap_or_default();
        login.password = self.one("password", refs, refs.password.as_ref(), Reading::FirstLine).await?;
        login.private_key = self.one("private key", refs, refs.private_key.as_ref(), Reading::Whole).await?;
        login.passphrase = self.one("passphrase", refs, refs.passphrase.as_ref(), Reading::FirstLine).await?;
        login.certificate = self.one("certificate", refs, refs.certificate.as_ref(), Reading::Whole).await?;
        login.enable_username.clone_from(&refs.enable_username);
        login.enable = self.one("enable secret", refs, refs.enable.as_ref(), Reading::FirstLine).await?;
        if refs.agent {
            login.agent = Some(agent(refs)?);
        }
        Ok(login)
    }

    async fn one(
        &self,
        what: &'static str,
        refs: &LoginRef,
        at: Option<&SecretRef>,
        reading: Reading,
    ) -> Result<Option<SecretString>> {
        let Some(at) = at else { return Ok(None) };
        // A stored secret is its credential's: one of the same name elsewhere is another.
        let owner = if let SecretRef::Stored(_) = at { refs.credential.as_deref() } else { None };
        let cell = self.known.lock().await.entry((reading, format!("{owner:?} {at:?}"))).or_default().clone();
        let secret = match at {
            SecretRef::Stored(field) => cell.get_or_init(|| self.shared.open(owner, field)).await,
            _ => cell.get_or_init(|| read(what, at, reading)).await,
        };
        secret.clone().map(Some)
    }
}

/// The user name; without one, the user who runs the program, as `ssh` does.
fn user(login: &LoginRef) -> String {
    login.username.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

/// Whether the device has to be logged in to and it is not said how. Collectors of other kinds judge for themselves.
fn lacks_secret(device: &Device, login: &LoginRef) -> bool {
    wiring::needs_login(device) && login.password.is_none() && login.private_key.is_none() && !login.agent
}

fn prompt(text: String) -> Result<SecretString> {
    let cannot = |e| Error::new(ErrorKind::Config, "ask for password", "the terminal cannot be read").because(e);
    rpassword::prompt_password(text).map(SecretString::from).map_err(cannot)
}

/// Asks at the terminal for a new secret, twice.
///
/// # Errors
/// `Config` without a terminal, or when it was not the same twice.
pub(crate) fn ask_twice(what: &'static str) -> Result<SecretString> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::new(ErrorKind::Config, "ask for secret", format!("the {what} has to be asked for, and there is no terminal"))
            .hint("give it by --password-stdin or --enable-stdin, or name a file, a command or a variable that has it and --store"));
    }
    let first = prompt(format!("The {what}: "))?;
    let second = prompt("Once more: ".to_owned())?;
    if first.expose_secret() == second.expose_secret() && !first.expose_secret().is_empty() {
        return Ok(first);
    }
    Err(Error::new(ErrorKind::Config, "ask for secret", format!("the {what} was not the same twice, or was empty")))
}

/// The agent of the person or service that runs the program.
fn agent(refs: &LoginRef) -> Result<AgentAccess> {
    match std::env::var_os("SSH_AUTH_SOCK").filter(|s| !s.is_empty()) {
        Some(socket) => Ok(AgentAccess::new(socket, refs.agent_keys.clone())),
        None => Err(Error::new(ErrorKind::Config, "ask SSH agent", "there is none: SSH_AUTH_SOCK is not set")
            .hint("start one with `eval $(ssh-agent)` and add the key with ssh-add, or use --key-file")),
    }
}

/// What a reference points to now.
///
/// # Errors
/// `Config` that names the reference, never the secret.
pub(crate) async fn read(what: &'static str, at: &SecretRef, reading: Reading) -> Result<SecretString> {
    let fail = |why: &str| Error::new(ErrorKind::Config, format!("read {what}"), why);
    let text = match at {
        SecretRef::Env(name) => std::env::var(name).map(Zeroizing::new).map_err(|e| match e {
            std::env::VarError::NotPresent => fail("the environment variable is not set")
                .with("variable", name)
                .hint(format!("export {name} before you start the program")),
            std::env::VarError::NotUnicode(_) => fail("the environment variable is not UTF-8").with("variable", name),
        })?,
        SecretRef::File(path) => {
            let read = read_secret_file(Path::new(path), MAX_SECRET).await.map_err(|e| {
                fail("the file cannot be read").with("file", path).because(e).hint("check the path and who may read it")
            })?;
            if read.is_open {
                tracing::warn!(event = "secret_file_open", file = %path,
                    "others than its owner can read this file with a {what}: chmod 600");
            }
            read.text
        }
        SecretRef::Command(command) => {
            run(command).await.map_err(|e| fail("the command gave no secret").with("command", command).because(e))?
        }
        _ => {
            return Err(
                fail("a stored secret is a credential's").hint("refer to an environment variable, a file or a command")
            );
        }
    };
    if text.contains('\0') {
        return Err(fail("it holds a NUL, which no device takes").with("from", place(at)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text.as_str());
    let secret = match reading {
        Reading::FirstLine => text.lines().next().unwrap_or_default(),
        Reading::Whole => text,
    };
    if secret.is_empty() {
        return Err(fail("it is empty").with("from", place(at)));
    }
    Ok(secret.to_owned().into())
}

/// The first line of what a reference points to.
///
/// # Errors
/// `Config` that names the reference, never the secret.
pub(crate) async fn first_line(what: &'static str, at: &SecretRef) -> Result<SecretString> {
    read(what, at, Reading::FirstLine).await
}

/// Where a reference points, for people.
pub(crate) fn place(at: &SecretRef) -> String {
    match at {
        SecretRef::Env(name) => format!("environment variable {name}"),
        SecretRef::File(path) => format!("file {path}"),
        SecretRef::Command(command) => format!("command `{command}`"),
        SecretRef::Stored(name) => format!("stored secret {name}"),
        _ => "elsewhere".to_owned(),
    }
}

/// Runs a command by the shell. At a terminal its standard error goes to the user, who may have to answer it; elsewhere
/// the end of it becomes part of the error where it fails, and nothing is kept of it otherwise: `set -x` tells secrets.
async fn run(command: &str) -> std::io::Result<Zeroizing<String>> {
    let mut program = tokio::process::Command::new("sh");
    program.args(["-c", command]).stdin(Stdio::inherit()).stdout(Stdio::piped());
    // What it starts ends with it. At a terminal it stays in the group that may read from there, and that Ctrl-C ends.
    let apart = !std::io::stdin().is_terminal();
    let answered = !apart && std::io::stderr().is_terminal();
    program.stderr(if answered { Stdio::inherit() } else { Stdio::piped() });
    if apart {
        program.process_group(0);
    }
    let mut child = program.kill_on_drop(true).spawn()?;
    let running = if apart { ProcessGroup::of(&child) } else { ProcessGroup::default() };
    let out = child.stdout.take().ok_or_else(|| std::io::Error::other("it has no output"))?;
    // Read beside: an agent that a command leaves behind keeps its standard error open.
    let mut said = JoinSet::new();
    if let Some(err) = child.stderr.take() {
        said.spawn(end_of(err));
    }
    let ends = async {
        let text = bounded(out).await?;
        let status = child.wait().await?;
        running.ended();
        if status.success() {
            return Ok(text);
        }
        let said = tokio::time::timeout(LAST_WORDS, said.join_next()).await;
        let said = said.ok().flatten().and_then(std::result::Result::ok).unwrap_or_default();
        Err(std::io::Error::other(format!("it ended with {status}{}", quoted(&said, &text))))
    };
    tokio::time::timeout(COMMAND_TIME, ends)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other(format!("it took longer than {} s", COMMAND_TIME.as_secs()))))
}

/// What a command that failed said, for an error: not where it holds a line of what may have been the secret, or begins
/// with the end of one, and nothing of what `set -x` shows.
fn quoted(said: &str, output: &str) -> String {
    let traced = |line: &&str| line.trim_start_matches('+').len() < line.len();
    let said = said.lines().filter(|line| !traced(line)).collect::<Vec<_>>().join("\n");
    let said = said.trim();
    let ends = |line: &str| line.char_indices().any(|(at, _)| at > 0 && said.starts_with(line.split_at(at).1));
    let tells = |line: &str| !line.is_empty() && (said.contains(line) || ends(line));
    match said {
        "" => String::new(),
        _ if output.lines().map(str::trim).any(tells) => " and said what it had put out, too".to_owned(),
        _ => format!(" and said: {}", said.escape_debug()),
    }
}

/// The end of what a program says: what does not fit is read and forgotten, so that nobody waits for it.
async fn end_of(mut from: impl tokio::io::AsyncRead + Unpin) -> String {
    let (mut last, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        last.extend_from_slice(piece.get(..count).unwrap_or_default());
        last.drain(..last.len().saturating_sub(MAX_SAID));
    }
    String::from_utf8_lossy(&last).trim().to_owned()
}

async fn bounded(from: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(MAX_SECRET + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > MAX_SECRET {
        return Err(std::io::Error::other(format!("it is longer than {MAX_SECRET} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(password: Option<SecretRef>) -> Device {
        let mut device = Device::new("d", "r1", "192.0.2.1", "cisco_ios");
        device.login.username = Some("backup".to_owned());
        device.login.password = password;
        device
    }

    async fn password(at: SecretRef) -> Result<String> {
        let login = Secrets::default().login(&device(Some(at))).await?;
        Ok(login.password.unwrap().expose_secret().to_owned())
    }

    #[tokio::test]
    async fn the_first_line_of_each_source_is_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "s3cret\nmore\n").unwrap();
        let path = path.to_string_lossy().into_owned();
        assert_eq!(password(SecretRef::File(path.clone())).await.unwrap(), "s3cret");
        assert_eq!(password(SecretRef::Command(format!("cat '{path}'"))).await.unwrap(), "s3cret");
        assert!(!password(SecretRef::Env("PATH".to_owned())).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_source_that_fails_is_named_and_its_output_is_not() {
        for (at, says) in [
            (SecretRef::Env("DEVICEVAULT_NOT_SET".to_owned()), "DEVICEVAULT_NOT_SET"),
            (SecretRef::File("/nonexistent/pw".to_owned()), "/nonexistent/pw"),
            (SecretRef::Command("echo hunter2; exit 3".to_owned()), "exit status: 3"),
            (SecretRef::Command("true".to_owned()), "command `true`"),
        ] {
            let e = password(at).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config);
            let text = format!("{e:?}");
            assert!(text.contains(says) && text.contains("r1"), "{text}");
            assert!(!text.replace("echo hunter2", "").contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn an_endless_source_is_refused() {
        let e = password(SecretRef::File("/dev/zero".to_owned())).await.unwrap_err();
        assert!(format!("{e:?}").contains("it is no file"), "{e:?}");
    }

    #[tokio::test]
    async fn what_a_command_says_tells_no_secret_and_keeps_nobody_waiting() {
        let said = |command: &str| {
            let read = password(SecretRef::Command(command.to_owned()));
            // An agent that it leaves behind holds its standard error for longer than this.
            tokio::time::timeout(COMMAND_TIME / 2, read)
        };
        assert_eq!(said("sleep 50 >/dev/null & echo pw").await.unwrap().unwrap(), "pw");
        for (command, says) in [
            ("echo the store is locked >&2; exit 2", "and said: the store is locked"),
            ("sleep 50 >/dev/null & echo pw; exit 2", "exit status: 2"),
            ("set -x; PW=7f3c9a; echo locked >&2; exit 2", "locked"),
            ("echo 7f3c9a; echo it was 7f3c9a >&2; exit 2", "and said what it had put out, too"),
            ("echo 7f3c9a; echo it was 7f3c9a >&2; head -c 496 /dev/zero | tr '\\0' q >&2; exit 2", "put out, too"),
            ("head -c 600 /dev/zero | tr '\\0' q >&2; echo; echo locked >&2; exit 2", "locked"),
        ] {
            let text = format!("{:?}", said(command).await.unwrap().unwrap_err());
            assert!(text.contains(says), "{text}");
            let text = text.replace(&command.escape_debug().to_string(), "").replace(command, "");
            assert!(!text.contains("7f3c9a") && !text.contains("c9aq"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_command_runs_once_for_many_devices() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        for (ends, good) in [("echo pw", true), ("exit 3", false)] {
            let command = format!("echo x >> '{}'; {ends}", count.display());
            let secrets = Secrets::default();
            let d = device(Some(SecretRef::Command(command)));
            let (a, b) = tokio::join!(secrets.login(&d), secrets.login(&d));
            assert_eq!((a.is_ok(), b.is_ok()), (good, good));
            assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
            std::fs::remove_file(&count).unwrap();
        }
    }
}
