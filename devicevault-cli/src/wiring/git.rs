//! Destinations of the kind `git`: what can be set of them.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::engine::DestinationOptions;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, StorageBackend, StorageRef, View};
use devicevault_storage::git::{
    CommitPer, GitBackend, GitOptions, GitRepositories, MendReport, Purge, PurgeReport, PushReport, PushWhen, Remote,
    RemoteAccess, RemoteState, RemoteUrl, Supply,
};

use super::places::{CREDENTIAL, StoreLogin};
use super::remotes::{HeldKey, OfRemote};
use super::{GIT, only, yes_or_no};
use crate::app::BackendSettings;
use crate::instance::KNOWN_HOSTS;
use crate::ui::human;

/// What a Git destination can be told.
const OPTIONS: [&str; 17] = [
    "path",
    BRANCH,
    "author",
    "commits",
    "batch_wait",
    "binaries",
    "max_size",
    REPOSITORY,
    REMOTE,
    "push",
    CREDENTIAL,
    "user",
    "password_env",
    "password_file",
    "password_command",
    "key_file",
    "host_key",
];

/// Those of them that say something of a remote.
const OF_REMOTE: [&str; 8] =
    ["push", CREDENTIAL, "user", "password_env", "password_file", "password_command", "key_file", "host_key"];

/// The option that names the branch.
pub(super) const BRANCH: &str = "branch";

/// The option that says which of several repositories a device's backups go to.
pub(super) const REPOSITORY: &str = "repository";

