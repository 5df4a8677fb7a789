//! `devicevault git mend`

use std::collections::HashMap;

use clap::Args;
use devicevault_core::catalog::{CopyKey, Query};
use devicevault_core::engine::GoodCopy;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::{Backup, Copy, CopyStatus, Outcome};
use devicevault_core::storage::VerifyDepth;
use devicevault_core::verification::verify_copy;
use devicevault_core::{Error, ErrorKind, Manifest, Result, StorageRef};
use serde::Serialize;

use super::purge;
use crate::commands::verify::Repairs;
use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring::{MendReport, Repository, Supply};
use crate::{Exit, wiring};

/// Make the history of a Git destination whole again of which objects are lost or damaged: versions are put back where they
/// were out of other destinations. Nothing is done without --yes: what is lost is shown, and where it can be had.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault git mend read
  devicevault git mend read --yes
  devicevault git mend read --yes --lose                and take out what can be had nowhere

Commits from the first one on that is concerned are made again; `show`, `history` and `verify` know the versions by their new
commits. Killed in between, the same command goes on.

Exit codes: 0 the history is whole, 3 something is lost.")]
pub(crate) struct MendArgs {
    /// The destination
    name: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Take out what can be had nowhere
    #[arg(long, requires = "yes")]
    lose: bool,
    /// Have the remote have the new history too: its branch is moved by force
    #[arg(long, requires = "yes")]
    force_push: bool,
}

/// What was done, as `git mend --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told {
    destination: String,
    /// Whether it was done, or only looked at.
    done: bool,
    lost_commits: usize,
    versions: Vec<Version>,
    /// Files that are no versions and cannot be read: they are taken out.
    files: Vec<String>,
    commits: usize,
    /// Commits of which a folder was lost, and is made again as it was.
    restored: usize,
}

#[derive(Debug, Serialize)]
struct Version {
    device: Option<String>,
    artefact: Option<String>,
    backup: Option<String>,
    taken_at: Option<devicevault_core::Timestamp>,
    storage_ref: StorageRef,
    /// Which destination has it; none where it can be had nowhere.
    from: Option<String>,
    /// Why it can be had nowhere.
    why: Option<String>,
    /// Where its text can be read in the repository still, by `git show`, until it is taken out.
    readable_at: Option<String>,
}

/// A version that is lost here.
struct Lost<'a> {
    at: StorageRef,
    manifest: Option<Manifest>,
    backup: Option<&'a Backup>,
    source: Result<GoodCopy>,
}

pub(super) async fn run(context: &Context, args: MendArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let config = instance.destination(&args.name).await?;
    let repository = wiring::repository(instance.backend_settings(&config, false)).await?;
    cancellable(purge::settle(&instance, &config, &repository)).await?;
    let mut query = Query::default();
    query.destination = Some(config.id.clone());
    let mut backups = instance.find_all(&query, usize::MAX).await?;
    backups.sort_by_key(|b| (b.first_seen, b.id));
    let copies: Vec<(&Backup, StorageRef)> =
        backups.iter().filter_map(|b| Some((b, copy_of(b, &config)?.storage_ref.clone()?))).collect();
    let known: Vec<StorageRef> = copies.iter().map(|(_, at)| at.clone()).collect();

    let found = cancellable(repository.mend(known.clone(), Vec::new(), true)).await?;
    let repairs = Repairs::of(context, &instance).await?;
    let of: HashMap<&StorageRef, &Backup> = copies.iter().map(|(b, at)| (at, *b)).collect();
    let lost = cancellable(async { Ok(sources(&repairs, &config, &of, &found).await) }).await?;
    let gone = lost.iter().filter(|l| l.source.is_err()).count();
    if args.yes && gone > 0 && !args.lose {
        tell(context, &instance, &args, false, &found, &lost).await?;
        let why = format!("{} can be had nowhere", human::count(gone, "version"));
        return Err(Error::new(ErrorKind::Incomplete, "mend history", why)
            .with("destination", &config.name)
            .hint("have the destinations at hand that hold them, or add --lose to take them out"));
    }
    let mut done = false;
    if args.yes && !found.is_whole() {
        if wiring::has_remote(&config) && !args.force_push && found.commits > 0 {
            return Err(Error::new(ErrorKind::Config, "mend history", "its remote has the history as it was")
                .with("destination", &config.name)
                .hint("add --force-push, or fetch what is lost from there: `git fetch --refetch` in the repository"));
        }
        let had = |l: &Lost<'_>| {
            let copy = l.source.as_ref().ok()?;
            Some(Supply { at: l.at.clone(), entry: copy.entry.clone(), body: copy.body.clone() })
        };
        cancellable(repository.mend(known, lost.iter().filter_map(had).collect(), false)).await?;
        done = true;
    }
    if args.yes {
        // Also where another call had come so far and was cut off.
        cancellable(purge::settle(&instance, &config, &repository)).await?;
        let mended = lost.iter().filter(|l| l.source.is_ok()).filter_map(|l| l.backup);
        let damaged = |b: &&Backup| copy_of(b, &config).is_some_and(|c| c.status == CopyStatus::Damaged);
        for backup in backups.iter().filter(damaged).chain(mended) {
            look(context, &instance, &config, &repository, backup).await?;
        }
        if args.force_push {
            cancellable(repository.push_purged()).await?;
        }
    }
    tell(context, &instance, &args, done, &found, &lost).await?;
    Ok(if gone == 0 && (done || found.is_whole()) { Exit::Done } else { Exit::SomeFailed })
}

fn copy_of<'b>(backup: &'b Backup, config: &DestinationConfig) -> Option<&'b Copy> {
    backup.copies.iter().find(|c| c.destination == config.id)
}

