//! A collector: an appliance that answers `GET` with the length of a file and its bytes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{
    ArtifactInfo, Collector, CollectorInfo, Error, ErrorKind, ExposeSecret as _, Result, Sink, Target,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const FILES: [&str; 2] = ["running-config", "inventory"];
/// The longest line that an appliance may answer with, in bytes.
const LINE: u64 = 100;

/// Takes the files of an appliance.
#[derive(Debug)]
pub struct Appliance {
    info: CollectorInfo,
}

impl Appliance {
    /// The collector.
    #[must_use]
    pub fn new() -> Self {
        Self { info: CollectorInfo::new("appliance", "Appliance", "Takes the files of an appliance over TCP.") }
    }
}

impl Default for Appliance {
    fn default() -> Self {
        Self::new()
    }
}

/// A conversation, and how long its silences may be.
struct Talk {
    stream: BufReader<TcpStream>,
    patience: Duration,
}

impl Talk {
    async fn ask(&mut self, step: &'static str, request: &str) -> Result<String> {
        let patience = self.patience;
        within(step, patience, self.stream.write_all(request.as_bytes())).await?;
        let mut line = Vec::new();
        within(step, patience, (&mut self.stream).take(LINE).read_until(b'\n', &mut line)).await?;
        match line.strip_suffix(b"\n") {
            Some(line) => Ok(line.escape_ascii().to_string()),
            None => Err(Error::new(ErrorKind::Incomplete, step, "the appliance ended in the middle of its answer")),
        }
    }

    async fn take(&mut self, name: &str, out: &mut dyn Sink) -> Result<()> {
        let answer = self.ask("ask for file", &format!("GET {name}\n")).await?;
        let length = answer.parse::<u64>();
        let mut left = length.map_err(|e| Error::new(ErrorKind::Refused, "ask for file", answer).because(e))?;
        out.begin(artefact(name)).await?;
        while left > 0 {
            let patience = self.patience;
            let got = within("receive file", patience, self.stream.fill_buf()).await?;
            let part = Bytes::copy_from_slice(&got[..got.len().min(usize::try_from(left).unwrap_or(usize::MAX))]);
            if part.is_empty() {
                let e = Error::new(ErrorKind::Incomplete, "receive file", "the appliance closed the connection");
                return Err(e.with("artefact", name).with("missing bytes", left));
            }
            self.stream.consume(part.len());
            left -= part.len() as u64;
            out.write(part).await?;
        }
        out.end().await
    }
}

async fn within<T>(
    step: &'static str,
    patience: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T> {
    let silent = |e| Error::new(ErrorKind::Timeout, step, "the appliance does not answer").because(e);
    let done = tokio::time::timeout(patience, work).await.map_err(silent)?;
    done.map_err(|e| Error::new(ErrorKind::Unreachable, step, "the connection failed").because(e))
}

fn artefact(name: &str) -> ArtifactInfo {
    let info = ArtifactInfo::text(name);
    if name == "inventory" { info.optional() } else { info }
}

#[async_trait]
impl Collector for Appliance {
    fn info(&self) -> &CollectorInfo {
        &self.info
    }

    fn artefacts(&self, _target: &Target) -> Result<Vec<ArtifactInfo>> {
        Ok(FILES.map(artefact).into())
    }

    async fn collect(&self, target: &Target, out: &mut dyn Sink) -> Result<()> {
        let (device, login, limits) = (&target.device, &target.login, &target.limits);
        let address = (device.host.as_str(), device.port.unwrap_or(9999));
        let stream = within("connect", limits.connect, TcpStream::connect(address)).await?;
        let mut talk = Talk { stream: BufReader::new(stream), patience: limits.inactivity };
        let password = login.password.as_ref().map_or("", |p| p.expose_secret());
        let answer = talk.ask("log in", &format!("LOGIN {} {password}\n", login.username)).await?;
        if answer != "OK" {
            return Err(Error::new(ErrorKind::AuthRejected, "log in", "the appliance rejected the password"));
        }
        for name in FILES {
            if out.wants(name) {
                talk.take(name, out).await?;
            }
        }
        // Whether it says good-bye is of no matter.
        let _ = within("log out", limits.inactivity, talk.stream.write_all(b"BYE\n")).await;
        Ok(())
    }
}
