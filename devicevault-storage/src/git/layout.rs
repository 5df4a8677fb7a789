//! What lies where in a repository's folder, and how a new one is made.

use std::fs;
use std::io::{ErrorKind as Io, Write as _};
use std::path::{Path, PathBuf};

use devicevault_core::{Digest, Error, ErrorKind, Result};
use git2::{ErrorCode, Repository};

use super::lock::FileLock;
use super::{control, fault};
use crate::regular;

/// What stands in a folder that is complete: the layout of `devicevault/` and its version.
const FORMAT: &str = "DeviceVault in a Git repository, format 1\n";

/// The settings of a bare repository.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";

/// Paths in a bare repository. Ours are below `devicevault/`, which Git leaves alone.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Opens a repository, or makes one where there is nothing.
    ///
    /// # Errors
    /// `Config` when something else is there.
    pub(super) fn open(dir: &Path, branch: &str) -> Result<Self> {
        let operation = "open repository";
        let at = |e| fault::io(operation, dir, e);
        let (exists, empty) = match fs::read_dir(dir) {
            Ok(mut entries) => (true, entries.next().is_none()),
            Err(e) if e.kind() == Io::NotFound => (false, true),
            Err(e) => return Err(at(e)),
        };
        let this = Self { dir: dir.to_owned() };
        let ours = this.own().is_dir();
        if exists && !empty && !ours {
            let not_bare = || {
                Error::new(ErrorKind::Config, operation, "the folder holds something that is not a bare repository")
                    .with("path", dir.display())
                    .hint("name an empty folder, or a repository made by `git init --bare`")
            };
            control::check(dir)?;
            Repository::open_bare(dir).map_err(|e| match e.code() {
                ErrorCode::NotFound => not_bare(),
                _ => fault::git(operation, e).with("path", dir.display()),
            })?;
        }
        make_folder(dir).map_err(at)?;
        refuse_links(&this.own())?;
        make_folder(&this.own()).map_err(at)?;
        for entry in fs::read_dir(this.own()).map_err(at)? {
            let path = entry.map_err(at)?.path();
            refuse_links(&path)?;
            if !path.is_dir() {
                regular::check(&path).map_err(|e| fault::io(operation, &path, e))?;
            }
        }
        if !this.format_file().is_file() {
            this.initialise(branch)?;
        }
        this.repository()?;
        control::branch(dir, &format!("refs/heads/{branch}"))?;
        Ok(this)
    }

    /// Whoever has the lock makes what is missing; what a killed process left half is made again.
    ///
    /// Not by libgit2: killed, that leaves locks behind.
    fn initialise(&self, branch: &str) -> Result<()> {
        let lock = self.lock();
        let at = |e| fault::io("create repository", &lock, e);
        let file = regular::open_with(fs::OpenOptions::new().create(true).truncate(false).write(true), &lock);
        let file = file.map_err(at)?;
        file.lock().map_err(at)?;
        if self.format_file().is_file() {
            return Ok(());
        }
        // The last that is made: with it, the repository is complete, or somebody else's.
        if !self.dir.join("HEAD").exists() {
            for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
                let path = self.dir.join(folder);
                fs::create_dir_all(&path).map_err(|e| fault::io("create repository", &path, e))?;
            }
            self.place(&self.dir.join("config"), CONFIG)?;
            self.place(&self.dir.join("HEAD"), &format!("ref: refs/heads/{branch}\n"))?;
            sync_tree(&self.dir)?;
            if let Some(parent) = self.dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        self.place(&self.format_file(), FORMAT)
    }

    /// Writes a file whole, or not at all.
    fn place(&self, path: &Path, content: &str) -> Result<()> {
        let staged = self.own().join("new");
        let failed = |e| fault::io("create repository", path, e);
        match fs::remove_file(&staged) {
            Err(e) if e.kind() != Io::NotFound => return Err(failed(e)),
            _ => {}
        }
        write_new(&staged, content.as_bytes()).map_err(failed)?;
        fs::rename(&staged, path).map_err(failed)?;
        sync_folder(path.parent().unwrap_or(&self.dir))
    }

    /// A handle of libgit2's, to read with: what is written here is written, and flushed, by ourselves.
    pub(super) fn repository(&self) -> Result<Repository> {
        control::check(&self.dir)?;
        Repository::open_bare(&self.dir).map_err(|e| fault::git("open repository", e).with("path", self.dir.display()))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn own(&self) -> PathBuf {
        self.dir.join("devicevault")
    }

    fn format_file(&self) -> PathBuf {
        self.own().join("format")
    }

    /// Held by whoever writes commits.
    pub(super) fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }

    /// Held by whoever rewrites packs.
    pub(super) fn repack_lock(&self) -> PathBuf {
        self.own().join("repack.lock")
    }

    /// Where a merged pack is made and looked through before it takes the place of others.
    pub(super) fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    /// Where damaged packs are kept of which something is lost.
    pub(super) fn damaged(&self) -> PathBuf {
        self.own().join("damaged")
    }

    /// The branch's next value, before it becomes Git's own lock.
    pub(super) fn staged_ref(&self) -> PathBuf {
        self.own().join("ref.new")
    }

    /// The index of a branch.
    pub(super) fn index(&self, branch: &str) -> PathBuf {
        let name: String = Digest::of(branch.as_bytes()).to_string().chars().take(16).collect();
        self.own().join(format!("index-{name}"))
    }

    /// Which folders of a branch are ours.
    pub(super) fn own_folders(&self, branch: &str) -> PathBuf {
        let name: String = Digest::of(branch.as_bytes()).to_string().chars().take(16).collect();
        self.own().join(format!("folders-{name}"))
    }

    /// What is remembered of a branch's remote.
    pub(super) fn remote_state(&self, branch: &str) -> PathBuf {
        let name: String = Digest::of(branch.as_bytes()).to_string().chars().take(16).collect();
        self.own().join(format!("remote-{name}.json"))
    }

    /// Held by whoever pushes.
    pub(super) fn push_lock(&self) -> PathBuf {
        self.own().join("push.lock")
    }

    /// Which commit took the place of which.
    pub(super) fn successors(&self, branch: &str) -> PathBuf {
        let name: String = Digest::of(branch.as_bytes()).to_string().chars().take(16).collect();
        self.own().join(format!("successors-{name}"))
    }

    /// The same, of a purge that is about to move the branch.
    pub(super) fn next_successors(&self, branch: &str) -> PathBuf {
        let name: String = Digest::of(branch.as_bytes()).to_string().chars().take(16).collect();
        self.own().join(format!("successors-{name}-next"))
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub(super) fn packs(&self) -> PathBuf {
        self.dir.join("objects").join("pack")
    }

    /// Takes the writers' lock if nobody has it.
    pub(super) fn try_lock(&self) -> Result<Option<FileLock>> {
        FileLock::try_acquire(&self.lock())
    }
}

/// What is ours is no link: somebody planted it, to have us write elsewhere.
fn refuse_links(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink()) {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            "open repository",
            "a symbolic link stands where our own files are",
        )
        .with("path", path.display())
        .hint("remove the link, and see who can write to the repository"));
    }
    Ok(())
}

/// Makes a folder that its owner alone can enter, with its parents; one that is there stays as it is.
pub(super) fn make_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a folder whose parent is there; one that is there itself stays as it is.
pub(super) fn make_beneath(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == Io::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Flushes a folder's names.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    // Only Unix can open a folder to flush it; elsewhere the file system does it with the file.
    if cfg!(unix) {
        let failed = |e| fault::io("flush folder", path, e);
        fs::File::open(path).map_err(failed)?.sync_all().map_err(failed)?;
    }
    Ok(())
}

fn sync_tree(path: &Path) -> Result<()> {
    let failed = |e| fault::io("flush folder", path, e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            fs::File::open(entry.path()).map_err(failed)?.sync_all().map_err(failed)?;
        }
    }
    sync_folder(path)
}

/// Writes a file that is not there yet, and flushes it.
pub(super) fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
