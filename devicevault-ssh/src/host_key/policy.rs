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
    /// Only a key with one of these fingerprints is trusted, whatever is recorded, unless it is revoked.
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

/// What is believed of a server.
#[derive(Debug)]
pub(crate) struct Believed {
    /// What is recorded of it. Revoked keys and authorities of its address are meant wherever that is.
    pub(crate) recorded: Recorded,
    /// Nothing is recorded of it behind these jump hosts: the keys are those of its address alone.
    of_address: bool,
}

impl Believed {
    pub(crate) async fn of(store: &dyn HostKeyStore, server: &Endpoint) -> Result<Self> {
        let mut recorded = store.recorded(server).await?;
        if server.over.is_empty() {
            return Ok(Self { recorded, of_address: false });
        }
        let address = store.recorded(&server.alone()).await?;
        recorded.revoked.extend(address.revoked);
        recorded.authorities.extend(address.authorities);
        let of_address = recorded.keys.is_empty() && !address.keys.is_empty();
        if of_address {
            recorded.keys = address.keys;
        }
        Ok(Self { recorded, of_address })
    }
}

/// Decides on the key that a server offered, and records it on first use.
///
/// Behind jump hosts a key that is recorded of the address alone is believed where it is the offered one, and is this
/// server's from then on. Where it is another one it may be that of a namesake in another network: that is so once it was
/// seen there. Until then the server is refused.
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
    let Believed { mut recorded, of_address } = Believed::of(store, server).await?;
    let fingerprints = |keys: &[HostKey]| keys.iter().map(HostKey::fingerprint).collect();
    // It is not trusted by whatever policy.
    if recorded.revoked.contains(offered) {
        return refuse(HostKeyFault::Revoked, fingerprints(&recorded.keys));
    }
    if let HostKeyPolicy::Pinned(pins) = policy {
        let trusted = pins.iter().any(|p| *p == offered.fingerprint());
        return if trusted { Ok(()) } else { refuse(HostKeyFault::NotPinned, pins.clone()) };
    }
    let first_use = *policy == HostKeyPolicy::FirstUse;
    if of_address && recorded.keys.contains(offered) {
        store.record(server, offered).await?;
    } else if of_address && first_use {
        let elsewhere = store.elsewhere(server).await?;
        if recorded.keys.iter().any(|key| elsewhere.contains(key)) {
            recorded.keys.clear();
        }
    }
    if recorded.keys.is_empty() && recorded.authorities.is_empty() && first_use {
        recorded = store.record(server, offered).await?;
        tracing::info!(server = %server, fingerprint = %offered.fingerprint(), "host key recorded at first use");
    }
    // Somebody may have revoked it meanwhile.
    if recorded.revoked.contains(offered) {
        refuse(HostKeyFault::Revoked, fingerprints(&recorded.keys))
    } else if recorded.keys.contains(offered) {
        Ok(())
    } else if recorded.keys.is_empty() {
        refuse(HostKeyFault::Unknown, Vec::new())
    } else if of_address {
        refuse(HostKeyFault::OfAddress, fingerprints(&recorded.keys))
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

    #[tokio::test]
    async fn what_is_revoked_everywhere_leaves_room_for_a_first_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::KnownHostsFile::new(folder.path().join("known_hosts"));
        store.import(&format!("@revoked * {A}\n")).await.unwrap();
        let (a, b) = (HostKey::from_openssh(A).unwrap(), HostKey::from_openssh(B).unwrap());
        let server = Endpoint::new("r1", 22);
        let first_use = HostKeyPolicy::FirstUse;
        let (why, ..) = fault(judge(&first_use, &store, &server, &a).await).unwrap();
        assert_eq!(why, HostKeyFault::Revoked);
        judge(&first_use, &store, &server, &b).await.unwrap();
        assert_eq!(store.recorded(&server).await.unwrap().keys, [b]);
    }

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
        // What is revoked is trusted by nobody, a pin included.
        let folder = tempfile::tempdir().unwrap();
        let file = crate::KnownHostsFile::new(folder.path().join("known_hosts"));
        file.import(&format!("@revoked r1 {B}\n")).await.unwrap();
        assert_eq!(fault(judge(&pinned, &file, &host, &b).await).unwrap().0, HostKeyFault::Revoked);
    }

    #[tokio::test]
    async fn namesakes_behind_jump_hosts_have_keys_of_their_own() {
        let (a, b) = (HostKey::from_openssh(A).unwrap(), HostKey::from_openssh(B).unwrap());
        let here = Endpoint::new("10.0.0.1", 22);
        let behind = |hop: &str| here.clone().over([Endpoint::new(hop, 22)]);
        let folder = tempfile::tempdir().unwrap();
        let file = crate::KnownHostsFile::new(folder.path().join("known_hosts"));
        let memory = HostKeysInMemory::default();
        let first = HostKeyPolicy::FirstUse;
        for store in [&file as &dyn HostKeyStore, &memory] {
            // A record of before the way counted.
            store.record(&here, &a).await.unwrap();
            let of_address = |r| assert_eq!(fault(r).unwrap().0, HostKeyFault::OfAddress);
            of_address(judge(&first, store, &behind("y"), &b).await);
            assert_eq!(fault(judge(&first, store, &here, &b).await).unwrap().0, HostKeyFault::Changed);
            // It is believed where it is the one that is shown, under strict too, and whose it is is known then.
            judge(&HostKeyPolicy::Strict, store, &behind("x"), &a).await.unwrap();
            of_address(judge(&HostKeyPolicy::Strict, store, &behind("y"), &b).await);
            judge(&first, store, &behind("y"), &b).await.unwrap();
            for (hop, own, other) in [("x", &a, &b), ("y", &b, &a)] {
                judge(&first, store, &behind(hop), own).await.unwrap();
                let changed = judge(&first, store, &behind(hop), other).await;
                assert_eq!(fault(changed), Some((HostKeyFault::Changed, vec![own.fingerprint()], other.fingerprint())));
            }
            // Two hops in one order are another way than in the other.
            let [x, y] = ["x", "y"].map(|hop| Endpoint::new(hop, 22));
            let (xy, yx) = (here.clone().over([x.clone(), y.clone()]), here.clone().over([y, x]));
            assert_ne!(store.record(&xy, &a).await.unwrap(), store.record(&yx, &b).await.unwrap());
        }
        // A wildcard speaks of every namesake.
        let text = format!("10.0.0.* {A}\n");
        let wild = crate::KnownHostsFile::new(folder.path().join("wild"));
        wild.import(&text).await.unwrap();
        judge(&first, &wild, &behind("x"), &a).await.unwrap();
        assert_eq!(fault(judge(&first, &wild, &behind("y"), &b).await).unwrap().0, HostKeyFault::OfAddress);
        // What is revoked of the address is revoked behind every jump host.
        wild.import(&format!("@revoked 10.0.0.1 {A}\n")).await.unwrap();
        assert_eq!(fault(judge(&first, &wild, &behind("x"), &a).await).unwrap().0, HostKeyFault::Revoked);
        // Each is forgotten by itself.
        let forgotten = file.forget(&behind("x")).await.unwrap();
        assert_eq!((forgotten.keys, forgotten.wildcards), (vec![a.fingerprint()], Vec::new()));
        assert_eq!(file.recorded(&behind("y")).await.unwrap().keys, [b]);
        assert_eq!(file.recorded(&here).await.unwrap().keys, [a]);
    }

    #[test]
    fn pins_have_one_form() {
        for bad in ["", "SHA256:", "MD5:aa:bb", "SHA256:short", "sha256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo"] {
            assert!(HostKeyPolicy::pinned(bad).is_err(), "{bad}");
        }
        assert!(HostKeyPolicy::pinned("SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo=").is_ok());
    }
}
