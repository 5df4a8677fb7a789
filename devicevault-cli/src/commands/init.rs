//! `devicevault init`

use std::path::Path;

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, View};
use serde::Serialize;

use crate::context::Context;
use crate::instance::{CATALOG, Instance, KEY, KNOWN_HOSTS, PLATFORMS};
use crate::ui::escape;
use crate::{Exit, files};

/// Set up a home.
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
}

pub(crate) async fn run(context: &Context, _args: &InitArgs) -> Result<Exit> {
    let home = context.home()?;
    make(context, home).await?;
    if context.ui.is_json() {
        context.ui.json(&Made { home: home.display().to_string(), destinations: destinations().to_vec() })?;
    } else if !context.ui.is_quiet() {
        context.ui.line(&told(home))?;
    }
    Ok(Exit::Done)
}

/// Makes a home with its two destinations.
///
/// # Errors
/// `AlreadyExists` where there is one, or the folder holds something else.
pub(crate) async fn make(context: &Context, home: &Path) -> Result<Instance> {
    let refuse = |why: &str| {
        Err(Error::new(ErrorKind::AlreadyExists, "set up home", why)
            .with("folder", home.display())
            .hint("name another folder by --home DIR, or use what is there"))
    };
    if Instance::exists(home) {
        return refuse("there is a home in this folder already");
    }
    // What an `init` that was cut off left is gone on with.
    let ours = [KEY, KNOWN_HOSTS, PLATFORMS, "store", "git"];
    let foreign = files::entries(home)?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !ours.contains(&&*name) && !name.starts_with(CATALOG) && !name.ends_with(".tmp")
    });
    if let Some(path) = foreign {
        return refuse("the folder holds something else").map_err(|e| e.with("for example", path.display()));
    }
    Instance::create(context, home, &destinations()).await
}

/// Originals, complete and compressed; and what people read.
fn destinations() -> [DestinationConfig; 2] {
    [
        DestinationConfig::new("store", "plain", View::Original)
            .with_option("path", "store")
            .with_option("compression", "zstd"),
        DestinationConfig::new("git", "git", View::Redacted).with_option("path", "git"),
    ]
}

fn told(home: &Path) -> String {
    let at = escape::text(&home.display().to_string()).into_owned();
    format!(
        "\
A home is set up in {at}:
  {CATALOG}    every device, run and backup
  {KEY}  masks secrets: keep a copy of it somewhere safe
  {KNOWN_HOSTS}   host keys of devices, remembered at first use
  store/        originals, complete: what a restore takes
  git/          texts without secrets, a commit for every change

Next:
  devicevault device add core-rtr1 --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW
  devicevault device import devices.csv
  devicevault backup --all
  git -C {at}/git log -p"
    )
}