/// The option that names another repository.
const REMOTE: &str = "remote";

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
    if let Some(branch) = option(BRANCH) {
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
        let bytes =
            devicevault_core::parse_size(size).ok_or_else(|| wrong("max_size", size, "it is no size: write 64 MiB"))?;
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

/// Where the branch is pushed to.
fn remote_of(settings: &BackendSettings) -> Result<Option<Remote>> {
    let options = &settings.config.options;
    let text = |name: &str| options.get(name).map(String::as_str);
    let Some(url) = text(REMOTE) else {
        return match OF_REMOTE.into_iter().find(|name| options.contains_key(*name)) {
            None => Ok(None),
            Some(name) => {
                Err(Error::new(ErrorKind::Config, "open destination", "an option of a remote, and there is none")
                    .with("option", name)
                    .hint("name the repository to push to by the option remote"))
            }
        };
    };
    let strict_host_key = match text("host_key") {
        None | Some("first-use") => false,
        Some("strict") => true,
        Some(other) => return Err(wrong("host_key", other, "it is first-use or strict")),
    };
    let push = match text("push") {
        None | Some("round") => PushWhen::Asked,
        Some("manual") => PushWhen::Manual,
        Some("batch") => PushWhen::Batch,
        Some(other) => return Err(wrong("push", other, "it is round, batch or manual")),
    };
    let mut access = RemoteAccess::default();
    access.key_file = text("key_file").map(|file| settings.home.join(file));
    access.known_hosts = Some(settings.home.join(KNOWN_HOSTS));
    access.strict_host_key = strict_host_key;
    let url: RemoteUrl = url.parse()?;
    // The key's file is for `ssh` to read.
    let of_login = |(name, _): &(&String, &String)| name.as_str() != "key_file";
    let named = options.iter().filter(of_login).map(|(k, v)| (k.clone(), v.clone())).collect();
    let login = OfRemote {
        access,
        takes_token: url.is_http(),
        source: StoreLogin::of(settings, &named)?,
        key: HeldKey::default(),
    };
    Ok(Some(Remote::new(url).with_push(push).with_login(Arc::new(login))))
}

/// Whether a destination is pushed to another repository at the end of a round.
pub(crate) fn is_pushed(config: &DestinationConfig) -> bool {
    has_remote(config) && config.options.get("push").is_none_or(|p| p != "manual")
}

/// Whether a destination has another repository that it can be pushed to.
pub(crate) fn has_remote(config: &DestinationConfig) -> bool {
    config.kind == GIT && config.options.contains_key(REMOTE)
}

/// One repository, or several.
#[derive(Debug)]
pub(crate) enum Repository {
    One(Box<GitBackend>),
    Many(Box<GitRepositories>),
}

impl Repository {
    /// Pushes to the remote, or each to its own.
    pub(crate) async fn push(&self) -> Result<PushReport> {
        match self {
            Self::One(one) => one.push().await,
            Self::Many(many) => many.push().await,
        }
    }

    /// Takes something out of history.
    pub(crate) async fn purge(&self, what: Purge, rehearsal: bool) -> Result<PurgeReport> {
        match self {
            Self::One(one) => one.purge(what, rehearsal).await,
            Self::Many(many) => many.purge(what, rehearsal).await,
        }
    }

    /// Makes history whole again.
    pub(crate) async fn mend(
        &self,
        known: Vec<StorageRef>,
        supplies: Vec<Supply>,
        rehearsal: bool,
    ) -> Result<MendReport> {
        match self {
            Self::One(one) => one.mend(known, supplies, rehearsal).await,
            Self::Many(many) => many.mend(known, supplies, rehearsal).await,
        }
    }

    /// What references from before a purge stand for now; `None`: it was purged.
    pub(crate) async fn current(&self, refs: Vec<StorageRef>) -> Result<Vec<Option<StorageRef>>> {
        match self {
            Self::One(one) => one.current(refs).await,
            Self::Many(many) => many.current(refs).await,
        }
    }

    /// Has the remote forget what was purged, by force.
    pub(crate) async fn push_purged(&self) -> Result<()> {
        match self {
            Self::One(one) => one.push_purged().await,
            Self::Many(many) => many.push_purged().await,
        }
    }

    /// As any backend.
    pub(crate) fn backend(&self) -> &dyn StorageBackend {
        match self {
            Self::One(one) => &**one,
            Self::Many(many) => &**many,
        }
    }

    /// How the remote stands, or that which is worst off.
    pub(crate) async fn remote_state(&self) -> Option<RemoteState> {
        match self {
            Self::One(one) => one.remote_state(),
            Self::Many(many) => many.remote_state().await,
        }
    }

    /// Asks the remotes.
    pub(crate) async fn test_remote(&self) -> Result<String> {
        match self {
            Self::One(one) => one.test_remote().await,
            Self::Many(many) => many.test_remote().await,
        }
    }
}

/// Checks what is set of a repository, and tells how it is written.
///
/// # Errors
/// `Config` for a destination of another kind, or what its options have wrong.
pub(super) fn check(settings: &BackendSettings) -> Result<GitOptions> {
    let config = &settings.config;
    if config.kind != GIT {
        return Err(Error::new(ErrorKind::Config, "open repository", "this destination is no Git repository")
            .with("destination", &config.name)
            .with("kind", &config.kind));
    }
    only(config, &OPTIONS)?;
    let mut git = options_of(config)?;
    batch_wait(config)?;
    if let Some(value) = config.options.get("binaries") {
        yes_or_no("binaries", value)?;
    }
    if let Some(remote) = remote_of(settings)? {
        git = git.with_remote(remote);
    }
    settings.path()?;
    if let Some(template) = config.options.get(REPOSITORY) {
        drop(template.parse::<devicevault_storage::git::RepositoryTemplate>()?);
    }
    Ok(git)
}

/// The repository of a destination of the kind `git`.
///
/// # Errors
/// `Config` for one of another kind, or what its options have wrong; it is not there.
pub(crate) async fn repository(settings: BackendSettings) -> Result<Repository> {
    let git = check(&settings)?;
    let config = &settings.config;
    let path = settings.path()?;
    if let Some(template) = config.options.get(REPOSITORY) {
        let template = template.parse()?;
        if settings.set_up {
            GitRepositories::set_up(&path, &template)?;
        }
        let many = GitRepositories::open(path, template, git, settings.clock.clone())?;
        return Ok(Repository::Many(Box::new(many)));
    }
    // An empty folder is where a share is mounted that is not: nothing is filled underneath.
    if !settings.set_up && !path.join("HEAD").exists() {
        return Err(Error::new(ErrorKind::Unavailable, "open destination", "the repository is not there")
            .with("path", path.display())
            .hint("mount the share that holds it"));
    }
    Ok(Repository::One(Box::new(GitBackend::open(path, git, settings.clock.clone()).await?)))
}

pub(super) async fn open(settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    Ok(match repository(settings).await? {
        Repository::One(one) => Arc::from(one as Box<dyn StorageBackend>),
        Repository::Many(many) => Arc::from(many as Box<dyn StorageBackend>),
    })
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
