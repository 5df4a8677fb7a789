//! What the program says to arguments that it cannot follow.

use crate::person::{Answer, Person};

#[test]
fn help_and_version_are_no_failures() {
    let person = Person::new();
    for args in [&["--help"][..], &["--version"], &["backup", "--help"], &["help", "device", "add"]] {
        let answer = person.run(args).good();
        assert!(answer.out.contains("devicevault") && answer.err.is_empty(), "{answer:?}");
    }
    assert!(person.run(&["--help"]).out.contains("Exit codes:"));
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_two() {
    let person = Person::new();
    for args in [
        &["frobnicate"][..],
        &[],
        &["backup"],
        &["backup", "--host", "192.0.2.1"],
        &["backup", "--host", "192.0.2.1", "--to", "x", "--platform", "cisco_ios", "r1"],
        &["backup", "--all", "--timeout", "soon"],
        &["backup", "--all", "--sessions", "0"],
        &["--config", ".", "system", "config"],
        &["device", "add", "r1", "--host", "h", "--platform", "cisco_ios", "--port", "0"],
        &[
            "device",
            "add",
            "r1",
            "--host",
            "h",
            "--platform",
            "cisco_ios",
            "--password-env",
            "A",
            "--password-file",
            "B",
        ],
        &["show", "r1", "--view", "secret"],
        &["backup", "--all", "--password", "hunter2"],
    ] {
        person.run(args).ended(2);
    }
}

#[test]
fn without_a_home_every_command_says_what_to_do() {
    let person = Person::new();
    for args in [
        &["device", "list"][..],
        &["backup", "--all"],
        &["run", "list"],
        &["history"],
        &["show", "r1"],
        &["diff", "r1"],
        &["download", "r1", "--to", "x"],
        &["verify"],
    ] {
        let answer = person.run(args).ended(2);
        assert!(answer.err.contains("hint: set one up with `devicevault init`"), "{args:?}: {answer:?}");
        assert!(answer.out.is_empty());
    }
    insta::assert_snapshot!(person.told(&person.run(&["device", "list"])), @r"
    exit code 2
    error: open home: there is no DeviceVault home in this folder (folder: [folder]/home)
    hint: set one up with `devicevault init`, or name another by --home DIR or DEVICEVAULT_HOME
    ");
}

#[test]
fn errors_are_objects_for_programs() {
    let person = Person::new();
    let error = person.run(&["--json", "device", "list"]).ended(2).json_error();
    assert_eq!(error["error"]["kind"], "config");
    assert_eq!(error["error"]["operation"], "open home");
    let error = person.run(&["device", "frobnicate", "--json"]).ended(2).json_error();
    assert_eq!(error["error"]["kind"], "config");
    assert!(error["error"]["message"].as_str().unwrap().contains("frobnicate"), "{error}");
}

#[test]
fn platforms_are_listed_and_found_by_their_aliases() {
    let person = Person::new();
    let all = person.run(&["platform", "list", "--json"]).good().json();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    for name in ["cisco_ios", "frr", "juniper_junos", "linux", "mikrotik_routeros"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let shown = person.run(&["platform", "show", "ios", "--json"]).good().json();
    assert_eq!(shown["name"], "cisco_ios");
    assert_eq!(shown["artefacts"][0]["name"], "running-config");
    let file = person.run(&["platform", "show", "cisco_ios", "--file"]).good().out;
    let own = person.write("own.toml", &file.replace("cisco_ios", "own_ios"));
    person.run(&["platform", "check", own.to_str().unwrap()]).good();
    let broken = person.write("broken.toml", "name = \"x\"\ncolour = \"blue\"\n");
    let answer = person.run(&["platform", "check", broken.to_str().unwrap()]).ended(2);
    assert!(answer.err.contains("broken.toml") && answer.err.contains("colour"), "{answer:?}");
    person.run(&["platform", "show", "nonesuch"]).ended(2);
}

#[test]
fn a_variable_that_sets_nothing_is_told_and_stops_nothing() {
    let person = Person::new();
    person.run(&["init"]).good();
    let mut program = person.program(&["device", "list"]);
    program.env("DEVICEVAULT_BACKUP_SESIONS", "3");
    let told = Answer::of(program).good().err;
    assert!(told.contains("DEVICEVAULT_BACKUP_SESIONS sets nothing: is DEVICEVAULT_BACKUP_SESSIONS meant?"), "{told}");
}
