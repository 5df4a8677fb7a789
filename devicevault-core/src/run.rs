//! What happened: runs, backups and their copies, as the catalog keeps them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::collector::Note;
use crate::error::ErrorRecord;
use crate::storage::StorageRef;
use crate::{BackupId, DestinationId, DeviceId, Digest, Error, ErrorKind, Kind, Result, RunId, TaskId, View};

/// What asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A person, at the command line or in the web interface.
    Manual,
    /// A schedule.
    Schedule,
    /// A change seen on the device.
    Event,
    /// The HTTP API.
    Api,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Waits for a permit or for the device.
    Queued,
    /// Talks to the device.
    Collecting,
    /// The device is done with; destinations are written.
    Storing,
    /// Every mandatory artefact is on every destination, and something is new.
    Succeeded,
    /// Some artefact or destination is missing, or something is suspect.
    Partial,
    /// Nothing changed since the last backup.
    Unchanged,
    /// Nothing came of it.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunState {
    /// The name used in records and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Collecting => "collecting",
            Self::Storing => "storing",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Collecting | Self::Storing)
    }

    /// Whether the device's backups are as complete as they should be.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Succeeded | Self::Unchanged)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        [
            Self::Queued,
            Self::Collecting,
            Self::Storing,
            Self::Succeeded,
            Self::Partial,
            Self::Unchanged,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == s)
        .ok_or_else(|| Error::new(ErrorKind::Config, "read run state", "no such state").with("value", s.escape_debug()))
    }
}

/// What became of one artefact in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArtefactResult {
    /// `running-config`, …
    pub artefact: String,
    /// Text or binary.
    pub kind: Kind,
    /// Whether a run without it is not a success.
    pub mandatory: bool,
    /// What became of it.
    pub status: ArtefactStatus,
    /// Bytes that the device sent (the original view).
    pub size: u64,
    /// SHA-256 of the original view, once it is whole.
    pub sha256: Option<Digest>,
    /// The backup that it is, or extends.
    pub backup: Option<BackupId>,
    /// Lines added and removed against the last backup are not told here; this says only whether it is a first.
    pub first: bool,
    /// Why it is suspect; empty when it is not.
    pub suspect: Vec<String>,
    /// It is suspect because it broke a file rule, and kept apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
    /// Why it failed.
    pub error: Option<ErrorRecord>,
    /// What became of it at each destination.
    pub copies: Vec<CopyResult>,
}

impl ArtefactResult {
    /// A result before anything is known but the name.
    pub fn new(artefact: impl Into<String>, kind: Kind, mandatory: bool) -> Self {
        Self {
            artefact: artefact.into(),
            kind,
            mandatory,
            status: ArtefactStatus::Failed,
            size: 0,
            sha256: None,
            backup: None,
            first: false,
            suspect: Vec::new(),
            quarantined: false,
            error: None,
            copies: Vec::new(),
        }
    }
}

impl ArtefactResult {
    /// What became of it, in the word that people are shown: the name of its status, or `quarantined`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.status == ArtefactStatus::Suspect && self.quarantined { "quarantined" } else { self.status.as_str() }
    }
}

/// See [`ArtefactResult::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtefactStatus {
    /// New content, stored.
    Stored,
    /// The same content as the last backup.
    Unchanged,
    /// Stored, and marked as possibly not what the device holds.
    Suspect,
    /// Not collected, or stored nowhere.
    Failed,
}

impl ArtefactStatus {
    /// The name used in records and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unchanged => "unchanged",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        }
    }
}

/// What became of one artefact at one destination in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CopyResult {
    /// Where.
    pub destination: DestinationId,
    /// Which view.
    pub view: View,
    /// How it ended.
    pub status: CopyStatus,
    /// Where the copy is.
    pub storage_ref: Option<StorageRef>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long storing took, waiting for its batch included.
    pub duration: Duration,
    /// Why it failed; of one that is relied upon, why nobody could look whether it is there.
    pub error: Option<ErrorRecord>,
}

