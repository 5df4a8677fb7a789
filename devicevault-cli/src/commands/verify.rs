//! `devicevault verify`

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use devicevault_core::catalog::{CopyKey, Query};
use devicevault_core::run::{Backup, Copy, CopyStatus};
use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Error, ErrorKind, Result};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use crate::archive::Archive;
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::place::{FromArgs, Place};
use crate::ui::progress::counter;
use crate::ui::table::{Cell, Table, Tone};
use crate::wiring::keys::Keys;
use crate::{Exit, folder, wiring};

/// Check that what was stored is still what was stored. The catalog keeps what was found; a damaged copy is stored
/// anew by the next backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault verify
  devicevault verify --device core-rtr1 --depth content
  devicevault verify --depth size --json                the quickest look at everything
  devicevault verify --from ./backups                   a folder of ad hoc backups
  devicevault verify --from ./store --depth stored      a sealed store, without its key

Exit codes: 0 all is good, 3 something is damaged or missing, 1 everything is.")]
pub(crate) struct VerifyArgs {
    /// Only of this device; may be given several times
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Of all devices; this is what happens without --device
    #[arg(long, conflicts_with = "devices")]
    all: bool,
    /// How deep to look: size (the objects are there), stored (their bytes hash to what was recorded), content (opened,
    /// the content hashes to what its manifest says)
    #[arg(long, value_name = "DEPTH", default_value = "content")]
    depth: Depth,
    #[command(flatten)]
    from: FromArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Depth {
    Size,
    Stored,
    Content,
}

impl From<Depth> for VerifyDepth {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Size => Self::Size,
            Depth::Stored => Self::Stored,
            Depth::Content => Self::Content,
        }
    }
}

/// Copies that are looked at at a time.
const AT_ONCE: usize = 8;
/// Versions of a device, or of all.
const MOST: usize = 10_000_000;

/// What was found of one copy that is not good.
#[derive(Debug, Serialize)]
struct Bad {
    device: String,
    artefact: String,
    backup: Option<String>,
    destination: String,
    storage_ref: Option<String>,
    first_seen: Option<String>,
    /// `damaged`, `missing` or `unreadable`.
    verdict: &'static str,
    what: Vec<String>,
}

/// What a verification found, as `verify --json` tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    depth: VerifyDepth,
    checked: usize,
    good: usize,
    bad: Vec<Bad>,
    /// Why nothing was opened, where the contents were to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_opened: Option<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self { depth: VerifyDepth::Content, checked: 0, good: 0, bad: Vec::new(), not_opened: None }
    }
}

impl Found {
    /// How the program ends: what was asked for and not looked at counts as not done.
    fn exit(&self) -> Exit {
        Exit::of_parts(self.good, self.bad.len() + usize::from(self.not_opened.is_some()))
    }
}

pub(crate) async fn run(context: &Context, args: VerifyArgs) -> Result<Exit> {
    let mut unreadable = Vec::new();
    let archive = match folder::archive_with_index(context, args.from.place().as_ref(), |e| unreadable.push(e)).await {
        // Who named a key wants to know that it is not the one.
        Err(e) if e.kind() == ErrorKind::KeyUnavailable && context.given_keys.is_empty() && args.devices.is_empty() => {
            let Some(place) = args.from.place() else { return Err(e) };
            return unopened(context, &place, args.depth.into(), &e).await;
        }
        other => other?,
    };
    let mut versions = Vec::new();
    if args.devices.is_empty() {
        versions = archive.versions(&Query::default(), MOST).await?;
    }
    for name in &args.devices {
        let mut query = Query::default();
        query.device = Some(archive.device_id(name).await?);
        versions.extend(archive.versions(&query, MOST).await?);
    }
    let mut found = cancellable(check(context, &archive, versions, args.depth.into())).await?;
    for e in unreadable {
        found.checked += 1;
        found.bad.push(of_manifest(&e));
    }
    if let (Some(place), None, true) = (args.from.place(), archive.instance(), args.devices.is_empty()) {
        cancellable(add_missing(context, &place, &mut found)).await?;
    }
    tell(context, &found)
}

