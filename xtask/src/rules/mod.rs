//! What must hold of the workspace and cannot be said to the compiler.

mod arrows;
mod code;
mod crates;
mod deny_file;
mod documents;
mod licences;
mod sources;

use crate::workspace::Workspace;

pub(crate) use sources::ignored_tests;

/// A rule: its breaches, one line each.
type Rule = fn(&Workspace) -> Vec<String>;

/// Every rule, by name.
pub(crate) const ALL: [(&str, Rule); 5] = [
    ("rules: our crates", arrows::breaches),
    ("rules: others' crates", crates::breaches),
    ("rules: sources", sources::breaches),
    ("rules: documents", documents::breaches),
    ("licences", licences::breaches),
];
