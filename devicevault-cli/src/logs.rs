//! Structured logs: to standard error around the progress bars, or to a file.
//!
//! Only the project's own targets are let through below `warn`: what libraries trace of a conversation is none of a
//! log's business.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use devicevault_core::{Error, ErrorKind, Result};
use indicatif::MultiProgress;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::Settings;
use crate::ui::{Ui, escape};

/// Options of the log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log options")]
pub(crate) struct LogArgs {
    /// Log as text or as one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Log what is at least this important [default: info once a log is asked for]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Log to this file (appended, readable by the owner alone) instead of standard error
    #[arg(long, global = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Log more: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// How important what is logged is at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogArgs {
    pub(crate) fn format(&self) -> Option<LogFormat> {
        self.log_format
    }

    /// The level that was given, by its name or by counting.
    pub(crate) fn given_level(&self) -> Option<LogLevel> {
        self.log_level.or(match self.verbose {
            0 => None,
            1 => Some(LogLevel::Info),
            2 => Some(LogLevel::Debug),
            _ => Some(LogLevel::Trace),
        })
    }

    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.log_file.as_ref()
    }

    /// Begins to log, where that is asked for. The log holds for the thread pool that the returned guard lives beside.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn start(&self, settings: &Settings, ui: &Ui) -> Result<()> {
        let (format, log_file) = (settings.log_format.value, settings.log_file());
        let asked = format.is_some() || log_file.is_some();
        let Some(level) = settings.log_level.value.or(asked.then_some(LogLevel::Info)) else { return Ok(()) };
        let filter = EnvFilter::try_new(format!("warn,devicevault={0},devicevault_core={0},devicevault_ssh={0},devicevault_collectors={0},devicevault_storage={0},devicevault_cli={0}", level.as_str()))
            .map_err(|e| Error::new(ErrorKind::Internal, "start log", "the filter cannot be read").because(e))?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter);
        let json = format == Some(LogFormat::Json);
        // A second start in one process (a program of several Apps) keeps the first log.
        let _ = match (log_file, json) {
            (Some(path), true) => builder.json().flatten_event(true).with_writer(file(path)?).try_init(),
            (Some(path), false) => builder.with_ansi(false).with_writer(file(path)?).try_init(),
            (None, true) => builder.json().flatten_event(true).with_writer(Around(ui.bars().clone(), false)).try_init(),
            (None, false) => {
                builder.with_ansi(ui.paint().is_on()).with_writer(Around(ui.bars().clone(), true)).try_init()
            }
        };
        Ok(())
    }
}

fn file(path: &Path) -> Result<Mutex<std::fs::File>> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(path).map_err(|e| {
        Error::new(ErrorKind::Config, "open log file", "it cannot be written").with("file", path.display()).because(e)
    })?;
    Ok(Mutex::new(opened))
}

/// The log escapes what of a value begins a sequence; here goes what is left: marks of direction, and characters that a
/// terminal does not show.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = bytes.split(|b| *b == ESCAPE).map(|part| escape::lines(part).into_bytes()).collect();
    parts.join(&ESCAPE)
}

/// Begins the log's own colours.
const ESCAPE: u8 = 0x1b;

/// Writes lines to standard error with the progress bars out of the way, and for people (`true`) nothing that steers a
/// terminal but the log's own colours.
#[derive(Debug, Clone)]
struct Around(MultiProgress, bool);

impl<'a> MakeWriter<'a> for Around {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

impl Write for Around {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = if self.1 { Cow::Owned(harmless(bytes)) } else { Cow::Borrowed(bytes) };
        self.0.suspend(|| io::stderr().lock().write_all(&text))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_colours_and_shows_what_turns_the_direction() {
        let told = harmless("\u{1b}[32mINFO\u{1b}[0m\tdevice=odd\u{202e}7\u{9b}1m\n".as_bytes());
        let shown = "\u{1b}[32mINFO\u{1b}[0m\tdevice=odd\\u{202e}7\\u{9b}1m\n";
        assert_eq!(String::from_utf8(told).unwrap(), shown);
    }
}