/// A manifest whose content is gone is no version any more, and yet tells that there was one.
async fn add_missing(context: &Context, place: &Place, found: &mut Found) -> Result<()> {
    let backend = wiring::open_place(context, place, &Keys::default()).await?;
    let mut verdicts = backend.verify_unopened(VerifyDepth::Size);
    while let Some(one) = verdicts.next().await {
        if let (at, Verdict::Missing) = one? {
            found.checked += 1;
            let what = vec!["its manifest is there, its content is not".to_owned()];
            found.bad.push(Bad { storage_ref: Some(at.to_string()), ..Bad::unnamed("missing", what) });
        }
    }
    Ok(())
}

/// A sealed place whose key is not at hand: what can be said of it without.
async fn unopened(context: &Context, place: &Place, depth: VerifyDepth, why: &Error) -> Result<Exit> {
    let backend = wiring::open_place(context, place, &Keys::default()).await?;
    let mut found = Found { depth: depth.min(VerifyDepth::Stored), ..Found::default() };
    found.not_opened = (depth > found.depth).then(|| why.to_record().message);
    let check = async {
        let mut verdicts = backend.verify_unopened(depth);
        while let Some(one) = verdicts.next().await {
            let (at, verdict) = one?;
            found.checked += 1;
            let (verdict, what) = match verdict {
                Verdict::Good(_) => {
                    found.good += 1;
                    continue;
                }
                Verdict::Damaged(what) => ("damaged", what),
                _ => ("missing", vec!["it is not there".to_owned()]),
            };
            found.bad.push(Bad { storage_ref: Some(at.to_string()), ..Bad::unnamed(verdict, what) });
        }
        Ok(())
    };
    cancellable(check).await?;
    tell(context, &found)
}

/// Verifies every stored copy of these versions, and has the catalog remember what was found.
///
/// # Errors
/// The catalog cannot be written. What is wrong with a copy is among what was found.
pub(crate) async fn check(
    context: &Context,
    archive: &Archive,
    versions: Vec<Backup>,
    depth: VerifyDepth,
) -> Result<Found> {
    let copies: Vec<(&Backup, &Copy)> = versions
        .iter()
        .flat_map(|b| b.copies.iter().map(move |c| (b, c)))
        .filter(|(_, c)| matches!(c.status, CopyStatus::Stored | CopyStatus::Extended | CopyStatus::Damaged))
        .collect();
    let counter = counter(&context.ui, copies.len(), "copies");
    let mut found = Found { depth, checked: copies.len(), ..Found::default() };
    let verdicts = stream::iter(copies).map(|(b, c)| async move { (b, c, verdict(archive, b, c, depth).await) });
    let mut verdicts = Box::pin(verdicts.buffered(AT_ONCE));
    while let Some((backup, copy, verdict)) = verdicts.next().await {
        counter.inc(1);
        let bad = match &verdict {
            Ok(Verdict::Good(_)) => None,
            Ok(Verdict::Missing) => Some(("missing", vec!["it is not there".to_owned()])),
            Ok(Verdict::Damaged(what)) => Some(("damaged", what.clone())),
            Ok(_) => Some(("unreadable", vec!["its destination gave a verdict that is not known here".to_owned()])),
            Err(e) => Some(("unreadable", vec![e.to_record().message])),
        };
        remember(context, archive, backup, copy, bad.as_ref()).await?;
        match bad {
            None => found.good += 1,
            Some((verdict, what)) => found.bad.push(Bad {
                device: backup.device_name.clone(),
                artefact: backup.artefact.clone(),
                backup: Some(backup.id.to_string()),
                destination: archive.place_name(&copy.destination).to_owned(),
                storage_ref: copy.storage_ref.as_ref().map(ToString::to_string),
                first_seen: Some(backup.first_seen.to_string()),
                verdict,
                what,
            }),
        }
    }
    counter.finish_and_clear();
    Ok(found)
}