impl CopyResult {
    /// A result that is pending.
    pub fn new(destination: DestinationId, view: View) -> Self {
        Self {
            destination,
            view,
            status: CopyStatus::Pending,
            storage_ref: None,
            attempts: 0,
            duration: Duration::ZERO,
            error: None,
        }
    }
}

/// How a copy stands at its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyStatus {
    /// Written and durable.
    Stored,
    /// Was there already; its validity was extended.
    Extended,
    /// Parked, and tried again later.
    Pending,
    /// Given up.
    Failed,
    /// Was stored, and is no longer what was stored.
    Damaged,
    /// About to be deleted.
    Marked,
}

impl CopyStatus {
    /// The name used in records and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Extended => "extended",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
            Self::Marked => "marked",
        }
    }
}

impl FromStr for CopyStatus {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        [Self::Stored, Self::Extended, Self::Pending, Self::Failed, Self::Damaged, Self::Marked]
            .into_iter()
            .find(|status| status.as_str() == s)
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, "read copy status", "no such status").with("value", s.escape_debug())
            })
    }
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewRun {
    /// The attempt; [`Catalog::begin`](crate::Catalog::begin) is idempotent by it.
    pub task_id: TaskId,
    /// The job that attempts share.
    pub task_identifier: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The device.
    pub device: DeviceId,
    /// Its name now.
    pub device_name: String,
    /// What asked for it.
    pub triggered_by: Trigger,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
}

impl NewRun {
    /// A first attempt.
    pub fn new(device: DeviceId, device_name: impl Into<String>, triggered_by: Trigger, now: Timestamp) -> Self {
        let task_id = TaskId::generate();
        Self {
            task_id,
            task_identifier: task_id.to_string(),
            attempt: 1,
            device,
            device_name: device_name.into(),
            triggered_by,
            queued_at: now,
            started_at: now,
        }
    }
}

/// One attempt to back up one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// Identity.
    pub id: RunId,
    /// What it began as.
    #[serde(flatten)]
    pub start: NewRun,
    /// Where it stands.
    pub state: RunState,
    /// When the device was done with.
    pub collected_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// Bytes that the device sent.
    pub size_before: u64,
    /// Bytes handed to destinations (all views and copies that were stored anew).
    pub size_after: u64,
    /// What became of each artefact.
    pub artefacts: Vec<ArtefactResult>,
    /// What ended it, when it failed as a whole.
    pub error: Option<ErrorRecord>,
    /// What happened on the way.
    pub log: Vec<Note>,
}

impl Run {
    /// A run that has just begun.
    #[must_use]
    pub fn begun(id: RunId, start: NewRun) -> Self {
        Self {
            id,
            start,
            state: RunState::Collecting,
            collected_at: None,
            finished_at: None,
            size_before: 0,
            size_after: 0,
            artefacts: Vec::new(),
            error: None,
            log: Vec::new(),
        }
    }

    /// From its beginning to its end, once it is over.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let end = self.finished_at?;
        Duration::try_from(end.duration_since(self.start.started_at)).ok()
    }
}

/// How a backup stands that broke a [file rule](crate::file_rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quarantine {
    /// It is kept apart: suspect, and handed out only by an explicit word.
    Held,
    /// A person released it: it is a backup like any other, and the same content breaks no rule any more.
    Released,
}

impl Quarantine {
    /// The name used in records and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
        }
    }
}

