//! Options that say how to log in. They name where a secret is found; a secret itself is never an argument, since every
//! user of a machine can read the arguments of its processes.

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::{Error, ErrorKind, LoginRef, Result, SecretRef};

use crate::files;
use crate::ui::Ui;

/// How to log in to a device.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Login options")]
pub(crate) struct LoginArgs {
    /// User name
    #[arg(long, short, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The password is in this environment variable
    #[arg(long, value_name = "VAR", group = "password")]
    password_env: Option<String>,
    /// The password is the first line of this file
    #[arg(long, value_name = "FILE", group = "password")]
    password_file: Option<PathBuf>,
    /// The password is the first line that this command prints (run by the shell)
    #[arg(long, value_name = "COMMAND", group = "password")]
    password_command: Option<String>,
    /// Private key in OpenSSH or PEM format
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The passphrase of the key is in this environment variable
    #[arg(long, value_name = "VAR", group = "passphrase")]
    key_passphrase_env: Option<String>,
    /// The passphrase of the key is the first line of this file
    #[arg(long, value_name = "FILE", group = "passphrase")]
    key_passphrase_file: Option<PathBuf>,
    /// The passphrase of the key is the first line that this command prints
    #[arg(long, value_name = "COMMAND", group = "passphrase")]
    key_passphrase_command: Option<String>,
    /// OpenSSH certificate of the key (a file that ends in -cert.pub)
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// Offer the keys of the SSH agent (SSH_AUTH_SOCK); it is never forwarded
    #[arg(long)]
    agent: bool,
    /// Of the agent's keys, this one alone: its fingerprint SHA256:… or its comment; may be given several times
    #[arg(long = "agent-key", value_name = "KEY")]
    agent_keys: Vec<String>,
    /// The user name that `enable` asks for [default: that of the login]
    #[arg(long, value_name = "NAME")]
    enable_user: Option<String>,
    /// The enable secret is in this environment variable
    #[arg(long, alias = "enable-password-env", value_name = "VAR", group = "enable")]
    enable_env: Option<String>,
    /// The enable secret is the first line of this file
    #[arg(long, alias = "enable-password-file", value_name = "FILE", group = "enable")]
    enable_file: Option<PathBuf>,
    /// The enable secret is the first line that this command prints
    #[arg(long, alias = "enable-password-command", value_name = "COMMAND", group = "enable")]
    enable_command: Option<String>,
}

impl LoginArgs {
    /// Sets what was given and leaves the rest as it is.
    ///
    /// # Errors
    /// `Config` for an empty name or path.
    pub(crate) fn apply(&self, login: &mut LoginRef) -> Result<()> {
        if let Some(user) = &self.user {
            check_not_empty("user", user)?;
            login.username = Some(user.clone());
        }
        if let Some(user) = &self.enable_user {
            check_not_empty("enable-user", user)?;
            login.enable_username = Some(user.clone());
        }
        login.agent |= self.agent || !self.agent_keys.is_empty();
        login.agent_keys.extend(self.agent_keys.iter().cloned());
        let sets = [
            (
                &mut login.password,
                secret_ref(
                    self.password_env.as_deref(),
                    self.password_file.as_deref(),
                    self.password_command.as_deref(),
                )?,
            ),
            (&mut login.private_key, secret_ref(None, self.key_file.as_deref(), None)?),
            (&mut login.certificate, secret_ref(None, self.certificate_file.as_deref(), None)?),
            (
                &mut login.passphrase,
                secret_ref(
                    self.key_passphrase_env.as_deref(),
                    self.key_passphrase_file.as_deref(),
                    self.key_passphrase_command.as_deref(),
                )?,
            ),
            (
                &mut login.enable,
                secret_ref(self.enable_env.as_deref(), self.enable_file.as_deref(), self.enable_command.as_deref())?,
            ),
        ];
        for (field, given) in sets {
            if given.is_some() {
                *field = given;
            }
        }
        Ok(())
    }
}

/// Warns of files with secrets that others can read, where a login is set up that takes them from there.
pub(crate) fn warn_of_open_files(ui: &Ui, login: &LoginRef) {
    let secrets = [&login.password, &login.private_key, &login.passphrase, &login.enable];
    for at in secrets.into_iter().flatten() {
        if let SecretRef::File(path) = at
            && files::is_open(Path::new(path))
        {
            ui.warn(&format!(
                "others than its owner can read {}, which holds a secret: chmod 600",
                path.escape_debug()
            ));
        }
    }
}

/// The reference that one of three options or columns makes.
///
/// # Errors
/// `Config` for an empty name or path, or an environment variable's name that cannot be one.
pub(crate) fn secret_ref(env: Option<&str>, file: Option<&Path>, command: Option<&str>) -> Result<Option<SecretRef>> {
    if let Some(name) = env {
        check_not_empty("environment variable", name)?;
        // POSIX, chapter 8.1. A password in its place would be kept, and told in errors.
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(of_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Error::new(
                ErrorKind::Config,
                "read login options",
                "this is no name of an environment variable",
            )
            .with("option", "environment variable")
            .hint("name the variable that holds the secret, not the secret itself"));
        }
        return Ok(Some(SecretRef::Env(name.to_owned())));
    }
    if let Some(path) = file {
        // The reference holds wherever the program is started next.
        let absolute = std::path::absolute(path).map_err(|e| {
            Error::new(ErrorKind::Config, "read login options", "the path cannot be made absolute")
                .with("file", path.display())
                .because(e)
        })?;
        return Ok(Some(SecretRef::File(absolute.to_string_lossy().into_owned())));
    }
    let Some(command) = command else { return Ok(None) };
    check_not_empty("command", command)?;
    Ok(Some(SecretRef::Command(command.to_owned())))
}

fn check_not_empty(what: &'static str, value: &str) -> Result<()> {
    if value.trim().is_empty() {
        return Err(Error::new(ErrorKind::Config, "read login options", "a value is empty").with("option", what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_set_and_the_rest_stays() {
        let mut login = LoginRef::default();
        login.enable = Some(SecretRef::Env("OLD".to_owned()));
        let args = LoginArgs {
            user: Some("backup".to_owned()),
            password_command: Some("pass show rtr".to_owned()),
            key_file: Some("/k".into()),
            ..LoginArgs::default()
        };
        args.apply(&mut login).unwrap();
        assert_eq!(login.username.as_deref(), Some("backup"));
        assert_eq!(login.password, Some(SecretRef::Command("pass show rtr".to_owned())));
        assert_eq!(login.private_key, Some(SecretRef::File("/k".to_owned())));
        assert_eq!(login.enable, Some(SecretRef::Env("OLD".to_owned())));
    }

    #[test]
    fn a_secret_in_place_of_a_name_is_refused_without_being_repeated() {
        let e = secret_ref(Some("hunter2=x"), None, None).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(!format!("{e:?}").contains("hunter2"));
        for no_name in [" ", "my secret pw", "Secr3t!pw", "1PW", "pw$"] {
            let e = secret_ref(Some(no_name), None, None).unwrap_err();
            assert!(no_name == " " || !format!("{e:?}").contains(no_name), "{e:?}");
        }
    }
}
