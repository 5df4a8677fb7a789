//! Private key and certificate: read before anything is sent.

use std::sync::Arc;

use russh::Signer;
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, decode_secret_key};

use crate::error::shown;
use crate::{Credentials, Result, SshError};

/// What proves itself by a signature.
pub(crate) struct Keys {
    pub(super) private: Option<Arc<PrivateKey>>,
    pub(super) certificate: Option<Certificate>,
    /// Why a server may refuse the certificate.
    pub(super) doubt: Option<String>,
}

impl Keys {
    /// Reads what credentials hold. `now` is in seconds since 1970.
    pub(crate) fn read(credentials: &Credentials, now: Option<u64>) -> Result<Self> {
        let private = private_key(credentials)?;
        let certificate = certificate(credentials)?;
        if let Some(certificate) = &certificate {
            match &private {
                None if credentials.agent.is_none() => {
                    return Err(SshError::config("a certificate needs its private key, or an agent that holds it"));
                }
                Some(key) if key.public_key().key_data() != certificate.public_key() => {
                    return Err(SshError::config("the certificate is not one of this private key"));
                }
                _ => {}
            }
        }
        let doubt = certificate.as_ref().and_then(|c| doubt(c, &credentials.username, now));
        Ok(Self { private, certificate, doubt })
    }
}

/// Why a server may refuse a certificate. It is offered all the same: the server's clock may be another, and which
/// principals a user has is its affair.
fn doubt(certificate: &Certificate, user: &str, now: Option<u64>) -> Option<String> {
    if let Some(late) = now.and_then(|now| now.checked_sub(certificate.valid_before())) {
        return Some(format!("the certificate expired {} ago", spoken(late)));
    }
    if let Some(early) = now.and_then(|now| certificate.valid_after().checked_sub(now)).filter(|early| *early > 0) {
        return Some(format!("the certificate is not valid before {} have passed", spoken(early)));
    }
    let names = certificate.valid_principals();
    if names.is_empty() {
        return Some("the certificate names no user".to_owned());
    }
    let names: Vec<String> = names.iter().filter(|name| *name != user).map(|name| shown(name)).collect();
    let named = names.len() < certificate.valid_principals().len();
    (!named).then(|| format!("the certificate is for {}", names.join(", ")))
}

