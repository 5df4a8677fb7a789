//! When a host key is trusted.

use super::{HostKey, HostKeyStore, Recorded};
use crate::error::HostKeyFault;
use crate::{Endpoint, Result, SshError};

/// How an unknown host key is met. A key other than the recorded one is refused under each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HostKeyPolicy {
    /// Only recorded keys are trusted.
    Strict,
    /// The first key that a server shows is recorded.
    #[default]
    FirstUse,
    /// Only a key with one of these fingerprints is trusted, whatever is recorded.
    Pinned(Vec<String>),
}

impl HostKeyPolicy {
    /// Pins fingerprints of the form `SHA256:…`, separated by blanks or commas.
    ///
    /// # Errors
    /// `Config` when one has another form.
    pub fn pinned(fingerprints: &str) -> Result<Self> {
        let list: Vec<_> = fingerprints
            .split([' ', ','])
            .filter(|f| !f.is_empty())
            .map(|f| f.trim_end_matches('=').to_owned())
            .collect();
        // 32 bytes are 43 characters of base64 without padding.
        let well_formed = |f: &String| f.strip_prefix("SHA256:").is_some_and(|d| d.len() == 43 && d.is_ascii());
        if list.is_empty() || !list.iter().all(well_formed) {
            return Err(SshError::Config {
                message: format!(
                    "'{}' is not a fingerprint of the form SHA256:…, as `ssh-keygen -l` shows it",
                    fingerprints.escape_debug()
                ),
            });
        }
        Ok(Self::Pinned(list))
    }
}

/// Decides on the key that a server offered, and records it on first use.
pub(crate) async fn judge(
    policy: &HostKeyPolicy,
    store: &dyn HostKeyStore,
    server: &Endpoint,
    offered: &HostKey,
) -> Result<()> {
    let refuse = |fault, recorded: Vec<String>| {
        Err(SshError::HostKeyRejected {
            endpoint: server.to_string(),
            fault,
            recorded,
            offered: offered.fingerprint(),
            recorded_in: store.place(),
        })
    };
    if let HostKeyPolicy::Pinned(pins) = policy {
        let trusted = pins.iter().any(|p| *p == offered.fingerprint());
        return if trusted { Ok(()) } else { refuse(HostKeyFault::NotPinned, pins.clone()) };
    }
    let mut recorded = store.recorded(server).await?;
    if recorded == Recorded::nothing() && *policy == HostKeyPolicy::FirstUse {
        recorded = store.record(server, offered).await?;
        tracing::info!(server = %server, fingerprint = %offered.fingerprint(), "host key recorded at first use");
    }
    let fingerprints = |keys: &[HostKey]| keys.iter().map(HostKey::fingerprint).collect();
    if recorded.revoked.contains(offered) {
        refuse(HostKeyFault::Revoked, fingerprints(&recorded.keys))
    } else if recorded.keys.contains(offered) {
        Ok(())
    } else if recorded.keys.is_empty() {
        refuse(HostKeyFault::Unknown, Vec::new())
    } else {
        refuse(HostKeyFault::Changed, fingerprints(&recorded.keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_key::HostKeysInMemory;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn fault(r: Result<()>) -> Option<(HostKeyFault, Vec<String>, String)> {
        match r.unwrap_err() {
            SshError::HostKeyRejected { fault, recorded, offered, .. } => Some((fault, recorded, offered)),
            _ => None,
        }
    }

    #[tokio::test]
    async fn each_policy_decides_as_it_says() {
        let (a, b) = (HostKey::from_openssh(A).unwrap(), HostKey::from_openssh(B).unwrap());
        let host = Endpoint::new("r1", 22);
        let store = HostKeysInMemory::default();
        let strict = judge(&HostKeyPolicy::Strict, &store, &host, &a).await;
        assert_eq!(fault(strict), Some((HostKeyFault::Unknown, vec![], a.fingerprint())));
        judge(&HostKeyPolicy::FirstUse, &store, &host, &a).await.unwrap();
        judge(&HostKeyPolicy::Strict, &store, &host, &a).await.unwrap();
        for policy in [HostKeyPolicy::FirstUse, HostKeyPolicy::Strict] {
            let changed = judge(&policy, &store, &host, &b).await;
            assert_eq!(fault(changed), Some((HostKeyFault::Changed, vec![a.fingerprint()], b.fingerprint())));
        }
        let pinned = HostKeyPolicy::pinned(&b.fingerprint()).unwrap();
        judge(&pinned, &store, &host, &b).await.unwrap();
        let other = judge(&pinned, &store, &host, &a).await;
        assert_eq!(fault(other), Some((HostKeyFault::NotPinned, vec![b.fingerprint()], a.fingerprint())));
    }

    #[test]
    fn pins_have_one_form() {
        for bad in ["", "SHA256:", "MD5:aa:bb", "SHA256:short", "sha256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo"] {
            assert!(HostKeyPolicy::pinned(bad).is_err(), "{bad}");
        }
        assert!(HostKeyPolicy::pinned("SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo=").is_ok());
    }
}
