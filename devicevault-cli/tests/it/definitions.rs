//! A home as files: exported, applied, in Git; and what a process starts with.

use devicevault_testkit::sim::{Fleet, SimDevice};
use serde_json::Value;

use crate::person::{Answer, Person, files_below};
use crate::sight::devices;

async fn home() -> (Fleet, Person) {
    let (fleet, person) = devices((0..3).map(|i| SimDevice::cisco_ios(format!("sw{i}")))).await;
    person.moves_in(&fleet).await;
    person
        .asks(&["policy", "add", "core", "--device", "sw0", "--to", "store", "--option", "retention.last=5"])
        .await
        .good();
    (fleet, person)
}

fn texts(person: &Person, folder: &str) -> Vec<(String, String)> {
    let name = |p: &std::path::Path| p.file_name().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = files_below(&person.path(folder))
        .into_iter()
        .map(|(p, bytes)| (name(&p), String::from_utf8(bytes).unwrap()))
        .collect();
    all.sort();
    all
}

async fn changes(person: &Person, args: &[&str]) -> Vec<String> {
    let told = person.asks(&[&["apply", "--json"], args].concat()).await.good().json();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = told["changes"].as_array().unwrap().iter();
    all.map(|c| {
        let fields: Vec<_> = c["fields"].as_array().unwrap().iter().map(text).collect();
        format!("{} {} {} {}", text(&c["action"]), text(&c["kind"]), text(&c["name"]), fields.join(","))
            .trim()
            .to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_goes_into_files_and_another_comes_out_of_them() {
    let (fleet, person) = home().await;
    person.asks(&["export", "--to", "files"]).await.good();
    let exported = texts(&person, "files");
    assert_eq!(exported.len(), 4);
    assert!(
        exported.iter().any(|(n, t)| n == "devices.toml"
            && t.contains("name = \"sw2\"")
            && t.contains("DEVICEVAULT_TEST_PASSWORD"))
    );
    assert!(exported.iter().all(|(_, t)| !t.contains(&fleet.devices()[0].password()) && !t.contains("created_at")));
    assert!(changes(&person, &["-f", "files"]).await.is_empty());

    // Another home, from the files alone.
    let other = |args: &[&str]| {
        let args: Vec<String> = ["--home", "other"].iter().chain(args).map(ToString::to_string).collect();
        let person = &person;
        async move { person.asks(&args.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    other(&["init"]).await.good();
    let told = other(&["apply", "-f", "files", "--dry-run"]).await.good();
    assert!(told.err.contains("nothing was changed") && told.out.contains("sw1"), "{told:?}");
    assert_eq!(other(&["device", "list", "--json"]).await.good().json(), Value::Array(Vec::new()));
    other(&["apply", "-f", "files"]).await.good();
    other(&["export", "--to", "again"]).await.good();
    assert_eq!(texts(&person, "again"), exported);
    other(&["export", "--to", "json", "--format", "json"]).await.good();
    other(&["apply", "-f", "json", "--prune"]).await.good();
    other(&["export", "--to", "again"]).await.good();
    assert_eq!(texts(&person, "again"), exported);
    other(&["backup", "--all", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_in_the_files_changes_in_the_home_and_nothing_else_unless_asked_for() {
    let (_fleet, person) = home().await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.asks(&["export", "--to", "files"]).await.good();
    let edit = |name: &str, from: &str, to: &str| {
        let path = person.path(&format!("files/{name}"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    // A device gets another name and keeps its identity, and so its history.
    edit("devices.toml", "name = \"sw1\"", "name = \"edge1\"\nsite = \"bern\"");
    edit("policies.toml", "retention.last\" = \"5\"", "retention.last\" = \"9\"");
    std::fs::write(
        person.path("files/more.json"),
        r#"{"device": [{"name": "new-sw", "host": "192.0.2.9", "platform": "frr"}],
            "destination": [{"name": "offsite", "kind": "plain", "view": "original", "options": {"path": "offsite", "seal": "yes"}}]}"#,
    )
    .unwrap();
    let wanted =
        ["add destination offsite", "change device edge1 name,site", "add device new-sw", "change policy core options"];
    assert_eq!(changes(&person, &["-f", "files", "--dry-run"]).await, wanted);
    assert_eq!(changes(&person, &["-f", "files"]).await, wanted);
    assert!(changes(&person, &["-f", "files"]).await.is_empty());
    assert!(!person.asks(&["history", "edge1", "--json"]).await.good().json().as_array().unwrap().is_empty());
    assert!(person.path("home/offsite/.devicevault-destination").exists());

    // What the files leave out stays; with --prune it goes, of the kinds that they speak of.
    std::fs::remove_file(person.path("files/more.json")).unwrap();
    assert!(changes(&person, &["-f", "files"]).await.is_empty());
    let pruned = ["remove device new-sw", "remove destination offsite"];
    assert_eq!(changes(&person, &["-f", "files", "--prune", "--dry-run"]).await, pruned);
    let only_devices = ["remove device new-sw"];
    assert_eq!(changes(&person, &["-f", "files/devices.toml", "--prune"]).await, only_devices);
    assert_eq!(changes(&person, &["-f", "files", "--prune"]).await, ["remove destination offsite"]);
    assert!(person.path("home/offsite/.devicevault-destination").exists(), "what it holds stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_its_place_before_anything_changes() {
    let (_fleet, person) = home().await;
    let before = person.asks(&["device", "list", "--json"]).await.good().out;
    let good = "[[device]]\nname = \"a-sw\"\nhost = \"192.0.2.8\"\nplatform = \"frr\"\n\n";
    for (text, told) in [
        (
            "[[device]]\nname = \"b\"\nhots = \"x\"\n",
            &["line: 8, column: 1", "`hots` is not known", "hots = \"x\""][..],
        ),
        ("[[device]]\nname = \"b\"\nhost = \"x\"\nplatform = \"nothing\"\n", &["line: 6", "nothing"]),
        (
            "[[device]]\nname = \"a-sw\"\nhost = \"x\"\nplatform = \"frr\"\n",
            &["line: 6", "of this name already", "x.toml:1"],
        ),
        ("[[devcie]]\nname = \"b\"\n", &["line: 6, column: 3", "`devcie` is not known"]),
        ("[device]\nname = \"b\"\n", &["line: 6"]),
        ("[[policy]]\nname = \"p\"\ndestinations = [\"nowhere\"]\n", &["line: 6", "no destination of this name"]),
        ("[[policy]]\nname = \"p\"\ndestinations = [\"git\"]\n", &["line: 6", "keeps originals"]),
        ("[[destination]]\nname = \"d\"\nkind = \"tape\"\nview = \"original\"\n", &["line: 6", "it has: git, plain"]),
        (
            "[[destination]]\nname = \"store\"\nkind = \"plain\"\nview = \"clean\"\noptions = { path = \"store\", seal = \"yes\", compression = \"zstd\" }\n",
            &["--without-original"],
        ),
        ("[[credential]]\nname = \"c\"\nsealed = [1]\n", &["line: 8, column: 10", "home's own record"]),
        ("[[device]]\nname = \"b\"\nlogin = { password = \"hunter2\" }\n", &["line: 8"]),
        ("[[device]\n", &["line: 6"]),
        ("[[device]]\nname = \"b\"\nhost = \"x\"\nport = 0\nplatform = \"frr\"\n", &["line: 6", "port", "it is 0"]),
        (
            "[[device]]\nname = \"b\"\nhost = \"-oProxyCommand=x\"\nplatform = \"frr\"\n",
            &["line: 6", "begins with a hyphen"],
        ),
    ] {
        person.write("x.toml", &format!("{good}{text}"));
        let answer = person.asks(&["apply", "-f", "x.toml"]).await;
        assert!(answer.code == 2 || answer.code == 1, "{text}: {answer:?}");
        assert!(told.iter().all(|t| answer.err.contains(t)), "{text}: {answer:?}");
        assert!(!answer.err.contains("hunter2"), "{answer:?}");
    }
    // What names something that is not there is wrong as any other mistake in it.
    for text in [
        "[[policy]]\nname = \"p\"\ndestinations = [\"nowhere\"]\n",
        "[[policy]]\nname = \"p\"\nselect.devices = [\"nobody\"]\n",
    ] {
        person.write("x.toml", text);
        person.asks(&["apply", "-f", "x.toml"]).await.ended(2);
    }
    assert_eq!(person.asks(&["device", "list", "--json"]).await.good().out, before);
    assert_eq!(person.asks(&["destination", "list", "--json"]).await.good().json().as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_starts_the_process_and_is_checked() {
    let (_fleet, person) = home().await;
    let refused = |answer: Answer, told: &[&str]| assert!(told.iter().all(|t| answer.err.contains(t)), "{answer:?}");
    person.write(
        "home/devicevault.toml",
        "[backup]\nsessions = 2\n\n[spool]\nparked = \"1 KiB\"\n\n[log]\nfile = \"dv.log\"\n",
    );
    let row = |all: &Value, name: &str| {
        let found = all.as_array().unwrap().iter().find(|e| e["setting"] == name).cloned().unwrap();
        (found["value"].clone(), found["origin"].clone())
    };
    let all = person.asks(&["system", "config", "--json"]).await.good().json();
    assert_eq!(row(&all, "backup.sessions"), ("2".into(), "file".into()));
    assert_eq!(row(&all, "home").1, "environment");
    let mut program = person.program(&["system", "config", "--json", "--home", "home"]);
    let all = Answer::of({
        program.env("DEVICEVAULT_BACKUP_SESSIONS", "5");
        program
    })
    .good()
    .json();
    assert_eq!(
        (row(&all, "backup.sessions"), row(&all, "home").1),
        (("5".into(), "environment".into()), "flag".into())
    );
    assert!(person.asks(&["system", "config"]).await.good().out.contains("spool.parked"));

    // The bound on what may wait is in force: more is a failure that is told, and nobody waits for room.
    std::fs::rename(person.path("home/git"), person.path("away")).unwrap();
    let answer = person.asks(&["backup", "sw1", "--json"]).await.ended(3).json();
    let statuses: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r["copies"].as_array().unwrap().iter())
        .filter(|c| c["destination"] == "git")
        .map(|c| c["status"].clone())
        .collect();
    assert!(statuses.contains(&"failed".into()), "{answer}");
    assert!(std::fs::read_to_string(person.path("home/dv.log")).unwrap().contains("park_failed"));
    std::fs::rename(person.path("away"), person.path("home/git")).unwrap();
    person.asks(&["backup", "sw1", "--quiet"]).await.good();

    person.write("home/devicevault.toml", "[backup]\nsesions = 2\n");
    refused(person.asks(&["device", "list"]).await.ended(2), &["line: 2", "column: 1", "sesions = 2", "sessions"]);
    refused(person.asks(&["device", "list", "--json"]).await.ended(2), &["\"kind\": \"config\""]);
    person.write("home/devicevault.toml", "[file_rules]\nmin_size = \"1 KB\"\nmax_size = \"2 XB\"\n");
    refused(person.asks(&["device", "list"]).await.ended(2), &["line: 3", "column", "2 XB"]);
    refused(person.asks(&["--config", "none.toml", "device", "list"]).await, &["none.toml"]);
    std::fs::remove_file(person.path("home/devicevault.toml")).unwrap();
    person.write("etc.toml", "home = \"home\"\n");
    let mut program = person.program(&["--config", "etc.toml", "device", "list", "--json"]);
    program.env_remove("DEVICEVAULT_HOME");
    assert_eq!(Answer::of(program).good().json().as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_not_apart_is_refused_by_a_rehearsal_too() {
    let (_fleet, person) = home().await;
    for path in ["git", "./git/../git", "git/objects", "store/sub", ".", "..", "keys", "spool"] {
        let text =
            format!("[[destination]]\nname=\"e2\"\nkind=\"plain\"\nview=\"original\"\noptions={{path=\"{path}\"}}\n");
        person.write("x.toml", &text);
        for more in [&["--dry-run"][..], &[]] {
            let answer = person.asks(&[&["apply", "-f", "x.toml"][..], more].concat()).await.ended(1);
            assert!(answer.err.contains("x.toml") && answer.err.contains("folder of its own"), "{path}: {answer:?}");
        }
    }
    assert!(!person.path("home/git/.devicevault-destination").exists() && !person.path("home/store/sub").exists());
    assert_eq!(person.asks(&["destination", "list", "--json"]).await.good().json().as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_a_file_is_sealed_as_one_of_the_command() {
    let (_fleet, person) = home().await;
    let text = "[[destination]]\nname=\"aa\"\nkind=\"plain\"\nview=\"original\"\noptions={path=\"../aa\"}\n";
    person.write("ap.toml", text);
    assert_eq!(changes(&person, &["-f", "ap.toml"]).await, ["add destination aa"]);
    let all = person.asks(&["destination", "list", "--json"]).await.good().json();
    let made = all.as_array().unwrap().iter().find(|d| d["name"] == "aa").unwrap();
    assert_eq!((&made["sealed"], &made["options"]["seal"]), (&true.into(), &"yes".into()), "{made}");
    assert_eq!(made["options"]["compression"], "zstd", "{made}");
    // The same file says the same again.
    assert!(changes(&person, &["-f", "ap.toml"]).await.is_empty());
    person.asks(&["backup", "sw1", "--quiet"]).await.good();
    let sealed = files_below(&person.path("aa/sw1")).iter().filter(|(_, bytes)| bytes.starts_with(b"DVO1")).count();
    assert_eq!(sealed, 3, "every content is a container");
    // In the clear only where it is said.
    person.write("ap.toml", &text.replace("aa", "bb").replace("../bb\"", "../bb\", seal=\"no\""));
    person.asks(&["apply", "-f", "ap.toml"]).await.good();
    let all = person.asks(&["destination", "list", "--json"]).await.good().json();
    assert!(all.as_array().unwrap().iter().any(|d| d["name"] == "bb" && d["sealed"] == false), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_of_files_with_a_destination_that_cannot_be() {
    let (_fleet, person) = home().await;
    let lists = async || {
        let mut all = String::new();
        for list in [["credential", "list", "--json"], ["destination", "list", "--json"], ["device", "list", "--json"]]
        {
            all.push_str(&person.asks(&list).await.good().out);
        }
        all
    };
    let before = lists().await;
    let credential = "[[credential]]\nname = \"newc\"\nlogin = { username = \"u\", password = { env = \"PW\" } }\n";
    let destination = |name: &str, options: &str| {
        format!("[[destination]]\nname=\"{name}\"\nkind=\"plain\"\nview=\"original\"\noptions={{{options}}}\n")
    };
    let good = format!("{credential}{}", destination("aa", "path=\"../aa\""));
    let git = "[[destination]]\nname=\"g\"\nkind=\"git\"\nview=\"redacted\"\noptions={path=\"g\",commits=\"often\"}\n";
    person.write("file", "no folder");
    for (wrong, told) in [
        (destination("bb", "path=\"../bb\", sael=\"yes\""), "sael"),
        (destination("bb", "path=\"../bb\", compression=\"gzip\""), "gzip does not go with sealing"),
        (destination("bb", "path=\"../bb\", template=\"{nothing}\""), "nothing"),
        (destination("bb", "path=\"store\""), "belongs to another destination"),
        (destination("bb", "path=\"../file/bb\""), "no folder can be there"),
        (destination("bb", "path=\"/proc/bb\""), "no folder can be made there"),
        (destination("bb", "path=\"catalog.db.d\""), "the home keeps its own files there"),
        (destination("bb", "url=\"s3://bucket/x\", credential=\"nope\""), "no credential of this name"),
        (destination("bb", "url=\"s3://bucket/x\", regoin=\"x\""), "regoin"),
        (git.to_owned(), "it is artefact or batch"),
        ("[[device]]\nname=\"d\"\nhost=\"h\"\nplatform=\"frr\"\nlogin={credential=\"nope\"}\n".to_owned(), "nope"),
    ] {
        person.write("x.toml", &format!("{good}{wrong}"));
        for more in [&["--dry-run"][..], &[]] {
            let answer = person.asks(&[&["apply", "-f", "x.toml"][..], more].concat()).await;
            assert!(answer.code == 1 || answer.code == 2, "{wrong}: {answer:?}");
            assert!(answer.err.contains(told) && answer.err.contains("x.toml, line: 9"), "{wrong}: {answer:?}");
        }
        assert_eq!(lists().await, before, "{wrong}");
    }
    assert!(!person.path("aa").exists());

    // What only the place itself can tell is found before the home knows any of it.
    let nobody = "url=\"sftp://127.0.0.1:1/x\", user=\"u\", password_env=\"NOT_SET\"";
    person.write("x.toml", &format!("{good}{}", destination("bb", nobody)));
    person.asks(&["apply", "-f", "x.toml", "--dry-run"]).await.good();
    let answer = person.asks(&["apply", "-f", "x.toml"]).await;
    assert!(answer.code != 0 && answer.err.contains("applied: nothing"), "{answer:?}");
    assert_eq!(lists().await, before);
    person.write("x.toml", &format!("{good}{}", destination("bb", "path=\"../bb\"")));
    person.asks(&["apply", "-f", "x.toml"]).await.good();
}
