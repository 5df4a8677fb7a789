//! Who logs in at the remote of a Git destination.

use std::path::PathBuf;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, SecretString};
use devicevault_ssh::KeyAgent;
use devicevault_storage::git::{RemoteAccess, RemoteLogin};
use devicevault_storage::objects::LoginSource;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::places::StoreLogin;
use super::reach::private_folders;

/// The socket of a private key.
const SOCKET: &str = "agent";
/// The longest path of a folder in which one has room, in a folder of its own: it has 103 bytes at most on all systems.
const LONGEST: usize = 103 - "/devicevault-xxxxxx/agent".len();

/// A login whose secrets are looked up when the remote is reached.
#[derive(Debug)]
pub(super) struct OfRemote {
    /// What needs no looking up.
    pub(super) access: RemoteAccess,
    /// Whether the remote takes a token; otherwise it takes keys.
    pub(super) takes_token: bool,
    pub(super) source: StoreLogin,
    pub(super) key: HeldKey,
}

/// A stored private key for `ssh`, which would take it in a file: an agent of our own signs with it, so that nothing of it
/// is on a disk, whatever ends the process. Its folder goes with this value.
#[derive(Debug, Default)]
pub(super) struct HeldKey(OnceCell<(KeyAgent, TempDir)>);

impl HeldKey {
    async fn socket_of(&self, key: &SecretString, passphrase: Option<&SecretString>) -> Result<PathBuf> {
        let unusable =
            |e| Error::new(ErrorKind::Config, "log in at remote", "the key cannot be handed over").because(e);
        let listen = || async {
            let folder = folder_in(&private_folders()).map_err(unusable)?;
            let passphrase = passphrase.map(devicevault_core::ExposeSecret::expose_secret);
            let agent = KeyAgent::listen(&folder.path().join(SOCKET), key.expose_secret(), passphrase);
            let wrong = |e: devicevault_ssh::SshError| Error::new(ErrorKind::Config, "log in at remote", e.to_string());
            Ok::<_, Error>((agent.map_err(wrong)?, folder))
        };
        Ok(self.0.get_or_try_init(listen).await?.0.socket().to_owned())
    }
}

/// A folder that only this user can enter, in the first of these where that can be made, and its path leaves room for that of
/// a socket.
fn folder_in(parents: &[PathBuf]) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("devicevault-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let mut made = Err(std::io::Error::other("no folder for temporary files has a short path: set TMPDIR"));
    for parent in parents.iter().filter(|path| cfg!(not(unix)) || path.as_os_str().len() <= LONGEST) {
        made = builder.tempdir_in(parent);
        if made.is_ok() {
            break;
        }
    }
    made
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
            Some(key) => access.agent = Some(self.key.socket_of(key, login.passphrase.as_ref()).await?),
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

    #[test]
    fn a_folder_of_a_long_path_has_no_room_for_a_socket() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(100));
        std::fs::create_dir(&long).unwrap();
        assert!(folder_in(std::slice::from_ref(&long)).is_err());
        let made = folder_in(&[long, parent.path().join("none"), parent.path().to_owned()]).unwrap();
        assert_eq!(made.path().parent(), Some(parent.path()));
    }

    #[tokio::test]
    async fn what_is_no_key_is_told_without_its_text_and_leaves_nothing() {
        let held = HeldKey::default();
        let e = held.socket_of(&"-----BEGIN s3cret".to_owned().into(), None).await.unwrap_err();
        assert!(!format!("{e:?} {e}").contains("s3cret") && held.0.get().is_none(), "{e:?}");
    }
}
