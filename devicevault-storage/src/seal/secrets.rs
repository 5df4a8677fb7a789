//! The secrets of one credential, sealed: what lies in the catalog.
//!
//! Each secret is encrypted with AES-256-GCM under a key of its own, made of an epoch key and 32 random bytes. The
//! credential's name and the field are authenticated with it: a secret that is moved to another row or field does not
//! open. A secret is filled up to a multiple of 128 bytes before, so that its length does not show. Replacing
//! key-encryption keys touches none of it, as with everything else that is sealed; a new epoch key seals what is written
//! from then on.

use std::collections::BTreeMap;

use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::crypto::{Key, random};
use super::keys::{EpochId, Keyring};

/// The format that this release writes. In the first, every secret was as long as it is.
const FORMAT: u32 = 2;
/// A key is derived for this and nothing else.
const PURPOSE: &[u8] = b"devicevault credential v2";
const PURPOSE_OF_BARE: &[u8] = b"devicevault credential v1";
/// A secret is filled up to a multiple of this.
const STEP: usize = 128;
/// Longer ones are refused: private keys are the longest.
const MAX_SECRET: usize = 64 << 10;
/// So many bytes of a row are looked at.
const MAX_BYTES: usize = 1 << 20;

/// Sealed secrets by the names of their fields. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecrets {
    format: u32,
    fields: BTreeMap<String, Sealed>,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    epoch: EpochId,
    salt: String,
    sealed: String,
    /// Whether it was filled up; the secrets of the first format were not.
    #[serde(default)]
    filled: bool,
}

impl Sealed {
    fn purpose(&self) -> &'static [u8] {
        if self.filled { PURPOSE } else { PURPOSE_OF_BARE }
    }
}

impl Default for SealedSecrets {
    fn default() -> Self {
        Self { format: FORMAT, fields: BTreeMap::new() }
    }
}

impl SealedSecrets {
    /// Reads what a catalog holds.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged, `Unsupported` when a newer release wrote it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, "read sealed secrets", "they are damaged").hint(ENTER_ANEW);
        if bytes.len() > MAX_BYTES {
            return Err(corrupt().with("bytes", bytes.len()));
        }
        // The parser's own words may quote what stands there, which is nobody's secret, but may be anything.
        let read: Self = serde_json::from_slice(bytes).map_err(|_| corrupt())?;
        if read.format > FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "read sealed secrets", "a newer release wrote them")
                .hint("upgrade this program"));
        }
        Ok(read)
    }

    /// As a catalog holds it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serialising plain data into memory has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The fields that have a secret.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// Takes a secret away.
    pub fn remove(&mut self, field: &str) {
        self.fields.remove(field);
    }

    /// Seals a secret of a credential under the newest epoch key, in place of the one that the field has.
    ///
    /// # Errors
    /// `KeyUnavailable` without a key; `TooLarge` beyond 64 KiB.
    pub async fn put(&mut self, keys: &Keyring, credential: &str, field: &str, secret: &str) -> Result<()> {
        if secret.len() > MAX_SECRET {
            return Err(Error::new(ErrorKind::TooLarge, "seal secret", "it is longer than a secret may be")
                .with("limit", MAX_SECRET));
        }
        let (epoch, key) = keys.current().await?;
        let salt: [u8; 32] = random()?;
        let mut text = filled(secret);
        // A key of its own seals nothing else, so that its one nonce does not repeat.
        derived(PURPOSE, &key, &salt).cipher()?.seal([0; 12], &bound(PURPOSE, epoch, credential, field), &mut text)?;
        let sealed = Sealed { epoch, salt: hex::encode(salt), sealed: hex::encode(text), filled: true };
        self.fields.insert(field.to_owned(), sealed);
        self.format = FORMAT;
        Ok(())
    }

    /// Seals anew what is not sealed under the newest epoch key. How many secrets.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`put`](Self::put); nothing is changed then.
    pub async fn reseal(&mut self, keys: &Keyring, credential: &str) -> Result<usize> {
        let (newest, _) = keys.current().await?;
        let older = self.fields.iter().filter(|(_, sealed)| sealed.epoch != newest).map(|(field, _)| field.clone());
        let (older, mut anew): (Vec<_>, _) = (older.collect(), self.clone());
        for field in &older {
            let secret = self.open(keys, credential, field).await?;
            anew.put(keys, credential, field, secret.expose_secret()).await?;
        }
        *self = anew;
        Ok(older.len())
    }

    /// Opens a secret of a credential.
    ///
    /// # Errors
    /// `NotFound` when the field has none, `KeyUnavailable` when its key is not at hand, `Corrupt` when it is damaged or
    /// was sealed for another credential or field.
    pub async fn open(&self, keys: &Keyring, credential: &str, field: &str) -> Result<SecretString> {
        let about = |e: Error| e.with("credential", credential.escape_debug()).with("field", field.escape_debug());
        let missing = || Error::new(ErrorKind::NotFound, "open secret", "there is none").hint(ENTER_ANEW);
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "open secret", "it is damaged, or was sealed for another place")
                .hint(ENTER_ANEW)
        };
        let place = self.fields.get(field).ok_or_else(|| about(missing()))?;
        let Sealed { epoch, salt, sealed, .. } = place;
        let purpose = place.purpose();
        let key = keys.epoch(*epoch).await.map_err(about)?;
        let salt = hex::decode(salt).ok().and_then(|s| <[u8; 32]>::try_from(s).ok());
        let salt = salt.ok_or_else(|| about(damaged()))?;
        let mut text = Zeroizing::new(hex::decode(sealed).map_err(|_| about(damaged()))?);
        let bound = bound(purpose, *epoch, credential, field);
        derived(purpose, &key, &salt).cipher()?.open([0; 12], &bound, &mut text).ok_or_else(|| about(damaged()))?;
        if place.filled {
            empty(&mut text).ok_or_else(|| about(damaged()))?;
        }
        let secret = String::from_utf8(std::mem::take(&mut *text)).map_err(|e| {
            e.into_bytes().zeroize();
            about(damaged())
        })?;
        Ok(SecretString::from(secret))
    }
}

