//! `devicevault catalog check`

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::catalog::recorded_at;
use devicevault_core::rebuild::{Checked, check};
use devicevault_core::run::{Backup, Copy};
use devicevault_core::storage::Budget;
use devicevault_core::{DestinationId, ErrorRecord, Result};
use serde::Serialize;

use super::rebuild::{devices_of, sealed_of};
use super::told::{self, Namesake, RefusedRow};
use crate::Exit;
use crate::context::Context;
use crate::instance::{Instance, OpenDestination};
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::ui::progress::counter;
use crate::ui::table::{Cell, Table, Tone};

/// Compare the catalog with what destinations hold: what no record names, and what records name and no destination has.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault catalog check
  devicevault catalog check store --json
  devicevault catalog check --adopt              record what no record names

What is missing is stored anew by `devicevault verify --repair`. What is not listed can be read, and a recovery without the
catalog would not find it. Exit codes: 0 all agrees, 3 something does not, 1 no destination could be compared.")]
pub(crate) struct CheckArgs {
    /// Only these destinations; all where none is named
    destinations: Vec<String>,
    /// Take what no record names into the catalog
    #[arg(long)]
    adopt: bool,
}

/// What was found at a destination, as `catalog check --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Row {
    destination: String,
    agreed: usize,
    /// What no record names.
    strays: Vec<Item>,
    /// What records name and it does not hold.
    missing: Vec<Item>,
    /// What records name and it holds, and does not list.
    unlisted: Vec<Item>,
    /// Left over from before a copy was stored anew.
    surplus: Vec<String>,
    refused: Vec<RefusedRow>,
    /// Objects that nothing names: content without a manifest, half a pack, what a process that was killed left.
    unnamed: u64,
    unnamed_bytes: u64,
    /// Strays that were taken into the catalog.
    adopted: usize,
    /// Strays that are suspect once they are adopted: a sealed destination knows the device, and has nothing as new of it.
    doubted: usize,
    /// Devices that came with them, and whose name another one has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namesakes: Vec<Namesake>,
    /// Devices that came with them, and had been removed here: disabled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
    /// Why it could not be compared.
    error: Option<ErrorRecord>,
}

#[derive(Debug, Serialize)]
struct Item {
    device: String,
    artefact: String,
    backup: String,
    storage_ref: Option<String>,
    taken_at: String,
    /// Why it is not what was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
}

impl Row {
    /// Strays that are not what was stored.
    fn damaged(&self) -> usize {
        self.strays.iter().filter(|s| s.damaged.is_some()).count()
    }

    fn is_good(&self) -> bool {
        self.error.is_none()
            && self.missing.is_empty()
            && self.unlisted.is_empty()
            && self.refused.is_empty()
            && self.adopted >= self.strays.len()
            && self.damaged() == 0
    }
}

pub(crate) async fn run(context: &Context, args: CheckArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    for name in &args.destinations {
        instance.destination(name).await?;
    }
    // Closes runs of processes that died: what they left is nobody's.
    instance.catalog.pending().await?;
    let wanted = |name: &String| args.destinations.is_empty() || args.destinations.contains(name);
    let sealed = sealed_of(&instance).await?;
    let mut open = instance.destinations_where(|d| wanted(&d.name)).await?;
    // What is sealed is adopted first: it confirms what others have.
    open.sort_by_key(|d| !sealed.contains(&d.config.id));
    let mut rows = Vec::new();
    for destination in &open {
        rows.push(cancellable(one(context, &instance, destination, &sealed, args.adopt)).await?);
    }
    tell(context, &rows)?;
    let good = rows.iter().filter(|r| r.is_good()).count();
    // One that was compared and does not agree has been looked at.
    let compared = rows.iter().filter(|r| r.error.is_none()).count();
    Ok(Exit::of_parts(compared, rows.len() - good))
}

async fn one(
    context: &Context,
    instance: &Instance,
    destination: &OpenDestination,
    sealed: &BTreeSet<DestinationId>,
    adopt: bool,
) -> Result<Row> {
    let name = destination.config.name.clone();
    let bar = counter(&context.ui, 0, "copies");
    let tell = |n: usize| bar.set_position(n as u64);
    let compared = match &destination.backend {
        Ok(backend) => {
            let now = context.clock().now();
            check(&*instance.catalog, &destination.config.id, &**backend, sealed, now, &tell).await
        }
        Err(e) => Err(e.clone()),
    };
    bar.finish_and_clear();
    let checked = match compared {
        Ok(checked) => checked,
        Err(e) => {
            let error = Some(e.to_record());
            return Ok(Row { error, ..row(name, &Checked::default()) });
        }
    };
    let mut row = row(name, &checked);
    if let Ok(backend) = &destination.backend {
        // What maintenance would say: of a kind that cannot tell, nothing is known.
        let mut budget = Budget::default();
        budget.recorded = recorded_at(instance.catalog.clone(), destination.config.id.clone());
        match backend.foretell(budget).await {
            Ok(told) => {
                let told = told.unwrap_or_default();
                (row.unnamed, row.unnamed_bytes) = (told.unnamed, told.unnamed_bytes);
            }
            Err(e) => row.error = Some(e.to_record()),
        }
    }
    if adopt && !checked.strays.is_empty() {
        let known = devices_of(&*instance.inventory).await?;
        row.namesakes = told::namesakes(&checked.adoptable, &known);
        row.removed = told::removed(&checked.adoptable, &known);
        row.adopted = checked.adoptable.write(&*instance.catalog, &*instance.inventory).await?.copies;
    }
    Ok(row)
}

