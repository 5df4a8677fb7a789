//! The workspace and everything it depends on, as `cargo metadata` tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::command;

/// A package, ours or not.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression.
    pub(crate) licence: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) member: bool,
    /// Features that are on unless switched off.
    pub(crate) default_features: Vec<String>,
    /// What it declares, without versions: what others are built of only in tests is apart.
    pub(crate) needs: BTreeSet<String>,
    pub(crate) needs_in_tests: BTreeSet<String>,
}

impl Package {
    /// Name and version.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// Every package that a build with all features uses, on whatever system.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// Asks cargo, and insists on a lock file that is up to date.
    ///
    /// # Errors
    /// What cargo says, or its answer is not understood.
    pub(crate) fn load() -> Result<Self, String> {
        let args = ["metadata", "--format-version", "1", "--all-features", "--locked"];
        let text = command::output_of(command::cargo(&args))?;
        let answer: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
        let mut all = Self::read(&answer)
            .ok_or_else(|| "cargo metadata: its answer has another form than expected".to_owned())?;
        let built = built()?;
        all.packages.retain(|p| built.contains(&p.title()));
        Ok(all)
    }

    fn read(answer: &Value) -> Option<Self> {
        let used: BTreeMap<&str, ()> =
            answer["resolve"]["nodes"].as_array()?.iter().filter_map(|n| Some((n["id"].as_str()?, ()))).collect();
        let members: BTreeSet<&str> =
            answer["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let mut packages = Vec::new();
        for p in answer["packages"].as_array()? {
            let id = p["id"].as_str()?;
            if used.contains_key(id) {
                packages.push(package(p, members.contains(id))?);
            }
        }
        Some(Self { root: answer["workspace_root"].as_str()?.into(), packages })
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| p.member)
    }

    /// Every Rust source of ours, by path below the root.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders: Vec<PathBuf> = self.members().map(|p| p.folder.clone()).collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && entry.file_name() != "target" {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    found.push(path.strip_prefix(&self.root).map(PathBuf::from).unwrap_or(path));
                }
            }
        }
        found.sort();
        found
    }
}

/// What a build takes, on whatever system. The resolution in the metadata is that of the lock file, which also holds what
/// a weak feature (`name?/feature`) of a stranger would switch on if something else used the crate.
fn built() -> Result<BTreeSet<String>, String> {
    let args = ["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"];
    let mut tree = command::cargo(&args);
    tree.args(["--format", "{p}", "--target", "all", "--all-features", "--locked"]);
    Ok(titles(&command::output_of(tree)?))
}

/// Of lines such as `name v1.2.3 (proc-macro)`, names and versions.
fn titles(tree: &str) -> BTreeSet<String> {
    let title = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some(format!("{name} {}", rest.split(' ').next()?))
    };
    tree.lines().filter_map(title).collect()
}

fn package(p: &Value, member: bool) -> Option<Package> {
    let mut needs = BTreeSet::new();
    let mut needs_in_tests = BTreeSet::new();
    for d in p["dependencies"].as_array()? {
        let name = d["name"].as_str()?.to_owned();
        if d["kind"] == "dev" {
            needs_in_tests.insert(name)
        } else {
            needs.insert(name)
        };
    }
    let default_features = p["features"]["default"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Some(Package {
        name: p["name"].as_str()?.to_owned(),
        version: p["version"].as_str()?.to_owned(),
        licence: p["license"].as_str().map(str::to_owned),
        folder: PathBuf::from(p["manifest_path"].as_str()?).parent()?.to_owned(),
        member,
        default_features: default_features.map(str::to_owned).collect(),
        needs,
        needs_in_tests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_tells_names_and_versions() {
        let found = titles("serde v1.0.2\nserde_derive v1.0.2 (proc-macro) (*)\n\nours v0.1.0 (/some/where)\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ours 0.1.0", "serde 1.0.2", "serde_derive 1.0.2"]);
    }
}
