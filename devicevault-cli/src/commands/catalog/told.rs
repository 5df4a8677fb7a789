//! What was not believed, for people and programs.

use devicevault_core::rebuild::Refused;
use serde::Serialize;

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
