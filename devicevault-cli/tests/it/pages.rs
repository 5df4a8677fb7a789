//! What the program tells of itself: completions, manual pages, the reference.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::person::Person;

#[test]
fn the_reference_in_the_documents_is_current() {
    let told = Person::new().run(&["system", "reference"]).good().out;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    assert!(std::fs::read_to_string(page).unwrap() == told, "run `cargo xtask docs`");
}

#[test]
fn the_tests_of_faults_that_a_page_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut tests = 0;
    for row in page.lines().filter(|l| l.starts_with("| ") && l.contains(".rs`")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [.., names, files] = cells.as_slice() else { panic!("{row}") };
        let texts = quoted(files).iter().map(|f| std::fs::read_to_string(root.join(f)).unwrap()).collect::<String>();
        for name in quoted(names) {
            let there = [format!("fn {name}("), format!("    {name}: ")];
            assert!(there.iter().any(|t| texts.contains(t)), "{name} is not in {files}");
            tests += 1;
        }
    }
    assert!(tests > 30, "{tests}");
}

#[test]
fn completions_know_commands_and_options_and_their_shell_takes_them() {
    let person = Person::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = person.run(&["system", "completions", shell]).good().out;
        for word in ["rotate", "side-by-side", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = person.run(&["system", "completions", "bash"]).good().out;
    let path = person.write("completions.bash", &script);
    let asked = "source \"$0\"; COMP_WORDS=(devicevault key rot); COMP_CWORD=2; \
                 _devicevault devicevault rot key; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").args(["--norc", "-c", asked]).arg(path).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "rotate", "{bash:?}");
    person.run(&["system", "completions", "cmd"]).ended(2);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let person = Person::new();
    let answer = person.run(&["system", "man", "--to", "man/man1", "--json"]).good().json();
    let pages: Vec<_> = answer["pages"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
    for page in ["devicevault.1", "devicevault-backup.1", "devicevault-key-rotate.1", "devicevault-system-man.1"] {
        assert!(pages.contains(&page.to_owned()), "{page} in {pages:?}");
        let text = std::fs::read_to_string(person.path("man/man1").join(page)).unwrap();
        let example = if page == "devicevault.1" { "First steps:" } else { "Examples:" };
        assert!(text.contains(".TH ") && text.contains(example), "{text}");
    }
    // Again, over those that are there; and where no folder can be.
    person.run(&["system", "man", "--to", "man/man1"]).good();
    person.write("file", "");
    person.run(&["system", "man", "--to", "file/man1"]).ended(1);
}
