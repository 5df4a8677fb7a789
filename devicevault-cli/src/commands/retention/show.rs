//! `devicevault retention show`

use clap::Args;
use devicevault_core::Result;
use devicevault_core::inventory::Selector;
use devicevault_core::retention::Retention;
use serde::Serialize;

use super::rules::{Origin, Rules};
use crate::Exit;
use crate::context::Context;
use crate::ui::table::{Cell, Table};

/// Show what is kept where: for each destination, and where policies differ, for each device.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault retention show
  devicevault retention show --json

Rules are options of a destination or of a policy:
  retention.last = 10         the last so many
  retention.days = 30         those that were valid within so many days before the artefact was last seen
  retention.hourly, .daily, .weekly, .monthly, .yearly = N
                              what was in force at the end of each of the last N hours, days, …
  retention.hanoi = N         Tower of Hanoi over days with N levels
  retention.max_count, .max_size, .max_days
                              no more than that, the oldest first
  retention.forever = true    everything
What is not set keeps the last 10 and 30 days. A rule of 0 keeps nothing; where no rule keeps anything, everything stays, up to
the limits. The newest version, the last good one and pinned ones always stay.")]
pub(crate) struct ShowArgs {}

#[derive(Debug, Serialize)]
struct Line {
    destination: String,
    device: Option<String>,
    keeps: String,
    /// `None`: this destination keeps its history.
    rules: Option<Retention>,
    because: String,
}

pub(crate) async fn run(context: &Context, _args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let rules = Rules::of(&instance).await?;
    let mut all = Selector::default();
    all.disabled = true;
    let devices = instance.inventory.devices(&all).await?;
    let mut lines = Vec::new();
    for open in instance.destinations().await? {
        let name = open.config.name.clone();
        if open.backend.as_ref().is_ok_and(|b| !b.capability().delete) {
            let because = "single versions cannot be deleted there".to_owned();
            lines.push(Line { destination: name, device: None, keeps: "everything".to_owned(), rules: None, because });
            continue;
        }
        let here = rules.at(&open.config)?;
        let nobody = devicevault_core::DeviceId(String::new());
        let (usual, why) = here.of(&nobody, "");
        let line = |device: Option<String>, rules: Retention, why: &Origin| Line {
            destination: name.clone(),
            device,
            keeps: rules.to_string(),
            rules: Some(rules),
            because: told(why),
        };
        lines.push(line(None, usual, &why));
        for device in &devices {
            let (wanted, why) = here.of(&device.id, "");
            if matches!(why, Origin::Policies(_)) {
                lines.push(line(Some(device.name.clone()), wanted, &why));
            }
        }
    }
    if context.ui.is_json() {
        context.ui.json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["destination", "device", "keeps", "because of"]);
    for l in &lines {
        let device = l.device.as_deref().unwrap_or("(all others)");
        table.row([Cell::new(&l.destination), Cell::new(device), Cell::new(&l.keeps), Cell::new(&l.because)]);
    }
    context.ui.table(table, "there are no destinations")?;
    Ok(Exit::Done)
}

fn told(origin: &Origin) -> String {
    match origin {
        Origin::Destination => "the destination's options".to_owned(),
        Origin::Policies(names) => format!("policy {}", names.join(" and ")),
        Origin::Default => "the default".to_owned(),
    }
}
