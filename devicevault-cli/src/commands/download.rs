//! `devicevault download`

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::run::{Backup, Copy};
use devicevault_core::{Digest, Error, ErrorKind, Kind, Manifest, Result, Transform, View};
use futures::StreamExt as _;
use serde::Serialize;
use sha2::Digest as _;

use crate::archive::Archive;
use crate::context::Context;
use crate::draft::Draft;
use crate::interrupt::cancellable;
use crate::place::FromArgs;
use crate::range::ByteRange;
use crate::ui::human;
use crate::versions::{self, Wanted};
use crate::{Exit, files, folder, quarantine};

/// Write versions to files. A file appears when it is whole and its hash is right, not before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault download core-rtr1 --to core-rtr1.cfg
  devicevault download core-rtr1:startup-config --at 2026-11-01 --to ./restore/
  devicevault download core-rtr1 core-rtr2 --to ./restore/
  devicevault download core-rtr1 --view redacted --to for-support.txt
  devicevault download core-sw1:firmware --range 0-4095 --to header.bin

Files are the originals, with secrets, readable by the owner alone; existing ones are not replaced without --force.")]
pub(crate) struct DownloadArgs {
    /// Devices, and after a colon the artefact
    #[arg(value_name = "DEVICE[:ARTEFACT]", required = true)]
    what: Vec<String>,
    /// The file; for several devices, or with a slash at its end, the folder
    #[arg(long, value_name = "FILE|DIR")]
    to: PathBuf,
    /// What was valid at this date or time
    #[arg(long, value_name = "TIME", conflicts_with = "backup")]
    at: Option<String>,
    /// This version: an identifier or its beginning, or latest~N
    #[arg(long, value_name = "VERSION")]
    backup: Option<String>,
    /// original (complete, with secrets), clean (without volatile lines) or redacted (secrets masked)
    #[arg(long, value_name = "VIEW", default_value = "original")]
    view: View,
    /// Only these bytes, counted from 0, both ends included: 0-99, 100- (to the end), -100 (the last 100)
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Take it although it is in quarantine: it broke a file rule
    #[arg(long)]
    quarantined: bool,
    #[command(flatten)]
    from: FromArgs,
}

#[derive(Debug, Serialize)]
struct Written {
    device: String,
    artefact: String,
    backup: String,
    kind: Kind,
    view: View,
    file: String,
    /// Bytes that were written.
    size: u64,
    /// Of the bytes that were written.
    sha256: String,
    /// Which bytes of the version these are, the end not included; all where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<std::ops::Range<u64>>,
}

pub(crate) async fn run(context: &Context, args: DownloadArgs) -> Result<Exit> {
    let archive = folder::archive(context, args.from.place(context).await?.as_ref()).await?;
    let into_folder = args.what.len() > 1 || args.to.is_dir() || args.to.to_string_lossy().ends_with('/');
    let reference = args.at.clone().or(args.backup.clone()).unwrap_or_else(|| "latest".to_owned());
    let mut written = Vec::new();
    let mut failed = Vec::new();
    for what in &args.what {
        let wanted = Wanted::parse(Some(what), None);
        let one = async {
            let backup = &versions::one(&archive, &wanted, &reference).await?;
            quarantine::check(backup, args.quarantined)?;
            let file = if into_folder { args.to.join(file_name(backup)) } else { args.to.clone() };
            write(&archive, backup, &args, &file).await
        };
        match cancellable(one).await {
            Ok(one) => {
                let what = format!("{} of {}", one.artefact, one.device);
                context.ui.note(&format!("{} ({what}, {})", one.file, human::size(one.size)));
                written.push(one);
            }
            Err(e) if args.what.len() == 1 || e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => failed.push(e),
        }
    }
    if context.ui.is_json() {
        context.ui.json(&written)?;
    }
    failed.iter().for_each(|e| context.ui.error(e));
    Ok(Exit::of_parts(written.len(), failed.len()))
}

/// Bytes that the name of a file may have on the file systems in use.
const LONGEST_NAME: usize = 255;

