//! What a file server is asked for.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use devicevault_core::{ByteStream, Result};

/// What a server can do, and what it means to a person where it cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Folders can be flushed, and files are: what is confirmed survives a power cut there.
    pub flushes: bool,
    /// What it means that not both are.
    pub no_flush: &'static str,
    /// A file can be given a name in one step that fails where the name is taken: [`Server::link`].
    pub exclusive: bool,
    /// What it means that it cannot.
    pub no_exclusive: &'static str,
    /// A file can take the place of another in one step: [`Server::replace`].
    pub replaces: bool,
    /// Whether [`Server::look`] tells a symbolic link from what it leads to, at the cost of one round trip for many.
    pub tells_links: bool,
    /// How many requests it takes at a time.
    pub at_once: usize,
    /// What a person should know besides.
    pub warning: Option<&'static str>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket.
    Other,
    /// The server does not tell; it is taken for what is asked for.
    Unknown,
}

/// What is there under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// When its content changed last, where the server tells.
    pub modified: Option<DateTime<Utc>>,
}

impl Found {
    /// All three.
    #[must_use]
    pub fn new(kind: FileKind, size: u64, modified: Option<DateTime<Utc>>) -> Self {
        Self { kind, size, modified }
    }
}

/// A server of files beneath one folder.
///
/// Paths are relative to that folder, of components separated by `/`, none of them empty, `.` or `..`; `""` is the folder
/// itself, which is made by [`make_root`](Self::make_root) alone.
///
/// # Contract
/// - Errors say what they mean to a person: `NotFound` that a name or a folder on its way is not there, `AlreadyExists`
///   that it is, `PermissionDenied`, `StorageFull` for a full disk; `Unavailable`, `Unreachable`, `Timeout` for
///   the connection. Everything has a bound on its time.
/// - A connection that died while nothing was asked is replaced, once for each call.
/// - A dropped future has done what it was asked, or nothing; a file that was being written may be left.
#[async_trait]
pub trait Server: fmt::Debug + Send + Sync + 'static {
    /// A file that is being written.
    type Writer: Writer;

    /// Name of the kind, such as `SFTP`.
    const KIND: &'static str;

    /// Where it is, without secrets: `sftp://backup@nas.example.net/backups`.
    fn place(&self) -> String;

    /// Connects where there is no connection, and tells what the server can do.
    async fn features(&self) -> Result<Features>;

    /// What is there under each of these names, in order; `None` where nothing is.
    async fn look(&self, paths: Vec<String>) -> Result<Vec<Option<Found>>>;

    /// The bytes of a file from `range.start` to `range.end`, which is at most its size.
    async fn read(&self, path: &str, range: Range<u64>, size: u64) -> Result<ByteStream<'static>>;

    /// What a folder holds; `None` where it is not there, or no folder.
    async fn list(&self, folder: &str) -> Result<Option<Vec<(String, Found)>>>;

    /// Begins a file, for its owner alone, in a folder that is there. The name is nobody else's.
    async fn create(&self, path: &str) -> Result<Self::Writer>;

    /// Makes the folder itself, and those above it, where they are missing.
    async fn make_root(&self) -> Result<()>;

    /// Makes a folder for its owner alone. `false`: the name is taken. Of many at once, one gets `true`.
    async fn make_folder(&self, path: &str) -> Result<bool>;

    /// Removes a file.
    async fn remove(&self, path: &str) -> Result<()>;

    /// Removes an empty folder; one that is not empty is an error of any kind.
    async fn remove_folder(&self, path: &str) -> Result<()>;

    /// Moves a file to a name that was free a moment ago.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Moves a file to a name in one step that fails with `AlreadyExists` where it is taken; `Unsupported` where the
    /// server or its file system cannot.
    async fn link(&self, from: &str, to: &str) -> Result<()>;

    /// Moves a file to a name in one step, in place of the file that may have it.
    async fn replace(&self, from: &str, to: &str) -> Result<()>;

    /// Makes the names in a folder durable; asked for only where [`Features::flushes`] holds.
    async fn flush_folder(&self, path: &str) -> Result<()>;

    /// Bytes that can still be written, where the server tells.
    async fn free_space(&self) -> Result<Option<u64>>;
}

/// A file that is being written. Dropping it leaves a part of it behind.
#[async_trait]
pub trait Writer: fmt::Debug + Send + 'static {
    /// Appends. May return before the server has taken it.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until the server has taken everything, and flushed it where it flushes files; closes the file. What is there
    /// then.
    async fn finish(self) -> Result<Found>;
}
