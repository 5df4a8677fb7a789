//! `devicevault run`: attempts to back up a device.

mod deliver;
mod waiting;

use std::collections::BTreeSet;

use clap::{Args, Subcommand, ValueEnum};
use devicevault_core::catalog::{CatalogExt as _, RunQuery};
use devicevault_core::run::{CopyStatus, Run, RunState};
use devicevault_core::{DeviceId, Error, ErrorKind, NoteLevel, Result};
use futures::{StreamExt as _, TryStreamExt as _, future};

use crate::context::Context;
use crate::instance::Instance;
use crate::report::tone_of_run;
use crate::ui::paint::Style;
use crate::ui::table::{Cell, Table, Tone};
use crate::ui::{escape, human};
use crate::{Exit, reference};
pub(crate) use waiting::{GivenUp, Told, Waiting};

/// List and show runs.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault run list --limit 20
  devicevault run list --state failed
  devicevault run show 019a2b3c
  devicevault run deliver")]
pub(crate) enum RunCommand {
    /// List runs, newest first
    List(ListArgs),
    /// Show a run: artefacts, copies, errors and its log
    Show(ShowArgs),
    /// Deliver what waits for destinations, without asking any device
    Deliver(deliver::DeliverArgs),
}

/// List runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault run list
  devicevault run list core-rtr1 --limit 100
  devicevault run list --state failed --json")]
pub(crate) struct ListArgs {
    /// Only of this device
    device: Option<String>,
    /// Only in this state
    #[arg(long)]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Show a run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault run show 019a2b3c
  devicevault run show latest --json")]
pub(crate) struct ShowArgs {
    /// Its identifier, the beginning or the end of it, or `latest`
    run: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Queued,
    Collecting,
    Storing,
    Succeeded,
    Partial,
    Unchanged,
    Failed,
    Cancelled,
}

impl From<State> for RunState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Collecting => Self::Collecting,
            State::Storing => Self::Storing,
            State::Succeeded => Self::Succeeded,
            State::Partial => Self::Partial,
            State::Unchanged => Self::Unchanged,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) async fn run(context: &Context, command: RunCommand) -> Result<Exit> {
    match command {
        RunCommand::List(args) => list(context, args).await,
        RunCommand::Show(args) => show(context, args).await,
        RunCommand::Deliver(args) => Box::pin(deliver::run(context, args)).await,
    }
}

async fn list(context: &Context, args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut query = RunQuery::default();
    query.state = args.state.map(RunState::from);
    if let Some(name) = &args.device {
        query.device = Some(instance.device_id(name).await?);
    }
    let runs = all(&instance, &query, args.limit as usize, |_| true).await?;
    let mut told = Vec::with_capacity(runs.len());
    for run in runs {
        told.push(Told::of(&instance, run).await?);
    }
    if context.ui.is_json() {
        context.ui.json(&told)?;
    } else {
        context.ui.table(table(told.iter().map(|t| (&t.run, t.waiting.as_slice()))), "there are no such runs")?;
    }
    Ok(Exit::Done)
}

/// Runs that a query finds and that are wanted, newest first, up to a limit.
async fn all(instance: &Instance, query: &RunQuery, limit: usize, wanted: impl Fn(&Run) -> bool) -> Result<Vec<Run>> {
    let runs = instance.catalog.every_run(query);
    runs.try_filter(|run| future::ready(wanted(run))).take(limit).try_collect().await
}

/// Runs with what waits of them, for people.
pub(crate) fn table<'a>(runs: impl IntoIterator<Item = (&'a Run, &'a [Waiting])>) -> Table {
    let runs: Vec<_> = runs.into_iter().collect();
    let ids: Vec<_> = runs.iter().map(|(r, _)| r.id).collect();
    let mut table = Table::new(["run", "device", "state", "started", "took", "artefacts", "note"]);
    for ((run, waiting), id) in runs.into_iter().zip(reference::short_ids(&ids)) {
        let took = run.duration().map_or_else(|| "-".to_owned(), human::duration);
        let note = match &run.error {
            Some(e) => e.kind.to_string(),
            None if waiting.is_empty() => not_at(run),
            None => waiting::note(waiting),
        };
        table.row([
            Cell::new(id),
            Cell::new(&run.start.device_name),
            Cell::new(run.state.as_str()).tone(tone_of_run(run.state)),
            Cell::new(human::time(run.start.started_at)),
            Cell::number(took),
            Cell::number(run.artefacts.len()),
            Cell::new(note),
        ]);
    }
    table
}

/// Which destinations lack something of a run that was not told to wait for them.
fn not_at(run: &Run) -> String {
    let copies = run.artefacts.iter().flat_map(|a| &a.copies).filter(|c| c.status == CopyStatus::Failed);
    let places: BTreeSet<&str> = copies.map(|c| c.destination.as_str()).collect();
    if places.is_empty() {
        let failed = run.artefacts.iter().find_map(|a| a.error.as_ref());
        return failed.map_or_else(String::new, |e| e.kind.to_string());
    }
    format!("not at {}", places.into_iter().collect::<Vec<_>>().join(", "))
}

