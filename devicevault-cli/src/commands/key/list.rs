//! `devicevault key list`

use clap::Args;
use devicevault_core::Result;
use serde::Serialize;

use crate::Exit;
use crate::context::Context;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};

/// List the keys, and what each opens. No key is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key list
  devicevault key list --json")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Listed {
    keys: Vec<Kek>,
    epochs: Vec<Epoch>,
}

#[derive(Debug, Serialize)]
struct Kek {
    id: String,
    from: String,
    retiring: bool,
    /// Of how many epoch keys.
    opens: usize,
}

#[derive(Debug, Serialize)]
struct Epoch {
    id: String,
    created: String,
    /// What is stored now is sealed with it.
    seals: bool,
    opened_by: Vec<String>,
}

pub(super) async fn run(context: &Context, _args: &ListArgs) -> Result<Exit> {
    let keys = context.instance().await?.keys;
    let epochs = keys.epochs();
    let newest = epochs.last().map(|e| e.id);
    let opens = |id: &str| epochs.iter().filter(|e| e.wraps.iter().any(|w| w.kek.0 == id)).count();
    let listed = Listed {
        keys: keys
            .sources()
            .keys
            .iter()
            .map(|k| Kek { id: k.id.clone(), from: k.from.describe(), retiring: k.retiring, opens: opens(&k.id) })
            .collect(),
        epochs: epochs
            .iter()
            .map(|e| Epoch {
                id: e.id.to_string(),
                created: human::time(e.created),
                seals: Some(e.id) == newest,
                opened_by: e.wraps.iter().map(|w| w.kek.to_string()).collect(),
            })
            .collect(),
    };
    if context.ui.is_json() {
        context.ui.json(&listed)?;
        return Ok(Exit::Done);
    }
    let all = listed.epochs.len();
    let mut table = Table::new(["key", "from", "opens", ""]);
    for k in &listed.keys {
        let whole = k.opens == all;
        let state = match (k.retiring, whole) {
            (true, _) => Cell::new("retiring").tone(Tone::Bad),
            (false, false) => Cell::new("not everything").tone(Tone::Bad),
            (false, true) => Cell::new(""),
        };
        table.row([Cell::new(&k.id), Cell::new(&k.from), Cell::new(format!("{} of {all}", k.opens)), state]);
    }
    context.ui.table(table, "this home has no keys; `devicevault key init` makes them")?;
    let mut table = Table::new(["epoch key", "made", "opened by", ""]);
    for e in &listed.epochs {
        let seals = if e.seals { "seals now" } else { "" };
        table.row([Cell::new(&e.id), Cell::new(&e.created), Cell::new(e.opened_by.join(", ")), Cell::new(seals)]);
    }
    context.ui.table(table, "")?;
    Ok(Exit::Done)
}
