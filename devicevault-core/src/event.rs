//! What happens, told as it happens.

use std::fmt::Debug;

use serde::Serialize;

use crate::run::{ArtefactResult, Run};
use crate::{DeviceId, RunId, TaskId, Timestamp};

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum Event {
    /// A device is left alone yet, since it was talked to a short while ago.
    DeviceRests {
        /// The device.
        device: DeviceId,
        /// Its name.
        device_name: String,
        /// Until then.
        until: Timestamp,
    },
    /// A run began to talk to its device.
    RunStarted {
        /// The run.
        run: RunId,
        /// The attempt.
        task_id: TaskId,
        /// The job.
        task_identifier: String,
        /// The device.
        device: DeviceId,
        /// Its name.
        device_name: String,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// Bytes of an artefact arrived; told now and then.
    Progress {
        /// The run.
        run: RunId,
        /// The artefact.
        artefact: String,
        /// So far.
        bytes: u64,
    },
    /// The device is done with; destinations are written.
    Collected {
        /// The run.
        run: RunId,
    },
    /// An artefact has its verdict at every destination, and the catalog has it.
    Artefact {
        /// The run.
        run: RunId,
        /// The device's name.
        device_name: String,
        /// What became of it.
        result: Box<ArtefactResult>,
    },
    /// A run is over and recorded.
    RunFinished {
        /// The whole of it.
        run: Box<Run>,
    },
}

/// Is told events.
///
/// # Contract
/// [`emit`](EventSink::emit) returns at once: it neither blocks nor fails a backup. An implementation that sends
/// somewhere queues, and drops when its queue is full.
pub trait EventSink: Debug + Send + Sync {
    /// Something happened.
    fn emit(&self, event: &Event);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _event: &Event) {}
}
