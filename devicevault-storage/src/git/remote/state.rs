//! What is remembered of a remote, beside the repository: how far it is, and what went wrong last.

use std::fs;
use std::io::ErrorKind as Io;

use devicevault_core::{ErrorRecord, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::fault;
use super::super::layout::Layout;
use crate::regular;

/// How a remote stands, as of the last push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RemoteState {
    /// Which remote.
    pub url: String,
    /// The commit that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
    /// When it got that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<Timestamp>,
    /// Since when pushing fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
}

/// Reads it; of another URL, or where nothing is remembered, it is empty.
pub(in super::super) fn load(layout: &Layout, branch: &str, url: &str) -> RemoteState {
    let read = || serde_json::from_slice::<RemoteState>(&regular::read(&layout.remote_state(branch)).ok()?).ok();
    let known = read().filter(|s| s.url == url);
    known.unwrap_or_else(|| RemoteState { url: url.to_owned(), ..RemoteState::default() })
}

/// Remembers it. Not flushed: what is lost is found out by the next push.
pub(in super::super) fn save(layout: &Layout, branch: &str, state: &RemoteState) -> Result<()> {
    let path = layout.remote_state(branch);
    let staged = path.with_extension(format!("{}", uuid::Uuid::now_v7().simple()));
    let failed = |e: std::io::Error| fault::io("remember push", &path, e);
    let bytes = serde_json::to_vec(state).map_err(|e| failed(Io::InvalidData.into()).because(e))?;
    fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, &path)).map_err(|e| {
        let _ = fs::remove_file(&staged);
        failed(e)
    })
}
