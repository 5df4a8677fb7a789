//! Logging in: each credential is offered once and never again.

mod agent;
mod holder;
mod interactive;
mod keys;
mod password;
mod question;

use std::sync::atomic::{AtomicBool, Ordering};

use russh::client::{AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};

pub use holder::KeyAgent;
pub(crate) use keys::Keys;
use keys::Signs;
pub use keys::{private_key_is_of_hardware, private_key_opens};
pub use question::{Asked, asked};

use crate::connection::{Farewell, Guard};
use crate::overhear::Overheard;
use crate::{Credentials, Profile, Result, SshError};

const STEP: &str = "log in";

/// A login that is under way.
struct Login<'a> {
    handle: &'a mut Handle<Guard>,
    user: &'a str,
    profile: Profile,
    farewell: &'a Farewell,
    heard: &'a Overheard,
    /// The methods that the server goes on with.
    offered: MethodSet,
    /// What it did not accept.
    refused: Vec<&'static str>,
    /// A credential was accepted, and the server wants another one.
    partly: bool,
    /// What the server says of signatures by RSA keys, once it was asked.
    rsa: Rsa,
    /// Whether the password was given.
    given: &'a AtomicBool,
}

/// Signatures of RSA keys that a server takes (RFC 8308, server-sig-algs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rsa {
    NotAsked,
    /// It does not say: it may be from before RFC 8332 and take SHA-1 alone. Others take SHA-1 alone and say otherwise.
    Unannounced,
    /// SHA-1 alone, which the profile does not give.
    WeakOnly,
    Hash(Option<HashAlg>),
}

/// The conversation of RFC 4252. `none` is asked first: its answer tells which methods there are, so that a password
/// is never sent by a second method after a first one refused it.
pub(crate) async fn log_in(
    handle: &mut Handle<Guard>,
    credentials: &Credentials,
    keys: Keys,
    profile: Profile,
    (farewell, heard): (&Farewell, &Overheard),
    given: &AtomicBool,
) -> Result<()> {
    let user = credentials.username.as_str();
    let (offered, refused) = (MethodSet::empty(), Vec::new());
    let doubt = keys.doubt.clone();
    let mut login =
        Login { handle, user, profile, farewell, heard, offered, refused, partly: false, rsa: Rsa::NotAsked, given };
    let asked = login.handle.authenticate_none(user).await;
    if login.settled(asked.map_err(|e| closed(e, farewell))?)? || login.by_keys(credentials, keys).await? {
        return Ok(());
    }
    if let Some(password) = &credentials.password {
        let mut sent = false;
        if login.offers(MethodKind::Password) {
            let tried = password::offer(&mut login, password).await?;
            if login.tried("the password", tried)? {
                return Ok(());
            }
            sent = true;
        }
        // After a refused password it would be the same one again.
        let refused = login.refused.contains(&"the password");
        if login.offers(MethodKind::KeyboardInteractive) && !refused {
            return interactive::answer(&mut login, password, sent).await;
        }
    }
    let (refused, user) = (&login.refused, user.escape_debug());
    let nothing_set =
        credentials.private_key.is_none() && credentials.password.is_none() && credentials.agent.is_none();
    if login.rsa == Rsa::WeakOnly && refused.is_empty() && credentials.password.is_none() {
        return Err(SshError::Unsupported {
            what: "signature of an RSA key",
            ours: vec!["rsa-sha2-512".to_owned(), "rsa-sha2-256".to_owned()],
            theirs: vec!["ssh-rsa".to_owned()],
            profile: Some(Profile::Legacy),
        });
    }
    let message = match refused.as_slice() {
        _ if login.partly => format!("the device wants one more credential of user '{user}' than are set"),
        [] if nothing_set => format!("the device asks user '{user}' for a credential, and none is set"),
        [] => "the device takes none of the credentials that are set".to_owned(),
        list => format!("the device did not accept {} of user '{user}'", list.join(" and ")),
    };
    let message = match login.rsa {
        Rsa::WeakOnly => {
            format!("{message}; of an RSA key it takes SHA-1 signatures alone, as the profile legacy gives")
        }
        Rsa::Unannounced | Rsa::Hash(_) if profile == Profile::Modern => {
            format!("{message}; if it takes SHA-1 signatures of RSA keys alone, the profile legacy gives them")
        }
        _ => message,
    };
    let message = match doubt {
        Some(why) if !refused.is_empty() => format!("{message}; {why}"),
        _ => message,
    };
    Err(login.rejected(&message))
}

