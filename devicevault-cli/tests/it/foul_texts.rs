//! Texts that mean harm to whoever reads them at a terminal, through every command there is.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use devicevault_testkit::sim::{Quirk, SimDevice};

use crate::person::{Answer, PASSWORD, Person, files_below};
use crate::sight::devices;

/// Clears the screen, hides a link, writes the clipboard, turns the direction of writing, and starts a sequence in one
/// character of the upper control codes.
const FOUL: &str = "\u{1b}[2J\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}\u{1b}]52;c;cm0gLXJm\u{7}\u{202e}gnp\u{2066}\u{9b}31m\r\u{8}\u{7f}";
/// A name that may be had: it holds no control character, and turns the direction of writing.
const ODD: &str = "odd\u{202e}7";

/// Every command with what it is asked, in the order of asking. `{odd}` and `{foul}` stand for what they are called.
const ASKED: &[(&str, &[&str])] = &[
    ("init", &[]),
    ("device import", &["foul.csv"]),
    ("device add", &["{odd}2 --host 127.0.0.1 --platform linux --site s{odd} --tag t{odd} --group g{odd}"]),
    ("device add", &["{foul} --host {foul} --platform {foul}"]),
    ("device add", &["x --host h --platform linux --option {foul}={foul}"]),
    ("device list", &[""]),
    ("device show", &["{odd}", "{foul}"]),
    ("device edit", &["{odd} --site n{odd} --group g{odd}", "{odd} --port 1 --jump {foul}", "{foul}"]),
    ("destination list", &[""]),
    ("destination show", &["store", "{foul}"]),
    ("destination test", &["--all", "{foul}"]),
    (
        "destination add",
        &["dst --kind plain --path p{odd} --seal no", "x --kind {foul}", "{foul} --kind plain --path x"],
    ),
    ("destination edit", &["store --option {foul}={foul}", "{foul}"]),
    ("credential add", &["cred --user u{odd} --password-env NONE", "{foul} --description {foul} --user {foul}"]),
    ("credential list", &[""]),
    ("credential show", &["cred", "{foul}"]),
    ("credential edit", &["cred --description {foul}", "{foul}"]),
    ("credential rotate", &["cred --password-env {foul}", "{foul} --user x"]),
    ("credential test", &["cred --device {odd}", "{foul} --device {foul}"]),
    ("policy add", &["pol --device {odd} --to store --artefact inventory", "{foul} --site {foul}"]),
    ("policy list", &[""]),
    ("policy show", &["pol", "{foul}"]),
    ("policy edit", &["pol --option {foul}={foul}", "{foul}"]),
    ("policy remove", &["pol", "{foul}"]),
    ("platform list", &[""]),
    ("platform show", &["linux", "{foul}"]),
    ("platform check", &["foul.toml", "{foul}"]),
    ("platform schema", &[""]),
    (
        "platform detect",
        &["--host 127.0.0.1 --port {port} --user admin --password-env {password}", "--recording foul.toml"],
    ),
    (
        "platform test",
        &["--host 127.0.0.1 --port {port} --platform linux --user {user} --password-env {password} --all-lines"],
    ),
    (
        "platform record",
        &[
            "--host 127.0.0.1 --port {port} --platform linux --user {user} --password-env {password} --to foul.rec --yes",
        ],
    ),
    ("platform new", &["new{odd} --recording foul.rec --to new.toml", "{foul} --recording foul.toml"]),
    ("backup", &["--all --retries 0 --timeout 2s --metadata note={odd}", "--all --metadata {foul}={foul}", "{foul}"]),
    ("backup", &["{odd} --artefact {foul}", "--failed --retries 0 --summary --timeout 2s -vv"]),
    ("run list", &["", "{foul}"]),
    ("run show", &["latest", "{foul}"]),
    ("run deliver", &[""]),
    ("history", &["", "{odd}", "{foul} --artefact {foul}"]),
    ("show", &["{foul}", "{odd} --backup {foul}", "{odd}:nope"]),
    ("diff", &["{odd} --side-by-side", "{foul}", "{odd} {foul} {foul}"]),
    ("download", &["{odd} --to out{odd}/", "{foul} --to {foul}", "{odd} --to out2 --backup {foul}"]),
    ("restore", &["{odd} --to back/", "{foul} --to back/", "{odd} --to back/ --run {foul}", "{odd} --to back/"]),
    ("stats", &["", "--measure"]),
    ("verify", &["", "--repair", "--from home/store", "--device {foul}", "--from {foul}"]),
    ("catalog check", &["", "--adopt", "{foul}"]),
    ("catalog rebuild", &["--from store --from git --dry-run", "--from {foul} --dry-run"]),
    ("retention show", &[""]),
    ("retention pin", &["{odd}", "{foul}"]),
    ("retention unpin", &["{odd}", "{foul}"]),
    ("retention apply", &["--dry-run", "", "--device {foul}"]),
    ("accept", &["{odd}", "{foul}", "{odd} --backup {foul}"]),
    ("quarantine list", &["", "{foul}"]),
    ("quarantine release", &["{odd}", "{foul}"]),
    ("quarantine remove", &["{odd}", "{foul}"]),
    (
        "import git",
        &["foul.git --layout rancid --dry-run --platform linux", "foul.git --platform linux --create", "{foul}"],
    ),
    ("git push", &["", "{foul}"]),
    ("git purge", &["git --device {odd}", "git --pattern {foul}", "git --device {foul} --yes", "{foul} --device x"]),
    ("git mend", &["git", "git --yes", "{foul}"]),
    ("apply", &["-f foul.toml", "-f foul.json", "-f {foul}"]),
    ("export", &["--to exported"]),
    ("device host-key show", &["", "{odd}", "{foul}"]),
    ("device host-key import", &["foul.csv", "{foul}"]),
    ("device host-key forget", &["{foul}", "--address {foul}", "{odd}"]),
    ("key list", &[""]),
    ("key check", &[""]),
    ("key add", &["--use-file {foul}", "--use-env {foul}"]),
    ("key rotate", &["--scope epoch", "--scope kek --old {foul}"]),
    ("key export", &["--to kit{odd}.txt"]),
    ("key init", &[""]),
    ("key remove", &["{foul}"]),
    ("destination copy", &["store dst", "{foul} store"]),
    ("destination maintain", &["", "{foul}"]),
    ("destination disable", &["dst", "{foul}"]),
    ("destination enable", &["dst", "{foul}"]),
    ("destination remove", &["dst", "{foul}"]),
    ("credential remove", &["cred", "{foul}"]),
    ("device remove", &["{odd}2", "{foul}"]),
    ("system config", &["", "--config foul.toml"]),
    ("system completions", &["bash", "{foul}"]),
    ("system man", &["--to man{odd}"]),
    ("system reference", &[""]),
    ("demo", &["--help"]),
    // What went before it, once more: what is gone, removed and damaged is told too.
    ("device list", &[""]),
    ("device show", &["{odd}"]),
    ("destination list", &[""]),
    ("destination show", &["git"]),
    ("run list", &["--limit 100"]),
    ("run show", &["latest"]),
    ("history", &[""]),
    ("verify", &["", "--depth size"]),
    ("catalog check", &[""]),
    ("stats", &[""]),
    ("restore", &["{odd} --to again/"]),
    ("download", &["{odd} --to again/"]),
    ("diff", &["{odd} --side-by-side --artefact firewall"]),
    ("backup", &["--all --retries 0 --timeout 2s"]),
    ("run list", &["--state failed"]),
    ("retention apply", &["--dry-run"]),
    ("key check", &[""]),
];

