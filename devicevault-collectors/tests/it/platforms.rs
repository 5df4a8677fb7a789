//! Platform files: those built in, a user's, and wrong ones.

use std::collections::BTreeSet;
use std::path::Path;

use devicevault_collectors::{
    Platform, PlatformOutline, PlatformSet, PlatformSource, platform_reference, platform_schema,
};
use devicevault_core::ErrorKind;

const SMALL: &str = r#"
name = "acme"
title = "Acme OS"
aliases = ["acme_os"]

[session]
prompt = '^[\w-]+[>#]$'

[[artefacts]]
name = "running-config"
commands = ["show config"]
"#;

#[test]
fn every_file_of_the_folder_is_a_platform_under_its_own_name() {
    let set = PlatformSet::built_in();
    let mut names = BTreeSet::new();
    for platform in set.list() {
        let platform = platform.unwrap();
        assert_eq!(*platform.source(), PlatformSource::BuiltIn);
        assert!(platform.artefacts().any(|a| a.mandatory), "{}: nothing is mandatory", platform.name());
        for alias in platform.aliases() {
            assert_eq!(set.get(alias).unwrap().name(), platform.name(), "alias {alias}");
        }
        names.insert(platform.name().to_owned());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("platforms");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let files: BTreeSet<_> = files.map(|f| f.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, files);
}

#[test]
fn a_list_shows_what_the_platforms_say() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), SMALL).unwrap();
    let set = || PlatformSet::built_in().with_folder(folder.path()).unwrap();
    let outlines: Vec<_> = set().outlines().collect();
    let compiled: Vec<_> = set().list().map(|p| PlatformOutline::from(&*p.unwrap())).collect();
    assert_eq!(outlines, compiled);
    assert!(outlines.iter().any(|p| p.name == "acme" && !p.built_in));
}

#[test]
fn a_name_that_is_nearly_right_is_answered_by_the_right_one() {
    let e = PlatformSet::built_in().get("cisco-ios").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.hint_text().unwrap().contains("cisco_ios"), "{e:?}");
    assert_eq!(PlatformSet::built_in().get("IOS").unwrap().name(), "cisco_ios");
}

#[test]
fn a_users_file_goes_before_and_keeps_the_aliases() {
    let folder = tempfile::tempdir().unwrap();
    let own = SMALL.replace("\"acme\"", "\"cisco_ios\"").replace("acme_os", "junos");
    std::fs::write(folder.path().join("mine.toml"), own).unwrap();
    std::fs::write(folder.path().join("acme.toml"), SMALL).unwrap();
    std::fs::write(folder.path().join("README"), "not a platform").unwrap();
    let set = PlatformSet::built_in().with_folder(folder.path()).unwrap();
    assert_eq!(set.get("cisco_ios").unwrap().title(), "Acme OS");
    assert_eq!(set.get("ios").unwrap().title(), "Acme OS");
    assert_eq!(set.get("junos").unwrap().title(), "Acme OS");
    assert_eq!(set.get("juniper_junos").unwrap().title(), "Juniper Junos");
    assert_eq!(set.list().filter(|p| p.as_ref().unwrap().name() == "cisco_ios").count(), 1);
    assert!(matches!(set.get("acme_os").unwrap().source(), PlatformSource::File(_)));
}

#[test]
fn two_files_of_one_name_are_refused_and_a_missing_folder_too() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a.toml", "b.toml"] {
        std::fs::write(folder.path().join(file), SMALL).unwrap();
    }
    let e = PlatformSet::built_in().with_folder(folder.path()).unwrap_err().to_string();
    assert!(e.contains("a.toml") && e.contains("b.toml") && e.contains("acme"), "{e}");
    assert!(PlatformSet::built_in().with_folder(&folder.path().join("none")).is_err());
}

#[test]
fn what_is_wrong_is_told_with_key_line_and_column() {
    for (from, to, told) in [
        ("prompt = '^[\\w-]+[>#]$'", "prompt = '('", &["session.prompt", "line: 7", "column: 10", "unclosed"][..]),
        ("title =", "titel =", &["titel", "line: 3"]),
        ("commands =", "comands =", &["artefacts.comands", "line: 11"]),
        (
            "commands = [\"show config\"]",
            "commands = []",
            &["artefacts.commands", "running-config", "line: 11, column: 12"],
        ),
        ("show config", "show\\nreload", &["artefacts.commands", "one line", "line: 11, column: 13"]),
        ("\"running-config\"", "\"../../etc\"", &["artefacts.name", "line: 10, column: 8"]),
        ("\"acme\"", "\"Acme OS\"", &["name", "line: 2, column: 8"]),
        ("\"acme_os\"", "\"acme_os\", \"Acme\"", &["aliases", "line: 4, column: 23"]),
        (
            "[[artefacts]]",
            "[[volatile]]\nline = '^(a)'\nreplace = 'x$2'\n[[artefacts]]",
            &["volatile.replace", "line: 11, column: 11", "group: 2"],
        ),
        ("[session]\nprompt = '^[\\w-]+[>#]$'", "", &["session"]),
        ("[session]", "[ssh]\nprofile = \"weak\"\n[session]", &["ssh.profile", "weak", "line: 7, column: 11"]),
        ("[session]", "[[login]]\nexpect = 'x'\n[session]", &["login", "line: 6"]),
        ("[[artefacts]]", "[[secrets]]\nline = 'a(?=b)'\n[[artefacts]]", &["secrets.line", "line: 10", "look-around"]),
        ("name = \"acme\"", "name = ", &["line: 2"]),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let e = Platform::parse(&SMALL.replacen(from, to, 1), &PlatformSource::File("acme.toml".into())).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        let text = e.to_string();
        assert!(!text.contains('\n') && text.contains("acme.toml"), "{text}");
        for part in told {
            assert!(text.contains(part), "{to:?}: {part:?} is not in: {text}");
        }
        // Where the line is told, it is shown.
        let line = text.split("line: ").nth(1).map(|l| l.split(',').next().unwrap_or_default().to_owned());
        let shown = format!("{e:?}").contains("Caused by: line ");
        assert_eq!(shown, line.is_some(), "{e:?}");
    }
}

#[test]
fn files_that_are_no_text_or_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, [0xFF, 0xFE, 0]).unwrap();
    assert!(PlatformSet::check_file(&path).is_err());
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    assert!(PlatformSet::check_file(&path).unwrap_err().to_string().contains("1 MiB"));
    assert!(PlatformSet::check_file(&folder.path().join("none.toml")).is_err());
}

#[test]
fn the_reference_and_the_schema_are_those_of_the_types() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap_or_default();
    let schema = serde_json::to_string_pretty(&platform_schema()).unwrap() + "\n";
    assert!(read("platform.schema.json") == schema, "docs/platform.schema.json is old: run `cargo xtask docs`");
    assert!(
        read("platform-format.md") == platform_reference(),
        "docs/platform-format.md is old: run `cargo xtask docs`"
    );
}
