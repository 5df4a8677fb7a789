//! `devicevault system reference`

use std::fmt::Write as _;

use clap::{Args, Command};
use devicevault_core::Result;

use super::commands;
use crate::Exit;
use crate::context::Context;

/// Print the reference of all commands, as Markdown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault system reference > devicevault.md")]
pub(crate) struct ReferenceArgs {}

/// Columns of a help text on the page.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Commands

Written by `cargo xtask docs` from the program's own help. Options of all commands stand at `devicevault` alone.

";

pub(super) fn run(context: &Context) -> Result<Exit> {
    context.ui.raw(page().as_bytes())?;
    Ok(Exit::Done)
}

fn page() -> String {
    let mut root = commands().term_width(WIDTH);
    root.build();
    let mut page = HEAD.to_owned();
    list(&root, 0, &mut page);
    page.push('\n');
    sections(&root, true, &mut page);
    page
}

/// Links to the sections, commands below their groups.
fn list(command: &Command, depth: usize, page: &mut String) {
    let name = full_name(command);
    // Writing to a string has no way to fail.
    let _ = writeln!(page, "{}- [`{name}`](#{})", "  ".repeat(depth), name.replace(' ', "-"));
    for sub in shown(command) {
        list(sub, depth + 1, page);
    }
}

fn sections(command: &Command, with_global: bool, page: &mut String) {
    let mut told = command.clone();
    if !with_global {
        told = told.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    }
    // Blanks at the end of a line mean something in Markdown, and nothing here.
    let help: Vec<String> =
        told.render_long_help().to_string().trim().lines().map(|line| line.trim_end().to_owned()).collect();
    let _ = writeln!(page, "## {}\n\n```text\n{}\n```\n", full_name(command), help.join("\n"));
    for sub in shown(command) {
        sections(sub, false, page);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set())
}

fn full_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()
}
