//! What was not believed and who came back under another name, for people and programs.

use std::collections::HashSet;

use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::rebuild::{Rebuilt, Refused};
use devicevault_core::run::{Copy, CopyStatus};
use devicevault_core::{BackupId, Catalog, DestinationId, Device, Result};
use futures::TryStreamExt as _;
use serde::Serialize;

use crate::ui::Ui;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};

/// A manifest or record that was not believed.
#[derive(Debug, Serialize)]
pub(super) struct RefusedRow {
    pub(super) destination: String,
    pub(super) at: Option<String>,
    pub(super) why: String,
}

impl From<&Refused> for RefusedRow {
    fn from(r: &Refused) -> Self {
        let why = r.error.message().to_owned();
        Self { destination: r.destination.to_string(), at: r.at.clone(), why }
    }
}

/// They as a table.
pub(super) fn table(refused: &[RefusedRow]) -> Table {
    let mut table = Table::new(["refused at", "what", "why"]);
    for r in refused {
        table.row([Cell::new(&r.destination), Cell::opt(r.at.as_ref()), Cell::new(&r.why).tone(Tone::Bad)]);
    }
    table
}

/// A device whose name another one has by now.
#[derive(Debug, Serialize)]
pub(super) struct Namesake {
    device: String,
    name: String,
    was: String,
}

/// Who comes back under another name beside these.
pub(super) fn namesakes(rebuilt: &Rebuilt, known: &[Device]) -> Vec<Namesake> {
    let returned = rebuilt.returned(known).into_iter();
    let namesake = returned
        .filter_map(|r| r.was.map(|was| Namesake { device: r.device.id.to_string(), name: r.device.name, was }));
    namesake.collect()
}

/// Tells of them.
pub(super) fn tell_namesakes(ui: &Ui, namesakes: &[Namesake]) {
    if namesakes.is_empty() {
        return;
    }
    let names: Vec<_> = namesakes.iter().map(|n| format!("{} (once {})", n.name, n.was)).collect();
    ui.warn(&format!(
        "kept disabled, each under a name of its own, since another device has the one of before: {}",
        names.join(", ")
    ));
}

/// Who comes back disabled beside these, since somebody removed it.
pub(super) fn removed(rebuilt: &Rebuilt, known: &[Device]) -> Vec<String> {
    rebuilt.returned(known).into_iter().filter(|r| r.removed).map(|r| r.device.name).collect()
}

/// Tells of them.
pub(super) fn tell_removed(ui: &Ui, removed: &[String]) {
    if removed.is_empty() {
        return;
    }
    ui.warn(&format!("back, and disabled, since they had been removed here: {}", removed.join(", ")));
}

/// Tells of versions that nobody confirms.
pub(super) fn tell_doubted(ui: &Ui, doubted: usize) {
    if doubted == 0 {
        return;
    }
    ui.warn(&format!(
        "suspect, and passed over by `latest`: {} newer than all that sealed destinations have of these devices, and only where \
         anybody with access can have written. `devicevault history` names them; what you know to be the device's, \
         `devicevault accept` takes for good",
        human::count(doubted, "version")
    ));
}

/// Copies that come back and are not what was stored.
pub(super) fn damaged(rebuilt: &Rebuilt) -> Vec<RefusedRow> {
    let copies = rebuilt.backups.iter().flat_map(|b| &b.copies);
    let row = |c: &Copy| {
        let why = c.error.as_ref()?.message.clone();
        Some(RefusedRow {
            destination: c.destination.to_string(),
            at: c.storage_ref.as_ref().map(ToString::to_string),
            why,
        })
    };
    copies.filter(|c| c.status == CopyStatus::Damaged).filter_map(row).collect()
}

/// Copies that a catalog had at these places, whole or damaged, and that do not come back from there.
///
/// # Errors
/// What the catalog answers.
pub(super) async fn missing(
    rebuilt: &Rebuilt,
    before: &dyn Catalog,
    from: &[DestinationConfig],
) -> Result<Vec<RefusedRow>> {
    let back = rebuilt.backups.iter().flat_map(|b| b.copies.iter().map(|c| (&b.id, &c.destination)));
    let back: HashSet<(&BackupId, &DestinationId)> = back.collect();
    let mut missing = Vec::new();
    for place in from {
        let mut query = Query::default();
        query.destination = Some(place.id.clone());
        let mut all = before.every(&query);
        while let Some(backup) = all.try_next().await? {
            // What a check found gone is damaged by now.
            let was_there = |c: &&Copy| {
                c.destination == place.id
                    && matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged)
            };
            let copy = backup.copies.iter().find(was_there);
            let gone = copy.filter(|_| !back.contains(&(&backup.id, &place.id)));
            missing.extend(gone.map(|copy| RefusedRow {
                destination: place.id.to_string(),
                at: copy.storage_ref.as_ref().map(ToString::to_string),
                why: format!("the catalog of before knew it there: {} of {}", backup.artefact, backup.first_seen),
            }));
        }
    }
    Ok(missing)
}

/// Tells of them, and names some.
pub(super) fn tell_missing(ui: &Ui, missing: &[RefusedRow]) {
    const NAMED: usize = 5;
    if missing.is_empty() {
        return;
    }
    let are = if missing.len() == 1 { "is" } else { "are" };
    let named: Vec<_> = missing.iter().take(NAMED).map(|m| m.at.as_deref().unwrap_or(&m.destination)).collect();
    let more = if missing.len() > NAMED { ", …" } else { "" };
    ui.warn(&format!(
        "{} that the catalog of before knew {are} not there any more, or not to be read: {}{more}",
        human::copies(missing.len()),
        named.join(", ")
    ));
}

/// Tells of them.
pub(super) fn tell_damaged(ui: &Ui, damaged: usize) {
    if damaged == 0 {
        return;
    }
    let are = if damaged == 1 { "is" } else { "are" };
    ui.warn(&format!(
        "{} {are} damaged, cut off, gone or not to be looked at: `devicevault verify --repair` stores anew what another \
         destination holds",
        human::copies(damaged)
    ));
}
