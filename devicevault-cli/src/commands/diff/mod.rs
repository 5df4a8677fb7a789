//! `devicevault diff`

mod binary;

use clap::Args;
use devicevault_core::diff::{Change, Diff, DiffOptions};
use devicevault_core::likeness::Likeness;
use devicevault_core::run::Backup;
use devicevault_core::{Error, ErrorKind, Kind, Result, View};
use serde::Serialize;

use crate::archive::Archive;
use crate::context::Context;
use crate::place::FromArgs;
use crate::ui::{Ui, human};
use crate::versions::{self, Wanted};
use crate::{Exit, diff_view, folder, reference};

/// Show what differs between two versions: unless said otherwise, the last two.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  devicevault diff core-rtr1
  devicevault diff core-rtr1 latest~3 latest --side-by-side
  devicevault diff core-rtr1 2026-11-01 2026-11-20 --artefact startup-config
  devicevault diff --from ./backups                     of a folder of ad hoc backups, by its manifests alone
  devicevault diff --from ./backups 192.0.2.1 --context 10
  devicevault diff core-sw1:firmware --json             of binaries: sizes, hashes, share in common

A version is {}.
Volatile lines are left out and secrets masked by a key, so that a changed secret shows and tells nothing;
--view original compares everything. Of binaries, sizes, hashes and the share that they have in common are told.", reference::FORMS))]
pub(crate) struct DiffArgs {
    /// The device, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]", required_unless_present = "from")]
    what: Option<String>,
    /// The older version [default: the one before TO]
    #[arg(value_name = "FROM")]
    old: Option<String>,
    /// The newer version [default: latest]
    #[arg(value_name = "TO")]
    new: Option<String>,
    /// The artefact
    #[arg(long, value_name = "NAME")]
    artefact: Option<String>,
    /// Two columns instead of one
    #[arg(long)]
    side_by_side: bool,
    /// Unchanged lines around a change
    #[arg(long, short = 'U', value_name = "N", default_value_t = 3)]
    context: usize,
    /// original (complete, with secrets), clean (without volatile lines) or redacted (secrets masked)
    #[arg(long, value_name = "VIEW", default_value = "redacted")]
    view: View,
    #[command(flatten)]
    from: FromArgs,
}

/// A difference, as `diff --json` tells it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    device: &'a str,
    artefact: &'a str,
    kind: Kind,
    view: View,
    old: Side,
    new: Side,
    equal: bool,
    added: usize,
    removed: usize,
    hunks: Vec<HunkTold>,
    /// Of binaries that differ: bytes of the newer one that the older one has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    common_bytes: Option<u64>,
    /// The same as a part of the newer one, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_in_common: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Side {
    backup: String,
    first_seen: String,
    size: u64,
    sha256: Option<String>,
}

#[derive(Debug, Serialize)]
struct HunkTold {
    heading: Vec<String>,
    lines: Vec<LineTold>,
}

#[derive(Debug, Serialize)]
struct LineTold {
    change: Change,
    old: Option<usize>,
    new: Option<usize>,
    text: String,
}

pub(crate) async fn run(context: &Context, args: DiffArgs) -> Result<Exit> {
    let archive = folder::archive(context, args.from.place(context).await?.as_ref()).await?;
    let wanted = Wanted::parse(args.what.as_deref(), args.artefact.as_deref());
    let (_, found) = versions::of(&archive, &wanted).await?;
    let mut named = Vec::new();
    for reference in [&args.old, &args.new] {
        named.push(match reference {
            Some(reference) => Some(versions::one(&archive, &wanted, reference).await?),
            None => None,
        });
    }
    let (old, new) = sides(&archive, &found, named[0].as_ref(), named[1].as_ref())?;
    if new.kind == Kind::Binary || old.kind == Kind::Binary {
        return binary::diff(context, &archive, old, new).await;
    }
    let (a, b) = (archive.read(old, args.view).await?, archive.read(new, args.view).await?);
    text(&context.ui, (old, &a), (new, &b), &args)
}

