//! `devicevault destination test`

use std::time::Duration;

use clap::{ArgGroup, Args};
use devicevault_core::storage::{Health, Probe};
use devicevault_core::{Error, ErrorKind, ErrorRecord, Result};
use serde::Serialize;

use super::marker;
use crate::Exit;
use crate::context::Context;
use crate::destinations::sorted;
use crate::instance::{Instance, OpenDestination};
use crate::interrupt::cancellable;
use crate::ui::escape;
use crate::ui::paint::Style;
use crate::wiring;

/// Test destinations: each probes what its store really does.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["names", "all"]).required(true), after_help = "\
Examples:
  devicevault destination test store
  devicevault destination test --all --json
  devicevault destination test offsite --repair     where its marker was lost

Exit codes: 0 all can be used, 3 some can, 1 none can.")]
pub(crate) struct TestArgs {
    /// What they are called
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All, disabled ones too
    #[arg(long)]
    all: bool,
    /// Lay the marker again of a plain destination that has lost it, where what this home stored lies there, or, if that is
    /// nothing yet, its keys; what waits for the destination goes on waiting
    #[arg(long)]
    repair: bool,
}

/// What a test found, as `destination test --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Tested {
    destination: String,
    /// Whether backups can be stored there, and its remote, where it has one, can be reached.
    usable: bool,
    probes: Vec<Probe>,
    error: Option<ErrorRecord>,
}

/// A test takes no longer.
const LONGEST: Duration = Duration::from_secs(120);

pub(super) async fn run(context: &Context, args: TestArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    for name in &args.names {
        instance.destination(name).await?;
    }
    let open = instance.destinations_where(|d| args.all || args.names.contains(&d.name)).await?;
    let tested = cancellable(async {
        Ok(futures::future::join_all(open.into_iter().map(|d| test(&instance, d, args.repair))).await)
    })
    .await?;
    if context.ui.is_json() {
        context.ui.json(&tested)?;
    } else {
        tested.iter().try_for_each(|t| tell(context, t))?;
    }
    let good = tested.iter().filter(|t| t.usable).count();
    Ok(Exit::of_parts(good, tested.len() - good))
}

async fn test(instance: &Instance, open: OpenDestination, repair: bool) -> Tested {
    let mut laid = false;
    let look = async {
        laid = repair && marker::lay_again(instance, &open.config).await?;
        let backend = if laid { instance.open_backend(&open.config, false).await? } else { open.backend? };
        backend.check().await
    };
    let found = tokio::time::timeout(LONGEST, look).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "test destination", "it did not answer").with("seconds", LONGEST.as_secs()))
    });
    let (mut health, error) = match found {
        Ok(health) => (health, None),
        Err(e) => (Health::default(), Some(e.to_record())),
    };
    if laid {
        health.push("marker", true, "it was gone, and was laid again");
    }
    let mut reached_remote = true;
    if error.is_none() && wiring::has_remote(&open.config) {
        let reached =
            async { wiring::repository(instance.backend_settings(&open.config, false)).await?.test_remote().await };
        let late = || Error::new(ErrorKind::Timeout, "reach remote", "it did not answer");
        match tokio::time::timeout(LONGEST, reached).await.unwrap_or_else(|_| Err(late())) {
            Ok(found) => health.push("reach remote", true, found),
            Err(e) => {
                reached_remote = false;
                health.push("reach remote", false, e.to_record().message);
            }
        }
    }
    let usable = error.is_none() && reached_remote && sorted(&health).0.is_empty();
    Tested { destination: open.config.name, usable, probes: health.probes, error }
}

fn tell(context: &Context, t: &Tested) -> Result<()> {
    let (ui, paint) = (&context.ui, context.ui.paint());
    let verdict = if t.usable { paint.on(Style::Good, "usable") } else { paint.on(Style::Bad, "not usable") };
    ui.line(&format!("{}: {verdict}", escape::text(&t.destination)))?;
    for p in &t.probes {
        let mark = if p.good { paint.on(Style::Good, "good") } else { paint.on(Style::Bad, "bad ") };
        ui.line(&format!("  {mark}  {}: {}", escape::text(&p.name), escape::text(&p.detail)))?;
    }
    if let Some(e) = &t.error {
        ui.line(&format!("  {} {}", paint.on(Style::Bad, "error:"), escape::text(&e.message)))?;
        if let Some(hint) = &e.hint {
            ui.line(&format!("  {} {}", paint.on(Style::Hint, "hint:"), escape::text(hint)))?;
        }
    }
    Ok(())
}
