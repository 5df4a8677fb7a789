//! Backing up one device into a folder, with nothing before it. The folder holds what a person looks for, originals in
//! clear with their manifests; a small instance in `.devicevault/` beneath it remembers host keys, the instance key and
//! an index, so that the next run sees what changed.

use std::path::{Path, PathBuf};

use devicevault_core::inventory::{DestinationConfig, Selector};
use devicevault_core::{Device, Error, ErrorKind, Result, View};

use crate::commands::destination;
use crate::context::Context;
use crate::instance::Instance;
use crate::wiring;
use crate::wiring::found;

/// The folder of backups, as the instance beneath it names it.
pub(crate) const FOLDER: &str = "..";
/// The instance's folder, in the folder of backups.
pub(crate) const STATE: &str = ".devicevault";
/// What says that a folder is a destination.
const MARKER: &str = ".devicevault-destination";
/// The port of SSH (RFC 4253, section 4.2).
const SSH_PORT: u16 = 22;

/// The instance of a folder, made where there is none.
///
/// # Errors
/// The folder cannot be written.
pub(crate) async fn open(context: &Context, folder: &Path) -> Result<Instance> {
    let state = state(folder)?;
    // There is one destination, on the disk that the spool would be on.
    let instance = if Instance::exists(&state) {
        Instance::open(context, &state).await?
    } else {
        refuse_taken(folder)?;
        Instance::create(context, &state, &[destination()]).await?
    };
    Ok(instance.without_parking())
}

/// Refuses a folder that is something else already: originals in clear, which nobody expects there, would lie within what
/// is sealed or without secrets.
fn refuse_taken(folder: &Path) -> Result<()> {
    let settled = destination::settled(folder);
    for (depth, above) in settled.ancestors().enumerate() {
        let what = if Instance::exists(above) {
            "a home"
        } else if found::is_repository(above) || above.join(".git").exists() {
            "a Git repository"
        } else if depth > 0 && above.join(MARKER).is_file() {
            "a destination"
        } else {
            continue;
        };
        return Err(Error::new(ErrorKind::Conflict, "open folder", format!("it is {what}, or lies in one"))
            .with("path", folder.display())
            .with("found", above.display())
            .hint("name a folder of its own: originals are stored there in clear"));
    }
    Ok(())
}

/// Where a folder's instance is.
///
/// # Errors
/// `Config` where the path is none, or the instance's folder is a link that somebody planted.
pub(crate) fn state(folder: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder).map_err(|e| {
        Error::new(ErrorKind::Config, "open folder", "the path cannot be made absolute")
            .with("path", folder.display())
            .because(e)
    })?;
    let state = folder.join(STATE);
    if state.is_symlink() {
        return Err(Error::new(ErrorKind::Conflict, "open folder", "the folder of its index is a symbolic link")
            .with("path", state.display())
            .hint("remove the link: what it leads to is not this folder's"));
    }
    Ok(state)
}

/// Originals, in clear.
fn destination() -> DestinationConfig {
    DestinationConfig::new("folder", "plain", View::Original)
        .with_option("path", FOLDER)
        .with_option("compression", "none")
        .with_option(wiring::SEAL, "no")
}

/// What a device is called that was given no name: its host, and its port where that is not SSH's own, so that two
/// devices behind one address stay two.
pub(crate) fn name_of(host: &str, port: Option<u16>) -> String {
    match port {
        Some(port) if port != SSH_PORT => format!("{host}_{port}"),
        _ => host.to_owned(),
    }
}

/// Keeps the device in the folder's inventory, so that its history can be asked for; its identity is its name.
///
/// # Errors
/// What the inventory answers.
pub(crate) async fn remember(instance: &Instance, device: &Device) -> Result<()> {
    let mut selector = Selector::default();
    selector.names.insert(device.name.clone());
    let known = instance.inventory.devices(&selector).await?;
    if known.first() != Some(device) {
        instance.inventory.put_devices(std::slice::from_ref(device)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let make = |at: &str| {
            let path = dir.path().join(at);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for file in ["home/catalog.db", "store/.devicevault-destination", "git/HEAD"] {
            make(file);
        }
        std::fs::create_dir(dir.path().join("git/objects")).unwrap();
        for (folder, free) in [
            ("own", true),
            ("a/b/c", true),
            // What it is the destination of, the marker tells where it is opened.
            ("store", true),
            ("store/sub", false),
            ("home", false),
            ("home/x", false),
            ("git", false),
            ("git/refs", false),
        ] {
            assert_eq!(refuse_taken(&dir.path().join(folder)).is_ok(), free, "{folder}");
        }
    }

    #[test]
    fn devices_behind_one_address_have_names_of_their_own() {
        assert_eq!(name_of("192.0.2.1", None), "192.0.2.1");
        assert_eq!(name_of("192.0.2.1", Some(22)), "192.0.2.1");
        assert_eq!(name_of("192.0.2.1", Some(2222)), "192.0.2.1_2222");
    }
}