/// Shows the last two versions of an artefact, as `diff` does by itself.
///
/// # Errors
/// There are not two, or they cannot be read.
pub(crate) async fn last_two(context: &Context, archive: &Archive, device: &str) -> Result<Exit> {
    let wanted = Wanted::of(Some(device), None);
    let (_, found) = versions::of(archive, &wanted).await?;
    let (old, new) = sides(archive, &found, None, None)?;
    let (a, b) = (archive.read(old, View::Redacted).await?, archive.read(new, View::Redacted).await?);
    let args = DiffArgs {
        what: None,
        old: None,
        new: None,
        artefact: None,
        side_by_side: false,
        context: 3,
        view: View::Redacted,
        from: FromArgs::default(),
    };
    text(&context.ui, (old, &a), (new, &b), &args)
}

/// The two versions that are meant.
fn sides<'a>(
    archive: &Archive,
    found: &'a [Backup],
    old: Option<&'a Backup>,
    new: Option<&'a Backup>,
) -> Result<(&'a Backup, &'a Backup)> {
    let new = match new {
        Some(new) => new,
        None => versions::pick(archive, found, "latest")?,
    };
    if let Some(old) = old {
        return Ok((old, new));
    }
    let good = reference::good(found);
    let before = good.into_iter().find(|b| (b.first_seen, b.id) < (new.first_seen, new.id));
    // Of a good version and newer ones that are suspect, these are what there is to look at.
    if let (None, [newest, second, ..]) = (before, found) {
        return Ok((second, newest));
    }
    let before = before.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "compare versions", "there is only one version, so nothing has changed yet")
            .with("device", &new.device_name)
            .with("artefact", &new.artefact)
            .hint("a second one is stored when a backup finds a change")
    })?;
    Ok((before, new))
}

fn text(ui: &Ui, old: (&Backup, &[u8]), new: (&Backup, &[u8]), args: &DiffArgs) -> Result<Exit> {
    let diff = Diff::new(old.1, new.1, &DiffOptions::default().with_context(args.context));
    if ui.is_json() {
        ui.json(&told(old.0, new.0, args.view, Some(&diff), None))?;
        return Ok(Exit::Done);
    }
    if diff.is_empty() {
        ui.note("the versions do not differ");
        return Ok(Exit::Done);
    }
    let text = if args.side_by_side {
        diff_view::side_by_side(&diff, &name(old.0), &name(new.0), ui)
    } else {
        diff_view::unified(&diff, &name(old.0), &name(new.0), ui)
    };
    ui.raw(&text)?;
    Ok(Exit::Done)
}

/// What a version is called above its side.
fn name(b: &Backup) -> String {
    format!("{}:{} {} ({})", b.device_name, b.artefact, human::time(b.first_seen), b.id)
}

fn side(b: &Backup) -> Side {
    let original = b.copies.iter().find(|c| c.view == View::Original);
    Side {
        backup: b.id.to_string(),
        first_seen: b.first_seen.to_string(),
        size: b.size,
        sha256: original.map(|c| c.sha256.to_string()),
    }
}

fn told<'a>(old: &Backup, new: &'a Backup, view: View, diff: Option<&Diff<'_>>, common: Option<Likeness>) -> Told<'a> {
    let (a, b) = (side(old), side(new));
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let hunks = diff.map(|d| {
        let hunks = d.hunks.iter().map(|h| HunkTold {
            heading: h.heading.iter().map(|l| lossy(l)).collect(),
            lines: h
                .lines
                .iter()
                .map(|l| LineTold { change: l.change, old: l.old, new: l.new, text: lossy(l.text) })
                .collect(),
        });
        hunks.collect::<Vec<_>>()
    });
    Told {
        device: &new.device_name,
        artefact: &new.artefact,
        kind: new.kind,
        view,
        equal: diff.map_or(a.sha256 == b.sha256, Diff::is_empty),
        added: diff.map_or(0, |d| d.added),
        removed: diff.map_or(0, |d| d.removed),
        hunks: hunks.unwrap_or_default(),
        common_bytes: common.map(|c| c.common),
        share_in_common: common.map(|c| c.share()),
        old: a,
        new: b,
    }
}
