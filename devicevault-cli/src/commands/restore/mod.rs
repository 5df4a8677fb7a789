//! `devicevault restore`: versions written to files as they were taken, each checked before it has a name.

mod choose;
mod fill;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::run::Backup;
use devicevault_core::{Kind, Result, View};
use serde::Serialize;

use self::choose::Chosen;
use crate::archive::Archive;
use crate::commands::device::fields::key_value;
use crate::commands::download::file_name;
use crate::context::Context;
use crate::draft::Draft;
use crate::interrupt::cancellable;
use crate::keys::laid;
use crate::place::{self, Place};
use crate::ui::human;
use crate::{Exit, files, folder, versions, wiring};

/// Write what was taken of a device to files, to be put back: an artefact, or all of them as they were at a time.
///
/// A file appears when it is whole and its hash is right, not before; of several, all appear or none. What cannot be read
/// at one destination is taken from another. The device is not touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault restore core-rtr1 --to ./restore/                            all artefacts, as they are now
  devicevault restore core-rtr1 --to ./restore/ --at 2026-11-01            as they were then
  devicevault restore core-rtr1 --to ./restore/ --run 019aa2f4             as one run found them
  devicevault restore core-rtr1 running-config --to core-rtr1.cfg          one of them
  devicevault restore core-rtr1 running-config latest~2 --to before.cfg --from store

Files are the originals, with secrets, readable by the owner alone; existing ones are not replaced without --force.")]
pub(crate) struct RestoreArgs {
    /// The device
    device: String,
    /// The artefact; without, all of them
    artefact: Option<String>,
    /// The version: an identifier or its beginning, or latest~N
    #[arg(value_name = "VERSION", conflicts_with_all = ["at", "run"])]
    which: Option<String>,
    /// The file, of one artefact; else, or with a slash at its end, the folder
    #[arg(long, value_name = "FILE|DIR")]
    to: PathBuf,
    /// What was valid at this date or time
    #[arg(long, value_name = "TIME", conflicts_with = "run")]
    at: Option<String>,
    /// What this run found: its identifier or the beginning of it, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// From this destination alone; or from a folder of backups, or a store by its URL, by its manifests
    #[arg(long, value_name = "DEST|DIR")]
    from: Option<String>,
    /// An option of that store, as a destination has it (region=eu-central-1, user=KEY, password_env=VAR); may be given
    /// several times
    #[arg(long = "from-option", value_name = "NAME=VALUE", value_parser = key_value, requires = "from")]
    from_options: Vec<(String, String)>,
    /// original (complete, with secrets), clean (without volatile lines) or redacted (secrets masked)
    #[arg(long, value_name = "VIEW", default_value = "original")]
    view: View,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Take it although it is in quarantine: it broke a file rule
    #[arg(long)]
    quarantined: bool,
}

/// A file that was restored.
#[derive(Debug, Serialize)]
struct Restored {
    device: String,
    artefact: String,
    backup: String,
    taken_at: String,
    /// When a run found it so for the last time.
    last_found: String,
    kind: Kind,
    view: View,
    file: String,
    size: u64,
    sha256: String,
    /// The destination that it was read at.
    from: String,
    /// Copies that could not be used, and why.
    passed_over: Vec<String>,
    /// Why it is suspect; empty when it is not.
    suspect: Vec<String>,
    /// It is in quarantine: it broke a file rule.
    quarantined: bool,
    /// What a person does to put it back, where the platform's file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    how_to_put_back: Option<String>,
}

impl Restored {
    /// Whether it is what the platform's file tells how to put back; nobody configures a device with its inventory.
    fn is_configuration(&self) -> bool {
        self.kind == Kind::Text && self.artefact.ends_with("config")
    }
}

pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit> {
    let (archive, only) = archive(context, args.from.as_deref(), &args.from_options).await?;
    let chosen = choose::choose(&archive, &args, context.clock().now()).await?;
    let into_folder = args.artefact.is_none() || args.to.is_dir() || args.to.to_string_lossy().ends_with('/');
    let folder = if into_folder { Some(args.to.as_path()) } else { args.to.parent() };
    let made = folder.filter(|f| !f.as_os_str().is_empty()).map(NewFolder::make).transpose()?;
    let work = restore(&archive, only.as_deref(), &chosen, &args, into_folder);
    let mut restored = cancellable(work).await?;
    made.into_iter().for_each(NewFolder::keep);
    let hint = hint(context, &archive, &chosen).await;
    restored.iter_mut().filter(|r| r.is_configuration()).for_each(|r| r.how_to_put_back.clone_from(&hint));
    for r in &restored {
        tracing::info!(event = "restored", device = %r.device, artefact = %r.artefact, backup = %r.backup,
            view = %r.view, file = %r.file, sha256 = %r.sha256, destination = %r.from);
        for why in &r.passed_over {
            tracing::warn!(event = "copy_passed_over", backup = %r.backup, why = %why);
            context.ui.warn(&format!("{}: {why}; the copy at {} is good and was taken", r.artefact, r.from));
        }
        if !r.suspect.is_empty() {
            let is = if r.quarantined { "in quarantine" } else { "suspect" };
            context.ui.warn(&format!("{} is {is}: {}", r.artefact, r.suspect.join("; ")));
        }
        if r.view != View::Original {
            context.ui.warn(&format!("{} is the {} view: a device does not take it back as it is", r.artefact, r.view));
        }
        let (file, size) = (&r.file, human::size(r.size));
        let found = if r.last_found == r.taken_at { String::new() } else { format!(", last found {}", r.last_found) };
        context.ui.note(&format!("{file} ({size}, {} of {}{found}, from {})", r.artefact, r.taken_at, r.from));
    }
    for doubt in &chosen.doubts {
        context.ui.warn(doubt);
    }
    for missing in &chosen.missing {
        context.ui.warn(missing);
    }
    if let Some(instance) = archive.instance() {
        // One that was not needed and may not answer is not asked.
        let at_hand = |d: &DestinationConfig| archive.is_open(&d.id) || !archive.is_remote(&d.id);
        let all = instance.inventory.destinations().await?.into_iter();
        let looked_at = all.filter(|d| only.as_ref().is_none_or(|name| *name == d.name) && at_hand(d));
        laid::tell_closed(context, instance, looked_at.collect::<Vec<_>>()).await;
    }
    if context.ui.is_json() {
        context.ui.json(&restored)?;
    } else if let Some(hint) = hint.filter(|_| restored.iter().any(Restored::is_configuration)) {
        context.ui.note(&format!("To put it back: {hint}."));
    }
    Ok(Exit::of_parts(restored.len(), chosen.missing.len()))
}

