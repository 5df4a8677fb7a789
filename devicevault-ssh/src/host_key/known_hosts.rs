//! Host keys in a file of OpenSSH's form, shared with `ssh` and with other processes.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::line::{Hosts, Line, Meaning};
use super::{HostKey, HostKeyStore, Recorded};
use crate::{Endpoint, Result, SshError};

/// A known_hosts file: read and written as OpenSSH does, created with mode 0600 in a folder with mode 0700.
///
/// An entry is added by one write at the end of the file under an exclusive lock (`flock`), so that writers in this
/// process and in others lose nothing, a reader never sees half of a line, and 30,000 devices do not rewrite the file
/// 30,000 times. A symbolic link is not followed. A last line that a crash cut off is left behind as a line that says nothing. Hashed names, wildcards,
/// `@revoked` and `@cert-authority` are understood.
///
/// A server behind jump hosts has a name of its own, which is none to OpenSSH: `10.0.0.1@bastion.example.net`,
/// `[10.0.0.1]:2022@[bastion.example.net]:2222`, the last jump host first. Wildcards are for addresses and do not mean it.
#[derive(Debug, Clone)]
pub struct KnownHostsFile(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) path: PathBuf,
    known: Mutex<Known>,
}

/// The file's content as of a state of the file.
#[derive(Debug, Default)]
pub(super) struct Known {
    stamp: Option<Stamp>,
    exact: HashMap<String, Vec<Line>>,
    others: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    changed: Option<SystemTime>,
    file: u64,
}

pub(super) const MOST: u64 = 64 << 20;

impl KnownHostsFile {
    /// The file need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner { path: path.into(), known: Mutex::default() }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) async fn off_thread<T: Send + 'static>(
        &self,
        verb: &'static str,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(io::Error::other).flatten().map_err(|source| SshError::HostKeyStore {
            place: self.place(),
            verb,
            source: Arc::new(source),
        })
    }
}

#[async_trait]
impl HostKeyStore for KnownHostsFile {
    async fn recorded(&self, server: &Endpoint) -> Result<Recorded> {
        let name = name_in_file(server);
        self.off_thread("read", move |inner| inner.recorded(&name)).await
    }

    async fn record(&self, server: &Endpoint, key: &HostKey) -> Result<Recorded> {
        let (name, key) = (name_in_file(server), key.clone());
        self.off_thread("written", move |inner| inner.record(&name, &key)).await
    }

    async fn elsewhere(&self, server: &Endpoint) -> Result<Vec<HostKey>> {
        let (address, name) = (name_in_file(&server.alone()), name_in_file(server));
        self.off_thread("read", move |inner| {
            inner.refresh()?;
            Ok(inner.known().elsewhere(&address, &name))
        })
        .await
    }

    fn place(&self) -> String {
        self.0.path.display().to_string()
    }
}

/// `host` on the standard port, `[host]:port` elsewhere; names are compared without case. Jump hosts follow.
pub(super) fn name_in_file(server: &Endpoint) -> String {
    let host = server.host.to_ascii_lowercase();
    let alone = if server.port == crate::SSH_PORT { host } else { format!("[{host}]:{}", server.port) };
    server.over.iter().rev().fold(alone, |name, hop| format!("{name}{WAY}{}", name_in_file(hop)))
}

/// Stands before each jump host in a name; no host's own name has it.
pub(super) const WAY: char = '@';

impl Inner {
    pub(super) fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorded(&self, name: &str) -> io::Result<Recorded> {
        self.refresh()?;
        Ok(self.known().of(name))
    }

