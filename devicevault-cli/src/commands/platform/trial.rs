//! What came of trying a platform, for people and programs.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::context::Context;
use crate::ui::{escape, human};
use crate::wiring::visits::{Change, EndedBy, Exchange, Trial, TriedArtefact, TriedState};

/// How many changed lines of a kind are shown without `--all-lines`.
const SHOWN: usize = 5;

#[derive(Serialize)]
struct Told {
    good: bool,
    error: Option<String>,
    artefacts: Vec<ToldArtefact>,
    not_in_the_recording: Vec<String>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<ToldStep>>,
}

#[derive(Serialize)]
struct ToldArtefact {
    name: String,
    mandatory: bool,
    state: &'static str,
    good: bool,
    bytes: usize,
    lines: usize,
    left_out: usize,
    replaced: usize,
    masked: usize,
    suspect: Vec<String>,
    changed: Vec<ToldLine>,
}

#[derive(Serialize)]
struct ToldLine {
    line: u64,
    change: &'static str,
    text: String,
}

#[derive(Serialize)]
struct ToldStep {
    role: &'static str,
    typed: String,
    first_byte_ms: Option<u128>,
    last_byte_ms: Option<u128>,
    bytes: usize,
    pages: usize,
    ended: String,
    first_line: String,
    last_line: String,
}

/// What a trial found, beside the trial itself.
pub(super) struct Findings<'a> {
    pub(super) trial: &'a Trial,
    /// Commands that a recording does not know.
    pub(super) missing: Vec<String>,
    /// Every step is told.
    pub(super) steps: bool,
    /// Every line that the rules change is shown.
    pub(super) all_lines: bool,
}

impl Findings<'_> {
    /// Shows them. An error where a backup by the platform would not be a good one.
    pub(super) fn tell(self, context: &Context) -> Result<()> {
        if context.ui.is_json() {
            context.ui.json(&self.told())?;
        } else {
            self.print(context)?;
        }
        let trial = self.trial;
        match (&trial.error, trial.is_good()) {
            (None, true) => Ok(()),
            (Some(e), _) => Err(e.clone()),
            (None, false) => {
                let bad: Vec<_> =
                    trial.artefacts.iter().filter(|a| !a.is_good()).map(|a| a.info.name.as_str()).collect();
                Err(Error::new(ErrorKind::Incomplete, "try platform", "a backup by it would not be a good one")
                    .with("artefacts", bad.join(", ")))
            }
        }
    }

    fn told(&self) -> Told {
        let trial = self.trial;
        Told {
            good: trial.is_good(),
            error: trial.error.as_ref().map(ToString::to_string),
            artefacts: trial.artefacts.iter().map(|a| self.artefact(a)).collect(),
            not_in_the_recording: self.missing.clone(),
            notes: trial.notes.iter().map(|n| n.text.clone()).collect(),
            steps: self.steps.then(|| trial.exchanges.iter().map(step).collect()),
        }
    }

    fn artefact(&self, a: &TriedArtefact) -> ToldArtefact {
        let count = |change| a.changed.iter().filter(|c| c.change == change).count();
        ToldArtefact {
            name: a.info.name.clone(),
            mandatory: a.info.mandatory,
            state: state(a),
            good: a.is_good(),
            bytes: a.text.len(),
            lines: line_count(&a.text),
            left_out: count(Change::LeftOut),
            replaced: count(Change::Replaced),
            masked: count(Change::Masked),
            suspect: a.suspect.clone(),
            changed: a
                .changed
                .iter()
                .map(|c| ToldLine { line: c.number, change: word(c.change), text: c.text.clone() })
                .collect(),
        }
    }

    fn print(&self, context: &Context) -> Result<()> {
        if self.steps {
            self.print_steps(context)?;
        }
        for a in &self.trial.artefacts {
            self.print_artefact(context, a)?;
        }
        for note in &self.trial.notes {
            context.ui.line(&format!("note: {}", escape::text(&note.text)))?;
        }
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            context.ui.line(&format!("not in the recording: {}", escape::text(&missing)))?;
        }
        Ok(())
    }

    fn print_artefact(&self, context: &Context, a: &TriedArtefact) -> Result<()> {
        let name = &a.info.name;
        let (bytes, lines) = (a.text.len(), line_count(&a.text));
        match &a.state {
            TriedState::Whole => {
                context.ui.line(&format!("{name}: kept, {bytes} bytes, {}", human::count(lines, "line")))?;
            }
            TriedState::Failed(e) => context.ui.line(&format!("{name}: refused: {}", escape::text(&e.to_string())))?,
            TriedState::Absent if a.info.mandatory => context.ui.line(&format!("{name}: not reached"))?,
            TriedState::Absent => context.ui.line(&format!("{name}: the device has none, and that does no harm"))?,
            _ => context.ui.line(&format!("{name}: broken off after {bytes} bytes"))?,
        }
        for why in &a.suspect {
            context.ui.line(&format!("  suspect: {}", escape::text(why)))?;
        }
        for e in self.ends_of(a) {
            context.ui.line(&format!("  end of `{}`: {}", escape::text(&e.typed), e.ended))?;
        }
        for (change, heading) in [
            (Change::LeftOut, "left out where versions are compared"),
            (Change::Replaced, "changed where versions are compared"),
            (Change::Masked, "masked in the redacted view"),
        ] {
            let of: Vec<_> = a.changed.iter().filter(|c| c.change == change).collect();
            if of.is_empty() {
                continue;
            }
            context.ui.line(&format!("  {heading}: {}", human::count(of.len(), "line")))?;
            let most = if self.all_lines { of.len() } else { SHOWN };
            for c in of.iter().take(most) {
                context.ui.line(&format!("  {:>7}  {}", c.number, escape::text(&c.text)))?;
            }
            if of.len() > most {
                context.ui.line(&format!("         … and {} more (--all-lines)", of.len() - most))?;
            }
        }
        for note in &a.notes {
            context.ui.line(&format!("  note: {}", escape::text(&note.text)))?;
        }
        Ok(())
    }

    /// The exchanges that an artefact was made from.
    fn ends_of<'b>(&'b self, a: &'b TriedArtefact) -> impl Iterator<Item = &'b Exchange> {
        let commands = self.trial.exchanges.iter().filter(|e| e.role == "command");
        commands.filter(|e| a.commands.contains(&e.typed) && e.ended != EndedBy::Nothing)
    }

    fn print_steps(&self, context: &Context) -> Result<()> {
        if let Some(greeting) = &self.trial.greeting {
            if let Some(version) = &greeting.version {
                context.ui.line(&format!("connected: {}", escape::text(version)))?;
            }
            for (what, name) in &greeting.algorithms {
                context.ui.line(&format!("  {what}: {}", escape::text(name)))?;
            }
            if let Some(banner) = &greeting.banner {
                context.ui.line(&format!("  banner: {}", human::count(banner.lines().count(), "line")))?;
            }
        }
        for e in &self.trial.exchanges {
            print_step(context, e)?;
        }
        context.ui.line("")
    }
}

