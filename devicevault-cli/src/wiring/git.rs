//! Destinations of the kind `git`: what can be set of them.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::engine::DestinationOptions;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, StorageBackend, View};
use devicevault_storage::git::{CommitPer, GitBackend, GitOptions};

use super::{GIT, only, yes_or_no};
use crate::app::BackendSettings;
use crate::ui::human;

/// What a Git destination can be told.
const OPTIONS: [&str; 7] = ["path", "branch", "author", "commits", "batch_wait", "binaries", "max_size"];

/// A batch is waited for no longer than this: devices wait for their verdicts meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

fn wrong(name: &str, value: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, "open destination", why.to_owned())
        .with("option", name)
        .with("value", value.escape_debug())
}

/// How the repository is written.
fn options_of(config: &DestinationConfig) -> Result<GitOptions> {
    let option = |name: &str| config.options.get(name).map(String::as_str);
    let mut git = GitOptions::default();
    if let Some(branch) = option("branch") {
        git = git.with_branch(branch);
    }
    if let Some(author) = option("author") {
        let parts = author.strip_suffix('>').and_then(|a| a.split_once('<'));
        let (name, mail) = parts.ok_or_else(|| wrong("author", author, "an author is written Name <mail address>"))?;
        git = git.with_author(name.trim(), mail.trim());
    }
    git = match option("commits") {
        None | Some("artefact") => git.with_commits(CommitPer::Artefact),
        Some("batch") => git.with_commits(CommitPer::Batch),
        Some(other) => return Err(wrong("commits", other, "it is artefact or batch")),
    };
    if let Some(size) = option("max_size") {
        let bytes = human::parse_size(size).ok_or_else(|| wrong("max_size", size, "it is no size: write 64 MiB"))?;
        git = git.with_max_body(bytes);
    }
    Ok(git)
}

/// How long a batch waits for more, where that is set.
fn batch_wait(config: &DestinationConfig) -> Result<Option<Duration>> {
    let Some(value) = config.options.get("batch_wait") else { return Ok(None) };
    let wait = human::parse_duration(value).map_err(|_| wrong("batch_wait", value, "it is no time: write 2s"))?;
    if wait > LONGEST_WAIT {
        return Err(wrong("batch_wait", value, "no batch waits for longer than ten minutes"));
    }
    Ok(Some(wait))
}

/// Whether a destination keeps binaries: where it keeps originals, and a Git repository only where it is told to, since
/// nothing is ever deleted from it.
pub(crate) fn takes_binaries(config: &DestinationConfig) -> bool {
    let asked = config.kind != GIT || config.options.get("binaries").is_some_and(|v| v == "yes");
    config.view == View::Original && asked
}

/// How runs use a destination. What cannot be read was refused when it was opened.
pub(crate) fn queue_options(config: &DestinationConfig) -> DestinationOptions {
    let options = DestinationOptions::default().with_view(config.view).with_binaries(takes_binaries(config));
    match batch_wait(config) {
        Ok(Some(wait)) if config.kind == GIT => options.with_max_wait(wait),
        _ => options,
    }
}

pub(super) async fn open(settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    let config = &settings.config;
    only(config, &OPTIONS)?;
    let git = options_of(config)?;
    batch_wait(config)?;
    if let Some(value) = config.options.get("binaries") {
        yes_or_no("binaries", value)?;
    }
    let path = settings.path()?;
    // An empty folder is where a share is mounted that is not: nothing is filled underneath.
    if !settings.set_up && !path.join("HEAD").is_file() {
        return Err(Error::new(ErrorKind::Unavailable, "open destination", "the repository is not there")
            .with("path", path.display())
            .hint("mount the share that holds it"));
    }
    Ok(Arc::new(GitBackend::open(path, git, settings.clock.clone()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, value: &str) -> DestinationConfig {
        DestinationConfig::new("git", GIT, View::Redacted).with_option(name, value)
    }

    #[test]
    fn options_are_read_and_slips_are_told() {
        let git = options_of(&config("author", "Net Ops <noc@example.net>")).unwrap();
        assert_eq!((git.author.as_str(), git.email.as_str()), ("Net Ops", "noc@example.net"));
        assert_eq!(options_of(&config("commits", "batch")).unwrap().commits, CommitPer::Batch);
        assert_eq!(options_of(&config("max_size", "64 MiB")).unwrap().max_body, 64 << 20);
        for (name, value) in [("author", "noc"), ("commits", "round"), ("max_size", "large")] {
            assert!(options_of(&config(name, value)).is_err(), "{name}={value}");
        }
        assert_eq!(batch_wait(&config("batch_wait", "2s")).unwrap(), Some(Duration::from_secs(2)));
        for value in ["-2s", "1h", ""] {
            assert!(batch_wait(&config("batch_wait", value)).is_err(), "{value}");
        }
    }

    #[test]
    fn binaries_stay_out_unless_asked_for() {
        let original = DestinationConfig::new("git", GIT, View::Original);
        assert!(!takes_binaries(&original));
        assert!(takes_binaries(&original.clone().with_option("binaries", "yes")));
        assert!(!takes_binaries(&config("binaries", "yes")), "a redacted destination has no view of them");
        assert!(takes_binaries(&DestinationConfig::new("store", "plain", View::Original)));
        assert!(queue_options(&config("batch_wait", "2s")).max_wait == Duration::from_secs(2));
    }
}
