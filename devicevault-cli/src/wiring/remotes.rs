//! Who logs in at the remote of a Git destination.

use std::path::PathBuf;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, SecretString};
use devicevault_storage::git::{RemoteAccess, RemoteLogin};
use devicevault_storage::objects::LoginSource;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::places::StoreLogin;

/// The file of a private key.
const KEY: &str = "key";

/// A login whose secrets are looked up when the remote is reached.
#[derive(Debug)]
pub(super) struct OfRemote {
    /// What needs no looking up.
    pub(super) access: RemoteAccess,
    /// Whether the remote takes a token; otherwise it takes keys.
    pub(super) takes_token: bool,
    pub(super) source: StoreLogin,
    pub(super) key: KeyFile,
}

/// A stored private key as a file, since `ssh` takes no other: in a folder of its own that goes with this value.
#[derive(Debug, Default)]
pub(super) struct KeyFile(OnceCell<TempDir>);

impl KeyFile {
    async fn of(&self, key: &SecretString) -> Result<PathBuf> {
        let unusable =
            |e| Error::new(ErrorKind::Config, "log in at remote", "the key cannot be handed over").because(e);
        let write = || async {
            let mut builder = tempfile::Builder::new();
            builder.prefix("devicevault-");
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
            let folder = builder.tempdir().map_err(unusable)?;
            let mut text = zeroize::Zeroizing::new(key.expose_secret().to_owned());
            // A key without a line end is none to `ssh`.
            if !text.ends_with('\n') {
                text.push('\n');
            }
            crate::files::write_new_private(&folder.path().join(KEY), text.as_bytes())?;
            Ok::<_, Error>(folder)
        };
        Ok(self.0.get_or_try_init(write).await?.path().join(KEY))
    }
}

#[async_trait]
impl RemoteLogin for OfRemote {
    async fn access(&self) -> Result<RemoteAccess> {
        let login = self.source.login().await?;
        let mut access = self.access.clone();
        if !login.username.is_empty() {
            access.user = Some(login.username.clone());
        }
        if self.takes_token {
            access.token = login.password;
            return Ok(access);
        }
        let wrong = |why: &str, hint: &str| {
            Err(Error::new(ErrorKind::Config, "log in at remote", why.to_owned()).hint(hint.to_owned()))
        };
        match &login.private_key {
            _ if access.key_file.is_some() => {}
            Some(_) if login.passphrase.is_some() => {
                return wrong(
                    "its key has a passphrase, which nobody is there to type",
                    "let an SSH agent hold the key",
                );
            }
            Some(key) => access.key_file = Some(self.key.of(key).await?),
            None if login.password.is_some() && login.agent.is_none() => {
                return wrong(
                    "a remote over SSH takes a key, and there is a password alone",
                    "name a credential with a key, or key_file",
                );
            }
            None => {}
        }
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_for_its_owner_alone_and_goes_with_its_login() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = KeyFile::default();
        let path = file.of(&"-----BEGIN".to_owned().into()).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"-----BEGIN\n");
        assert_eq!(file.of(&"another".to_owned().into()).await.unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(file);
        assert!(!path.exists());
    }
}
