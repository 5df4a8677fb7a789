//! `devicevault platform`: what is known of vendor operating systems.

mod detect;
mod device;
mod draft;
mod trial;
mod visit;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use devicevault_core::Result;

use crate::Exit;
use crate::context::Context;
use crate::instance::PLATFORMS;
use crate::ui::escape;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring::visits::{self, Recording, Visits};
use crate::wiring::{self, PlatformSummary};

/// List, show and check platforms.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault platform list
  devicevault platform show cisco_ios
  devicevault platform check my_switch.toml
  devicevault platform detect --host 192.0.2.1 --user backup --password-env PW
  devicevault platform new my_switch --host 192.0.2.1 --user backup --password-env PW")]
pub(crate) enum PlatformCommand {
    /// List platforms: shipped ones, and those of your own
    List(ListArgs),
    /// Show a platform: what is collected, and its file
    Show(ShowArgs),
    /// Check a platform file of your own
    Check(CheckArgs),
    /// Print the format of platform files, for editors or people
    Schema(SchemaArgs),
    /// Find out which platform a device is of
    Detect(Box<detect::DetectArgs>),
    /// Visit a device as a platform says, and tell step by step what happened
    Test(Box<visit::TestArgs>),
    /// Record a session with a device, its secrets replaced
    Record(Box<visit::RecordArgs>),
    /// Draft a platform file from a device or a recording
    New(Box<draft::NewArgs>),
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
  devicevault platform check ~/.local/share/devicevault/platforms/*.toml
  devicevault platform check my_switch.toml --recording switch.rec.toml    # what would be kept, left out, masked

`devicevault platform record` makes recordings. With --recording, a platform may be given by its name, too.")]
pub(crate) struct CheckArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Try it on this recorded session
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Show every line that the rules change
    #[arg(long, requires = "recording")]
    all_lines: bool,
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
        PlatformCommand::Check(args) => Box::pin(check(context, &args)).await,
        PlatformCommand::Schema(args) => schema(context, &args),
        PlatformCommand::Detect(args) => Box::pin(detect::run(context, *args)).await,
        PlatformCommand::Test(args) => Box::pin(visit::test(context, *args)).await,
        PlatformCommand::Record(args) => Box::pin(visit::record(context, *args)).await,
        PlatformCommand::New(args) => Box::pin(draft::run(context, *args)).await,
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
        // A file that somebody sent may hold anything; written to a file it stays as it is.
        let text = if context.ui.is_terminal() { escape::lines(text.as_bytes()) } else { text };
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

/// Tries each platform on a recording.
async fn check_on(context: &Context, args: &CheckArgs, recording: &Path) -> Result<Exit> {
    let recording = Recording::read_file(recording)?;
    let visits = Visits::new(own_folder(context).as_deref(), None)?;
    for file in &args.files {
        let platform = visits.platform(&file.to_string_lossy())?;
        let (trial, missing) = visits::on_recording(&platform, recording.clone()).await?;
        trial::Findings { trial: &trial, missing, steps: false, all_lines: args.all_lines }.tell(context)?;
    }
    Ok(Exit::Done)
}

async fn check(context: &Context, args: &CheckArgs) -> Result<Exit> {
    if let Some(recording) = &args.recording {
        return check_on(context, args, recording).await;
    }
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
