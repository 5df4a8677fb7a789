//! Names of devices and sites: anything at all may stand in them.

use devicevault_core::DeviceId;

use super::stage::{Item, Stage, ensure_holds, ensure_kept, store, store_one};
use crate::conformance::case::{Checked, ensure, ensure_eq, skip};

/// Names that file systems, path templates, Git trees, trailers and shells have stumbled over.
fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "sw1",
        "SW1",
        "Sw1",
        "sw1 ",
        " sw1",
        "sw1.",
        "sw1..",
        ".sw1",
        "sw-1",
        "sw_1",
        "sw 1",
        "sw%201",
        "sw%2e1",
        "",
        ".",
        "..",
        "...",
        "/",
        "//",
        "a/b",
        "a//b",
        "a/./b",
        "a/../b",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "a\\b",
        "..\\..\\x",
        "C:\\x",
        "C:",
        "~",
        "~root",
        "$HOME",
        "`id`",
        "$(id)",
        "-rf",
        "--help",
        "*",
        "?",
        "[a]",
        "CON",
        "con",
        "NUL",
        "nul.txt",
        "COM1",
        "LPT1",
        "aux",
        "a:b",
        "a|b",
        "a<b>c",
        "a\"b",
        "a'b",
        "a;b",
        "a&b",
        "a\0b",
        "a\nb",
        "a\r\nb",
        "a\tb",
        "a\u{7f}b",
        "\u{1b}[31mred",
        "a\u{200b}b",
        "\u{202e}gpj.exe",
        "\u{feff}sw1",
        // The same to the eye: composed and decomposed, Latin and Cyrillic, full width, sharp s.
        "caf\u{e9}",
        "cafe\u{301}",
        "CAF\u{c9}",
        "p\u{430}y",
        "pay",
        "\u{ff53}\u{ff57}1",
        "stra\u{df}e",
        "strasse",
        "\u{131}stanbul",
        "istanbul",
        "\u{130}stanbul",
        "\u{1f512}",
        "\u{4ea4}\u{6362}\u{673a}",
        "_",
        "_default",
        "null",
        "none",
        ".git",
        ".GIT",
        "g\u{200c}it",
        ".tmp",
        ".lock",
        "sw1.lock",
        "HEAD",
        "refs",
        "a@{b}",
        "@",
        "a^b",
        "manifest.json",
        "Backup-Id: x",
        "key: value\nother: value",
        "true",
        "0",
        "{}",
        "{device}",
        "a=b",
        "#a",
        "!a",
    ]
    .map(str::to_owned)
    .into();
    for len in [63, 64, 128, 200, 254, 255, 256, 300, 1000] {
        names.push("n".repeat(len));
        names.push(format!("{}\u{e9}", "n".repeat(len - 1)));
        names.push(format!("{}x", "n".repeat(len - 1)));
    }
    names.push("\u{1f512}".repeat(64));
    names
}

pub(super) async fn hostile(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let outside = stage.places.open("neighbour").await?;
    let mut items = Vec::new();
    for name in hostile_names() {
        items.push(Item::config(&name, format!("device {name:?}\n")));
        let mut site = Item::config("sw1", format!("site {name:?}\n"));
        // Two devices of one name at two sites have two identities.
        site.entry.manifest.source.device = DeviceId(format!("sw1 at {name}"));
        site.entry.manifest.source.site = Some(name);
        items.push(site);
    }
    let refs = store(&*backend, &items).await?;
    let distinct: std::collections::BTreeSet<_> = refs.iter().collect();
    ensure_eq!(distinct.len(), refs.len(), "two devices share a reference");
    for (at, item) in refs.iter().zip(&items) {
        ensure_kept(&*backend, at, item).await?;
    }
    ensure_holds(&*backend, &items.iter().collect::<Vec<_>>()).await?;
    ensure_holds(&*outside, &[]).await
}

pub(super) async fn private(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    if !backend.capability().private_names {
        return skip("it does not keep names private");
    }
    let mut item = Item::config("verysecretrouter", &b"x"[..]);
    item.entry.manifest.source.site = Some("hiddensite".to_owned());
    let at = store_one(&*backend, &item).await?;
    let told = at.as_str().to_lowercase();
    ensure!(!told.contains("verysecretrouter") && !told.contains("hiddensite"), "the reference tells a name: {at}");
    Ok(())
}
