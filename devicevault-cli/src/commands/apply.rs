//! `devicevault apply`

use std::path::PathBuf;

use clap::Args;
use devicevault_core::inventory::{Credential, DestinationConfig};
use devicevault_core::{Device, Error, ErrorKind, Result};
use serde::Serialize;

use super::{destination, device, policy};
use crate::artefacts::Artefacts;
use crate::context::Context;
use crate::definitions::{Action, Change, Definitions, Plan, Wanted, read};
use crate::instance::{Instance, no_such};
use crate::keys::elsewhere;
use crate::keys::lock::{lock, lock_credentials};
use crate::keys::noted;
use crate::ui::table::{Cell, Table, Tone};
use crate::{Exit, sightings, wiring};

/// Make devices, destinations, policies and credentials as files say. What the files do not speak of stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault apply -f inventory --dry-run
  devicevault apply -f inventory
  devicevault apply -f inventory/devices.toml --prune

Files hold [[device]], [[destination]], [[policy]] and [[credential]] tables, as `devicevault export` writes them. All is
checked before anything changes; devices change in one transaction.")]
pub(crate) struct ApplyArgs {
    /// A file, or a folder with .toml and .json files
    #[arg(long, short, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// Remove what the files leave out, of those kinds that they speak of; backups and what destinations hold stay
    #[arg(long)]
    prune: bool,
    /// Accept that nothing keeps originals
    #[arg(long)]
    without_original: bool,
}

#[derive(Debug, Serialize)]
struct Applied {
    dry_run: bool,
    changes: Vec<Change>,
}

pub(crate) async fn run(context: &Context, args: ApplyArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let there = Definitions::of(&instance).await?;
    let wanted = read(&args.file, &there, context.clock().now())?;
    wanted.refuse_twice()?;
    let plan = Plan::of(&wanted, &there, args.prune);
    for doubt in check(&instance, &wanted, &there, &plan).await? {
        context.ui.warn(&doubt);
    }
    if !args.without_original {
        let before = (there.destinations.as_slice(), there.policies.as_slice());
        destination::refuse_without(before, (&plan.destinations.after, &plan.policies.after))?;
    }
    refuse_waited_for(&instance, &plan).await?;
    let changes = plan.list();
    if !args.dry_run {
        carry_out(context, &instance, plan).await?;
    }
    if context.ui.is_json() {
        context.ui.json(&Applied { dry_run: args.dry_run, changes })?;
        return Ok(Exit::Done);
    }
    let told = !changes.is_empty();
    context.ui.table(table(&changes), "all is as the files say")?;
    if args.dry_run && told {
        context.ui.note("nothing was changed");
    }
    Ok(Exit::Done)
}

/// Everything that can be checked before anything changes; each error with its place in the files. Returns what cannot be
/// known yet.
async fn check(instance: &Instance, wanted: &Wanted, there: &Definitions, plan: &Plan) -> Result<Vec<String>> {
    for one in wanted.devices.iter().flatten() {
        device::fields::check(instance, &one.value)
            .and_then(|()| device::fields::check_named(&plan.credentials.after, &one.value))
            .map_err(|e| wanted.locate(one, e))?;
    }
    for one in wanted.destinations.iter().flatten() {
        check_destination(instance, &one.value, there).map_err(|e| wanted.locate(one, e))?;
    }
    // Those that are to go are there still when others are set up.
    let places: Vec<_> = plan.destinations.after.iter().chain(&plan.destinations.remove).cloned().collect();
    for one in wanted.destinations.iter().flatten() {
        let before = there.destinations.iter().find(|d| d.id == one.value.id);
        if before.is_none_or(|before| before.options != one.value.options) {
            destination::refuse_shared_among(&instance.home, &one.value, &places)
                .and_then(|()| check_login(&one.value, plan))
                .map_err(|e| wanted.locate(one, e))?;
            let settings = instance.backend_settings(&one.value, false);
            wiring::check_destination(&settings).await.map_err(|e| wanted.locate(one, e))?;
        }
    }
    check_places(instance, wanted, there)?;
    let names: Vec<String> = plan.devices.after.iter().map(|d| d.name.clone()).collect();
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        let e = Error::new(ErrorKind::AlreadyExists, "apply", "two devices would have this name");
        return Err(e.with("name", twice));
    }
    let known = policy::Known {
        destinations: &plan.destinations.after,
        credentials: &plan.credentials.after,
        devices: &plan.devices.after,
    };
    let (mut artefacts, mut doubts) = (Artefacts::of(instance), Vec::new());
    for one in wanted.policies.iter().flatten() {
        let checked = policy::check_rules(instance, &one.value)
            .and_then(|()| policy::check(&one.value, &known))
            .and_then(|()| artefacts.check_policy(&one.value, &plan.devices.after));
        doubts.extend(checked.map_err(|e| wanted.locate(one, e))?);
        doubts.extend(artefacts.doubt_rules_of_policy(&one.value, &plan.devices.after));
    }
    doubts.extend(wanted.devices.iter().flatten().filter_map(|one| artefacts.doubt_rules(&one.value)));
    // What the files leave alone has to fit what they change.
    plan.policies.after.iter().try_for_each(|p| policy::check_destinations(p, &plan.destinations.after))?;
    Ok(doubts)
}