    /// Knows what the file says now.
    fn refresh(&self) -> io::Result<()> {
        self.refuse_what_is_no_file()?;
        let mut known = self.known();
        match File::open(&self.path) {
            Ok(mut file) => {
                if known.stamp != Some(stamp(&file)?) {
                    file.lock_shared()?;
                    known.read(&mut file)?;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => *known = Known::default(),
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn record(&self, name: &str, key: &HostKey) -> io::Result<Recorded> {
        let mut known = self.known();
        let mut file = self.locked()?;
        if known.stamp != Some(stamp(&file)?) {
            known.read(&mut file)?;
        }
        let present = known.of(name);
        // Of keys that are never to be trusted there may be some for every host.
        if !(present.keys.is_empty() && present.authorities.is_empty()) || present.revoked.contains(key) {
            return Ok(present);
        }
        let text = format!("{name} {}\n", key.to_openssh());
        let mut bytes = Vec::with_capacity(text.len() + 1);
        if ends_within_a_line(&mut file)? {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(text.as_bytes());
        file.write_all(&bytes)?;
        known.add(&text);
        known.stamp = Some(stamp(&file)?);
        Ok(known.of(name))
    }

    /// A link may lead to a file that is not ours, and a pipe has no end.
    fn refuse_what_is_no_file(&self) -> io::Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if !meta.is_file() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link, or no regular file"))
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Opened for appending under an exclusive lock, and still the file of that name.
    pub(super) fn locked(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(folder)?;
        }
        loop {
            self.refuse_what_is_no_file()?;
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&self.path)?;
            file.lock()?;
            // Another program may have put a new file in its place while we waited.
            match File::open(&self.path) {
                Ok(now) if identity(&now.metadata()?) == identity(&file.metadata()?) => return Ok(file),
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
}

impl Known {
    pub(super) fn read(&mut self, file: &mut File) -> io::Result<()> {
        let stamp = stamp(file)?;
        if stamp.length > MOST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(MOST).read_to_end(&mut bytes)?;
        *self = Self::default();
        for line in bytes.split(|b| *b == b'\n') {
            if let Ok(text) = std::str::from_utf8(line) {
                self.add(text);
            }
        }
        self.stamp = Some(stamp);
        Ok(())
    }

    fn add(&mut self, text: &str) {
        let Some(line) = Line::parse(text) else { return };
        match &line.hosts {
            Hosts::Exact(host) if line.meaning != Meaning::Authority => {
                self.exact.entry(host.clone()).or_default().push(line);
            }
            _ => self.others.push(line),
        }
    }

    pub(super) fn of(&self, name: &str) -> Recorded {
        let exact = self.exact.get(name).into_iter().flatten();
        // An authority is for a host, whichever port it listens on.
        let host = name.strip_prefix('[').and_then(|n| n.split_once("]:")).map_or(name, |(host, _)| host);
        let by_way = name.contains(WAY);
        let others = self.others.iter().filter(|l| match by_way {
            true => l.hosts.names(name),
            false => l.hosts.matches(name) || (l.meaning == Meaning::Authority && l.hosts.matches(host)),
        });
        let mut recorded = Recorded::nothing();
        for line in exact.chain(others) {
            match HostKey::from_openssh(&line.key) {
                Ok(key) => match line.meaning {
                    Meaning::Key => recorded.keys.push(key),
                    Meaning::Revoked => recorded.revoked.push(key),
                    Meaning::Authority => recorded.authorities.push(key),
                },
                Err(_) => tracing::warn!(host = name, "a recorded host key cannot be read and is passed over"),
            }
        }
        recorded
    }

    /// The keys of an address behind other jump hosts than those of this name. Where a wildcard speaks of the address,
    /// its key is not one server's.
    fn elsewhere(&self, address: &str, name: &str) -> Vec<HostKey> {
        let wild = |l: &Line| l.meaning == Meaning::Key && l.hosts.matches(address) && !l.hosts.names(address);
        if self.others.iter().any(wild) {
            return Vec::new();
        }
        let other = |n: &str| n != name && n.strip_prefix(address).is_some_and(|way| way.starts_with(WAY));
        let lines = self.exact.iter().filter(|(n, _)| other(n)).flat_map(|(_, lines)| lines);
        lines.filter(|l| l.meaning == Meaning::Key).filter_map(|l| HostKey::from_openssh(&l.key).ok()).collect()
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let meta = file.metadata()?;
    Ok(Stamp { length: meta.len(), changed: meta.modified().ok(), file: identity(&meta).1 })
}

#[cfg(unix)]
fn identity(meta: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> (u64, u64) {
    (0, 0)
}

pub(super) fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
