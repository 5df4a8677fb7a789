//! Bringing keys into a known_hosts file from another one, and forgetting those of a server.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use super::known_hosts::{KnownHostsFile, MOST, WAY, ends_within_a_line, name_in_file};
use super::line::{Hosts, Line, Meaning};
use super::{HostKey, Recorded};
use crate::{Endpoint, Result};

/// What came of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Lines that were added.
    pub added: usize,
    /// Lines that say what is recorded already.
    pub known: usize,
    /// Lines that were left out, and why.
    pub refused: Vec<RefusedLine>,
}

/// A line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedLine {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// What came of forgetting a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// Fingerprints of the keys that are no longer recorded for it.
    pub keys: Vec<String>,
    /// Lines with wildcards that speak of it still, by number from 1.
    pub wildcards: Vec<usize>,
}

impl KnownHostsFile {
    /// Adds the lines of another known_hosts file: plain, hashed and wildcard names, other ports, `@revoked` and
    /// `@cert-authority`. A line that gives a server another key of a kind that is recorded for it is left out: forget
    /// the old one first. Calling it again adds nothing.
    ///
    /// # Errors
    /// The file cannot be read or written; nothing was added then.
    pub async fn import(&self, text: &str) -> Result<Imported> {
        let text = text.to_owned();
        self.off_thread("written", move |inner| {
            let mut known = inner.known();
            let mut file = inner.locked()?;
            known.read(&mut file)?;
            let mut present = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            std::io::Read::by_ref(&mut file).take(MOST).read_to_end(&mut present)?;
            let mut lines: Vec<Line> = String::from_utf8_lossy(&present).lines().filter_map(Line::parse).collect();
            let mut imported = Imported::default();
            let mut bytes = Vec::new();
            if ends_within_a_line(&mut file)? {
                bytes.push(b'\n');
            }
            let text = text.trim_start_matches('\u{feff}');
            for (number, text) in (1..).zip(text.lines()) {
                match judge_line(text, &lines) {
                    Verdict::Nothing => {}
                    Verdict::Known => imported.known += 1,
                    Verdict::Refused(why) => imported.refused.push(RefusedLine { line: number, why }),
                    Verdict::Add(line) => {
                        bytes.extend_from_slice(text.trim().as_bytes());
                        bytes.push(b'\n');
                        lines.push(line);
                        imported.added += 1;
                    }
                }
            }
            if imported.added > 0 {
                file.write_all(&bytes)?;
                file.sync_all()?;
                known.read(&mut file)?;
            }
            Ok(imported)
        })
        .await
    }

    /// Takes out the keys that are recorded for a server under its own name, so that the next one is a first use.
    /// Revoked keys, authorities and lines with wildcards stay.
    ///
    /// # Errors
    /// The file cannot be read or written; it stays as it was then.
    pub async fn forget(&self, server: &Endpoint) -> Result<Forgotten> {
        let name = name_in_file(server);
        self.off_thread("written", move |inner| {
            let mut known = inner.known();
            let mut file = inner.locked()?;
            known.read(&mut file)?;
            if known.of(&name) == Recorded::nothing() {
                return Ok(Forgotten::default());
            }
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            std::io::Read::by_ref(&mut file).take(MOST).read_to_end(&mut bytes)?;
            let mut forgotten = Forgotten::default();
            let mut kept = Vec::with_capacity(bytes.len());
            for (number, line) in (1..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
                let text = String::from_utf8_lossy(line);
                match without(&text, &name) {
                    Rest::Same => kept.extend_from_slice(line),
                    Rest::Wildcard => {
                        kept.extend_from_slice(line);
                        forgotten.wildcards.push(number);
                    }
                    Rest::Less(rest, key) => {
                        kept.extend_from_slice(rest.as_bytes());
                        forgotten.keys.push(key);
                    }
                }
            }
            if !forgotten.keys.is_empty() {
                // Readers see the old file or the new one. Whoever waits for the lock of the old one looks again.
                let draft = inner.path.with_extension(format!("{}.tmp", std::process::id()));
                let written = write_new(&draft, &kept).and_then(|()| std::fs::rename(&draft, &inner.path));
                if let Err(e) = written {
                    let _ = std::fs::remove_file(&draft);
                    return Err(e);
                }
            }
            Ok(forgotten)
        })
        .await
    }
}

