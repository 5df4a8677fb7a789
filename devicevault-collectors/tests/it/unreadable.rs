//! Files that somebody without the rights may not read: the commands that show files say so in the text, and it is suspect.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use devicevault_collectors::{Platform, PlatformSet};
use regex::Regex;

use crate::traps::suspicions;

const NOBODY: u32 = 65534;

/// The first command of an artefact, for a machine whose files lie below this folder; and the files that it asks for.
fn below(root: &Path, platform: &Platform, artefact: &str) -> (String, Vec<String>) {
    let command = platform.commands(artefact).next().unwrap();
    let (list, rest) = command.split_once("; ").unwrap();
    let words = list.strip_prefix("set -- ").unwrap().split(' ');
    let words: Vec<String> = words.map(|w| format!("{}{w}", root.display())).collect();
    // A folder is named besides where names in it are looked for below a pattern.
    let files = words.iter().filter(|w| !w.ends_with('/')).map(|w| w.replace('*', "x")).collect();
    (format!("set -- {}; {rest}", words.join(" ")), files)
}

fn shown(command: &str, as_nobody: bool) -> (String, bool) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir("/");
    if as_nobody {
        shell.uid(NOBODY).gid(NOBODY);
    }
    let done = shell.output().unwrap();
    assert!(done.stderr.is_empty(), "{:?}", String::from_utf8_lossy(&done.stderr));
    (String::from_utf8(done.stdout).unwrap(), done.status.success())
}

#[test]
fn what_may_not_be_read_is_told_in_the_text_and_makes_it_suspect() {
    let set = PlatformSet::built_in();
    for (name, artefact) in [
        ("linux", "network-config"),
        ("linux", "system-config"),
        ("freebsd", "network-config"),
        ("openbsd", "system-config"),
        ("bird", "running-config"),
        ("proxmox_ve", "running-config"),
        ("proxmox_ve", "guests"),
        ("f5_tmos", "saved-config"),
        ("f5_tmos", "routing"),
    ] {
        let platform = set.get(name).unwrap();
        let root = tempfile::tempdir().unwrap();
        let is_root = fs::metadata(root.path()).unwrap().uid() == 0;
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let (command, files) = below(root.path(), &platform, artefact);
        for file in &files {
            fs::create_dir_all(Path::new(file).parent().unwrap()).unwrap();
            fs::write(file, format!("set {file}\n")).unwrap();
        }
        let (whole, well) = shown(&command, is_root);
        assert!(well && !whole.contains("not readable"), "{name}: {whole}");
        assert!(files.iter().all(|f| whole.contains(&format!("set {f}\n"))), "{name}: {whole}");

        let closed = &files[0];
        fs::set_permissions(closed, Permissions::from_mode(0o000)).unwrap();
        let (text, well) = shown(&command, is_root);
        assert!(well && text.contains(&format!("{closed}: not readable\n")), "{name}: {text}");
        assert!(!text.contains(&format!("set {closed}\n")) && text.contains("set "), "{name}: {text}");
        assert_eq!(suspicions(&platform, &text), suspicions(&platform, &whole) + 1, "{name}: {text}");

        // A folder that cannot be looked into, so that no name in it is known.
        let last = Path::new(files.last().unwrap());
        let folder = last.parent().unwrap();
        fs::remove_file(last).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o000)).unwrap();
        let (text, _) = shown(&command, is_root);
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let told = |end| text.contains(&format!("{}{end}: not readable\n", folder.display()));
        assert!(told("") || told("/"), "{name}: {text}");
        assert!(suspicions(&platform, &text) > suspicions(&platform, &whole), "{name}: {text}");
    }
}

#[test]
fn no_command_passes_over_what_it_may_not_read() {
    let set = PlatformSet::built_in();
    let passes_over = Regex::new(r#"\[ -r |2>/dev/null"#).unwrap();
    for platform in set.list() {
        let platform = platform.unwrap();
        for artefact in platform.artefacts() {
            for command in platform.spellings(&artefact.name).filter(|c| passes_over.is_match(c)) {
                let told = command.contains("not readable") && command.contains("|| unread=1");
                assert!(told, "{}: {}: {command}", platform.name(), artefact.name);
            }
        }
    }
}