/// What the device's platform says of putting a configuration back.
async fn hint(context: &Context, archive: &Archive, chosen: &Chosen) -> Option<String> {
    let device = versions::platform_of(archive, &chosen.backups).await?;
    wiring::restore_hint(context.settings.platforms_dir(), &device.platform)
}

/// Where to look, and the destination that alone is meant.
async fn archive(
    context: &Context,
    from: Option<&str>,
    options: &[(String, String)],
) -> Result<(Archive, Option<String>)> {
    let Some(from) = from else { return Ok((folder::archive(context, None).await?, None)) };
    let place = Place::new(from, options);
    // A home that is broken must not stand in the way of a folder.
    if let Ok(instance) = context.instance().await {
        let all = instance.inventory.destinations().await?;
        if let Some(config) = place::named(&all, from, &context.ui) {
            place::refuse_options("restore", config, options)?;
            return Ok((Archive::of_instance(instance).await?, Some(from.to_owned())));
        }
        place::refuse_nothing("restore", &place, from, &all)?;
    }
    Ok((folder::archive(context, Some(&place)).await?, None))
}

/// Writes all drafts, then names them all; what was named is taken back when another cannot be.
async fn restore(
    archive: &Archive,
    only: Option<&str>,
    chosen: &Chosen,
    args: &RestoreArgs,
    into_folder: bool,
) -> Result<Vec<Restored>> {
    let mut drafts = Vec::new();
    for backup in &chosen.backups {
        let file = if into_folder { args.to.join(file_name(backup)) } else { args.to.clone() };
        let mut draft = Draft::create(&file, args.force)?;
        let view = if backup.kind == Kind::Binary { View::Original } else { args.view };
        let source = fill::fill(archive, only, backup, view, &mut draft).await?;
        draft.flush()?;
        let (size, sha256) = draft.written();
        drafts.push((draft, of(backup, view, &file, size, sha256.to_string(), source)));
    }
    let mut named: Vec<Replaced> = Vec::new();
    let mut restored = Vec::new();
    let several = drafts.len() > 1;
    for (draft, told) in drafts {
        // Should another of them fail.
        let before = if args.force && several { Before::keep(draft.target()) } else { Before::Nothing };
        match draft.publish(args.force) {
            Ok(path) => named.push(Replaced { path, before }),
            Err(e) => {
                named.into_iter().rev().for_each(Replaced::take_back);
                return Err(e);
            }
        }
        restored.push(told);
    }
    Ok(restored)
}

/// A file that has its name.
struct Replaced {
    path: PathBuf,
    before: Before,
}

impl Replaced {
    fn take_back(self) {
        let _ = match &self.before {
            Before::Nothing => fs::remove_file(&self.path),
            Before::Kept(kept) => fs::rename(kept, &self.path),
            Before::Gone => Ok(()),
        };
    }
}

/// What had the name of a file before.
enum Before {
    Nothing,
    /// It has another name, for as long as it may have to come back.
    Kept(PathBuf),
    /// The file system gives no file two names: what came in its place is whole, and better than none.
    Gone,
}

impl Before {
    fn keep(target: &Path) -> Self {
        let kept = target.with_file_name(format!(".{}.before", uuid::Uuid::now_v7()));
        match fs::hard_link(target, &kept) {
            Ok(()) => Self::Kept(kept),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::Nothing,
            Err(_) => Self::Gone,
        }
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if let Self::Kept(kept) = self {
            // Renamed back, it is not there any more.
            let _ = fs::remove_file(kept);
        }
    }
}

fn of(b: &Backup, view: View, file: &Path, size: u64, sha256: String, source: fill::Source) -> Restored {
    Restored {
        device: b.device_name.clone(),
        artefact: b.artefact.clone(),
        backup: b.id.to_string(),
        taken_at: b.first_seen.to_string(),
        last_found: b.last_seen.to_string(),
        kind: b.kind,
        view,
        file: file.display().to_string(),
        size,
        sha256,
        from: source.name,
        passed_over: source.passed_over,
        suspect: b.suspect.clone(),
        quarantined: b.is_quarantined(),
        how_to_put_back: None,
    }
}

/// Folders that were made for what is restored: they go again when it is not.
struct NewFolder(Vec<PathBuf>);

impl NewFolder {
    fn make(folder: &Path) -> Result<Self> {
        let missing = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        files::make_private_folder(folder)?;
        Ok(made)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Innermost first; one that holds something stays.
        self.0.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}
