//! A collector of one's own, for a device that speaks a protocol of its own: it is held to the contract of its trait by
//! the published suite, and then used by the engine as any other.
//!
//! The device is a power strip whose whole protocol is: `PASS <password>`, answered by `OK` or `NO`; `DUMP`, answered by
//! the length of its settings in decimal, a line end, and the settings.
//!
//! ```sh
//! cargo run -p devicevault-examples --bin custom_collector
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::engine::{Destination, DestinationOptions, Job};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    ArtifactInfo, Collector, CollectorInfo, Device, Engine, Error, ErrorKind, ExposeSecret as _, Login, Result, Sink,
    StepLimits, SystemClock, Target,
};
use devicevault_testkit::conformance::{self, Report, Situation, Subject};
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SETTINGS: &str = "[strip]\nname=rack-7\noutlets=8\n[outlet 1]\nlabel=router\nafter-power-loss=on\n";
const PASSWORD: &str = "strip-Passw0rd";
const ARTEFACT: &str = "settings";
/// More than any strip has to say.
const LARGEST: u64 = 1 << 20;

/// Takes the settings of a power strip.
#[derive(Debug)]
struct PowerStrip(CollectorInfo);

impl PowerStrip {
    fn new() -> Self {
        Self(CollectorInfo::new("power_strip", "Power strip", "Settings of a power strip, over its own protocol."))
    }
}

/// The step under its bound; both its silence and its fault are told as what was being done.
async fn step<T>(doing: &'static str, bound: Duration, work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    match timeout(bound, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(Error::new(ErrorKind::Incomplete, doing, "the connection ended").because(e)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, doing, format!("nothing came within {bound:?}"))),
    }
}

#[async_trait]
impl Collector for PowerStrip {
    fn info(&self) -> &CollectorInfo {
        &self.0
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(vec![ArtifactInfo::text(ARTEFACT).with_extension("ini")])
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        // Nothing is wanted: the device need not be troubled.
        if !out.wants(ARTEFACT) {
            return Ok(());
        }
        let (device, limits) = (&target.device, &target.limits);
        let connect = TcpStream::connect((device.host.as_str(), device.port.unwrap_or(4001)));
        let stream = step("connect to power strip", limits.connect, connect).await?;
        let mut strip = BufReader::new(stream);

        let password = target.login.password.as_ref().map_or("", |p| p.expose_secret());
        step("send password", limits.login, strip.write_all(format!("PASS {password}\n").as_bytes())).await?;
        if line("log in", limits.login, &mut strip).await? != "OK" {
            return Err(Error::new(ErrorKind::AuthRejected, "log in", "the strip rejected the password"));
        }

        step("ask for settings", limits.command, strip.write_all(b"DUMP\n")).await?;
        let length = line("read length", limits.inactivity, &mut strip).await?;
        let length = length.parse().ok().filter(|l| *l <= LARGEST).ok_or_else(|| {
            Error::new(ErrorKind::Refused, "read length", "the strip told no length")
                .with("answer", length.escape_debug())
        })?;
        out.begin(ArtifactInfo::text(ARTEFACT).with_extension("ini")).await?;
        let mut rest = strip.take(length);
        let mut came = 0;
        while came < length {
            let mut chunk = vec![0; 8192];
            let read = step("read settings", limits.inactivity, rest.read(&mut chunk)).await?;
            if read == 0 {
                // Not ended: what came is not all, and is not kept.
                return Err(Error::new(ErrorKind::Incomplete, "read settings", "the strip hung up in the middle"));
            }
            chunk.truncate(read);
            came += read as u64;
            out.write(chunk.into()).await?;
        }
        out.end().await
    }
}

/// One line of the strip, without its end. A line is short; a longer one is cut, and not understood then.
async fn line(doing: &'static str, bound: Duration, strip: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    step(doing, bound, strip.take(100).read_line(&mut line)).await?;
    Ok(line.trim_end().to_owned())
}

/// How far a strip comes with its settings.
#[derive(Debug, Clone, Copy)]
enum Manners {
    Whole,
    HangsUp,
    FallsSilent,
}

