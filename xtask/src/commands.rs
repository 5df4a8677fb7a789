//! `docs/cli.md`: every command, as the program itself tells of it. A test of `devicevault-cli` sees that it is current.

use crate::command;

/// The document, below the root.
pub(crate) const PAGE: &str = "docs/cli.md";

/// The page as the program has it, which is built for that.
pub(crate) fn page() -> Result<String, String> {
    let program = ["run", "--quiet", "--package", "devicevault-cli", "--bin", "devicevault", "--"];
    command::output_of(command::cargo(&[&program[..], &["system", "reference"]].concat()))
}
