//! `devicevault init`

use std::fs::TryLockError;
use std::path::Path;

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, View};
use serde::Serialize;

use super::key;
use crate::context::Context;
use crate::instance::{CATALOG, Instance, KEY, KNOWN_HOSTS, PLATFORMS, SPOOL};
use crate::keys::elsewhere;
use crate::keys::kit;
use crate::keys::lock::{LOCK, SWEEP};
use crate::keys::noted;
use crate::keys::sources::SOURCES;
use crate::ui::escape;
use crate::wiring::keys::{KEK_FILE, KEYS};
use crate::{Exit, files, settings, wiring};

/// Set up a home: a sealed store for originals, a Git repository for people, and a recovery kit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault init                          in ~/.local/share/devicevault
  devicevault --home /srv/devicevault init  somewhere else; name it again by --home or DEVICEVAULT_HOME")]
pub(crate) struct InitArgs {}

#[derive(Debug, Serialize)]
struct Made {
    home: String,
    destinations: Vec<DestinationConfig>,
    /// It holds the key that opens the store: to be taken away from here.
    recovery_kit: String,
}

pub(crate) async fn run(context: &Context, _args: &InitArgs) -> Result<Exit> {
    let home = context.home()?;
    let instance = make(context, home, &sealed_destinations()).await?;
    let kit = key::export::write(context, &instance, None).await?;
    if context.ui.is_json() {
        let recovery_kit = kit.display().to_string();
        let destinations = sealed_destinations().to_vec();
        context.ui.json(&Made { home: home.display().to_string(), destinations, recovery_kit })?;
    } else if !context.ui.is_quiet() {
        context.ui.line(&told(home, &kit))?;
    }
    Ok(Exit::Done)
}

/// Makes a home with these destinations.
///
/// # Errors
/// `AlreadyExists` where there is one, or the folder holds something else.
pub(crate) async fn make(context: &Context, home: &Path, destinations: &[DestinationConfig]) -> Result<Instance> {
    let refuse = |why: &str| {
        Err(Error::new(ErrorKind::AlreadyExists, "set up home", why)
            .with("folder", home.display())
            .hint("name another folder by --home DIR, or use what is there"))
    };
    files::make_private_folder(home)?;
    let failed = |e| files::failed(&e, "lock home", "it cannot be locked", home);
    let folder = std::fs::File::open(home).map_err(failed)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return refuse("another program is setting it up at this moment"),
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    if Instance::exists(home) {
        return refuse("there is a home in this folder already");
    }
    // What an `init` that was cut off left is gone on with.
    let ours = [
        KEY,
        KNOWN_HOSTS,
        PLATFORMS,
        SPOOL,
        settings::FILE,
        KEYS,
        KEK_FILE,
        SOURCES,
        LOCK,
        SWEEP,
        elsewhere::FILE,
        noted::FILE,
        "store",
        "git",
    ];
    let foreign = files::entries(home)?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !ours.contains(&&*name) && !name.starts_with(CATALOG) && !name.ends_with(".tmp") && !kit::is_kit(path)
    });
    if let Some(path) = foreign {
        return refuse("the folder holds something else").map_err(|e| e.with("for example", path.display()));
    }
    let instance = Instance::create(context, home, destinations).await?;
    noted::tell_forgotten(context, &instance).await?;
    noted::note(&instance).await;
    Ok(instance)
}

/// Originals, complete and sealed; and what people read.
fn sealed_destinations() -> [DestinationConfig; 2] {
    let [store, git] = clear_destinations();
    [store.with_option(wiring::SEAL, "yes"), git]
}

/// The same with originals that any program can read.
pub(crate) fn clear_destinations() -> [DestinationConfig; 2] {
    [
        DestinationConfig::new("store", "plain", View::Original)
            .with_option("path", "store")
            .with_option("compression", "zstd")
            .with_option(wiring::SEAL, "no"),
        DestinationConfig::new("git", "git", View::Redacted).with_option("path", "git"),
    ]
}

fn told(home: &Path, kit: &Path) -> String {
    let at = escape::text(&home.display().to_string()).into_owned();
    let kit = escape::text(&kit.display().to_string()).into_owned();
    format!(
        "\
A home is set up in {at}:
  store/        originals, complete and sealed: what a restore takes
  git/          texts without secrets, a commit for every change
  {CATALOG}    every device, run and backup
  {KEK_FILE}       opens the store, by the epoch keys in {KEYS}/
  {KEY}  masks secrets
  {KNOWN_HOSTS}   host keys of devices, remembered at first use

Before anything else, keep the key: without it, nobody opens the store, you included.
  {kit}
holds it. Print it, or copy it to a stick, put that in a safe place apart from this
machine, and delete the file. `devicevault key check` tells whether all is in order.

Next:
  devicevault device add core-rtr1 --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW
  devicevault device import devices.csv
  devicevault backup --all
  git -C {at}/git log -p"
    )
}
