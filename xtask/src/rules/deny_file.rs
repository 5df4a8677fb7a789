//! `deny.toml`, which cargo-deny understands too.

use crate::workspace::Workspace;

/// A crate under a ban.
#[derive(Debug)]
pub(super) struct Ban {
    pub(super) name: String,
    /// Packages that may use it all the same; with none, nobody may.
    pub(super) wrappers: Vec<String>,
    /// It may be there, in one version.
    pub(super) one_version: bool,
    pub(super) reason: String,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct DenyFile {
    /// SPDX identifiers.
    pub(super) licences: Vec<String>,
    pub(super) bans: Vec<Ban>,
}

impl DenyFile {
    pub(super) fn load(workspace: &Workspace) -> Result<Self, String> {
        let path = workspace.root.join("deny.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::read(&text).map_err(|e| format!("deny.toml: {e}"))
    }

    fn read(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
        let list = |section: &str, key: &str| {
            let found = table.get(section).and_then(|s| s.get(key)).and_then(toml::Value::as_array);
            found.ok_or_else(|| format!("{section}.{key} is missing"))
        };
        let licences = strings(list("licenses", "allow")?);
        let bans = list("bans", "deny")?.iter().map(ban).collect::<Option<_>>().ok_or("a ban has no crate")?;
        Ok(Self { licences, bans })
    }
}

fn ban(entry: &toml::Value) -> Option<Ban> {
    Some(Ban {
        name: entry.get("crate")?.as_str()?.to_owned(),
        wrappers: entry.get("wrappers").and_then(toml::Value::as_array).map(|w| strings(w)).unwrap_or_default(),
        one_version: entry.get("deny-multiple-versions").and_then(toml::Value::as_bool).unwrap_or_default(),
        reason: entry.get("reason").and_then(toml::Value::as_str).unwrap_or("banned").to_owned(),
    })
}

fn strings(values: &[toml::Value]) -> Vec<String> {
    values.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_and_licences_are_read() {
        let text = r#"
            [licenses]
            allow = ["MIT"]
            [bans]
            deny = [
                { crate = "ring", reason = "one" },
                { crate = "russh", wrappers = ["a"] },
                { crate = "reqwest", deny-multiple-versions = true },
            ]"#;
        let file = DenyFile::read(text).unwrap();
        assert_eq!(file.licences, ["MIT"]);
        assert_eq!(file.bans[0].reason, "one");
        assert_eq!(file.bans[1].wrappers, ["a"]);
        assert!(file.bans[2].one_version && !file.bans[0].one_version);
        assert!(DenyFile::read("[licenses]\nallow = []").is_err());
    }
}