/// One stored version of one artefact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backup {
    /// Identity, shared by its copies.
    pub id: BackupId,
    /// The run that took it.
    pub run: RunId,
    /// The device.
    pub device: DeviceId,
    /// Its name when this was taken.
    pub device_name: String,
    /// `running-config`, …
    pub artefact: String,
    /// Text or binary.
    pub kind: Kind,
    /// File name extension without the dot.
    pub extension: String,
    /// Bytes of the original view.
    pub size: u64,
    /// Keyed hash that ties the views; see [`Manifest::content`](crate::Manifest::content).
    pub content: Digest,
    /// When this content was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Why it is suspect; empty when it is not.
    pub suspect: Vec<String>,
    /// Whether it broke a file rule, and what a person said of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Never deleted by retention.
    pub pinned: bool,
    /// The user's own keys and values.
    pub metadata: BTreeMap<String, String>,
    /// Where it is.
    pub copies: Vec<Copy>,
}

impl Backup {
    /// A text without copies, seen once; the rest is set on the fields.
    pub fn new(
        id: BackupId,
        run: RunId,
        device: DeviceId,
        artefact: impl Into<String>,
        content: Digest,
        seen: Timestamp,
    ) -> Self {
        Self {
            id,
            run,
            device_name: device.0.clone(),
            device,
            artefact: artefact.into(),
            kind: Kind::Text,
            extension: "txt".to_owned(),
            size: 0,
            content,
            first_seen: seen,
            last_seen: seen,
            suspect: Vec::new(),
            quarantine: None,
            pinned: false,
            metadata: BTreeMap::new(),
            copies: Vec::new(),
        }
    }

    /// Whether it is in quarantine now.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantine == Some(Quarantine::Held)
    }

    /// A person has looked at it and takes it for what the device holds: it is suspect no longer, and released where it
    /// was in quarantine.
    pub fn accept(&mut self) {
        self.suspect.clear();
        if self.quarantine.is_some() {
            self.quarantine = Some(Quarantine::Released);
        }
    }
}

/// A backup at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copy {
    /// Where.
    pub destination: DestinationId,
    /// Which view.
    pub view: View,
    /// How it stands.
    pub status: CopyStatus,
    /// What the destination reads it by.
    pub storage_ref: Option<StorageRef>,
    /// Bytes of the view.
    pub size: u64,
    /// SHA-256 of the view.
    pub sha256: Digest,
    /// How often storing was tried.
    pub attempts: u32,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// When this destination last answered for this content.
    pub last_seen: Timestamp,
    /// When it was last verified, and found good.
    pub verified_at: Option<Timestamp>,
    /// Why it failed or is damaged.
    pub error: Option<ErrorRecord>,
}

impl Copy {
    /// A copy that waits for its destination; the rest is set on the fields.
    #[must_use]
    pub fn new(destination: DestinationId, view: View, size: u64, sha256: Digest, now: Timestamp) -> Self {
        Self {
            destination,
            view,
            status: CopyStatus::Pending,
            storage_ref: None,
            size,
            sha256,
            attempts: 0,
            stored_at: now,
            last_seen: now,
            verified_at: None,
            error: None,
        }
    }
}

/// One thing that a run has to tell the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
#[non_exhaustive]
pub enum Outcome {
    /// A backup, new or known by its id already, with the copies that this run made (stored, pending or failed).
    /// What the catalog knows of other copies stays.
    Backup(Backup),
    /// The content was seen again: the backup, and its copies at these destinations, are valid until now.
    Extended {
        /// The backup.
        backup: BackupId,
        /// Where its copy was relied upon.
        destinations: Vec<DestinationId>,
        /// When it was seen.
        seen: Timestamp,
    },
    /// The run is over; this is the whole of it.
    End(Run),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_what_they_print() {
        for s in ["queued", "collecting", "storing", "succeeded", "partial", "unchanged", "failed", "cancelled"] {
            assert_eq!(s.parse::<RunState>().unwrap().as_str(), s);
            assert_eq!(serde_json::to_string(&s.parse::<RunState>().unwrap()).unwrap(), format!("\"{s}\""));
        }
        for s in ["stored", "extended", "pending", "failed", "damaged", "marked"] {
            assert_eq!(s.parse::<CopyStatus>().unwrap().as_str(), s);
        }
        assert!("half".parse::<RunState>().is_err());
    }
}
