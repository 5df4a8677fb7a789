//! Which of our crates may use which, and how their manifests look.

use crate::workspace::{Package, Workspace};

/// Crate, and what of ours it may be built of.
const ARROWS: [(&str, &[&str]); 7] = [
    ("devicevault-core", &[]),
    ("devicevault-ssh", &[]),
    ("devicevault-collectors", &["devicevault-core", "devicevault-ssh"]),
    ("devicevault-storage", &["devicevault-core", "devicevault-ssh"]),
    ("devicevault-testkit", &["devicevault-core"]),
    ("devicevault-server", &["devicevault-core", "devicevault-collectors", "devicevault-storage"]),
    ("xtask", &[]),
];
/// Programs at the end of every arrow.
const MAY_USE_ALL: [&str; 3] = ["devicevault-cli", "devicevault-examples", "devicevault-benches"];
/// What the tests of every crate may use beside.
const IN_TESTS: [&str; 2] = ["devicevault-core", "devicevault-testkit"];

pub(super) fn breaches(workspace: &Workspace) -> Vec<String> {
    let ours: Vec<&str> = workspace.members().map(|p| p.name.as_str()).collect();
    workspace.members().flat_map(|p| of_package(p, &ours).into_iter().chain(of_manifest(p))).collect()
}

fn of_package(p: &Package, ours: &[&str]) -> Vec<String> {
    let name = p.name.as_str();
    let mut out = Vec::new();
    if !MAY_USE_ALL.contains(&name) {
        let Some((_, may)) = ARROWS.iter().find(|(of, _)| *of == name) else {
            return vec![format!("{name} has no line in xtask/src/rules/arrows.rs: say there what it may use")];
        };
        let is_ours = |d: &&String| ours.contains(&d.as_str());
        for d in p.needs.iter().filter(is_ours).filter(|d| !may.contains(&d.as_str())) {
            out.push(format!("{name} must not depend on {d}"));
        }
        for d in p.needs_in_tests.iter().filter(is_ours) {
            if !may.contains(&d.as_str()) && !IN_TESTS.contains(&d.as_str()) {
                out.push(format!("the tests of {name} must not depend on {d}"));
            }
        }
        if !p.default_features.is_empty() {
            out.push(format!("{name} is a library: its default features must be empty"));
        }
    }
    out
}

fn of_manifest(p: &Package) -> Option<String> {
    let path = p.folder.join("Cargo.toml");
    let inherits =
        std::fs::read_to_string(&path).ok().and_then(|text| text.parse::<toml::Table>().ok()).is_some_and(|t| {
            let lints = t.get("lints").and_then(|l| l.get("workspace"));
            lints.and_then(toml::Value::as_bool) == Some(true)
        });
    (!inherits).then(|| format!("{}: [lints] workspace = true is missing in its Cargo.toml", p.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, needs: &[&str], in_tests: &[&str]) -> Package {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            licence: None,
            folder: std::path::PathBuf::new(),
            member: true,
            default_features: Vec::new(),
            needs: set(needs),
            needs_in_tests: set(in_tests),
        }
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_a_breach() {
        let ours = ["devicevault-core", "devicevault-storage", "devicevault-collectors", "devicevault-testkit"];
        let good = package("devicevault-collectors", &["devicevault-core", "regex"], &["devicevault-testkit"]);
        assert!(of_package(&good, &ours).is_empty());
        let bad = package("devicevault-collectors", &["devicevault-storage"], &["devicevault-storage"]);
        assert_eq!(of_package(&bad, &ours).len(), 2);
        assert_eq!(of_package(&package("devicevault-new", &[], &[]), &ours).len(), 1);
        assert!(of_package(&package("devicevault-cli", &["devicevault-storage"], &[]), &ours).is_empty());
    }
}
