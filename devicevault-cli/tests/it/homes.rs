//! Setting a home up, and the devices in it.

use crate::person::{Person, files_below, mode};

#[test]
fn a_home_is_private_and_made_once() {
    let person = Person::new();
    let answer = person.run(&["init"]).good();
    assert!(answer.out.contains("Next:"), "{answer:?}");
    let home = person.path("home");
    assert_eq!(mode(&home), 0o700);
    for (file, _) in files_below(&home) {
        // What Git makes itself lies within a private folder.
        if !file.starts_with(home.join("git")) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
    for folder in ["store", "git"] {
        assert_eq!(mode(&home.join(folder)), 0o700, "{folder}");
    }
    let key = std::fs::read_to_string(home.join("instance.key")).unwrap();
    assert_eq!(key.trim().len(), 64);
    insta::assert_snapshot!(person.told(&person.run(&["init"])), @r"
    exit code 1
    error: set up home: there is a home in this folder already (folder: [folder]/home)
    hint: name another folder by --home DIR, or use what is there
    ");
    assert_eq!(std::fs::read_to_string(home.join("instance.key")).unwrap(), key);
}

#[test]
fn a_home_that_was_cut_off_half_way_is_finished() {
    let person = Person::new();
    person.run(&["init"]).good();
    std::fs::remove_file(person.path("home/catalog.db")).unwrap();
    let key = std::fs::read(person.path("home/instance.key")).unwrap();
    person.run(&["init"]).good();
    assert_eq!(std::fs::read(person.path("home/instance.key")).unwrap(), key);
    person.run(&["device", "list"]).good();
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let person = Person::new();
    std::fs::create_dir(person.path("home")).unwrap();
    person.write("home/thesis.txt", "precious");
    let answer = person.run(&["init"]).ended(1);
    assert!(answer.err.contains("thesis.txt"), "{answer:?}");
    assert_eq!(files_below(&person.path("home")).len(), 1);
}

#[test]
fn the_home_is_found_by_option_then_environment_then_default() {
    let person = Person::new();
    person.run(&["init", "--home", "elsewhere"]).good();
    assert!(person.path("elsewhere/catalog.db").exists() && !person.path("home").exists());
    let mut program = person.program(&["init"]);
    program.env_remove("DEVICEVAULT_HOME").env("XDG_DATA_HOME", person.path("data"));
    assert!(program.output().unwrap().status.success());
    assert!(person.path("data/devicevault/catalog.db").exists());
    let mut program = person.program(&["init"]);
    program.env_remove("DEVICEVAULT_HOME");
    assert!(program.output().unwrap().status.success());
    assert!(person.path(".local/share/devicevault/catalog.db").exists());
}

#[test]
fn a_device_is_added_changed_and_removed() {
    let person = Person::new();
    person.run(&["init"]).good();
    let add = ["device", "add", "core-rtr1", "--host", "192.0.2.1", "--platform", "ios", "--user", "backup"];
    person
        .run(&[&add[..], &["--password-env", "PW", "--site", "zurich", "--tag", "core", "--tag", "lab"]].concat())
        .good();
    let again = person.run(&add).ended(1);
    assert!(again.err.contains("already"), "{again:?}");

    let shown = person.run(&["device", "show", "core-rtr1", "--json"]).good().json();
    assert_eq!(shown["device"]["login"]["password"]["env"], "PW");
    let id = shown["device"]["id"].clone();

    let edit =
        ["device", "edit", "core-rtr1", "--rename", "core1", "--clear", "tags", "--tag", "edge", "--enabled", "no"];
    person.run(&edit).good();
    let all = person.run(&["device", "list", "--json"]).good().json();
    assert_eq!(all[0]["name"], "core1");
    assert_eq!(all[0]["id"], id, "the identity outlives the name");
    assert_eq!(all[0]["tags"], serde_json::json!(["edge"]));
    assert_eq!(all[0]["enabled"], false);
    assert_eq!(person.run(&["device", "list", "--tag", "core", "--json"]).good().json(), serde_json::json!([]));

    let slip = person.run(&["device", "show", "cor1"]).ended(1);
    assert!(slip.err.contains("did you mean core1?"), "{slip:?}");
    person.run(&["device", "remove", "core1", "nonesuch"]).ended(1);
    assert_eq!(person.run(&["device", "list", "--json"]).json().as_array().unwrap().len(), 1, "all or none");
    person.run(&["device", "remove", "core1"]).good();
    assert_eq!(person.run(&["device", "list", "--json"]).good().json(), serde_json::json!([]));
}

#[test]
fn what_cannot_be_a_device_is_refused() {
    let person = Person::new();
    person.run(&["init"]).good();
    let add = |name: &str, more: &[&str]| {
        let add = ["device", "add", "--platform", "cisco_ios", "--host", "192.0.2.1"];
        person.run(&[&add[..], more, &["--", name]].concat()).ended(2)
    };
    for name in ["../../etc/x", "..", "a/b", "a\\b", " x", "-rf", "\u{1b}[2J"] {
        add(name, &[]);
    }
    for more in [
        &["--site", " "][..],
        &["--tag", "a\u{7}b"],
        &["--collector", "nonesuch"],
        &["--ssh-profile", "quick"],
        &["--host-key", "whatever"],
        &["--host-key", "SHA256:short"],
        &["--option", "ssh.hostkey=strict"],
        &["--password-env", "A=hunter2"],
    ] {
        let answer = add("r1", more);
        assert!(!answer.err.contains("hunter2"), "{answer:?}");
    }
    insta::assert_snapshot!(person.told(&add("../../etc/x", &[])), @r"
    exit code 2
    error: check device name: the name holds a path separator (name: ../../etc/x)
    hint: use letters, digits, dots, hyphens and underscores
    ");
    let option = ["device", "add", "r1", "--host=-oProxyCommand=x", "--platform", "cisco_ios"];
    assert!(person.run(&option).ended(2).err.contains("begins with a hyphen"));
    let unknown = person.run(&["device", "add", "r1", "--host", "h", "--platform", "cisco_iso"]).ended(2);
    assert!(unknown.err.contains("cisco_iso") && unknown.err.contains("hint:"), "{unknown:?}");
    assert_eq!(person.run(&["device", "list", "--json"]).good().json(), serde_json::json!([]));
}

#[test]
fn names_of_devices_steer_no_terminal() {
    let person = Person::new();
    person.run(&["init"]).good();
    person.run(&["device", "add", "rtr\u{202e}1", "--host", "192.0.2.1", "--platform", "cisco_ios"]).good();
    let listed = person.run(&["device", "list"]).good();
    assert!(listed.out.contains("rtr\\u{202e}1"), "{listed:?}");
}
