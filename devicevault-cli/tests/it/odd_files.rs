//! What stands in the place of a file and is none: a pipe that nobody writes to, a socket, a folder.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::person::{Answer, Person};
use crate::sight::switch;

/// Longer than any of these commands takes; what waits for a pipe takes for ever.
const LIMIT: &str = "120";

/// Runs the program, and ends it where it never comes back.
async fn asks(person: &Person, args: &[&str]) -> Answer {
    let program = person.program(args);
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", LIMIT]).arg(program.get_program()).args(program.get_args());
    limited.env_clear().current_dir(person.path("")).stdin(std::process::Stdio::null());
    limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tokio::task::spawn_blocking(move || Answer::of(limited)).await.unwrap()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts something in the place of a file while something is done.
async fn in_place_of<T>(path: &Path, put: impl Fn(&Path), done: impl Future<Output = T>) -> T {
    let aside = path.with_extension("aside");
    let was_there = path.exists();
    if was_there {
        std::fs::rename(path, &aside).unwrap();
    }
    put(path);
    let answer = done.await;
    if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }.unwrap();
    if was_there {
        std::fs::rename(&aside, path).unwrap();
    }
    answer
}

/// The only file of a folder with this ending.
fn only(folder: &Path, ending: &str) -> String {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.ends_with(ending)).min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_has_the_place_of_a_file_of_git_is_named_at_once() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let repo = person.path("home/git");
    let packs = repo.join("objects/pack");
    let pack = format!("objects/pack/{}", only(&packs, ".pack"));
    let index = format!("objects/pack/{}", only(&packs, ".idx"));
    let own = only(&repo.join("devicevault"), "lock");
    let own = format!("devicevault/{own}");
    let files =
        ["HEAD", "config", "packed-refs", "shallow", "refs/heads/main", "refs/tags/v1", "objects/info/alternates"];
    let packs = [&pack, &index, "objects/pack/multi-pack-index", &own];
    for file in files.into_iter().chain(packs) {
        let path = repo.join(file);
        for command in
            [&["destination", "test", "git"][..], &["verify", "--destination", "git"], &["git", "mend", "git"]]
        {
            let told = in_place_of(&path, pipe, asks(&person, command)).await;
            let all = format!("{}{}", told.out, told.err);
            assert!(
                matches!(told.code, 1 | 3) && all.contains(file) && all.contains("a pipe"),
                "{file} {command:?}: {told:?}"
            );
        }
    }
    // A link to one is one; what is a link to a file stays good.
    let link = |at: &Path| std::os::unix::fs::symlink(person.path("pipe"), at).unwrap();
    pipe(&person.path("pipe"));
    let told = in_place_of(&repo.join("HEAD"), link, asks(&person, &["destination", "test", "git"])).await.ended(1);
    assert!(format!("{}{}", told.out, told.err).contains("a pipe"), "{told:?}");
    let socket = |at: &Path| drop(UnixListener::bind(at).unwrap());
    let folder = |at: &Path| std::fs::create_dir(at).unwrap();
    for (what, put) in [("a socket", &socket as &dyn Fn(&Path)), ("a folder", &folder)] {
        let told = in_place_of(&repo.join("HEAD"), put, asks(&person, &["destination", "test", "git"])).await.ended(1);
        assert!(format!("{}{}", told.out, told.err).contains(what), "{told:?}");
    }
    // A backup waits for it, and reaches it when it is mended.
    let change = async {
        fleet.devices()[0].change_something();
        asks(&person, &["backup", "--all"]).await.ended(3)
    };
    let kept = in_place_of(&repo.join("HEAD"), pipe, change).await;
    assert!(kept.err.contains("HEAD") && kept.err.contains("waits"), "{kept:?}");
    asks(&person, &["run", "deliver"]).await.good();
    asks(&person, &["verify", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_has_the_place_of_a_file_of_the_home_is_named_at_once() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    person.write("home/devicevault.toml", "[backup]\nretries = 0\n");
    let home = person.path("home");
    for (file, command) in [
        ("devicevault.toml", &["device", "list"][..]),
        ("instance.key", &["show", "core-sw1"]),
        ("keys.toml", &["show", "core-sw1"]),
        ("keys.lock", &["key", "rotate", "--scope", "epoch"]),
        ("kek.key", &["key", "check"]),
        ("catalog.db", &["device", "list"]),
        ("catalog.db-wal", &["device", "list"]),
        ("rounds.json", &["backup", "--failed"]),
    ] {
        let told = in_place_of(&home.join(file), pipe, asks(&person, command)).await;
        let all = format!("{}{}", told.out, told.err);
        assert!(matches!(told.code, 1..=3) && all.contains(file), "{file}: {told:?}");
    }
    // Notes that the program can do without are written anew.
    for file in ["rounds.json", "recovered.json", "destinations.json"] {
        let path = home.join(file);
        std::fs::remove_file(&path).unwrap();
        pipe(&path);
        asks(&person, &["backup", "--all"]).await.good();
        assert!(path.symlink_metadata().unwrap().is_file(), "{file}");
    }
    // What a folder holds is not handed over.
    for (folder, command) in [("files", &["apply", "-f", "files"][..]), ("home/platforms", &["platform", "list"])] {
        std::fs::create_dir_all(person.path(folder)).unwrap();
        pipe(&person.path(folder).join("odd.toml"));
        let told = asks(&person, command).await;
        assert!(matches!(told.code, 1 | 2) && told.err.contains("odd.toml"), "{told:?}");
        std::fs::remove_file(person.path(folder).join("odd.toml")).unwrap();
    }
    pipe(&home.join("catalog.db.usage.json"));
    asks(&person, &["stats"]).await.good();
    asks(&person, &["verify", "--quiet"]).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_may_be_a_pipe() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    let settings = person.write("settings.toml", "[backup]\nsessions = 7\n");
    let program = assert_cmd::cargo::cargo_bin!("devicevault").display().to_string();
    let mut piped = Command::new("sh");
    piped.args(["-c", "cat \"$1\" | timeout 120 \"$0\" --config /dev/stdin system config"]).arg(program).arg(settings);
    piped.current_dir(person.path("")).env("DEVICEVAULT_HOME", person.path("home"));
    let told = tokio::task::spawn_blocking(move || Answer::of(piped)).await.unwrap().good();
    assert!(told.out.contains('7'), "{told:?}");
}
