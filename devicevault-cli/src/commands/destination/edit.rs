//! `devicevault destination edit`

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::quota::QuotaLimits;
use devicevault_core::statistics::StatisticsQuery;
use devicevault_core::{Error, ErrorKind, Result, View};

use super::fields::{OptionArgs, ViewArg, check_options};
use super::guard::refuse_without_original;
use super::{place, state};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::wiring;

/// Change a destination. What it holds stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination edit store --seal yes
  devicevault destination edit offsite --path /mnt/new/devicevault     after its folder was moved there
  devicevault destination edit read --option branch=main --view clean

A path has to lead to what the destination holds: move the folder first. For an empty place, add another destination and
copy to it.")]
pub(crate) struct EditArgs {
    /// What it is called
    name: String,
    /// What of a text it keeps from now on
    #[arg(long)]
    view: Option<ViewArg>,
    #[command(flatten)]
    options: OptionArgs,
    /// A setting that is to go; may be given several times
    #[arg(long = "remove-option", value_name = "NAME")]
    removed: Vec<String>,
    /// Accept that nothing keeps originals
    #[arg(long)]
    without_original: bool,
}

pub(super) async fn run(context: &Context, args: EditArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let before = instance.destination(&args.name).await?;
    let mut after = before.clone();
    after.view = args.view.map_or(after.view, View::from);
    for name in &args.removed {
        if after.options.remove(name).is_none() {
            return Err(Error::new(ErrorKind::NotFound, "edit destination", "it has no such setting")
                .with("setting", name.escape_debug()));
        }
    }
    args.options.apply(&instance.home, &mut after.options)?;
    wiring::fill_defaults(&mut after, Some(&before));
    check_options(&after.options)?;
    if !args.without_original {
        refuse_without_original(&instance, |d| Some(if d.id == after.id { after.clone() } else { d })).await?;
    }
    set_up_change(&instance, &before, &after).await?;
    instance.inventory.put_destination(&after).await?;
    if wiring::seals(&before) && !wiring::seals(&after) && after.kind == wiring::PLAIN {
        context.ui.warn(&format!(
            "{}: what is stored there from now on is in the clear, for everybody who can read there; to seal again: \
             `devicevault destination edit {} --seal yes --option accept_clear=yes`",
            after.name, after.name
        ));
    }
    tell_used_up(context, &instance, &after).await?;
    if context.ui.is_json() {
        context.ui.json(&after)?;
    } else {
        context.ui.note(&format!("changed {}", after.name));
        if after.view != before.view {
            context.ui.note(&format!(
                "what it holds keeps its view; the next backup stores the present versions as {}",
                after.view
            ));
        }
    }
    Ok(Exit::Done)
}

/// Says which quotas are used up by what a destination holds already.
///
/// # Errors
/// What the catalog answers.
pub(crate) async fn tell_used_up(context: &Context, instance: &Instance, config: &DestinationConfig) -> Result<()> {
    /// So many of them are told.
    const TOLD: usize = 3;
    let limits = QuotaLimits::from_options(&config.options)?;
    if !limits.is_set() {
        return Ok(());
    }
    let mut wanted = StatisticsQuery::default();
    wanted.destination = Some(config.id.clone());
    let used_up = limits.used_up(&instance.catalog.statistics(&wanted).await?);
    if used_up.is_empty() {
        return Ok(());
    }
    let more = used_up.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    context.ui.warn(&format!(
        "{}: quotas are used up by what it holds: {}{more}; new versions are refused there from now on and wait: raise the \
         quota, or apply retention",
        config.name,
        used_up.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("; ")
    ));
    Ok(())
}

/// Sets changed settings up, where the destination is still found by them; the inventory has them not yet.
///
/// # Errors
/// It is not there by the new settings, or they cannot be.
pub(crate) async fn set_up_change(
    instance: &Instance,
    before: &DestinationConfig,
    after: &DestinationConfig,
) -> Result<()> {
    if after.options != before.options || after.kind != before.kind {
        place::refuse_shared(instance, after).await?;
        // Opened as it is first: nothing is set up in a place that is not its own.
        let backend = instance.open_backend(after, false).await?;
        for backup in state::last_backups(instance, after, 1).await? {
            let copy = backup.copies.iter().find(|c| c.destination == after.id);
            if let Some(at) = copy.and_then(|c| c.storage_ref.as_ref()) {
                backend.stat(at).await.map_err(|e| {
                    Error::new(
                        ErrorKind::Conflict,
                        "change destination",
                        "its last backup is not found by these settings",
                    )
                    .with("destination", &after.name)
                    .hint(if wiring::seals(after) && !wiring::seals(before) {
                        "it is in the clear, which is not believed where backups are sealed; to go on reading it, give \
                         `--option accept_clear=yes` too"
                    } else {
                        "move what it holds first; for an empty place, add another destination and copy to it"
                    })
                    .because(e)
                })?;
            }
        }
        instance.open_backend(after, true).await?;
    }
    Ok(())
}
