//! An FTP server as a place of files.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use devicevault_core::{ByteStream, Clock, Error, ErrorKind, Result, SystemClock};
use futures::future::FutureExt as _;
use futures::stream::StreamExt as _;
use suppaftp::tokio::{AsyncRustlsStream, TransferStream};
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::fault::{ends_session, is_absent, may_be_absent, of_ftp, silent};
use super::looks::{Listed, at, enters, list, look, resumes};
use super::pool::{Held, Pool};
use super::session::{Session, within};
use super::{FtpOptions, FtpSecurity};
use crate::remote::{Features, FileKind, Found, Server, Writer};

/// Read at a time.
const PIECE: usize = 64 * 1024;

/// How often a name is tried again that was taken, and is free when it is looked at.
const MAX_TRIES: u32 = 4;

/// So much behind a range is read and thrown away, rather than given up with the connection.
const SHORT_REST: u64 = 1 << 20;

const NO_FLUSH: &str = "FTP cannot flush files: a power cut at the server may lose what was stored in the seconds before; a \
                        connection that breaks loses nothing";
const NO_EXCLUSIVE: &str = "FTP has no step that creates a file only where there is none: programs of ours keep out of each \
                            other's way by a lock there, and no other program should write to the folder";
const CLEAR_TEXT: &str = "the password, and what is not sealed, go over the network in clear text: use ftps:// or sftp:// \
                          where the server can";

/// An FTP server, and the folder there.
#[derive(Debug)]
pub struct FtpServer {
    pool: Arc<Pool>,
    /// Tells the year of what a listing shows without one.
    clock: Arc<dyn Clock>,
    /// Whether it sends parts of files: tried once.
    resumes: OnceCell<bool>,
}

impl FtpServer {
    /// Nothing is done yet.
    ///
    /// # Errors
    /// `Config` for options that cannot be used, such as a file of authorities that holds none.
    pub fn new(options: FtpOptions) -> Result<Self> {
        Ok(Self { pool: Arc::new(Pool::new(options)?), clock: Arc::new(SystemClock), resumes: OnceCell::new() })
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.now().as_second(), 0).unwrap_or_default()
    }

    /// A command that names one path.
    async fn on<T, F>(&self, operation: &'static str, again: bool, path: &str, work: F) -> Result<FtpResult<T>>
    where
        F: for<'a> Fn(&'a mut Session, String) -> futures::future::BoxFuture<'a, FtpResult<T>> + Send + Sync,
        T: Send,
    {
        commandable(operation, path)?;
        self.pool
            .ask(operation, again, |session| {
                let at = at(session, path);
                work(session, at)
            })
            .await
    }

    async fn look_at(&self, path: &str) -> Result<Option<Found>> {
        let looked = self.on("look at file", true, path, |session, at| async move { look(session, &at).await }.boxed());
        looked.await?.map_err(|e| of_ftp("look at file", &e))
    }

    /// Refuses to take for missing what would lie in a folder that is there and may not be entered, or beneath one: the
    /// protocol has one code for both, and only the folder above tells them apart. A refusal counts when it comes again and
    /// again: others make and remove folders meanwhile.
    async fn refuse_shut(&self, folder: &str) -> Result<()> {
        let operation = "look at folder";
        let mut shut = None;
        for _ in 0..=MAX_TRIES {
            let mut entered = folder;
            shut = loop {
                // Whether the destination's own folder is there is told by what lies in it.
                let Some((above, name)) = above(entered) else { return Ok(()) };
                let enters = self
                    .on(operation, true, entered, |session, at| async move { enters(session, &at).await }.boxed())
                    .await?;
                if enters.map_err(|e| of_ftp(operation, &e))? {
                    return Ok(());
                }
                match self.list_at(above).await? {
                    Some(entries) if entries.iter().any(|(n, f)| n == name && f.kind == FileKind::Folder) => {
                        break Some(entered);
                    }
                    Some(_) => return Ok(()),
                    None => entered = above,
                }
            };
        }
        shut.map_or(Ok(()), |folder| Err(told_shut(operation, folder)))
    }

    /// What a folder holds; `None` where it cannot be entered. That it shows nothing counts when it comes again and again:
    /// one that is removed and made meanwhile, more than once, looks the same.
    async fn list_at(&self, folder: &str) -> Result<Option<Vec<(String, Found)>>> {
        let (operation, now, is_base) = ("list folder", self.now(), folder.is_empty());
        for _ in 0..=MAX_TRIES {
            let listed = self
                .on(operation, true, folder, |session, at| {
                    async move { list(session, &at, is_base, now).await }.boxed()
                })
                .await?;
            match listed {
                Ok(Listed::Entries(entries)) => return Ok(Some(entries)),
                Ok(Listed::NotEntered) => return Ok(None),
                Ok(Listed::Shut) => {}
                Err(FtpError::BadResponse) => {
                    let why = "the server's listing has a form that is not known";
                    return Err(Error::new(ErrorKind::Unsupported, operation, why));
                }
                Err(e) => return Err(of_ftp(operation, &e)),
            }
        }
        Err(told_shut(operation, folder))
    }

    /// Whether a part of a file can be asked for.
    async fn resumes(&self) -> Result<bool> {
        let tried = self.resumes.get_or_try_init(async || {
            let operation = "read object";
            let tried = self.pool.ask(operation, true, |session| resumes(session).boxed()).await?;
            tried.map_err(|e| of_ftp(operation, &e))
        });
        tried.await.copied()
    }

    /// What a refusal means: the protocol has one code for what is missing, what is taken and what is forbidden.
    async fn why(&self, e: FtpError, missing: &[&str], taken: &str) -> Error {
        let error = of_ftp("write object", &e);
        if !may_be_absent(&e) {
            return error;
        }
        let told =
            |kind: std::io::ErrorKind, path: &str| crate::fault::of_io("write object", path.to_owned(), kind.into());
        for path in missing {
            match self.look_at(path).await {
                Ok(None) => return told(std::io::ErrorKind::NotFound, path),
                Ok(Some(_)) => {}
                Err(e) => return e,
            }
        }
        match self.look_at(taken).await {
            Ok(Some(_)) => told(std::io::ErrorKind::AlreadyExists, taken),
            _ => error,
        }
    }

    /// Moves a file. What stood in the way may have gone when it is looked at, and the other way round: a refusal counts
    /// when it comes again and again.
    async fn move_until_clear(&self, from: &str, to: &str) -> Result<()> {
        let mut tries = 0;
        loop {
            let Err(e) = self.move_to(from, to).await? else { return Ok(()) };
            let error = self.why(e, &[from, parent(to)], to).await;
            tries += 1;
            if tries > MAX_TRIES || !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::AlreadyExists) {
                return Err(error);
            }
        }
    }

    async fn move_to(&self, from: &str, to: &str) -> Result<FtpResult<()>> {
        commandable("write object", to)?;
        self.pool
            .ask("write object", false, |session| {
                let (from, to) = (at(session, from), at(session, to));
                async move { session.ftp.rename(from, to).await }.boxed()
            })
            .await
    }
}

