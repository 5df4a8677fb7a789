//! Remotes of Git destinations that a stored credential opens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use devicevault_testkit::sim::{SimDevice, Simulated};

use crate::devicevault::{Answer, PASSWORD};
use crate::place::Place;
use crate::process::{program, run};
use crate::sshd::Sshd;
use crate::stores::Home;
use crate::user::User;

fn tip(repository: &Path) -> String {
    // It is another user's.
    run(Command::new(program("git")).args(["-c", "safe.directory=*", "-C"]).arg(repository).args(["rev-parse", "main"]))
}

/// What lies below a folder, folders left out.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { all_below(&path) } else { vec![path] }).collect()
}

/// Waits until this holds.
fn until(holds: impl Fn() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never held");
}

#[test]
#[ignore = "needs sshd, ssh, git and root"]
fn a_stored_key_pushes_each_group_to_a_remote_of_its_own() {
    let (user, place, sshd) = (User::add(), Place::new(), Sshd::start(""));
    let key = sshd.authorised_key(&["-t", "ed25519", "-N", ""]);
    for name in ["core", "default"] {
        run(Command::new(program("git")).args(["init", "-q", "--bare", "-b", "main"]).arg(place.join(name)));
        run(Command::new(program("chown")).arg("-R").arg(&user.name).arg(place.join(name)));
    }
    let home = Home::with("", ["core-sw1", "edge-sw2"].map(SimDevice::cisco_ios));
    home.good(&["device", "edit", "core-sw1", "--group", "core"]);
    let file = key.to_str().expect("UTF-8");
    home.good(&["credential", "add", "pusher", "--user", &user.name, "--key-file", file, "--store"]);
    std::fs::remove_file(&key).expect("the key");
    let remote = format!("remote=ssh://{}@127.0.0.1:{}{}/{{repository}}", user.name, sshd.port, place.path().display());
    let add = ["destination", "add", "groups", "--kind", "git", "--path", "home/groups", "--credential", "pusher"];
    home.good(&[&add[..], &["--option", "repository={group}", "--option", &remote]].concat());
    let told = home.good(&["backup", "--all"]);
    assert!(!told.err.contains("not pushed"), "{told:?}");
    let same = || {
        for name in ["core", "default"] {
            assert_eq!(tip(&place.join(name)), tip(&home.person.path(&format!("home/groups/{name}.git"))), "{name}");
        }
    };
    same();

    // The key is in memory alone: nothing of it lies there while it is used, nor when the program is killed meanwhile.
    home.fleet.devices().iter().for_each(Simulated::change_something);
    home.good(&["destination", "edit", "groups", "--option", "push=manual"]);
    home.good(&["backup", "--all", "--quiet"]);
    let folder = place.join("tmp");
    std::fs::create_dir(&folder).expect("a folder");
    let held = place.join("held");
    place.write("core/hooks/pre-receive", &format!("#!/bin/sh\ntouch {}; sleep 5\n", held.display()));
    let hook = place.join("core/hooks/pre-receive");
    run(Command::new(program("chmod")).arg("a+x").arg(&hook));
    run(Command::new(program("chmod")).arg("a+rwx").arg(place.path()));
    let mut push = home.person.program(&home.password(), &["--home", "home", "git", "push", "groups"]);
    push.env("TMPDIR", &folder);
    let mut under_way = push.spawn().expect("the program");
    until(|| held.exists());
    let lies_there = || {
        all_below(&folder).iter().map(|file| std::fs::metadata(file).expect("its type").is_file()).collect::<Vec<_>>()
    };
    assert_eq!(lies_there(), [false], "{:?}", all_below(&folder));
    under_way.kill().expect("a process");
    under_way.wait().expect("its end");
    assert!(!lies_there().contains(&true), "{:?}", all_below(&folder));
    std::fs::remove_file(hook).expect("the hook");
    std::fs::remove_dir_all(&folder).expect("the folder");
    std::fs::create_dir(&folder).expect("a folder");
    let mut push = home.person.program(&home.password(), &["--home", "home", "git", "push", "groups"]);
    Answer::of(push.env("TMPDIR", &folder)).good();
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0);
    home.good(&["destination", "edit", "groups", "--option", "push=round"]);
    same();

    let refused = home.run(&["credential", "remove", "pusher"]);
    assert!(refused.code == 1 && refused.err.contains("destination groups"), "{refused:?}");
    home.good(&["credential", "add", "words", "--user", "noc", "--password-env", PASSWORD]);
    home.good(&["destination", "edit", "groups", "--credential", "words"]);
    home.fleet.devices().iter().for_each(Simulated::change_something);
    let told = home.good(&["backup", "--all"]);
    assert!(told.err.contains("not pushed"), "{told:?}");
    let refused = home.run(&["git", "push", "groups"]);
    assert!(refused.code == 1 && refused.shows("takes a key"), "{refused:?}");
    home.good(&["credential", "remove", "pusher"]);
}

#[test]
#[ignore = "needs git"]
fn a_stored_token_goes_to_the_remote_that_was_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    // It ends with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<String> = lines.collect();
            kept.lock().expect("no panic").push(head.join("\n"));
            let _ = (&stream).write_all(b"HTTP/1.1 403 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let home = Home::with("", [SimDevice::cisco_ios("core-sw1")]);
    home.good(&["backup", "--all", "--quiet"]);
    home.good(&["credential", "add", "noc", "--user", "noc", "--password-env", PASSWORD, "--store"]);
    let remote = format!("remote=http://127.0.0.1:{port}/configs.git");
    home.good(&["destination", "edit", "git", "--credential", "noc", "--option", &remote]);
    // Stored: it is found without the variable.
    let mut push = home.person.program("", &["--home", "home", "git", "push", "git"]);
    let refused = Answer::of(&mut push);
    assert!(refused.code == 1 && !refused.shows(&home.password()), "{refused:?}");
    let pair = BASE64_STANDARD.encode(format!("noc:{}", home.password()));
    let asked = heads.lock().expect("no panic");
    assert!(asked.iter().any(|head| head.contains(&format!("Authorization: Basic {pair}"))), "{asked:?}");
}
