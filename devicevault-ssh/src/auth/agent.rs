//! Keys that an SSH agent holds (draft-miller-ssh-agent).

use russh::Signer;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{Certificate, HashAlg, PublicKey};
use russh::{AgentAuthError, MethodKind};

use super::{Login, closed};
use crate::credentials::Agent;
use crate::error::shown;
use crate::{Result, SshError};

/// So many keys are offered where none is chosen: a server counts refused ones, and ends the login after a few.
const MOST: usize = 5;

type Client = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// Offers the keys of an agent, one after the other. `certificate` is of one of them.
pub(super) async fn offer(login: &mut Login<'_>, agent: &Agent, certificate: Option<Certificate>) -> Result<bool> {
    let mut client = connect(agent).await?;
    let all = client.request_identities().await.map_err(|e| failed("does not tell its keys", e))?;
    let offered = chosen(all, agent, certificate)?;
    for identity in offered {
        let Some(hash) = login.hash(identity.public_key().algorithm().is_rsa()).await? else { continue };
        let (user, handle) = (login.user, &mut *login.handle);
        let tried = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                handle.authenticate_publickey_with(user, key, hash, &mut client).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                handle.authenticate_certificate_with(user, certificate, hash, &mut OfKey(&mut client)).await
            }
        };
        let result = tried.map_err(|e| match e {
            AgentAuthError::Send(e) => closed(e, login.farewell),
            AgentAuthError::Key(e) => failed("did not sign", e),
        })?;
        if login.tried("the agent's keys", result)? {
            return Ok(true);
        }
        if login.partly || !login.offers(MethodKind::PublicKey) {
            break;
        }
    }
    Ok(false)
}

async fn connect(agent: &Agent) -> Result<Client> {
    #[cfg(unix)]
    {
        let at = agent.socket.display().to_string();
        let connected = AgentClient::connect_uds(&agent.socket).await;
        connected.map(AgentClient::dynamic).map_err(|e| failed(&format!("at {} does not answer", shown(&at)), e))
    }
    #[cfg(not(unix))]
    {
        let _ = agent;
        Err(SshError::Agent { message: "is not supported on this system".to_owned(), source: None })
    }
}

/// Which identities are offered, in which order: certificates before bare keys.
fn chosen(mut all: Vec<AgentIdentity>, agent: &Agent, certificate: Option<Certificate>) -> Result<Vec<AgentIdentity>> {
    let fingerprint = |i: &AgentIdentity| i.public_key().fingerprint(HashAlg::Sha256).to_string();
    if !agent.keys.is_empty() {
        let there: Vec<String> = all.iter().map(|i| format!("{} {}", fingerprint(i), shown(i.comment()))).collect();
        all.retain(|i| agent.keys.contains(&fingerprint(i)) || agent.keys.contains(i.comment()));
        if all.is_empty() {
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(SshError::Agent {
                message: format!("holds none of the chosen keys; it has {there}"),
                source: None,
            });
        }
    }
    if all.is_empty() {
        return Err(SshError::Agent { message: "holds no keys".to_owned(), source: None });
    }
    if let Some(certificate) = certificate {
        if !all.iter().any(|i| i.public_key().key_data() == certificate.public_key()) {
            let message = "does not hold the key of the certificate".to_owned();
            return Err(SshError::Agent { message, source: None });
        }
        all.insert(0, certificate.into());
    }
    all.sort_by_key(|i| matches!(i, AgentIdentity::PublicKey { .. }));
    if agent.keys.is_empty() && all.len() > MOST {
        tracing::warn!(
            keys = all.len(),
            offered = MOST,
            "the SSH agent holds many keys; choose one by its fingerprint"
        );
        all.truncate(MOST);
    }
    Ok(all)
}

fn failed(what: &str, e: russh::keys::Error) -> SshError {
    SshError::Agent { message: what.to_owned(), source: Some(std::sync::Arc::new(e)) }
}

/// Signs for a certificate with the key in it, where the agent does not know the certificate itself.
struct OfKey<'a>(&'a mut Client);

impl Signer for OfKey<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        match self.0.sign_request(identity, hash, data.clone()).await {
            Ok(signed) => Ok(signed),
            Err(_) => {
                let key = PublicKey::new(identity.public_key().key_data().clone(), "");
                Ok(self.0.sign_request(&key.into(), hash, data).await?)
            }
        }
    }
}
