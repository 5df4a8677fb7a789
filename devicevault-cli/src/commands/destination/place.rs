//! Where a destination may lie: apart from others, and from what the home keeps for itself.

use std::path::{Path, PathBuf};

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, SecretRef};

use crate::instance::{CATALOG, Instance, KEY, KNOWN_HOSTS, PLATFORMS, SPOOL};
use crate::keys::elsewhere;
use crate::keys::new::NewKey;
use crate::keys::sources::SOURCES;
use crate::settings;
use crate::wiring;
use crate::wiring::keys::{KEK_FILE, KEYS};

/// Refuses a folder that is not a destination's own, as [`refuse_shared_among`] those of the inventory.
///
/// # Errors
/// `Conflict`; what the inventory answers.
pub(super) async fn refuse_shared(instance: &Instance, config: &DestinationConfig) -> Result<()> {
    refuse_shared_among(&instance.home, config, &instance.inventory.destinations().await?)
}

/// Refuses a folder that is within another destination's or around it, that of one of another kind, and one that holds the
/// home or is the home's own: two copies in one tree are lost together, and each takes the other's files for strays.
///
/// # Errors
/// `Conflict`.
pub(crate) fn refuse_shared_among(home: &Path, config: &DestinationConfig, others: &[DestinationConfig]) -> Result<()> {
    let Some(here) = folder(home, config) else { return Ok(()) };
    let refuse = |why: &str| {
        Error::new(ErrorKind::Conflict, "set up destination", why)
            .with("destination", &config.name)
            .with("path", here.display())
            .hint("give it a folder of its own")
    };
    let home = &settled(home);
    if home.starts_with(&here) {
        return Err(refuse("the home lies in its folder"));
    }
    let own = [KEY, KNOWN_HOSTS, PLATFORMS, SPOOL, SOURCES, KEK_FILE, KEYS, CATALOG, settings::FILE, elsewhere::FILE];
    let first = here.strip_prefix(home).ok().and_then(|rest| rest.iter().next());
    // The catalog has files and a folder beside it, named after it.
    let beside_catalog = first.is_some_and(|name| name.to_string_lossy().starts_with(CATALOG));
    if beside_catalog || first.is_some_and(|name| own.iter().any(|own| name == *own)) {
        return Err(refuse("the home keeps its own files there"));
    }
    for other in others.iter().filter(|d| d.name != config.name && d.id != config.id) {
        let Some(there) = folder(home, other) else { continue };
        if here == there && other.kind != config.kind {
            return Err(refuse("it is the folder of another destination").with("other", &other.name));
        }
        // Of two of one kind in one place, the marker that lies there tells whose it is.
        if here != there && (here.starts_with(&there) || there.starts_with(&here)) {
            return Err(refuse("it shares its folder with another destination").with("other", &other.name));
        }
    }
    Ok(())
}

/// Refuses a place for a key that is within a destination: who copies what is sealed would copy what opens it.
///
/// # Errors
/// `Conflict` that names the destination; what the inventory answers.
pub(crate) async fn refuse_key_inside(instance: &Instance, key: &Path) -> Result<()> {
    let (home, key) = (settled(&instance.home), settled(key));
    let all = instance.inventory.destinations().await?;
    match all.iter().find(|d| folder(&home, d).is_some_and(|folder| key.starts_with(folder))) {
        None => Ok(()),
        Some(d) => Err(Error::new(ErrorKind::Conflict, "keep key apart", "its file would lie within a destination")
            .with("path", key.display())
            .with("destination", &d.name)
            .hint("whoever copies what is sealed there would copy the key with it: name a place apart from it")),
    }
}

/// The same for a new key, or what gives it, where that is in a file.
///
/// # Errors
/// As [`refuse_key_inside`].
pub(crate) async fn refuse_new_key_inside(instance: &Instance, key: &NewKey) -> Result<()> {
    match key {
        NewKey::Generate(Some(file)) => refuse_key_inside(instance, file).await,
        NewKey::Use(SecretRef::File(file))
        | NewKey::Passphrase(Some(SecretRef::File(file)))
        | NewKey::Token { pin: Some(SecretRef::File(file)), .. } => refuse_key_inside(instance, Path::new(file)).await,
        _ => Ok(()),
    }
}

/// Where a destination is, told in one way only, so that two of one place are told apart from two places.
pub(crate) fn place_apart(home: &Path, config: &DestinationConfig) -> Option<String> {
    match folder(home, config) {
        Some(folder) => Some(folder.display().to_string()),
        None => config.options.get(wiring::URL).map(|url| url.trim_end_matches('/').to_owned()),
    }
}

/// The folder of a destination that has one on this machine.
fn folder(home: &Path, config: &DestinationConfig) -> Option<PathBuf> {
    Some(settled(&home.join(config.options.get("path")?)))
}

/// The path without links and detours, as far as it is there.
pub(crate) fn settled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|a| Some((a.canonicalize().ok()?, path.strip_prefix(a).ok()?)));
    // Joining nothing would add a slash.
    there.map_or_else(|| path.clone(), |(real, rest)| rest.iter().fold(real, |at, part| at.join(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_link_leads_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("store")).unwrap();
        std::os::unix::fs::symlink(real.join("store"), real.join("link")).unwrap();
        assert_eq!(settled(&real.join("link/sub/x")), real.join("store/sub/x"));
        assert_eq!(settled(&real.join("store/.")), real.join("store"));
    }
}
