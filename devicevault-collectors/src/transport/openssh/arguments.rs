//! What the program is told.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use devicevault_core::{Error, ErrorKind, ExposeSecret, Login, Result, Target, Turn};
use devicevault_ssh::{HostKeyPolicy, KeyAgent, Profile, SSH_PORT, private_key_is_of_hardware};
use tokio::process::Command;
use tokio::sync::Notify;

use super::askpass::{Asking, Folder};
use super::process::{LOGGED_IN, Process};
use super::{ASKPASS_VARIABLE, OpenSshOptions, unusable};
use crate::options;
use crate::transport::core_error;

/// How `ssh` is started for one device.
#[derive(Debug)]
pub(super) struct Plan {
    options: OpenSshOptions,
    arguments: Vec<OsString>,
    host: String,
    /// The socket of the user's agent.
    agent: Option<OsString>,
    /// Signs with the private key, which lies in no file.
    key: Option<KeyAgent>,
    /// The program may ask for something that is known.
    answers: bool,
}

impl Plan {
    pub(super) fn new(
        options: &OpenSshOptions,
        target: &Target,
        profile: Option<&str>,
        folder: &Folder,
    ) -> Result<Self> {
        let (device, login) = (&target.device, &target.login);
        let refuse = |what: &str, hint: &str| {
            Err(Error::new(ErrorKind::Config, "prepare login", format!("the transport openssh has no {what}"))
                .hint(hint))
        };
        if !device.jump.is_empty() {
            return refuse("jump hosts", "set ssh.proxy_command, such as ssh -W %h:%p bastion");
        }
        let settings = &device.options;
        let strict = match options::host_key_policy(settings, &HostKeyPolicy::FirstUse).map_err(core_error)? {
            HostKeyPolicy::Strict => "yes",
            HostKeyPolicy::FirstUse => "accept-new",
            _ => return refuse("pinned host keys", "import the device's host key and set ssh.host_key = strict"),
        };
        for text in [&device.host, &login.username] {
            if text.is_empty() || text.starts_with('-') || text.contains(|c: char| c.is_control() || c.is_whitespace())
            {
                return refuse(
                    "use for this address or user name",
                    "neither is empty, begins with a hyphen or holds a blank",
                );
            }
        }
        let chosen = options::get(settings, options::PROFILE).or(profile);
        let profile: Profile = chosen.map(str::parse).transpose().map_err(core_error)?.unwrap_or_default();
        let mut plan = Self {
            options: options.clone(),
            arguments: Vec::new(),
            host: device.host.clone(),
            agent: None,
            key: None,
            answers: login.password.is_some(),
        };
        plan.pair("-F", "none");
        plan.pair("-p", &device.port.unwrap_or(SSH_PORT).to_string());
        plan.pair("-l", &login.username);
        plan.path("UserKnownHostsFile", &options.known_hosts)?;
        for option in [
            "GlobalKnownHostsFile=/dev/null",
            "HashKnownHosts=no",
            "UpdateHostKeys=no",
            "NumberOfPasswordPrompts=1",
            "PreferredAuthentications=publickey,keyboard-interactive,password",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "EscapeChar=none",
            "LogLevel=ERROR",
        ] {
            plan.pair("-o", option);
        }
        plan.pair("-o", &format!("StrictHostKeyChecking={strict}"));
        plan.pair("-o", &format!("ConnectTimeout={}", target.limits.connect.as_secs().max(1)));
        if let Some(interval) = options::keepalive(settings).map_err(core_error)? {
            plan.pair("-o", &format!("ServerAliveInterval={}", interval.as_secs()));
        }
        if let Some(address) = options::source_address(settings).map_err(core_error)? {
            plan.pair("-b", &address.to_string());
        }
        if let Some(command) = options::proxy_command(settings).map_err(core_error)? {
            let command = command.for_the_systems_ssh(&device.host, &login.username).map_err(core_error)?;
            plan.pair("-o", &format!("ProxyCommand={command}"));
        }
        plan.algorithms(profile);
        plan.keys(login, folder)?;
        if !plan.answers {
            plan.pair("-o", "BatchMode=yes");
        }
        Ok(plan)
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.arguments.extend([name.into(), value.into()]);
    }