impl Login<'_> {
    /// From now on silence may be that of a server that refuses the password.
    fn password_given(&self) {
        self.given.store(true, Ordering::Relaxed);
    }

    fn offers(&self, method: MethodKind) -> bool {
        self.offered.contains(&method)
    }

    /// Offers what proves itself by a signature: the certificate, the key, what an agent holds.
    async fn by_keys(&mut self, credentials: &Credentials, mut keys: Keys) -> Result<bool> {
        if !self.offers(MethodKind::PublicKey) {
            return Ok(false);
        }
        if let Some(key) = keys.private.clone()
            && let Some(hash) = self.hash(key.algorithm().is_rsa()).await?
        {
            if let Some(certificate) = keys.certificate.take() {
                let mut signer = Signs(key.clone());
                let tried = self.handle.authenticate_certificate_with(self.user, certificate, hash, &mut signer).await;
                if self.tried("the certificate", tried.map_err(|e| closed(e, self.farewell))?)? {
                    return Ok(true);
                }
            }
            // An old server may announce what it does not take. It is asked before anything is signed, so that the
            // second question is no second attempt.
            let weak = key.algorithm().is_rsa() && hash.is_some() && self.profile > Profile::Modern;
            for hash in [Some(hash), weak.then_some(None)].into_iter().flatten() {
                // A server that took the certificate and wants more is not asked for a second key.
                if self.offers(MethodKind::PublicKey) && !self.partly {
                    let signed = PrivateKeyWithHashAlg::new(key.clone(), hash);
                    let tried = self.handle.authenticate_publickey(self.user, signed).await;
                    if self.tried("the key", tried.map_err(|e| closed(e, self.farewell))?)? {
                        return Ok(true);
                    }
                }
            }
        }
        match &credentials.agent {
            Some(agent) if self.offers(MethodKind::PublicKey) && !self.partly => {
                agent::offer(self, agent, keys.certificate.take()).await
            }
            _ => Ok(false),
        }
    }

    /// The hash of a signature, which an RSA key has to be told; `None`: the profile gives none that the server takes.
    async fn hash(&mut self, rsa: bool) -> Result<Option<Option<HashAlg>>> {
        if !rsa {
            return Ok(Some(None));
        }
        if self.rsa == Rsa::NotAsked {
            let announced = self.handle.best_supported_rsa_hash().await.map_err(|e| closed(e, self.farewell))?;
            self.rsa = match announced {
                Some(None) if self.profile == Profile::Modern => Rsa::WeakOnly,
                Some(hash) => Rsa::Hash(hash),
                None => Rsa::Unannounced,
            };
        }
        Ok(match self.rsa {
            Rsa::Hash(hash) => Some(hash),
            Rsa::WeakOnly | Rsa::NotAsked => None,
            Rsa::Unannounced if self.profile == Profile::Modern => Some(Some(HashAlg::Sha512)),
            Rsa::Unannounced => Some(None),
        })
    }

    /// Notes what came of a credential. `true`: the login is complete.
    fn tried(&mut self, what: &'static str, result: AuthResult) -> Result<bool> {
        let partly = matches!(result, AuthResult::Failure { partial_success: true, .. });
        let done = self.settled(result)?;
        if partly {
            self.partly = true;
        } else if !done && !self.refused.contains(&what) {
            self.refused.push(what);
        }
        Ok(done)
    }

    /// Notes the methods to go on with. `true`: the login is complete.
    fn settled(&mut self, result: AuthResult) -> Result<bool> {
        match result {
            AuthResult::Success => Ok(true),
            AuthResult::Failure { remaining_methods, .. } => {
                self.offered = remaining_methods;
                // A server may answer a refused credential by closing: sending it again would only lock the account.
                if self.offered.is_empty() && self.handle.is_closed() {
                    return Err(self.rejected("the device closed the connection instead of answering the login"));
                }
                Ok(false)
            }
        }
    }

    fn rejected(&self, message: &str) -> SshError {
        let offered: Vec<String> = self.offered.iter().map(String::from).collect();
        let mut message = message.to_owned();
        if !offered.is_empty() {
            message.push_str(&format!("; it offers {}", offered.join(", ")));
        }
        if let Some(said) = self.farewell.said() {
            message.push_str(&format!("; it says: {said}"));
        }
        SshError::AuthRejected { message, offered }
    }
}

fn closed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>, farewell: &Farewell) -> SshError {
    SshError::Closed { step: STEP, said: farewell.said(), source: Some(e.into().into()) }
}
