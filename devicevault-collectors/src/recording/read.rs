//! From the text of a recording to what it says.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::{Recording, Step};
use crate::platform::{PlatformSource, located};

/// Larger files are no recordings.
const MOST: u64 = 64 << 20;
const OPERATION: &str = "read recording";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordingFile {
    recording: u32,
    platform: Option<String>,
    version: Option<String>,
    banner: Option<String>,
    #[serde(default = "crlf")]
    line_end: String,
    #[serde(default)]
    latin1: bool,
    #[serde(default)]
    opening: String,
    #[serde(default)]
    step: Vec<StepFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    send: Option<String>,
    exec: Option<String>,
    #[serde(default)]
    receive: String,
    status: Option<u32>,
    after_ms: Option<u64>,
    took_ms: Option<u64>,
    #[serde(default)]
    ends: bool,
}

fn crlf() -> String {
    "\r\n".to_owned()
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, OPERATION, message)
}

impl Recording {
    /// Reads a recording's text.
    ///
    /// # Errors
    /// `Config` with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let file: RecordingFile =
            toml::from_str(text).map_err(|e| located(OPERATION, &e, text, &PlatformSource::BuiltIn))?;
        if file.recording != 1 {
            return Err(wrong("this program reads recordings of version 1").with("version", file.recording));
        }
        if !["\n", "\r\n"].contains(&file.line_end.as_str()) {
            return Err(wrong(r#"line_end is "\n" or "\r\n""#));
        }
        let bytes = |text: &str| decode(text, &file.line_end, file.latin1);
        let mut steps = Vec::with_capacity(file.step.len());
        for (i, s) in file.step.into_iter().enumerate() {
            let at = |message: &str| wrong(message).with("step", i + 1);
            let (send, exec) = match (s.send, s.exec) {
                (Some(send), None) if !send.is_empty() => (send, false),
                (None, Some(exec)) if !exec.is_empty() => (exec, true),
                _ => return Err(at("a step has either `send` or `exec`, and it is not empty")),
            };
            steps.push(Step {
                send,
                exec,
                receive: bytes(&s.receive).ok_or_else(|| at("with latin1, no character is beyond U+00FF"))?,
                status: s.status,
                after: s.after_ms.map(Duration::from_millis),
                took: s.took_ms.map(Duration::from_millis),
                ends: s.ends,
            });
        }
        let opening = bytes(&file.opening).ok_or_else(|| wrong("with latin1, no character is beyond U+00FF"))?;
        Ok(Self { platform: file.platform, version: file.version, banner: file.banner, opening, steps })
    }

    /// Reads a recording's file.
    ///
    /// # Errors
    /// `Config` with file, line and column.
    pub fn read_file(path: &Path) -> Result<Self> {
        let unreadable = |why: &str| wrong(why).with("file", path.display());
        let meta = std::fs::metadata(path).map_err(|e| unreadable("it cannot be read").because(e))?;
        if meta.len() > MOST {
            return Err(unreadable("it is larger than 64 MiB"));
        }
        let text = crate::reading::text(path, MOST).map_err(|e| unreadable("it cannot be read as text").because(e))?;
        Self::parse(&text).map_err(|e| e.with("file", path.display()))
    }
}

/// The bytes that a text stands for.
fn decode(text: &str, line_end: &str, latin1: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => bytes.extend_from_slice(line_end.as_bytes()),
            c if latin1 => bytes.push(u8::try_from(u32::from(c)).ok()?),
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(bytes)
}
