//! Host keys and algorithms.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Digest, Error, ErrorKind, Result};
use russh::keys::ssh_key::private::{Ed25519Keypair, RsaKeypair};
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, cipher, kex, mac};

use super::quirk::Quirk;

/// The host key of a device: the same for the same name and number, in every process.
pub(super) fn ed25519(device: &str, number: u64) -> PrivateKey {
    let seed = Digest::keyed(&[0; 32], &[b"simulated host key", device.as_bytes(), &number.to_le_bytes()]);
    Ed25519Keypair::from_seed(&seed.0).into()
}

/// A key for devices that know nothing newer. Slow to make; devices of a fleet share it.
pub(super) async fn rsa() -> Result<PrivateKey> {
    const BITS: usize = 2048;
    let failed = |why: String| Error::new(ErrorKind::Internal, "make host key", why);
    let made = tokio::task::spawn_blocking(|| RsaKeypair::random(&mut rand::rng(), BITS)).await;
    let pair = made.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(pair.into())
}

/// Whether the quirks leave nothing but an RSA host key.
pub(super) fn needs_rsa(quirks: &[Quirk]) -> bool {
    quirks.iter().any(|q| matches!(q, Quirk::LegacyAlgorithms | Quirk::AncientAlgorithms))
}

pub(super) fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// What IOS XE 17 offers by default, and most devices of the field, before the groups over finite fields.
const OF_TODAY: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G14_SHA256,
    kex::DH_G16_SHA512,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const POST_QUANTUM: &[kex::Name] =
    &[kex::MLKEM768X25519_SHA256, kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];

/// Everything that SSH has to know of a device, worked out before anybody connects.
pub(super) fn server_config(key: PrivateKey, quirks: &[Quirk]) -> Arc<Config> {
    let has = |quirk: &Quirk| quirks.contains(quirk);
    let methods: &[MethodKind] = if has(&Quirk::KeyboardInteractiveOnly) {
        &[MethodKind::KeyboardInteractive]
    } else {
        &[MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive]
    };
    let preferred = if has(&Quirk::AncientAlgorithms) {
        preferred(&[kex::DH_G1_SHA1], &[cipher::TRIPLE_DES_CBC])
    } else if has(&Quirk::LegacyAlgorithms) {
        preferred(&[kex::DH_G14_SHA1], &[cipher::AES_128_CBC, cipher::AES_256_CBC])
    } else if has(&Quirk::PostQuantum) {
        Preferred { kex: Cow::Borrowed(POST_QUANTUM), ..Preferred::default() }
    } else {
        Preferred { kex: Cow::Borrowed(OF_TODAY), ..Preferred::default() }
    };
    Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(methods),
        preferred,
        // Devices of a test need not hide how long they take to reject somebody.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    })
}

fn preferred(kex: &'static [kex::Name], cipher: &'static [cipher::Name]) -> Preferred {
    const MACS: &[mac::Name] = &[mac::HMAC_SHA1];
    const KEYS: &[Algorithm] = &[Algorithm::Rsa { hash: None }];
    Preferred {
        kex: Cow::Borrowed(kex),
        key: Cow::Borrowed(KEYS),
        cipher: Cow::Borrowed(cipher),
        mac: Cow::Borrowed(MACS),
        ..Preferred::default()
    }
}
