//! `devicevault demo`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::catalog::Query;
use devicevault_core::storage::VerifyDepth;
use devicevault_core::{Device, Error, ErrorKind, Result, SecretRef};
use serde::Serialize;

use super::{diff, history, init, verify};
use crate::archive::Archive;
use crate::context::Context;
use crate::instance::{CATALOG, Instance, KEY, KNOWN_HOSTS, SPOOL};
use crate::interrupt::cancellable;
use crate::round::{self, RoundOptions, RoundOutcome};
use crate::ui::paint::Style;
use crate::ui::{escape, human};
use crate::wiring::Simulation;
use crate::{Exit, files, recovered, report};

/// See it work: a few simulated devices are backed up over real SSH on this machine, one is changed, and all are backed
/// up again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault demo
  devicevault demo --dir /tmp/demo --devices 50

The folder is a home like any other and stays: look around in it with `devicevault --home DIR …`.")]
pub(crate) struct DemoArgs {
    /// The folder; it has to be empty, not there, or a demo's
    #[arg(long, value_name = "DIR", default_value = "devicevault-demo")]
    dir: PathBuf,
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=500))]
    devices: u16,
}

/// The file with the password of the simulated devices; a folder that holds it is a demo's.
const PASSWORD: &str = "demo-password";

/// What a demo did, as `demo --json` tells it.
#[derive(Debug, Serialize)]
struct Told {
    home: String,
    devices: usize,
    first: &'static str,
    second: &'static str,
    changed: String,
    verified: verify::Found,
}

pub(crate) async fn run(context: &Context, args: DemoArgs) -> Result<Exit> {
    cancellable(Box::pin(show(context, &args))).await
}

async fn show(context: &Context, args: &DemoArgs) -> Result<Exit> {
    let home = std::path::absolute(&args.dir).map_err(|e| {
        Error::new(ErrorKind::Config, "set up demo", "the path cannot be made absolute")
            .with("folder", args.dir.display())
            .because(e)
    })?;
    clear(&home)?;
    let context = &context.at_home_in(&home);
    let instance = init::make(context, &home, &init::clear_destinations()).await?;

    step(
        context,
        1,
        &format!("{} start on this machine", human::count(usize::from(args.devices), "simulated device")),
    )?;
    let simulation = Simulation::start(args.devices).await?;
    let devices = devices(&simulation, &home)?;
    instance.inventory.put_devices(&devices).await?;

    step(context, 2, "They are backed up for the first time, over SSH")?;
    let first = back_up(context, &instance, &devices).await?;

    let changed = simulation.change();
    step(context, 3, &format!("Somebody changes {}, and all are backed up again", escape::text(&changed)))?;
    let second = back_up(context, &instance, &devices).await?;

    step(context, 4, &format!("What is kept of {}, and what changed; secrets are masked", escape::text(&changed)))?;
    let archive = Archive::of_instance(instance).await?;
    if !context.ui.is_json() {
        let mut query = Query::default();
        query.device = Some(archive.device_id(&changed).await?);
        context.ui.table(history::table(&archive.versions(&query, 20).await?), "")?;
    }

    // What was stored is read back before the difference is shown, so that the demo ends in it.
    let all = archive.versions(&Query::default(), 10_000).await?;
    let verified = verify::check(context, &archive, all, VerifyDepth::Content).await?;
    if context.ui.is_json() {
        let state = |r: &RoundOutcome| if good(r) { "done" } else { "failed" };
        let (first, second) = (state(&first), state(&second));
        let home = home.display().to_string();
        context.ui.json(&Told { home, devices: devices.len(), first, second, changed, verified })?;
        return Ok(Exit::Done);
    }
    context.ui.line("")?;
    verify::tell(context, &verified)?;
    next(context, args, &changed)?;
    step(context, 5, "The difference between the two backups")?;
    diff::last_two(context, &archive, &changed).await
}

/// A heading.
fn step(context: &Context, number: u8, text: &str) -> Result<()> {
    if context.ui.is_json() || context.ui.is_quiet() {
        return Ok(());
    }
    let heading = context.ui.paint().on(Style::Bold, format!("{number}. {text}"));
    context.ui.line(&if number == 1 { heading } else { format!("\n{heading}") })
}

/// The devices as an inventory knows them: with the place of their password, not the password.
fn devices(simulation: &Simulation, home: &Path) -> Result<Vec<Device>> {
    let file = home.join(PASSWORD);
    fs::write(&file, format!("{}\n", simulation.password()))
        .map_err(|e| files::failed(&e, "set up demo", "the password file cannot be written", &file))?;
    let mut all = simulation.devices();
    for device in &mut all {
        device.login.password = Some(SecretRef::File(file.display().to_string()));
    }
    Ok(all)
}

async fn back_up(context: &Context, instance: &Instance, devices: &[Device]) -> Result<RoundOutcome> {
    let done = Box::pin(round::back_up(
        context,
        instance,
        devices.to_vec(),
        std::collections::BTreeMap::new(),
        &RoundOptions::default(),
    ))
    .await?;
    if !context.ui.is_json() {
        report::round(context, instance, &done, report::Form::Rows).await?;
    }
    if good(&done) {
        return Ok(done);
    }
    let first = done.devices.into_iter().find_map(|o| match o.run {
        Err(e) => Some(e.to_record().message),
        Ok(run) => run.error.map(|e| e.message),
    });
    Err(Error::new(
        ErrorKind::Internal,
        "back up simulated devices",
        first.unwrap_or_else(|| "a run failed".to_owned()),
    ))
}

fn good(round: &RoundOutcome) -> bool {
    round.devices.iter().all(|o| o.run.as_ref().is_ok_and(|run| run.state.is_good()))
}

/// Makes way for a new demo where an earlier one was; leaves everything else alone.
fn clear(home: &Path) -> Result<()> {
    let entries = files::entries(home)?;
    let ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        [KEY, KNOWN_HOSTS, PASSWORD, SPOOL, recovered::FILE, "store", "git"].contains(&&*name)
            || name.starts_with(CATALOG)
    };
    let is_demo = entries.iter().any(|e| e.ends_with(PASSWORD)) && entries.iter().all(|e| ours(e));
    if !entries.is_empty() && !is_demo {
        return Err(Error::new(ErrorKind::AlreadyExists, "set up demo", "the folder holds something else")
            .with("folder", home.display())
            .hint("name another one by --dir"));
    }
    // The password's file goes last: until then the folder is known for a demo's.
    let (last, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.ends_with(PASSWORD));
    for path in rest.iter().chain(&last) {
        let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
        let gone = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        gone.map_err(|e| files::failed(&e, "set up demo", "the earlier demo cannot be removed", path))?;
    }
    Ok(())
}

fn next(context: &Context, args: &DemoArgs, changed: &str) -> Result<()> {
    if context.ui.is_quiet() {
        return Ok(());
    }
    let dir = escape::text(&args.dir.display().to_string()).into_owned();
    let changed = escape::text(changed);
    context.ui.line(&format!(
        "
The folder {dir} stays: originals in store/, readable by you alone, and texts without secrets in git/. Try:
  devicevault --home {dir} history
  devicevault --home {dir} diff {changed} --side-by-side
  devicevault --home {dir} show {changed} --view original
  git -C {dir}/git log -p"
    ))
}
