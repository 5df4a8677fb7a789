//! Files of a real server that break a rule.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::devicevault::{Answer, PASSWORD, Person};
use crate::place::Place;
use crate::process::program;
use crate::sshd::Sshd;
use crate::user::User;

const GZIP: &[u8] = b"\x1f\x8b\x08\0 a state of the device";
const PROGRAM: &[u8] = b"\x7fELF what somebody put in its place";

/// A server with files, and a home that knows it as a device.
struct Setting {
    person: Person,
    user: User,
    files: Place,
    _sshd: Sshd,
}

impl Setting {
    fn new(collector: &str, settings: &str, options: &[&str]) -> Self {
        let setting = Self {
            user: User::add(),
            person: Person::new(),
            files: Place::new(),
            _sshd: Sshd::start("Subsystem sftp internal-sftp"),
        };
        setting.put("state.gz", GZIP);
        setting.put("notes.txt", b"hostname fw1\n");
        setting.run(&["init", "--quiet"]).good();
        fs::write(setting.person.path("home/devicevault.toml"), settings).expect("the configuration");
        let port = setting._sshd.port.to_string();
        let at = |name: &str| setting.files.join(name).display().to_string();
        let (state, notes) = (format!("files.state={}", at("state.gz")), format!("files.notes={}", at("notes.txt")));
        let add = ["device", "add", "fw1", "--host", "127.0.0.1", "--port", &port, "--platform", "linux"];
        let how = ["--collector", collector, "--user", &setting.user.name, "--password-env", PASSWORD];
        let files = ["--option", &state, "--option", &notes, "--option", "files.notes.kind=text"];
        let options: Vec<_> = options.iter().flat_map(|o| ["--option", *o]).collect();
        setting.run(&[&add[..], &how, &files, &options].concat()).good();
        setting
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.files.join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its permissions");
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.person.run(&self.user.password, &[&["--home", "home"][..], args].concat())
    }

    fn back_up(&self, code: i32) -> Answer {
        let answer = self.run(&["backup", "fw1", "--json"]);
        assert_eq!(answer.code, code, "{answer:?}");
        answer
    }
}

fn list(answer: &Answer) -> Vec<Value> {
    answer.json().as_array().expect("a list").clone()
}

#[test]
#[ignore = "needs sshd and root"]
fn a_file_that_breaks_a_rule_is_kept_apart_until_a_person_says_a_word() {
    for collector in ["sftp", "scp"] {
        let setting = Setting::new(collector, "", &[]);
        let files = ["--option", "file_rules.magic=gzip", "--option", "file_rules.extensions=gz"];
        setting.run(&[&["policy", "add", "core"], &files[..]].concat()).good();
        let first = setting.back_up(0).artefact("state");
        assert_eq!(first["status"], "stored");
        setting.put("state.gz", PROGRAM);
        let bad = setting.back_up(3);
        let held = bad.artefact("state");
        assert_eq!((&held["status"], &held["run_state"]), (&"quarantined".into(), &"partial".into()), "{bad:?}");
        assert_eq!(bad.artefact("notes")["status"], "unchanged", "texts have rules of their own");
        assert_eq!(held["suspect"][0], "its first bytes are not those of gzip (rule of policy core)");

        // Seen everywhere.
        for args in [&["history", "fw1"][..], &["quarantine", "list"], &["run", "show", "latest"]] {
            let told = setting.run(args).good();
            assert!(told.shows("first bytes are not those of gzip"), "{args:?} {told:?}");
        }
        let held_now = list(&setting.run(&["quarantine", "list", "--json"]).good());
        assert_eq!((held_now.len(), &held_now[0]["quarantine"]), (1, &"held".into()));
        assert_eq!(setting.run(&["stats", "--json"]).good().json()["quarantined"]["copies"], 1);
        assert_eq!(setting.run(&["verify", "--json"]).good().json()["quarantined"], 1);

        // Handed out by an explicit word alone; what is asked for without one is the last good one.
        let id = held["backup"].as_str().expect("an identifier");
        let original = setting.run(&["restore", "fw1", "state", "--to", "state.back", "--json"]).good();
        assert_eq!(original.json()[0]["backup"], first["backup"]);
        assert_eq!(fs::read(setting.person.path("state.back")).expect("the file"), GZIP);
        let refusals: [&[&str]; 3] = [
            &["restore", "fw1", "state", id, "--to", "bad.bin"],
            &["download", "fw1:state", "--backup", id, "--to", "bad.bin"],
            &["show", "fw1:state", "--backup", id],
        ];
        for args in refusals {
            let refused = setting.run(args);
            assert!(refused.code == 1 && refused.shows("it is in quarantine") && !refused.shows("ELF"), "{refused:?}");
            assert!(!setting.person.path("bad.bin").exists());
        }
        setting.run(&["restore", "fw1", "state", id, "--to", "bad.bin", "--quarantined"]).good();
        assert_eq!(fs::read(setting.person.path("bad.bin")).expect("the file"), PROGRAM);
        let latest = setting.run(&["restore", "fw1", "--to", "all/", "--run", "latest"]);
        assert!(latest.code == 3 && latest.shows("state is left out"), "{latest:?}");
        assert!(setting.run(&["accept", "fw1:state"]).shows("quarantine release"));

        // A catalog made anew knows it.
        setting.run(&["catalog", "rebuild", "--from", "store", "--replace", "--quiet"]).good();
        let anew = list(&setting.run(&["quarantine", "list", "--json"]).good());
        assert_eq!((anew.len(), &anew[0]["id"], &anew[0]["suspect"]), (1, &held_now[0]["id"], &held["suspect"]));

        // Released: the content is a version like any other, and breaks no rule any more.
        setting.run(&["quarantine", "release", "fw1:state"]).good();
        assert_eq!(setting.back_up(0).artefact("state")["status"], "unchanged");
        setting.run(&["catalog", "rebuild", "--from", "store", "--replace", "--quiet"]).good();
        assert!(list(&setting.run(&["quarantine", "list", "--json"]).good()).is_empty());
        assert_eq!(setting.back_up(0).artefact("state")["status"], "unchanged");
        assert!(setting.run(&["quarantine", "release", "fw1:state"]).shows("it is not in quarantine"));

        // Another one is removed.
        setting.put("state.gz", b"something else again, of much the same length");
        setting.back_up(3);
        let removed = setting.run(&["quarantine", "remove", "fw1:state", "--json"]).good().json();
        assert_eq!(removed["left_at"].as_array().map(Vec::len), Some(0), "{removed}");
        let versions = list(&setting.run(&["history", "fw1", "--artefact", "state", "--json"]).good());
        assert_eq!(versions.len(), 2);
        setting.run(&["verify", "--quiet"]).good();
        setting.run(&["catalog", "check", "--quiet"]).good();
    }
}

