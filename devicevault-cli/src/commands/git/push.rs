//! `devicevault git push`

use clap::Args;
use devicevault_core::{Error, ErrorKind, ErrorRecord, Result};
use devicevault_storage::git::PushReport;
use serde::Serialize;

use crate::context::Context;
use crate::interrupt::cancellable;
use crate::ui::table::{Cell, Table, Tone};
use crate::{Exit, pushing, wiring};

/// Push Git destinations to their remotes now: all that have one, unless some are named. What others pushed there is
/// merged; nothing is forced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault git push
  devicevault git push read --json

Exit codes: 0 all were pushed, 3 some could not be, 1 none could.")]
pub(crate) struct PushArgs {
    /// What they are called
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Move the remote's branch by force from what was purged here; nothing that others pushed is lost
    #[arg(long, requires = "names")]
    purged: bool,
}

/// A push, as `git push --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Row {
    destination: String,
    remote: String,
    /// It got something that it did not have.
    pushed: bool,
    /// Something that others pushed was merged.
    merged: bool,
    /// Nothing is stored here yet, and the remote was not asked.
    empty: bool,
    error: Option<ErrorRecord>,
}

pub(super) async fn run(context: &Context, args: PushArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut configs = Vec::new();
    for name in &args.names {
        let config = instance.destination(name).await?;
        if !wiring::has_remote(&config) {
            return Err(Error::new(ErrorKind::Config, "push destination", "it has no remote")
                .with("destination", name)
                .hint("name one: `devicevault destination edit NAME --option remote=URL`"));
        }
        configs.push(config);
    }
    if configs.is_empty() {
        configs = instance.inventory.destinations().await?;
    }
    if args.purged {
        for config in &configs {
            let repository = wiring::repository(instance.backend_settings(config, false)).await?;
            cancellable(repository.push_purged()).await.map_err(|e| e.with("destination", &config.name))?;
        }
    }
    let pushes = cancellable(async { Ok(pushing::push(&instance, configs).await) }).await?;
    let rows: Vec<Row> = pushes
        .into_iter()
        .map(|p| {
            let (done, error) = match p.done {
                Ok(done) => (done, None),
                Err(e) => (PushReport::default(), Some(e.to_record())),
            };
            let PushReport { pushed, merged, empty, .. } = done;
            Row { destination: p.destination, remote: p.remote, pushed, merged, empty, error }
        })
        .collect();
    if context.ui.is_json() {
        context.ui.json(&rows)?;
    } else {
        let mut table = Table::new(["destination", "remote", "what was done"]);
        for r in &rows {
            let (what, tone) = match (&r.error, r.pushed, r.merged) {
                (Some(e), _, _) => (format!("failed: {}", e.message), Tone::Bad),
                (None, true, true) => ("merged what others pushed, and pushed".to_owned(), Tone::Good),
                (None, true, false) => ("pushed".to_owned(), Tone::Good),
                (None, false, _) if r.empty => {
                    ("nothing is stored yet; the remote was not asked".to_owned(), Tone::Plain)
                }
                (None, false, _) => ("it has everything".to_owned(), Tone::Plain),
            };
            table.row([Cell::new(&r.destination), Cell::new(&r.remote), Cell::new(what).tone(tone)]);
        }
        context.ui.table(table, "no destination has a remote")?;
    }
    let bad = rows.iter().filter(|r| r.error.is_some()).count();
    Ok(Exit::of_parts(rows.len() - bad, bad))
}
