//! Shared logins: kept sealed or found elsewhere, chosen by device, site and default, replaced, tried, refused.

use std::io::Write as _;
use std::process::{Command, Stdio};

use devicevault_core::Inventory as _;
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

use crate::person::{Answer, PASSWORD, Person, files_below};
use crate::sight::devices;

impl Person {
    /// Types into the program what it reads from standard input.
    fn types(&self, input: &str, args: &[&str]) -> Answer {
        let mut program = self.program(args);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who refuses the arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Adds a device that says nothing of its login.
    async fn knows(&self, device: &Simulated, more: &[&str]) {
        let (ip, port) = (device.addr().ip().to_string(), device.addr().port().to_string());
        let args = ["device", "add", device.name(), "--host", &ip, "--port", &port, "--platform", device.platform()];
        self.asks(&[&args[..], more].concat()).await.good();
    }
}

/// Two switches of one site, and a home with a stored credential for it.
async fn shared() -> (Fleet, Person, String) {
    let all = ["core-sw1", "core-sw2"].map(|n| SimDevice::cisco_ios(n).size(8 << 10).login("backup", "c0rrect-horse"));
    let (fleet, person) = devices(all).await;
    let password = fleet.devices()[0].password();
    person.asks(&["init"]).await.good();
    for device in fleet.devices() {
        person.knows(device, &["--site", "zurich"]).await;
    }
    let add = ["credential", "add", "switches", "--user", "backup", "--password-stdin", "--site", "zurich"];
    person.types(&format!("{password}\n"), &add).good();
    (fleet, person, password)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_secret_logs_in_and_stands_nowhere_in_clear() {
    let (fleet, person, password) = shared().await;
    let answers = [
        person.asks(&["backup", "--all", "-vvv"]).await.good(),
        person.asks(&["credential", "list"]).await.good(),
        person.asks(&["credential", "list", "--json"]).await.good(),
        person.asks(&["credential", "show", "switches"]).await.good(),
        person.asks(&["credential", "show", "switches", "--json"]).await.good(),
        person.asks(&["credential", "test", "switches", "--device", "core-sw1"]).await.good(),
    ];
    for answer in &answers {
        assert!(!answer.out.contains(&password) && !answer.err.contains(&password), "{answer:?}");
    }
    assert!(answers[3].out.contains("stored, sealed") && answers[3].out.contains("core-sw2 (its site)"), "{answers:?}");
    for (file, bytes) in files_below(&person.path("home")) {
        let found = bytes.windows(password.len()).any(|w| w == password.as_bytes());
        assert!(!found, "{}", file.display());
    }
    assert!(fleet.devices()[0].commands().len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_catalog_alone_opens_nothing_and_a_copy_of_the_home_does() {
    let (_fleet, person, password) = shared().await;
    let copy = |to: &str| {
        assert!(Command::new("cp").args(["-r", "home", to]).current_dir(person.path("")).status().unwrap().success());
    };
    copy("moved");
    let test = ["credential", "test", "switches", "--device", "core-sw1"];
    person.asks(&[&["--home", "moved"][..], &test].concat()).await.good();
    // Another home, with keys of its own, and the catalog of this one.
    person.asks(&["--home", "stranger", "init"]).await.good();
    for file in ["catalog.db", "catalog.db-wal"] {
        let _ = std::fs::copy(person.path("home").join(file), person.path("stranger").join(file));
    }
    let refused = person.asks(&[&["--home", "stranger"][..], &test].concat()).await.ended(1);
    assert!(refused.err.contains("epoch key") && refused.err.contains("switches"), "{refused:?}");
    assert!(!refused.err.contains(&password));
    let failed = person.asks(&["--home", "stranger", "backup", "core-sw1"]).await.ended(1);
    assert!(failed.err.contains("key") || failed.out.contains("key"), "{failed:?}");
    // What cannot be opened is entered anew.
    let anew = ["--home", "stranger", "credential", "rotate", "switches", "--password-stdin"];
    person.types(&password, &anew).good();
    person.asks(&[&["--home", "stranger"][..], &test].concat()).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_told_and_mended_by_a_rotation() {
    let (_fleet, person, password) = shared().await;
    let test = ["credential", "test", "switches", "--device", "core-sw1"];
    let (flipped, cut) = (
        |bytes: &mut Vec<u8>| {
            let mark = b"\"sealed\":\"";
            let at = bytes.windows(mark.len()).position(|w| w == mark).unwrap() + mark.len();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        },
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2),
    );
    for damage in [&flipped as &dyn Fn(&mut Vec<u8>), &cut] {
        let catalog = SqliteCatalog::open(person.path("home/catalog.db"), SqliteOptions::default()).await.unwrap();
        let mut credential = catalog.credentials().await.unwrap().remove(0);
        damage(credential.sealed.as_mut().unwrap());
        catalog.put_credential(&credential).await.unwrap();
        catalog.close().await;
        let refused = person.asks(&test).await.ended(1);
        assert!(refused.err.contains("damaged") && refused.err.contains("credential rotate"), "{refused:?}");
        // It is listed all the same, and a device that does not use it is backed up.
        person.asks(&["credential", "show", "switches"]).await.good();
    }
    person.types(&password, &["credential", "rotate", "switches", "--password-stdin"]).good();
    person.asks(&test).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_keep_secrets_readable() {
    let (_fleet, person, _) = shared().await;
    let test = ["credential", "test", "switches", "--device", "core-sw1"];
    for scope in ["epoch", "kek", "epoch"] {
        person.asks(&["key", "rotate", "--scope", scope]).await.good();
        person.asks(&test).await.good();
    }
    // A destination has them still; without that, the secret is closed.
    std::fs::remove_dir_all(person.path("home/keys")).unwrap();
    person.asks(&test).await.good();
    std::fs::remove_dir_all(person.path("home/keys")).unwrap();
    std::fs::remove_dir_all(person.path("home/store/keys")).unwrap();
    let refused = person.asks(&test).await;
    assert!(refused.code != 0 && refused.err.contains("key"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_credential_is_tried_once() {
    let (fleet, person, _) = shared().await;
    fleet.devices()[0].set_password("another one");
    let before = fleet.stats().password_attempts;
    let refused = person.asks(&["credential", "test", "switches", "--device", "core-sw1"]).await.ended(1);
    assert!(refused.err.contains("core-sw1"), "{refused:?}");
    assert_eq!(fleet.stats().password_attempts - before, 1);
    let refused = person.asks(&["backup", "core-sw1", "--retries", "3"]).await.ended(1);
    assert!(refused.err.contains("credential: switches"), "{refused:?}");
    assert_eq!(fleet.stats().password_attempts - before, 2);
    person.types("another one", &["credential", "rotate", "switches", "--password-stdin"]).good();
    person.asks(&["backup", "core-sw1"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_stays() {
    let (fleet, person, _) = shared().await;
    let refused = person.asks(&["credential", "remove", "switches"]).await.ended(1);
    assert!(refused.err.contains("core-sw1") && refused.err.contains("core-sw2"), "{refused:?}");
    person.asks(&["credential", "edit", "switches", "--clear", "sites"]).await.good();
    person.asks(&["device", "edit", "core-sw1", "--credential", "switches"]).await.good();
    let refused = person.asks(&["credential", "remove", "switches"]).await.ended(1);
    assert!(refused.err.contains("core-sw1") && !refused.err.contains("core-sw2"), "{refused:?}");
    person.asks(&["device", "edit", "core-sw1", "--clear", "credential"]).await.good();
    person.asks(&["credential", "remove", "switches"]).await.good();
    person.asks(&["credential", "show", "switches"]).await.ended(1);
    let named = ["device", "edit", fleet.devices()[0].name(), "--credential", "switches"];
    assert!(person.asks(&named).await.ended(2).err.contains("switches"));
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_kept_or_read_at_once() {
    let (fleet, person) = devices([SimDevice::cisco_ios("core-sw1").size(8 << 10)]).await;
    let device = &fleet.devices()[0];
    person.asks(&["init"]).await.good();
    person.knows(device, &[]).await;
    person.write("password", &format!("{}\n", device.password()));
    let user = device.username();
    let add = |name: &'static str, more: &[&'static str]| {
        let all: Vec<String> =
            ["credential", "add", name, "--user", user].iter().chain(more).map(|s| (*s).to_owned()).collect();
        all
    };
    let cases = [
        add("by-env", &["--password-env", PASSWORD]),
        add("by-file", &["--password-file", "password"]),
        add("by-command", &["--password-command", "cat password"]),
        add("stored", &["--password-file", "password", "--store"]),
    ];
    for args in &cases {
        person.asks(&args.iter().map(String::as_str).collect::<Vec<_>>()).await.good();
        person.asks(&["credential", "test", &args[2], "--device", "core-sw1"]).await.good();
    }
    std::fs::remove_file(person.path("password")).unwrap();
    person.asks(&["credential", "test", "stored", "--device", "core-sw1"]).await.good();
    person.asks(&["credential", "test", "by-file", "--device", "core-sw1"]).await.ended(2);
    // The default is for who says nothing; two cannot be it.
    person.asks(&["credential", "edit", "stored", "--default"]).await.good();
    person.asks(&["backup", "core-sw1"]).await.good();
    person.asks(&["credential", "edit", "by-env", "--default"]).await.ended(1);
}

#[test]
fn what_cannot_be_a_credential_is_refused() {
    let person = Person::new();
    person.run(&["init"]).good();
    for name in ["", "a,b", "a b", "../x", &"x".repeat(129)] {
        person.types("pw", &["credential", "add", name, "--password-stdin"]).ended(2);
    }
    // Nobody to ask, nothing on standard input, two sources at once.
    person.run(&["credential", "add", "x", "--user", "u"]).ended(2);
    person.types("", &["credential", "add", "x", "--password-stdin"]).ended(2);
    person.types("only one\n", &["credential", "add", "x", "--password-stdin", "--enable-stdin"]).ended(2);
    person.types("pw", &["credential", "add", "x", "--password-stdin", "--password-env", "X"]).ended(2);
    person.types(&"x".repeat(70 << 10), &["credential", "add", "x", "--password-stdin"]).ended(2);
    person.run(&["credential", "list", "--json"]).good();
    person.types("pw\nen\n", &["credential", "add", "x", "--password-stdin", "--enable-stdin"]).good();
    person.types("pw", &["credential", "add", "x", "--password-stdin"]).ended(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_the_middle_of_a_round_changes_nothing_of_it() {
    let (_fleet, person, password) = shared().await;
    let round = person.asks(&["backup", "--all"]);
    let rotations = async {
        for _ in 0..3 {
            let mut program = person.program(&["credential", "rotate", "switches", "--password-stdin"]);
            let input = person.write("new", &password);
            program.stdin(std::fs::File::open(input).unwrap());
            tokio::task::spawn_blocking(move || Answer::of(program)).await.unwrap().good();
        }
    };
    let (round, ()) = tokio::join!(round, rotations);
    round.good();
    person.asks(&["credential", "test", "switches", "--device", "core-sw2"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_answers_and_a_command_that_says_much_stop_their_device_alone() {
    let (fleet, person, _) = shared().await;
    let pipe = person.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let says = "printf '\\033[31mno entry\\n' >&2; head -c 3000000 /dev/zero >&2; echo locked >&2; exit 3";
    for (given, told) in [("--password-file", "it is no file"), ("--password-command", "said:")] {
        let at = if given == "--password-file" { pipe.to_str().unwrap() } else { says };
        person.asks(&["device", "edit", "core-sw1", "--clear", "login", "--user", "backup", given, at]).await.good();
        let answer = person.asks(&["backup", "--all", "--json"]).await.ended(3);
        assert!(answer.out.contains(told) && answer.err.len() < 20_000 && !answer.err.contains('\u{1b}'), "{answer:?}");
        let runs = person.asks(&["run", "list", "core-sw2", "--json"]).await.good().json();
        assert!(matches!(runs[0]["state"].as_str(), Some("succeeded" | "unchanged")), "{runs}");
    }
    drop(fleet);
}

#[test]
fn what_is_no_private_key_is_not_stored() {
    let person = Person::new();
    person.run(&["init"]).good();
    let keygen = |name: &str, passphrase: &str| {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .arg(person.path(name))
            .status();
        assert!(made.unwrap().success());
    };
    keygen("open", "");
    keygen("locked", "s3cret");
    std::fs::write(person.path("text"), "hunter2\n").unwrap();
    std::fs::write(person.path("right"), "s3cret\n").unwrap();
    std::fs::write(person.path("wrong"), "hunter2\n").unwrap();
    for (file, passphrase, says) in [
        ("text", None, "no private key"),
        ("open.pub", None, "public key"),
        ("locked", None, "has a passphrase"),
        ("locked", Some("wrong"), "does not open"),
    ] {
        let mut add = vec!["credential", "add", "x", "--user", "backup", "--key-file", file, "--store"];
        add.extend(passphrase.into_iter().flat_map(|p| ["--key-passphrase-file", p]));
        let answer = person.run(&add).ended(2);
        assert!(answer.err.contains(says) && !answer.err.contains("hunter2"), "{file}: {answer:?}");
    }
    for (name, file, passphrase) in [("a", "open", None), ("b", "locked", Some("right"))] {
        let mut add = vec!["credential", "add", name, "--user", "backup", "--key-file", file, "--store"];
        add.extend(passphrase.into_iter().flat_map(|p| ["--key-passphrase-file", p]));
        person.run(&add).good();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_secrets_that_others_can_read_are_told_and_the_key_of_masks_is_refused() {
    let (_fleet, person, _) = shared().await;
    let allow = |file: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(person.path(file), mode).unwrap();
    };
    person.write("word", "hunter2\n");
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        allow("word", mode);
        let name = format!("by{mode:o}");
        for args in [
            &["device", "add", &name, "--host", "192.0.2.1", "--platform", "cisco_ios", "--password-file", "word"][..],
            &["device", "edit", "core-sw1", "--user", "u", "--password-file", "word"],
            &["credential", "add", &name, "--user", "u", "--password-file", "word", "--store"],
            &["credential", "add", &format!("{name}x"), "--user", "u", "--password-file", "word"],
            &["credential", "rotate", &name, "--password-file", "word", "--store"],
        ] {
            let told = person.run(args).good();
            assert_eq!(told.err.contains("others than its owner can read"), warned, "{args:?}: {told:?}");
        }
    }
    let kit = crate::keys::take_kit(&person, "kit.txt");
    let kit = ["verify", "--kek-file", kit.to_str().unwrap()];
    assert!(!person.run(&kit).good().err.contains("others than its owner"));
    allow("kit.txt", 0o640);
    assert!(person.run(&kit).good().err.contains("others than its owner can read"));
    allow("home/instance.key", 0o644);
    let refused = person.run(&["backup", "--all"]).ended(1);
    assert!(refused.err.contains("instance.key") && refused.err.contains("chmod 600"), "{refused:?}");
    allow("home/instance.key", 0o600);
    person.run(&["verify"]).good();
}
