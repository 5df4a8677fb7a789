//! The stored secrets of credentials, sealed under the keys of the home.

use devicevault_core::inventory::Credential;
use devicevault_core::{ExposeSecret, Result, SecretString};
use devicevault_storage::seal::SealedSecrets;

use super::keys::Keys;

fn sealed(credential: &Credential) -> Result<SealedSecrets> {
    let read = credential.sealed.as_deref().map_or_else(|| Ok(SealedSecrets::default()), SealedSecrets::from_bytes);
    read.map_err(|e| e.with("credential", credential.name.escape_debug()))
}

/// Puts secrets into a credential, sealed by the newest key, and takes those out that `keeps` does not name.
///
/// # Errors
/// What is there is damaged, unless nothing of it is kept; no key can be had.
pub(crate) async fn put_secrets(
    keys: &Keys,
    credential: &mut Credential,
    new: &[(&'static str, SecretString)],
    keeps: impl Fn(&str) -> bool,
) -> Result<()> {
    let replaces = |field: &str| new.iter().any(|(f, _)| *f == field);
    let mut all = match sealed(credential) {
        Ok(all) => all,
        // A damaged row is mended by giving every secret anew.
        Err(_)
            if !["password", "private-key", "passphrase", "certificate", "enable"]
                .iter()
                .any(|f| keeps(f) && !replaces(f)) =>
        {
            SealedSecrets::default()
        }
        Err(e) => return Err(e),
    };
    let gone: Vec<String> = all.fields().filter(|f| !keeps(f)).map(str::to_owned).collect();
    gone.iter().for_each(|f| all.remove(f));
    for (field, secret) in new {
        all.put(keys.ring(), &credential.name, field, secret.expose_secret()).await?;
    }
    credential.sealed = all.fields().next().is_some().then(|| all.to_bytes());
    Ok(())
}

/// Seals the stored secrets of a credential under the newest epoch key. How many were not.
///
/// # Errors
/// What is there is damaged, or its key is not at hand.
pub(crate) async fn reseal_secrets(keys: &Keys, credential: &mut Credential) -> Result<usize> {
    let mut all = sealed(credential)?;
    let changed = all.reseal(keys.ring(), &credential.name).await?;
    if changed > 0 {
        credential.sealed = Some(all.to_bytes());
    }
    Ok(changed)
}

/// Opens a stored secret of a credential.
///
/// # Errors
/// `NotFound`, `KeyUnavailable` or `Corrupt`, with the credential's name and the field.
pub(crate) async fn open_secret(keys: &Keys, credential: &Credential, field: &str) -> Result<SecretString> {
    sealed(credential)?.open(keys.ring(), &credential.name, field).await
}

/// Whether a private key opens with this passphrase; `false`: it is encrypted, and none was given.
///
/// # Errors
/// Why it is none, or does not open, in words.
pub(crate) fn private_key_opens(key: &SecretString, passphrase: Option<&SecretString>) -> Result<bool, String> {
    let opens = devicevault_ssh::private_key_opens(key.expose_secret(), passphrase.map(ExposeSecret::expose_secret));
    opens.map_err(|e| e.to_string())
}
