//! Options that say which key is to be used from now on. They name places; a secret itself is never an argument.

use std::path::PathBuf;

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result, SecretRef};

/// A key-encryption key.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Key options (without any, a new key is made in a file of the home)")]
pub(crate) struct NewKeyArgs {
    /// Make a new key in this file, which is not there yet
    #[arg(long, value_name = "FILE", group = "new_key")]
    generate: Option<PathBuf>,
    /// A key that is there: a file with 64 hexadecimal digits
    #[arg(long, value_name = "FILE", group = "new_key")]
    use_file: Option<PathBuf>,
    /// A key that is there: an environment variable with 64 hexadecimal digits
    #[arg(long, value_name = "VAR", group = "new_key")]
    use_env: Option<String>,
    /// A key that is there: 64 hexadecimal digits that this command prints (run by the shell)
    #[arg(long, value_name = "COMMAND", group = "new_key")]
    use_command: Option<String>,
    /// A passphrase, asked for on the terminal now and whenever it is needed
    #[arg(long, group = "new_key")]
    ask_passphrase: bool,
    /// A passphrase in this environment variable
    #[arg(long, value_name = "VAR", group = "new_key")]
    passphrase_env: Option<String>,
    /// A passphrase: the first line of this file
    #[arg(long, value_name = "FILE", group = "new_key")]
    passphrase_file: Option<PathBuf>,
    /// A passphrase: the first line that this command prints
    #[arg(long, value_name = "COMMAND", group = "new_key")]
    passphrase_command: Option<String>,
    /// An AES key in the token of this label (PKCS#11)
    #[arg(long, value_name = "LABEL", group = "new_key", requires_all = ["token_module", "token_key"])]
    token: Option<String>,
    /// Label of the key in the token
    #[arg(long, value_name = "LABEL", requires = "token")]
    token_key: Option<String>,
    /// The shared library of the token's maker
    #[arg(long, value_name = "FILE", requires = "token")]
    token_module: Option<PathBuf>,
    /// The token's PIN is in this environment variable; without this and the next two, it is asked for
    #[arg(long, value_name = "VAR", requires = "token", group = "pin")]
    pin_env: Option<String>,
    /// The token's PIN is the first line of this file
    #[arg(long, value_name = "FILE", requires = "token", group = "pin")]
    pin_file: Option<PathBuf>,
    /// The token's PIN is the first line that this command prints
    #[arg(long, value_name = "COMMAND", requires = "token", group = "pin")]
    pin_command: Option<String>,
}

/// The same, as the program goes on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NewKey {
    /// A new random key in this file, or in one of the home that is named by its id.
    Generate(Option<PathBuf>),
    Use(SecretRef),
    Passphrase(Option<SecretRef>),
    Token {
        module: PathBuf,
        token: String,
        key: String,
        pin: Option<SecretRef>,
    },
}

impl NewKeyArgs {
    /// What was asked for.
    ///
    /// # Errors
    /// `Config` for an empty name, or a path that is not UTF-8.
    pub(crate) fn key(&self) -> Result<NewKey> {
        if let (Some(token), Some(key), Some(module)) = (&self.token, &self.token_key, &self.token_module) {
            let pin = secret_ref(self.pin_env.as_ref(), self.pin_file.as_ref(), self.pin_command.as_ref())?;
            let (token, key) = (token.clone(), key.clone());
            return Ok(NewKey::Token { module: absolute(module)?, token, key, pin });
        }
        if self.ask_passphrase {
            return Ok(NewKey::Passphrase(None));
        }
        let passphrase =
            secret_ref(self.passphrase_env.as_ref(), self.passphrase_file.as_ref(), self.passphrase_command.as_ref())?;
        if passphrase.is_some() {
            return Ok(NewKey::Passphrase(passphrase));
        }
        let used = secret_ref(self.use_env.as_ref(), self.use_file.as_ref(), self.use_command.as_ref())?;
        match used {
            Some(at) => Ok(NewKey::Use(at)),
            None => Ok(NewKey::Generate(self.generate.as_ref().map(absolute).transpose()?)),
        }
    }
}

fn secret_ref(env: Option<&String>, file: Option<&PathBuf>, command: Option<&String>) -> Result<Option<SecretRef>> {
    let empty = || Error::new(ErrorKind::Config, "read arguments", "a name is empty");
    if [env, command].into_iter().flatten().any(|name| name.trim().is_empty()) {
        return Err(empty());
    }
    Ok(match (env, file, command) {
        (Some(env), _, _) => Some(SecretRef::Env(env.clone())),
        (_, Some(file), _) => Some(SecretRef::File(text(&absolute(file)?)?)),
        (_, _, Some(command)) => Some(SecretRef::Command(command.clone())),
        _ => None,
    })
}

/// The next command may be run in another folder.
fn absolute(path: &PathBuf) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(ErrorKind::Config, "read arguments", "the path cannot be made absolute")
            .with("path", path.display())
            .because(e)
    })
}

/// A path as the text that is kept of it.
pub(crate) fn text(path: &std::path::Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Config, "read arguments", "the path is not UTF-8").with("path", path.display())
    })
}
