//! `devicevault platform new`

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use devicevault_core::{Error, ErrorKind, Result};

use super::device::{self, HostArgs};
use super::own_folder;
use super::trial::Findings;
use crate::context::Context;
use crate::wiring::visits::{self, AUTO, Draft, Recording, Visits};
use crate::{Exit, files};

/// Draft a platform file.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["host", "recording"]),
    after_help = "\
Examples:
  devicevault platform new my_switch --host 192.0.2.1 --user backup --password-env PW
  devicevault platform new my_switch --recording switch.rec.toml --to my_switch.toml
  devicevault platform new my_switch --like cisco_ios --host 192.0.2.1 --user backup --password-env PW

It finds the prompt, tries the known commands that turn paging off and that print configurations, and one that no device
knows, to see how it refuses. Nothing is changed on the device. The file is a beginning: read it, and change it.")]
pub(crate) struct NewArgs {
    /// What the platform is to be called
    name: String,
    /// The device at this address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A recorded session instead
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Begin with the file of this platform
    #[arg(long, value_name = "PLATFORM")]
    like: Option<String>,
    /// The file to write; it must not be there yet [default: NAME.toml]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    device: HostArgs,
}

pub(super) async fn run(context: &Context, args: NewArgs) -> Result<Exit> {
    let to = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}.toml", args.name)));
    if to.exists() {
        return Err(Error::new(ErrorKind::AlreadyExists, "write platform file", "the file is there already")
            .with("file", to.display())
            .hint("name another by --to"));
    }
    let like = match &args.like {
        Some(like) => Some(Visits::new(own_folder(context).as_deref(), None)?.platform(like)?),
        None => None,
    };
    let (draft, trial, missing) = match (&args.host, &args.recording) {
        (Some(host), _) => {
            let target = args.device.target(context, host, AUTO).await?;
            let visits = device::visits(context)?;
            let draft = visits.draft(&args.name, like.as_deref(), &target).await?;
            let trial = visits.trial(&draft.platform, &target).await?;
            (draft, trial, Vec::new())
        }
        (None, Some(file)) => {
            let recording = Recording::read_file(file)?;
            let draft = Draft::of_recording(&args.name, like.as_deref(), recording.clone()).await?;
            let (trial, missing) = visits::on_recording(&draft.platform, recording).await?;
            (draft, trial, missing)
        }
        (None, None) => return Ok(Exit::Usage),
    };
    files::write_new_private(&to, draft.text.as_bytes())?;
    context.ui.note(&format!("drafted {}; read it, and change it", to.display()));
    for remark in &draft.remarks {
        context.ui.warn(remark);
    }
    Findings { trial: &trial, missing, steps: false, all_lines: false }.tell(context)?;
    Ok(Exit::Done)
}
