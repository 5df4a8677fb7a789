//! Git destinations: remotes, and the history of other programs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use devicevault_core::{Clock as _, Digest, SystemClock};
use devicevault_testkit::sim::{SimDevice, Simulated};
use serde_json::Value;

use crate::namesakes::lose_the_catalog;
use crate::person::Person;
use crate::sight::devices;

/// Runs `git` on a bare repository; it has to succeed.
pub(crate) fn git(repo: &Path, args: &[&str]) -> String {
    let done = Command::new("git").arg("--git-dir").arg(repo).args(args).output().expect("this test needs git");
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn bare(repo: &Path) {
    let done = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(repo).status();
    assert!(done.expect("this test needs git").success());
}

/// As Oxidized keeps them: `nodes` in two groups, each changed `versions` times, the last time not at all.
fn oxidized(repo: &Path, nodes: usize, versions: usize) {
    bare(repo);
    let mut stream = String::new();
    let mut time = 1_600_000_000;
    for version in 0..versions {
        for node in 0..nodes {
            time += 60;
            let group = if node % 2 == 0 { "core" } else { "access" };
            let text = format!("hostname node{node}\nmtu {}\n", 1000 + version);
            stream.push_str(&format!(
                "commit refs/heads/main\nauthor Ann <ann@example.net> {time} +0000\n\
                 committer Oxidized <o@example.net> {time} +0000\ndata 13\nupdate node{node:02}\n\
                 M 100644 inline {group}/node{node}\ndata {}\n{text}\n",
                text.len()
            ));
        }
    }
    fast_import(repo, &stream);
}

fn fast_import(repo: &Path, stream: &str) {
    let mut import = Command::new("git");
    import.arg("--git-dir").arg(repo).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut child = import.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn versions(person: &Person, device: &str) -> Vec<Value> {
    let all = person.run(&["history", device, "--json"]).good().json();
    all.as_array().unwrap().clone()
}

#[test]
#[ignore = "needs git"]
fn a_history_is_imported_once_however_often_it_is_cut_off() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("devices.git");
    oxidized(&repo, 6, 12);
    let told = person.run(&["import", "git", "devices.git", "--dry-run", "--json"]).ended(1).json();
    assert_eq!(told[0]["unknown"].as_object().unwrap().len(), 6, "{told}");
    person.run(&["device", "add", "node0", "--host", "192.0.2.1", "--platform", "cisco_ios"]).good();
    let import = ["import", "git", "devices.git", "--create", "--platform", "cisco_ios"];
    for wait in [40, 120, 250, 400, 700] {
        let mut child = person.program(&import).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    person.run(&import).good();
    person.run(&["verify", "--quiet"]).good();
    let again = person.run(&["import", "git", "devices.git", "--json"]).good().json();
    assert_eq!((&again[0]["imported"], &again[0]["there"]), (&0.into(), &72.into()), "{again}");
    for node in 0..6 {
        let all = versions(&person, &format!("node{node}"));
        assert_eq!(all.len(), 12, "node{node}");
    }
    assert_eq!(git(&person.path("home/git"), &["rev-list", "--count", "main"]).trim(), "72");
    let shown = person.run(&["show", "node3", "--at", "2020-09-13T12:37:00Z", "--view", "original"]).good().out;
    assert_eq!(shown, "hostname node3\nmtu 1001\n");
    let device = person.run(&["device", "show", "node1", "--json"]).good().json();
    let device = &device["device"];
    assert_eq!((&device["group"], &device["enabled"]), (&"access".into(), &false.into()), "{device}");
    let log = git(&person.path("home/git"), &["log", "-1", "--format=%at %B", "main"]);
    assert!(log.contains("Ann <ann@example.net>") && log.starts_with("1600004320 "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn what_is_backed_up_is_pushed_and_what_cannot_be_is_told_and_caught_up() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    let remote = person.path("remote.git");
    let option = format!("remote={}", remote.display());
    person.asks(&["destination", "edit", "git", "--option", &option]).await.good();
    let nothing = person.asks(&["git", "push"]).await.good();
    assert!(nothing.out.contains("nothing is stored yet") && !nothing.out.contains("everything"), "{nothing:?}");
    let answer = person.asks(&["backup", "--all"]).await.good();
    assert!(answer.err.contains("stored, but not pushed"), "{answer:?}");
    let listed = person.asks(&["destination", "list", "--json"]).await.good().json();
    let of_git = listed.as_array().unwrap().iter().find(|d| d["name"] == "git").unwrap();
    assert!(of_git["remote"]["failing_since"].is_string(), "{of_git}");
    let tested = person.asks(&["destination", "test", "git", "--json"]).await.ended(1).json();
    assert_eq!(tested[0]["usable"], false, "{tested}");
    let probes = tested[0]["probes"].as_array().unwrap();
    assert!(probes.iter().any(|p| p["name"] == "reach remote" && p["good"] == false), "{tested}");
    person.asks(&["git", "push"]).await.ended(1);

    bare(&remote);
    fleet.devices().iter().for_each(Simulated::change_something);
    let answer = person.asks(&["backup", "--all"]).await.good();
    assert!(!answer.err.contains("not pushed"), "{answer:?}");
    let tip = |repo: &Path| git(repo, &["rev-parse", "main"]);
    assert_eq!(tip(&remote), tip(&person.path("home/git")));
    let pushed = person.asks(&["git", "push", "--json"]).await.good().json();
    assert_eq!(pushed[0]["pushed"], false, "{pushed}");
    for url in ["https://u:s3cret@h/x", "https://h/x.git?private_token=s3cret", "https://h/x.git#s3cret"] {
        let refused = person.asks(&["destination", "edit", "git", "--option", &format!("remote={url}")]).await;
        assert!(refused.code == 2 && !format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
}

/// Pushes another text of a file, as a backup of ours that was taken now from elsewhere.
fn forge(repo: &Path, file: &str) {
    let text = git(repo, &["show", &format!("main:{file}")]).replace("hostname ", "hostname forged-");
    let message = git(repo, &["log", "-1", "--format=%B", "main", "--", file]);
    let (head, manifest) = message.trim_end().split_once("DeviceVault-Manifest: ").unwrap();
    let mut manifest: Value = serde_json::from_str(manifest).unwrap();
    manifest["sha256"] = Digest::of(text.as_bytes()).to_string().into();
    manifest["size"] = text.len().into();
    manifest["taken_at"] = SystemClock.now().to_string().into();
    manifest["source"]["host"] = "203.0.113.66".into();
    for id in ["backup", "run"] {
        let of_ours = manifest[id].as_str().unwrap();
        manifest[id] = format!("{}000000000000", &of_ours[..of_ours.len() - 12]).into();
    }
    let message = format!("{head}DeviceVault-Manifest: {manifest}\n");
    fast_import(
        repo,
        &format!(
            "commit refs/heads/main\ncommitter x <x@x> 1700000000 +0000\ndata {}\n{message}\nfrom refs/heads/main^0\n\
             M 100644 inline {file}\ndata {}\n{text}\n",
            message.len(),
            text.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn what_others_push_as_a_backup_of_ours_is_never_the_latest() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    let remote = person.path("remote.git");
    bare(&remote);
    let option = format!("remote={}", remote.display());
    person.asks(&["destination", "edit", "git", "--option", &option]).await.good();
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let shown = person.run(&["show", "sw1"]).good().out;
    let file = git(&remote, &["ls-tree", "-r", "--name-only", "main"]);
    forge(&remote, file.lines().find(|f| f.contains("running-config")).unwrap());
    person.asks(&["git", "push"]).await.good();

    let is_as_it_was = |what: &str| {
        assert_eq!(person.run(&["show", "sw1"]).good().out, shown, "{what}");
        let to = format!("{what}.cfg");
        person.run(&["restore", "sw1", "running-config", "--to", &to]).good();
        assert!(!std::fs::read_to_string(person.path(&to)).unwrap().contains("forged"), "{what}");
        let suspect = |v: &&Value| !v["suspect"].as_array().unwrap().is_empty();
        assert_eq!(versions(&person, "sw1").iter().filter(suspect).count(), 1, "{what}");
        assert!(!person.run(&["device", "list"]).good().out.contains("203.0.113.66"), "{what}");
    };
    person.run(&["catalog", "check"]).ended(3);
    let adopted = person.run(&["catalog", "check", "--adopt"]).good();
    assert!(adopted.err.contains("suspect, and passed over"), "{adopted:?}");
    is_as_it_was("adopted");
    lose_the_catalog(&person);
    let told =
        person.run(&["catalog", "rebuild", "--from", "home/store", "--from", "home/git", "--json"]).good().json();
    assert_eq!((&told["doubted"], &told["unconfirmed"]), (&1.into(), &Value::Array(Vec::new())), "{told}");
    is_as_it_was("rebuilt");
    lose_the_catalog(&person);
    person.run(&["catalog", "rebuild", "--from", "home/store"]).good();
    person.run(&["catalog", "rebuild", "--into", "--from", "home/git"]).good();
    is_as_it_was("added");
    // Of a repository alone, all is taken as it says.
    lose_the_catalog(&person);
    let told = person.run(&["catalog", "rebuild", "--from", "home/git", "--json"]).good().json();
    assert_eq!((&told["doubted"], &told["devices"]), (&0.into(), &1.into()), "{told}");
}

#[test]
#[ignore = "needs git"]
fn what_is_no_configuration_is_told_and_keeps_nothing_else_out() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("odd.git");
    bare(&repo);
    let mut stream = String::new();
    for (n, what) in [
        "M 100644 inline core/r1\ndata 12\nhostname r1\n\nM 100644 inline \"evil\\nname\"\ndata 2\nx\n",
        "D \"evil\\nname\"\nM 120000 inline core/r2\ndata 11\n/etc/passwd\nM 100644 inline a/b/c/r3\ndata 2\nx\n",
        "M 100644 inline core/r1\ndata 0\n\nM 100644 inline .gitignore\ndata 2\nx\n",
    ]
    .into_iter()
    .enumerate()
    {
        let time = 1_600_000_000 + 60 * n;
        stream.push_str(&format!(
            "commit refs/heads/main\ncommitter O <o@example.net> {time} +0000\ndata 1\nu\n{what}\n"
        ));
    }
    fast_import(&repo, &stream);
    let import = ["import", "git", "odd.git", "--create", "--platform", "cisco_ios"];
    let told = person.run(&[&import[..], &["--json"]].concat()).ended(3).json();
    assert_eq!((&told[0]["imported"], &told[0]["devices"]), (&2.into(), &1.into()), "{told}");
    assert_eq!(told[0]["unknown"], serde_json::json!({"evil\nname": 1}));
    assert_eq!(told[0]["left_out"], serde_json::json!({"a/b/c/r3": 1, "core/r2": 1}));
    let answer = person.run(&import).ended(3);
    assert!(answer.err.contains("no device can have these names"), "{answer:?}");
    assert!(answer.err.contains("2 files left out") && answer.err.contains("a/b/c/r3"), "{answer:?}");
    let all = versions(&person, "r1");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["suspect"], serde_json::json!(["it is empty"]), "{}", all[0]);
    assert_eq!(person.run(&["show", "r1", "--view", "original"]).good().out, "hostname r1\n");
    let stats = person.run(&["stats", "--json"]).good().json();
    assert_eq!(stats["runs"]["new_bytes"], 0, "no run collected any of it: {stats}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn what_was_accepted_is_shown_and_stays_good() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "sw1", "--quiet"]).await.good();
    let repo = person.path("home/git");
    let file = git(&repo, &["ls-tree", "-r", "--name-only", "main"]);
    let file = file.lines().find(|f| f.contains("running-config")).unwrap().to_owned();
    let shown = || git(&repo, &["show", &format!("main:{file}")]);
    // Without its end marker.
    fleet.devices()[0].change(|config| {
        let whole = String::from_utf8_lossy(config).trim_end().strip_suffix("end").unwrap().to_owned();
        *config = format!("{whole}interface Loopback77\n").into_bytes();
    });
    person.asks(&["backup", "sw1", "--quiet"]).await.ended(3);
    assert!(!shown().contains("Loopback77"));
    person.asks(&["accept", "sw1"]).await.good();
    assert!(shown().contains("Loopback77"), "{}", shown());
    for _ in 0..2 {
        let rows = person.asks(&["backup", "sw1", "--json"]).await.good().json();
        assert!(rows.as_array().unwrap().iter().all(|r| r["status"] == "unchanged"), "{rows}");
    }
    person.asks(&["verify", "--quiet"]).await.good();
    person.asks(&["catalog", "check"]).await.good();
    let versions = person.asks(&["history", "sw1", "--artefact", "running-config", "--json"]).await.good().json();
    assert_eq!(versions.as_array().unwrap().len(), 2);
}

/// Objects of a repository as loose ones, so that one can be lost and no other.
fn unpack(repo: &Path) {
    for pack in std::fs::read_dir(repo.join("objects/pack")).unwrap().map(|e| e.unwrap().path()) {
        if pack.extension().is_some_and(|e| e == "pack") {
            let aside = repo.join("aside.pack");
            std::fs::rename(&pack, &aside).unwrap();
            std::fs::remove_file(pack.with_extension("idx")).unwrap();
            let mut unpack = Command::new("git");
            unpack.arg("--git-dir").arg(repo).args(["unpack-objects", "-q"]);
            assert!(unpack.stdin(std::fs::File::open(&aside).unwrap()).status().unwrap().success());
            std::fs::remove_file(aside).unwrap();
        }
    }
}

fn lose(repo: &Path, id: &str) {
    std::fs::remove_file(repo.join("objects").join(&id[..2]).join(&id[2..])).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn a_history_that_lost_a_commit_is_mended_out_of_the_other_destination() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1"), SimDevice::cisco_ios("sw2")]).await;
    person.moves_in(&fleet).await;
    for _ in 0..4 {
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.good();
    }
    let repo = person.path("home/git");
    unpack(&repo);
    let of = |versions: &Value, n: usize, at: &str| -> String {
        let copies = versions[n]["copies"].as_array().unwrap();
        let copy = copies.iter().find(|c| c["destination"] == at).unwrap();
        copy["storage_ref"].as_str().unwrap().to_owned()
    };
    let history = ["history", "sw1", "--artefact", "running-config", "--json"];
    let before = person.asks(&history).await.good().json();
    let (lost_commit, lost_blob) = (of(&before, 1, "git"), of(&before, 2, "git"));
    let blob = git(&repo, &["rev-parse", &lost_blob_name(&lost_blob)]);
    lose(&repo, lost_commit.rsplit_once('@').unwrap().1);
    lose(&repo, blob.trim());

    person.asks(&["verify", "--quiet"]).await.ended(3);
    let answer = person.asks(&["verify", "--repair"]).await.ended(3);
    assert!(answer.err.contains("git mend") || answer.out.contains("git mend"), "{answer:?}");
    let told = person.asks(&["git", "mend", "git", "--json"]).await.ended(3).json();
    assert_eq!((&told["done"], &told["lost_commits"]), (&false.into(), &1.into()), "{told}");
    let versions = told["versions"].as_array().unwrap();
    assert!(versions.len() == 2 && versions.iter().all(|v| v["from"] == "store"), "{told}");
    let done = person.asks(&["git", "mend", "git", "--yes"]).await.good();
    assert!(done.out.contains("put back from store") && done.err.contains("made again"), "{done:?}");
    git(&repo, &["fsck", "--full", "--strict"]);
    person.asks(&["verify", "--quiet"]).await.good();
    person.asks(&["catalog", "check", "--quiet"]).await.good();
    let after = person.asks(&history).await.good().json();
    assert_eq!(after.as_array().unwrap().len(), before.as_array().unwrap().len());
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let whole = person.asks(&["git", "mend", "git"]).await.good();
    assert!(whole.err.contains("its history is whole"), "{whole:?}");

    // What can be had nowhere goes by an explicit word alone. Behind the third version of the first stands a commit of the other.
    for at in [0, 1, 0, 0] {
        fleet.devices()[at].change_something();
        person.asks(&["backup", ["sw1", "sw2"][at], "--quiet"]).await.good();
    }
    unpack(&repo);
    let now = person.asks(&history).await.good().json();
    lose(&repo, of(&now, 2, "git").rsplit_once('@').unwrap().1);
    std::fs::remove_file(person.path("home/store").join(of(&now, 2, "store"))).unwrap();
    let refused = person.asks(&["git", "mend", "git", "--yes"]).await.ended(1);
    assert!(refused.err.contains("1 version can be had nowhere") && refused.err.contains("--lose"), "{refused:?}");
    // Later commits have its text still.
    assert!(refused.err.contains("can be read still, and goes with --lose: `git --git-dir "), "{refused:?}");
    let done = person.asks(&["git", "mend", "git", "--yes", "--lose"]).await.ended(3);
    assert!(done.out.contains("taken out"), "{done:?}");
    git(&repo, &["fsck", "--full", "--strict"]);
    person.asks(&["verify", "--destination", "git", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs git"]
async fn a_history_that_was_cut_off_is_not_mended_and_says_what_makes_it_whole() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    for _ in 0..3 {
        fleet.devices().iter().for_each(Simulated::change_something);
        person.asks(&["backup", "--all", "--quiet"]).await.good();
    }
    let (repo, whole) = (person.path("home/git"), person.path("whole.git"));
    std::fs::rename(&repo, &whole).unwrap();
    let from = format!("file://{}", whole.display());
    let cut = Command::new("git").args(["clone", "-q", "--bare", "--depth", "2", &from]).arg(&repo).status();
    assert!(cut.unwrap().success());
    std::fs::rename(whole.join("devicevault"), repo.join("devicevault")).unwrap();
    let tip = git(&repo, &["rev-parse", "main"]);
    let refused = person.asks(&["git", "mend", "git", "--yes"]).await.ended(1);
    for says in ["shallow clone", "git fetch --unshallow", "devicevault destination copy"] {
        assert!(refused.err.contains(says), "{refused:?}");
    }
    assert_eq!(git(&repo, &["rev-parse", "main"]), tip);
    git(&repo, &["fetch", "-q", "--unshallow", &from, "main"]);
    person.asks(&["git", "mend", "git", "--yes"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
}

/// `path@commit` of a reference as Git reads it.
fn lost_blob_name(at: &str) -> String {
    let (path, commit) = at.split_once(':').unwrap().1.rsplit_once('@').unwrap();
    format!("{commit}:{path}")
}

/// Writes an object as it is, whatever Git thinks of it.
fn write_object(repo: &Path, kind: &str, bytes: &[u8]) -> String {
    let mut write = Command::new("git");
    write.arg("--git-dir").arg(repo).args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"]);
    let mut child = write.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success());
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn raw(hex: &str) -> Vec<u8> {
    (0..40).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
#[ignore = "needs git"]
fn hostile_names_are_told_each_and_merged_into_nothing() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("hostile.git");
    bare(&repo);
    let blob = |text: &str| write_object(&repo, "blob", text.as_bytes());
    let tree = |items: &[(&str, &[u8], &str)]| {
        let line = |(mode, name, id): &(&str, &[u8], &str)| [mode.as_bytes(), b" ", name, b"\0", &raw(id)].concat();
        write_object(&repo, "tree", &items.iter().flat_map(line).collect::<Vec<u8>>())
    };
    let (one, two) = (blob("hostname one\n"), blob("hostname two\n"));
    let inner = tree(&[("100644", b"r1", &one)]);
    let root = tree(&[
        ("100644", b"..", &two),
        ("40000", b".git", &inner),
        ("40000", b".GIT", &inner),
        ("100644", b"R1", &two),
        ("100644", b"core/r1", &two),
        ("40000", b"core", &inner),
        ("100644", b"r2", &one),
        ("100644", b"r2", &two),
        ("100644", b"r\xff3", &one),
        ("100644", b"r\xfe3", &two),
    ]);
    let commit = format!("tree {root}\nauthor A <a> 1600000000 +0000\ncommitter A <a> 1600000000 +0000\n\nodd\n");
    let commit = write_object(&repo, "commit", commit.as_bytes());
    git(&repo, &["update-ref", "refs/heads/main", &commit]);
    let import = ["import", "git", "hostile.git", "--create", "--platform", "cisco_ios", "--json"];
    let told = person.run(&import).ended(3).json();
    let refused = serde_json::json!(["..", ".GIT", ".git", "core/r1", "r2", "r\\xfe3", "r\\xff3"]);
    assert_eq!(told[0]["refused"], refused, "{told}");
    assert_eq!((&told[0]["imported"], &told[0]["devices"]), (&2.into(), &2.into()), "{told}");
    assert_eq!(person.run(&["show", "r1", "--view", "original"]).good().out, "hostname one\n");
    assert_eq!(person.run(&["show", "R1", "--view", "original"]).good().out, "hostname two\n");
}

#[test]
#[ignore = "needs git"]
fn a_node_in_two_groups_is_told_and_one_that_moved_is_one() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("devices.git");
    bare(&repo);
    let mut stream = String::new();
    for (n, what) in [
        "M 100644 inline core/r1\ndata 2\n1\n\nM 100644 inline core/r2\ndata 2\n1\n",
        "M 100644 inline core/r1\ndata 2\n2\n\nM 100644 inline lab/r2\ndata 2\n2\n",
        "M 100644 inline lab/r1\ndata 2\n3\n\nM 100644 inline core/r2\ndata 2\n3\n",
        "D core/r1\nM 100644 inline lab/r1\ndata 2\n4\n\nM 100644 inline lab/r2\ndata 2\n4\n",
    ]
    .into_iter()
    .enumerate()
    {
        let time = 1_600_000_000 + 60 * n;
        stream.push_str(&format!(
            "commit refs/heads/main\ncommitter O <o@example.net> {time} +0000\ndata 1\nu\n{what}\n"
        ));
    }
    fast_import(&repo, &stream);
    let told = person.run(&["import", "git", "devices.git", "--create", "--platform", "cisco_ios", "--json"]).ended(3);
    let told = told.json();
    assert_eq!(told[0]["doubles"], serde_json::json!({"core/r2": "lab/r2"}), "{told}");
    assert_eq!((versions(&person, "r1").len(), versions(&person, "r2").len()), (4, 2), "{told}");
}

#[test]
#[ignore = "needs git"]
fn a_node_that_moved_away_and_came_back_keeps_all_versions() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("devices.git");
    bare(&repo);
    let mut stream = String::new();
    for (n, what) in [
        "M 100644 inline core/r1\ndata 2\n0\n",
        "R core/r1 lab/r1\nM 100644 inline lab/r1\ndata 2\n1\n",
        "M 100644 inline lab/r1\ndata 2\n2\n",
        "R lab/r1 core/r1\nM 100644 inline core/r1\ndata 2\n3\n",
        "R core/r1 lab/r1\n",
        "M 100644 inline lab/r1\ndata 2\n4\n",
        // As Oxidized does it: the file in the other group stays.
        "M 100644 inline core/r1\ndata 2\n5\n",
    ]
    .into_iter()
    .enumerate()
    {
        let time = 1_600_000_000 + 60 * n;
        stream.push_str(&format!(
            "commit refs/heads/main\ncommitter O <o@example.net> {time} +0000\ndata 1\nu\n{what}\n"
        ));
    }
    fast_import(&repo, &stream);
    let told = person.run(&["import", "git", "devices.git", "--create", "--platform", "cisco_ios", "--json"]).good();
    let told = told.json();
    assert_eq!((&told[0]["imported"], &told[0]["same"]), (&6.into(), &1.into()), "{told}");
    let versions = versions(&person, "r1");
    let text =
        |v: &Value| person.run(&["show", "r1", "--backup", v["id"].as_str().unwrap(), "--view", "original"]).good().out;
    assert_eq!(versions.iter().map(text).collect::<String>(), "5\n4\n3\n2\n1\n0\n");
}

#[test]
#[ignore = "needs git"]
fn a_history_that_was_cut_off_is_told() {
    let person = Person::new();
    person.run(&["init"]).good();
    let (whole, cut) = (person.path("whole.git"), person.path("devices.git"));
    oxidized(&whole, 2, 3);
    let from = format!("file://{}", whole.display());
    let done = Command::new("git").args(["clone", "-q", "--bare", "--depth", "2", &from]).arg(&cut).status();
    assert!(done.unwrap().success());
    let import = ["import", "git", "devices.git", "--create", "--platform", "cisco_ios"];
    let told = person.run(&[&import[..], &["--json"]].concat()).ended(3).json();
    assert_eq!((&told[0]["cut"], &told[0]["imported"]), (&true.into(), &3.into()), "{told}");
    let told = person.run(&[&import[..], &["--dry-run"]].concat()).ended(3);
    assert!(told.err.contains("shallow clone") && told.err.contains("--unshallow"), "{told:?}");
}

#[test]
#[ignore = "needs git"]
fn a_dry_run_tells_what_the_import_does_and_merges_are_named() {
    let person = Person::new();
    person.run(&["init"]).good();
    let repo = person.path("devices.git");
    let commit = |branch: &str, mark: u32, parents: &str, text: &str| {
        let time = 1_600_000_000 + 60 * mark;
        format!(
            "commit refs/heads/{branch}\nmark :{mark}\ncommitter O <o@example.net> {time} +0000\ndata 1\nu\n{parents}\
             M 100644 inline r1\ndata 2\n{text}\n\n"
        )
    };
    let history = [
        commit("main", 1, "", "0"),
        commit("side", 2, "from :1\n", "1"),
        commit("side", 3, "from :2\n", "2"),
        commit("main", 4, "from :1\nmerge :3\n", "2"),
    ];
    bare(&repo);
    fast_import(&repo, &history.concat());
    let import = ["import", "git", "devices.git", "--create", "--platform", "cisco_ios"];
    let would = person.run(&[&import[..], &["--dry-run", "--json"]].concat()).good().json();
    assert!(person.run(&["device", "list", "--json"]).good().json().as_array().unwrap().is_empty());
    assert_eq!(would[0]["unknown"].as_object().unwrap().len(), 0, "{would}");
    assert_eq!(would[0]["merges"].as_object().unwrap().len(), 1, "{would}");
    let told = person.run(&import).good();
    assert!(told.err.contains("1 merge in the history"), "{told:?}");
    assert_eq!((&would[0]["devices"], &would[0]["imported"]), (&1.into(), &versions(&person, "r1").len().into()));
}
