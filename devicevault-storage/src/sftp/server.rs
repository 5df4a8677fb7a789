//! An SSH server as a place of files.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use devicevault_core::{ByteStream, Error, ErrorKind, Result};
use devicevault_ssh::{Attributes, CreateOptions, FileType, ReadOptions, SSH_PORT, SftpError, SftpWriter};
use futures::future::join_all;
use futures::stream::StreamExt as _;

use super::SftpOptions;
use super::fault::disk_full;
use super::link::{Link, Live, Repeat};
use crate::remote::{Features, FileKind, Found, Server, Writer};

const FOLDER_MODE: u32 = 0o700;

/// The most entries of one folder.
const MOST_ENTRIES: usize = 500_000;

/// Requests of independent operations that are useful at a time.
const AT_ONCE: usize = 16;

/// How often a name is tried again that was taken, and is free when it is looked at.
const MAX_TRIES: u32 = 8;

/// When less is free, a write that failed for no reason that the server tells has met a full disk.
const FULL: u64 = 1 << 20;

const HARDLINK: &str = "hardlink@openssh.com";

const NO_FLUSH: &str = "the server does not offer to flush files (fsync@openssh.com): a power cut there may lose what was \
                        stored in the seconds before; a connection that breaks loses nothing";
const NO_FOLDERS: &str = "the server flushes files and not folders: a power cut there may lose the names of what was stored \
                          in the seconds before; a connection that breaks loses nothing";
const NO_LINKS: &str = "the server does not offer hard links: programs of ours keep out of each other's way by a lock there, \
                        and no other program should write to the folder";

/// An SSH server, and the folder there.
#[derive(Debug)]
pub struct SftpServer(Arc<Link>);

impl SftpServer {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(options: SftpOptions) -> Self {
        Self(Arc::new(Link::new(options)))
    }

    /// The server's name of a path.
    fn at(&self, path: &str) -> String {
        let base = self.0.options.folder.as_str();
        match (base, path) {
            ("", "") => ".".to_owned(),
            ("", path) => path.to_owned(),
            (base, "") => base.to_owned(),
            (base, path) => format!("{}/{path}", base.trim_end_matches('/')),
        }
    }

    /// A request that names one path.
    async fn on<T, F>(
        &self,
        operation: &'static str,
        repeat: Repeat,
        path: &str,
        work: impl Fn(Arc<Live>, String) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, SftpError>> + Send,
        T: Send,
    {
        let at = self.at(path);
        self.0.ask(operation, repeat, |live| work(live, at.clone())).await
    }

    async fn look_at(&self, path: &str) -> Result<Option<Found>> {
        Ok(self.look(vec![path.to_owned()]).await?.into_iter().next().flatten())
    }

    /// Whether folders can be flushed. Some servers offer to flush and open no folder for it, as folders are no files
    /// to their systems. The folder itself may not be there yet: then that of the login answers for it.
    async fn flushes_folders(&self) -> Result<bool> {
        let flush = |live: Arc<Live>, at: String| async move {
            let flushed = match live.sftp.sync(&at).await {
                Err(SftpError::NotFound { .. }) => live.sftp.sync(".").await,
                other => other,
            };
            match flushed {
                Ok(()) => Ok(true),
                Err(e) if e.ends_session() => Err(e),
                Err(e) => {
                    tracing::debug!(error = %e, "the server flushes no folders");
                    Ok(false)
                }
            }
        };
        self.on("flush folder", Repeat::Again, "", flush).await
    }

    /// Why a new name was refused: version 3 of the protocol has no code for a name that is taken.
    async fn refused(&self, e: Error, to: &str) -> Error {
        if e.kind() == ErrorKind::Unavailable
            && let Ok(Some(_)) = self.look_at(to).await
        {
            return crate::fault::of_io("write object", to, std::io::ErrorKind::AlreadyExists.into());
        }
        e
    }
}

#[async_trait]
impl Server for SftpServer {
    type Writer = SftpFile;

    const KIND: &'static str = "SFTP";

    fn place(&self) -> String {
        let SftpOptions { endpoint, folder, username, .. } = &self.0.options;
        let port = if endpoint.port == SSH_PORT { String::new() } else { format!(":{}", endpoint.port) };
        let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
        let folder = if folder.starts_with('/') { folder.clone() } else { format!("/~/{folder}") };
        format!("sftp://{username}@{host}{port}{folder}")
    }

    async fn features(&self) -> Result<Features> {
        let (live, _) = self.0.live().await?;
        let flushes_files = live.sftp.can_sync();
        Ok(Features {
            flushes: flushes_files && self.flushes_folders().await?,
            no_flush: if flushes_files { NO_FOLDERS } else { NO_FLUSH },
            exclusive: live.sftp.offers(HARDLINK),
            no_exclusive: NO_LINKS,
            replaces: live.sftp.can_replace(),
            tells_links: true,
            at_once: AT_ONCE,
            warning: None,
        })
    }