/// A name that is one component: the device's name has been checked to be one, the artefact's too. Of a long one the
/// beginning stands there, with a hash of all of it.
pub(super) fn file_name(b: &Backup) -> String {
    let safe = |text: &str| -> String {
        text.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
    };
    let extension: String = b.extension.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut device = safe(&b.device_name);
    let rest = format!("-{}.{extension}", safe(&b.artefact));
    if device.len() + rest.len() > LONGEST_NAME {
        let mut hash = Digest::of(b.device_name.as_bytes()).to_string();
        hash.truncate(8);
        let room = LONGEST_NAME.saturating_sub(rest.len() + 1 + hash.len());
        device.truncate(device.floor_char_boundary(room));
        device = format!("{device}~{hash}");
    }
    format!("{device}{rest}").trim_start_matches('.').to_owned()
}

async fn write(archive: &Archive, backup: &Backup, args: &DownloadArgs, file: &Path) -> Result<Written> {
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        files::make_private_folder(folder)?;
    }
    let view = if backup.kind == Kind::Binary { View::Original } else { args.view };
    let mut draft = Draft::create(file, args.force)?;
    let range = fill(archive, backup, view, args.range, &mut draft).await?;
    draft.flush()?;
    let (size, sha256) = draft.written();
    draft.publish(args.force)?;
    Ok(Written {
        device: backup.device_name.clone(),
        artefact: backup.artefact.clone(),
        backup: backup.id.to_string(),
        kind: backup.kind,
        view,
        file: file.display().to_string(),
        size,
        sha256: sha256.to_string(),
        range,
    })
}

/// Writes a view, or a range of it; which range that was. A stored view is streamed and checked against its record; one
/// that is made is written whole.
///
/// Of a range, a sealed copy proves every segment that it lies in, so that nothing else has to be read; of a copy in the
/// clear, everything is read and checked.
async fn fill(
    archive: &Archive,
    backup: &Backup,
    view: View,
    range: Option<ByteRange>,
    out: &mut Draft,
) -> Result<Option<Range<u64>>> {
    let within = |size| range.map(|r| r.within(size)).transpose();
    let Ok((backend, copy, at)) = archive.stored(backup, view).await else {
        let content = archive.read(backup, view).await?;
        let range = within(content.len() as u64)?;
        // Both ends are at most the length of a text in memory.
        let part = range.clone().map_or(&content[..], |r| &content[r.start as usize..r.end as usize]);
        out.write(part)?;
        return Ok(range);
    };
    let wanted = within(copy.size)?;
    if let Some(part) = &wanted
        && is_sealed(&backend.stat(at).await?)
    {
        let mut stream = backend.read(at, Some(part.clone())).await?;
        while let Some(chunk) = stream.next().await {
            out.write(&chunk?)?;
        }
        return if out.written().0 == part.end - part.start { Ok(wanted) } else { Err(damaged(backup, copy)) };
    }
    let (mut hash, mut seen) = (sha2::Sha256::new(), 0_u64);
    let mut stream = backend.read(at, None).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        hash.update(&chunk);
        let end = seen + chunk.len() as u64;
        let part = wanted.clone().map_or(seen..end, |r| r.start.clamp(seen, end)..r.end.clamp(seen, end));
        // Relative to a chunk in memory.
        out.write(&chunk[(part.start - seen) as usize..(part.end - seen) as usize])?;
        seen = end;
    }
    let sha256 = Digest(hash.finalize().into());
    if sha256 != copy.sha256 || seen != copy.size {
        return Err(damaged(backup, copy).with("expected SHA-256", copy.sha256).with("found SHA-256", sha256));
    }
    Ok(wanted)
}

fn is_sealed(m: &Manifest) -> bool {
    m.transforms.iter().any(|t| matches!(t, Transform::Sealed { .. }))
}

fn damaged(backup: &Backup, copy: &Copy) -> Error {
    Error::new(ErrorKind::Corrupt, "read backup", "it is not what was stored")
        .with("backup", backup.id)
        .with("destination", &copy.destination)
        .hint("`devicevault verify` tells what else is damaged")
}
