//! `devicevault git purge`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args};
use devicevault_core::catalog::Query;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::Outcome;
use devicevault_core::{BackupId, DeviceId, Error, ErrorKind, Manifest, Result};
use regex::bytes::{NoExpand, Regex, RegexBuilder};
use serde::Serialize;

use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::purging;
use crate::ui::human;
use crate::ui::table::{Cell, Table};
use crate::wiring::{Purge, PurgeReport, Repository};
use crate::{Exit, wiring};

/// Take something out of a Git destination's history: a device, an artefact, versions, or a text that must not be there.
/// Every commit from the first one on that is concerned is made again; all else stays as it is. Nothing is done without
/// --yes: what would go is shown.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["devices", "artefacts", "versions", "text_file", "pattern"]).required(true).multiple(true),
    after_help = "\
Examples:
  devicevault git purge read --device core-rtr1
  devicevault git purge read --device core-rtr1 --artefact startup-config --yes
  devicevault git purge read --text-file leaked.txt --yes --force-push
  devicevault git purge read --pattern 'username \\S+ secret \\S+' --yes

A text is replaced by <purged> wherever it stands; the file that names it has one text a line. The commands `show`, `history`
and `verify` know the versions by their new commits afterwards; killed in between, the same command goes on, and until then
`verify --repair` stores nothing there again. A device that is still backed up is stored again by the next backup: disable or
remove it first. Where a destination keeps originals, what something was taken out of is none any more: `restore` takes
another destination's, and the next backup stores the text that the device still has.")]
pub(crate) struct PurgeArgs {
    /// The destination
    name: String,
    /// All of this device; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Of this artefact; with --device, of that device's alone; may be given several times
    #[arg(long = "artefact", value_name = "NAME")]
    artefacts: Vec<String>,
    /// This version; may be given several times
    #[arg(long = "version-id", value_name = "ID")]
    versions: Vec<BackupId>,
    /// Texts that are to be replaced, one a line, in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["devices", "artefacts", "versions"])]
    text_file: Option<PathBuf>,
    /// What matches this regular expression is to be replaced
    #[arg(long, value_name = "REGEX", conflicts_with_all = ["devices", "artefacts", "versions", "text_file"])]
    pattern: Option<String>,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Have the remote forget it too: its branch is moved by force
    #[arg(long)]
    force_push: bool,
}

/// What replaces a text.
const PURGED: &[u8] = b"<purged>";
/// Longer lists of texts are none.
const MAX_TEXTS: u64 = 1 << 20;

/// What was done, as `git purge --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told {
    destination: String,
    /// Whether it was done, or only looked at.
    done: bool,
    removed: Vec<Version>,
    changed: Vec<Version>,
    other_files: usize,
    commits: usize,
    /// Other branches and tags that hold it in a history of their own.
    other_references: Vec<String>,
    /// Objects that nothing of the branch leads to hold it, or held it.
    left_over: bool,
}

#[derive(Debug, Serialize)]
struct Version {
    device: String,
    artefact: String,
    backup: BackupId,
    taken_at: devicevault_core::Timestamp,
}

impl From<&Manifest> for Version {
    fn from(m: &Manifest) -> Self {
        let (device, artefact) = (m.source.device_name.clone(), m.artefact.clone());
        Self { device, artefact, backup: m.backup, taken_at: m.taken_at }
    }
}

pub(super) async fn run(context: &Context, args: PurgeArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let config = instance.destination(&args.name).await?;
    let repository = wiring::repository(instance.backend_settings(&config, false)).await?;
    let what = what(&instance, &args).await?;
    if args.yes && wiring::has_remote(&config) && !args.force_push {
        return Err(Error::new(ErrorKind::Config, "purge history", "its remote would still have it")
            .with("destination", &config.name)
            .hint("add --force-push, or take the remote away first: `devicevault destination edit NAME --remove-option remote`"));
    }
    if args.yes {
        refuse_waiting(&instance, &config).await?;
        purging::begin(&instance.home, &config.id, asked(&args)).await?;
    }
    let done = cancellable(repository.purge(what, !args.yes)).await?;
    if args.yes {
        cancellable(settle(&instance, &config, &repository)).await?;
        if args.force_push {
            cancellable(repository.push_purged()).await?;
        }
        purging::end(&instance.home, &config.id).await?;
    }
    tell(context, &args, &done)?;
    Ok(Exit::of_parts(1, done.others.len()))
}