fn write_new(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

enum Verdict {
    Nothing,
    Known,
    Refused(String),
    Add(Line),
}

fn judge_line(text: &str, present: &[Line]) -> Verdict {
    if text.trim().is_empty() || text.trim_start().starts_with('#') {
        return Verdict::Nothing;
    }
    let Some(line) = Line::parse(text) else {
        return Verdict::Refused("it is not of the form of known_hosts".to_owned());
    };
    let Ok(key) = HostKey::from_openssh(&line.key) else {
        return Verdict::Refused("its key cannot be read".to_owned());
    };
    if present.contains(&line) {
        return Verdict::Known;
    }
    let other_of_kind = |l: &&Line| {
        let other = |k: HostKey| k != key && k.algorithm() == key.algorithm();
        l.meaning == Meaning::Key && HostKey::from_openssh(&l.key).is_ok_and(other)
    };
    if line.meaning == Meaning::Key
        && let Some(host) = present.iter().filter(other_of_kind).find_map(|l| l.hosts.in_common(&line.hosts))
    {
        return Verdict::Refused(format!(
            "another {} key is recorded for {}; forget that one first",
            key.algorithm(),
            host.escape_debug()
        ));
    }
    Verdict::Add(line)
}

enum Rest {
    Same,
    /// It speaks of the host by a wildcard.
    Wildcard,
    /// What is left of the line, which may be nothing, and the fingerprint of its key.
    Less(String, String),
}

/// A line without this host.
fn without(text: &str, name: &str) -> Rest {
    let meant = |l: &Line| if name.contains(WAY) { l.hosts.names(name) } else { l.hosts.matches(name) };
    let Some(line) = Line::parse(text).filter(|l| l.meaning == Meaning::Key && meant(l)) else {
        return Rest::Same;
    };
    let Ok(key) = HostKey::from_openssh(&line.key) else { return Rest::Same };
    let Hosts::Patterns(patterns) = &line.hosts else { return Rest::Less(String::new(), key.fingerprint()) };
    let others: Vec<&str> = patterns.iter().map(String::as_str).filter(|p| *p != name).collect();
    if others.len() == patterns.len() || others.iter().any(|p| p.contains(['*', '?', '!'])) {
        return Rest::Wildcard;
    }
    let rest = if others.is_empty() { String::new() } else { format!("{} {}\n", others.join(","), line.key) };
    Rest::Less(rest, key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn file() -> (tempfile::TempDir, KnownHostsFile) {
        let folder = tempfile::tempdir().unwrap();
        let store = KnownHostsFile::new(folder.path().join("known_hosts"));
        (folder, store)
    }

    #[tokio::test]
    async fn every_form_is_imported_once() {
        use crate::HostKeyStore as _;
        let (_folder, store) = file();
        let text = format!(
            "\u{feff}# mine\n\nr1 {A}\n[r1]:2222 {B}\nr2,192.0.2.2 {A}\n@revoked r1 {B}\n@cert-authority *.example.net {B}\n\
             |1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|AAAAAAAAAAAAAAAAAAAAAAAAAAA= {A}\nr3 ssh-ed25519 nonsense\nwhat\n"
        );
        let first = store.import(&text).await.unwrap();
        assert_eq!((first.added, first.known), (6, 0), "{first:?}");
        assert_eq!(first.refused.iter().map(|r| r.line).collect::<Vec<_>>(), [9, 10]);
        let again = store.import(&text).await.unwrap();
        assert_eq!((again.added, again.known), (0, 6), "{again:?}");
        let r1 = store.recorded(&Endpoint::new("r1", 22)).await.unwrap();
        assert_eq!((r1.keys.len(), r1.revoked.len()), (1, 1));
        assert_eq!(store.recorded(&Endpoint::new("192.0.2.2", 22)).await.unwrap().keys.len(), 1);
        let other_port = store.recorded(&Endpoint::new("a.example.net", 2022)).await.unwrap();
        assert_eq!((other_port.authorities.len(), other_port.keys.len()), (1, 0));
    }

    #[tokio::test]
    async fn another_key_of_a_host_is_not_slipped_in() {
        use crate::HostKeyStore as _;
        let (_folder, store) = file();
        store.import(&format!("r1 {A}")).await.unwrap();
        let changed = store.import(&format!("r1 {B}\n")).await.unwrap();
        assert_eq!((changed.added, changed.refused.len()), (0, 1));
        assert_eq!(store.recorded(&Endpoint::new("r1", 22)).await.unwrap().keys.len(), 1);
    }

    /// In whatever form the name stands in the line, or in the one that is there.
    #[tokio::test]
    async fn a_name_that_is_hidden_or_one_of_several_is_known_as_well() {
        const HASHED: &str = "|1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|5T3xAov/UnlIz88HxzfKoOO1p1Q=";
        for (there, other) in [
            ("r1", "r1,192.0.2.1"),
            ("r1,192.0.2.1", "192.0.2.1"),
            ("r1", HASHED),
            (HASHED, "r1"),
            (HASHED, "r2,r1"),
            ("r1,r2", "r2,r3"),
        ] {
            let (_folder, store) = file();
            store.import(&format!("{there} {A}\n")).await.unwrap();
            let changed = store.import(&format!("{other} {B}\n")).await.unwrap();
            assert_eq!((changed.added, changed.refused.len()), (0, 1), "{there} {other}");
            let again = store.import(&format!("{other} {A}\n")).await.unwrap();
            assert_eq!((again.added, again.refused.len()), (1, 0), "{there} {other}");
        }
        // A wildcard is for those that have no key of their own.
        let (_folder, store) = file();
        store.import(&format!("r1 {A}\n")).await.unwrap();
        assert_eq!(store.import(&format!("r* {B}\n")).await.unwrap().added, 1);
    }

    #[tokio::test]
    async fn a_server_is_forgotten_and_no_other() {
        use crate::HostKeyStore as _;
        let (_folder, store) = file();
        let text = format!("r1 {A}\nr1,r2 {B}\n*.net {A}\n[r1]:2222 {A}\n@revoked r1 {B}\nr10 {A}\n");
        std::fs::write(store.path(), text).unwrap();
        let forgotten = store.forget(&Endpoint::new("R1", 22)).await.unwrap();
        assert_eq!((forgotten.keys.len(), forgotten.wildcards.len()), (2, 0), "{forgotten:?}");
        let left = std::fs::read_to_string(store.path()).unwrap();
        assert_eq!(left, format!("r2 {B}\n*.net {A}\n[r1]:2222 {A}\n@revoked r1 {B}\nr10 {A}\n"));
        let wild = store.forget(&Endpoint::new("x.net", 22)).await.unwrap();
        assert_eq!((wild.keys.len(), wild.wildcards), (0, vec![2]));
        assert_eq!(store.forget(&Endpoint::new("nobody", 22)).await.unwrap(), Forgotten::default());
        assert!(store.recorded(&Endpoint::new("r1", 22)).await.unwrap().keys.is_empty());
    }
}