/// A time in seconds, as people say it.
fn spoken(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7200 => (seconds / 60, "minutes"),
        7200..172_800 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

/// Whether a private key opens with this passphrase; `false`: it is encrypted, and none was given.
///
/// # Errors
/// It is no private key, or the passphrase is not the one of it. No error quotes either.
pub fn private_key_opens(text: &str, passphrase: Option<&str>) -> Result<bool> {
    let begins = text.trim_start();
    let public = ["ssh-", "ecdsa-", "sk-", "-----BEGIN PUBLIC", "-----BEGIN SSH2 PUBLIC", "---- BEGIN SSH2 PUBLIC"];
    if public.iter().any(|p| begins.starts_with(p)) {
        return Err(SshError::config("it is a public key: the private one lies beside it, without .pub in its name"));
    }
    let encrypted = match decode_secret_key(text, None) {
        Ok(_) => return Ok(true),
        Err(russh::keys::Error::KeyIsEncrypted) => true,
        Err(_) => begins.contains("ENCRYPTED"),
    };
    match passphrase {
        None if encrypted => Ok(false),
        Some(passphrase) if decode_secret_key(text, Some(passphrase)).is_ok() => Ok(true),
        Some(_) if encrypted => Err(SshError::config("the passphrase does not open the private key")),
        _ => Err(SshError::config("it is no private key of OpenSSH, PKCS#1, PKCS#8 or SEC1")),
    }
}

/// Whether a private key lies in a piece of hardware, and the text only names it there: it is no secret, and nobody signs by
/// it alone. A passphrase need not be known for that.
#[must_use]
pub fn private_key_is_of_hardware(text: &str) -> bool {
    let is_sk = |key: PrivateKey| matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
    PrivateKey::from_openssh(text).is_ok_and(is_sk)
}

fn private_key(credentials: &Credentials) -> Result<Option<Arc<PrivateKey>>> {
    let Some(text) = &credentials.private_key else { return Ok(None) };
    decoded(text, credentials.passphrase.as_ref().map(|p| p.as_str())).map(Some)
}

/// The private key that a text is.
///
/// # Errors
/// It is none, or the passphrase does not open it.
pub(super) fn decoded(text: &str, passphrase: Option<&str>) -> Result<Arc<PrivateKey>> {
    match decode_secret_key(text, passphrase) {
        Ok(key) => Ok(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            Err(SshError::config("the private key is encrypted and no passphrase is set"))
        }
        // The library's reasons may quote the key's text.
        Err(_) => Err(SshError::config(
            "the private key cannot be read: it is none of OpenSSH, PKCS#1, PKCS#8 and SEC1, or the passphrase is wrong",
        )),
    }
}

fn certificate(credentials: &Credentials) -> Result<Option<Certificate>> {
    let Some(text) = &credentials.certificate else { return Ok(None) };
    let certificate = Certificate::from_openssh(text.trim()).map_err(|_| {
        SshError::config("the certificate is not one in OpenSSH's form (a file that ends in -cert.pub)")
    })?;
    if certificate.cert_type() != CertType::User {
        return Err(SshError::config("the certificate is a host's, not a user's"));
    }
    Ok(Some(certificate))
}

/// Signs with a private key, for certificates of RSA keys too: there the hash is to be chosen.
pub(super) struct Signs(pub(super) Arc<PrivateKey>);

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error("the connection ended")]
    Closed(#[from] russh::SendError),
    #[error("the key does not sign")]
    Key,
}

impl Signer for Signs {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        sign(&self.0, hash, &data)?.encode(&mut data).map_err(|_| SignError::Key)?;
        Ok(data)
    }
}

/// The signature of data, as it goes over the wire. `hash` is that of an RSA key.
pub(super) fn sign(key: &PrivateKey, hash: Option<HashAlg>, data: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(data).map_err(|_| SignError::Key)?,
        _ => key.try_sign(data).map_err(|_| SignError::Key)?,
    };
    Vec::<u8>::try_from(signature).map_err(|_| SignError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_read_is_told_without_its_text() {
        let credentials = Credentials::new("u").with_private_key("-----BEGIN RSA SECRETSECRET", None);
        let Err(e) = Keys::read(&credentials, None) else { panic!("it was read") };
        assert!(!format!("{e} {e:?} {credentials:?}").contains("SECRETSECRET"));
    }

    #[test]
    fn what_is_no_private_key_is_told_apart() {
        for (text, says) in [
            ("", "no private key"),
            ("hunter2\n", "no private key"),
            ("ssh-ed25519 AAAAC3Nz backup@host\n", "public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "no private key"),
        ] {
            for passphrase in [None, Some("x")] {
                let e = private_key_opens(text, passphrase).unwrap_err().to_string();
                assert!(e.contains(says) && !e.contains("hunter2"), "{text}: {e}");
            }
        }
    }

    #[test]
    fn times_are_told_in_units_that_fit() {
        for (seconds, said) in
            [(0, "0 seconds"), (119, "119 seconds"), (600, "10 minutes"), (86_400, "24 hours"), (864_000, "10 days")]
        {
            assert_eq!(spoken(seconds), said);
        }
    }

    #[test]
    fn a_certificate_alone_proves_nothing() {
        for text in ["", "ssh-ed25519 AAAA", "ssh-ed25519-cert-v01@openssh.com AAAA"] {
            assert!(Keys::read(&Credentials::new("u").with_certificate(text), None).is_err(), "{text}");
        }
    }
}
