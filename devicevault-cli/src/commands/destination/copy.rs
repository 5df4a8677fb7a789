//! `devicevault destination copy`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result, sightings};
use serde::Serialize;

use crate::context::Context;
use crate::copying::{self, Copied};
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::keys::laid;
use crate::ui::human;
use crate::{Exit, apart, pushing};

/// Copy all backups of a destination to another. What is there already is left alone: a copy that was cut off is gone on
/// with by the same command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination copy store offsite
  devicevault destination copy store git --device core-rtr1
  devicevault destination copy store offsite --dry-run

The other destination's view has to be one that can be made: anything from originals, nothing more complete from a view
that leaves something out. Exit codes: 0 all is there, 3 some could not be copied, 1 none could.")]
pub(crate) struct CopyArgs {
    /// Where they are
    from: String,
    /// Where they are to be
    to: String,
    /// Only of this device; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Only tell what would be copied
    #[arg(long)]
    dry_run: bool,
}

/// What was copied, as `destination copy --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told<'a> {
    from: &'a str,
    to: &'a str,
    dry_run: bool,
    #[serde(flatten)]
    done: &'a Copied,
}

pub(super) async fn run(context: &Context, args: CopyArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let from = instance.destination(&args.from).await?;
    let to = instance.destination(&args.to).await?;
    if from.id == to.id {
        return Err(Error::new(ErrorKind::Config, "copy backups", "both are the same destination"));
    }
    let mut devices = Vec::new();
    for name in &args.devices {
        devices.push(instance.device_id(name).await?);
    }
    let source = from.clone();
    let plan = copying::plan(&instance, from, to, &devices).await?;
    let done = if args.dry_run { plan.foretold() } else { cancellable(plan.carry_out(&instance, &context.ui)).await? };
    if !args.dry_run && done.copied > 0 {
        note_sightings(context, &instance, &args.to).await;
        pushing::after_round(context, &instance).await;
    }
    if context.ui.is_json() {
        context.ui.json(&Told { from: &args.from, to: &args.to, dry_run: args.dry_run, done: &done })?;
    } else {
        tell(context, &args, &done);
    }
    laid::tell_closed(context, &instance, [source]).await;
    Ok(Exit::of_parts(done.copied + done.there, done.failed.len()))
}

/// Versions came there that were last seen long ago.
async fn note_sightings(context: &Context, instance: &Instance, to: &str) {
    let noted = async {
        let config = instance.destination(to).await?;
        let backend = instance.open_backend(&config, false).await?;
        sightings::note_all(&*instance.catalog, &*instance.inventory, &config.id, &*backend, context.clock().now())
            .await
    };
    if let Err(e) = noted.await {
        tracing::warn!(event = "sightings_not_noted", storage_backend = to, error = %e.to_record().message);
    }
}

fn tell(context: &Context, args: &CopyArgs, done: &Copied) {
    /// So many are named.
    const NAMED: usize = 10;
    apart::tell(&context.ui, &done.apart, apart::NOT_COPIED);
    for f in done.failed.iter().take(NAMED) {
        context.ui.failure_detail(&format!("{}: {} {}", f.device, f.artefact, f.backup));
    }
    if done.failed.len() > NAMED {
        context.ui.failure_detail(&format!("and {} more, which --json names", done.failed.len() - NAMED));
    }
    if done.no_binaries > 0 {
        context.ui.note(&format!(
            "{} left out: {} keeps no binaries",
            human::count(done.no_binaries, "binary version"),
            args.to
        ));
    }
    if done.too_old > 0 {
        context.ui.note(&format!(
            "{} left out: newer ones of the same artefact are at {} already, and it keeps them in order",
            human::count(done.too_old, "version"),
            args.to
        ));
    }
    let word = if args.dry_run { "would be copied" } else { "copied" };
    context.ui.note(&format!(
        "{} {word}, {} there already, {} failed",
        human::copies(done.copied),
        done.there,
        done.failed.len()
    ));
}
