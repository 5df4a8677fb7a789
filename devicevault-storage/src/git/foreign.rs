//! A repository that another program keeps: its history, read from the first commit on.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::path::Path;

use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use git2::{Oid, Repository, Sort};

use super::changes::differences;
use super::{control, fault, objects};

/// Commits that are read before the repository is opened anew: libgit2 keeps what it has seen.
const REOPEN: usize = 256;

/// A branch of another program's repository. Nothing is written to it.
pub struct ForeignHistory {
    repo: Repository,
    commits: Vec<Oid>,
    read: usize,
    is_cut: bool,
}

impl std::fmt::Debug for ForeignHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignHistory").field("commits", &self.commits.len()).finish_non_exhaustive()
    }
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignCommit {
    /// Its identifier, in hex.
    pub id: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Who is its author, `Name <mail>`.
    pub author: String,
    /// The first line of what it says.
    pub subject: String,
    /// It is a merge: what it changed was changed before on another side, of which nothing else is told.
    pub is_merge: bool,
    /// The files that it added or changed.
    pub files: Vec<ForeignFile>,
    /// The files that it took away, by their paths.
    pub removed: Vec<String>,
    /// Names in the folders that it changed which no file can have, such as `..`, or which two have: left out of the files.
    pub refused: Vec<String>,
}

/// A file as a commit left it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignFile {
    /// Where it stands, with slashes.
    pub path: String,
    /// What it holds, by its identifier in hex.
    pub content: String,
    /// It is a symbolic link: what it holds is where it leads to.
    pub is_link: bool,
}

impl ForeignHistory {
    /// The history of a branch, or of the one that is checked out; of merges, the side that they were made on.
    ///
    /// # Errors
    /// `NotFound` where there is no repository or branch; `Corrupt`.
    pub fn open(path: &Path, branch: Option<&str>) -> Result<Self> {
        let operation = "read repository";
        let failed = |e| fault::git(operation, e).with("path", path.display());
        for folder in [path.to_owned(), path.join(".git")] {
            control::check(&folder).map_err(|e| e.with("repository", path.display()))?;
        }
        let repo = Repository::open(path).map_err(failed)?;
        let tip = match branch {
            Some(name) => repo.find_reference(&format!("refs/heads/{name}")),
            None => repo.head(),
        };
        let tip = tip.and_then(|r| Ok(r.peel_to_commit()?.id())).map_err(|e| {
            Error::new(ErrorKind::NotFound, operation, "it has no such branch, or no commit on it")
                .with("path", path.display())
                .because(e)
        })?;
        let walk = || {
            let mut walk = repo.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
            walk.simplify_first_parent()?;
            walk.push(tip)?;
            walk.collect::<std::result::Result<Vec<_>, _>>()
        };
        let commits = walk().map_err(failed)?;
        let is_cut = match commits.first() {
            Some(first) => repo.is_shallow() && names_parents(&repo, *first).map_err(failed)?,
            None => false,
        };
        // With the walk goes what libgit2 keeps of every commit that it saw.
        let repo = Repository::open(repo.path()).map_err(failed)?;
        Ok(Self { repo, commits, read: 0, is_cut })
    }

    /// How many commits it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Whether what came before its first commit was left out, as of a shallow clone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The first commit, in hex: what tells one repository from another.
    #[must_use]
    pub fn root(&self) -> String {
        self.commits.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The commit of this number, from the oldest on; `None` beyond the newest.
    ///
    /// # Errors
    /// `Corrupt`, with the commit, and the folder that cannot be read.
    pub fn commit(&mut self, number: usize) -> Result<Option<ForeignCommit>> {
        self.refresh()?;
        let Some(id) = self.commits.get(number).copied() else { return Ok(None) };
        self.read_commit(id).map(Some).map_err(|e| e.with("commit", id))
    }

    fn read_commit(&self, id: Oid) -> Result<ForeignCommit> {
        let commit = objects::commit(&self.repo, id).map_err(|e| objects::lost(e, "commit", id))?;
        let before = match commit.parent_id(0) {
            Ok(parent) => {
                Some(objects::commit(&self.repo, parent).map_err(|e| objects::lost(e, "commit", parent))?.tree_id())
            }
            Err(_) => None,
        };
        let changes = differences(&self.repo, before, Some(commit.tree_id()))?;
        let (mut files, mut removed) = (Vec::new(), Vec::new());
        for change in changes.files {
            match change.after.filter(super::tree::Item::is_blob) {
                Some(item) => {
                    let (content, is_link) = (item.id.to_string(), item.mode == b"120000");
                    files.push(ForeignFile { path: change.path, content, is_link });
                }
                None => removed.push(change.path),
            }
        }
        let author = commit.author();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(ForeignCommit {
            id: id.to_string(),
            at: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
            author: format!("{} <{}>", text(author.name_bytes()), text(author.email_bytes())),
            subject: text(commit.message_raw_bytes()).lines().next().unwrap_or_default().to_owned(),
            is_merge: commit.parent_count() > 1,
            files,
            removed,
            refused: changes.odd.into_iter().collect(),
        })
    }

    /// What a file holds.
    ///
    /// # Errors
    /// `TooLarge` above `max` bytes; `Corrupt`.
    pub fn content(&mut self, id: &str, max: u64) -> Result<Vec<u8>> {
        self.refresh()?;
        let id = Oid::from_str(id).map_err(|e| fault::git("read file", e))?;
        let size = objects::blob_size(&self.repo, id)?;
        if size > max {
            return Err(Error::new(ErrorKind::TooLarge, "read file", "it is larger than a text can be")
                .with("size in bytes", size)
                .with("limit in bytes", max));
        }
        objects::blob(&self.repo, id)
    }

    fn refresh(&mut self) -> Result<()> {
        self.read += 1;
        if self.read.is_multiple_of(REOPEN) {
            self.repo = Repository::open(self.repo.path()).map_err(|e| fault::git("read repository", e))?;
        }
        Ok(())
    }
}

/// Whether a commit has parents, be they there or not.
fn names_parents(repo: &Repository, id: Oid) -> std::result::Result<bool, git2::Error> {
    let commit = repo.find_commit(id)?;
    Ok(commit.raw_header_bytes().split(|b| *b == b'\n').any(|line| line.starts_with(b"parent ")))
}
