//! `devicevault platform`: what is known of vendor operating systems.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;
use crate::instance::PLATFORMS;
use crate::ui::escape;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring::{self, PlatformSummary};

/// List, show and check platforms.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault platform list
  devicevault platform show cisco_ios
  devicevault platform check my_switch.toml")]
pub(crate) enum PlatformCommand {
    /// List platforms: shipped ones, and those of your own
    List(ListArgs),
    /// Show a platform: what is collected, and its file
    Show(ShowArgs),
    /// Check a platform file of your own
    Check(CheckArgs),
    /// Print the format of platform files, for editors or people
    Schema(SchemaArgs),
}

/// List platforms.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform list
  devicevault platform list --platforms-dir ./platforms --json")]
pub(crate) struct ListArgs {}

/// Show a platform.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform show cisco_ios
  devicevault platform show ios --file > my_ios.toml   # names are found by their aliases too")]
pub(crate) struct ShowArgs {
    /// Its name or an alias
    name: String,
    /// Print the platform file itself, to begin one of your own with
    #[arg(long)]
    file: bool,
}

/// Check a platform file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform check my_switch.toml
  devicevault platform check ~/.local/share/devicevault/platforms/*.toml")]
pub(crate) struct CheckArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Print the format of platform files: a JSON Schema.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform schema > platform.schema.json    # beside your files, whose first line names it for editors
  devicevault platform schema --reference | less")]
pub(crate) struct SchemaArgs {
    /// As a text for people, in Markdown
    #[arg(long)]
    reference: bool,
}

pub(crate) async fn run(context: &Context, command: PlatformCommand) -> Result<Exit> {
    match command {
        PlatformCommand::List(_) => list(context),
        PlatformCommand::Show(args) => show(context, &args),
        PlatformCommand::Check(args) => check(context, &args),
        PlatformCommand::Schema(args) => schema(context, &args),
    }
}

/// By this first line, editors find the schema that `platform schema` prints.
const SCHEMA_LINE: &str = "#:schema ./platform.schema.json";

/// The user's own folder: named, or the home's where there is one.
fn own_folder(context: &Context) -> Option<PathBuf> {
    let of_home = || context.home().ok().map(|h| h.join(PLATFORMS)).filter(|p| p.is_dir());
    context.settings.platforms_dir().map(Path::to_owned).or_else(of_home)
}

fn list(context: &Context) -> Result<Exit> {
    let all = wiring::platforms(own_folder(context).as_deref())?;
    if context.ui.is_json() {
        context.ui.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["name", "description", "artefacts", "aliases", "from"]);
    for p in &all {
        let from = if p.own { Cell::new("your own").tone(Tone::Good) } else { Cell::new("shipped").tone(Tone::Dim) };
        table.row([
            Cell::new(&p.name),
            Cell::new(&p.description),
            Cell::new(artefacts(p)),
            Cell::opt((!p.aliases.is_empty()).then(|| p.aliases.join(", "))),
            from,
        ]);
    }
    context.ui.table(table, "there are none")?;
    Ok(Exit::Done)
}

fn artefacts(p: &PlatformSummary) -> String {
    p.artefacts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn show(context: &Context, args: &ShowArgs) -> Result<Exit> {
    let (p, text) = wiring::platform(own_folder(context).as_deref(), &args.name)?;
    if args.file {
        if !text.starts_with("#:schema ") {
            context.ui.line(SCHEMA_LINE)?;
        }
        context.ui.raw(text.as_bytes())?;
        return Ok(Exit::Done);
    }
    if context.ui.is_json() {
        context.ui.json(&p)?;
        return Ok(Exit::Done);
    }
    let from = if p.own { "your own" } else { "shipped" };
    for (name, value) in
        [("name", p.name.as_str()), ("description", &p.description), ("aliases", &p.aliases.join(", ")), ("from", from)]
    {
        if !value.is_empty() {
            context.ui.line(&format!("{name:12} {}", escape::text(value)))?;
        }
    }
    let mut table = Table::new(["artefact", "kind", "needed", "extension"]);
    for a in &p.artefacts {
        let needed = if a.mandatory { "yes" } else { "no" };
        table.row([Cell::new(&a.name), Cell::new(&a.kind), Cell::new(needed), Cell::new(&a.extension)]);
    }
    context.ui.line("")?;
    context.ui.table(table, "it has no artefacts")?;
    Ok(Exit::Done)
}

fn check(context: &Context, args: &CheckArgs) -> Result<Exit> {
    let mut good = Vec::new();
    let mut first_error = None;
    for file in &args.files {
        match wiring::check_platform(file) {
            Ok(p) => good.push(p),
            Err(e) => {
                // The last one is told by the program's end.
                if let Some(e) = first_error.replace(e) {
                    context.ui.error(&e);
                }
            }
        }
    }
    if context.ui.is_json() {
        context.ui.json(&good)?;
    } else {
        good.iter().for_each(|p| context.ui.note(&format!("{}: good ({})", p.name, artefacts(p))));
    }
    first_error.map_or(Ok(Exit::Done), Err)
}

fn schema(context: &Context, args: &SchemaArgs) -> Result<Exit> {
    if args.reference {
        context.ui.raw(wiring::platform_reference().as_bytes())?;
    } else {
        context.ui.json(&wiring::platform_schema())?;
    }
    Ok(Exit::Done)
}