/// What a person asked for, without the texts: they are secrets.
fn asked(args: &PurgeArgs) -> String {
    let named = |option: &str, names: &[String]| {
        names.iter().map(|n| format!(" --{option} {}", n.escape_debug())).collect::<String>()
    };
    let versions: String = args.versions.iter().map(|v| format!(" --version-id {v}")).collect();
    let texts = if args.text_file.is_some() { " --text-file" } else { "" };
    let pattern = if args.pattern.is_some() { " --pattern" } else { "" };
    let (devices, artefacts) = (named("device", &args.devices), named("artefact", &args.artefacts));
    format!("{}{devices}{artefacts}{versions}{texts}{pattern}", args.name)
}

/// Refuses while copies wait for the destination: what is taken out of its history may be among them, and would be stored
/// there afterwards.
async fn refuse_waiting(instance: &Instance, config: &DestinationConfig) -> Result<()> {
    let waiting = instance.spool().await?.pending().await?;
    let count = waiting.iter().filter(|(_, item)| item.destination == config.id).count();
    if count == 0 {
        return Ok(());
    }
    let e = Error::new(ErrorKind::Conflict, "purge history", format!("{} for it", human::copies_wait(count)));
    Err(e
        .with("destination", &config.name)
        .hint("what is to go may be among them: `devicevault run deliver` takes them there first, then purge"))
}

/// What is to go.
async fn what(instance: &Instance, args: &PurgeArgs) -> Result<Purge> {
    if let Some(file) = &args.text_file {
        return Ok(text(&texts(file)?));
    }
    if let Some(pattern) = &args.pattern {
        let wrong = |e| Error::new(ErrorKind::Config, "read pattern", "it is no regular expression").because(e);
        let regex = RegexBuilder::new(pattern).multi_line(true).build().map_err(wrong)?;
        if regex.is_match(b"") {
            return Err(Error::new(ErrorKind::Config, "read pattern", "it matches nothing at all, everywhere"));
        }
        return Ok(text(&regex));
    }
    let mut devices: BTreeSet<DeviceId> = BTreeSet::new();
    for name in &args.devices {
        devices.insert(instance.device_id(name).await?);
    }
    let artefacts: BTreeSet<String> = args.artefacts.iter().cloned().collect();
    let versions: BTreeSet<BackupId> = args.versions.iter().copied().collect();
    let by_kind = !devices.is_empty() || !artefacts.is_empty();
    Ok(Purge::versions(Arc::new(move |m: &Manifest| {
        let of_device = devices.is_empty() || devices.contains(&m.source.device);
        let of_artefact = artefacts.is_empty() || artefacts.contains(&m.artefact);
        versions.contains(&m.backup) || (by_kind && of_device && of_artefact)
    })))
}

fn text(regex: &Regex) -> Purge {
    let regex = regex.clone();
    Purge::text(Arc::new(move |data: &[u8]| {
        regex.is_match(data).then(|| regex.replace_all(data, NoExpand(PURGED)).into_owned())
    }))
}

/// The texts in a file, as one expression.
fn texts(file: &Path) -> Result<Regex> {
    let fail = |why: &str| Error::new(ErrorKind::Config, "read texts", why.to_owned()).with("file", file.display());
    let size = std::fs::metadata(file).map_err(|e| fail("it cannot be read").because(e))?.len();
    if size > MAX_TEXTS {
        return Err(fail("it is too long"));
    }
    let content = std::fs::read_to_string(file).map_err(|e| fail("it cannot be read as text").because(e))?;
    let mut all: Vec<String> = content.lines().filter(|l| !l.trim().is_empty()).map(regex::escape).collect();
    if all.is_empty() {
        return Err(fail("there is no text in it"));
    }
    // Of two that begin alike, the longer one first.
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    Regex::new(&all.join("|")).map_err(|e| fail("it is too long").because(e))
}

