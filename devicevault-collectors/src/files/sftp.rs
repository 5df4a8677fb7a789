//! The collector `sftp`.

use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{ArtifactInfo, Collector, CollectorInfo, Error, ErrorKind, Kind, Note, Result, Sink, Target};
use devicevault_ssh::{Attributes, Match, Pattern, ReadOptions, SftpError, SftpReader, SftpSession};

use super::bounds::Bounds;
use super::error::{Fault, sftp_error};
use super::options::{FileArtefact, Pace, Place, Take, files, pace, platform};
use super::tar::{self, Member};
use crate::options;
use crate::platform::PlatformSet;
use crate::transport::SshDialer;

/// Fetches files over SFTP. Its key is `sftp`, its options are told in [`files`](crate::files).
///
/// All files come over one connection, in chunks, whatever their size. [`Sink::end`] is called when the server said that
/// there is no more, as many bytes came as it had announced, and the file's size is still the same. A file that was
/// written to meanwhile and kept its size is suspect.
#[derive(Debug)]
pub struct SftpCollector {
    info: CollectorInfo,
    platforms: Arc<PlatformSet>,
    dialer: SshDialer,
}

/// More files than this one artefact does not take.
const MOST_FILES: usize = 10_000;
const FIND: &str = "find file";
const READ: &str = "read file";

impl SftpCollector {
    /// The key that devices name it by.
    pub const KEY: &'static str = "sftp";

    /// Reaches devices by this dialer; where a device's platform is among these, texts are treated by its rules.
    #[must_use]
    pub fn new(platforms: Arc<PlatformSet>, dialer: SshDialer) -> Self {
        let description = "Fetches files of a device over SFTP: configurations, full-state exports, databases.";
        Self { info: CollectorInfo::new(Self::KEY, "SFTP", description), platforms, dialer }
    }
}

#[async_trait]
impl Collector for SftpCollector {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, target: &Target) -> Result<Vec<ArtifactInfo>> {
        options::check(&target.device)?;
        pace(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        Ok(files(&target.device, platform.as_deref(), true)?.into_iter().map(|f| f.info).collect())
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        options::check(&target.device)?;
        let pace = pace(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        let mut files = files(&target.device, platform.as_deref(), true)?;
        files.retain(|f| out.wants(&f.info.name));
        if files.is_empty() {
            return Ok(());
        }
        if platform.is_none() && files.iter().any(|f| f.info.kind == Kind::Text) {
            out.note(Note::warning(super::unknown_platform(&target.device.platform)));
        }
        let profile = platform.as_ref().and_then(|p| p.ssh_profile.as_deref());
        let connection = self.dialer.connect(target, profile, pace.window).await?;
        let opening = Bounds::begin(&target.limits).step("open SFTP", connection.sftp()).await?;
        let sftp = opening.map_err(|e| sftp_error(e).with("device", &target.device.name))?;
        for file in &files {
            let bounds = Bounds::begin(&target.limits);
            let mut visit = Visit { sftp: &sftp, pace, bounds, file, doubt: None };
            visit.artefact(out).await?;
        }
        drop(sftp);
        connection.close().await;
        Ok(())
    }

    async fn log_in(&self, target: &Target) -> Result<()> {
        options::check(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        let profile = platform.as_ref().and_then(|p| p.ssh_profile.as_deref());
        let connection = self.dialer.connect(target, profile, pace(&target.device)?.window).await?;
        let opening = Bounds::begin(&target.limits).step("open SFTP", connection.sftp()).await?;
        drop(opening.map_err(|e| sftp_error(e).with("device", &target.device.name))?);
        connection.close().await;
        Ok(())
    }
}

/// One artefact of one device.
struct Visit<'a> {
    sftp: &'a SftpSession,
    pace: Pace,
    bounds: Bounds,
    file: &'a FileArtefact,
    /// Why it may not be all that the pattern is for.
    doubt: Option<String>,
}

/// A file that is to be read.
struct Found {
    path: Vec<u8>,
    attributes: Option<Attributes>,
}

impl From<Match> for Found {
    fn from(m: Match) -> Self {
        Self { path: m.path, attributes: Some(m.attributes) }
    }
}

impl Visit<'_> {
    async fn artefact(&mut self, out: &mut dyn Sink) -> Result<()> {
        let info = &self.file.info;
        let found = match self.find(out).await {
            Ok(found) => found,
            Err(fault) => return super::settle(fault, info, false, out).await,
        };
        let outcome = match &self.file.place {
            Place::Pattern { take: Take::All, .. } => self.archive(found, out).await,
            _ => self.single(found, out).await,
        };
        match outcome {
            Ok(()) => {
                if let Some(doubt) = self.doubt.take() {
                    out.note(Note::suspect(doubt));
                }
                out.end().await
            }
            Err((begun, fault)) => super::settle(fault, info, begun, out).await,
        }
    }