fn row(destination: String, checked: &Checked) -> Row {
    let strays = checked.strays.iter().map(|s| Item {
        device: s.device_name.clone(),
        artefact: s.artefact.clone(),
        backup: s.backup.to_string(),
        storage_ref: Some(s.at.to_string()),
        taken_at: s.taken_at.to_string(),
        damaged: s.damaged.as_ref().map(|e| e.message.clone()),
    });
    let recorded = |(b, c): &(Backup, Copy)| Item {
        device: b.device_name.clone(),
        artefact: b.artefact.clone(),
        backup: b.id.to_string(),
        storage_ref: c.storage_ref.as_ref().map(ToString::to_string),
        taken_at: b.first_seen.to_string(),
        damaged: None,
    };
    Row {
        destination,
        agreed: checked.agreed,
        strays: strays.collect(),
        missing: checked.missing.iter().map(recorded).collect(),
        unlisted: checked.unlisted.iter().map(recorded).collect(),
        surplus: checked.surplus.iter().map(ToString::to_string).collect(),
        refused: checked.refused.iter().map(RefusedRow::from).collect(),
        unnamed: 0,
        unnamed_bytes: 0,
        adopted: 0,
        doubted: checked.adoptable.doubted.len(),
        namesakes: Vec::new(),
        removed: Vec::new(),
        error: None,
    }
}

fn tell(context: &Context, rows: &[Row]) -> Result<()> {
    let ui = &context.ui;
    if ui.is_json() {
        return ui.json(&rows);
    }
    let mut table = Table::new(["destination", "device", "artefact", "version", "what", "where"]);
    for r in rows {
        let stray = if r.adopted > 0 { ("adopted", Tone::Good) } else { ("no record names it", Tone::Warning) };
        let missing = r.missing.iter().map(|i| (i, ("missing", Tone::Bad)));
        let unlisted = r.unlisted.iter().map(|i| (i, ("not listed", Tone::Bad)));
        let all = r
            .strays
            .iter()
            .map(|i| (i, i.damaged.as_ref().map_or(stray, |_| ("damaged", Tone::Bad))))
            .chain(missing)
            .chain(unlisted);
        for (item, (what, tone)) in all {
            table.row([
                Cell::new(&r.destination),
                Cell::new(&item.device),
                Cell::new(&item.artefact),
                Cell::new(&item.backup),
                Cell::new(what).tone(tone),
                Cell::opt(item.storage_ref.as_ref()),
            ]);
        }
    }
    if !table.is_empty() {
        ui.table(table, "")?;
    }
    for r in rows.iter().filter(|r| !r.refused.is_empty()) {
        ui.table(told::table(&r.refused), "")?;
    }
    for r in rows {
        if let Some(e) = &r.error {
            ui.failure(&format!("{}: {}", r.destination, e.message));
            if let Some(hint) = &e.hint {
                ui.failure_hint(hint);
            }
            continue;
        }
        told::tell_namesakes(ui, &r.namesakes);
        told::tell_removed(ui, &r.removed);
        if r.adopted > 0 {
            told::tell_doubted(ui, r.doubted);
            told::tell_damaged(ui, r.damaged());
        }
        ui.note(&format!(
            "{}: {} agree, {} that no record names ({} adopted), {} missing, {} not listed, {} left over, {} refused",
            r.destination,
            human::copies(r.agreed),
            r.strays.len(),
            r.adopted,
            r.missing.len(),
            r.unlisted.len(),
            r.surplus.len(),
            r.refused.len()
        ));
        if r.unnamed > 0 {
            let objects = human::count(usize::try_from(r.unnamed).unwrap_or(usize::MAX), "object");
            let (size, name) = (human::size(r.unnamed_bytes), &r.destination);
            ui.note(&format!(
                "{name}: {objects} ({size}) that nothing names, left by processes that were cut off, or by manifests that \
                 were lost: `devicevault destination maintain {name} --unnamed` removes them once they are old enough that \
                 nobody is writing them"
            ));
        }
    }
    Ok(())
}
