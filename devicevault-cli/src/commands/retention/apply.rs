//! `devicevault retention apply`

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::retention::{Lost, Plan, Sweep, Swept};
use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::rules::Rules;
use crate::Exit;
use crate::context::Context;
use crate::instance::OpenDestination;
use crate::interrupt::cancellable;
use crate::keys::lock::lock_for_sweep;
use crate::recovered;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};

/// Delete the versions that no rule keeps. Nothing else deletes backups.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault retention apply --dry-run                 what would go and what stays, and why
  devicevault retention apply --dry-run --device core-rtr1
  devicevault retention apply --destination store
  devicevault retention apply --allow-mass-deletion     after a look at the plan

It stops where more than half of what a destination holds, and more than twenty versions, would go, and where the clock
stands before the newest backup or seems to have leapt ahead; a dry run says so. It may be interrupted at any time; the next
one finishes what is left.

Before anything of an artefact goes, its copies that are to stay are looked at. One that is not what was stored is recorded
as damaged and named, and older ones stay in its place.

Exit codes: 0 done, 3 some destinations failed or refused, or a copy that was to stay is damaged, 1 all failed.")]
pub(crate) struct ApplyArgs {
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
    /// Only at this destination; may be given several times
    #[arg(long = "destination", value_name = "NAME")]
    destinations: Vec<String>,
    /// Only of this device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Also where most of what is there would go
    #[arg(long)]
    allow_mass_deletion: bool,
    /// Also where the clock stands before the newest backup, or nothing was backed up for two months before the last ones:
    /// it was looked at, and is right
    #[arg(long)]
    trust_clock: bool,
}

/// What became of one destination, as `retention apply --json` tells it.
#[derive(Debug, Serialize)]
struct Outcome {
    destination: String,
    /// `applied`, `planned`, `kept` (its history cannot be thinned out) or `failed`.
    status: &'static str,
    stays: usize,
    goes: usize,
    deleted: u64,
    content_bytes: u64,
    error: Option<String>,
    /// Copies that were to stay as good ones and are not what was stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<LostCopy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<Decided>,
}

#[derive(Debug, Serialize)]
struct LostCopy {
    device: String,
    artefact: String,
    backup: String,
    /// `damaged` or `missing`.
    verdict: &'static str,
    what: String,
}