    /// A path in a setting: quoted, since blanks would part it, and none of it a token (`ssh_config(5)`, TOKENS).
    fn path(&mut self, name: &str, path: &Path) -> Result<()> {
        let mut setting = OsString::from(format!("{name}=\""));
        let bytes = path.as_os_str().as_encoded_bytes();
        match path.to_str() {
            // Nothing takes the meaning from it.
            Some(text) if !text.contains("${") => {
                setting.push(text.replace('%', "%%").replace('\\', r"\\").replace('"', r#"\""#));
            }
            None if !bytes.iter().any(|b| b"$%\\\"".contains(b)) => setting.push(path),
            _ => {
                let message = "the transport openssh cannot be told this path";
                return Err(Error::new(ErrorKind::Config, "prepare login", message)
                    .with("path", path.display())
                    .hint("give the home a path in plain letters, or use the transport ssh"));
            }
        }
        setting.push("\"");
        self.arguments.extend(["-o".into(), setting]);
        Ok(())
    }

    /// Older profiles add to what the program offers by itself.
    fn algorithms(&mut self, profile: Profile) {
        if profile >= Profile::Legacy {
            self.pair("-o", "KexAlgorithms=+diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1");
            self.pair("-o", "MACs=+hmac-sha1,hmac-sha1-96");
            let (keys, ciphers) = ("+ssh-rsa", "+aes256-cbc,aes192-cbc,aes128-cbc");
            self.pair("-o", &format!("HostKeyAlgorithms={keys}"));
            self.pair("-o", &format!("PubkeyAcceptedAlgorithms={keys}"));
            self.pair("-o", &format!("Ciphers={ciphers}"));
        }
        if profile >= Profile::Ancient {
            // The first setting of a name counts: these take the place of the ones above.
            let old = [
                "KexAlgorithms=+diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1",
                "MACs=+hmac-sha1,hmac-sha1-96,hmac-md5,hmac-md5-96",
                "HostKeyAlgorithms=+ssh-rsa,ssh-dss",
                "PubkeyAcceptedAlgorithms=+ssh-rsa,ssh-dss",
                "Ciphers=+aes256-cbc,aes192-cbc,aes128-cbc,3des-cbc",
            ];
            let front = old.iter().flat_map(|o| ["-o".into(), OsString::from(*o)]);
            self.arguments = front.chain(std::mem::take(&mut self.arguments)).collect();
        }
    }

    fn keys(&mut self, login: &Login, folder: &Folder) -> Result<()> {
        if let Some(key) = &login.private_key {
            self.pair("-o", "IdentitiesOnly=yes");
            self.key(login, key.expose_secret(), folder)?;
        } else if login.agent.is_none() {
            self.pair("-o", "PubkeyAuthentication=no");
        }
        if self.key.is_none() {
            match &login.agent {
                Some(agent) => self.agent = Some(agent.socket.clone().into_os_string()),
                None => self.pair("-o", "IdentityAgent=none"),
            }
        }
        if let Some(certificate) = &login.certificate {
            let path = folder.write("certificate", certificate.expose_secret()).map_err(unusable)?;
            self.path("CertificateFile", &path)?;
        }
        Ok(())
    }

    /// Hands a private key over: by an agent of our own, so that no file holds it whatever ends the process. What only
    /// names a key in hardware is no secret, and is for the program alone.
    fn key(&mut self, login: &Login, key: &str, folder: &Folder) -> Result<()> {
        if cfg!(not(unix)) || private_key_is_of_hardware(key) {
            self.answers |= login.passphrase.is_some();
            let path = folder.write_key(key).map_err(unusable)?;
            return self.path("IdentityFile", &path);
        }
        let passphrase = login.passphrase.as_ref().map(ExposeSecret::expose_secret);
        let agent = KeyAgent::listen(&folder.agent(), key, passphrase).map_err(core_error)?;
        let public = folder.write("key.pub", agent.public_key()).map_err(unusable)?;
        self.path("IdentityFile", &public)?;
        self.path("IdentityAgent", agent.socket())?;
        self.key = Some(agent);
        Ok(())
    }

    /// Starts it.
    pub(super) fn start(
        &self,
        more: &[&str],
        command: Option<&str>,
        folder: &Arc<Folder>,
        login: &Login,
        turn: &Turn,
    ) -> Result<Process> {
        let mut ssh = Command::new(&self.options.program);
        self.options.environment.of(&mut ssh);
        ssh.args(&self.arguments);
        // Run when the login is over (`ssh_config(5)`), by this shell whatever the user's own is.
        let logged_in = format!("LocalCommand=echo {LOGGED_IN} >&2");
        ssh.args(["-o", "PermitLocalCommand=yes", "-o", &logged_in]).env("SHELL", "/bin/sh");
        ssh.args(more).arg("--").arg(&self.host).args(command);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh.env("TERM", "vt100").env_remove("DISPLAY");
        match &self.agent {
            Some(socket) => ssh.env("SSH_AUTH_SOCK", socket),
            None => ssh.env_remove("SSH_AUTH_SOCK"),
        };
        let reached = Arc::<Notify>::default();
        let mut asking = Asking::nothing();
        if let Some(helper) = self.options.askpass.as_ref().filter(|_| self.answers) {
            let (socket, told) = folder.answer(login, turn, &reached).map_err(unusable)?;
            asking = told;
            ssh.env("SSH_ASKPASS", helper).env("SSH_ASKPASS_REQUIRE", "force").env(ASKPASS_VARIABLE, socket);
        }
        turn.connecting();
        let child = ssh.spawn().map_err(|e| {
            Error::new(ErrorKind::Config, "start ssh", "the system's ssh cannot be started")
                .with("program", self.options.program.display())
                .because(e)
                .hint("install OpenSSH's client, or use the transport ssh")
        })?;
        Ok(Process::new(child, folder.clone(), turn.clone(), (reached, asking)))
    }
}
