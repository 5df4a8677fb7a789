//! `devicevault history`

use clap::Args;
use devicevault_core::catalog::Query;
use devicevault_core::run::{Backup, CopyStatus};
use devicevault_core::{Error, ErrorKind, Result};
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::place::FromArgs;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};
use crate::versions::Wanted;
use crate::{Exit, folder, reference};

/// List the versions that are kept, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault history
  devicevault history core-rtr1
  devicevault history core-rtr1:running-config --since 2026-11-01
  devicevault history --from ./backups                  of a folder of ad hoc backups")]
pub(crate) struct HistoryArgs {
    /// Only of this device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]")]
    device: Option<String>,
    /// Only of this artefact
    #[arg(long, value_name = "NAME")]
    artefact: Option<String>,
    /// First seen at this date or time, or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    #[command(flatten)]
    from: FromArgs,
}

pub(crate) async fn run(context: &Context, args: HistoryArgs) -> Result<Exit> {
    let archive = folder::archive(context, args.from.place(context).await?.as_ref()).await?;
    let mut query = Query::default();
    let wanted = Wanted::parse(args.device.as_deref(), args.artefact.as_deref()).settled(&archive).await?;
    if let Some(name) = &wanted.device {
        query.device = Some(archive.device_id(name).await?);
    }
    query.artefact = wanted.artefact;
    if let Some(since) = &args.since {
        query.since = Some(start_of(since)?);
    }
    let versions = archive.versions(&query, args.limit as usize).await?;
    if context.ui.is_json() {
        context.ui.json(&versions)?;
    } else {
        context.ui.table(table(&versions), "there are no such versions")?;
        if let (Some(name), Some(device), Some(instance)) = (&wanted.device, &query.device, archive.instance()) {
            for other in instance.namesakes(name, device).await? {
                let (id, now) = (&other.device, other.now.escape_debug());
                let now = if other.now == *name { String::new() } else { format!(" (now {now})") };
                context.ui.note(&format!(
                    "another device that was called so has versions too: `devicevault history {id}`{now}"
                ));
            }
        }
    }
    Ok(Exit::Done)
}

/// A date means its beginning here.
fn start_of(text: &str) -> Result<devicevault_core::Timestamp> {
    let zone = TimeZone::system();
    let day = human::parse_date(text).and_then(|d| d.to_zoned(zone.clone()).ok());
    day.map(|z| z.timestamp()).or_else(|| human::parse_time(text, &zone)).ok_or_else(|| {
        Error::new(ErrorKind::Config, "read time", "it is neither a date nor a time")
            .with("value", text.escape_debug())
            .hint("write 2026-11-21 or 2026-11-21T10:30")
    })
}

/// Versions, for people.
pub(crate) fn table(versions: &[Backup]) -> Table {
    let mut table = Table::new(["version", "device", "artefact", "first seen", "last seen", "size", "copies", "note"]);
    for (b, id) in versions.iter().zip(reference::short_versions(versions)) {
        let copies: Vec<_> = b
            .copies
            .iter()
            .map(|c| match c.status {
                CopyStatus::Stored | CopyStatus::Extended => c.destination.to_string(),
                other => format!("{} ({})", c.destination, other.as_str()),
            })
            .collect();
        let all_good = b.copies.iter().all(|c| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended));
        let note = match (b.is_quarantined(), b.suspect.is_empty()) {
            (true, _) => format!("quarantined: {}", b.suspect.join("; ")),
            (false, false) => format!("suspect: {}", b.suspect.join("; ")),
            (false, true) => String::new(),
        };
        table.row([
            Cell::new(id),
            Cell::new(&b.device_name),
            Cell::new(&b.artefact),
            Cell::new(human::time(b.first_seen)),
            Cell::new(human::time(b.last_seen)),
            Cell::number(human::size(b.size)),
            Cell::new(copies.join(", ")).tone(if all_good { Tone::Plain } else { Tone::Bad }),
            Cell::new(note).tone(Tone::Bad),
        ]);
    }
    table
}
