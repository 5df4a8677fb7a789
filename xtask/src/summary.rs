//! What was looked at and how it went: the last lines that the program prints.

use std::time::{Duration, Instant};

/// How many tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Check {
    name: String,
    /// `Some` for a step that runs tests, `None` for one that is itself the test.
    counts: Option<Counts>,
    good: bool,
    /// Tests, or a whole step, that could not be run, one line each.
    skipped: Vec<String>,
    remarks: Vec<String>,
    took: Duration,
}

impl Check {
    fn new(name: &str, good: bool) -> Self {
        let took = Duration::ZERO;
        Self { name: name.to_owned(), counts: None, good, skipped: Vec::new(), remarks: Vec::new(), took }
    }

    pub(crate) fn passed(name: &str) -> Self {
        Self::new(name, true)
    }

    pub(crate) fn failed(name: &str, why: Vec<String>) -> Self {
        Self::new(name, false).with_remarks(why)
    }

    pub(crate) fn skipped(name: &str, why: &str) -> Self {
        Self { skipped: vec![format!("skipped: {name}: {why}")], ..Self::new(name, true) }
    }

    /// From the verdict of a program.
    pub(crate) fn of(name: &str, verdict: Result<(), String>) -> Self {
        match verdict {
            Ok(()) => Self::passed(name),
            Err(why) => Self::failed(name, vec![why]),
        }
    }

    /// A step that ran tests. One that fails without a failed test (it did not build, say) counts as one failure.
    pub(crate) fn of_tests(name: &str, success: bool, mut counts: Counts) -> Self {
        if !success && counts.failed == 0 {
            counts.failed = 1;
        }
        Self { counts: Some(counts), ..Self::new(name, counts.failed == 0) }
    }

    pub(crate) fn with_skipped(mut self, skipped: Vec<String>) -> Self {
        self.skipped.extend(skipped);
        self
    }

    pub(crate) fn with_remarks(mut self, remarks: Vec<String>) -> Self {
        self.remarks.extend(remarks);
        self
    }
}

/// All steps.
#[derive(Debug, Default)]
pub(crate) struct Summary(Vec<Check>);

impl Summary {
    /// Does a step, and remembers how long it took.
    #[allow(clippy::disallowed_methods, reason = "a person's stopwatch: no decision hangs on it")]
    pub(crate) fn time(&mut self, step: impl FnOnce() -> Check) {
        let start = Instant::now();
        let check = step();
        self.0.push(Check { took: start.elapsed(), ..check });
    }

    pub(crate) fn fail(&mut self, name: &str, why: Vec<String>) {
        self.0.push(Check::failed(name, why));
    }

    pub(crate) fn is_good(&self) -> bool {
        self.0.iter().all(|check| check.good)
    }

    pub(crate) fn print(&self) {
        println!("{self}");
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut total = Counts::default();
        let mut skipped = 0;
        writeln!(f)?;
        for check in &self.0 {
            let verdict = match check.counts {
                Some(c) => format!("{} passed, {} failed, {} skipped", c.passed, c.failed, check.skipped.len()),
                None if !check.good => "FAILED".to_owned(),
                None if check.skipped.is_empty() => "ok".to_owned(),
                None => "skipped".to_owned(),
            };
            writeln!(f, "{:<26} {verdict:<42} {:>6.1} s", check.name, check.took.as_secs_f64())?;
            for line in check.remarks.iter().chain(&check.skipped) {
                writeln!(f, "    {line}")?;
            }
            match check.counts {
                Some(c) => {
                    total.passed += c.passed;
                    total.failed += c.failed;
                }
                None if !check.good => total.failed += 1,
                None if check.skipped.is_empty() => total.passed += 1,
                None => {}
            }
            skipped += check.skipped.len();
        }
        write!(f, "\n{} passed, {} failed, {skipped} skipped", total.passed, total.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_tests_are_added_up() {
        let mut summary = Summary::default();
        summary.time(|| Check::passed("format"));
        summary.time(|| Check::skipped("clippy", "not installed"));
        let missing = vec!["ignored: a needs b".to_owned()];
        summary.time(|| Check::of_tests("tests", false, Counts { passed: 4, failed: 1 }).with_skipped(missing));
        assert!(!summary.is_good());
        assert!(summary.to_string().ends_with("\n5 passed, 1 failed, 2 skipped"), "{summary}");
    }

    #[test]
    fn a_build_that_fails_is_a_failure() {
        let check = Check::of_tests("tests", false, Counts::default());
        assert_eq!(check.counts, Some(Counts { passed: 0, failed: 1 }));
    }
}
