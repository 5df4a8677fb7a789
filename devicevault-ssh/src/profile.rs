//! Which algorithms are offered.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use crate::host_key::HostKey;
use crate::kexinit::Offer;
use crate::{Result, SshError};

/// A set of algorithms, by how old the equipment is that needs it. Each holds the one before it and adds its own names
/// at the end, so that a better algorithm wins wherever the server has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Profile {
    /// Nothing that rests on SHA-1, CBC or DSA.
    #[default]
    Modern,
    /// Adds group14-sha1 and group-exchange-sha1, AES-CBC, hmac-sha1 and ssh-rsa signatures.
    Legacy,
    /// Adds group1-sha1, 3DES-CBC and ssh-dss.
    Ancient,
}

impl Profile {
    /// From the newest to the oldest.
    pub const ALL: [Self; 3] = [Self::Modern, Self::Legacy, Self::Ancient];

    /// `modern`, `legacy` or `ancient`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
            Self::Ancient => "ancient",
        }
    }

    /// What is offered; host key algorithms for which a key is `recorded` come first, so that a server with several
    /// keys shows the one that can be compared. Host certificates are asked for where there is an authority to check
    /// them by.
    pub(crate) fn preferred(self, recorded: &[HostKey], certificates: bool) -> Preferred {
        // The order of the finite-field groups is by cost: group18 takes an old processor many seconds.
        let mut kexes = vec![
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::ECDH_SHA2_NISTP256,
            kex::ECDH_SHA2_NISTP384,
            kex::ECDH_SHA2_NISTP521,
            kex::DH_GEX_SHA256,
            kex::DH_G14_SHA256,
            kex::DH_G15_SHA512,
            kex::DH_G16_SHA512,
            kex::DH_G17_SHA512,
            kex::DH_G18_SHA512,
        ];
        // AES-GCM moves twice as many bytes as ChaCha20 wherever the processor has instructions for it.
        let mut ciphers = vec![
            cipher::AES_256_GCM,
            cipher::AES_128_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_192_CTR,
            cipher::AES_128_CTR,
        ];
        let mut macs = vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];
        let mut keys = vec![
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ];
        if self >= Self::Legacy {
            kexes.extend([kex::DH_G14_SHA1, kex::DH_GEX_SHA1]);
            ciphers.extend([cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC]);
            macs.extend([mac::HMAC_SHA1_ETM, mac::HMAC_SHA1]);
            keys.push(Algorithm::Rsa { hash: None });
        }
        if self >= Self::Ancient {
            kexes.push(kex::DH_G1_SHA1);
            ciphers.push(cipher::TRIPLE_DES_CBC);
            keys.push(Algorithm::Dsa);
        }
        // Not algorithms: how strict key exchange and signature algorithms are announced (RFC 8308, OpenSSH PROTOCOL).
        kexes.extend([
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]);
        keys.sort_by_key(|a| !recorded.iter().any(|k| k.verifies(a)));
        let certified = if certificates { keys.clone() } else { Vec::new() };
        Preferred {
            kex: Cow::Owned(kexes),
            key: Cow::Owned(keys),
            host_key_certificates: Cow::Owned(certified),
            cipher: Cow::Owned(ciphers),
            mac: Cow::Owned(macs),
            compression: Cow::Borrowed(&[compression::NONE, compression::ZLIB, compression::ZLIB_LEGACY]),
        }
    }

    /// The first profile with an algorithm of every kind in common with the server.
    pub(crate) fn that_works_with(offer: &Offer) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.first_gap(offer).is_none())
    }

    /// What both sides settle on: of each kind, the first of ours that the server has (RFC 4253, section 7.1).
    pub(crate) fn agreed(self, recorded: &[HostKey], offer: &Offer) -> Option<Algorithms> {
        let ours = self.preferred(recorded, false);
        fn first<'a>(mut ours: impl Iterator<Item = &'a str>, theirs: &[String]) -> Option<String> {
            ours.find(|n| theirs.iter().any(|t| t == n)).map(str::to_owned)
        }
        Some(Algorithms {
            key_exchange: first(ours.kex.iter().map(AsRef::as_ref), &offer.kex)?,
            host_key: first(ours.key.iter().map(Algorithm::as_str), &offer.host_key)?,
            cipher: first(ours.cipher.iter().map(AsRef::as_ref), &offer.cipher_out)?,
            mac: first(ours.mac.iter().map(AsRef::as_ref), &offer.mac_out).unwrap_or_default(),
        })
    }

    /// The first kind of algorithm of which nothing is in common, with both lists.
    pub(crate) fn first_gap(self, offer: &Offer) -> Option<(&'static str, Vec<String>, Vec<String>)> {
        let ours = self.preferred(&[], false);
        let extension = |n: &&str| !n.starts_with("ext-info-") && !n.starts_with("kex-strict-");
        let kexes: Vec<_> = ours.kex.iter().map(AsRef::as_ref).filter(extension).map(str::to_owned).collect();
        let keys: Vec<_> = ours.key.iter().map(|a| a.as_str().to_owned()).collect();
        let ciphers: Vec<_> = ours.cipher.iter().map(|n| n.as_ref().to_owned()).collect();
        let macs: Vec<_> = ours.mac.iter().map(|n| n.as_ref().to_owned()).collect();
        let gap = |ours: &[String], theirs: &[String]| !ours.iter().any(|o| theirs.contains(o));
        let checks = [
            ("key exchange", kexes, &offer.kex),
            ("host key", keys, &offer.host_key),
            ("cipher", ciphers.clone(), &offer.cipher_out),
            ("cipher", ciphers, &offer.cipher_in),
        ];
        for (what, ours, theirs) in checks {
            if gap(&ours, theirs) {
                let theirs = theirs.iter().filter(|n| extension(&n.as_str())).cloned().collect();
                return Some((what, ours, theirs));
            }
        }
        // Ciphers with a MAC of their own need none from the list (RFC 5647, chacha20-poly1305@openssh.com).
        let own_mac = |n: &String| n.contains("-gcm@") || n.starts_with("chacha20-poly1305");
        for (cipher, theirs) in [(&offer.cipher_out, &offer.mac_out), (&offer.cipher_in, &offer.mac_in)] {
            let chosen = ours.cipher.iter().map(|n| n.as_ref().to_owned()).find(|n| cipher.contains(n));
            if !chosen.as_ref().is_some_and(own_mac) && gap(&macs, theirs) {
                return Some(("MAC", macs, theirs.clone()));
            }
        }
        None
    }
}

