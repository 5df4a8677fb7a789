//! Whether the documents speak of what is in the tree.

use std::path::{Path, PathBuf};

use crate::platforms;
use crate::workspace::Workspace;

/// Folders with documents, below the root; not what lies deeper.
const FOLDERS: [&str; 4] = ["", "docs", "docs/guide", "changelog"];
/// Where a change in `changelog/` says what kind it is.
const KINDS: [&str; 4] = ["added: ", "changed: ", "fixed: ", "security: "];

pub(super) fn breaches(workspace: &Workspace) -> Vec<String> {
    let root = &workspace.root;
    let mut out = Vec::new();
    for folder in FOLDERS {
        for path in files(&root.join(folder), "md") {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let place = path.parent().unwrap_or(root);
            let gone = links(&text).filter(|link| !place.join(link).exists());
            out.extend(gone.map(|link| format!("{name}: the link to {link} leads nowhere")));
            let is_change = folder == "changelog" && path.file_name() != Some("README.md".as_ref());
            if is_change && !KINDS.iter().any(|kind| text.starts_with(kind)) {
                out.push(format!("{name} does not begin with one of: {}", KINDS.join("")));
            }
        }
    }
    let page = std::fs::read_to_string(root.join(platforms::PAGE)).unwrap_or_default();
    match platforms::page(root) {
        Ok(now) if now == page => {}
        Ok(_) => out.push(format!("{} is not what the platform files say: run `cargo xtask docs`", platforms::PAGE)),
        Err(why) => out.push(why),
    }
    out
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

/// The links of a text that lead to files beside it.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_to_files_are_found() {
        let text = "a [b](docs/c.md), [d](https://e.example/f), [g](#h) and [i](j.md#k) (l)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/c.md", "j.md"]);
    }
}