/// A power strip on a free port of 127.0.0.1. It is gone when the handle is aborted.
async fn power_strip(manners: Manners) -> std::io::Result<(SocketAddr, Plugged)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, manners));
        }
    });
    Ok((addr, Plugged(task.abort_handle())))
}

struct Plugged(tokio::task::AbortHandle);

impl Drop for Plugged {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn converse(stream: TcpStream, manners: Manners) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut asked = String::new();
    while lines.read_line(&mut asked).await? > 0 {
        match asked.trim_end().split_once(' ').unwrap_or((asked.trim_end(), "")) {
            ("PASS", PASSWORD) => lines.write_all(b"OK\n").await?,
            ("DUMP", _) => {
                lines.write_all(format!("{}\n", SETTINGS.len()).as_bytes()).await?;
                let (half, rest) = SETTINGS.as_bytes().split_at(SETTINGS.len() / 2);
                lines.write_all(half).await?;
                match manners {
                    Manners::Whole => lines.write_all(rest).await?,
                    Manners::HangsUp => return Ok(()),
                    Manners::FallsSilent => {}
                }
            }
            _ => lines.write_all(b"NO\n").await?,
        }
        asked.clear();
    }
    Ok(())
}

fn target(addr: SocketAddr, password: &str) -> Target {
    let mut device = Device::new("rack-7", "rack-7", addr.ip().to_string(), "power_strip");
    device.port = Some(addr.port());
    device.collector = "power_strip".to_owned();
    let mut login = Login::default();
    login.password = Some(password.into());
    let mut limits = StepLimits::default();
    limits.inactivity = Duration::from_secs(2);
    Target::new(device, login).with_limits(limits)
}

/// The suite sets up a strip for each situation that it wants to see.
async fn scene(situation: Situation) -> Result<Option<Subject>> {
    let (manners, password) = match situation {
        Situation::Good => (Manners::Whole, PASSWORD),
        Situation::CutOff => (Manners::HangsUp, PASSWORD),
        Situation::Stalled => (Manners::FallsSilent, PASSWORD),
        Situation::WrongPassword => (Manners::Whole, "a guess that is wrong"),
        _ => return Ok(None),
    };
    let failed = |e| Error::new(ErrorKind::Unavailable, "start power strip", "it cannot listen").because(e);
    let (addr, strip) = power_strip(manners).await.map_err(|e: std::io::Error| failed(e))?;
    let subject = Subject::new(Arc::new(PowerStrip::new()), target(addr, password));
    Ok(Some(subject.with_content(ARTEFACT, SETTINGS).holding(strip)))
}

/// What the suite finds, and how the engine's run of it ended.
async fn story() -> Result<(Report, String)> {
    let report = conformance::collector(scene).await;

    let failed = |e| Error::new(ErrorKind::Unavailable, "start power strip", "it cannot listen").because(e);
    let (addr, _strip) = power_strip(Manners::Whole).await.map_err(|e: std::io::Error| failed(e))?;
    let backend = MemoryBackend::new();
    let clock = Arc::new(SystemClock);
    let main = Destination::new("main", Arc::new(backend.clone()), DestinationOptions::default(), clock);
    let engine = Engine::builder(Arc::new(MemoryCatalog::new()), InstanceKey::new([7; 32])).build();
    let job = Job::new(target(addr, PASSWORD), Arc::new(PowerStrip::new()), vec![main]);
    let run = engine.back_up(&job).await?;
    let mut told = format!("{}: {}\n", run.start.device_name, run.state);
    for (manifest, content) in backend.contents() {
        told += &format!("{} of {} bytes, sha256 {}\n", manifest.artefact, content.len(), manifest.sha256);
    }
    Ok((report, told))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (report, told) = story().await?;
    #[allow(clippy::print_stdout, reason = "this is a program")]
    {
        print!("{report}{told}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_collector_conforms_and_is_used() {
        let (report, told) = super::story().await.unwrap();
        report.assert();
        assert_eq!(report.skipped().count(), 0, "{report}");
        assert!(told.starts_with("rack-7: succeeded\nsettings of "), "{told}");
    }
}