/// The algorithms of a connection. Ciphers that authenticate by themselves leave the MAC without use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Algorithms {
    /// Key exchange.
    pub key_exchange: String,
    /// Kind of the host key.
    pub host_key: String,
    /// Cipher.
    pub cipher: String,
    /// Message authentication.
    pub mac: String,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = SshError;
    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == s).ok_or_else(|| SshError::Config {
            message: format!("'{}' is not an SSH profile: modern, legacy or ancient", s.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn older_profiles_only_append() {
        let [modern, legacy, ancient] = Profile::ALL.map(|p| p.preferred(&[], false));
        let weak = ["sha1", "cbc", "ssh-dss", "3des", "md5"];
        for list in [names(&modern.kex), names(&modern.cipher), names(&modern.mac)] {
            assert!(list.iter().all(|n| weak.iter().all(|w| !n.contains(w))), "{list:?}");
        }
        assert!(!modern.key.contains(&Algorithm::Rsa { hash: None }));
        for (newer, older) in [(&modern, &legacy), (&legacy, &ancient)] {
            assert!(older.cipher.starts_with(&newer.cipher));
            assert!(older.mac.starts_with(&newer.mac));
            assert!(older.key.starts_with(&newer.key));
            assert!(older.kex.len() > newer.kex.len());
        }
        for p in [modern, legacy, ancient] {
            assert!(p.kex.contains(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT));
        }
    }

    #[test]
    fn the_profile_that_works_is_the_newest_one() {
        let list = |s: &str| s.split(',').map(str::to_owned).collect::<Vec<_>>();
        let offer = |kex: &str, key: &str, cipher: &str, mac: &str| Offer {
            kex: list(kex),
            host_key: list(key),
            cipher_out: list(cipher),
            cipher_in: list(cipher),
            mac_out: list(mac),
            mac_in: list(mac),
        };
        let works = |o: &Offer| Profile::that_works_with(o);
        assert_eq!(
            works(&offer("curve25519-sha256", "ssh-ed25519", "aes256-gcm@openssh.com", "none")),
            Some(Profile::Modern)
        );
        assert_eq!(works(&offer("curve25519-sha256", "ssh-rsa", "aes256-ctr", "hmac-sha1")), Some(Profile::Legacy));
        assert_eq!(
            works(&offer("diffie-hellman-group14-sha1", "ssh-dss", "aes256-ctr", "hmac-sha1")),
            Some(Profile::Ancient)
        );
        assert_eq!(works(&offer("curve25519-sha256", "ssh-ed25519", "arcfour", "hmac-sha1")), None);
        let gap = Profile::Modern.first_gap(&offer("curve25519-sha256", "ssh-dss", "x", "y"));
        assert_eq!(gap.map(|g| g.0), Some("host key"));
        let agreed =
            Profile::Legacy.agreed(&[], &offer("x,curve25519-sha256", "ssh-rsa", "aes128-ctr,aes256-ctr", "hmac-sha1"));
        let agreed = agreed.unwrap();
        assert_eq!((agreed.key_exchange.as_str(), agreed.host_key.as_str()), ("curve25519-sha256", "ssh-rsa"));
        assert_eq!((agreed.cipher.as_str(), agreed.mac.as_str()), ("aes256-ctr", "hmac-sha1"));
    }
}
