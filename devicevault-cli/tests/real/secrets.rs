//! Where passwords and the secrets of a configuration are found afterwards, and where not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::devicevault::{PASSWORD, Person};
use crate::frr::{Router, SECRETS};
use crate::process::{program, run};
use crate::sshd::Sshd;
use crate::user::User;

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Whether these bytes stand in the file.
fn holds(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
#[ignore = "needs sshd, frr, git and root"]
fn secrets_are_in_the_originals_and_nowhere_else() {
    let (router, user, person) = (Router::start(), User::add(), Person::new());
    let sshd = Sshd::start(&router.shell_of(&user.name));
    let (home, log, port) = (person.path("home"), person.path("log"), sshd.port.to_string());
    let (at, log_file) = (home.to_str().expect("UTF-8"), log.to_str().expect("UTF-8"));
    let with = |password: &str, args: &[&str]| {
        person.run(password, &[&["--home", at, "-vvv", "--log-file", log_file], args].concat())
    };
    with("", &["init"]).good();
    let address = ["--host", "127.0.0.1", "--port", &port, "--platform", "frr"];
    let login = ["--user", &user.name, "--password-env", PASSWORD];
    with("", &[&["device", "add", "edge1"], &address[..], &login].concat()).good();

    let wrong = "quite another password";
    assert_eq!(with(wrong, &["backup", "edge1"]).code, 1);
    with(&user.password, &["backup", "edge1", "--json"]).good();
    router.configure(&["router bgp 64512", "neighbor 192.0.2.2 description peering"]);
    with(&user.password, &["backup", "edge1"]).good();
    with("", &["run", "show", "latest", "--json"]).good();
    with("", &["diff", "edge1"]).good();

    assert!(std::fs::metadata(&log).is_ok_and(|m| m.len() > 0), "there is no log");
    let files = files(person.path("").as_path());
    for password in [&user.password, wrong] {
        let found: Vec<_> = files.iter().filter(|file| holds(file, password)).collect();
        assert!(found.is_empty(), "a login password stands in {found:?}");
    }
    for secret in SECRETS {
        let original =
            |file: &PathBuf| file.starts_with(home.join("store")) && file.extension() != Some("json".as_ref());
        let found: Vec<_> = files.iter().filter(|file| !original(file) && holds(file, secret)).collect();
        assert!(found.is_empty(), "a secret of the router stands in {found:?}");
        // What the originals are is compressed; the program opens them.
        let shown = with("", &["show", "edge1", "--view", "original"]).good();
        assert!(shown.out.contains(secret), "the original lacks a secret: {}", shown.out);
        assert!(!with("", &["show", "edge1"]).good().out.contains(secret));
    }
    let history = run(Command::new(program("git")).args(["--git-dir", &format!("{at}/git"), "log", "-p", "--all"]));
    assert!(history.contains("<secret:"), "{history}");
    assert!(SECRETS.iter().all(|secret| !history.contains(secret)), "{history}");
}