async fn show(context: &Context, args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let told = Told::of(&instance, find(&instance, &args.run, None).await?).await?;
    if context.ui.is_json() {
        context.ui.json(&told)?;
        return Ok(Exit::Done);
    }
    let Told { run, waiting, given_up } = told;
    let ui = &context.ui;
    let paint = ui.paint();
    let started = human::time(run.start.started_at);
    let took = run.duration().map_or_else(String::new, |d| format!(", {}", human::duration(d)));
    for (name, value) in [
        ("run", run.id.to_string()),
        ("task", format!("{} (attempt {} of job {})", run.start.task_id, run.start.attempt, run.start.task_identifier)),
        ("device", run.start.device_name.clone()),
        ("state", run.state.to_string()),
        ("started", format!("{started}{took}")),
        ("received", human::size(run.size_before)),
        ("handed to destinations", human::size(run.size_after)),
    ] {
        ui.line(&format!("{name:23} {}", escape::text(&value)))?;
    }
    if let Some(e) = &run.error {
        ui.line(&format!("\n{} {}", paint.on(Style::Bad, "error:"), escape::text(&e.message)))?;
        if let Some(hint) = &e.hint {
            ui.line(&format!("{} {}", paint.on(Style::Hint, "hint:"), escape::text(hint)))?;
        }
    }
    if !run.artefacts.is_empty() {
        ui.line("")?;
        ui.table(artefacts(&run, &waiting, &given_up), "")?;
    }
    if !waiting.is_empty() {
        let note = waiting::note(&waiting);
        ui.line(&format!("\n{}; the next backup, or `devicevault run deliver`, takes it there", escape::text(&note)))?;
    }
    if !run.log.is_empty() {
        ui.line(&format!("\n{}", paint.on(Style::Bold, "Log")))?;
    }
    for note in &run.log {
        let level = match note.level {
            NoteLevel::Info => paint.on(Style::Dim, "info"),
            NoteLevel::Warning => paint.on(Style::Warning, "warning"),
            NoteLevel::Suspect => paint.on(Style::Bad, "suspect"),
        };
        ui.line(&format!("{level}: {}", escape::text(&note.text)))?;
    }
    Ok(Exit::Done)
}

fn artefacts(run: &Run, waiting: &[Waiting], given_up: &[GivenUp]) -> Table {
    let mut table = Table::new(["artefact", "kind", "status", "size", "destination", "view", "copy", "where or why"]);
    for a in &run.artefacts {
        let mut first = Some(a);
        let mut row = |place: [Cell; 4]| {
            let [destination, view, copy, why] = place;
            let about = first.take();
            let text = |s: Option<String>| Cell::new(s.unwrap_or_default());
            table.row([
                text(about.map(|a| a.artefact.clone())),
                text(about.map(|a| a.kind.to_string())),
                text(about.map(|a| a.word().to_owned())),
                Cell::number(about.map(|a| human::size(a.size)).unwrap_or_default()),
                destination,
                view,
                copy,
                why,
            ]);
        };
        if a.copies.is_empty() {
            let why = a.error.as_ref().map(|e| e.message.as_str());
            row([Cell::opt(None::<&str>), Cell::opt(None::<&str>), Cell::opt(None::<&str>), Cell::opt(why)]);
        }
        for c in &a.copies {
            let waits = waiting.iter().any(|w| w.artefact == a.artefact && w.destination == c.destination);
            let lost = given_up.iter().find(|g| g.artefact == a.artefact && g.destination == c.destination);
            let (status, tone) = match c.status {
                CopyStatus::Pending if lost.is_some() => ("given up", Tone::Bad),
                CopyStatus::Pending if waits => ("waiting", Tone::Warning),
                CopyStatus::Pending => ("delivered later", Tone::Good),
                CopyStatus::Failed => (c.status.as_str(), Tone::Bad),
                _ => (c.status.as_str(), Tone::Good),
            };
            let why = match lost.map_or(&c.error, |g| &g.error) {
                Some(e) if lost.is_some() => e.message.clone(),
                Some(e) if c.status != CopyStatus::Pending || waits => e.message.clone(),
                _ => c.storage_ref.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            row([
                Cell::new(c.destination.as_str()),
                Cell::new(c.view.as_str()),
                Cell::new(status).tone(tone),
                Cell::new(why),
            ]);
        }
    }
    table
}

/// The run that an identifier, its beginning or its end names; `latest`: the last one, of this device where there is one.
pub(super) async fn find(instance: &Instance, wanted: &str, of: Option<&DeviceId>) -> Result<Run> {
    let mut query = RunQuery::default();
    if wanted == "latest" {
        query.device = of.cloned();
        let newest = all(instance, &query, 1, |_| true).await?.pop();
        return newest.ok_or_else(|| Error::new(ErrorKind::NotFound, "find run", "there are no runs yet"));
    }
    let fail = |kind, why: &str| {
        Err(Error::new(kind, "find run", why)
            .with("run", wanted.escape_debug())
            .hint("`devicevault run list` shows them"))
    };
    if let Ok(id) = wanted.parse() {
        query.id = Some(id);
        return match all(instance, &query, 1, |_| true).await?.pop() {
            Some(run) => Ok(run),
            None => fail(ErrorKind::NotFound, "there is no such run"),
        };
    }
    let prefix = wanted.to_ascii_lowercase();
    if prefix.len() < 4 || !prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return fail(ErrorKind::Config, "it is no identifier, nor the first or last four characters of one or more");
    }
    let mut found = all(instance, &query, 2, |r| is_meant(&r.id.to_string(), &prefix)).await?;
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (Some(_), false) => fail(ErrorKind::Conflict, "several runs begin or end so"),
        (None, _) => fail(ErrorKind::NotFound, "there is no such run"),
    }
}

fn is_meant(id: &str, part: &str) -> bool {
    id.starts_with(part) || id.ends_with(part)
}
