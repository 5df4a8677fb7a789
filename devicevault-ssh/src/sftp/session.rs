//! Operations on the files of a server.

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::attributes::{Attributes, FileType};
use super::error::{SftpError, escaped};
use super::exchange::Exchange;
use super::read::{ReadOptions, SftpReader};
use super::wire::{Fields, Reply, Request, Status, flags};
use super::write::{CreateOptions, SftpWriter};
use crate::{Connection, SshError};

const POSIX_RENAME: &str = "posix-rename@openssh.com";
pub(super) const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const LIMITS: &str = "limits@openssh.com";

/// What every server must be able to give or take at a time, in bytes (section 3).
const SURE_PAYLOAD: u32 = 32 << 10;
/// The most that is asked for at a time: what OpenSSH gives.
const MOST_PAYLOAD: u64 = (256 << 10) - 1024;

/// A session of the SSH file transfer protocol, version 3.
///
/// Paths are bytes, in whatever encoding the server uses, absolute or relative to the folder that the login begins in.
/// Every method may be called while others run; their requests share the channel. Nothing here has a time limit of its
/// own: a future may be dropped at any moment, and then nothing was asked, or a whole request, whose answer is ignored.
/// Dropping the session closes its channel, not the connection.
///
/// ```no_run
/// # async fn f(connection: devicevault_ssh::Connection) -> Result<(), devicevault_ssh::SftpError> {
/// use devicevault_ssh::{CreateOptions, ReadOptions};
///
/// let sftp = connection.sftp().await?;
/// let mut file = sftp.read("/flash/config.bin", ReadOptions::default()).await?;
/// while let Some(chunk) = file.next().await? {
///     // bytes in order; after `None` the file is known to be whole
/// # drop(chunk);
/// }
/// let mut copy = sftp.create("/backup/.config.tmp", CreateOptions::default()).await?;
/// copy.write("content".into()).await?;
/// copy.sync().await?;
/// copy.close().await?;
/// sftp.replace("/backup/.config.tmp", "/backup/config").await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SftpSession {
    exchange: std::sync::Arc<Exchange>,
    extensions: Vec<Bytes>,
    limits: OnceCell<Limits>,
}

/// Bytes that the server gives and takes at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) read: u32,
    pub(super) write: u32,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// One component of a path, never `.` or `..`, in the server's encoding.
    pub name: Bytes,
    /// Of the entry itself: a link is not followed.
    pub attributes: Attributes,
}

/// Space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// All of it, in bytes.
    pub total: u64,
    /// What is free for this login, in bytes.
    pub available: u64,
}

impl Connection {
    /// Opens an SFTP session.
    ///
    /// # Errors
    /// `Ssh` with `Refused` when the server has no SFTP, `Protocol` when what answers speaks something else, `Lost`.
    pub async fn sftp(&self) -> Result<SftpSession, SftpError> {
        let channel = self.session().await?;
        let farewell = self.farewell();
        let lost = |e: russh::Error| SshError::closed("open SFTP", e);
        channel.request_subsystem(true, "sftp").await.map_err(lost)?;
        let mut channel = channel;
        loop {
            match channel.wait().await {
                Some(russh::ChannelMsg::Success) => break,
                Some(russh::ChannelMsg::Failure) => return Err(SshError::Refused { what: "SFTP" }.into()),
                Some(russh::ChannelMsg::Close | russh::ChannelMsg::Eof) | None => {
                    return Err(SftpError::Lost { said: farewell.said() });
                }
                Some(_) => {}
            }
        }
        let (exchange, extensions) = Exchange::start(channel, farewell).await?;
        Ok(SftpSession { exchange: exchange.into(), extensions, limits: OnceCell::new() })
    }
}

impl SftpSession {
    /// Attributes of what a path leads to, links followed.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, …
    pub async fn stat(&self, path: impl AsRef<[u8]>) -> Result<Attributes, SftpError> {
        let path = path.as_ref();
        self.attributes(Request::Stat { path }, path).await
    }

    /// Attributes of a path itself: of a link, not of what it leads to.
    ///
    /// # Errors
    /// As [`stat`](Self::stat).
    pub async fn link_stat(&self, path: impl AsRef<[u8]>) -> Result<Attributes, SftpError> {
        let path = path.as_ref();
        self.attributes(Request::LinkStat { path }, path).await
    }