/// Has the catalog know the versions by their new commits, and forget those that are gone. Done again, it does nothing.
pub(super) async fn settle(instance: &Instance, config: &DestinationConfig, repository: &Repository) -> Result<()> {
    let mut query = Query::default();
    query.destination = Some(config.id.clone());
    let backups = instance.find_all(&query, usize::MAX).await?;
    let mut refs = Vec::new();
    for b in &backups {
        let copy = b.copies.iter().find(|c| c.destination == config.id);
        refs.extend(copy.and_then(|c| c.storage_ref.clone()).map(|at| (b, at)));
    }
    let now = repository.current(refs.iter().map(|(_, at)| at.clone()).collect()).await?;
    for ((backup, at), now) in refs.into_iter().zip(now) {
        match now {
            Some(now) if now == at => {}
            Some(now) => {
                let manifest = repository.backend().stat(&now).await?;
                let mut backup = backup.clone();
                backup.copies.retain(|c| c.destination == config.id);
                for copy in &mut backup.copies {
                    (copy.size, copy.sha256, copy.view) = (manifest.size, manifest.sha256, manifest.view);
                    copy.storage_ref = Some(now.clone());
                }
                instance.catalog.record(backup.run, vec![Outcome::Backup(backup)]).await?;
            }
            None => {
                let gone = std::slice::from_ref(&at);
                instance.catalog.mark(&config.id, gone).await?;
                instance.catalog.forget(&config.id, gone).await?;
            }
        }
    }
    Ok(())
}

fn tell(context: &Context, args: &PurgeArgs, done: &PurgeReport) -> Result<()> {
    let versions = |all: &[(devicevault_core::StorageRef, Manifest)]| all.iter().map(|(_, m)| m.into()).collect();
    let told = Told {
        destination: args.name.clone(),
        done: args.yes,
        removed: versions(&done.removed),
        changed: versions(&done.rewritten),
        other_files: done.foreign,
        commits: done.commits,
        other_references: done.others.clone(),
        left_over: done.left_over,
    };
    if context.ui.is_json() {
        return context.ui.json(&told);
    }
    let mut table = Table::new(["device", "artefact", "version", "taken", "what"]);
    for (what, all) in [("goes", &told.removed), ("is changed", &told.changed)] {
        for v in all {
            table.row([
                Cell::new(&v.device),
                Cell::new(&v.artefact),
                Cell::new(v.backup.to_string()),
                Cell::new(human::time(v.taken_at)),
                Cell::new(what),
            ]);
        }
    }
    context.ui.table(table, "there is nothing of it in history")?;
    if told.other_files > 0 {
        context.ui.note(&format!("{} that are no backups hold it too", human::count(told.other_files, "file")));
    }
    for name in &done.odd {
        context.ui.note(&format!("{}: no file can have this name, or two have: it is left out", name.escape_debug()));
    }
    for name in &done.others {
        context.ui.failure(&format!("{}: its own history holds it too, and keeps it", name.escape_debug()));
    }
    if !done.others.is_empty() {
        context.ui.failure_hint(
            "of a branch that the destination wrote to before: `devicevault destination edit NAME --option branch=EARLIER`, \
             the same purge, and back; what nobody needs: `git branch -D`, `git tag -d`",
        );
    }
    let nothing = told.removed.is_empty() && told.changed.is_empty() && told.other_files == 0 && !told.left_over;
    if told.left_over {
        let (what, which) = ("what nothing of the branch leads to", "of an earlier purge, or a branch that is gone");
        context.ui.note(&match args.yes {
            true => format!("{what} held it, {which}: {} taken out", human::count(done.objects, "object")),
            false => format!("{what} holds it too, {which}"),
        });
    }
    context.ui.note(&match (args.yes, nothing) {
        (_, true) => "nothing to do".to_owned(),
        (false, _) => "nothing was done; with --yes it goes for good".to_owned(),
        (true, _) => format!("{} made again", human::count(told.commits, "commit")),
    });
    Ok(())
}
