//! What may stand in which source file.

use std::path::Path;

use super::code::{lines_with, without_comments_and_strings, without_tests};
use crate::peers;
use crate::workspace::Workspace;

/// More lines than this need a reason below.
const LONG: usize = 600;
/// Files that are longer all the same, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// What only programs do, with what a library does instead.
const FOR_PROGRAMS: [(&str, &str); 6] = [
    ("println!", "use tracing, or return it"),
    ("eprintln!", "use tracing, or return it"),
    ("print!", "use tracing, or return it"),
    ("eprint!", "use tracing, or return it"),
    ("process::exit", "return an error"),
    ("std::env", "take it as an argument"),
];
/// Folders of programs.
const PROGRAMS: [&str; 4] = ["devicevault-cli/", "xtask/", "examples/", "benches/"];

/// Where russh is named.
const RUSSH: [&str; 2] = ["devicevault-ssh/", "devicevault-testkit/src/sim"];

pub(super) fn breaches(workspace: &Workspace) -> Vec<String> {
    let mut out = Vec::new();
    for path in workspace.sources() {
        match std::fs::read_to_string(workspace.root.join(&path)) {
            Ok(text) => out.extend(of_file(&path, &text)),
            Err(e) => out.push(format!("{}: {e}", path.display())),
        }
    }
    out
}

fn of_file(path: &Path, text: &str) -> Vec<String> {
    let name = path.to_string_lossy().replace('\\', "/");
    let mut out = Vec::new();
    let lines = text.lines().count();
    if lines > LONG && !LONG_FILES.iter().any(|(file, _)| *file == name) {
        out.push(format!("{name} has {lines} lines: cut it, or say in xtask/src/rules/sources.rs why it is long"));
    }
    let code = without_comments_and_strings(text);
    if !is_program(&name) {
        let code = without_tests(&code);
        for (word, instead) in FOR_PROGRAMS {
            out.extend(lines_with(&code, word).iter().map(|n| format!("{name}:{n}: {word} in a library: {instead}")));
        }
    }
    if !RUSSH.iter().any(|folder| name.starts_with(folder)) {
        let found = lines_with(&code, "russh");
        out.extend(found.iter().map(|n| format!("{name}:{n}: russh is named in devicevault-ssh alone")));
    }
    for test in ignored_tests(text) {
        let (line, reason) = (test.line, &test.reason);
        if !peers::is_reason(reason) {
            let forms = "needs …, builds …, is started by …, writes …";
            out.push(format!("{name}:{line}: an ignored test says why, in one of these forms: {forms}"));
        }
        for word in peers::unknown(reason) {
            out.push(format!("{name}:{line}: needs {word}, which xtask/src/peers.rs does not know"));
        }
    }
    out
}

/// Whether a file belongs to a program or to tests.
fn is_program(name: &str) -> bool {
    PROGRAMS.iter().any(|folder| name.starts_with(folder))
        || ["/tests/", "/examples/", "/benches/", "/src/bin/"].iter().any(|folder| name.contains(folder))
        || name.ends_with("/build.rs")
}

/// A test that is not run unless asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(crate) line: usize,
    /// Empty where none is given.
    pub(crate) reason: String,
}

/// The tests of a file that are ignored, each attribute on a line of its own as rustfmt writes it; one line may stand for
/// several tests of a macro.
pub(crate) fn ignored_tests(text: &str) -> Vec<Ignored> {
    let attribute = |(n, line): (usize, &str)| {
        let rest = line.trim().strip_prefix("#[ignore")?;
        let reason = rest.trim_start().strip_prefix('=').and_then(|r| r.trim().strip_prefix('"'));
        let reason = reason.and_then(|r| r.strip_suffix("\"]")).unwrap_or_default();
        Some(Ignored { line: n + 1, reason: reason.to_owned() })
    };
    text.lines().enumerate().filter_map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_do_not_print() {
        let text = "fn a() { println!(\"x\"); }\n#[cfg(test)]\nmod tests { fn b() { println!(); } }\n";
        assert_eq!(of_file(Path::new("devicevault-core/src/a.rs"), text).len(), 1);
        assert!(of_file(Path::new("devicevault-cli/src/a.rs"), text).is_empty());
        assert!(of_file(Path::new("devicevault-core/tests/it/a.rs"), text).is_empty());
    }

    #[test]
    fn russh_is_named_in_one_crate() {
        let text = "use russh::client;\n";
        assert_eq!(of_file(Path::new("devicevault-collectors/src/a.rs"), text).len(), 1);
        assert!(of_file(Path::new("devicevault-ssh/src/a.rs"), text).is_empty());
        assert!(of_file(Path::new("devicevault-testkit/src/sim/a.rs"), text).is_empty());
    }

    #[test]
    fn long_files_need_a_reason() {
        let text = "\n".repeat(LONG + 1);
        assert_eq!(of_file(Path::new("devicevault-core/src/a.rs"), &text).len(), 1);
        assert!(of_file(Path::new("devicevault-core/src/a.rs"), &text[1..]).is_empty());
    }

    #[test]
    fn ignored_tests_are_found_with_their_reason() {
        let text =
            "#[test]\n#[ignore = \"needs sshd and frr\"]\nfn a() {}\n\n#[tokio::test]\n#[ignore]\nasync fn b() {}\n";
        let found = ignored_tests(text);
        let found: Vec<_> = found.iter().map(|t| (t.line, t.reason.as_str())).collect();
        assert_eq!(found, [(2, "needs sshd and frr"), (6, "")]);
    }
}