/// Asks the backend, and compares its manifest with the record.
async fn verdict(archive: &Archive, backup: &Backup, copy: &Copy, depth: VerifyDepth) -> Result<Verdict> {
    let missing = || Error::new(ErrorKind::Corrupt, "verify backup", "its record does not say where it is");
    let at = copy.storage_ref.as_ref().ok_or_else(missing)?;
    let backend = archive.backend(&copy.destination)?;
    let verdict = match backend.verify(at, None, depth).await {
        Ok(verdict) => verdict,
        Err(e) if e.kind() == ErrorKind::NotFound => Verdict::Missing,
        Err(e) => return Err(e),
    };
    if !verdict.is_good() || archive.instance().is_none() {
        return Ok(verdict);
    }
    let manifest = match backend.stat(at).await {
        Ok(manifest) => manifest,
        // What is stored can be looked at without its key.
        Err(e) if e.kind() == ErrorKind::KeyUnavailable && depth < VerifyDepth::Content => return Ok(verdict),
        Err(e) => return Err(e),
    };
    let mut what = Vec::new();
    for (name, same) in [
        ("identifier", manifest.backup == backup.id),
        ("size", manifest.size == copy.size),
        ("SHA-256", manifest.sha256 == copy.sha256),
    ] {
        if !same {
            what.push(format!("its {name} is not the one that was recorded"));
        }
    }
    Ok(if what.is_empty() { verdict } else { Verdict::Damaged(what) })
}

/// What could not be read says nothing of the copy: a share may not be mounted.
async fn remember(
    context: &Context,
    archive: &Archive,
    backup: &Backup,
    copy: &Copy,
    bad: Option<&(&'static str, Vec<String>)>,
) -> Result<()> {
    let Some(instance) = archive.instance() else { return Ok(()) };
    let found = match bad {
        None => Ok(context.clock().now()),
        Some(("unreadable", _)) => return Ok(()),
        Some((verdict, what)) => {
            let kind = if *verdict == "missing" { ErrorKind::NotFound } else { ErrorKind::Corrupt };
            Err(Error::new(kind, "verify backup", what.join("; ")).to_record())
        }
    };
    let key = CopyKey { backup: backup.id, destination: copy.destination.clone() };
    instance.catalog.verified(&key, found).await
}

/// A manifest that cannot be read stands for a backup of which nothing else is known.
fn of_manifest(e: &Error) -> Bad {
    let at = e.context().find(|(n, _)| ["path", "object", "manifest"].contains(n)).map(|(_, v)| v.to_owned());
    Bad { storage_ref: at, ..Bad::unnamed("damaged", vec![e.to_record().message]) }
}

impl Bad {
    /// Of a copy that does not tell whose it is.
    fn unnamed(verdict: &'static str, what: Vec<String>) -> Self {
        Self {
            device: "-".to_owned(),
            artefact: "-".to_owned(),
            backup: None,
            destination: "folder".to_owned(),
            storage_ref: None,
            first_seen: None,
            verdict,
            what,
        }
    }
}

/// Tells what was found, and how the program ends.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn tell(context: &Context, found: &Found) -> Result<Exit> {
    let ui = &context.ui;
    if ui.is_json() {
        ui.json(found)?;
        return Ok(found.exit());
    }
    let mut table = Table::new(["device", "artefact", "version", "destination", "verdict", "what"]);
    for b in &found.bad {
        let place =
            b.storage_ref.as_ref().map_or_else(|| b.destination.clone(), |at| format!("{}: {at}", b.destination));
        table.row([
            Cell::new(&b.device),
            Cell::new(&b.artefact),
            Cell::opt(b.backup.as_ref()),
            Cell::new(place),
            Cell::new(b.verdict).tone(Tone::Bad),
            Cell::new(b.what.join("; ")),
        ]);
    }
    if !table.is_empty() {
        ui.table(table, "")?;
    }
    let deep = BTreeMap::from([
        (VerifyDepth::Size, "they are there with their size"),
        (VerifyDepth::Stored, "their stored bytes are what was recorded"),
        (VerifyDepth::Content, "their content is what was recorded"),
    ]);
    let good = if found.good == 1 { "1 copy".to_owned() } else { format!("{} copies", found.good) };
    let line = match (found.good, found.bad.len()) {
        (0, 0) => "there is nothing to verify".to_owned(),
        (_, 0) => format!("{good} good: {}", deep[&found.depth]),
        (_, bad) => {
            format!("{good} good, {bad} not; the next backup stores the present version anew where it is damaged")
        }
    };
    ui.note(&line);
    if let Some(why) = &found.not_opened {
        ui.failure(&format!("no content was looked at: {why}"));
        ui.failure_hint("give the recovery kit or key file by --kek-file; --depth stored asks for no more than this");
    }
    Ok(found.exit())
}
