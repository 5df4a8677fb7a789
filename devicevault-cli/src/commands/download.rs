//! `devicevault download`

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::run::Backup;
use devicevault_core::{Digest, Error, ErrorKind, Kind, Result, View};
use futures::StreamExt as _;
use serde::Serialize;
use sha2::Digest as _;

use crate::archive::Archive;
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::versions::{self, Wanted};
use crate::{Exit, files, folder};

/// Write versions to files. A file appears when it is whole and its hash is right, not before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault download core-rtr1 --to core-rtr1.cfg
  devicevault download core-rtr1:startup-config --at 2026-11-01 --to ./restore/
  devicevault download core-rtr1 core-rtr2 --to ./restore/
  devicevault download core-rtr1 --view redacted --to for-support.txt

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
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Look at a folder of backups, by its manifests alone
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    device: String,
    artefact: String,
    backup: String,
    view: View,
    file: String,
    size: u64,
    sha256: String,
}

pub(crate) async fn run(context: &Context, args: DownloadArgs) -> Result<Exit> {
    let archive = folder::archive(context, args.from.as_deref()).await?;
    let into_folder = args.what.len() > 1 || args.to.is_dir() || args.to.to_string_lossy().ends_with('/');
    let reference = args.at.clone().or(args.backup.clone()).unwrap_or_else(|| "latest".to_owned());
    let mut written = Vec::new();
    let mut failed = Vec::new();
    for what in &args.what {
        let wanted = Wanted::parse(Some(what), None);
        let one = async {
            let (_, found) = versions::of(&archive, &wanted).await?;
            let backup = versions::pick(&found, &reference)?;
            let file = if into_folder { args.to.join(file_name(backup)) } else { args.to.clone() };
            write(&archive, backup, args.view, &file, args.force).await
        };
        match cancellable(one).await {
            Ok(one) => {
                context.ui.note(&format!("{} ({})", one.file, human::size(one.size)));
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

/// A name that is one component: the device's name has been checked to be one, the artefact's too.
fn file_name(b: &Backup) -> String {
    let name = format!("{}-{}", b.device_name, b.artefact);
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let extension: String = b.extension.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}.{extension}", safe.trim_start_matches('.'))
}

async fn write(archive: &Archive, backup: &Backup, view: View, file: &Path, force: bool) -> Result<Written> {
    if !force && file.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, "write file", "there is a file of this name already")
            .with("file", file.display())
            .hint("name another one, or give --force"));
    }
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        files::make_private_folder(folder)?;
    }
    let draft = draft_name(file)?;
    let mut out = files::create_private(&draft)?;
    let filled = fill(archive, backup, view, &mut out, &draft).await;
    let named = filled.and_then(|done| {
        out.sync_all().and_then(|()| fs::rename(&draft, file)).map_err(|e| cannot(&e, file))?;
        Ok(done)
    });
    if named.is_err() {
        // The error that is told is why there is no file.
        let _ = fs::remove_file(&draft);
    }
    let (size, sha256) = named?;
    Ok(Written {
        device: backup.device_name.clone(),
        artefact: backup.artefact.clone(),
        backup: backup.id.to_string(),
        view: if backup.kind == Kind::Binary { View::Original } else { view },
        file: file.display().to_string(),
        size,
        sha256: sha256.to_string(),
    })
}

fn draft_name(file: &Path) -> Result<PathBuf> {
    let name = file.file_name().ok_or_else(|| {
        Error::new(ErrorKind::Config, "write file", "this is no name of a file").with("file", file.display())
    })?;
    Ok(file.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), uuid::Uuid::now_v7())))
}

fn cannot(e: &std::io::Error, file: &Path) -> Error {
    files::failed(e, "write file", "it cannot be written", file)
}

/// A stored view is streamed and checked against its record; one that is made is written whole.
async fn fill(
    archive: &Archive,
    backup: &Backup,
    view: View,
    out: &mut fs::File,
    draft: &Path,
) -> Result<(u64, Digest)> {
    let Ok((backend, copy, at)) = archive.stored(backup, view) else {
        let content = archive.read(backup, view).await?;
        out.write_all(&content).map_err(|e| cannot(&e, draft))?;
        return Ok((content.len() as u64, Digest::of(&content)));
    };
    let mut hash = sha2::Sha256::new();
    let mut size = 0;
    let mut stream = backend.read(at, None).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        hash.update(&chunk);
        size += chunk.len() as u64;
        out.write_all(&chunk).map_err(|e| cannot(&e, draft))?;
    }
    let sha256 = Digest(hash.finalize().into());
    if sha256 != copy.sha256 || size != copy.size {
        return Err(Error::new(ErrorKind::Corrupt, "read backup", "it is not what was stored")
            .with("backup", backup.id)
            .with("destination", &copy.destination)
            .with("expected SHA-256", copy.sha256)
            .with("found SHA-256", sha256)
            .hint("`devicevault verify` tells what else is damaged"));
    }
    Ok((size, sha256))
}
