//! Pushing a branch to its remote, and taking in what others pushed there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use git2::Oid;

use super::backend::GitBackend;
use super::lock::FileLock;
use super::merge::{self, Merged};
use super::remote::{self, Git, PushWhen, Pushed, RemoteState};
use super::{branch, fault};

/// How often others may be faster before it is given up for now.
const TRIES: u32 = 5;

/// The first time, at once; then so much later each time.
const AGAIN: Duration = Duration::from_millis(200);

/// After a failure, batches leave the remote alone for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushReport {
    /// The remote got commits that it did not have.
    pub pushed: bool,
    /// Commits of others were merged into the branch.
    pub merged: bool,
    /// There was nothing to push: nothing is stored here yet, and the remote was not asked.
    pub empty: bool,
}

impl GitBackend {
    /// Pushes the branch to its remote; what others pushed there meanwhile is merged first, ours in the folders of our
    /// devices and in every file that was changed on both sides. Nothing is forced. The remote is asked whether it has
    /// everything: somebody may have moved its branch, or put an empty one in its place. Does nothing where there is none.
    ///
    /// What was tried is remembered beside the repository: see [`remote_state`](Self::remote_state). Dropped or killed in
    /// between, the next push does the rest.
    ///
    /// # Errors
    /// Why the remote could not be reached, or refused. What is stored here is not affected.
    pub async fn push(&self) -> Result<PushReport> {
        let Some(remote) = self.store.options.remote.as_ref() else { return Ok(PushReport::default()) };
        let _alone = self.pushing.lock().await;
        let (layout, clock) = (&self.store.layout, &*self.store.clock);
        let _lock = FileLock::acquire(&layout.push_lock(), remote.timeout, clock).await?;
        let done = self.push_alone(remote).await;
        let branch = &self.store.options.branch;
        let mut state = remote::load(layout, branch, remote.url.as_str());
        match &done {
            Ok((_, tip)) => {
                if state.pushed != tip.map(|t| t.to_string()) || state.error.is_some() {
                    state.pushed = tip.map(|t| t.to_string());
                    state.pushed_at = Some(clock.now());
                }
                (state.failing_since, state.error) = (None, None);
            }
            Err(e) => {
                state.failing_since.get_or_insert(clock.now());
                state.error = Some(e.to_record());
                tracing::warn!(event = "push_failed", remote = %remote.url, branch, error = %e.to_record().message);
            }
        }
        remote::save(layout, branch, &state)?;
        done.map(|(report, _)| report)
    }

    async fn push_alone(&self, remote: &remote::Remote) -> Result<(PushReport, Option<Oid>)> {
        let branch = self.store.options.branch.clone();
        let mut report = PushReport::default();
        let known = remote::load(&self.store.layout, &branch, remote.url.as_str());
        // Where its branch is known to stand.
        let mut there = None;
        for tries in 0..TRIES {
            // Who was faster may still be at it.
            self.store.clock.sleep(AGAIN * tries).await;
            let refname = self.store.options.refname();
            let tip = self.blocking(move |store| branch::tip(&store.layout.repository()?, &refname)).await?;
            let Some(tip) = tip else {
                report.empty = true;
                return Ok((report, None));
            };
            let git = Git::new(remote, self.store.layout.dir()).await?;
            if there.is_none() && known.pushed == Some(tip.to_string()) {
                there = git.tip(&branch).await?;
            }
            if there == Some(tip) {
                return Ok((report, Some(tip)));
            }
            match git.push(&branch, tip).await? {
                Pushed::Done => {
                    report.pushed = true;
                    tracing::info!(event = "pushed", remote = %remote.url, branch, commit = %tip);
                    return Ok((report, Some(tip)));
                }
                Pushed::Behind => {
                    let (theirs, merged) = self.take_in(&git, &branch).await?;
                    report.merged |= merged;
                    there = theirs;
                }
            }
        }
        Err(Error::new(ErrorKind::Conflict, "push branch", "others keep pushing to the remote")
            .with("remote", &remote.url)
            .retry_advice(devicevault_core::Retry::After(PAUSE)))
    }

    /// Merges what others pushed: where the remote's branch stands, and whether ours has something new of it.
    async fn take_in(&self, git: &Git<'_>, branch: &str) -> Result<(Option<Oid>, bool)> {
        let Some(theirs) = git.tip(branch).await? else { return Ok((None, false)) };
        git.fetch(branch).await?;
        let guard = self.writer.clone().lock_owned().await;
        let (store, clock) = (self.store.clone(), &*self.store.clock);
        let lock = FileLock::acquire(&store.layout.lock(), store.options.lock_timeout, clock).await?;
        let merge = move || {
            let _held = (guard, lock);
            if !merge::has(&store.layout.repository()?, theirs)? {
                return Ok(Merged::Elsewhere);
            }
            store.refuse_purged(theirs)?;
            store.merge_theirs(theirs)
        };
        let merged = tokio::task::spawn_blocking(merge).await.map_err(fault::panicked)??;
        tracing::info!(event = "merged", branch, commit = %theirs, ?merged, "what others pushed was taken in");
        Ok((Some(theirs), matches!(merged, Merged::Joined | Merged::Followed)))
    }

    /// How the remote stands, as of the last push; `None` where there is no remote. Nothing is asked over the network.
    #[must_use]
    pub fn remote_state(&self) -> Option<RemoteState> {
        let remote = self.store.options.remote.as_ref()?;
        Some(remote::load(&self.store.layout, &self.store.options.branch, remote.url.as_str()))
    }

    /// Asks the remote where its branch stands: whether it can be reached.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn test_remote(&self) -> Result<String> {
        let Some(remote) = self.store.options.remote.as_ref() else { return Ok("there is no remote".to_owned()) };
        let branch = self.store.options.branch.clone();
        let theirs = Git::new(remote, self.store.layout.dir()).await?.tip(&branch).await?;
        let refname = self.store.options.refname();
        let ours = self.blocking(move |store| branch::tip(&store.layout.repository()?, &refname)).await?;
        Ok(match theirs {
            None => format!("{branch} is not there yet"),
            Some(at) if Some(at) == ours => format!("{branch} stands where ours does, at {at}"),
            Some(at) => format!("{branch} stands at {at}: there is something to push or to take in"),
        })
    }

    /// After a batch, where that is wanted: beside what is stored next.
    pub(super) fn push_soon(&self) {
        let due = self.store.options.remote.as_ref().is_some_and(|r| r.push == PushWhen::Batch);
        if !due || self.push_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.share();
        tokio::spawn(async move {
            let recently = this.remote_state().and_then(|s| s.error.and(s.failing_since)).is_some();
            if recently {
                // What fails is not tried after every batch.
                this.store.clock.sleep(PAUSE).await;
            }
            // Whoever stores from here on asks again.
            this.push_asked.store(false, Ordering::Release);
            // Remembered, and told by who looks at the destination.
            let _ = this.push().await;
        });
    }
}