    /// The files that the artefact is made of: never none, and one unless it is an archive.
    async fn find(&mut self, out: &mut dyn Sink) -> Result<Vec<Found>, Fault> {
        let (text, pattern, take) = match &self.file.place {
            Place::Path(path) => return Ok(vec![Found { path: path.as_bytes().to_vec(), attributes: None }]),
            Place::Pattern { text, pattern, take } => (text, pattern, *take),
        };
        let mut matches = self.glob(pattern, text).await?;
        let fault = |kind, why: String| Fault::File(Error::new(kind, FIND, why).with("file", text.escape_debug()));
        if take == Take::Newest && matches.len() > 1 && matches.iter().any(|m| m.attributes.modified().is_none()) {
            let why = "the server does not tell when files changed".to_owned();
            return Err(match fault(ErrorKind::Unsupported, why) {
                Fault::File(e) => Fault::File(e.hint("set take to last, or name one file")),
                other => other,
            });
        }
        match take {
            Take::All => {
                return match matches.is_empty() {
                    true => Err(fault(ErrorKind::NotFound, "no file meets the pattern".to_owned())),
                    false => Ok(matches.into_iter().map(Found::from).collect()),
                };
            }
            Take::One if matches.len() > 1 => {
                let some: Vec<_> = matches.iter().take(3).map(|m| shown(&m.path)).collect();
                let more = if matches.len() > some.len() { ", …" } else { "" };
                let why =
                    format!("{} files meet the pattern, and one is wanted: {}{more}", matches.len(), some.join(", "));
                return Err(match fault(ErrorKind::Config, why) {
                    Fault::File(e) => Fault::File(e.hint("use a narrower pattern, or set take to newest, last or all")),
                    other => other,
                });
            }
            // Of files of the same second, the last by name.
            Take::Newest => {
                matches.sort_by(|a, b| (a.attributes.modified(), &a.path).cmp(&(b.attributes.modified(), &b.path)));
            }
            Take::One | Take::Last => {}
        }
        let Some(chosen) = matches.pop() else {
            return Err(fault(ErrorKind::NotFound, "no file meets the pattern".to_owned()));
        };
        out.note(Note::info(format!("{} is taken from {}", self.file.info.name, shown(&chosen.path))));
        Ok(vec![chosen.into()])
    }

    async fn glob(&mut self, pattern: &Pattern, text: &str) -> Result<Vec<Match>, Fault> {
        /// So many are named in a note.
        const NAMED: usize = 5;
        let found = self.bounds.whole(FIND, self.sftp.glob(pattern, MOST_FILES)).await.map_err(Fault::Session)?;
        let found = found.map_err(|e| Fault::of_sftp(e, text))?;
        let (some, more) = found.unread.split_at(NAMED.min(found.unread.len()));
        if !some.is_empty() {
            let some = some.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let more = if more.is_empty() { String::new() } else { format!("; and {} more", more.len()) };
            let text = text.escape_debug();
            self.doubt = Some(format!("there may be more files that {text} is for: {some}{more}"));
        }
        match found.unread.into_iter().next() {
            Some(e) if found.files.is_empty() => Err(Fault::of_sftp(e, text)),
            _ => Ok(found.files),
        }
    }

    async fn open(&self, found: &Found) -> Result<SftpReader, Fault> {
        let options = ReadOptions::default().with_in_flight(self.pace.in_flight);
        let opening = self.bounds.step("open file", self.sftp.read(&found.path, options)).await;
        opening.map_err(Fault::Session)?.map_err(|e| Fault::of_sftp(e, self.file.place.text()))
    }

