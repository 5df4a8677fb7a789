//! The connection test: what the repository really does.

use std::fs;

use devicevault_core::storage::Health;
use devicevault_core::{Error, ErrorKind, Result};
use git2::Repository;

use super::branch;
use super::layout::{Layout, sync_folder, write_new};
use super::lock::FileLock;
use super::objects;
use super::options::GitOptions;
use super::pack;

/// Many packs make every reading slower; a repository that is written to merges them before there are so many.
const MANY_PACKS: usize = 256;

/// Probes. `lock` is the writers' lock, or why it was not had.
pub(super) fn probe(layout: &Layout, options: &GitOptions, repo: &Repository, lock: &Result<FileLock>) -> Health {
    let mut health = Health::default();
    let mut push = |name: &str, outcome: Result<String>| match outcome {
        Ok(detail) => health.push(name, true, detail),
        Err(e) => health.push(name, false, e.to_record().message),
    };
    push(
        "branch",
        branch::tip(repo, &options.refname()).map(|tip| match tip {
            Some(commit) => format!("{} stands at {commit}", options.branch),
            None => format!("{} has no commit yet", options.branch),
        }),
    );
    push("write and flush", flush(layout));
    push(
        "one writer at a time",
        match lock {
            Ok(_) => layout.try_lock().and_then(|second| match second {
                None => Ok("a second writer is kept out".to_owned()),
                Some(_) => Err(devicevault_core::Error::new(
                    devicevault_core::ErrorKind::Unsupported,
                    "lock repository",
                    "the file system lets two writers have one lock",
                )
                .hint("keep the repository on a local file system, or let one process alone write to it")),
            }),
            Err(e) => Err(e.clone()),
        },
    );
    push("tip", tip(options, repo));
    push("packs", pack::packs(layout).map(|p| format!("{} packs", p.len())));
    if let Ok(packs) = pack::packs(layout) {
        for p in packs.iter().filter(|p| !pack::plausible(p)) {
            health.push("pack", false, format!("{}: not a whole pack", p.path.display()));
        }
        if packs.len() > MANY_PACKS {
            health.push("packs", true, "there are many packs: maintenance would make reading faster");
        }
    }
    health
}

fn flush(layout: &Layout) -> Result<String> {
    let path = layout.own().join("probe");
    let failed = |e| super::fault::io("probe repository", &path, e);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    write_new(&path, b"probe").map_err(failed)?;
    sync_folder(&layout.own())?;
    fs::remove_file(&path).map_err(failed)?;
    Ok("a file was written, flushed and removed".to_owned())
}

/// Reads what the branch stands at, down to the tree.
fn tip(options: &GitOptions, repo: &Repository) -> Result<String> {
    let Some(commit) = branch::tip(repo, &options.refname())? else { return Ok("nothing to read yet".to_owned()) };
    let found = objects::commit(repo, commit).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            let why = "the branch names a commit which the repository does not hold, as in a copy that was made while \
                       something was stored: `devicevault destination maintain` puts it back to the newest that is whole";
            Error::new(ErrorKind::Corrupt, "read branch", why).with("branch", &options.branch).with("commit", commit)
        }
        _ => e,
    })?;
    let tree = found.tree_id();
    objects::tree(repo, tree)?;
    Ok("the newest commit and its tree can be read".to_owned())
}
