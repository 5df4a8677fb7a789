//! `devicevault platform test` and `devicevault platform record`

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result, Target};

use super::device::{self, HostArgs};
use super::trial::Findings;
use crate::context::Context;
use crate::ui::escape;
use crate::wiring::visits::{AUTO, Disguise, Platform, Recording, Tape, Trial, Visits, Wire};
use crate::{Exit, files};

/// Visit a device as a platform says, and tell step by step what happened.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform test --host 192.0.2.1 --platform my_switch.toml --user backup --password-env PW
  devicevault platform test --host 192.0.2.1 --platform cisco_ios --user backup --key-file ~/.ssh/backup --trace wire.txt

Nothing is stored. The trace holds every byte that went over the wire, escaped, with its time; secrets of the login, and
what the platform's rules take for secrets, are replaced in it.")]
pub(crate) struct TestArgs {
    /// The device at this address
    #[arg(long, value_name = "HOST")]
    host: String,
    /// The platform: its name, or its file; auto finds it out
    #[arg(long, value_name = "NAME|FILE", default_value = AUTO)]
    platform: String,
    /// Write what went over the wire into this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show every line that the rules change
    #[arg(long)]
    all_lines: bool,
    #[command(flatten)]
    device: HostArgs,
}

/// Record a session with a device, its secrets replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault platform record --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW --to sw.rec.toml
  devicevault platform check my_switch.toml --recording sw.rec.toml

Secrets are replaced by made-up ones of the same shape, by the platform's rules and by general ones. Where something that
looks like a secret remains, it is shown and you are asked. Look the file through before you give it away.")]
pub(crate) struct RecordArgs {
    /// The device at this address
    #[arg(long, value_name = "HOST")]
    host: String,
    /// The platform: its name, or its file; auto finds it out
    #[arg(long, value_name = "NAME|FILE", default_value = AUTO)]
    platform: String,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Write it without asking, whatever looks like a secret
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    device: HostArgs,
}

pub(super) async fn test(context: &Context, args: TestArgs) -> Result<Exit> {
    let (visits, target) = (device::visits(context)?, args.device.target(context, &args.host, &args.platform).await?);
    let name = name_of(context, &visits, &args.platform, &target).await?;
    let platform = visits.platform(&name)?;
    let trial = visits.trial(&platform, &target).await?;
    if let Some(file) = &args.trace {
        let mut disguise = Disguise::new()?;
        let text = trace(&trial.tape, |bytes| disguise.bytes(bytes, Some(&platform), &target.login));
        files::write_new_private(file, text.as_bytes())?;
        context.ui.note(&format!("what went over the wire is in {}{}", file.display(), replaced(&disguise)));
    }
    Findings { trial: &trial, missing: Vec::new(), steps: true, all_lines: args.all_lines }.tell(context)?;
    Ok(Exit::Done)
}

pub(super) async fn record(context: &Context, args: RecordArgs) -> Result<Exit> {
    if args.to.exists() {
        return Err(Error::new(ErrorKind::AlreadyExists, "write recording", "the file is there already")
            .with("file", args.to.display()));
    }
    let (visits, target) = (device::visits(context)?, args.device.target(context, &args.host, &args.platform).await?);
    let name = name_of(context, &visits, &args.platform, &target).await?;
    let platform = visits.platform(&name)?;
    let trial = visits.trial(&platform, &target).await?;
    let recording = recorded(&trial, &target, &platform)?;
    keep(context, recording, &platform, &args.to, args.yes)?;
    if let Some(e) = &trial.error {
        context.ui.warn(&format!("the session ended before its time, and the recording with it: {e}"));
    }
    context.ui.note(&format!("recorded into {}; look it through before you give it away", args.to.display()));
    Ok(Exit::Done)
}

/// The platform's name; found out where it is to be.
pub(super) async fn name_of(context: &Context, visits: &Visits, given: &str, target: &Target) -> Result<String> {
    if given != AUTO {
        return Ok(given.to_owned());
    }
    let found = visits.detect(target).await?.into_platform()?;
    context.ui.note(&format!("recognised as {} ({} %)", found.name, found.certainty));
    Ok(found.name)
}

