//! `devicevault policy show`

use clap::Args;
use devicevault_core::Result;
use devicevault_core::inventory::Policy;
use serde::Serialize;

use super::list::{or_all, selects};
use crate::Exit;
use crate::context::Context;
use crate::ui::escape;
use crate::ui::paint::Style;
use crate::ui::table::{Cell, Table};

/// Show a policy and the devices that it selects.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault policy show core
  devicevault policy show core --json")]
pub(crate) struct ShowArgs {
    /// What it is called
    name: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    policy: Policy,
    /// Names of the devices that it selects now.
    selected: Vec<String>,
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let policy = instance.policy(&args.name).await?;
    let devices = instance.inventory.devices(&policy.devices).await?;
    if context.ui.is_json() {
        let selected = devices.into_iter().map(|d| d.name).collect();
        context.ui.json(&Shown { policy, selected })?;
        return Ok(Exit::Done);
    }
    let ui = &context.ui;
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        let all: Vec<_> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let p = &policy;
    for (name, value) in [
        ("name", Some(p.name.clone())),
        ("devices", Some(selects(&p.devices))),
        ("artefacts", Some(or_all(p.artefacts.iter()))),
        ("destinations", Some(or_all(p.destinations.iter()))),
        ("credential", p.credential.clone()),
        ("metadata", pairs(&p.metadata)),
        ("options", pairs(&p.options)),
        ("without original", p.without_original.then(|| "accepted".to_owned())),
        ("in force", Some(yes_no(p.enabled))),
    ] {
        if let Some(value) = value {
            ui.line(&format!("{name:17} {}", escape::text(&value)))?;
        }
    }
    ui.line(&format!("\n{}", ui.paint().on(Style::Bold, "Devices")))?;
    let mut table = Table::new(["name", "host", "platform", "site"]);
    for d in &devices {
        table.row([Cell::new(&d.name), Cell::new(&d.host), Cell::new(&d.platform), Cell::opt(d.site.as_ref())]);
    }
    ui.table(table, "it selects none")?;
    Ok(Exit::Done)
}
