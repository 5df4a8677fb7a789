//! What people and programs see: tables, JSON, errors, progress.
//!
//! Standard output carries what was asked for, standard error everything else: notes, progress, errors, logs.

pub(crate) mod error;
pub(crate) mod escape;
pub(crate) mod human;
pub(crate) mod paint;
pub(crate) mod progress;
pub(crate) mod table;

use std::io::{self, IsTerminal as _, Write as _};

use devicevault_core::{Error, ErrorKind, Result};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use paint::{Paint, Style};
use table::Table;

/// Where a command writes to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    paint: Paint,
    error_paint: Paint,
    width: Option<u16>,
    terminal: bool,
    bars: MultiProgress,
}

impl Ui {
    /// Looks at the terminal. `color` is what the user lets pass.
    pub(crate) fn new(json: bool, quiet: bool, color: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let target = if quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self {
            json,
            quiet,
            paint: Paint::new(color && terminal),
            error_paint: Paint::new(color && io::stderr().is_terminal()),
            width: terminal.then(|| console_width().unwrap_or(100)),
            terminal,
            bars: MultiProgress::with_draw_target(target),
        }
    }

    /// Whether the reader is a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing but errors and what was asked for is to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Colours of standard output.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Columns of the terminal; `None`: there is none.
    pub(crate) fn width(&self) -> Option<u16> {
        self.width
    }

    /// The progress bars, so that other lines can be written around them.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Bytes, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush()).or_else(reader_gone)
        })
    }

    /// A text and a line end.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// A table for people; `nothing` where it has no rows.
    pub(crate) fn table(&self, table: Table, nothing: &str) -> Result<()> {
        if table.is_empty() {
            self.note(nothing);
            return Ok(());
        }
        self.line(&table.render(self.width, self.paint.is_on()))
    }

    /// JSON for programs.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(ErrorKind::Internal, "write JSON", "the answer cannot be serialised").because(e))?;
        self.line(&text)
    }

    /// A remark for people, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.to_stderr(&format!("{}\n", escape::lines(text.as_bytes())));
        }
    }

    /// Something that did not go as it should and does not end the command. Where a person would not read it, or a
    /// program reads errors, it is left to the log.
    pub(crate) fn warn(&self, text: &str) {
        if self.quiet || self.json {
            tracing::warn!(event = "warning", message = text);
            return;
        }
        self.tell_warning(text);
    }

    /// The same of something that nobody would find out in time who has the program run by itself, with `--quiet`: what is
    /// backed up by nobody, what does not open any more.
    pub(crate) fn alert(&self, text: &str) {
        if self.json {
            return self.warn(text);
        }
        self.tell_warning(text);
    }

    fn tell_warning(&self, text: &str) {
        self.to_stderr(&format!("{} {}\n", self.error_paint.on(Style::Warning, "warning:"), escape::text(text)));
    }

    /// A kind of failure that some parts of a command had, on standard error.
    pub(crate) fn failure(&self, text: &str) {
        self.to_stderr(&format!("{} {}\n", self.error_paint.on(Style::Bad, "error:"), escape::text(text)));
    }

    /// Which part failed so, and why.
    pub(crate) fn failure_detail(&self, text: &str) {
        self.to_stderr(&format!("  {}\n", escape::text(text)));
    }

    /// What can be done about it.
    pub(crate) fn failure_hint(&self, text: &str) {
        self.to_stderr(&format!("{} {}\n", self.error_paint.on(Style::Hint, "hint:"), escape::text(text)));
    }

    /// An error, as a report or as an object.
    pub(crate) fn error(&self, e: &Error) {
        if self.json {
            let text = serde_json::to_string_pretty(&error::ErrorObject::from(e)).unwrap_or_default();
            self.to_stderr(&format!("{text}\n"));
        } else {
            self.to_stderr(&error::report(e, self.error_paint));
        }
    }

    fn to_stderr(&self, text: &str) {
        // Nobody is left to tell that standard error is gone.
        self.bars.suspend(|| drop(io::stderr().lock().write_all(text.as_bytes())));
    }
}

/// A reader that has seen enough (`| head`) is no error.
fn reader_gone(e: io::Error) -> Result<()> {
    if e.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, "write to standard output", "it cannot be written").because(e))
}

fn console_width() -> Option<u16> {
    let width = comfy_table::Table::new().width()?;
    (width >= 40).then_some(width)
}
