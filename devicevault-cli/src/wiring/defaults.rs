//! What a destination is where nobody says otherwise, and whether its settings can be: decided here for everything that
//! makes or opens one.

use std::collections::BTreeMap;
use std::path::Path;

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, StorageRef, View};
use devicevault_storage::codec::Compression;
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::PlainOptions;

use super::keys::Keys;
use super::{ACCEPT_CLEAR, GIT, OPAQUE_NAMES, PATH, PLAIN, SEAL, git, places, yes_or_no};
use crate::app::BackendSettings;

/// What a new destination of a kind keeps and is set to, unless told otherwise. Of kinds of plugins nothing is known:
/// they keep originals.
pub(crate) fn destination_defaults(kind: &str) -> (View, BTreeMap<String, String>) {
    let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    match kind {
        PLAIN => (View::Original, of(&[(SEAL, "yes"), ("compression", "zstd")])),
        GIT => (View::Redacted, of(&[])),
        _ => (View::Original, of(&[])),
    }
}

/// Sets what was not said as it is unless told otherwise. One that is there already and never had a word on it stays
/// without: what it means is told where it is opened.
pub(crate) fn fill_defaults(config: &mut DestinationConfig, before: Option<&DestinationConfig>) {
    for (name, value) in destination_defaults(&config.kind).1 {
        if before.is_none_or(|b| b.options.contains_key(&name)) {
            config.options.entry(name).or_insert(value);
        }
    }
}

/// Whether a destination is a plain one that was not told to keep what it gets in the clear.
pub(crate) fn seals(config: &DestinationConfig) -> bool {
    config.kind == PLAIN && config.options.get(SEAL).is_none_or(|word| word != "no")
}

/// Whether a reference of a plain destination is that of sealed content: docs/format.md says how it is called.
pub(crate) fn is_sealed_copy(at: &StorageRef) -> bool {
    at.0.ends_with(".dvo")
}

/// How a plain destination is written and read. One of which nobody said whether it is sealed (releases before the
/// word was always written down took that for "no") is sealed in a home that has a key, and what it holds in the clear
/// already is read all the same.
///
/// # Errors
/// `Config` where options are wrong or do not go together, `KeyUnavailable` where it is to be sealed without a key.
pub(super) fn plain_options(config: &DestinationConfig, keys: &Keys) -> Result<PlainOptions> {
    let options = &config.options;
    let word = |name: &str| options.get(name).map(|v| yes_or_no(name, v)).transpose();
    let said = word(SEAL)?;
    // A key that this command was given opens what is there; only a home's own ones seal.
    let has_key = !keys.ring().providers().is_empty();
    let sealed = said.unwrap_or(has_key);
    if sealed && !has_key {
        return Err(Error::new(
            ErrorKind::KeyUnavailable,
            "open destination",
            "it is to be sealed, and there is no key",
        )
        .hint("make one with `devicevault key init`; what is there is read with the key that sealed it: --kek-file"));
    }
    let mut plain = PlainOptions::default().with_keyring(keys.ring().clone());
    if sealed {
        plain = plain.with_sealing(keys.ring().clone());
    }
    let accepts_clear = word(ACCEPT_CLEAR)?.unwrap_or(said.is_none());
    plain = plain.with_opaque_names(word(OPAQUE_NAMES)?.unwrap_or(false)).with_accept_clear(accepts_clear);
    if let Some(name) = options.get("compression") {
        let wanted = super::compression(name)?;
        // What does not go with sealing was chosen when nothing was sealed.
        let fits = said.is_some() || !sealed || wanted != Compression::Gzip;
        plain = plain.with_compression(if fits { wanted } else { Compression::Zstd });
    }
    if let Some(template) = options.get("template") {
        plain = plain.with_template(template.parse()?);
    }
    plain.check().map_err(|e| e.with("destination", &config.name))?;
    Ok(plain)
}

/// Checks all that can be known of a destination before anything is made or asked: its options, and that its folder is
/// not another's and can be one. Kinds of plugins tell when they are opened.
///
/// # Errors
/// `Config` or `Conflict` that names what is wrong.
pub(crate) async fn check_destination(settings: &BackendSettings) -> Result<()> {
    let config = &settings.config;
    let checked = match config.kind.as_str() {
        PLAIN => match (plain_options(config, &settings.keys), places::check(settings)) {
            (Err(e), _) | (_, Err(e)) => Err(e),
            (Ok(_), Ok(None)) => check_folder(config, &settings.path()?).await,
            (Ok(_), Ok(Some(_))) => Ok(()),
        },
        GIT => git::check(settings).and_then(|_| check_reach(&settings.path()?)),
        _ => Ok(()),
    };
    checked.map_err(|e| e.with("destination", &config.name))
}

async fn check_folder(config: &DestinationConfig, folder: &Path) -> Result<()> {
    check_reach(folder)?;
    if !folder.is_dir() {
        return Ok(());
    }
    match LocalStore::destination_of(folder).await? {
        Some(id) if id != config.id => {
            Err(Error::new(ErrorKind::Conflict, "check destination", "the folder belongs to another destination")
                .with(PATH, folder.display())
                .with("other", id)
                .hint("give it a folder of its own"))
        }
        _ => Ok(()),
    }
}

/// Refuses a folder that cannot be: something on the way is no folder, or may not be written in.
fn check_reach(folder: &Path) -> Result<()> {
    let refuse = |why: &str, at: &Path| {
        let e = Error::new(ErrorKind::Config, "check destination", why.to_owned());
        Err(e.with(PATH, folder.display()).with("at", at.display()))
    };
    let Some(there) = folder.ancestors().find(|a| a.symlink_metadata().is_ok()) else { return Ok(()) };
    match there.metadata() {
        Ok(found) if !found.is_dir() => refuse("no folder can be there", there),
        Ok(found) if there != folder && found.permissions().readonly() => refuse("no folder can be made there", there),
        Ok(_) => Ok(()),
        Err(e) => refuse("no folder can be there", there).map_err(|refused| refused.because(e)),
    }
}
