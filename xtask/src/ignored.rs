//! The tests that are ignored by name, and which of them can be run here.

use std::collections::BTreeMap;

use crate::peers;
use crate::rules::ignored_tests;
use crate::workspace::Workspace;

/// An ignored test as its source has it.
#[derive(Debug)]
pub(crate) struct Found {
    package: String,
    function: String,
    pub(crate) reason: String,
}

/// An ignored test as the test program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Where the listing knows it.
    pub(crate) package: Option<String>,
    /// Which test program, in nextest's terms.
    pub(crate) binary: Option<String>,
    /// With its modules.
    pub(crate) name: String,
}

/// Finds them in the sources, where their reasons stand.
pub(crate) fn find(workspace: &Workspace) -> Vec<Found> {
    let packages: BTreeMap<_, _> = workspace.members().map(|p| (p.folder.as_path(), p.name.as_str())).collect();
    let mut out = Vec::new();
    for path in workspace.sources() {
        let full = workspace.root.join(&path);
        let package = full.ancestors().find_map(|folder| packages.get(folder)).copied().unwrap_or_default();
        let text = std::fs::read_to_string(&full).unwrap_or_default();
        out.extend(ignored_tests(&path, &text).into_iter().map(|t| Found {
            package: package.to_owned(),
            function: t.function,
            reason: t.reason,
        }));
    }
    out
}

/// Parts what can be run from what cannot; of the latter, a line each that says why.
pub(crate) fn part(
    listed: Vec<Listed>,
    found: &[Found],
    missing: impl Fn(&str) -> Option<String>,
) -> (Vec<Listed>, Vec<String>) {
    let mut run = Vec::new();
    let mut skipped = Vec::new();
    for test in listed {
        let function = test.name.rsplit("::").next().unwrap_or_default();
        let same = |f: &&Found| f.function == function && test.package.as_ref().is_none_or(|p| *p == f.package);
        let reasons: Vec<_> = found.iter().filter(same).map(|f| f.reason.as_str()).collect();
        match reasons.iter().find_map(|reason| missing(reason)) {
            Some(what) => skipped.push(format!("ignored: {} needs {what}", test.name)),
            None if reasons.iter().all(|reason| peers::is_test(reason)) => run.push(test),
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
        let found = |package: &str, function: &str, reason: &str| Found {
            package: package.to_owned(),
            function: function.to_owned(),
            reason: reason.to_owned(),
        };
        let listed = |package: &str, name: &str| Listed {
            package: Some(package.to_owned()),
            binary: None,
            name: name.to_owned(),
        };
        let sources = [
            found("a", "one", "needs frr"),
            found("a", "two", "needs sshd"),
            found("b", "one", "builds"),
            found("b", "two", "is started by one"),
        ];
        let tests = vec![listed("a", "m::one"), listed("a", "two"), listed("b", "m::one"), listed("b", "two")];
        let missing = |reason: &str| (reason == "needs frr").then(|| "vtysh, which is not installed".to_owned());
        let (run, skipped) = part(tests, &sources, missing);
        assert_eq!(run, [listed("a", "two"), listed("b", "m::one")]);
        assert_eq!(skipped, ["ignored: m::one needs vtysh, which is not installed"]);
    }
}
