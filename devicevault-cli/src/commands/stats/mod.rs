//! `devicevault stats`

mod chart;
mod measured;

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use devicevault_core::statistics::{Amount, Collected, DAY, Statistics, StatisticsQuery};
use devicevault_core::{DestinationId, Result, Timestamp};
use jiff::tz::TimeZone;
use jiff::{Span, civil};
use serde::Serialize;

use self::measured::Measured;
use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::ui::table::{Cell, Table};
use crate::{Exit, quarantine};

/// Add up what is stored: per destination and device, what came in the last days, weeks or months, and what compression
/// and leaving out the unchanged saved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault stats
  devicevault stats --by device
  devicevault stats --device core-rtr1 --per week
  devicevault stats --destination store --measure       ask the destination how much room it takes
  devicevault stats --json

Sizes are those of contents, before compression and encryption. How much room they take is asked of the destinations:
at once where there are few versions, else by --measure; what was measured is kept for the next time.")]
pub(crate) struct StatsArgs {
    /// Only of this device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only at this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// A row for each
    #[arg(long, value_name = "WHAT", default_value = "destination")]
    by: By,
    /// The chart's steps
    #[arg(long, value_name = "STEP", default_value = "day")]
    per: Per,
    /// Ask the destinations how much room they take, however long that lasts
    #[arg(long)]
    measure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Destination,
    Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Per {
    Day,
    Week,
    Month,
}

/// Steps that the chart shows.
const STEPS: i32 = 30;
/// Up to so many copies, destinations are asked at once.
const FEW: u64 = 20_000;

/// What was added up, as `stats --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told {
    copies: u64,
    content_bytes: u64,
    destinations: Vec<OfDestination>,
    devices: Vec<OfDevice>,
    /// What of that is in quarantine.
    quarantined: Amount,
    /// Oldest first.
    growth: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<OfRuns>,
}

#[derive(Debug, Serialize)]
struct OfDestination {
    destination: String,
    #[serde(flatten)]
    amount: Amount,
    /// How much room it takes.
    measured: Option<Measured>,
}

#[derive(Debug, Serialize)]
struct OfDevice {
    device: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Debug, Serialize)]
struct Step {
    /// The first day of it.
    begins: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Debug, Serialize)]
struct OfRuns {
    #[serde(flatten)]
    collected: Collected,
    /// Bytes that were collected and not stored, since nothing had changed.
    unchanged_bytes: u64,
}

