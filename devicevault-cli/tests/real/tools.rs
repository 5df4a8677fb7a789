//! The tools for platforms on a real router: FRRouting's shell behind OpenSSH.

use crate::devicevault::{PASSWORD, Person};
use crate::frr::{Router, SECRETS};
use crate::sshd::Sshd;
use crate::user::User;

#[test]
#[ignore = "needs sshd, frr and root"]
fn a_router_is_recognised_recorded_drafted_and_backed_up() {
    let (router, user, person) = (Router::start(), User::add(), Person::new());
    let sshd = Sshd::start(&router.shell_of(&user.name));
    let port = sshd.port.to_string();
    let at = ["--host", "127.0.0.1", "--port", &port, "--user", &user.name, "--password-env", PASSWORD];
    let on = |args: &[&str]| person.run(&user.password, &[&["platform"], args, &at].concat()).good();

    assert!(on(&["detect"]).out.contains("frr"));
    let told = on(&["test", "--platform", "frr", "--trace", "wire.txt"]);
    assert!(told.out.contains("`show running-config`") && told.out.contains("kept"), "{}", told.out);
    on(&["record", "--to", "frr.rec.toml"]);
    let read = |name: &str| std::fs::read_to_string(person.path(name)).expect(name);
    for file in ["wire.txt", "frr.rec.toml"] {
        let text = read(file);
        assert!(SECRETS.iter().chain([&user.password.as_str()]).all(|s| !text.contains(s)), "{file}: {text}");
    }
    person.run("", &["platform", "check", "frr", "--recording", "frr.rec.toml"]).good();

    std::fs::create_dir(person.path("own")).expect("a folder");
    on(&["new", "my_router", "--to", "own/my_router.toml"]);
    person.run("", &["platform", "check", "own/my_router.toml"]).good();
    let more = ["--platforms-dir", "own"];
    let done = person.back_up(sshd.port, "my_router", &user.name, &user.password, &more).good();
    let stored = done.stored("running-config", &person.folder());
    assert_eq!(stored.lines().collect::<Vec<_>>(), router.show("show running-config").lines().collect::<Vec<_>>());
}
