//! `devicevault verify`

mod repairs;
mod scope;
mod unopened;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use devicevault_core::catalog::{CatalogExt as _, CopyKey, Page, Query};
use devicevault_core::run::{Backup, Copy};
use devicevault_core::storage::{MISSING, Verdict, VerifyDepth};
use devicevault_core::verification::{Sample, choose, may_be_looked_at, verify_copy};
use devicevault_core::{BackupId, DestinationId, Error, ErrorKind, Result};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use self::repairs::Repaired;
pub(crate) use self::repairs::Repairs;
use self::scope::{Scope, ScopeArgs, only_in_a_home};
use crate::apart::{self, Apart};
use crate::archive::Archive;
use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::keys::laid;
use crate::keys::places::holds_sealed;
use crate::place::{FromArgs, Place};
use crate::ui::human;
use crate::ui::progress::counter;
use crate::ui::table::{Cell, Table, Tone};
use crate::{Exit, folder};

/// Check that what was stored is still what was stored. The catalog keeps what was found; a damaged copy is stored
/// anew by the next backup, and by --repair at once, out of another destination that holds a good one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault verify
  devicevault verify --device core-rtr1 --depth content
  devicevault verify --depth size --json                the quickest look at everything
  devicevault verify --sample 5%                        those not looked at for longest; daily, each every 20 days
  devicevault verify --destination offsite --site zurich --policy core
  devicevault verify --repair                           and mend what can be mended
  devicevault verify --from ./backups                   a folder of ad hoc backups
  devicevault verify --from ./store --depth stored      a sealed store, without its key

A repair takes the bytes from another destination that keeps the same view, or makes them of an original. It never
touches a damaged copy before the good one was read through.

Exit codes: 0 all is good or repaired, 3 something is damaged or missing, 1 everything is.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How deep to look: size (the objects are there), stored (their bytes hash to what was recorded), content (opened,
    /// the content hashes to what its manifest says)
    #[arg(long, value_name = "DEPTH", default_value = "content")]
    depth: Depth,
    /// Look at this part (5%) or number (1000) of the copies, those verified or stored longest ago, and at all that is known
    /// to be damaged
    #[arg(long, value_name = "PART", conflicts_with = "from")]
    sample: Option<Sample>,
    /// Store what is damaged or missing anew, out of another destination that holds a good copy
    #[arg(long, conflicts_with = "from")]
    repair: bool,
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
/// Versions of a folder.
const MOST: usize = 10_000_000;
/// Versions that the catalog is asked for at a time.
const PAGE: u32 = 1000;

/// What a copy is called that could not be looked at.
const UNREADABLE: &str = "unreadable";

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
    /// What became of it, where it was to be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<Repaired>,
    /// Which copy it is, where that can be repaired: what could not be read may be good.
    #[serde(skip)]
    key: Option<CopyKey>,
}

/// What a verification found, as `verify --json` tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    depth: VerifyDepth,
    checked: usize,
    good: usize,
    /// Copies among them that are in quarantine, whole or not.
    quarantined: usize,
    bad: Vec<Bad>,
    /// Why nothing was opened, where the contents were to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_opened: Option<String>,
    /// Copies whose key is not at hand, by reason. Down to their stored bytes they are as they were stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unopened: Vec<Apart>,
    /// Copies that could not be looked at, by reason; they are among the bad ones too.
    #[serde(skip)]
    unreadable: Vec<Apart>,
    /// Destinations whose copies open with the home alone, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeysLacking>,
    /// Copies at destinations that were removed: not looked at, and nothing that is wrong.
    #[serde(skip_serializing_if = "is_zero")]
    elsewhere: usize,
    /// It was a folder or a store by itself, which no backup of this home mends.
    #[serde(skip)]
    in_place: bool,
}

