//! The few cryptographic functions that the format is made of.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac, rand};
use devicevault_core::{Error, ErrorKind, Result};
use zeroize::Zeroize;

/// Length of a GCM tag in bytes.
pub(super) const TAG: usize = 16;

/// 32 secret bytes; wiped when dropped, not shown by `Debug`.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// From bytes that are a key already.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From a slice of exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// A new random one.
    ///
    /// # Errors
    /// `Internal` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self(random()?))
    }

    /// The bytes: for storing the key where keys are kept, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA-256 under this key.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        parts.iter().for_each(|part| mac.update(part));
        let mut out = [0; 32];
        out.iter_mut().zip(mac.sign().as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    /// Another key for one purpose, from this one.
    pub(super) fn derive(&self, parts: &[&[u8]]) -> Self {
        Self(self.mac(parts))
    }

    pub(super) fn cipher(&self) -> Result<Cipher> {
        let refused = |e| {
            Error::new(ErrorKind::Internal, "set up cipher", "the cryptographic library refused the key").because(e)
        };
        Ok(Cipher(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0).map_err(refused)?)))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// AES-256-GCM under one key. Whoever calls it sees to nonces that do not repeat.
pub(super) struct Cipher(LessSafeKey);

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(…)")
    }
}

impl Cipher {
    /// Encrypts in place and appends the tag.
    pub(super) fn seal(&self, nonce: [u8; 12], aad: &[u8], text: &mut Vec<u8>) -> Result<()> {
        let refused = |e| Error::new(ErrorKind::Internal, "encrypt", "the cryptographic library refused").because(e);
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text).map_err(refused)
    }

    /// Checks the tag at the end, decrypts in place and cuts the tag off. `None`: the tag is wrong, and the buffer is
    /// emptied, so that nothing unchecked is left to be read.
    pub(super) fn open(&self, nonce: [u8; 12], aad: &[u8], text: &mut Vec<u8>) -> Option<()> {
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text);
        let len = match opened {
            Ok(plain) => plain.len(),
            Err(_) => {
                text.zeroize();
                return None;
            }
        };
        text.truncate(len);
        Some(())
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    let refused = |e| Error::new(ErrorKind::Internal, "draw random bytes", "the operating system gave none").because(e);
    rand::fill(&mut out).map_err(refused)?;
    Ok(out)
}

/// Compares without telling by its duration where the first difference is.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}
