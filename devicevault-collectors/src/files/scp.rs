//! The collector `scp`.

use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{ArtifactInfo, Collector, CollectorInfo, ErrorKind, Kind, Note, Result, Sink, Target};
use devicevault_ssh::{Connection, ScpReader};

use super::bounds::Bounds;
use super::error::Fault;
use super::options::{FileArtefact, files, platform};
use crate::options;
use crate::platform::PlatformSet;
use crate::transport::SshDialer;

/// Fetches files by SCP's old protocol, which devices know that have no SFTP. Its key is `scp`, its options are told in
/// [`files`](crate::files).
///
/// One connection serves all files, with a channel for each; a device that closes the connection behind a file is
/// connected to again. [`Sink::end`] is called when exactly as many bytes came as were announced and the device said
/// that it read them without fault. The protocol does not tell of a file that changes while it is read: a server that runs
/// the program `scp` is asked for the file's time and size once more at the end, and another answer makes the file suspect.
#[derive(Debug)]
pub struct ScpCollector {
    info: CollectorInfo,
    platforms: Arc<PlatformSet>,
    dialer: SshDialer,
}

/// What SCP needs no more than: one file at a time, acknowledged at its end.
const WINDOW: u32 = 2 << 20;

impl ScpCollector {
    /// The key that devices name it by.
    pub const KEY: &'static str = "scp";

    /// Reaches devices by this dialer; where a device's platform is among these, texts are treated by its rules.
    #[must_use]
    pub fn new(platforms: Arc<PlatformSet>, dialer: SshDialer) -> Self {
        let description = "Fetches files of a device by SCP, for devices without SFTP.";
        Self { info: CollectorInfo::new(Self::KEY, "SCP", description), platforms, dialer }
    }
}

#[async_trait]
impl Collector for ScpCollector {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, target: &Target) -> Result<Vec<ArtifactInfo>> {
        options::check(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        Ok(files(&target.device, platform.as_deref(), false)?.into_iter().map(|f| f.info).collect())
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        options::check(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        let mut files = files(&target.device, platform.as_deref(), false)?;
        files.retain(|f| out.wants(&f.info.name));
        if files.is_empty() {
            return Ok(());
        }
        if platform.is_none() && files.iter().any(|f| f.info.kind == Kind::Text) {
            out.note(Note::warning(super::unknown_platform(&target.device.platform)));
        }
        let profile = platform.as_ref().and_then(|p| p.ssh_profile.as_deref());
        let mut line = Line { dialer: &self.dialer, target, profile, connection: None, served: 0 };
        line.reconnect().await?;
        for file in &files {
            let bounds = Bounds::begin(&target.limits);
            let (begun, outcome) = match line.open(file, &bounds).await {
                Ok(reader) => {
                    let took = (reader.size(), reader.modified());
                    let mut outcome = take(reader, file, &bounds, out).await;
                    if outcome.1.is_ok() {
                        outcome.1 = line.look_again(file, took, &bounds, out).await;
                    }
                    outcome
                }
                Err(fault) => (false, Err(fault)),
            };
            match outcome {
                Ok(()) => out.end().await?,
                Err(fault) => super::settle(fault, &file.info, begun, out).await?,
            }
        }
        if let Some(connection) = line.connection {
            connection.close().await;
        }
        Ok(())
    }

    async fn log_in(&self, target: &Target) -> Result<()> {
        options::check(&target.device)?;
        let platform = platform(&self.platforms, &target.device);
        let profile = platform.as_ref().and_then(|p| p.ssh_profile.as_deref());
        let mut line = Line { dialer: &self.dialer, target, profile, connection: None, served: 0 };
        line.reconnect().await?;
        if let Some(connection) = line.connection {
            connection.close().await;
        }
        Ok(())
    }
}

/// The connection to a device, made anew where the device ends it between two files.
struct Line<'a> {
    dialer: &'a SshDialer,
    target: &'a Target,
    profile: Option<&'a str>,
    connection: Option<Connection>,
    /// Files that this connection was asked for.
    served: usize,
}

impl Line<'_> {
    async fn reconnect(&mut self) -> Result<&Connection> {
        self.served = 0;
        let opened = self.dialer.connect(self.target, self.profile, WINDOW).await?;
        Ok(self.connection.insert(opened))
    }

    async fn open(&mut self, file: &FileArtefact, bounds: &Bounds) -> Result<ScpReader, Fault> {
        let path = file.place.text();
        if let Some(connection) = &self.connection {
            let first = self.served == 0;
            self.served += 1;
            match ask(connection, path, bounds).await {
                Err(Fault::Session(e)) if !first && e.kind() != ErrorKind::Timeout => {}
                done => return done,
            }
        }
        let connection = self.reconnect().await.map_err(Fault::Session)?;
        let done = ask(connection, path, bounds).await;
        self.served = 1;
        done
    }

    /// Whether a file of this size and time is still the one that is there. Where the device does not say any more, that is
    /// no fault of the file.
    async fn look_again(
        &mut self,
        file: &FileArtefact,
        took: (u64, Option<u64>),
        bounds: &Bounds,
        out: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let path = file.place.text();
        let (Some(connection), Some(_)) = (&self.connection, took.1) else { return Ok(()) };
        if let Ok(now) = ask(connection, path, bounds).await
            && (now.size(), now.modified()) != took
        {
            let path = path.escape_debug();
            let note = format!("{path} was written to or replaced while it was read: parts may be older than others");
            out.note(Note::suspect(note));
        }
        Ok(())
    }
}

async fn ask(connection: &Connection, path: &str, bounds: &Bounds) -> Result<ScpReader, Fault> {
    let asked = bounds.step("ask for file", connection.scp_read(path)).await.map_err(Fault::Session)?;
    asked.map_err(|e| Fault::of_scp(e, path))
}

/// Hands on a file. Says whether the artefact had begun.
async fn take(
    mut reader: ScpReader,
    file: &FileArtefact,
    bounds: &Bounds,
    out: &mut dyn Sink,
) -> (bool, Result<(), Fault>) {
    let path = file.place.text();
    if reader.size() > file.max_size {
        return (false, Err(Fault::too_large(path, Some(reader.size()), file.max_size)));
    }
    if let Err(e) = out.begin(file.info.clone()).await {
        return (false, Err(Fault::Sink(e)));
    }
    (true, pour(&mut reader, path, bounds, out).await)
}

async fn pour(reader: &mut ScpReader, path: &str, bounds: &Bounds, out: &mut dyn Sink) -> Result<(), Fault> {
    loop {
        let chunk = bounds.step("read file", reader.next()).await.map_err(Fault::Session)?;
        match chunk.map_err(|e| Fault::of_scp(e, path))? {
            Some(chunk) => out.write(chunk).await.map_err(Fault::Sink)?,
            None => break,
        }
    }
    if let Some(status) = reader.status().filter(|s| *s != 0) {
        let path = path.escape_debug();
        out.note(Note::warning(format!("{path} came whole, and the device's scp ended with exit status {status}")));
    }
    Ok(())
}