    /// The error says whether the artefact had begun.
    async fn single(&self, found: Vec<Found>, out: &mut dyn Sink) -> Result<(), (bool, Fault)> {
        let Some(found) = found.into_iter().next() else {
            let none = Error::new(ErrorKind::Internal, FIND, "no file was chosen");
            return Err((false, Fault::File(none)));
        };
        let mut reader = self.open(&found).await.map_err(|f| (false, f))?;
        if let Some(size) = reader.size().filter(|s| *s > self.file.max_size) {
            return Err((false, Fault::too_large(&shown(&found.path), Some(size), self.file.max_size)));
        }
        out.begin(self.file.info.clone()).await.map_err(|e| (false, Fault::Sink(e)))?;
        let mut left = self.file.max_size;
        self.pour(&mut reader, &found.path, &mut left, out).await.map_err(|f| (true, f))?;
        Ok(())
    }

    /// Hands on what comes, up to the end that the server confirms. Returns how much it was.
    async fn pour(
        &self,
        reader: &mut SftpReader,
        path: &[u8],
        left: &mut u64,
        out: &mut dyn Sink,
    ) -> Result<u64, Fault> {
        let mut total = 0;
        loop {
            let chunk = self.bounds.step(READ, reader.next()).await.map_err(|e| Fault::Session(slow(e)))?;
            let Some(chunk) = chunk.map_err(|e: SftpError| Fault::of_sftp(e, self.file.place.text()))? else { break };
            let length = chunk.len() as u64;
            if length > *left {
                return Err(Fault::too_large(&shown(path), None, self.file.max_size));
            }
            *left -= length;
            total += length;
            out.write(chunk).await.map_err(Fault::Sink)?;
        }
        if reader.was_rewritten() {
            let note = format!("{} was written to while it was read: parts may be older than others", shown(path));
            out.note(Note::suspect(note));
        }
        Ok(total)
    }

    /// All files as one tar archive.
    async fn archive(&self, found: Vec<Found>, out: &mut dyn Sink) -> Result<(), (bool, Fault)> {
        let sizes = found.iter().filter_map(|f| f.attributes.and_then(|a| a.size));
        let together = sizes.fold(0u64, u64::saturating_add);
        if together > self.file.max_size {
            let fault = Fault::too_large(self.file.place.text(), Some(together), self.file.max_size);
            return Err((false, fault));
        }
        out.begin(self.file.info.clone()).await.map_err(|e| (false, Fault::Sink(e)))?;
        let mut left = self.file.max_size;
        for found in &found {
            self.member(found, &mut left, out).await.map_err(|f| (true, f))?;
        }
        out.write(tar::end().into()).await.map_err(|e| (true, Fault::Sink(e)))
    }

    async fn member(&self, found: &Found, left: &mut u64, out: &mut dyn Sink) -> Result<(), Fault> {
        let mut reader = self.open(found).await?;
        let attributes = *reader.attributes();
        let fault = |kind, why: String| Fault::File(Error::new(kind, READ, why).with("file", shown(&found.path)));
        let Some(size) = attributes.size else {
            let why = "the server does not tell its size, which an archive says before the content";
            return Err(fault(ErrorKind::Unsupported, why.to_owned()));
        };
        let path = found.path.strip_prefix(b"/").unwrap_or(&found.path);
        let permissions = attributes.permissions.unwrap_or(0o600);
        let owner = attributes.owner.unwrap_or_default();
        let modified = attributes.modified().unwrap_or_default();
        let head = tar::head(&Member { path, size, permissions, owner, modified });
        out.write(head.into()).await.map_err(Fault::Sink)?;
        let came = self.pour(&mut reader, &found.path, left, out).await?;
        if came != size {
            let why = format!("the server said that it has {size} bytes, and {came} came");
            return Err(fault(ErrorKind::Incomplete, why));
        }
        let padding = tar::padding(size);
        if !padding.is_empty() {
            out.write(padding.into()).await.map_err(Fault::Sink)?;
        }
        Ok(())
    }
}

/// Silence in the middle of a file may be the server's fault with windows.
fn slow(e: Error) -> Error {
    match e.hint_text() {
        Some(_) => e,
        None => e.hint("if it always stops at the same place, set sftp.window = \"2MiB\" for this device"),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}
