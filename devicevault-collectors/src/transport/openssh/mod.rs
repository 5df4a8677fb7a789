//! The system's `ssh` program, for what our own SSH does not speak: MD5 and truncated MACs, hardware keys, GSSAPI.
//!
//! It reads no configuration (`-F none`), asks nothing of a person, and checks host keys in our own file. Each channel is
//! a process of its own, and lends the conversation's place away until the device was reached: the program asks for a
//! password then, or runs a command of ours that says so where the login needs none.

mod arguments;
mod askpass;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Result, Target, Turn};
use devicevault_ssh::Environment;

use self::arguments::Plan;
use self::askpass::Folder;
use self::process::{SshCommand, SshTerminal};
use super::{Dialer, Link, Running, Terminal};
use crate::platform::Platform;

/// Where the program and its helpers are.
#[derive(Debug, Clone)]
pub struct OpenSshOptions {
    /// The program.
    pub program: PathBuf,
    /// A known_hosts file, checked and written by the program.
    pub known_hosts: PathBuf,
    /// Folders for short-lived private files and sockets: the first in which they can be made. That of a long path is passed
    /// over, for the path of a socket has 103 bytes at most.
    pub folders: Vec<PathBuf>,
    /// A program that hands the prompt in its first argument to the socket in the environment variable
    /// [`ASKPASS_VARIABLE`], and prints what it gets; see [`answer_from`].
    pub askpass: Option<PathBuf>,
    /// What the program finds in its environment, and a proxy command that it starts.
    pub environment: Environment,
}

/// Names the socket from which the helper gets its answers.
pub const ASKPASS_VARIABLE: &str = "DEVICEVAULT_ASKPASS";

pub use askpass::answer_from;

/// Dials by the system's `ssh`.
#[derive(Debug, Clone)]
pub struct OpenSshDialer(Arc<OpenSshOptions>);

impl OpenSshDialer {
    /// With these programs.
    #[must_use]
    pub fn new(options: OpenSshOptions) -> Self {
        Self(Arc::new(options))
    }
}

#[async_trait]
impl Dialer for OpenSshDialer {
    async fn dial(&self, target: &Target, platform: &Platform) -> Result<Box<dyn Link>> {
        let device = |e: Error| e.with("device", &target.device.name);
        let login = &target.login;
        if login.password.is_some() && self.0.askpass.is_none() {
            return Err(device(
                Error::new(ErrorKind::Config, "prepare login", "the transport openssh takes no passwords here")
                    .hint("use a key, the agent, or the transport ssh"),
            ));
        }
        let folder = Folder::new(&self.0.folders).map_err(|e| device(unusable(e)))?;
        let plan = Plan::new(&self.0, target, platform.ssh_profile.as_deref(), &folder).map_err(device)?;
        let (login, turn) = (target.login.clone(), target.turn.clone());
        let reach = target.limits.connect.max(LEAST) + OWN_WORDS;
        Ok(Box::new(OpenSshLink { plan, folder: Arc::new(folder), login, turn, reach }))
    }
}

/// The program counts in seconds.
const LEAST: Duration = Duration::from_secs(1);
/// It is given the time to say itself why it did not reach the device.
const OWN_WORDS: Duration = Duration::from_secs(2);

fn unusable(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "prepare login", "the folder for private files cannot be used").because(e)
}

#[derive(Debug)]
struct OpenSshLink {
    plan: Plan,
    folder: Arc<Folder>,
    login: devicevault_core::Login,
    turn: Turn,
    /// The longest time to the device.
    reach: Duration,
}

#[async_trait]
impl Link for OpenSshLink {
    fn reach_time(&self) -> Duration {
        self.reach + OWN_WORDS
    }

    async fn shell(&mut self, _: u32, _: u32) -> Result<Box<dyn Terminal>> {
        let mut process = self.plan.start(&["-tt"], None, &self.folder, &self.login, &self.turn)?;
        process.reach(self.reach).await?;
        Ok(Box::new(SshTerminal::new(process)))
    }

    async fn exec(&mut self, command: &str) -> Result<Box<dyn Running>> {
        let mut process = self.plan.start(&["-T"], Some(command), &self.folder, &self.login, &self.turn)?;
        process.reach(self.reach).await?;
        Ok(Box::new(SshCommand::new(process)))
    }
}