/// Refuses two new plain destinations of one place: the second would find the mark of the first.
fn check_places(instance: &Instance, wanted: &Wanted, there: &Definitions) -> Result<()> {
    let mut seen = std::collections::BTreeMap::new();
    for one in wanted.destinations.iter().flatten() {
        let is_new = there.destinations.iter().all(|d| d.id != one.value.id);
        if !is_new || one.value.kind != wiring::PLAIN {
            continue;
        }
        let Some(place) = destination::place_apart(&instance.home, &one.value) else { continue };
        if let Some(other) = seen.insert(place.clone(), &one.value.name) {
            let e = Error::new(ErrorKind::Conflict, "apply", "two destinations would have one place")
                .with("destination", &one.value.name)
                .with("other", other)
                .with("place", place)
                .hint("give each a folder of its own");
            return Err(wanted.locate(one, e));
        }
    }
    Ok(())
}

/// Refuses a destination that logs in by a credential which is not there.
fn check_login(config: &DestinationConfig, plan: &Plan) -> Result<()> {
    let known = &plan.credentials.after;
    match config.options.get("credential") {
        Some(name) if config.kind == wiring::PLAIN && !known.iter().any(|c| c.name == *name) => {
            let e = no_such("credential", name, known.iter().map(|c| c.name.as_str()));
            Err(e.with("destination", &config.name))
        }
        _ => Ok(()),
    }
}

fn check_destination(instance: &Instance, config: &DestinationConfig, there: &Definitions) -> Result<()> {
    destination::check_name("destination", &config.name)?;
    destination::check_options(&config.options)?;
    instance.check_kind(config)?;
    match there.destinations.iter().find(|d| d.id == config.id) {
        Some(before) if before.kind != config.kind => {
            Err(Error::new(ErrorKind::Config, "apply", "a destination cannot become one of another kind")
                .with("destination", &config.name)
                .with("kind", &before.kind)
                .hint("give the new one another name, and copy to it"))
        }
        _ => Ok(()),
    }
}

/// Refuses to remove a destination that copies wait for.
async fn refuse_waited_for(instance: &Instance, plan: &Plan) -> Result<()> {
    if plan.destinations.remove.is_empty() {
        return Ok(());
    }
    let waits = instance.spool().await?.pending().await?;
    match plan.destinations.remove.iter().find(|d| waits.iter().any(|(_, p)| p.destination == d.id)) {
        None => Ok(()),
        Some(d) => Err(Error::new(ErrorKind::Conflict, "apply", "copies wait for a destination that is to go")
            .with("destination", &d.name)
            .hint("deliver them with `devicevault run deliver`, or give them up: `devicevault destination remove --discard-waiting`")),
    }
}