/// What they print is a script, a page or a schema, whoever reads it.
const NO_JSON: [&str; 5] = ["system completions", "system reference", "platform schema", "demo", "platform show"];

#[tokio::test(flavor = "multi_thread")]
async fn no_command_lets_a_text_steer_the_terminal() {
    let not_found = format!("sh: {FOUL}: not found\n");
    let odd = SimDevice::linux(ODD).ssh_banner(FOUL).greeting(FOUL).answering("nft list ruleset", not_found.clone());
    let angry = SimDevice::linux("angry").quirk(Quirk::InvalidUtf8).answering("cat /etc/os-release", not_found);
    let switch = SimDevice::cisco_ios("switch").greeting(FOUL).ssh_banner(FOUL);
    let switch = switch.answering("show startup-config", format!("% Invalid input {FOUL}\n"));
    let (fleet, person) = devices([odd, angry, switch]).await;
    let long = "x".repeat(10_000);
    let add = |text: &mut Vec<u8>| {
        text.extend_from_slice(format!("# {FOUL}\n# {long}\n# ").as_bytes());
        text.extend_from_slice(b"\xff\xfe\x00\x80 no UTF-8\n");
    };
    fleet.devices().iter().for_each(|d| d.change(add));
    person.moves_in(&fleet).await;
    prepare(&person);
    person.asks(&["backup", "--all", "--quiet", "--retries", "0"]).await;
    fleet.devices().iter().for_each(|d| d.change(add));
    let second = person.asks(&["backup", "--all", "--retries", "0", "-vv"]).await;
    is_clean(&second, "backup -vv");
    spoil(&person);

    let reference = person.run(&["system", "reference"]).good().out;
    let known: BTreeSet<&str> = commands(&reference).collect();
    let asked: BTreeSet<&str> = ASKED.iter().map(|(command, _)| *command).collect();
    assert_eq!(known, asked, "a new command is to be asked here too");

    let device = &fleet.devices()[0];
    let port = device.addr().port().to_string();
    for (command, all) in ASKED.iter().copied() {
        for args in if all.is_empty() { &[""][..] } else { all } {
            let word = |arg: &str| {
                let arg = arg.replace("{odd}", ODD).replace("{foul}", FOUL).replace("{port}", &port);
                arg.replace("{password}", PASSWORD).replace("{user}", device.username())
            };
            let words: Vec<String> =
                command.split(' ').map(str::to_owned).chain(args.split_whitespace().map(word)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let told = format!("{command} {args}");
            is_clean(&person.asks(&words).await, &told);
            if NO_JSON.contains(&command) {
                continue;
            }
            let answer = person.asks(&[&words[..], &["--json"]].concat()).await;
            for (name, text) in [("out", &answer.out), ("err", &answer.err)] {
                let is_object = name == "out" || text.starts_with('{');
                let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
                assert!(!is_object || values.all(|v| v.is_ok()), "{told}: {name} is no JSON: {text:.3000}");
            }
        }
    }
}

/// The commands that do something, as the reference tells them.
fn commands(reference: &str) -> impl Iterator<Item = &str> {
    reference.split("\n## devicevault").skip(1).filter_map(|section| {
        let (name, text) = section.split_once('\n')?;
        let usage = text.lines().find(|line| line.starts_with("Usage: "))?;
        (!usage.contains("<COMMAND>")).then(|| name.trim())
    })
}

#[track_caller]
fn is_clean(answer: &Answer, told: &str) {
    for (name, text) in [("out", &answer.out), ("err", &answer.err)] {
        let steers = |c: &char| {
            c.is_control() && !matches!(c, '\n' | '\t')
                || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        let found = text.char_indices().find(|(_, c)| steers(c));
        if let Some((at, c)) = found {
            let around: String = text.chars().skip(text[..at].chars().count().saturating_sub(200)).take(400).collect();
            panic!("{told}: {c:?} stands in {name}: {around:?}");
        }
    }
}

/// Files that somebody gave them.
fn prepare(person: &Person) {
    person.write(
        "foul.csv",
        &format!("name,host,platform,port\nx{FOUL},h{FOUL},linux,1\ny{ODD},h,linux{FOUL},{FOUL}\n{FOUL}"),
    );
    let escaped = FOUL.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>();
    person.write(
        "foul.toml",
        &format!("name = \"{escaped}\"\n\"{escaped}\" = 1\n# {FOUL}\n[[device]]\nname = \"{escaped}\"\n"),
    );
    person.write("foul.json", &format!("{{\"device\": [{{\"name\": \"{escaped}\", \"{escaped}\": 1}}]}}"));
    let repository = person.path("foul.git");
    let configs = repository.join("configs");
    std::fs::create_dir_all(&configs).unwrap();
    for name in [format!("node{ODD}"), format!("node{}", FOUL.replace('/', "-"))] {
        std::fs::write(configs.join(name), format!("hostname x\n! {FOUL}\n")).unwrap();
    }
    for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", FOUL]] {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=\u{202e}x", "-c", "user.email=x@example.net"]).args(args).current_dir(&repository);
        let done = git.env("HOME", person.path("")).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// What somebody does who can write to the stores: names that mean harm, and damage beneath harmless ones.
fn spoil(person: &Person) {
    let store = person.path("home/store");
    let folder = store.join(format!("s{}", FOUL.replace('/', "-")));
    std::fs::create_dir_all(&folder).unwrap();
    let stamp = "2026-11-21T01-24-44Z-3f2a9c1d";
    std::fs::write(folder.join(format!("{stamp}.txt.manifest.json")), FOUL).unwrap();
    std::fs::write(folder.join(format!("{stamp}{ODD}.txt.manifest.json")), "{}").unwrap();
    let raw = [b"bad\xff\x1b[31m-", stamp.as_bytes(), b".txt.manifest.json"].concat();
    std::fs::write(store.join(Path::new(std::ffi::OsStr::from_bytes(&raw))), "{}").unwrap();
    let all = files_below(&store);
    let of = |part: &str| {
        all.iter()
            .filter(|(f, _)| f.to_string_lossy().ends_with(".dvo") && f.to_string_lossy().contains(part))
            .collect::<Vec<_>>()
    };
    let (first, _) = of("/odd")[0];
    std::fs::write(first, "cut").unwrap();
    std::fs::remove_file(&of("/switch")[0].0).unwrap();
}