/// Refuses what would be more than a name in a command.
fn commandable(operation: &'static str, path: &str) -> Result<()> {
    if path.chars().any(char::is_control) {
        let why = "a control character stands in the path, and FTP has no way to say that";
        return Err(Error::new(ErrorKind::Config, operation, why).with("path", path.escape_debug()));
    }
    Ok(())
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder in which this one lies, and its name there; none lies above the destination's own.
fn above(folder: &str) -> Option<(&str, &str)> {
    (!folder.is_empty()).then(|| folder.rsplit_once('/').unwrap_or(("", folder)))
}

/// A folder that is there, and does not show what it holds.
fn told_shut(operation: &'static str, folder: &str) -> Error {
    Error::new(ErrorKind::PermissionDenied, operation, "the server may not open the folder")
        .with("path", folder.escape_debug())
        .hint("give the folder to the user that logs in there, with the right to enter and to read it")
}

#[async_trait]
impl Server for FtpServer {
    type Writer = FtpFile;

    const KIND: &'static str = "FTP";

    fn place(&self) -> String {
        let FtpOptions { host, port, folder, username, security, .. } = &self.pool.options;
        let scheme = if *security == FtpSecurity::ClearText { "ftp" } else { "ftps" };
        let port = if *port == security.port() { String::new() } else { format!(":{port}") };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let folder = if folder.starts_with('/') { folder.clone() } else { format!("/~/{folder}") };
        format!("{scheme}://{username}@{host}{port}{folder}")
    }

    async fn features(&self) -> Result<Features> {
        self.pool.take(false).await?.give_back().await;
        let clear = self.pool.options.security == FtpSecurity::ClearText;
        Ok(Features {
            flushes: false,
            no_flush: NO_FLUSH,
            exclusive: false,
            no_exclusive: NO_EXCLUSIVE,
            replaces: true,
            tells_links: false,
            at_once: self.pool.options.connections,
            warning: clear.then_some(CLEAR_TEXT),
        })
    }

    async fn look(&self, paths: Vec<String>) -> Result<Vec<Option<Found>>> {
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let looked = self.look_at(&path).await?;
            if looked.is_none() {
                self.refuse_shut(parent(&path)).await?;
            }
            found.push(looked);
        }
        Ok(found)
    }

    async fn read(&self, path: &str, range: Range<u64>, size: u64) -> Result<ByteStream<'static>> {
        let operation = "read object";
        commandable(operation, path)?;
        let limit = self.pool.options.timeout;
        let skip = if range.start > 0 && !self.resumes().await? { range.start } else { 0 };
        let mut fresh = false;
        let (held, transfer) = loop {
            let mut held = self.pool.take(fresh).await?;
            let at = at(&held.session, path);
            let open = async {
                let session = &mut held.session;
                if skip == 0 {
                    let offset = usize::try_from(range.start).map_err(|_| FtpError::BadResponse)?;
                    session.ftp.resume_transfer(offset).await?;
                }
                session.ftp.retr_as_stream(at).await
            };
            let error = match within(limit, open).await {
                Ok(Ok(transfer)) => break (held, transfer),
                Ok(Err(e)) if is_absent(&e) => {
                    held.give_back().await;
                    return Err(match self.look_at(path).await? {
                        Some(_) => of_ftp(operation, &e).with("path", path),
                        None => crate::fault::of_io(operation, path, std::io::ErrorKind::NotFound.into()),
                    });
                }
                Ok(Err(e)) => of_ftp(operation, &e),
                Err(_) => silent(operation, limit),
            };
            if held.fresh {
                return Err(error);
            }
            fresh = true;
        };
        let reading = Reading { held, transfer, skip, left: range.end - range.start, behind: size - range.end, limit };
        Ok(futures::stream::try_unfold(Some(reading), async |reading| match reading {
            None => Ok(None),
            Some(reading) => reading.next().await,
        })
        .boxed())
    }

    async fn list(&self, folder: &str) -> Result<Option<Vec<(String, Found)>>> {
        let listed = self.list_at(folder).await?;
        if listed.is_none() {
            self.refuse_shut(folder).await?;
        }
        Ok(listed)
    }

    /// Begins a file. The folder that was missing may be there when it is looked at, since another writer made it: a
    /// refusal counts when it comes again and again.
    async fn create(&self, path: &str) -> Result<FtpFile> {
        let operation = "write object";
        commandable(operation, path)?;
        let limit = self.pool.options.timeout;
        let (mut fresh, mut tries) = (false, 0);
        loop {
            let mut held = self.pool.take(fresh).await?;
            let name = at(&held.session, path);
            let error = match within(limit, held.session.ftp.put_with_stream(&name)).await {
                Ok(Ok(transfer)) => return Ok(FtpFile { held, transfer, name, written: 0, limit }),
                Ok(Err(e)) if !ends_session(&e) => {
                    held.give_back().await;
                    let unclear = may_be_absent(&e);
                    let error = self.why(e, &[parent(path)], path).await;
                    tries += 1;
                    if tries > MAX_TRIES
                        || !unclear
                        || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
                    {
                        return Err(error);
                    }
                    continue;
                }
                Ok(Err(e)) => of_ftp(operation, &e),
                Err(_) => silent(operation, limit),
            };
            // The name is nobody else's: it may be begun again.
            if held.fresh {
                return Err(error);
            }
            fresh = true;
        }
    }

    async fn make_root(&self) -> Result<()> {
        let operation = "create destination folder";
        let made = self.pool.ask(operation, true, |session| {
            async move {
                let base = at(session, "");
                if session.ftp.cwd(&base).await.is_ok() {
                    return Ok(());
                }
                let ends = base.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([base.len()]);
                for folder in ends.filter_map(|end| base.get(..end)) {
                    // One that is there is refused, and so is one that may not be made: the last step tells.
                    match session.ftp.mkdir(folder).await {
                        Err(e) if ends_session(&e) => return Err(e),
                        _ => {}
                    }
                }
                session.ftp.cwd(&base).await
            }
            .boxed()
        });
        made.await?.map_err(|e| of_ftp(operation, &e))
    }

    async fn make_folder(&self, path: &str) -> Result<bool> {
        let mut tries = 0;
        loop {
            let made = self
                .on("create folder", false, path, |session, at| async move { session.ftp.mkdir(at).await }.boxed())
                .await?;
            let e = match made {
                Ok(()) => return Ok(true),
                Err(e) => e,
            };
            let error = of_ftp("create folder", &e);
            if self.look_at(path).await?.is_some() {
                return Ok(false);
            }
            if self.look_at(parent(path)).await?.is_none() {
                return Err(crate::fault::of_io("create folder", parent(path), std::io::ErrorKind::NotFound.into()));
            }
            // It was taken, and no longer is; or there is another reason.
            tries += 1;
            if tries > MAX_TRIES {
                return Err(error);
            }
        }
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let removed =
            self.on("delete object", true, path, |session, at| async move { session.ftp.rm(at).await }.boxed()).await?;
        match removed {
            Err(e) if is_absent(&e) && self.look_at(path).await?.is_none() => {
                Err(crate::fault::of_io("delete object", path, std::io::ErrorKind::NotFound.into()))
            }
            other => other.map_err(|e| of_ftp("delete object", &e)),
        }
    }

    async fn remove_folder(&self, path: &str) -> Result<()> {
        let removed =
            self.on("remove folder", true, path, |session, at| async move { session.ftp.rmdir(at).await }.boxed());
        removed.await?.map_err(|e| of_ftp("remove folder", &e))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.move_until_clear(from, to).await
    }

    async fn link(&self, _from: &str, to: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "write object", "FTP has no links").with("path", to))
    }

    async fn replace(&self, from: &str, to: &str) -> Result<()> {
        match self.move_until_clear(from, to).await {
            // Two steps would leave nothing of that name where the second one fails.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Error::new(
                ErrorKind::Unsupported,
                "write object",
                "the server does not let a file replace another",
            )
            .with("path", to)
            .hint("allow overwriting by rename at the server; backups that are stored there can be read and copied")),
            other => other,
        }
    }

    async fn flush_folder(&self, _path: &str) -> Result<()> {
        Ok(())
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// A file that comes over a connection of its own.
struct Reading {
    held: Held,
    transfer: TransferStream<AsyncRustlsStream>,
    /// What is still to be thrown away in front.
    skip: u64,
    left: u64,
    /// What the file has behind the range.
    behind: u64,
    limit: std::time::Duration,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>> {
        let operation = "read object";
        while self.skip + self.left > 0 {
            let want = if self.skip > 0 { self.skip } else { self.left };
            let mut piece = BytesMut::with_capacity(PIECE.min(usize::try_from(want).unwrap_or(PIECE)));
            let mut bounded = (&mut self.transfer).take(want);
            let got = match timeout(self.limit, bounded.read_buf(&mut piece)).await {
                Ok(Ok(got)) => got as u64,
                Ok(Err(e)) => return Err(of_ftp(operation, &FtpError::ConnectionError(e))),
                Err(_) => return Err(silent(operation, self.limit)),
            };
            if got == 0 {
                // Too early: what the server says of it is the reason.
                let told = within(self.limit, self.transfer.finish()).await;
                return Err(match told {
                    Ok(Err(e)) => of_ftp(operation, &e),
                    _ => Error::new(ErrorKind::Incomplete, operation, "the file ended early"),
                });
            }
            if self.skip > 0 {
                self.skip -= got;
                continue;
            }
            self.left -= got;
            return Ok(Some((piece.freeze(), Some(self))));
        }
        self.end().await;
        Ok(None)
    }

    /// Everything came: the connection is kept if that costs little.
    async fn end(mut self) {
        if self.behind > SHORT_REST {
            return;
        }
        let rest = async {
            tokio::io::copy(&mut self.transfer, &mut tokio::io::sink()).await.map_err(FtpError::ConnectionError)?;
            self.transfer.finish().await
        };
        if matches!(within(self.limit, rest).await, Ok(Ok(()))) {
            self.held.give_back().await;
        }
    }
}

/// A file that is being sent over a connection of its own.
pub struct FtpFile {
    held: Held,
    transfer: TransferStream<AsyncRustlsStream>,
    name: String,
    written: u64,
    limit: std::time::Duration,
}

impl std::fmt::Debug for FtpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FtpFile").field("name", &self.name).field("written", &self.written).finish_non_exhaustive()
    }
}