/// What is needed comes before what needs it, and goes after it. Destinations are set up and tested, all of them, before
/// the home knows any; where one cannot be, nothing is changed.
async fn carry_out(context: &Context, instance: &Instance, plan: Plan) -> Result<()> {
    // A key that is replaced meanwhile would stay at a destination that the home does not know yet.
    let is_new = plan.destinations.put.iter().any(|(before, _)| before.is_none());
    // Of one that goes, it is noted which keys open it.
    let _alone = if is_new || !plan.destinations.remove.is_empty() { Some(lock(&instance.home).await?) } else { None };
    // Stores may log in by them.
    put_credentials(instance, &plan.credentials.put).await?;
    let destinations = match set_up(context, instance, plan.destinations.put).await {
        Ok(destinations) => destinations,
        Err(e) => {
            take_back(instance, &plan.credentials.put).await?;
            return Err(e.with("applied", "nothing"));
        }
    };
    for config in &destinations {
        instance.inventory.put_destination(config).await?;
    }
    let renamed = |(before, device): &(Option<Device>, Device)| {
        before.as_ref().is_some_and(|b| b.name != device.name).then(|| device.id.clone())
    };
    let renamed: Vec<_> = plan.devices.put.iter().filter_map(renamed).collect();
    let devices: Vec<_> = plan.devices.put.into_iter().map(|(_, device)| device).collect();
    // A name that goes makes way for one that comes.
    for device in &plan.devices.remove {
        instance.inventory.remove_device(&device.id).await?;
    }
    if !devices.is_empty() {
        instance.inventory.put_devices(&devices).await?;
        sightings::note_renamed(context, instance, &renamed).await?;
    }
    for (_, policy) in &plan.policies.put {
        instance.inventory.put_policy(policy).await?;
    }
    for policy in &plan.policies.remove {
        instance.inventory.remove_policy(&policy.name).await?;
    }
    for config in &plan.destinations.remove {
        if let Some(left) = elsewhere::leave(instance, config).await? {
            context.ui.note(&format!(
                "{} opens by key {}: keep that kit for as long as what it holds",
                left.describe(),
                left.keys_text()
            ));
        }
        instance.inventory.remove_destination(&config.id).await?;
    }
    noted::note(instance).await;
    for credential in &plan.credentials.remove {
        instance.inventory.remove_credential(&credential.name).await?;
    }
    Ok(())
}

/// Sets up and tests what is to be, one after the other.
async fn set_up(
    context: &Context,
    instance: &Instance,
    all: Vec<(Option<DestinationConfig>, DestinationConfig)>,
) -> Result<Vec<DestinationConfig>> {
    let mut ready = Vec::new();
    for (before, mut config) in all {
        match before {
            Some(before) => {
                destination::set_up_change(instance, &before, &config).await?;
                destination::tell_used_up(context, instance, &config).await?;
            }
            None => {
                config.created_at = Some(context.clock().now());
                config.created_by = Some(context.user());
                if destination::set_up_new(instance, &mut config).await? == 0 {
                    destination::warn_of_another_home(context, instance, &config).await;
                }
                if let Some(warning) = wiring::clear_text_store(&config) {
                    context.ui.warn(&warning);
                }
            }
        }
        ready.push(config);
    }
    Ok(ready)
}

/// Puts credentials as they are to be. Their secrets stay as they are by now: a rotation may have sealed them anew.
async fn put_credentials(instance: &Instance, put: &[(Option<Credential>, Credential)]) -> Result<()> {
    if put.is_empty() {
        return Ok(());
    }
    let _alone = lock_credentials(&instance.home).await?;
    let all = instance.inventory.credentials().await?;
    for (before, credential) in put {
        let mut credential = credential.clone();
        let keeps = before.as_ref().is_some_and(|before| before.sealed == credential.sealed);
        if let Some(now) = all.iter().find(|c| keeps && c.name == credential.name) {
            credential.sealed.clone_from(&now.sealed);
        }
        instance.inventory.put_credential(&credential).await?;
    }
    Ok(())
}

/// Makes credentials as they were.
async fn take_back(instance: &Instance, put: &[(Option<Credential>, Credential)]) -> Result<()> {
    for (before, after) in put {
        match before {
            Some(before) => instance.inventory.put_credential(before).await?,
            None => drop(instance.inventory.remove_credential(&after.name).await?),
        }
    }
    Ok(())
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::new(["", "kind", "name", "what"]);
    for c in changes {
        let (word, tone) = match c.action {
            Action::Add => ("add", Tone::Good),
            Action::Change => ("change", Tone::Warning),
            Action::Remove => ("remove", Tone::Bad),
        };
        table.row([Cell::new(word).tone(tone), Cell::new(c.kind), Cell::new(&c.name), Cell::new(c.fields.join(", "))]);
    }
    table
}
