//! The catalog, and nothing else: what can be asked while every destination is away, and what is said where it cannot.

use devicevault_testkit::sim::{SimDevice, Simulated};

use crate::person::{Answer, Person};
use crate::sight::devices;

/// Destinations of the home, and their folders.
const PLACES: [(&str, &str); 3] = [("store", "home/store"), ("git", "home/git"), ("offsite", "offsite")];

/// What is answered by the catalog, whatever became of destinations.
const ANSWERED: [&[&str]; 23] = [
    &["history"],
    &["history", "sw0", "--artefact", "running-config"],
    &["device", "list"],
    &["device", "show", "sw0"],
    &["destination", "list"],
    &["destination", "show", "store"],
    &["policy", "list"],
    &["credential", "list"],
    &["run", "list"],
    &["run", "show", "latest"],
    &["stats"],
    &["retention", "show"],
    &["quarantine", "list"],
    &["platform", "list"],
    &["platform", "show", "cisco_ios"],
    &["key", "list"],
    &["device", "host-key", "show", "sw0"],
    &["export", "--to", "exported"],
    &["system", "config"],
    &["retention", "pin", "sw0:running-config"],
    &["retention", "unpin", "sw0:running-config"],
    &["device", "edit", "sw0", "--site", "zurich"],
    &["show", "sw0:running-config", "--json"],
];

/// What needs a destination, with how it ends: 1 where nothing of it can be done. Each names a destination that is away.
const REFUSED: [(&[&str], i32); 13] = [
    (&["show", "sw0:running-config"], 1),
    (&["show", "sw0:running-config", "--view", "original"], 1),
    (&["diff", "sw0:running-config"], 1),
    (&["download", "sw0:running-config", "--to", "out.cfg"], 1),
    (&["restore", "sw0", "--to", "back/"], 1),
    (&["restore", "sw0", "running-config", "--to", "back/", "--from", "store"], 1),
    (&["verify"], 1),
    (&["retention", "apply", "--dry-run"], 1),
    (&["catalog", "check"], 1),
    (&["catalog", "rebuild", "--from", "store", "--dry-run"], 1),
    (&["destination", "test", "--all"], 1),
    (&["destination", "maintain"], 1),
    (&["destination", "copy", "store", "offsite"], 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_answers_while_every_destination_is_away() {
    let (fleet, person) = devices((0..2).map(|i| SimDevice::cisco_ios(format!("sw{i}")).size(4 << 10))).await;
    person.moves_in(&fleet).await;
    person
        .asks(&["destination", "add", "offsite", "--kind", "plain", "--path", "offsite", "--seal", "no"])
        .await
        .good();
    for _ in 0..2 {
        person.asks(&["backup", "--all", "--quiet"]).await.good();
        fleet.devices().iter().for_each(Simulated::change_something);
    }
    let before = person.asks(&["history", "--json"]).await.good().json();
    for (_, folder) in PLACES {
        std::fs::rename(person.path(folder), person.path(&format!("{folder}.away"))).unwrap();
    }
    ask(&person, "gone").await;
    // What a share looks like that is not mounted.
    for (_, folder) in PLACES {
        std::fs::create_dir(person.path(folder)).unwrap();
    }
    ask(&person, "not mounted").await;
    // A folder cannot be locked to root; what stands in its place can be no folder.
    for (_, folder) in PLACES {
        std::fs::remove_dir(person.path(folder)).unwrap();
        std::fs::write(person.path(folder), "in the way").unwrap();
    }
    ask(&person, "in the way").await;
    for (_, folder) in PLACES {
        std::fs::remove_file(person.path(folder)).unwrap();
        std::fs::rename(person.path(&format!("{folder}.away")), person.path(folder)).unwrap();
    }
    // Nothing was taken for lost meanwhile, and nothing was written over.
    assert_eq!(person.asks(&["history", "--json"]).await.good().json(), before);
    person.asks(&["verify"]).await.good();
    person.asks(&["catalog", "check"]).await.good();
}

async fn ask(person: &Person, how: &str) {
    let _ = std::fs::remove_dir_all(person.path("exported"));
    for args in ANSWERED {
        let answer = person.asks(args).await;
        assert_eq!(answer.code, 0, "{how}: {args:?}: {}{}", answer.out, answer.err);
        is_calm(&answer, how, args);
    }
    for (args, code) in REFUSED {
        let answer = person.asks(args).await;
        assert_eq!(answer.code, code, "{how}: {args:?}: {}{}", answer.out, answer.err);
        is_calm(&answer, how, args);
        let told = format!("{}{}", answer.out, answer.err);
        assert!(PLACES.iter().any(|(name, _)| told.contains(name)), "{how}: {args:?}: {told}");
        // As JSON, a version is what the catalog knows of it.
        if args[0] == "show" {
            continue;
        }
        let error = person.asks(&[args, &["--json"]].concat()).await;
        assert_eq!(error.code, code, "{how}: {args:?}: {error:?}");
        is_calm(&error, how, args);
        assert!(!error.out.is_empty() || error.err.starts_with('{'), "{how}: {args:?}: {error:?}");
    }
    // However many copies there are, a destination that is away is told once.
    let verify = person.asks(&["verify"]).await.ended(1);
    assert!(verify.out.is_empty() && verify.err.lines().count() < 10, "{how}: {verify:?}");
    for (name, _) in PLACES {
        assert!(verify.err.contains(name), "{how}: {name}: {verify:?}");
    }
    for file in ["out.cfg", "back"] {
        assert!(!person.path(file).exists(), "{how}: {file}");
    }
}

#[track_caller]
fn is_calm(answer: &Answer, how: &str, args: &[&str]) {
    for word in ["panicked", "internal", "RUST_BACKTRACE"] {
        assert!(!answer.err.contains(word), "{how}: {args:?}: {}", answer.err);
    }
}
