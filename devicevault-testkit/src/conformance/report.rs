//! What a suite found.

use std::fmt;

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The promise holds.
    Held,
    /// It was not looked at, and why: the implementation says that it does not promise this, or a hook is missing.
    Skipped(String),
    /// The promise is broken, and how.
    Broken(String),
}

/// One case and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// Name of the case, such as `ranges`.
    pub name: &'static str,
    /// The sentence of the contract that it looks at.
    pub promise: &'static str,
    /// What was found.
    pub finding: Finding,
}

/// What a suite found, case by case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report that nobody looks at finds nothing: call `assert`"]
pub struct Report {
    /// What was looked at, such as `StorageBackend`.
    pub suite: &'static str,
    /// Every case in order.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// The cases whose promise is broken.
    pub fn broken(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|c| matches!(c.finding, Finding::Broken(_)))
    }

    /// The cases that were not looked at.
    pub fn skipped(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|c| matches!(c.finding, Finding::Skipped(_)))
    }

    /// Whether no promise is broken and at least one was looked at.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken().next().is_none() && self.cases.iter().any(|c| c.finding == Finding::Held)
    }

    /// # Panics
    /// When a promise is broken, or nothing was looked at; the text is the whole report.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.is_good(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (broken, skipped) = (self.broken().count(), self.skipped().count());
        writeln!(f, "{}: {} cases, {broken} broken, {skipped} skipped", self.suite, self.cases.len())?;
        for case in &self.cases {
            match &case.finding {
                Finding::Held => writeln!(f, "  held     {}", case.name)?,
                Finding::Skipped(why) => writeln!(f, "  skipped  {}: {why}", case.name)?,
                Finding::Broken(how) => {
                    writeln!(f, "  BROKEN   {}: {}", case.name, case.promise)?;
                    for line in how.lines() {
                        writeln!(f, "             {line}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
