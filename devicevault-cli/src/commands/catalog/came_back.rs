//! What came back, and how that is told.

use std::time::Duration;

use devicevault_core::rebuild::Rebuilt;
use devicevault_core::{Result, Timestamp};
use serde::Serialize;

use super::told::{self, Namesake, RefusedRow};
use crate::context::Context;
use crate::ui::human;

/// What came back, as `catalog rebuild --json` tells it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) from: Vec<String>,
    pub(super) dry_run: bool,
    pub(super) backups: usize,
    pub(super) copies: usize,
    pub(super) known: usize,
    pub(super) devices: usize,
    /// Versions that the catalog knew and that are pinned again.
    pub(super) pinned: usize,
    /// Copies that claim to be a version which the catalog knows as something else: left out.
    pub(super) mistaken: usize,
    /// Devices whose name another one has by now: disabled, under another name.
    pub(super) namesakes: Vec<Namesake>,
    /// Devices that had been removed here: disabled.
    pub(super) removed: Vec<String>,
    /// Devices that have no login any more.
    pub(super) without_login: Vec<String>,
    pub(super) surplus: usize,
    pub(super) refused: Vec<RefusedRow>,
    /// Copies that come back as damaged, and why.
    pub(super) damaged: Vec<RefusedRow>,
    /// Copies that the catalog of before had there, and that do not come back from there.
    pub(super) missing: Vec<RefusedRow>,
    /// Copies that no key at hand opens; they are named with what was refused.
    pub(super) closed: usize,
    /// Records of what was seen, pinned and accepted that no key at hand opens.
    pub(super) closed_records: usize,
    /// Versions that would be the latest of devices that a sealed place knows, and that only others have: suspect.
    pub(super) doubted: usize,
    /// Devices that came back and that no sealed place knows, though one was read.
    pub(super) unconfirmed: Vec<String>,
    /// Versions that are dated after now, newest first: a clock was ahead.
    pub(super) ahead: Vec<Ahead>,
    /// Where the catalog of before is.
    pub(super) kept_as: Option<String>,
    /// The kit of the home's keys: it had none, or it lies there still.
    pub(super) recovery_kit: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ahead {
    device: String,
    artefact: String,
    backup: String,
    first_seen: Timestamp,
}

/// Clocks of collectors are apart by less than this.
const APART: Duration = Duration::from_secs(5 * 60);

/// What counts as newer than all that is stored from now on, until that is dated behind it.
pub(super) fn ahead(rebuilt: &Rebuilt, now: Timestamp) -> Vec<Ahead> {
    let latest = now.checked_add(APART).unwrap_or(Timestamp::MAX);
    let ahead = rebuilt.backups.iter().rev().filter(|b| b.first_seen > latest);
    ahead
        .map(|b| Ahead {
            device: b.device_name.clone(),
            artefact: b.artefact.clone(),
            backup: b.id.to_string(),
            first_seen: b.first_seen,
        })
        .collect()
}

pub(super) fn tell(context: &Context, told: &Told) -> Result<()> {
    let ui = &context.ui;
    if ui.is_json() {
        return ui.json(told);
    }
    for rows in [&told.refused, &told.damaged].into_iter().filter(|rows| !rows.is_empty()) {
        ui.table(told::table(rows), "")?;
    }
    if let Some(path) = &told.kept_as {
        ui.note(&format!("the catalog of before is {path}"));
    }
    let word = if told.dry_run { "would come back" } else { "came back" };
    ui.note(&format!(
        "{} with {} and {} {word}, {} known already, {} refused",
        human::count(told.backups, "version"),
        human::copies(told.copies),
        human::count(told.devices, "device"),
        told.known,
        told.refused.len()
    ));
    if told.pinned > 0 {
        ui.note(&format!("{} that the catalog knew are pinned again", human::count(told.pinned, "version")));
    }
    told::tell_namesakes(ui, &told.namesakes);
    told::tell_removed(ui, &told.removed);
    if told.mistaken > 0 {
        ui.warn(&format!(
            "{} left out: each claims to be a version that the catalog knows as something else",
            human::copies(told.mistaken)
        ));
    }
    told::tell_doubted(ui, told.doubted);
    told::tell_damaged(ui, told.damaged.len());
    told::tell_missing(ui, &told.missing);
    if !told.unconfirmed.is_empty() {
        ui.warn(&format!(
            "only places know them where anybody with access can have written, look at their addresses before you give them a \
             login: {}",
            told.unconfirmed.join(", ")
        ));
    }
    if told.surplus > 0 {
        let are = if told.surplus == 1 { "is" } else { "are" };
        ui.note(&format!("{} {are} left over from before they were stored anew", human::copies(told.surplus)));
    }
    if told.closed > 0 {
        ui.warn(&format!(
            "{} stay closed, and where they are: with a key of theirs, `devicevault --kek-file KIT catalog rebuild --into \
             --from {}` brings them back; where an epoch key is missing or damaged, bring its file back into keys/ first",
            human::copies(told.closed),
            told.from.first().map_or("DESTINATION", String::as_str)
        ));
    }
    if told.closed_records > 0 {
        ui.warn(&format!(
            "{} of what was seen, pinned and accepted stay closed: pins of those months are not known, and retention heeds none \
             of them. With a key of theirs, `devicevault --kek-file KIT catalog rebuild --replace --from {}` brings them back",
            human::count(told.closed_records, "record"),
            told.from.first().map_or("DESTINATION", String::as_str)
        ));
    }
    if let Some(newest) = told.ahead.first() {
        ui.warn(&format!(
            "dated after now: {}, the latest of {} ({} of {}): a clock was ahead, or this one is behind. They count as the newest \
             of their artefacts until the next backup, which is dated behind them; `devicevault history` has the others",
            human::count(told.ahead.len(), "version"),
            human::time(newest.first_seen),
            newest.artefact,
            newest.device
        ));
    }
    if !told.without_login.is_empty() {
        ui.note(&format!(
            "{} without a login: no manifest holds any. Set them by `devicevault device edit`, `credential add` or `apply`; \
             ports and options too",
            human::count(told.without_login.len(), "device")
        ));
    }
    Ok(())
}
