//! `docs/platforms.md`: the platforms there are, written from their files.

use std::fmt::Write as _;
use std::path::Path;

/// The document that lists them, below the root.
pub(crate) const PAGE: &str = "docs/platforms.md";
/// Their files.
const FOLDER: &str = "devicevault-collectors/platforms";

const HEAD: &str = "\
# Platforms

Written by `cargo xtask docs` from the files in `devicevault-collectors/platforms`. Every name and alias works wherever a
platform is asked for. How a platform is written is in [guide/platforms.md](guide/platforms.md) and [platform-format.md](platform-format.md).

| name | system | artefacts | also known as |
|---|---|---|---|
";

/// The page as the files have it.
pub(crate) fn page(root: &Path) -> Result<String, String> {
    let folder = root.join(FOLDER);
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    let mut page = HEAD.to_owned();
    for file in &files {
        let fault = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let text = std::fs::read_to_string(file).map_err(|e| fault(&e))?;
        let platform: toml::Table = text.parse().map_err(|e| fault(&e))?;
        let word = |key: &str| platform.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let list = |key: &str| platform.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let artefacts: Vec<_> =
            list("artefacts").iter().filter_map(|a| Some(a.get("name")?.as_str()?.to_owned())).collect();
        let aliases: Vec<_> = list("aliases").iter().filter_map(|a| a.as_str().map(|a| format!("`{a}`"))).collect();
        // Writing to a string has no way to fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            word("name"),
            word("title"),
            artefacts.join(", "),
            aliases.join(" ")
        );
    }
    let _ = write!(page, "\n{} platforms.\n", files.len());
    Ok(page)
}
