//! `devicevault policy list`

use clap::Args;
use devicevault_core::Result;
use devicevault_core::inventory::{Policy, Selector};

use crate::Exit;
use crate::context::Context;
use crate::ui::table::{Cell, Table, Tone};

/// List policies.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault policy list
  devicevault policy list --json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(context: &Context, _args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let policies = instance.policies().await?;
    if context.ui.is_json() {
        context.ui.json(&policies)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["name", "devices", "artefacts", "destinations", "credential", ""]);
    for p in &policies {
        table.row([
            Cell::new(&p.name),
            Cell::new(selects(&p.devices)),
            Cell::new(or_all(p.artefacts.iter())),
            Cell::new(or_all(p.destinations.iter())),
            Cell::opt(p.credential.as_ref()),
            Cell::new(remark(p)).tone(Tone::Warning),
        ]);
    }
    context.ui.table(table, "there are no policies: every device goes to every enabled destination")?;
    Ok(Exit::Done)
}

fn remark(p: &Policy) -> &'static str {
    match (p.enabled, p.without_original) {
        (false, _) => "disabled",
        (true, true) => "without original",
        (true, false) => "",
    }
}

/// A list, or that there is no bound.
pub(super) fn or_all<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(", ") }
}

/// Which devices a selector means, in words.
pub(super) fn selects(s: &Selector) -> String {
    let mut words: Vec<String> = s.names.iter().cloned().collect();
    for (name, value) in [("site", &s.site), ("group", &s.group), ("platform", &s.platform)] {
        words.extend(value.iter().map(|v| format!("{name} {v}")));
    }
    words.extend(s.tags.iter().map(|t| format!("tag {t}")));
    if words.is_empty() { "all".to_owned() } else { words.join(", ") }
}
