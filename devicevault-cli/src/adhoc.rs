//! Backing up one device into a folder, with nothing before it. The folder holds what a person looks for, originals in
//! clear with their manifests; a small instance in `.devicevault/` beneath it remembers host keys, the instance key and
//! an index, so that the next run sees what changed.

use std::path::{Path, PathBuf};

use devicevault_core::inventory::{DestinationConfig, Selector};
use devicevault_core::{Device, Error, ErrorKind, Result, View};

use crate::commands::destination;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::sources::KeySources;
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
        let wrong = |e: Error| {
            e.hint("what else is named there would be written to, and its programs run: remove .devicevault in the folder; \
                    the next backup makes it anew")
        };
        let index = own_index(context, &state).await?;
        index.map_err(|why| wrong(refused(&state, why)))?.0
    } else {
        refuse_taken(folder)?;
        Instance::create(context, &state, &[destination()]).await?
    };
    Ok(instance.without_parking())
}

/// The instance of a folder that is looked at, where it is such as [`open`] makes.
///
/// # Errors
/// `Conflict` where it is another; it cannot be opened.
pub(crate) async fn index(context: &Context, folder: &Path, state: &Path) -> Result<Instance> {
    let (own, found) = (destination(), found::destination_at(folder).await?);
    if found.kind != own.kind || found.options.get(wiring::SEAL) != own.options.get(wiring::SEAL) {
        return Err(refused(state, "the folder is none of those that have one"));
    }
    let (instance, its) = own_index(context, state).await?.map_err(|why| refused(state, why))?;
    if its.id != found.id {
        return Err(refused(state, ELSEWHERE));
    }
    Ok(instance)
}

const ELSEWHERE: &str = "it has other destinations than this folder";

fn refused(state: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, "open index", format!("{why}, and it is not believed"))
        .with("path", state.display())
}

/// The instance beneath a folder and its destination, where that is the only one, is the folder itself with its originals in
/// clear, and there are no keys; else why it is none. Others may have written the folder: what such an instance names
/// besides would be read and written in the folder's place, and programs be run for its secrets.
async fn own_index(
    context: &Context,
    state: &Path,
) -> Result<std::result::Result<(Instance, DestinationConfig), &'static str>> {
    if KeySources::exist(state) {
        return Ok(Err("it has keys"));
    }
    let instance = Instance::open(context, state).await?;
    let own = destination();
    let is_own = |option: (&String, &String)| own.options.get_key_value(option.0) == Some(option);
    let mut all = instance.inventory.destinations().await?;
    Ok(match (all.pop(), all.is_empty()) {
        (Some(one), true)
            if (&one.kind, one.view) == (&own.kind, own.view)
                && one.options.contains_key(wiring::PATH)
                && one.options.iter().all(is_own) =>
        {
            Ok((instance, one))
        }
        _ => Err(ELSEWHERE),
    })
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