fn print_step(context: &Context, e: &Exchange) -> Result<()> {
    let typed =
        if e.typed.is_empty() { "(nothing typed yet)".to_owned() } else { format!("`{}`", escape::text(&e.typed)) };
    let how = if e.exec { " without a terminal" } else { "" };
    context.ui.line(&format!("{:>9}  {} {typed}{how}", since(e.at), e.role))?;
    let (first, last) = (e.first.map(since), e.last.map(since));
    if let (Some(first), Some(last)) = (first, last) {
        context.ui.line(&format!("           {} bytes, the first after {first}, the last after {last}", e.bytes))?;
    }
    if e.pages > 0 {
        context.ui.line(&format!("           {} answered with a blank", human::count(e.pages, "page")))?;
    }
    if !e.first_line.is_empty() {
        context.ui.line(&format!("           first line: {}", escape::text(&e.first_line)))?;
    }
    if !e.last_line.is_empty() {
        context.ui.line(&format!("           last line:  {}", escape::text(&e.last_line)))?;
    }
    if !e.prompt.is_empty() {
        context.ui.line(&format!("           then stood:  {}", escape::text(&e.prompt)))?;
    }
    context.ui.line(&format!("           end: {}", e.ended))
}

fn since(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn step(e: &Exchange) -> ToldStep {
    ToldStep {
        role: e.role,
        typed: e.typed.clone(),
        first_byte_ms: e.first.map(|d| d.as_millis()),
        last_byte_ms: e.last.map(|d| d.as_millis()),
        bytes: e.bytes,
        pages: e.pages,
        ended: e.ended.to_string(),
        first_line: e.first_line.clone(),
        last_line: e.last_line.clone(),
    }
}

fn line_count(text: &[u8]) -> usize {
    text.split_inclusive(|b| *b == b'\n').count()
}

fn word(change: Change) -> &'static str {
    match change {
        Change::LeftOut => "left-out",
        Change::Replaced => "replaced",
        _ => "masked",
    }
}

fn state(a: &TriedArtefact) -> &'static str {
    match a.state {
        TriedState::Whole => "kept",
        TriedState::Failed(_) => "refused",
        TriedState::Absent => "absent",
        _ => "broken-off",
    }
}