/// Where each lost version can be had.
async fn sources<'a>(
    repairs: &Repairs<'_>,
    config: &DestinationConfig,
    of: &HashMap<&StorageRef, &'a Backup>,
    found: &MendReport,
) -> Vec<Lost<'a>> {
    let mut all = Vec::new();
    for (at, manifest) in &found.lost {
        let backup = of.get(at).copied();
        let source = match backup {
            Some(backup) => repairs.good_copy(&CopyKey { backup: backup.id, destination: config.id.clone() }).await,
            None => Err(Error::new(ErrorKind::NotFound, "mend history", "the catalog does not know it")),
        };
        all.push(Lost { at: at.clone(), manifest: manifest.clone(), backup, source });
    }
    all
}

/// Has the catalog know that a copy is good again.
async fn look(
    context: &Context,
    instance: &Instance,
    config: &DestinationConfig,
    repository: &Repository,
    backup: &Backup,
) -> Result<()> {
    let mut query = Query::default();
    query.id = Some(backup.id);
    let Some(mut backup) = instance.find_all(&query, 1).await?.pop() else { return Ok(()) };
    backup.copies.retain(|c| c.destination == config.id);
    let Some(mut copy) = backup.copies.pop() else { return Ok(()) };
    let verdict = verify_copy(repository.backend(), &backup, &copy, VerifyDepth::Content).await?;
    if !verdict.is_good() {
        let why = format!("a version is not good after it was mended: {verdict:?}");
        return Err(Error::new(ErrorKind::Corrupt, "mend history", why).with("backup", backup.id));
    }
    let now = context.clock().now();
    (copy.status, copy.verified_at, copy.error) = (CopyStatus::Stored, Some(now), None);
    let key = CopyKey { backup: backup.id, destination: config.id.clone() };
    backup.copies.push(copy);
    instance.catalog.record(backup.run, vec![Outcome::Backup(backup)]).await?;
    instance.catalog.verified(&key, Ok(now)).await
}

async fn tell(
    context: &Context,
    instance: &Instance,
    args: &MendArgs,
    done: bool,
    found: &MendReport,
    lost: &[Lost<'_>],
) -> Result<()> {
    let names = instance.destination_configs().await?;
    let version = |l: &Lost<'_>| Version {
        device: l.backup.map(|b| b.device_name.clone()).or(l.manifest.as_ref().map(|m| m.source.device_name.clone())),
        artefact: l.backup.map(|b| b.artefact.clone()).or(l.manifest.as_ref().map(|m| m.artefact.clone())),
        backup: l.backup.map(|b| b.id).or(l.manifest.as_ref().map(|m| m.backup)).map(|id| id.to_string()),
        taken_at: l.backup.map(|b| b.first_seen).or(l.manifest.as_ref().map(|m| m.taken_at)),
        storage_ref: l.at.clone(),
        from: l.source.as_ref().ok().map(|s| names.get(&s.from).map_or_else(|| s.from.to_string(), |d| d.name.clone())),
        why: l.source.as_ref().err().map(|e| e.message().to_owned()),
        readable_at: l.source.as_ref().err().and_then(|_| found.readable.get(&l.at).cloned()),
    };
    let told = Told {
        destination: args.name.clone(),
        done,
        lost_commits: found.lost_commits,
        versions: lost.iter().map(version).collect(),
        files: found.lost_files.clone(),
        commits: found.commits,
        restored: found.restored,
    };
    if context.ui.is_json() {
        return context.ui.json(&told);
    }
    let mut table = Table::new(["device", "artefact", "version", "taken", "what"]);
    for v in &told.versions {
        let (what, tone) = match (&v.from, done) {
            (Some(from), true) => (format!("put back from {from}"), Tone::Good),
            (Some(from), false) => (format!("can be put back from {from}"), Tone::Plain),
            (None, true) => ("taken out: it is lost".to_owned(), Tone::Bad),
            (None, false) => (format!("lost: {}", v.why.as_deref().unwrap_or_default()), Tone::Bad),
        };
        let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "?".to_owned());
        table.row([
            Cell::new(text(&v.device)),
            Cell::new(text(&v.artefact)),
            Cell::new(text(&v.backup)),
            Cell::new(v.taken_at.map_or_else(|| "?".to_owned(), human::time)),
            Cell::new(what).tone(tone),
        ]);
    }
    context.ui.table(table, "no version of it is lost")?;
    let config = instance.destination(&args.name).await?;
    for at in told.versions.iter().filter_map(|v| v.readable_at.as_ref()) {
        context.ui.warn(&match wiring::place_of(&config, &instance.home) {
            _ if done => format!("{at} could be read, and was taken out with the version that is lost"),
            Some(place) => format!(
                "{at} can be read still, and goes with --lose: `git --git-dir {place} show {at} > FILE` saves it"
            ),
            None => format!("{at} can be read still, and goes with --lose: `git show {at} > FILE` saves it"),
        });
    }
    for file in &told.files {
        context.ui.note(&format!("{file}: no backup, and it cannot be read: it {} taken out", is(done)));
    }
    if told.restored > 0 {
        let what = human::count(told.restored, "commit");
        context.ui.note(&format!("{what} lost a folder, which {} made again as it was", is(done)));
    }
    if told.lost_commits > 0 {
        context.ui.note(&format!("{} lost", human::count(told.lost_commits, "commit")));
    }
    context.ui.note(&match (done, found.is_whole()) {
        (_, true) => "its history is whole: nothing to do".to_owned(),
        (false, false) => "nothing was done; with --yes it is made whole again".to_owned(),
        (true, false) => format!("{} made again", human::count(told.commits, "commit")),
    });
    Ok(())
}

fn is(done: bool) -> &'static str {
    if done { "was" } else { "is to be" }
}