    async fn attributes(&self, request: Request<'_>, path: &[u8]) -> Result<Attributes, SftpError> {
        match self.exchange.ask(&request).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            other => Err(unexpected(&other, "to look at", path)),
        }
    }

    /// Sets permissions, such as `0o600`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, …
    pub async fn set_permissions(&self, path: impl AsRef<[u8]>, permissions: u32) -> Result<(), SftpError> {
        let path = path.as_ref();
        let attributes = Attributes::with_permissions(permissions);
        self.done(Request::SetStat { path, attributes: &attributes }, "to change", path).await
    }

    /// The absolute form of a path; of `.`, the folder that the login begins in.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, …
    pub async fn real_path(&self, path: impl AsRef<[u8]>) -> Result<Bytes, SftpError> {
        let path = path.as_ref();
        match self.exchange.ask(&Request::RealPath { path }).await? {
            Reply::Names(names) => match <[_; 1]>::try_from(names) {
                Ok([(name, _)]) => Ok(name),
                Err(_) => Err(SftpError::Protocol { why: "it gives more or less than one name for a path" }),
            },
            other => Err(unexpected(&other, "to resolve", path)),
        }
    }

    /// Opens a file to be read, or a range of it.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `NotAFile`, before anything is opened that could block the server.
    pub async fn read(&self, path: impl AsRef<[u8]>, options: ReadOptions) -> Result<SftpReader, SftpError> {
        let path = path.as_ref();
        let limits = self.limits().await?;
        let before = match self.stat(path).await {
            Ok(attributes) => attributes,
            // Some servers can read and cannot look.
            Err(SftpError::Unsupported { .. }) => Attributes::default(),
            Err(e) => return Err(e),
        };
        regular(&before, path)?;
        let request = Request::Open { path, flags: flags::READ, attributes: &Attributes::default() };
        let handle = self.handle(request, path).await?;
        Ok(SftpReader::new(self.exchange.clone(), handle, path, before, limits.read, options))
    }

    /// Makes a file to be written.
    ///
    /// # Errors
    /// `PermissionDenied`; `Refused` when [`CreateOptions::exclusive`] is set and there is one; …
    pub async fn create(&self, path: impl AsRef<[u8]>, options: CreateOptions) -> Result<SftpWriter, SftpError> {
        let path = path.as_ref();
        let limits = self.limits().await?;
        let flags = flags::WRITE | flags::CREATE | if options.exclusive { flags::EXCLUSIVE } else { flags::TRUNCATE };
        let attributes = options.permissions.map(Attributes::with_permissions).unwrap_or_default();
        let handle = self.handle(Request::Open { path, flags, attributes: &attributes }, path).await?;
        Ok(SftpWriter::new(self.exchange.clone(), handle, path, limits.write, self.can_sync()))
    }

    /// Every entry of a folder, as the server orders them.
    ///
    /// # Errors
    /// `TooMany` beyond `most` entries; `NotFound`, `PermissionDenied`; `Protocol` for a name that is no name.
    pub async fn list(&self, folder: impl AsRef<[u8]>, most: usize) -> Result<Vec<DirEntry>, SftpError> {
        let path = folder.as_ref();
        let handle = self.handle(Request::OpenFolder { path }, path).await?;
        let handle = OpenHandle { exchange: self.exchange.clone(), handle };
        let mut entries = Vec::new();
        loop {
            let names = match self.exchange.ask(&Request::ReadFolder { handle: &handle.handle }).await? {
                Reply::Names(names) => names,
                Reply::Status(Status { code: Status::END, .. }) => break,
                other => return Err(unexpected(&other, "to list", path)),
            };
            if names.is_empty() {
                return Err(SftpError::Protocol { why: "it lists nothing and says that there is more" });
            }
            for (name, attributes) in names {
                if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                    return Err(SftpError::Protocol { why: "it lists a name that cannot be one" });
                }
                if name.as_ref() != b"." && name.as_ref() != b".." {
                    entries.push(DirEntry { name, attributes });
                }
            }
            if entries.len() > most {
                return Err(SftpError::TooMany { path: escaped(path), most });
            }
        }
        handle.close().await?;
        Ok(entries)
    }

    /// Gives a file another name. It fails where there is a file of that name already (section 6.5).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Refused`.
    pub async fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.done(Request::Rename { from, to }, "to rename", from).await
    }

    /// Gives a file another name in one step, in place of a file that has it: `posix-rename@openssh.com`.
    ///
    /// # Errors
    /// `Unsupported` where the server does not offer it; as [`rename`](Self::rename).
    pub async fn replace(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.offered(POSIX_RENAME)?;
        let request = Request::Extended { name: POSIX_RENAME, arguments: &[from, to] };
        self.done(request, "to rename", from).await
    }

    /// Gives a file a second name; it fails where there is a file of that name: `hardlink@openssh.com`.
    ///
    /// # Errors
    /// `Unsupported` where the server does not offer it; `NotFound`, `PermissionDenied`, `Refused`.
    pub async fn hard_link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        self.offered(HARDLINK)?;
        let request = Request::Extended { name: HARDLINK, arguments: &[from, to] };
        self.done(request, "to link", from).await
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `Refused` for a folder.
    pub async fn remove(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let path = path.as_ref();
        self.done(Request::Remove { path }, "to remove", path).await
    }

    /// Makes a folder with these permissions, such as `0o700`.
    ///
    /// # Errors
    /// `Refused` where there is something of that name (the protocol has no code of its own for it).
    pub async fn make_folder(&self, path: impl AsRef<[u8]>, permissions: u32) -> Result<(), SftpError> {
        let path = path.as_ref();
        let attributes = Attributes::with_permissions(permissions);
        self.done(Request::MakeFolder { path, attributes: &attributes }, "to make", path).await
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// `Refused` for one that is not empty.
    pub async fn remove_folder(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let path = path.as_ref();
        self.done(Request::RemoveFolder { path }, "to remove", path).await
    }

    /// Makes what was written to a file or a folder durable: `fsync@openssh.com`. A folder can be flushed where the
    /// server's system lets one be opened as a file, which Linux does.
    ///
    /// # Errors
    /// `Unsupported` where the server does not offer it.
    pub async fn sync(&self, path: impl AsRef<[u8]>) -> Result<(), SftpError> {
        let path = path.as_ref();
        self.offered(FSYNC)?;
        let request = Request::Open { path, flags: flags::READ, attributes: &Attributes::default() };
        let mut handle = OpenHandle { exchange: self.exchange.clone(), handle: self.handle(request, path).await? };
        let flush = Request::Extended { name: FSYNC, arguments: &[&handle.handle] };
        let mut flushing = self.exchange.send(&flush, 0).await?;
        let mut closing = self.exchange.send(&Request::Close { handle: &handle.handle }, 0).await?;
        handle.handle.clear();
        accepted(&flushing.answer().await?, "to flush", path)?;
        // What was flushed has nothing to lose by a close that fails.
        closing.answer().await.map(drop)
    }

    /// Whether the session goes on, as far as is known without asking the server.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.exchange.is_open()
    }

    /// Whether the server offers to flush files.
    #[must_use]
    pub fn can_sync(&self) -> bool {
        self.offers(FSYNC)
    }

    /// Whether [`replace`](Self::replace) is offered.
    #[must_use]
    pub fn can_replace(&self) -> bool {
        self.offers(POSIX_RENAME)
    }

    /// Whether the server announced this extension.
    #[must_use]
    pub fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|e| e.as_ref() == extension.as_bytes())
    }

    /// Space of the file system that a path is on: `statvfs@openssh.com`.
    ///
    /// # Errors
    /// `Unsupported` where the server does not offer it.
    pub async fn space(&self, path: impl AsRef<[u8]>) -> Result<Space, SftpError> {
        let path = path.as_ref();
        self.offered(STATVFS)?;
        match self.exchange.ask(&Request::Extended { name: STATVFS, arguments: &[path] }).await? {
            Reply::Extended(answer) => {
                let mut fields = Fields(answer);
                // f_bsize, f_frsize, f_blocks, f_bfree, f_bavail (OpenSSH PROTOCOL, section 4.4).
                let mut field = || fields.long();
                let (_, unit, blocks, _, available) = (field()?, field()?, field()?, field()?, field()?);
                Ok(Space { total: blocks.saturating_mul(unit), available: available.saturating_mul(unit) })
            }
            other => Err(unexpected(&other, "to tell the space of", path)),
        }
    }

    /// What the server gives and takes at a time. Asked once, where it can be asked.
    async fn limits(&self) -> Result<Limits, SftpError> {
        let ask = async || {
            let sure = Limits { read: SURE_PAYLOAD, write: SURE_PAYLOAD };
            if !self.offers(LIMITS) {
                return Ok(sure);
            }
            let Reply::Extended(answer) =
                self.exchange.ask(&Request::Extended { name: LIMITS, arguments: &[] }).await?
            else {
                return Ok(sure);
            };
            let mut fields = Fields(answer);
            // Longest packet, then read, then write; 0 is "no limit told".
            let (_, read, write) = (fields.long()?, fields.long()?, fields.long()?);
            let bounded = |told: u64| if told == 0 { SURE_PAYLOAD } else { told.min(MOST_PAYLOAD) as u32 };
            Ok(Limits { read: bounded(read), write: bounded(write) })
        };
        self.limits.get_or_try_init(ask).await.copied()
    }

    async fn handle(&self, request: Request<'_>, path: &[u8]) -> Result<Bytes, SftpError> {
        match self.exchange.ask(&request).await? {
            Reply::Handle(handle) => Ok(handle),
            other => Err(unexpected(&other, "to open", path)),
        }
    }

    async fn done(&self, request: Request<'_>, what: &'static str, path: &[u8]) -> Result<(), SftpError> {
        accepted(&self.exchange.ask(&request).await?, what, path)
    }

    fn offered(&self, extension: &'static str) -> Result<(), SftpError> {
        if self.offers(extension) { Ok(()) } else { Err(SftpError::Unsupported { what: extension }) }
    }
}