    async fn look(&self, paths: Vec<String>) -> Result<Vec<Option<Found>>> {
        let at: Vec<String> = paths.iter().map(|p| self.at(p)).collect();
        let ask = |live: Arc<Live>| {
            let at = at.clone();
            async move {
                let looked = join_all(at.iter().map(|p| live.sftp.link_stat(p))).await;
                let one = |looked| match looked {
                    Ok(attributes) => Ok(Some(found(&attributes))),
                    Err(SftpError::NotFound { .. }) => Ok(None),
                    Err(e) => Err(e),
                };
                looked.into_iter().map(one).collect()
            }
        };
        self.0.ask("look at file", Repeat::Again, ask).await
    }

    async fn read(&self, path: &str, range: Range<u64>, size: u64) -> Result<ByteStream<'static>> {
        let operation = "read object";
        let options =
            if range == (0..size) { ReadOptions::default() } else { ReadOptions::default().with_range(range) };
        let open = |live: Arc<Live>, at: String| {
            let options = options.clone();
            async move {
                let mut reader = live.sftp.read(&at, options).await?;
                // The first bytes too, so that what cannot be read is told at once.
                let first = reader.next().await?;
                Ok((live, reader, first))
            }
        };
        let (live, reader, first) = self.on(operation, Repeat::Again, path, open).await?;
        let link = self.0.clone();
        let rest = futures::stream::try_unfold((reader, first.is_none()), move |(mut reader, ended)| {
            let (link, live) = (link.clone(), live.clone());
            async move {
                if ended {
                    return Ok(None);
                }
                let next = link.step(operation, &live, reader.next()).await.map_err(|e| e.told(operation))?;
                Ok(next.map(|chunk| (chunk, (reader, false))))
            }
        });
        Ok(futures::stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    async fn list(&self, folder: &str) -> Result<Option<Vec<(String, Found)>>> {
        let list = |live: Arc<Live>, at: String| async move { live.sftp.list(&at, MOST_ENTRIES).await };
        let entries = match self.on("list folder", Repeat::Again, folder, list).await {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        // Names in another encoding are not ours.
        let named =
            |e: devicevault_ssh::DirEntry| Some((String::from_utf8(e.name.to_vec()).ok()?, found(&e.attributes)));
        Ok(Some(entries.into_iter().filter_map(named).collect()))
    }

    async fn create(&self, path: &str) -> Result<SftpFile> {
        let create = |live: Arc<Live>, at: String| async move {
            let writer = live.sftp.create(&at, CreateOptions::default().exclusive()).await?;
            Ok((live, writer))
        };
        let (live, writer) = self.on("write object", Repeat::Once, path, create).await?;
        Ok(SftpFile { link: self.0.clone(), live, writer })
    }

    async fn make_root(&self) -> Result<()> {
        let base = self.at("");
        let ends = base.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([base.len()]);
        let folders: Vec<&str> = ends.filter_map(|end| base.get(..end)).collect();
        let there = async |at: String| {
            let look = |live: Arc<Live>| {
                let at = at.clone();
                async move { live.sftp.stat(&at).await }
            };
            match self.0.ask("create destination folder", Repeat::Again, look).await {
                Ok(found) if matches!(found.file_type(), FileType::Folder | FileType::Unknown) => Ok(true),
                Ok(_) => {
                    Err(crate::fault::of_io("create destination folder", at, std::io::ErrorKind::NotADirectory.into()))
                }
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
                Err(e) => Err(e),
            }
        };
        if there(base.clone()).await? {
            return Ok(());
        }
        for folder in folders {
            match there(folder.to_owned()).await {
                Ok(true) => continue,
                // One that may not be looked at is there.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => continue,
                other => other.map(drop)?,
            }
            let make = |live: Arc<Live>| async move { live.sftp.make_folder(folder, FOLDER_MODE).await };
            if let Err(e) = self.0.ask("create destination folder", Repeat::Once, make).await
                && !there(folder.to_owned()).await?
            {
                return Err(e.with("path", folder));
            }
        }
        Ok(())
    }

    async fn make_folder(&self, path: &str) -> Result<bool> {
        let make = |live: Arc<Live>, at: String| async move { live.sftp.make_folder(&at, FOLDER_MODE).await };
        let mut tries = 0;
        loop {
            let e = match self.on("create folder", Repeat::Once, path, make).await {
                Ok(()) => return Ok(true),
                Err(e) => e,
            };
            // The protocol has no code for a name that is taken.
            if e.kind() != ErrorKind::Unavailable {
                return Err(e);
            }
            if self.look_at(path).await?.is_some() {
                return Ok(false);
            }
            // It was taken, and no longer is; or there is another reason.
            tries += 1;
            if tries > MAX_TRIES {
                return Err(e);
            }
        }
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let remove = |live: Arc<Live>, at: String| async move { live.sftp.remove(&at).await };
        self.on("delete object", Repeat::Again, path, remove).await
    }

    async fn remove_folder(&self, path: &str) -> Result<()> {
        let remove = |live: Arc<Live>, at: String| async move { live.sftp.remove_folder(&at).await };
        self.on("remove folder", Repeat::Again, path, remove).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let target = self.at(to);
        let rename = |live: Arc<Live>, from: String| {
            let target = target.clone();
            async move { live.sftp.rename(&from, &target).await }
        };
        match self.on("write object", Repeat::Once, from, rename).await {
            Err(e) => Err(self.refused(e, to).await),
            Ok(()) => Ok(()),
        }
    }

    async fn link(&self, from: &str, to: &str) -> Result<()> {
        let target = self.at(to);
        let link = |live: Arc<Live>, from: String| {
            let target = target.clone();
            async move { live.sftp.hard_link(&from, &target).await }
        };
        match self.on("write object", Repeat::Once, from, link).await {
            Ok(()) => {}
            Err(e) => {
                return Err(match self.refused(e, to).await {
                    // Nothing is in the way: the file system beneath knows no hard links, or not between these folders. Some
                    // say then that it is not permitted; whether that is so tells the move that is tried instead.
                    e if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::PermissionDenied)
                        && self.0.live().await.is_ok() =>
                    {
                        Error::new(ErrorKind::Unsupported, "write object", "the server refuses hard links").because(e)
                    }
                    e => e,
                });
            }
        }
        match self.remove(from).await {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                // The object is there; its other name is swept.
                tracing::debug!(from, error = %e, "a staging file stays");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn replace(&self, from: &str, to: &str) -> Result<()> {
        let target = self.at(to);
        let replace = |live: Arc<Live>, from: String| {
            let target = target.clone();
            async move { live.sftp.replace(&from, &target).await }
        };
        self.on("write object", Repeat::Once, from, replace).await
    }

    async fn flush_folder(&self, path: &str) -> Result<()> {
        let flush = |live: Arc<Live>, at: String| async move { live.sftp.sync(&at).await };
        self.on("flush folder", Repeat::Again, path, flush).await
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        let ask = |live: Arc<Live>, at: String| async move { live.sftp.space(&at).await };
        match self.on("ask for free space", Repeat::Again, "", ask).await {
            Ok(space) => Ok(Some(space.available)),
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A file that is being written to an SSH server, many requests in flight.
#[derive(Debug)]
pub struct SftpFile {
    link: Arc<Link>,
    live: Arc<Live>,
    writer: SftpWriter,
}

impl SftpFile {
    /// The protocol has no code for a full disk either.
    async fn told(link: &Link, live: &Arc<Live>, e: super::link::Fault) -> Error {
        let operation = "write object";
        let error = e.told(operation);
        if error.kind() == ErrorKind::Unavailable
            && live.sftp.is_open()
            && let Ok(space) = link.step(operation, live, live.sftp.space(folder_of(link))).await
            && space.available < FULL
        {
            return disk_full(operation).because(error);
        }
        error
    }
}

fn folder_of(link: &Link) -> &str {
    if link.options.folder.is_empty() { "." } else { &link.options.folder }
}

#[async_trait]
impl Writer for SftpFile {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self.link.step("write object", &self.live, self.writer.write(bytes)).await {
            Ok(()) => Ok(()),
            Err(e) => Err(Self::told(&self.link, &self.live, e).await),
        }
    }

    async fn finish(self) -> Result<Found> {
        let Self { link, live, writer } = self;
        let written = writer.written();
        let attributes = match link.step("write object", &live, writer.finish(live.sftp.can_sync())).await {
            Ok(attributes) => attributes,
            Err(e) => return Err(Self::told(&link, &live, e).await),
        };
        if attributes.size.is_some_and(|size| size != written) {
            let why = format!("the server has {} bytes of {written}", attributes.size.unwrap_or_default());
            return Err(Error::new(ErrorKind::Incomplete, "write object", why));
        }
        Ok(Found::new(FileKind::File, written, found(&attributes).modified))
    }
}

fn found(attributes: &Attributes) -> Found {
    let kind = match attributes.file_type() {
        FileType::File => FileKind::File,
        FileType::Folder => FileKind::Folder,
        FileType::Link => FileKind::Link,
        FileType::Unknown => FileKind::Unknown,
        _ => FileKind::Other,
    };
    let modified = attributes.modified().and_then(|seconds| DateTime::from_timestamp(i64::from(seconds), 0));
    Found::new(kind, attributes.size.unwrap_or_default(), modified)
}