#[async_trait]
impl Writer for FtpFile {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let operation = "write object";
        for piece in bytes.chunks(PIECE) {
            match timeout(self.limit, self.transfer.write_all(piece)).await {
                Ok(Ok(())) => self.written += piece.len() as u64,
                Ok(Err(e)) => return Err(of_ftp(operation, &FtpError::ConnectionError(e))),
                Err(_) => return Err(silent(operation, self.limit)),
            }
        }
        Ok(())
    }

    async fn finish(self) -> Result<Found> {
        let Self { mut held, mut transfer, name, written, limit } = self;
        let operation = "write object";
        let end = async {
            transfer.flush().await.map_err(FtpError::ConnectionError)?;
            transfer.finish().await?;
            // The server takes a connection that broke for the end of the file: the size tells.
            look(&mut held.session, &name).await
        };
        let found = match within(limit, end).await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => return Err(of_ftp(operation, &e)),
            Err(_) => return Err(silent(operation, limit)),
        };
        held.give_back().await;
        match found {
            Some(found) if found.size == written => Ok(Found { kind: FileKind::File, ..found }),
            Some(found) => {
                let why = format!("the server has {} bytes of {written}", found.size);
                Err(Error::new(ErrorKind::Incomplete, operation, why))
            }
            None => Err(Error::new(ErrorKind::Incomplete, operation, "the server does not show what it took")),
        }
    }
}