/// A handle that is closed when this is dropped.
#[derive(Debug)]
pub(super) struct OpenHandle {
    pub(super) exchange: std::sync::Arc<Exchange>,
    /// Empty once it is closed.
    pub(super) handle: Bytes,
}

impl OpenHandle {
    pub(super) async fn sync(&self, path: &[u8]) -> Result<(), SftpError> {
        let request = Request::Extended { name: FSYNC, arguments: &[&self.handle] };
        accepted(&self.exchange.ask(&request).await?, "to flush", path)
    }

    /// Looks at the file, and closes it with the same breath.
    pub(super) async fn look_and_close(mut self, path: &[u8]) -> Result<Attributes, SftpError> {
        let mut looking = self.exchange.send(&Request::HandleStat { handle: &self.handle }, 0).await?;
        let mut closing = self.exchange.send(&Request::Close { handle: &self.handle }, 0).await?;
        self.handle.clear();
        let looked = looking.answer().await?;
        // What was only read has nothing to lose by a close that fails.
        closing.answer().await?;
        match looked {
            Reply::Attributes(attributes) => return Ok(attributes),
            Reply::Status(Status { code: Status::UNSUPPORTED, .. }) => {}
            other => return Err(unexpected(&other, "to look at", path)),
        }
        match self.exchange.ask(&Request::Stat { path }).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            Reply::Status(Status { code: Status::UNSUPPORTED, .. }) => Ok(Attributes::default()),
            other => Err(unexpected(&other, "to look at", path)),
        }
    }

    /// Closes it and waits for the answer.
    pub(super) async fn close(mut self) -> Result<(), SftpError> {
        let mut closing = self.exchange.send(&Request::Close { handle: &self.handle }, 0).await?;
        self.handle.clear();
        accepted(&closing.answer().await?, "to close", b"")
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        if !self.handle.is_empty() {
            self.exchange.send_and_forget(&Request::Close { handle: &self.handle });
        }
    }
}

pub(super) fn accepted(reply: &Reply, what: &'static str, path: &[u8]) -> Result<(), SftpError> {
    match reply {
        Reply::Status(Status { code: Status::OK, .. }) => Ok(()),
        other => Err(unexpected(other, what, path)),
    }
}

/// The error for an answer that is not the one hoped for.
pub(super) fn unexpected(reply: &Reply, what: &'static str, path: &[u8]) -> SftpError {
    match reply {
        Reply::Status(status) if status.code != Status::OK => SftpError::of(status, what, path),
        _ => SftpError::Protocol { why: "it answers with what does not answer the question" },
    }
}

fn regular(attributes: &Attributes, path: &[u8]) -> Result<(), SftpError> {
    let what = match attributes.file_type() {
        FileType::File | FileType::Unknown => return Ok(()),
        FileType::Folder => "a folder",
        // The server followed links; one that it did not follow leads nowhere.
        FileType::Link => "a link",
        FileType::Other => "a pipe, socket or device",
    };
    Err(SftpError::NotAFile { path: escaped(path), what })
}