/// A destination that does not open with the recovery kit alone.
#[derive(Debug, Serialize)]
struct KeysLacking {
    destination: String,
    copies: usize,
    why: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Default for Found {
    fn default() -> Self {
        Self {
            depth: VerifyDepth::Content,
            checked: 0,
            good: 0,
            quarantined: 0,
            bad: Vec::new(),
            not_opened: None,
            unopened: Vec::new(),
            unreadable: Vec::new(),
            keys: Vec::new(),
            elsewhere: 0,
            in_place: false,
        }
    }
}

impl Found {
    /// How the program ends: what was asked for and not looked at counts as not done.
    fn exit(&self) -> Exit {
        let bad = self.bad.len() - self.repaired() + apart::count(&self.unopened) + self.keys.len();
        Exit::of_parts(self.good + self.repaired(), bad + usize::from(self.not_opened.is_some()))
    }

    /// How many copies were repaired.
    fn repaired(&self) -> usize {
        self.bad.iter().filter(|b| b.repair.as_ref().is_some_and(Repaired::is_good)).count()
    }
}

pub(crate) async fn run(context: &Context, args: VerifyArgs) -> Result<Exit> {
    match args.from.place(context).await? {
        Some(_) if args.scope.needs_catalog() => Err(only_in_a_home()),
        Some(place) => in_place(context, &args, &place).await,
        None => Box::pin(in_home(context, &args)).await,
    }
}

/// What the home's catalog knows.
async fn in_home(context: &Context, args: &VerifyArgs) -> Result<Exit> {
    let archive = Archive::of_instance(context.instance().await?).await?;
    let Some(instance) = archive.instance() else { return Ok(Exit::Done) };
    let scope = args.scope.scope(instance).await?;
    let look = async {
        let mut found = walk(context, &archive, instance, &scope, args).await?;
        if args.repair {
            repairs::repair(context, instance, &mut found).await?;
        }
        found.keys = keys_lacking(context, instance, &scope).await?;
        Ok(found)
    };
    let found = cancellable(look).await?;
    let exit = tell(context, &found)?;
    let places = instance.inventory.destinations().await?.into_iter().filter(|d| scope.is_of(&d.id));
    laid::tell_closed(context, instance, places).await;
    Ok(exit)
}

/// Where what is there would not open with the recovery kit and nothing else. What is away is told where its copies are
/// looked at.
async fn keys_lacking(context: &Context, instance: &Instance, scope: &Scope) -> Result<Vec<KeysLacking>> {
    let mut found = Vec::new();
    for config in instance.inventory.destinations().await? {
        if !instance.keys.is_set_up() || !scope.is_of(&config.id) || !holds_sealed(instance, &config).await? {
            continue;
        }
        let Ok(lacking) = laid::lacking(context, instance, &instance.keys, &config).await else { continue };
        if lacking.copies > 0 {
            let (copies, why) = (lacking.copies, lacking.describe());
            found.push(KeysLacking { destination: config.name, copies, why });
        }
    }
    Ok(found)
}

/// A folder or a store, by its manifests and, where it has one, its index.
async fn in_place(context: &Context, args: &VerifyArgs, place: &Place) -> Result<Exit> {
    let (devices, depth) = (&args.scope.devices, args.depth.into());
    let mut unreadable = Vec::new();
    let archive = match folder::archive_with_index(context, Some(place), |e| unreadable.push(e)).await {
        // Who named a key wants to know that it is not the one.
        Err(e)
            if e.kind() == ErrorKind::KeyUnavailable && context.given_keys.is_empty() && args.scope.is_everything() =>
        {
            return unopened::look(context, place, depth, &e).await;
        }
        other => other?,
    };
    let mut versions = Vec::new();
    if devices.is_empty() {
        versions = archive.versions(&Query::default(), MOST).await?;
    }
    for name in devices {
        let mut query = Query::default();
        query.device = Some(archive.device_id(name).await?);
        versions.extend(archive.versions(&query, MOST).await?);
    }
    let mut found = cancellable(check(context, &archive, versions, depth)).await?;
    let (closed, damaged): (Vec<_>, Vec<_>) =
        unreadable.into_iter().partition(|e| e.kind() == ErrorKind::KeyUnavailable);
    for e in damaged {
        found.checked += 1;
        found.bad.push(of_manifest(&e));
    }
    if let Some(why) = closed.first() {
        let all = archive.versions(&Query::default(), MOST).await?;
        let opened = all.iter().flat_map(|b| &b.copies).filter_map(|c| c.storage_ref.clone()).collect();
        unopened::beside(context, place, depth, &opened, why, &mut found).await?;
    }
    found.in_place = true;
    tell(context, &found)
}

/// Looks at what the scope means, a page of the catalog at a time.
async fn walk(
    context: &Context,
    archive: &Archive,
    instance: &Instance,
    scope: &Scope,
    args: &VerifyArgs,
) -> Result<Found> {
    let mut found = Found { depth: args.depth.into(), ..Found::default() };
    let elsewhere = AtomicUsize::new(0);
    let means = |b: &Backup, c: &Copy| {
        let meant = scope.means(b, c);
        elsewhere.fetch_add(usize::from(meant && scope.is_elsewhere(c)), Ordering::Relaxed);
        meant && !scope.is_elsewhere(c)
    };
    if let Some(sample) = args.sample {
        let mut chosen: BTreeMap<BackupId, BTreeSet<DestinationId>> = BTreeMap::new();
        for key in choose(&*instance.catalog, &scope.queries(), &means, sample, context.clock().now()).await? {
            chosen.entry(key.backup).or_default().insert(key.destination);
        }
        let mut ids = chosen.keys().copied().peekable();
        while ids.peek().is_some() {
            let mut versions = Vec::new();
            for id in ids.by_ref().take(PAGE as usize) {
                let mut query = Query::default();
                query.id = Some(id);
                versions.extend(instance.catalog.newest(&query).await?);
            }
            let is_chosen = |b: &Backup, c: &Copy| chosen.get(&b.id).is_some_and(|at| at.contains(&c.destination));
            look(context, archive, &versions, &is_chosen, &mut found).await?;
        }
        return Ok(found);
    }
    for query in scope.queries() {
        let mut page = Page::first(PAGE);
        loop {
            let versions = instance.catalog.find(&query, page).await?;
            look(context, archive, &versions.items, &means, &mut found).await?;
            match versions.next {
                Some(next) => page = Page::after(PAGE, next),
                None => break,
            }
        }
    }
    found.elsewhere = elsewhere.into_inner();
    Ok(found)
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
    let mut found = Found { depth, ..Found::default() };
    look(context, archive, &versions, &|_, _| true, &mut found).await?;
    Ok(found)
}

async fn look(
    context: &Context,
    archive: &Archive,
    versions: &[Backup],
    means: &(dyn Fn(&Backup, &Copy) -> bool + Sync),
    found: &mut Found,
) -> Result<()> {
    let depth = found.depth;
    let copies: Vec<(&Backup, &Copy)> = versions
        .iter()
        .flat_map(|b| b.copies.iter().map(move |c| (b, c)))
        .filter(|(b, c)| may_be_looked_at(c) && means(b, c))
        .collect();
    let counter = counter(&context.ui, copies.len(), "copies");
    found.checked += copies.len();
    let verdicts = stream::iter(copies).map(|(b, c)| async move { (b, c, verdict_by_now(archive, b, c, depth).await) });
    let mut verdicts = Box::pin(verdicts.buffered(AT_ONCE));
    while let Some((backup, copy, verdict)) = verdicts.next().await {
        counter.inc(1);
        let Some(verdict) = verdict? else {
            found.checked -= 1;
            continue;
        };
        found.quarantined += usize::from(backup.is_quarantined());
        let place = archive.place_name(&copy.destination);
        let bad = match verdict {
            Ok(Verdict::Good(_)) => None,
            Ok(Verdict::Missing) => Some(("missing", vec!["it is not there".to_owned()])),
            Ok(Verdict::Damaged(what)) => Some(("damaged", what)),
            // Without its key, a copy was looked at as far as that goes, and nothing was found.
            Err(e) if e.kind() == ErrorKind::KeyUnavailable && depth == VerifyDepth::Content => {
                apart::add(&mut found.unopened, place, &e);
                continue;
            }
            other => {
                let unknown = "its destination gave a verdict that is not known here";
                let unknown = || Error::new(ErrorKind::Unsupported, "verify backup", unknown);
                let e = other.err().unwrap_or_else(unknown);
                apart::add(&mut found.unreadable, place, &e);
                Some((UNREADABLE, vec![e.to_record().message]))
            }
        };
        remember(context, archive, backup, copy, bad.as_ref()).await?;
        let key = || CopyKey { backup: backup.id, destination: copy.destination.clone() };
        match bad {
            None => found.good += 1,
            Some((verdict, what)) => found.bad.push(Bad {
                device: backup.device_name.clone(),
                artefact: backup.artefact.clone(),
                backup: Some(backup.id.to_string()),
                destination: place.to_owned(),
                storage_ref: copy.storage_ref.as_ref().map(ToString::to_string),
                first_seen: Some(backup.first_seen.to_string()),
                verdict,
                what,
                repair: None,
                key: (verdict != UNREADABLE).then(key),
            }),
        }
    }
    counter.finish_and_clear();
    Ok(())
}

/// The verdict on a copy; nothing where it is not to be there any more: retention, or a rotation of keys, may have been at
/// it since its record was read.
async fn verdict_by_now(
    archive: &Archive,
    backup: &Backup,
    copy: &Copy,
    depth: VerifyDepth,
) -> Result<Option<Result<Verdict>>> {
    let told = verdict(archive, backup, copy, depth).await;
    let Some(instance) = archive.instance().filter(|_| !told.as_ref().is_ok_and(Verdict::is_good)) else {
        return Ok(Some(told));
    };
    Ok(match as_recorded_now(instance, backup, copy).await? {
        None => None,
        Some(now) if now.storage_ref != copy.storage_ref => Some(verdict(archive, backup, &now, depth).await),
        Some(_) => Some(told),
    })
}

async fn verdict(archive: &Archive, backup: &Backup, copy: &Copy, depth: VerifyDepth) -> Result<Verdict> {
    verify_copy(&**archive.backend(&copy.destination).await?, backup, copy, depth).await
}

/// The copy as the catalog knows it by now; nothing where it is not to be there any more.
async fn as_recorded_now(instance: &Instance, backup: &Backup, copy: &Copy) -> Result<Option<Copy>> {
    let mut query = Query::default();
    query.id = Some(backup.id);
    let found = instance.catalog.newest(&query).await?;
    let copies = found.map(|b| b.copies).unwrap_or_default();
    Ok(copies.into_iter().find(|c| c.destination == copy.destination && may_be_looked_at(c)))
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
        Some((UNREADABLE, _)) => return Ok(()),
        Some((verdict, what)) => {
            let kind = if *verdict == "missing" { ErrorKind::NotFound } else { ErrorKind::Corrupt };
            Err(Error::new(kind, "verify backup", what.join("; ")).to_record())
        }
    };
    let key = CopyKey { backup: backup.id, destination: copy.destination.clone() };
    match instance.catalog.verified(&key, found).await {
        // The record went meanwhile, and the copy with it.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        told => told,
    }
}

