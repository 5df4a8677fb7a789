//! `devicevault destination list`

use clap::Args;
use devicevault_core::Result;

use super::state;
use crate::Exit;
use crate::context::Context;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring;

/// List destinations.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination list
  devicevault destination list --json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(context: &Context, _args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let all = state::all(&instance).await?;
    if context.ui.is_json() {
        context.ui.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(["name", "kind", "view", "sealed", "compression", "where", "last backup", "waiting", ""]);
    for s in &all {
        let d = &s.config;
        let last = s.last_backup.as_ref();
        let tone = match last.map(|l| l.status) {
            Some("stored" | "extended") | None => Tone::Plain,
            Some("pending" | "marked") => Tone::Warning,
            Some(_) => Tone::Bad,
        };
        table.row([
            Cell::new(&d.name),
            Cell::new(&d.kind),
            Cell::new(d.view.as_str()),
            Cell::opt(s.sealed.map(|sealed| if sealed { "yes" } else { "no" })),
            Cell::opt(d.options.get("compression")),
            Cell::opt(d.options.get(wiring::URL).or_else(|| d.options.get(wiring::PATH))),
            Cell::opt(last.map(|l| format!("{} {}", human::time(l.at), l.status))).tone(tone),
            Cell::number(s.waiting).tone(if s.waiting > 0 { Tone::Warning } else { Tone::Dim }),
            Cell::new(remark(s)).tone(Tone::Warning),
        ]);
    }
    context.ui.table(table, "there are no destinations")?;
    Ok(Exit::Done)
}

/// What is out of the ordinary.
fn remark(s: &state::State) -> String {
    let failing = s.remote.as_ref().and_then(|r| r.failing_since);
    let failing = failing.map(|since| format!("not pushed since {}", human::time(since)));
    let disabled = (!s.config.enabled).then(|| "disabled".to_owned());
    disabled.into_iter().chain(failing).collect::<Vec<_>>().join(", ")
}
