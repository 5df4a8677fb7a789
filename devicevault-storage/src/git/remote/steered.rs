//! What a repository's own settings would have `git` do: go elsewhere than to the remote that was named, or run something.
//! Whoever is let at the folder may have written them, and a token of ours would go where they say.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::path::Path;

use devicevault_core::{Error, ErrorKind, Result};
use git2::Config;

use super::super::fault;

/// Beginnings of the names of such settings (git-config(1)); of what may stand in lists or for one address alone, ours do
/// not overrule them.
const STEERING: [&str; 14] = [
    "url.",
    "http.",
    "include.",
    "includeif.",
    "credential.",
    "protocol.",
    "ssh.",
    "core.sshcommand",
    "core.gitproxy",
    "core.askpass",
    "core.hookspath",
    "core.alternaterefscommand",
    "core.fsmonitor",
    "uploadpack.packobjectshook",
];

/// Refuses a repository with such settings, or with settings in another place.
///
/// # Errors
/// `Conflict` that names the setting; what reading the files answers.
pub(super) fn refuse(dir: &Path) -> Result<()> {
    let refused = |name: &str, file: &Path| {
        Err(Error::new(ErrorKind::Conflict, "reach remote", "the repository's own settings would lead git elsewhere")
            .with("setting", name.escape_debug())
            .with("file", file.display())
            .hint("take the setting out: a remote is reached by the options of its destination alone"))
    };
    let common = dir.join("commondir");
    if common.exists() {
        return refused("commondir", &common);
    }
    for file in ["config", "config.worktree"].map(|name| dir.join(name)) {
        if !file.exists() {
            continue;
        }
        let failed = |e| fault::git("read settings of repository", e);
        let config = Config::open(&file).map_err(failed)?;
        let mut steering = None;
        let each = config.entries(None).map_err(failed)?;
        each.for_each(|entry| {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            if steers(&name) {
                steering.get_or_insert(name);
            }
        })
        .map_err(failed)?;
        if let Some(name) = steering {
            return refused(&name, &file);
        }
    }
    Ok(())
}

/// Whether a setting is one of these. A remote may be called by an address, and is taken for it then.
fn steers(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let of_address = lower.strip_prefix("remote.").is_some_and(|rest| rest.contains(['/', ':']));
    // These are of a server, which ours is not.
    let serves = ["http.receivepack", "http.uploadpack", "http.getanyfile"].contains(&lower.as_str());
    (of_address || STEERING.iter().any(|begins| lower.starts_with(begins))) && !serves
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lead_elsewhere_are_refused_by_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init_bare(dir.path()).unwrap();
        let mut config = repo.config().unwrap().open_level(git2::ConfigLevel::Local).unwrap();
        config.set_str("remote.origin.url", "https://git.example.net/x.git").unwrap();
        config.set_bool("http.receivepack", true).unwrap();
        refuse(dir.path()).unwrap();
        for name in [
            "url.https://other.example.net/.insteadOf",
            "url.x.pushInsteadOf",
            "http.sslVerify",
            "http.https://git.example.net/.proxy",
            "remote.https://git.example.net/x.git.url",
            "include.path",
            "includeIf.onbranch:main.path",
            "credential.https://git.example.net.helper",
            "core.sshCommand",
            "core.hooksPath",
        ] {
            config.set_str(name, "x").unwrap();
            let e = refuse(dir.path()).unwrap_err();
            assert!(e.kind() == ErrorKind::Conflict && e.to_string().to_ascii_lowercase().contains(&name[..4]), "{e}");
            config.remove(name).unwrap();
            refuse(dir.path()).unwrap();
        }
        std::fs::write(dir.path().join("config.worktree"), "[url \"x\"]\n\tinsteadOf = y\n").unwrap();
        assert!(refuse(dir.path()).is_err());
        std::fs::remove_file(dir.path().join("config.worktree")).unwrap();
        std::fs::write(dir.path().join("commondir"), "elsewhere").unwrap();
        assert!(refuse(dir.path()).is_err());
    }
}
