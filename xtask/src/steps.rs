//! The steps that run cargo. All build the same feature set, so that nothing is built twice.

use std::process::Command;

use serde_json::Value;

use crate::command::{self, Ended};
use crate::ignored::{self, Listed};
use crate::peers;
use crate::summary::{Check, Counts, Summary};

const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];
/// What `cargo nextest` takes by itself; for `cargo test`, without documentation.
const TARGETS: [&str; 4] = ["--lib", "--bins", "--tests", "--examples"];
/// Every failure is shown, passes are only counted.
const QUIET: [&str; 5] =
    ["--no-fail-fast", "--status-level=fail", "--final-status-level=fail", "--show-progress=none", "--no-tests=pass"];

pub(crate) fn format(summary: &mut Summary) {
    begin(summary, "format", |name| {
        if command::has_cargo("fmt") {
            Check::of(name, command::run(command::cargo(&["fmt", "--all", "--check"])))
        } else {
            Check::skipped(name, "rustfmt is not installed (rustup component add rustfmt)")
        }
    });
}

pub(crate) fn clippy(summary: &mut Summary) {
    begin(summary, "clippy", |name| {
        if !command::has_cargo("clippy") {
            return Check::skipped(name, "clippy is not installed (rustup component add clippy)");
        }
        let mut clippy = command::cargo(&["clippy", "--quiet", "--keep-going", "--all-targets"]);
        clippy.args(EVERYTHING).args(["--", "-D", "warnings"]);
        Check::of(name, command::run(clippy))
    });
}

pub(crate) fn documentation(summary: &mut Summary) {
    begin(summary, "documentation", |name| {
        let mut doc = command::cargo(&["doc", "--quiet", "--keep-going", "--no-deps"]);
        doc.args(EVERYTHING).env("RUSTDOCFLAGS", "-D warnings");
        Check::of(name, command::run(doc))
    });
}

pub(crate) fn tests(summary: &mut Summary) {
    begin(summary, "tests", |name| {
        if command::has_cargo("nextest") {
            let mut run = command::cargo(&["nextest", "run"]);
            run.args(EVERYTHING).args(QUIET);
            of_nextest(name, command::run_and_keep(run))
        } else {
            let mut run = command::cargo(&["test", "--no-fail-fast", "--quiet"]);
            run.args(EVERYTHING).args(TARGETS);
            let remark = "cargo-nextest is not installed: run by cargo test".to_owned();
            of_libtest(name, command::run_and_keep(run)).with_remarks(vec![remark])
        }
    });
}

pub(crate) fn doc_tests(summary: &mut Summary) {
    begin(summary, "doc tests", |name| {
        let mut run = command::cargo(&["test", "--doc", "--no-fail-fast", "--quiet"]);
        run.args(EVERYTHING);
        of_libtest(name, command::run_and_keep(run))
    });
}

/// The ignored tests: those whose servers are here are run, the others are named.
pub(crate) fn real_servers(summary: &mut Summary, remarks: Vec<String>) {
    begin(summary, "tests with real servers", |name| {
        let nextest = command::has_cargo("nextest");
        let listed = match if nextest { list_by_nextest() } else { list_by_libtest() } {
            Ok(listed) => listed,
            Err(why) => return Check::of_tests(name, false, Counts::default()).with_remarks(vec![why]),
        };
        let (run, skipped) = ignored::part(listed, peers::missing);
        let check = if run.is_empty() {
            Check::of_tests(name, true, Counts::default())
        } else if nextest {
            let mut command = command::cargo(&["nextest", "run", "--run-ignored=only"]);
            command.args(EVERYTHING).args(QUIET).args(["-E", &expression(&run)]).env("PATH", peers::path());
            of_nextest(name, command::run_and_keep(command))
        } else {
            let mut command = command::cargo(&["test", "--no-fail-fast", "--quiet"]);
            command.env("PATH", peers::path());
            command.args(EVERYTHING).args(TARGETS).args(["--", "--ignored", "--exact"]);
            command.args(run.iter().map(|t| &t.name));
            of_libtest(name, command::run_and_keep(command))
        };
        check.with_remarks(remarks).with_skipped(skipped)
    });
}

fn begin(summary: &mut Summary, name: &str, step: impl FnOnce(&str) -> Check) {
    println!("\n== {name}");
    summary.time(|| step(name));
}

