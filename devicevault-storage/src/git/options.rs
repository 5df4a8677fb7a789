//! How a repository is written.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};

use super::remote::Remote;

/// What becomes one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitPer {
    /// Each changed artefact: `git log` reads as a list of changes.
    #[default]
    Artefact,
    /// Each batch that the engine hands over: one commit for a round, with every manifest in its message.
    Batch,
}

/// Settings of a [`GitBackend`](super::GitBackend).
///
/// ```
/// use devicevault_storage::git::{CommitPer, GitOptions};
///
/// let options = GitOptions::default().with_branch("backups").with_commits(CommitPer::Batch);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GitOptions {
    /// The branch that is written.
    pub branch: String,
    /// Name of the author and committer.
    pub author: String,
    /// Their mail address.
    pub email: String,
    /// What becomes one commit.
    pub commits: CommitPer,
    /// The largest body, in bytes. A blob is held in memory twice while it is read.
    pub max_body: u64,
    /// How long to wait for another process that is writing.
    pub lock_timeout: Duration,
    /// Where the branch is pushed to.
    pub remote: Option<Remote>,
    /// Merge small packs by oneself when they have become many; otherwise only `maintain` does.
    pub auto_repack: bool,
    /// Believe the index that lies beside the objects; otherwise it is made of history, once for each
    /// [`GitBackend`](super::GitBackend).
    pub own_index: bool,
}

impl Default for GitOptions {
    /// Branch `main`, a commit per artefact, bodies up to 32 MiB.
    fn default() -> Self {
        Self {
            branch: "main".to_owned(),
            author: "DeviceVault".to_owned(),
            email: "devicevault@localhost".to_owned(),
            commits: CommitPer::default(),
            max_body: 32 << 20,
            lock_timeout: Duration::from_secs(60),
            remote: None,
            auto_repack: true,
            own_index: true,
        }
    }
}

impl GitOptions {
    /// Sets the branch.
    #[must_use]
    pub fn with_branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = branch.into();
        self
    }

    /// Sets the author of commits.
    #[must_use]
    pub fn with_author(mut self, name: impl Into<String>, email: impl Into<String>) -> Self {
        self.author = name.into();
        self.email = email.into();
        self
    }

    /// Sets what becomes one commit.
    #[must_use]
    pub fn with_commits(mut self, commits: CommitPer) -> Self {
        self.commits = commits;
        self
    }

    /// Sets the largest body, in bytes.
    #[must_use]
    pub fn with_max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets how long to wait for another process that is writing.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets where the branch is pushed to.
    #[must_use]
    pub fn with_remote(mut self, remote: Remote) -> Self {
        self.remote = Some(remote);
        self
    }

    /// Leaves packs to `maintain` alone, or not.
    #[must_use]
    pub fn with_auto_repack(mut self, on: bool) -> Self {
        self.auto_repack = on;
        self
    }

    /// Believes the index that lies beside the objects, or not: in a repository that comes from elsewhere, anybody may have
    /// written it.
    #[must_use]
    pub fn with_own_index(mut self, is_own: bool) -> Self {
        self.own_index = is_own;
        self
    }

    /// The full name of the branch.
    pub(super) fn refname(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    /// Refuses what Git would refuse, before anything is written.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &'static str, why: &str, value: &str| {
            Error::new(ErrorKind::Config, "open repository", why).with(what, value.escape_debug())
        };
        if self.branch.starts_with('-') || !git2::Reference::is_valid_name(&self.refname()) {
            return Err(wrong("branch", "this is not a name that a Git branch can have", &self.branch));
        }
        let time = git2::Time::new(0, 0);
        let plain = |s: &str| !s.chars().any(|c| c.is_control() || matches!(c, '<' | '>'));
        if !plain(&self.author)
            || !plain(&self.email)
            || git2::Signature::new(&self.author, &self.email, &time).is_err()
        {
            return Err(wrong("author", "an author is a name and a mail address", &self.author));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_refuses_is_refused_before_anything_is_written() {
        for bad in ["", "-x", "a..b", "a b", "a:b", "x.lock", "a\nb", "a^", "../x"] {
            assert!(GitOptions::default().with_branch(bad).check().is_err(), "{bad:?}");
        }
        for good in ["main", "site/zurich"] {
            assert!(GitOptions::default().with_branch(good).check().is_ok(), "{good:?}");
        }
        for (name, mail) in [("", "a@b"), ("a\nb", "a@b"), ("a", "a>b"), ("<", "x@y")] {
            assert!(GitOptions::default().with_author(name, mail).check().is_err(), "{name:?} {mail:?}");
        }
    }
}
