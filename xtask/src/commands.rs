//! The documents that the program itself prints: its commands, and the format of platform files. Tests of
//! `devicevault-cli` and `devicevault-collectors` see that they are current.

use crate::command;

/// The documents, below the root, and the commands that print them.
pub(crate) const PAGES: [(&str, &[&str]); 3] = [
    ("docs/cli.md", &["system", "reference"]),
    ("docs/platform.schema.json", &["platform", "schema"]),
    ("docs/platform-format.md", &["platform", "schema", "--reference"]),
];

/// What the program prints, which is built for that.
pub(crate) fn page(args: &[&str]) -> Result<String, String> {
    let program = ["run", "--quiet", "--package", "devicevault-cli", "--bin", "devicevault", "--"];
    command::output_of(command::cargo(&[&program[..], args].concat()))
}