impl LostCopy {
    fn of(lost: &Lost) -> Self {
        Self {
            device: lost.device_name.to_string(),
            artefact: lost.artefact.to_string(),
            backup: lost.id.to_string(),
            verdict: if lost.missing { "missing" } else { "damaged" },
            what: lost.what.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Decided {
    device: String,
    artefact: String,
    backup: String,
    first_seen: Timestamp,
    last_seen: Timestamp,
    size: u64,
    stays: bool,
    reason: String,
}

pub(crate) async fn run(context: &Context, args: ApplyArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    // Before anything is planned: what another one deletes meanwhile would be counted on.
    let _alone = if args.dry_run { None } else { Some(lock_for_sweep(&instance.home).await?) };
    let rules = Rules::of(&instance).await?;
    let device = match &args.device {
        Some(name) => Some(instance.device_id(name).await?),
        None => None,
    };
    let mut open = instance.destinations().await?;
    for name in &args.destinations {
        if !open.iter().any(|d| d.config.name == *name) {
            return Err(Error::new(
                ErrorKind::NotFound,
                "apply retention",
                "there is no enabled destination of this name",
            )
            .with("name", name.escape_debug()));
        }
    }
    open.retain(|d| args.destinations.is_empty() || args.destinations.contains(&d.config.name));
    if !args.dry_run {
        let at_hand =
            open.iter().filter_map(|d| Some((&d.config.id, d.config.name.as_str(), &**d.backend.as_ref().ok()?)));
        recovered::record(context, &instance, &at_hand.collect::<Vec<_>>()).await;
    }
    let known: BTreeSet<_> = instance.inventory.destinations().await?.into_iter().map(|d| d.id).collect();
    let (mut good, mut bad) = (0, 0);
    let mut outcomes = Vec::new();
    for destination in &open {
        let here = rules.at(&destination.config)?;
        let mut sweep = Sweep::new(destination.config.id.clone());
        sweep.device.clone_from(&device);
        sweep.destinations = Some(known.clone());
        sweep.zone = TimeZone::system();
        let plan = sweep.plan(&*instance.catalog, &**context.clock(), &|d, a| here.of(d, a).0).await?;
        let done = cancellable(one(&args, &sweep, &plan, destination, &instance.catalog)).await;
        let outcome = outcome(&args, destination, &plan, done);
        if outcome.status == "failed" {
            bad += 1;
        } else {
            good += 1;
            bad += usize::from(!outcome.lost.is_empty() || outcome.error.is_some());
        }
        outcomes.push(outcome);
    }
    tell(context, &args, &outcomes)?;
    Ok(Exit::of_parts(good, bad))
}

/// How a destination was dealt with.
enum Done {
    /// Only looked at, and why it would be refused.
    Planned(Option<Error>),
    Kept,
    Applied(Swept),
}

async fn one(
    args: &ApplyArgs,
    sweep: &Sweep,
    plan: &Plan,
    destination: &OpenDestination,
    catalog: &std::sync::Arc<dyn devicevault_core::Catalog>,
) -> Result<Done> {
    let backend = destination.backend.as_ref().map_err(Clone::clone)?;
    if !backend.capability().delete {
        return Ok(Done::Kept);
    }
    let checked = check(args, sweep, plan);
    if args.dry_run {
        return Ok(Done::Planned(checked.err()));
    }
    checked?;
    let swept = sweep.carry_out(plan, &**catalog, &**backend).await?;
    Ok(Done::Applied(swept))
}

/// Asks for a person's word where it is wanted and was not given.
fn check(args: &ApplyArgs, sweep: &Sweep, plan: &Plan) -> Result<()> {
    if !args.trust_clock {
        let told = "look at the clock; where it is right, give --trust-clock";
        sweep.check_clock(plan).map_err(|e| e.hint(told))?;
    }
    if !args.allow_mass_deletion {
        let told = "look at the plan first, with --dry-run; then give --allow-mass-deletion";
        sweep.check_amount(plan).map_err(|e| e.hint(told))?;
    }
    Ok(())
}

/// An error and what can be done, on one line.
fn told(e: &Error) -> String {
    match e.hint_text() {
        Some(hint) => format!("{} ({hint})", e.to_record().message),
        None => e.to_record().message,
    }
}

fn outcome(args: &ApplyArgs, destination: &OpenDestination, plan: &Plan, done: Result<Done>) -> Outcome {
    let goes = plan.going().count() + plan.unfinished.len();
    let mut outcome = Outcome {
        destination: destination.config.name.clone(),
        status: "planned",
        stays: plan.versions.len() + plan.regained.len() - plan.going().count(),
        goes,
        deleted: 0,
        content_bytes: 0,
        error: None,
        lost: Vec::new(),
        versions: Vec::new(),
    };
    match done {
        Ok(Done::Planned(refused)) => outcome.error = refused.as_ref().map(told),
        Ok(Done::Kept) => (outcome.status, outcome.stays, outcome.goes) = ("kept", plan.versions.len(), 0),
        Ok(Done::Applied(swept)) => {
            let not_deleted = swept.failed.into_iter().next().map(|(at, e)| e.with("copy", at));
            let failed = not_deleted.or(swept.unlooked.into_iter().next());
            outcome.status = if failed.is_some() { "failed" } else { "applied" };
            (outcome.deleted, outcome.content_bytes) = (swept.deleted, swept.content_bytes);
            let gone = usize::try_from(swept.deleted).unwrap_or(usize::MAX);
            let all = plan.versions.len() + plan.unfinished.len() + plan.regained.len();
            outcome.stays = all.saturating_sub(gone);
            outcome.error = failed.map(|e| e.to_record().message);
            outcome.lost = swept.lost.iter().map(LostCopy::of).collect();
        }
        Err(e) => {
            outcome.status = "failed";
            outcome.error = Some(told(&e));
        }
    }
    if args.dry_run && outcome.status != "kept" {
        outcome.versions = plan.versions.iter().map(decided).collect();
    }
    outcome
}

fn decided(v: &devicevault_core::retention::Planned) -> Decided {
    Decided {
        device: v.device_name.to_string(),
        artefact: v.artefact.to_string(),
        backup: v.id.to_string(),
        first_seen: v.first_seen,
        last_seen: v.last_seen,
        size: v.size,
        stays: v.reason.keeps(),
        reason: v.reason.to_string(),
    }
}

fn tell(context: &Context, args: &ApplyArgs, outcomes: &[Outcome]) -> Result<()> {
    let ui = &context.ui;
    if ui.is_json() {
        return ui.json(&outcomes);
    }
    if args.dry_run {
        let mut table = Table::new(["destination", "device", "artefact", "first seen", "last seen", "size", "", "why"]);
        for outcome in outcomes {
            for v in &outcome.versions {
                let what = if v.stays { Cell::new("stays") } else { Cell::new("goes").tone(Tone::Bad) };
                table.row([
                    Cell::new(&outcome.destination),
                    Cell::new(&v.device),
                    Cell::new(&v.artefact),
                    Cell::new(human::time(v.first_seen)),
                    Cell::new(human::time(v.last_seen)),
                    Cell::number(human::size(v.size)),
                    what,
                    Cell::new(&v.reason),
                ]);
            }
        }
        ui.table(table, "there are no versions")?;
    }
    for o in outcomes {
        let name = &o.destination;
        match (o.status, &o.error) {
            ("kept", _) => ui.note(&format!("{name}: keeps its history; retention does not apply to it")),
            ("planned", refused) => {
                ui.note(&format!("{name}: {} would go, {} stay", human::count(o.goes, "version"), o.stays));
                if let Some(why) = refused {
                    ui.warn(&format!("{name}: nothing of it would be done: {why}"));
                }
            }
            ("applied", _) => ui.note(&format!(
                "{name}: {} deleted ({} of content), {} stay",
                human::count(usize::try_from(o.deleted).unwrap_or(usize::MAX), "version"),
                human::size(o.content_bytes),
                o.stays
            )),
            (_, error) => ui.failure(&format!("{name}: {}", error.as_deref().unwrap_or("it failed"))),
        }
        for l in &o.lost {
            ui.failure(&format!(
                "{name}: {} of {}, backup {}, was to stay and is {}: {}",
                l.artefact, l.device, l.backup, l.verdict, l.what
            ));
        }
        if !o.lost.is_empty() {
            ui.failure_hint("older versions stay in their place; `devicevault verify --repair` mends what it can");
        }
    }
    Ok(())
}
