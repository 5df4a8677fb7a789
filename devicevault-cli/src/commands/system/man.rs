//! `devicevault system man`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;
use devicevault_core::Result;
use serde::Serialize;

use super::commands;
use crate::Exit;
use crate::context::Context;
use crate::files;
use crate::ui::human;

/// Write a manual page for every command: devicevault.1, devicevault-backup.1 and so on. Those that are there are
/// replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault system man --to ~/.local/share/man/man1
  devicevault system man --to . && man ./devicevault-backup.1")]
pub(crate) struct ManArgs {
    /// The folder; made where it is missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, Serialize)]
struct Written {
    folder: String,
    pages: Vec<String>,
}

pub(super) fn run(context: &Context, args: &ManArgs) -> Result<Exit> {
    let cannot =
        |e: &std::io::Error, at: &std::path::Path| files::failed(e, "write manual", "it cannot be written", at);
    fs::create_dir_all(&args.to).map_err(|e| cannot(&e, &args.to))?;
    let mut command = commands();
    command.build();
    let mut pages = Vec::new();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        let man = Man::new(command.clone());
        let (name, mut page) = (man.get_filename(), Vec::new());
        let path = args.to.join(&name);
        man.render(&mut page).and_then(|()| fs::write(&path, page)).map_err(|e| cannot(&e, &path))?;
        pages.push(name);
        waiting.extend(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
    }
    pages.sort();
    if context.ui.is_json() {
        context.ui.json(&Written { folder: args.to.display().to_string(), pages })?;
    } else {
        context.ui.note(&format!("{} in {}", human::count(pages.len(), "page"), args.to.display()));
    }
    Ok(Exit::Done)
}