pub(crate) async fn run(context: &Context, args: StatsArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut query = StatisticsQuery::default();
    if let Some(name) = &args.device {
        query.device = Some(instance.device_id(name).await?);
    }
    if let Some(name) = &args.destination {
        query.destination = Some(instance.destination(name).await?.id);
    }
    let steps = steps(instance.now(), args.per);
    query.days_since = steps.first().and_then(|d| Some(d.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    query.runs = args.destination.is_none();
    let statistics = cancellable(instance.catalog.statistics(&query)).await?;
    let mut measured = BTreeMap::new();
    // Of one device, nothing is kept: it is asked for only when that is cheap or wanted.
    if args.measure || statistics.total().copies <= FEW {
        measured = cancellable(measured::ask(context, &instance, &query)).await?;
    } else if query.device.is_none() {
        measured = measured::kept(&instance.home);
    }
    let quarantined = quarantine::amount(&instance, query.device, query.destination).await?;
    let told = told(&instance, &statistics, &steps, measured, quarantined).await?;
    if context.ui.is_json() {
        context.ui.json(&told)?;
    } else {
        show(context, &args, &told)?;
    }
    Ok(Exit::Done)
}

/// The first day of each step, oldest first.
fn steps(now: Timestamp, per: Per) -> Vec<civil::Date> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let (begin, step) = match per {
        Per::Day => (today, Span::new().days(1)),
        Per::Week => {
            let back = i64::from(today.weekday().to_monday_zero_offset());
            (today.saturating_sub(Span::new().days(back)), Span::new().weeks(1))
        }
        Per::Month => (today.first_of_month(), Span::new().months(1)),
    };
    let mut all: Vec<_> = (0..STEPS).filter_map(|n| begin.checked_sub(step.checked_mul(n.into()).ok()?).ok()).collect();
    all.reverse();
    all
}

fn day_number(date: civil::Date) -> i64 {
    date.to_zoned(TimeZone::UTC).map_or(0, |z| z.timestamp().as_microsecond().div_euclid(DAY))
}

async fn told(
    instance: &Instance,
    statistics: &Statistics,
    steps: &[civil::Date],
    mut measured: BTreeMap<DestinationId, Measured>,
    quarantined: Amount,
) -> Result<Told> {
    let names = instance.destination_configs().await?;
    let mut places: BTreeMap<&DestinationId, Amount> = BTreeMap::new();
    let mut devices: BTreeMap<&str, Amount> = BTreeMap::new();
    for tally in &statistics.tallies {
        places.entry(&tally.destination).or_default().add(tally.amount);
        devices.entry(&tally.device_name).or_default().add(tally.amount);
    }
    let mut growth: Vec<Step> =
        steps.iter().map(|d| Step { begins: d.to_string(), amount: Amount::default() }).collect();
    let begins: Vec<i64> = steps.iter().map(|d| day_number(*d)).collect();
    for ((day, _), amount) in &statistics.days {
        let at = begins.partition_point(|begin| begin <= day);
        if let Some(step) = at.checked_sub(1).and_then(|at| growth.get_mut(at)) {
            step.amount.add(*amount);
        }
    }
    let total = statistics.total();
    let mut devices: Vec<_> =
        devices.into_iter().map(|(name, amount)| OfDevice { device: name.to_owned(), amount }).collect();
    devices.sort_by(|a, b| (b.amount.content_bytes, &a.device).cmp(&(a.amount.content_bytes, &b.device)));
    Ok(Told {
        copies: total.copies,
        content_bytes: total.content_bytes,
        destinations: places
            .into_iter()
            .map(|(id, amount)| OfDestination {
                destination: names.get(id).map_or_else(|| id.to_string(), |d| d.name.clone()),
                amount,
                measured: measured.remove(id),
            })
            .collect(),
        devices,
        quarantined,
        growth,
        runs: statistics.collected.map(|collected| OfRuns {
            unchanged_bytes: collected.bytes.saturating_sub(collected.new_bytes),
            collected,
        }),
    })
}

fn show(context: &Context, args: &StatsArgs, told: &Told) -> Result<()> {
    let ui = &context.ui;
    let nothing = "nothing is stored yet";
    match args.by {
        By::Destination => {
            let mut table = Table::new(["destination", "copies", "content", "takes", "compression saved", "measured"]);
            for d in &told.destinations {
                let m = d.measured.as_ref();
                table.row([
                    Cell::new(&d.destination),
                    Cell::number(d.amount.copies),
                    Cell::number(human::size(d.amount.content_bytes)),
                    Cell::opt(m.map(|m| human::size(m.stored_bytes)).as_ref()),
                    Cell::opt(m.map(|m| saved(m.content_bytes, m.stored_bytes)).as_ref()),
                    Cell::opt(m.map(|m| human::time(m.at)).as_ref()),
                ]);
            }
            ui.table(table, nothing)?;
        }
        By::Device => {
            let mut table = Table::new(["device", "copies", "content"]);
            for d in &told.devices {
                table.row([
                    Cell::new(&d.device),
                    Cell::number(d.amount.copies),
                    Cell::number(human::size(d.amount.content_bytes)),
                ]);
            }
            ui.table(table, nothing)?;
        }
    }
    if told.copies == 0 {
        return Ok(());
    }
    let bars: Vec<_> = told.growth.iter().map(|s| (s.begins.as_str(), s.amount)).collect();
    for line in chart::lines(&bars, usize::from(ui.width().unwrap_or(80))) {
        ui.line(&line)?;
    }
    if let Some(runs) = &told.runs {
        ui.note(&format!(
            "{} collected {}; {} of it was unchanged and stored no second time ({})",
            human::count(usize::try_from(runs.collected.runs).unwrap_or(usize::MAX), "run"),
            human::size(runs.collected.bytes),
            human::size(runs.unchanged_bytes),
            saved(runs.collected.bytes, runs.collected.new_bytes)
        ));
    }
    if told.quarantined.copies > 0 {
        ui.note(&format!(
            "{} in quarantine, {}: `devicevault quarantine list`",
            human::copies(usize::try_from(told.quarantined.copies).unwrap_or(usize::MAX)),
            human::size(told.quarantined.content_bytes)
        ));
    }
    if told.destinations.iter().any(|d| d.measured.is_none()) {
        ui.note("--measure asks the destinations how much room they take");
    }
    Ok(())
}

/// How much less the one is than the other: `63 %`.
fn saved(before: u64, after: u64) -> String {
    let saved = before.saturating_sub(after);
    let percent = u128::from(saved) * 100 / u128::from(before.max(1));
    format!("{percent} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_today_and_begin_where_they_should() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let of = |per| steps(now, per).into_iter().map(|d| d.to_string()).collect::<Vec<_>>();
        assert_eq!((of(Per::Day).len(), of(Per::Day).last().unwrap().as_str()), (30, "2026-11-21"));
        assert_eq!(of(Per::Week).last().unwrap(), "2026-11-16");
        assert_eq!((of(Per::Month)[0].as_str(), of(Per::Month)[29].as_str()), ("2024-06-01", "2026-11-01"));
        assert!(of(Per::Week).is_sorted());
        assert_eq!(saved(1000, 370), "63 %");
        assert_eq!(saved(0, 0), "0 %");
        assert_eq!(saved(10, 20), "0 %");
    }
}