#[test]
#[ignore = "needs sshd and root"]
fn what_is_refused_is_not_fetched_to_its_end_and_the_rest_is_kept() {
    for collector in ["sftp", "scp"] {
        let setting = Setting::new(collector, "", &["file_rules.max_size=1MB", "file_rules.on_breach=refuse"]);
        setting.put("state.gz", &vec![7; 64 << 20]);
        let answer = setting.back_up(3);
        let (state, notes) = (answer.artefact("state"), answer.artefact("notes"));
        assert_eq!((&state["status"], &state["error_kind"]), (&"failed".into(), &"too_large".into()), "{state}");
        assert_eq!(notes["status"], "stored", "{answer:?}");
        let stored: u64 = list(&setting.run(&["history", "fw1", "--json"]).good()).len() as u64;
        assert_eq!(stored, 1);
    }
}

#[test]
#[ignore = "needs sshd and root"]
fn a_checker_decides_and_one_that_gives_no_verdict_lets_nothing_pass() {
    program("grep");
    let settings = "[checkers.words]\ncommand = [\"grep\", \"-q\", \"-v\", \"somebody\"]\n\n[checkers.missing]\n\
        command = [\"/nonexistent/checker\"]\n\n[checkers.hangs]\ncommand = [\"sleep\", \"1000\"]\ntimeout = \"1s\"\n\n\
        [file_rules]\nmax_size = \"100MB\"\n";
    let setting = Setting::new("sftp", settings, &["file_rules.state.checker=words"]);
    assert_eq!(setting.back_up(0).artefact("state")["status"], "stored");
    setting.put("state.gz", PROGRAM);
    let held = setting.back_up(3).artefact("state");
    assert_eq!(held["suspect"][0], "the checker words rejects it (rule of device fw1)", "{held}");
    for (name, told) in [("missing", "cannot be started"), ("hangs", "took longer than the 1 s")] {
        setting.put("state.gz", name.repeat(9).as_bytes());
        let option = format!("file_rules.state.checker={name}");
        setting.run(&["device", "edit", "fw1", "--option", &option]).good();
        let held = setting.back_up(3).artefact("state");
        assert_eq!(held["status"], "quarantined");
        assert!(held["suspect"][0].as_str().is_some_and(|why| why.contains(told)), "{held}");
    }
    let unknown = setting.run(&["device", "edit", "fw1", "--option", "file_rules.checker=clamav"]);
    assert!(unknown.code != 0 && unknown.shows("hangs") && unknown.shows("clamav"), "{unknown:?}");
    let wrong = setting.run(&["policy", "add", "p", "--option", "file_rules.magik=gzip"]);
    assert!(wrong.code == 2 && wrong.shows("there is no such file rule"), "{wrong:?}");
    // Definitions take them out and in again.
    setting.run(&["policy", "add", "p", "--option", "file_rules.magic=gzip, 257:7573746172"]).good();
    setting.run(&["export", "--to", "definitions"]).good();
    let again = setting.run(&["apply", "-f", "definitions", "--dry-run", "--json"]).good();
    assert!(!again.shows("create") && !again.shows("change\""), "{again:?}");
}
