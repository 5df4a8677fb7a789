//! The files of a spool: `<root>/<process>/<id>.body`, and `<id>.item` beside it once it is parked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::spool::{ParkId, Parked};
use devicevault_core::{Body as _, Error, ErrorKind, Result};
use futures::StreamExt as _;
use uuid::Uuid;

use super::{SPOOL_KEY, blocking, of_io};
use crate::seal::{Key, Keyring, SealOptions, Sealed, seal};

const LOCK: &str = "lock";
const BODY: &str = "body";
const ITEM: &str = "item";
/// An item is a manifest and a few words.
const MAX_ITEM: u64 = 4 << 20;

/// This process's folder, held by the lock in it.
#[derive(Debug)]
pub(super) struct Folder {
    own: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes a folder for this process and moves into it what dead ones parked. Returns what is parked.
    pub(super) fn open(root: &Path) -> Result<(Self, Vec<ParkId>)> {
        make_folder(root, true)?;
        let own = root.join(Uuid::now_v7().to_string());
        make_folder(&own, false)?;
        // Locked before it has its name: whoever finds a lock finds it held, or its process dead.
        let staged = own.join("lock.new");
        let failed = |e| of_io("lock spool", &staged, e);
        let lock = create(&staged).map_err(failed)?;
        lock.lock().map_err(failed)?;
        fs::rename(&staged, own.join(LOCK)).map_err(failed)?;
        let this = Self { own, _lock: lock };
        let mut found = Vec::new();
        for entry in fs::read_dir(root).map_err(|e| of_io("open spool", root, e))? {
            let entry = entry.map_err(|e| of_io("open spool", root, e))?.path();
            if entry != this.own && entry.is_dir() {
                this.take_over(&entry, &mut found)?;
            }
        }
        sync_folder(&this.own)?;
        Ok((this, found))
    }

    /// Moves what a dead process parked; a living one holds its lock, and is left alone.
    fn take_over(&self, other: &Path, found: &mut Vec<ParkId>) -> Result<()> {
        let path = other.join(LOCK);
        // A folder without a lock file is of a process that died between the two, or is being made this moment.
        let Ok(lock) = File::open(&path) else { return Ok(()) };
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let failed = |e| of_io("take over spool", other, e);
        for entry in fs::read_dir(other).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let id = path.file_stem().and_then(|s| s.to_str()).and_then(|s| Uuid::parse_str(s).ok());
            let (Some(id), Some(ITEM)) = (id, path.extension().and_then(|e| e.to_str())) else { continue };
            // The body first: an item is never without its body.
            let body = other.join(format!("{id}.{BODY}"));
            if body.exists() {
                fs::rename(&body, self.body(id)).map_err(failed)?;
            }
            if self.body(id).exists() {
                fs::rename(&path, self.item(id)).map_err(failed)?;
                found.push(ParkId(id));
            }
        }
        fs::remove_dir_all(other).map_err(failed)
    }

    pub(super) fn body(&self, id: Uuid) -> PathBuf {
        self.own.join(format!("{id}.{BODY}"))
    }

    fn item(&self, id: Uuid) -> PathBuf {
        self.own.join(format!("{id}.{ITEM}"))
    }

    /// Writes the item of a body that is durable; only then is it parked.
    pub(super) async fn write_item(&self, id: Uuid, item: &Parked, key: &Key) -> Result<()> {
        let broken =
            |e| Error::new(ErrorKind::Internal, "park backup", "the item cannot be written as JSON").because(e);
        let json = Bytes::from(serde_json::to_vec(item).map_err(broken)?);
        let input = futures::stream::iter([Ok(json)]).boxed();
        let (_, sealed) = seal(input, SPOOL_KEY, key, &SealOptions::default()).await?;
        let sealed = read_to_vec(sealed, MAX_ITEM).await?;
        let (path, own) = (self.item(id), self.own.clone());
        blocking(move || {
            let staged = path.with_extension("new");
            let failed = |e| of_io("park backup", &staged, e);
            let mut file = create(&staged).map_err(failed)?;
            file.write_all(&sealed).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&staged, &path).map_err(failed)?;
            sync_folder(&own)
        })
        .await
    }

    /// An item, and the length of its body's file.
    pub(super) async fn read_item(&self, id: ParkId, ring: &Keyring) -> Result<(Parked, u64)> {
        let (path, body) = (self.item(id.0), self.body(id.0));
        let (sealed, length) = blocking(move || {
            let length = fs::metadata(&body).map_err(|e| of_io("read parked backup", &body, e))?.len();
            Ok((fs::read(&path).map_err(|e| of_io("read parked backup", &path, e))?, length))
        })
        .await?;
        let opened = Sealed::open(Arc::new(Bytes::from(sealed)), ring).await?;
        let json = read_to_vec(opened.read(None), MAX_ITEM).await?;
        let broken = |e| Error::new(ErrorKind::Corrupt, "read parked backup", "it is not a parked item").because(e);
        Ok((serde_json::from_slice(&json).map_err(broken)?, length))
    }

    /// Deletes an item and its body, the item first. Returns the length of the body's file.
    pub(super) async fn remove(&self, id: ParkId) -> Result<u64> {
        let (item, body) = (self.item(id.0), self.body(id.0));
        blocking(move || {
            let length = fs::metadata(&body).map_or(0, |m| m.len());
            for path in [item, body] {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(of_io("remove parked backup", &path, e));
                    }
                    _ => (),
                }
            }
            Ok(length)
        })
        .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Empty but for the lock: nothing is parked. Otherwise it stays for the next process, and so does this.
        let only_lock = fs::read_dir(&self.own).is_ok_and(|entries| entries.count() == 1);
        if only_lock {
            let _ = fs::remove_dir_all(&self.own);
        }
    }
}

/// A new file that its owner alone can read.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| of_io("flush spool", folder, e))
}

fn make_folder(path: &Path, recursive: bool) -> Result<()> {
    DirBuilder::new().recursive(recursive).mode(0o700).create(path).map_err(|e| of_io("make spool", path, e))
}