fn list_by_nextest() -> Result<Vec<Listed>, String> {
    let mut list = command::cargo(&["nextest", "list", "--run-ignored=only", "--message-format=json"]);
    list.args(EVERYTHING);
    let answer: Value = serde_json::from_str(&command::output_of(list)?).map_err(|e| format!("nextest list: {e}"))?;
    let mut out = Vec::new();
    for (binary, suite) in answer["rust-suites"].as_object().into_iter().flatten() {
        let cases = suite["testcases"].as_object().into_iter().flatten();
        let names: Vec<&str> = cases.filter(|(_, case)| case["ignored"] == true).map(|(n, _)| n.as_str()).collect();
        let (Some(program), Some(folder)) = (suite["binary-path"].as_str(), suite["cwd"].as_str()) else {
            return Err(format!("nextest list: {binary} has no path"));
        };
        if !names.is_empty() {
            let mut command = Command::new(program);
            command.arg("--exact").args(names).current_dir(folder);
            out.extend(ignored::read(Some(binary), &command::output_of(command)?));
        }
    }
    Ok(out)
}

fn list_by_libtest() -> Result<Vec<Listed>, String> {
    let tests = |of_libtest: &[&str]| {
        let mut command = command::cargo(&["test"]);
        command.args(EVERYTHING).args(TARGETS).arg("--").args(of_libtest);
        command::output_of(command)
    };
    let listing = tests(&["--ignored", "--list", "--format=terse"])?;
    let names: Vec<&str> = listing.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let printed = tests(&[&["--exact"], &names[..]].concat())?;
    Ok(ignored::read(None, &printed).collect())
}

/// These tests and no others, in nextest's filter language.
fn expression(tests: &[Listed]) -> String {
    let one = |t: &Listed| match &t.binary {
        Some(binary) => format!("(binary_id(={binary}) & test(={}))", t.name),
        None => format!("test(={})", t.name),
    };
    tests.iter().map(one).collect::<Vec<_>>().join(" + ")
}

fn of_nextest(name: &str, ended: Result<Ended, String>) -> Check {
    of_tests(name, ended, |line| Some(numbers(line.split_once("run: ").filter(|_| line.contains("Summary ["))?.1)))
}

fn of_libtest(name: &str, ended: Result<Ended, String>) -> Check {
    of_tests(name, ended, |line| Some(numbers(line.strip_prefix("test result: ")?.split_once(". ")?.1)))
}

fn of_tests(name: &str, ended: Result<Ended, String>, read: impl Fn(&str) -> Option<Counts>) -> Check {
    match ended {
        Ok(ended) => {
            let counts = ended
                .lines
                .iter()
                .filter_map(|line| read(line))
                .fold(Counts::default(), |a, b| Counts { passed: a.passed + b.passed, failed: a.failed + b.failed });
            Check::of_tests(name, ended.success, counts)
        }
        Err(why) => Check::of_tests(name, false, Counts::default()).with_remarks(vec![why]),
    }
}

/// Reads `4 passed (1 slow), 1 failed, 1 timed out, 2 skipped` and `4 passed; 1 failed; 2 ignored`.
fn numbers(text: &str) -> Counts {
    let mut counts = Counts::default();
    let mut depth = 0;
    let outside: String = text
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            let keep = depth == 0;
            depth -= i32::from(*c == ')');
            keep
        })
        .collect();
    for part in outside.split([',', ';']) {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        match what.trim() {
            "passed" => counts.passed += number,
            "failed" | "timed out" | "exec failed" => counts.failed += number,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_both_programs() {
        let nextest =
            "     Summary [   0.013s] 9 tests run: 5 passed (1 slow, 2 leaky), 1 failed, 2 timed out, 3 skipped";
        let ended =
            |lines: &[&str]| Ok(Ended { success: false, lines: lines.iter().map(|l| (*l).to_owned()).collect() });
        let text = |check: Check| {
            let mut summary = Summary::default();
            summary.time(|| check);
            summary.to_string()
        };
        assert!(text(of_nextest("x", ended(&[nextest]))).ends_with("5 passed, 3 failed, 0 skipped"));
        let libtest =
            "test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert!(text(of_libtest("x", ended(&[libtest, libtest]))).ends_with("4 passed, 2 failed, 0 skipped"));
    }

    #[test]
    fn tests_are_named_to_nextest() {
        let listed = |name: &str| Listed {
            binary: Some("a::it".to_owned()),
            name: name.to_owned(),
            reason: "needs sshd".to_owned(),
        };
        let text = expression(&[listed("m::one"), listed("two")]);
        assert_eq!(text, "(binary_id(=a::it) & test(=m::one)) + (binary_id(=a::it) & test(=two))");
    }
}