fn recorded(trial: &Trial, target: &Target, platform: &Platform) -> Result<Recording> {
    let mut recording = Recording::taken_from(&trial.tape, &target.login)?;
    recording.platform = Some(platform.name().to_owned());
    if recording.opening.is_empty() && recording.steps.is_empty() {
        return Err(trial
            .error
            .clone()
            .unwrap_or_else(|| Error::new(ErrorKind::Incomplete, "record session", "nothing came from the device")));
    }
    Ok(recording)
}

/// Replaces the secrets of a recording, asks where something is left that looks like one, and writes it.
pub(super) fn keep(
    context: &Context,
    mut recording: Recording,
    platform: &Platform,
    to: &Path,
    yes: bool,
) -> Result<()> {
    let mut disguise = Disguise::new()?;
    disguise.apply(&mut recording, Some(platform));
    let left = disguise.suspicions(&recording);
    if !left.is_empty() && !yes {
        for suspicion in left.iter().take(20) {
            let after = if suspicion.after.is_empty() { "before anything was typed" } else { &suspicion.after };
            context.ui.warn(&format!("this may hold a secret ({after}): {}", suspicion.line));
        }
        if left.len() > 20 {
            context.ui.warn(&format!("and {} more", left.len() - 20));
        }
        if !asked_and_agreed()? {
            return Err(Error::new(
                ErrorKind::Conflict,
                "write recording",
                "something that looks like a secret remains",
            )
            .with("lines", left.len())
            .hint("give the platform rules for them, or --yes to write it all the same"));
        }
    }
    files::write_new_private(to, recording.to_text().as_bytes())?;
    context.ui.note(&format!("written{}; lines that may still hold a secret: {}", replaced(&disguise), left.len()));
    Ok(())
}

/// What was done about secrets.
fn replaced(disguise: &Disguise) -> String {
    let (secrets, places) = disguise.counts();
    format!("; secrets replaced: {secrets}, at {places} places")
}

fn asked_and_agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    let answer = rpassword::prompt_password("Write the recording with these lines? [y/N] ")
        .map_err(|e| Error::new(ErrorKind::Config, "ask", "the terminal cannot be read").because(e))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What went over the wire, a line for each piece: its time, its direction, its bytes escaped.
fn trace(tape: &Tape, mut masked: impl FnMut(&[u8]) -> Vec<u8>) -> String {
    let mut out = String::new();
    let mut pending: Option<(char, std::time::Duration, Vec<u8>)> = None;
    let mut flush = |pending: &mut Option<(char, std::time::Duration, Vec<u8>)>, out: &mut String| {
        let Some((way, at, bytes)) = pending.take() else { return };
        for line in masked(&bytes).split_inclusive(|b| *b == b'\n') {
            let _ = writeln!(out, "{:>10.3} {way} {}", at.as_secs_f64(), line.escape_ascii());
        }
    };
    for moment in tape.moments() {
        let (way, bytes) = match moment.what {
            Wire::Sent(bytes) => ('>', bytes),
            Wire::Received(bytes) => ('<', bytes),
            other => {
                flush(&mut pending, &mut out);
                let text = match other {
                    Wire::Connected(_) => "connected".to_owned(),
                    Wire::Shell(columns, rows) => format!("a terminal of {columns} by {rows}"),
                    Wire::Exec(command) => format!("command without a terminal: {}", escape::text(&command)),
                    Wire::Closed => "closed by the device".to_owned(),
                    _ => "the command ended".to_owned(),
                };
                let _ = writeln!(out, "{:>10.3} . {text}", moment.at.as_secs_f64());
                continue;
            }
        };
        // Pieces of one way are put together, so that a secret is found wherever the pieces part.
        match &mut pending {
            Some((same, _, all)) if *same == way => all.extend_from_slice(&bytes),
            _ => {
                flush(&mut pending, &mut out);
                pending = Some((way, moment.at, bytes.to_vec()));
            }
        }
    }
    flush(&mut pending, &mut out);
    out
}
