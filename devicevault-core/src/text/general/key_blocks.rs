//! Private keys that stand in a text as a file of their own, line by line: secret on every platform.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use memchr::memmem::find;

/// What a frame around a secret key is called, behind `BEGIN` and `END`: PEM (RFC 7468), OpenSSH, SSH2 (RFC 4716), PGP,
/// a PKCS #12 store, and the keys that both ends of OpenVPN share.
const FRAMES: [&[u8]; 6] = [
    b"PRIVATE KEY-----",
    b"PRIVATE KEY ----",
    b"PRIVATE KEY BLOCK-----",
    b"PKCS12-----",
    b"OpenVPN ",
    b"PKCS #12-----",
];

/// Literals that a line with such a frame has, where no part of the name of a secret does.
pub(super) const NEAR: [&str; 3] = ["pkcs12-----", "private-lines: ", "private-mac: "];

/// Whether a line opens such a key. The next line is of the key, unless [`ends_secret_key`] says of this one that it
/// closes it too.
///
/// ```
/// use devicevault_core::text::begins_secret_key;
///
/// assert!(begins_secret_key(b"  key \"-----BEGIN RSA PRIVATE KEY-----"));
/// assert!(begins_secret_key(b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"));
/// assert!(!begins_secret_key(b"-----BEGIN CERTIFICATE-----"));
/// ```
#[must_use]
pub fn begins_secret_key(line: &[u8]) -> bool {
    framed(line, [b"-----BEGIN ", b"---- BEGIN "]) || line.starts_with(b"Private-Lines: ")
}

/// Whether a line closes such a key.
#[must_use]
pub fn ends_secret_key(line: &[u8]) -> bool {
    framed(line, [b"-----END ", b"---- END "]) || line.starts_with(b"Private-MAC: ")
}

fn framed(line: &[u8], signs: [&[u8]; 2]) -> bool {
    let frame = signs.into_iter().filter_map(|sign| find(line, sign)).min().and_then(|at| line.get(at..));
    frame.is_some_and(|frame| FRAMES.iter().any(|name| find(frame, name).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_of_a_secret_key_is_known_and_no_other() {
        for (begin, end) in [
            ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----\""),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"),
            ("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", "---- END SSH2 PRIVATE KEY ----"),
            ("---- BEGIN SSH2 PRIVATE KEY ----", "---- END SSH2 PRIVATE KEY ----"),
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "-----END PGP PRIVATE KEY BLOCK-----"),
            ("-----BEGIN OpenVPN Static key V1-----", "-----END OpenVPN Static key V1-----"),
            ("-----BEGIN OpenVPN tls-crypt-v2 client key-----", "-----END OpenVPN tls-crypt-v2 client key-----"),
            ("-----BEGIN PKCS12-----", "-----END PKCS12-----"),
            ("Private-Lines: 8", "Private-MAC: 00ff"),
        ] {
            assert!(begins_secret_key(begin.as_bytes()) && !ends_secret_key(begin.as_bytes()), "{begin}");
            assert!(ends_secret_key(end.as_bytes()) && !begins_secret_key(end.as_bytes()), "{end}");
        }
        for other in [
            "-----BEGIN CERTIFICATE-----",
            "-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            "---- BEGIN SSH2 PUBLIC KEY ----",
            "---- END SSH2 PUBLIC KEY ----",
            "-----BEGIN DH PARAMETERS-----",
            "! PRIVATE KEY-----",
            "---- BEGIN",
            "",
        ] {
            assert!(!begins_secret_key(other.as_bytes()) && !ends_secret_key(other.as_bytes()), "{other}");
        }
    }
}
