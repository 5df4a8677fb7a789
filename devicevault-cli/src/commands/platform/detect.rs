//! `devicevault platform detect`

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use devicevault_core::Result;
use serde::Serialize;

use super::device::{self, HostArgs};
use super::own_folder;
use crate::Exit;
use crate::context::Context;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring::visits::{self, AUTO, Recognition, Recording};

/// Find out which platform a device is of.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["host", "recording"]),
    after_help = "\
Examples:
  devicevault platform detect --host 192.0.2.1 --user backup --password-env PW
  devicevault platform detect --recording switch.rec.toml --json

It looks at how the device's SSH server names itself, at its banner and prompt, and gives one or two commands that
change nothing, such as `show version`. What is not sure is an error that names the likeliest platforms.")]
pub(crate) struct DetectArgs {
    /// The device at this address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A recorded session instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "port"])]
    recording: Option<PathBuf>,
    #[command(flatten)]
    device: HostArgs,
}

#[derive(Serialize)]
struct Told<'a> {
    /// The platform, where it is sure.
    platform: Option<&'a str>,
    candidates: Vec<Candidate<'a>>,
    asked: &'a [String],
}

#[derive(Serialize)]
struct Candidate<'a> {
    platform: &'a str,
    title: &'a str,
    certainty: u8,
    signs: &'a [String],
}

pub(super) async fn run(context: &Context, args: DetectArgs) -> Result<Exit> {
    let found = match (&args.host, &args.recording) {
        (Some(host), _) => {
            let target = args.device.target(context, host, AUTO).await?;
            device::visits(context)?.detect(&target).await?
        }
        (None, Some(file)) => visits::recognise(own_folder(context).as_deref(), Recording::read_file(file)?).await?,
        (None, None) => return Ok(Exit::Usage),
    };
    tell(context, &found)?;
    found.into_platform().map(|_| Exit::Done)
}

fn tell(context: &Context, found: &Recognition) -> Result<()> {
    if context.ui.is_json() {
        let candidates = found.candidates.iter().map(|c| Candidate {
            platform: &c.name,
            title: &c.title,
            certainty: c.certainty,
            signs: &c.signs,
        });
        return context.ui.json(&Told {
            platform: found.platform().map(|c| c.name.as_str()),
            candidates: candidates.collect(),
            asked: &found.asked,
        });
    }
    let mut table = Table::new(["platform", "certainty", "by"]);
    for (i, c) in found.candidates.iter().enumerate() {
        let tone = if i == 0 && found.sure { Tone::Good } else { Tone::Dim };
        table.row([
            Cell::new(&c.name).tone(tone),
            Cell::new(format!("{} %", c.certainty)),
            Cell::new(c.signs.join("; ")),
        ]);
    }
    context.ui.table(table, "nothing speaks for any platform")
}
