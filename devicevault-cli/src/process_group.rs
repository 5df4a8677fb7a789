//! Programs that are started, with all that they start themselves.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// A program in a process group of its own, and all that it has started. Dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// Of a child that leads its group.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// It has ended by itself; its number may be another's soon.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
