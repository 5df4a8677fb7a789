//! An SSH agent of our own that holds one key, for programs that take no key but in a file (draft-miller-ssh-agent).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_encoding::{Decode as _, Encode as _};
use russh::keys::{HashAlg, PrivateKey};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::keys::{decoded, sign};
use crate::{Result, SshError};

/// No request is longer.
const MOST: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Signs with a private key for whoever can connect to its socket, as long as the value lives. The key is in memory alone:
/// nothing of it is left when the process is killed. It takes no other key, and gives none away.
#[derive(Debug)]
pub struct KeyAgent {
    socket: PathBuf,
    public: String,
    task: JoinHandle<()>,
}

impl KeyAgent {
    /// Listens at a socket that is made there. Who can enter its folder can have things signed.
    ///
    /// # Errors
    /// `Config` where it is no private key or the passphrase does not open it, without quoting either; the socket cannot be
    /// made, as on systems that have none.
    #[cfg(unix)]
    pub fn listen(socket: &Path, key: &str, passphrase: Option<&str>) -> Result<Self> {
        let key = decoded(key, passphrase)?;
        let public = key.public_key().to_openssh().map_err(|_| SshError::config("the key has no public half"))?;
        let listener = tokio::net::UnixListener::bind(socket).map_err(|e| unusable(socket, &e))?;
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(clients.spawn(serve(stream, key.clone()))),
                    // Too many open files: others may be closed soon.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                }
                while clients.try_join_next().is_some() {}
            }
        });
        Ok(Self { socket: socket.to_owned(), public, task })
    }

    /// Listens nowhere.
    ///
    /// # Errors
    /// Always: this system has no private sockets.
    #[cfg(not(unix))]
    pub fn listen(socket: &Path, key: &str, passphrase: Option<&str>) -> Result<Self> {
        decoded(key, passphrase)?;
        Err(unusable(socket, &io::ErrorKind::Unsupported.into()))
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The public half of the key, as it stands in a `.pub` file: it tells a program which key to ask for.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn unusable(socket: &Path, e: &io::Error) -> SshError {
    SshError::config(format!("no socket can be made that the key is used by: {} ({e})", socket.display()))
}

/// Answers one client until it leaves, or says what is none.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, key: Arc<PrivateKey>) {
    let mut request = Vec::new();
    while let Ok(length) = stream.read_u32().await {
        request.clear();
        if length > MOST
            || !matches!((&mut stream).take(length.into()).read_to_end(&mut request).await, Ok(n) if n == length as usize)
        {
            return;
        }
        let answer = answer(&request, &key).unwrap_or_else(|| vec![FAILURE]);
        let length = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        if stream.write_u32(length).await.is_err() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// `None` where that is not done here, or not with this key.
fn answer(request: &[u8], key: &Arc<PrivateKey>) -> Option<Vec<u8>> {
    let (kind, mut rest) = request.split_first()?;
    let public = key.public_key().to_bytes().ok()?;
    let mut out = Vec::new();
    match *kind {
        REQUEST_IDENTITIES => {
            out.push(IDENTITIES_ANSWER);
            1u32.encode(&mut out).ok()?;
            public.encode(&mut out).ok()?;
            "".encode(&mut out).ok()?;
        }
        SIGN_REQUEST => {
            let meant = Vec::<u8>::decode(&mut rest).ok()?;
            let data = Vec::<u8>::decode(&mut rest).ok()?;
            let flags = u32::decode(&mut rest).ok()?;
            let hash = match flags {
                f if f & RSA_SHA2_512 != 0 => Some(HashAlg::Sha512),
                f if f & RSA_SHA2_256 != 0 => Some(HashAlg::Sha256),
                _ => None,
            };
            if meant != public {
                return None;
            }
            out.push(SIGN_RESPONSE);
            sign(key, hash, &data).ok()?.encode(&mut out).ok()?;
        }
        _ => return None,
    }
    Some(out)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use russh::keys::agent::AgentIdentity;
    use russh::keys::agent::client::AgentClient;
    use russh::keys::ssh_key::{Algorithm, EcdsaCurve, LineEnding};

    fn text_of(algorithm: Algorithm) -> (PrivateKey, String) {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap();
        let text = key.to_openssh(LineEnding::LF).unwrap().to_string();
        (key, text)
    }

    #[tokio::test]
    async fn it_shows_and_uses_the_one_key_that_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let (stranger, _) = text_of(Algorithm::Ed25519);
        for algorithm in
            [Algorithm::Ed25519, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }, Algorithm::Rsa { hash: None }]
        {
            let (key, text) = text_of(algorithm.clone());
            let agent = KeyAgent::listen(&socket, &text, None).unwrap();
            assert_eq!(agent.public_key(), key.public_key().to_openssh().unwrap());
            let mut client = AgentClient::connect_uds(agent.socket()).await.unwrap();
            let held = client.request_identities().await.unwrap();
            assert_eq!(held.len(), 1);
            assert_eq!(held[0].public_key().key_data(), key.public_key().key_data());
            let hash = matches!(algorithm, Algorithm::Rsa { .. }).then_some(HashAlg::Sha512);
            let signed = client.sign_request(&held[0], hash, b"text".to_vec()).await.unwrap();
            assert!(signed.len() > 64, "{algorithm:?}");
            let other = AgentIdentity::from(stranger.public_key().clone());
            assert!(client.sign_request(&other, None, b"text".to_vec()).await.is_err());
            assert!(client.add_identity(&stranger, &[]).await.is_err());
            let mut another = AgentClient::connect_uds(agent.socket()).await.unwrap();
            assert_eq!(another.request_identities().await.unwrap().len(), 1);
            drop(agent);
            assert!(!socket.exists());
        }
        assert!(KeyAgent::listen(&socket, "-----BEGIN SECRET", None).is_err_and(|e| !e.to_string().contains("SECRET")));
    }

    proptest! {
        #[test]
        fn any_request_is_answered(kind in 0u8..32, rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            static KEY: std::sync::LazyLock<Arc<PrivateKey>> = std::sync::LazyLock::new(|| Arc::new(text_of(Algorithm::Ed25519).0));
            let request = [&[kind], &rest[..]].concat();
            prop_assert_eq!(answer(&request, &KEY).is_some(), kind == REQUEST_IDENTITIES);
        }
    }
}