/// A manifest that cannot be read stands for a backup of which nothing else is known.
fn of_manifest(e: &Error) -> Bad {
    let named = |names: &[&str]| e.context().find(|(n, _)| names.contains(n)).map(|(_, v)| v.to_owned());
    let what = vec![e.to_record().message];
    match named(&[MISSING]) {
        Some(content) => Bad { storage_ref: Some(content), ..Bad::unnamed("missing", what) },
        None => Bad { storage_ref: named(&["path", "object", "manifest"]), ..Bad::unnamed("damaged", what) },
    }
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
            repair: None,
            key: None,
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
    // What could not be looked at is told by its reason, not a line for each copy.
    for b in found.bad.iter().filter(|b| b.verdict != UNREADABLE) {
        let place =
            b.storage_ref.as_ref().map_or_else(|| b.destination.clone(), |at| format!("{}: {at}", b.destination));
        table.row([
            Cell::new(&b.device),
            Cell::new(&b.artefact),
            Cell::opt(b.backup.as_ref()),
            Cell::new(place),
            match &b.repair {
                Some(Repaired::Repaired { .. }) => Cell::new("repaired").tone(Tone::Good),
                _ => Cell::new(b.verdict).tone(Tone::Bad),
            },
            Cell::new(match &b.repair {
                None => b.what.join("; "),
                Some(Repaired::Repaired { from, .. }) => format!("{}; stored anew from {from}", b.what.join("; ")),
                Some(Repaired::NotRepaired { why, .. }) => format!("{}; not repaired: {why}", b.what.join("; ")),
            }),
        ]);
    }
    if !table.is_empty() {
        ui.table(table, "")?;
    }
    if found.quarantined > 0 {
        ui.note(&format!("{} of them in quarantine: `devicevault quarantine list`", human::copies(found.quarantined)));
    }
    let deep = BTreeMap::from([
        (VerifyDepth::Size, "they are there with their size"),
        (VerifyDepth::Stored, "their stored bytes are what was recorded"),
        (VerifyDepth::Content, "their content is what was recorded"),
    ]);
    ui.note(&summary(found, deep[&found.depth]));
    let hint = |b: &Bad| if let Some(Repaired::NotRepaired { hint, .. }) = &b.repair { hint.clone() } else { None };
    for hint in found.bad.iter().filter_map(hint).collect::<BTreeSet<String>>() {
        ui.failure_hint(&hint);
    }
    if found.elsewhere > 0 {
        ui.note(&format!("{} at destinations that were removed: not looked at", human::copies(found.elsewhere)));
    }
    apart::tell(ui, &found.unreadable, apart::UNREADABLE);
    apart::tell(ui, &found.unopened, apart::UNOPENED);
    for lacking in &found.keys {
        ui.failure(&format!("{}: {}", lacking.destination, lacking.why));
    }
    if !found.keys.is_empty() {
        ui.failure_hint("`devicevault key check --repair` lays them there, and so does the next backup");
    }
    if let Some(why) = &found.not_opened {
        ui.failure(&format!("no content was looked at: {why}"));
        ui.failure_hint("give the recovery kit or key file by --kek-file; --depth stored asks for no more than this");
    }
    Ok(found.exit())
}

/// What was found, in a line.
fn summary(found: &Found, deep: &str) -> String {
    let unopened = apart::count(&found.unopened);
    let unreadable = apart::count(&found.unreadable);
    let bad = found.bad.len().saturating_sub(unreadable);
    let mut parts = vec![format!("{} good", human::copies(found.good))];
    match (found.good, bad + unreadable + unopened) {
        (0, 0) => return "there is nothing to verify".to_owned(),
        (_, 0) => return format!("{}: {deep}", parts.concat()),
        _ => {}
    }
    let repaired = found.bad.iter().any(|b| b.repair.is_some());
    if repaired {
        parts.push(format!("{} repaired", found.repaired()));
    }
    let left = bad - found.repaired();
    if left > 0 || (unopened == 0 && unreadable == 0) {
        parts.push(format!("{left} not"));
    }
    if unreadable > 0 {
        parts.push(format!("{unreadable} could not be looked at"));
    }
    if unopened > 0 {
        parts.push(format!("{unopened} not opened"));
    }
    let line = parts.join(", ");
    if found.in_place || repaired || left == 0 {
        return line;
    }
    format!("{line}; --repair stores them anew from another destination, and the next backup what the device holds now")
}