const ENTER_ANEW: &str = "enter it anew with `devicevault credential rotate`";

/// The secret's length in four bytes, the secret, and nothing until the next step.
fn filled(secret: &str) -> Vec<u8> {
    let length = (4 + secret.len()).next_multiple_of(STEP);
    // Grown no more, so that no part of it stays behind in memory that was given back.
    let mut text = Vec::with_capacity(length + super::crypto::TAG);
    text.extend((secret.len() as u32).to_be_bytes());
    text.extend_from_slice(secret.as_bytes());
    text.resize(length, 0);
    text
}

/// Undoes [`filled`].
fn empty(text: &mut Vec<u8>) -> Option<()> {
    let length = u32::from_be_bytes(*text.first_chunk()?) as usize;
    let end = length.checked_add(4).filter(|end| *end <= text.len())?;
    text.copy_within(4..end, 0);
    text.get_mut(length..)?.zeroize();
    text.truncate(length);
    Some(())
}

fn derived(purpose: &[u8], epoch: &Key, salt: &[u8; 32]) -> Key {
    epoch.derive(&[purpose, salt])
}

/// What is authenticated beside a secret. Lengths stand before names, so that no two places read the same.
fn bound(purpose: &[u8], epoch: EpochId, credential: &str, field: &str) -> Vec<u8> {
    let mut all = [purpose, &epoch.0.as_bytes()[..]].concat();
    for name in [credential, field] {
        all.extend((name.len() as u64).to_be_bytes());
        all.extend(name.as_bytes());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use proptest::prelude::*;

    fn ring() -> Keyring {
        let ring = Keyring::new(vec![std::sync::Arc::new(super::super::keys::Kek::generate().unwrap())]);
        let providers = ring.providers().to_vec();
        block_on(ring.create_epoch(&providers, devicevault_core::Timestamp::UNIX_EPOCH)).unwrap();
        ring
    }

    fn sealed(ring: &Keyring, credential: &str, field: &str, secret: &str) -> SealedSecrets {
        let mut all = SealedSecrets::default();
        block_on(all.put(ring, credential, field, secret)).unwrap();
        all
    }

    fn open(all: &SealedSecrets, ring: &Keyring, credential: &str, field: &str) -> Result<String> {
        block_on(all.open(ring, credential, field)).map(|s| s.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let ring = ring();
        let all = sealed(&ring, "switches", "password", "hunter2");
        let all = SealedSecrets::from_bytes(&all.to_bytes()).unwrap();
        assert_eq!(open(&all, &ring, "switches", "password").unwrap(), "hunter2");
        assert_eq!(open(&all, &ring, "routers", "password").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(open(&all, &ring, "switches", "enable").unwrap_err().kind(), ErrorKind::NotFound);
        let mut moved = all.clone();
        let secret = moved.fields.remove("password").unwrap();
        moved.fields.insert("enable".to_owned(), secret);
        assert_eq!(open(&moved, &ring, "switches", "enable").unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(!String::from_utf8(all.to_bytes()).unwrap().contains("hunter2"));
    }

    #[test]
    fn old_secrets_open_after_a_new_epoch_and_not_with_the_keys_of_another() {
        let ring = ring();
        let mut all = sealed(&ring, "c", "password", "old");
        let providers = ring.providers().to_vec();
        block_on(ring.create_epoch(&providers, devicevault_core::Timestamp::UNIX_EPOCH)).unwrap();
        block_on(all.put(&ring, "c", "enable", "new")).unwrap();
        assert_ne!(all.fields["password"].epoch, all.fields["enable"].epoch);
        assert_eq!(open(&all, &ring, "c", "password").unwrap(), "old");
        assert_eq!(open(&all, &ring, "c", "enable").unwrap(), "new");
        let stranger = self::ring();
        let e = open(&all, &stranger, "c", "password").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::KeyUnavailable);
        assert!(format!("{e:?}").contains(&all.fields["password"].epoch.to_string()));
    }

    #[test]
    fn the_length_of_a_secret_does_not_show() {
        let ring = ring();
        let length = |secret: &str| sealed(&ring, "c", "password", secret).fields["password"].sealed.len();
        assert!((0..=124).all(|n| length(&"x".repeat(n)) == length("")));
        assert!(length(&"x".repeat(125)) > length(""));
    }

    #[test]
    fn secrets_of_the_first_format_open() {
        let ring = ring();
        let (epoch, key) = block_on(ring.current()).unwrap();
        for secret in ["", "hunter2", "\u{0}\u{0}\u{0}\u{1}x"] {
            let mut text = secret.as_bytes().to_vec();
            let bound = bound(PURPOSE_OF_BARE, epoch, "c", "password");
            derived(PURPOSE_OF_BARE, &key, &[7; 32]).cipher().unwrap().seal([0; 12], &bound, &mut text).unwrap();
            let (salt, text) = (hex::encode([7; 32]), hex::encode(text));
            let row = format!(
                r#"{{"format":1,"fields":{{"password":{{"epoch":"{epoch}","salt":"{salt}","sealed":"{text}"}}}}}}"#
            );
            let mut all = SealedSecrets::from_bytes(row.as_bytes()).unwrap();
            assert_eq!(open(&all, &ring, "c", "password").unwrap(), secret);
            block_on(all.put(&ring, "c", "enable", "new")).unwrap();
            let mut all = SealedSecrets::from_bytes(&all.to_bytes()).unwrap();
            assert_eq!(open(&all, &ring, "c", "password").unwrap(), secret);
            assert_eq!(open(&all, &ring, "c", "enable").unwrap(), "new");
            all.fields.get_mut("password").unwrap().filled = true;
            assert_eq!(open(&all, &ring, "c", "password").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn every_changed_byte_of_what_is_sealed_is_found() {
        let ring = ring();
        let all = sealed(&ring, "c", "password", "hunter2");
        let Sealed { salt, sealed: text, .. } = all.fields["password"].clone();
        let flip = |hex: &str, at: usize| {
            let mut bytes = hex::decode(hex).unwrap();
            bytes[at] ^= 1;
            hex::encode(bytes)
        };
        for at in 0..salt.len() / 2 {
            let mut changed = all.clone();
            changed.fields.get_mut("password").unwrap().salt = flip(&salt, at);
            assert_eq!(open(&changed, &ring, "c", "password").unwrap_err().kind(), ErrorKind::Corrupt);
        }
        for at in 0..text.len() / 2 {
            let mut changed = all.clone();
            changed.fields.get_mut("password").unwrap().sealed = flip(&text, at);
            assert_eq!(open(&changed, &ring, "c", "password").unwrap_err().kind(), ErrorKind::Corrupt);
            changed.fields.get_mut("password").unwrap().sealed = text[..2 * at].to_owned();
            assert_eq!(open(&changed, &ring, "c", "password").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn what_is_too_long_or_too_new_is_refused() {
        let ring = ring();
        let mut all = SealedSecrets::default();
        let e = block_on(all.put(&ring, "c", "password", &"x".repeat(MAX_SECRET + 1))).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TooLarge);
        block_on(all.put(&ring, "c", "password", &"x".repeat(MAX_SECRET))).unwrap();
        assert_eq!(open(&all, &ring, "c", "password").unwrap().len(), MAX_SECRET);
        block_on(all.put(&ring, "c", "empty", "")).unwrap();
        assert_eq!(open(&all, &ring, "c", "empty").unwrap(), "");
        let e = SealedSecrets::from_bytes(br#"{"format":3,"fields":{}}"#).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        let e = SealedSecrets::from_bytes(&vec![b' '; MAX_BYTES + 1]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn any_bytes_are_sealed_secrets_or_an_error(bytes: Vec<u8>) {
            let _ = SealedSecrets::from_bytes(&bytes);
        }

        #[test]
        fn what_was_filled_is_emptied(secret: String, noise: Vec<u8>) {
            let mut text = filled(&secret);
            prop_assert_eq!(text.len() % STEP, 0);
            prop_assert_eq!(empty(&mut text), Some(()));
            prop_assert_eq!(text, secret.into_bytes());
            let _ = empty(&mut noise.clone());
        }

        #[test]
        fn no_two_places_are_bound_alike(a in "[a-c]{0,4}", b in "[a-c]{0,4}", c in "[a-c]{0,4}", d in "[a-c]{0,4}") {
            let epoch = EpochId::generate();
            prop_assert_eq!(bound(PURPOSE, epoch, &a, &b) == bound(PURPOSE, epoch, &c, &d), (a, b) == (c, d));
        }
    }
}
