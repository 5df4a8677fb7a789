//! Host certificates (OpenSSH's PROTOCOL.certkeys), checked by the authorities of known_hosts.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, HashAlg, PublicKey};

use super::{Believed, HostKey, HostKeyPolicy, HostKeyStore, judge};
use crate::error::HostKeyFault;
use crate::{Endpoint, Result, SshError};

/// Decides on a certificate that a server offered. One of an authority that is not recorded is worth what its key is.
///
/// `now` is in seconds since 1970.
pub(crate) async fn judge_certificate(
    policy: &HostKeyPolicy,
    store: &dyn HostKeyStore,
    server: &Endpoint,
    certificate: &Certificate,
    now: u64,
) -> Result<()> {
    let key = HostKey::new(&PublicKey::new(certificate.public_key().clone(), ""));
    let authority = HostKey::new(&PublicKey::new(certificate.signature_key().clone(), ""));
    let recorded = Believed::of(store, server).await?.recorded;
    if !recorded.authorities.contains(&authority) || matches!(policy, HostKeyPolicy::Pinned(_)) {
        return judge(policy, store, server, &key).await;
    }
    let fault = if recorded.revoked.contains(&key) || recorded.revoked.contains(&authority) {
        HostKeyFault::Revoked
    } else {
        match fault(certificate, &server.host, now) {
            None => return Ok(()),
            Some(why) => HostKeyFault::Certificate(why),
        }
    };
    Err(SshError::HostKeyRejected {
        endpoint: server.to_string(),
        fault,
        recorded: recorded.authorities.iter().map(HostKey::fingerprint).collect(),
        offered: key.fingerprint(),
        recorded_in: store.place(),
    })
}

/// Why a certificate of a trusted authority is not one of this host.
fn fault(certificate: &Certificate, host: &str, now: u64) -> Option<&'static str> {
    let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.cert_type() != CertType::Host {
        Some("it is a user's")
    } else if now < certificate.valid_after() {
        Some("it is not valid yet")
    } else if now >= certificate.valid_before() {
        Some("it has expired")
    } else if certificate.validate_at(now, [&signer]).is_err() {
        Some("its signature is wrong")
    } else if !certificate.critical_options().is_empty() {
        Some("it has conditions that are not known here")
    } else if certificate.valid_principals().is_empty() {
        // OpenSSH once took it for a certificate of every host there is.
        Some("it names no host")
    } else if !certificate.valid_principals().iter().any(|p| p.eq_ignore_ascii_case(host)) {
        Some("it is for other hosts")
    } else {
        None
    }
}
