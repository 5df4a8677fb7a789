//! `devicevault show`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Kind, Result, View};
use futures::StreamExt as _;

use crate::context::Context;
use crate::place::FromArgs;
use crate::ui::escape;
use crate::versions::{self, Wanted};
use crate::{Exit, folder, quarantine};

/// Print a version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault show core-rtr1
  devicevault show core-rtr1:startup-config --at 2026-11-01
  devicevault show core-rtr1 --backup latest~1 --view original > core-rtr1.cfg
  devicevault show --from ./backups 192.0.2.1

On a terminal, control characters are shown as escapes; to a file or a pipe go the bytes as they are.")]
pub(crate) struct ShowArgs {
    /// The device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]", required_unless_present = "from")]
    what: Option<String>,
    /// What was valid at this date or time
    #[arg(long, value_name = "TIME", conflicts_with = "backup")]
    at: Option<String>,
    /// This version: an identifier or its beginning, or latest~N
    #[arg(long, value_name = "VERSION")]
    backup: Option<String>,
    /// original (complete, with secrets), clean (without volatile lines) or redacted (secrets masked)
    #[arg(long, value_name = "VIEW", default_value = "redacted")]
    view: View,
    /// Take it although it is in quarantine: it broke a file rule
    #[arg(long)]
    quarantined: bool,
    #[command(flatten)]
    from: FromArgs,
}

pub(crate) async fn run(context: &Context, args: ShowArgs) -> Result<Exit> {
    let archive = folder::archive(context, args.from.place(context).await?.as_ref()).await?;
    let wanted = Wanted::parse(args.what.as_deref(), None);
    let reference = args.at.or(args.backup).unwrap_or_else(|| "latest".to_owned());
    let backup = &versions::one(&archive, &wanted, &reference).await?;
    let ui = &context.ui;
    if ui.is_json() {
        ui.json(backup)?;
        return Ok(Exit::Done);
    }
    quarantine::check(backup, args.quarantined)?;
    if backup.kind == Kind::Binary {
        if ui.is_terminal() {
            return Err(Error::new(
                ErrorKind::Config,
                "show backup",
                "it is binary, and standard output is a terminal",
            )
            .with("artefact", &backup.artefact)
            .hint("send it to a file, or use `devicevault download`"));
        }
        let (backend, _, at) = archive.stored(backup, View::Original).await?;
        let mut stream = backend.read(at, None).await?;
        while let Some(chunk) = stream.next().await {
            ui.raw(&chunk?)?;
        }
        return Ok(Exit::Done);
    }
    let content = archive.read(backup, args.view).await?;
    if ui.is_terminal() {
        let text = escape::lines(&content);
        ui.raw(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            ui.raw(b"\n")?;
        }
    } else {
        ui.raw(&content)?;
    }
    Ok(Exit::Done)
}
