//! The tests that are ignored by name, and which of them can be run here.

use crate::peers;
use crate::rules::ignored_tests;
use crate::workspace::Workspace;

/// An ignored test as its program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Which test program, in nextest's terms, where the listing knows it.
    pub(crate) binary: Option<String>,
    /// With its modules.
    pub(crate) name: String,
    /// Why it is ignored; empty where no reason is given.
    pub(crate) reason: String,
}

/// All reasons that stand in the sources, for who cannot wait for the programs to be built.
pub(crate) fn reasons(workspace: &Workspace) -> Vec<String> {
    let texts = workspace.sources().into_iter().filter_map(|p| std::fs::read_to_string(workspace.root.join(p)).ok());
    texts.flat_map(|text| ignored_tests(&text)).map(|test| test.reason).collect()
}

/// Reads the lines `test NAME ... ignored, REASON` that a test program prints which was not asked for its ignored
/// tests. The program knows the reasons of tests that a macro wrote, too, which no look at the sources tells.
pub(crate) fn read<'a>(binary: Option<&'a str>, printed: &'a str) -> impl Iterator<Item = Listed> + 'a {
    printed.lines().filter_map(move |line| {
        let (name, why) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
        let reason = why.strip_prefix(", ").unwrap_or_default().to_owned();
        Some(Listed { binary: binary.map(str::to_owned), name: name.to_owned(), reason })
    })
}

/// Parts what can be run from what cannot; of the latter, a line each that says why.
pub(crate) fn part(listed: Vec<Listed>, missing: impl Fn(&str) -> Option<String>) -> (Vec<Listed>, Vec<String>) {
    let mut run = Vec::new();
    let mut skipped = Vec::new();
    for test in listed {
        match missing(&test.reason) {
            Some(what) => skipped.push(format!("ignored: {} needs {what}", test.name)),
            None if peers::is_test(&test.reason) => run.push(test),
            None => {}
        }
    }
    (run, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_without_its_server_is_listed_with_the_reason() {
        let printed = "\nrunning 5 tests\ntest m::one ... ignored, needs frr\ntest m::two ... ignored, needs sshd\n\
            test three ... ignored, is started by one\ntest four ... ok\ntest five ... ignored\n\n\
            test result: ok. 1 passed; 0 failed; 4 ignored\n";
        let listed: Vec<_> = read(Some("a::it"), printed).collect();
        let found: Vec<_> = listed.iter().map(|t| (t.name.as_str(), t.reason.as_str())).collect();
        let all = [("m::one", "needs frr"), ("m::two", "needs sshd"), ("three", "is started by one"), ("five", "")];
        assert_eq!(found, all);
        let missing = |reason: &str| (reason == "needs frr").then(|| "vtysh, which is not installed".to_owned());
        let (run, skipped) = part(listed, missing);
        assert_eq!(run.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["m::two", "five"]);
        assert_eq!(skipped, ["ignored: m::one needs vtysh, which is not installed"]);
    }
}
