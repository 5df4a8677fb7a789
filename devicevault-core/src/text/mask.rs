//! Masks for secrets.

use std::fmt;

use crate::{DeviceId, Digest};

/// The key of this instance under which contents are tied and secrets are masked.
///
/// Whoever has it can test guesses at masked secrets, so it is kept like a password: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceKey([u8; 32]);

impl InstanceKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Ties views of one content together; see [`Manifest::content`](crate::Manifest::content).
    #[must_use]
    pub fn content(&self, clean: &Digest) -> Digest {
        Digest::keyed(&self.0, &[b"devicevault content v1", &clean.0])
    }

    /// A key for one purpose, such as `spool`: of no use for any other, and it tells nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        Digest::keyed(&self.0, &[b"devicevault derived v1", purpose.as_bytes()]).0
    }

    /// What manifests name this instance by, unless it is given another name: 16 hexadecimal digits, which differ between
    /// keys and tell nothing of them.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = Digest(self.derive("name")).to_string();
        name.truncate(16);
        name
    }

    /// The mask of a secret: `<secret:…>` with 12 hexadecimal digits, which change with the secret, differ between
    /// devices that share it, and say nothing to whoever lacks this key.
    #[must_use]
    pub fn mask(&self, device: &DeviceId, secret: &[u8]) -> String {
        format!("<secret:{}>", self.mark(device, secret))
    }

    /// The digits of a [`mask`](Self::mask).
    pub(crate) fn mark(&self, device: &DeviceId, secret: &[u8]) -> String {
        let digest = Digest::keyed(&self.0, &[b"devicevault mask v1", device.0.as_bytes(), secret]);
        let mut mark = digest.to_string();
        mark.truncate(12);
        mark
    }
}

/// The mask of a secret that the device shows differently each time.
pub(crate) const RESALTED: &str = "<secret>";

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_follows_device_and_secret_and_hides_both() {
        let key = InstanceKey::new([7; 32]);
        let (a, b) = (DeviceId::from("a"), DeviceId::from("b"));
        assert_eq!(key.mask(&a, b"s3cret"), key.mask(&a, b"s3cret"));
        assert_ne!(key.mask(&a, b"s3cret"), key.mask(&a, b"s3cres"));
        assert_ne!(key.mask(&a, b"s3cret"), key.mask(&b, b"s3cret"));
        assert_ne!(key.mask(&a, b"s3cret"), InstanceKey::new([8; 32]).mask(&a, b"s3cret"));
        assert_eq!(format!("{key:?}"), "InstanceKey(…)");
        assert_eq!(key.derive("spool"), key.derive("spool"));
        assert_ne!(key.derive("spool"), key.derive("credentials"));
        assert_ne!(key.derive("spool"), InstanceKey::new([8; 32]).derive("spool"));
    }
}
