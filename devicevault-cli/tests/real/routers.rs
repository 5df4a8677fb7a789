//! A router backed up, changed, and backed up again.

use std::process::Command;

use crate::devicevault::{PASSWORD, Person};
use crate::frr::Router;
use crate::process::{program, run};
use crate::sshd::Sshd;
use crate::user::User;

/// What the configuration of a neighbour looks like before and after.
const BEFORE: &str = " neighbor 192.0.2.2 description transit";
const AFTER: &str = " neighbor 192.0.2.2 description peering";
const CHANGE: [&str; 2] = ["router bgp 64512", "neighbor 192.0.2.2 description peering"];

/// The lines that a unified difference takes away and adds.
fn changed(diff: &str) -> Vec<&str> {
    let is_header = |line: &&str| line.starts_with("+++") || line.starts_with("---");
    diff.lines().filter(|line| line.starts_with(['+', '-'])).filter(|line| !is_header(line)).collect()
}

#[test]
#[ignore = "needs sshd, frr and root"]
fn a_folder_holds_what_the_router_prints() {
    let (router, user, person) = (Router::start(), User::add(), Person::new());
    let sshd = Sshd::start(&router.shell_of(&user.name));
    let back_up = || person.back_up(sshd.port, "frr", &user.name, &user.password, &[]).good();
    let config = || router.show("show running-config").lines().map(str::to_owned).collect::<Vec<_>>();

    let first = back_up();
    assert_eq!(first.artefact("running-config")["status"], "stored", "{}", first.out);
    let stored = first.stored("running-config", &person.folder());
    assert_eq!(stored.lines().collect::<Vec<_>>(), config());

    let again = back_up();
    assert_eq!(again.artefact("running-config")["status"], "unchanged", "{}", again.out);

    router.configure(&CHANGE);
    let second = back_up();
    assert_eq!(second.artefact("running-config")["status"], "stored", "{}", second.out);
    let stored = second.stored("running-config", &person.folder());
    assert_eq!(stored.lines().collect::<Vec<_>>(), config());

    let folder = person.folder();
    let diff = person.run("", &["diff", "--from", folder.to_str().expect("UTF-8")]).good();
    assert_eq!(changed(&diff.out), [format!("-{BEFORE}"), format!("+{AFTER}")], "{}", diff.out);
}

#[test]
#[ignore = "needs sshd, frr, git and root"]
fn git_shows_what_changed_and_nothing_else() {
    let (router, user, person) = (Router::start(), User::add(), Person::new());
    let sshd = Sshd::start(&router.shell_of(&user.name));
    let (home, port) = (person.path("home"), sshd.port.to_string());
    let home = home.to_str().expect("UTF-8");
    let devicevault = |args: &[&str]| person.run(&user.password, &[&["--home", home], args].concat()).good();

    devicevault(&["init"]);
    devicevault(&[
        "device",
        "add",
        "edge1",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--platform",
        "frr",
        "--user",
        &user.name,
        "--password-env",
        PASSWORD,
    ]);
    let repository = format!("{home}/git");
    let git = |args: &[&str]| run(Command::new(program("git")).args(["--git-dir", &repository]).args(args));
    let commits = || git(&["rev-list", "--count", "HEAD"]).trim().parse::<u32>().expect("a number");
    devicevault(&["backup", "--all"]);
    let first = commits();
    devicevault(&["backup", "--all"]);
    assert_eq!(commits(), first, "a run without a change made a commit");
    router.configure(&CHANGE);
    devicevault(&["backup", "edge1"]);
    assert_eq!(commits(), first + 1);

    let wanted = [format!("-{BEFORE}"), format!("+{AFTER}")];
    let diff = devicevault(&["diff", "edge1"]);
    assert_eq!(changed(&diff.out), wanted, "{}", diff.out);

    let log = git(&["log", "-p", "--max-count=1", "--format=%s"]);
    assert_eq!(changed(&log), wanted, "{log}");
    assert!(log.lines().next().is_some_and(|subject| subject.contains("edge1")), "{log}");
    devicevault(&["verify"]);
}
