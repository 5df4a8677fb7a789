//! Secrets are in the originals, and nowhere else in clear.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use devicevault_testkit::sim::SimDevice;

use crate::person::{Answer, PASSWORD, Person, files_below};
use crate::sight::{devices, switch};

/// Which of the secrets stand in these bytes.
fn found<'a>(bytes: &[u8], secrets: &'a [String]) -> Vec<&'a str> {
    let text = String::from_utf8_lossy(bytes);
    secrets.iter().map(String::as_str).filter(|s| text.contains(s)).collect()
}

fn assert_told_none(answer: &Answer, secrets: &[String]) {
    assert_eq!(found(answer.out.as_bytes(), secrets), Vec::<&str>::new(), "{answer:?}");
    assert_eq!(found(answer.err.as_bytes(), secrets), Vec::<&str>::new(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_output_a_manifest_or_the_catalog() {
    let platforms = ["cisco_ios", "juniper_junos", "mikrotik_routeros", "frr", "linux"];
    let all = platforms.map(|p| SimDevice::of_platform(p, p.replace('_', "-")).unwrap().size(8 << 10).volatile());
    let (fleet, person) = devices(all).await;
    let secrets: Vec<String> = fleet.devices().iter().flat_map(devicevault_testkit::sim::Simulated::secrets).collect();
    assert!(secrets.len() > 2 * platforms.len());
    person.moves_in(&fleet).await;

    let logged = ["-vvv", "--log-format", "json", "--log-file", "log.jsonl"];
    let mut answers = Vec::new();
    for json in [&["--json"][..], &[]] {
        answers.push(person.asks(&[&["backup", "--all"][..], json, &logged].concat()).await.good());
        fleet.devices().iter().for_each(devicevault_testkit::sim::Simulated::change_something);
    }
    // Failures tell as little.
    let wrong = fleet.devices()[0].password();
    fleet.devices()[0].set_password("another one");
    answers.push(person.asks(&[&["backup", "--all", "-vvv"][..], &["--log-format", "text"]].concat()).await.ended(3));
    fleet.devices()[0].set_password(wrong);
    for device in fleet.devices() {
        answers.push(person.asks(&["show", device.name()]).await.good());
        answers.push(person.asks(&["diff", device.name()]).await);
        answers.push(person.asks(&["device", "show", device.name()]).await.good());
        answers.push(person.asks(&["device", "show", device.name(), "--json"]).await.good());
    }
    answers.push(person.asks(&["history", "--json"]).await.good());
    answers.push(person.asks(&["run", "list", "--json"]).await.good());
    answers.push(person.asks(&["verify", "--json"]).await.good());
    for answer in &answers {
        assert_told_none(answer, &secrets);
    }

    let store = person.path("home/store");
    for (file, bytes) in files_below(&person.path("")) {
        let original = file.starts_with(&store) && !file.to_string_lossy().ends_with(".json");
        if !original {
            assert_eq!(found(&bytes, &secrets), Vec::<&str>::new(), "{}", file.display());
        }
    }
    // Git compresses what it keeps.
    let git = person.path("home/git");
    let all = std::process::Command::new("git").arg("-C").arg(git).args(["log", "-p", "--all"]).output().unwrap();
    assert!(all.stdout.len() > 5000);
    assert_eq!(found(&all.stdout, &secrets), Vec::<&str>::new());
    // What a restore takes has them.
    let name = fleet.devices()[0].name();
    let original = person.asks(&["show", name, "--view", "original"]).await.good();
    assert!(!found(original.out.as_bytes(), &secrets).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_list_shows_no_secret() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1")]).await;
    // Every way to give a password names a place.
    let device = &fleet.devices()[0];
    person.write("password", &format!("{}\n", device.password()));
    for more in [&["--password-file", "password"][..], &["--password-command", "cat password"]] {
        let args = Person::ad_hoc(device, more);
        assert!(args.iter().all(|a| !a.contains(&device.password())));
        person.backs_up(device, more).await.good();
    }
    for (file, bytes) in files_below(&person.path("backups/.devicevault")) {
        assert_eq!(found(&bytes, &device.secrets()), Vec::<&str>::new(), "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_an_address_or_a_setting_is_refused_and_not_repeated() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    let devices = person.asks(&["device", "list", "--json"]).await.good().out;
    let jump =
        "[[device]]\nname=\"x\"\nhost=\"h\"\nplatform=\"frr\"\njump=[{host=\"b\",login={username=\"u:Sekret-1\"}}]\n";
    person.write("x.toml", jump);
    person.write("x.csv", "name,host,platform\nx,u:Sekret-1@h,frr\n");
    let add = ["device", "add", "x", "--platform", "frr", "--host"];
    for args in [
        &[&add[..], &["u:Sekret-1@127.0.0.1"]].concat()[..],
        &[&add[..], &["h", "--jump", "u:Sekret-1@b"]].concat(),
        &[&add[..], &["h", "--option", "password=Sekret-1"]].concat(),
        &[&add[..], &["h", "--proxy-command", "nc -x u:Sekret-1@proxy %h %p"]].concat(),
        &["device", "edit", "core-sw1", "--host", "u:Sekret-1@127.0.0.1"],
        &["device", "edit", "core-sw1", "--jump", "u:Sekret-1@b"],
        &["apply", "-f", "x.toml"],
        &["device", "import", "x.csv"],
        &["backup", "--host", "u:Sekret-1@h", "--platform", "frr", "--to", "there"],
    ] {
        let answer = person.asks(args).await;
        assert!(answer.code == 1 || answer.code == 2, "{args:?}: {answer:?}");
        assert!(!format!("{answer:?}").contains("Sekret-1"), "{args:?}: {answer:?}");
    }
    assert_eq!(person.asks(&["device", "list", "--json"]).await.good().out, devices);
    assert!(!person.path("there").exists());
}

/// The passwords of other devices stand in the environment, too.
#[test]
fn a_proxy_command_finds_no_password_in_its_environment() {
    let person = Person::new().with_password("the-pass-word");
    for transport in ["ssh", "telnet"] {
        let seen = person.path(transport);
        let command = format!("sh -c 'env > {}; exit 1'", seen.display());
        let device = ["backup", "--host", "192.0.2.1", "--platform", "cisco_ios", "--user", "u", "--to", "b"];
        let way = ["--retries", "0", "--transport", transport, "--proxy-command", &command, "--password-env", PASSWORD];
        let mut program = person.program(&[&device[..], &way].concat());
        program.env("OTHER", "another-pass-word").env("LC_TIME", "C").env("AWS_PROFILE", "of-site");
        // SSH passes such on, so that passwords are called so.
        program.env("LC_PW", "a-third-pass-word").env("XDG_PW", "a-fourth-pass-word").env("XDG_STATE_HOME", "state");
        Answer::of(program).ended(1);
        let seen = std::fs::read_to_string(seen).unwrap();
        for there in ["PATH=", "HOME=", "LC_TIME=C\n", "XDG_STATE_HOME=state\n", "AWS_PROFILE=of-site\n"] {
            assert!(seen.contains(there), "{there}: {seen}");
        }
        assert!(!seen.contains("pass-word"), "{seen}");
    }
}

/// Does what `ssh` does when it logs in, asks for a password that nobody says yes or no to, and notes what it finds.
const SSH: &str = "#!/bin/sh
echo called >> calls
env > seen; echo \"$@\" >> seen
for folder in tmp/dv-*; do ls \"$folder\"; cat \"$folder\"/key*; done >> seen
\"$SSH_ASKPASS\" \"u@h's password: \" > told
exec sleep 60
";

#[test]
#[ignore = "needs ssh-keygen"]
fn the_systems_ssh_is_told_what_it_needs_and_once() {
    let person = Person::new().with_password("the-pass-word");
    let ssh = person.write("ssh", SSH);
    std::fs::set_permissions(ssh, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::create_dir(person.path("tmp")).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(person.path("id")).status();
    assert!(made.unwrap().success());
    let device = ["backup", "--host", "192.0.2.1", "--platform", "linux", "--user", "u", "--to", "10%m"];
    let login = ["--password-env", PASSWORD, "--key-file", "id", "--transport", "openssh"];
    let mut program = person.program(&[&device[..], &login, &["--retries", "2", "--timeout", "2s"]].concat());
    let path = format!("{}:{}", person.path("").display(), std::env::var("PATH").unwrap());
    program.env("PATH", path).env("TMPDIR", person.path("tmp")).env("OTHER", "another-pass-word");
    let answer = Answer::of(program).ended(1);
    assert!(answer.err.contains("timeout") && answer.err.contains("whether it accepts the password"), "{answer:?}");
    let [calls, seen, told] = ["calls", "seen", "told"].map(|n| std::fs::read_to_string(person.path(n)).unwrap());
    assert_eq!((calls.as_str(), told.trim_end()), ("called\n", "the-pass-word"));
    assert!(seen.contains("10%%m/") && seen.contains("IdentityAgent=") && seen.contains("ssh-ed25519 "), "{seen}");
    assert!(!seen.contains("PRIVATE KEY") && !seen.contains("pass-word"), "{seen}");
}
