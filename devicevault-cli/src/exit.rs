//! How the program ends.

use devicevault_core::{Error, ErrorKind};

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// An argument or the configuration is wrong; nothing was begun.
    Usage = 2,
    /// Some of it is done: some devices failed, or some backups are damaged.
    SomeFailed = 3,
    /// It was interrupted.
    Interrupted = 130,
}

impl Exit {
    /// The code of a command that did `good` of its parts and failed at `bad` of them.
    #[must_use]
    pub fn of_parts(good: usize, bad: usize) -> Self {
        match (good, bad) {
            (_, 0) => Self::Done,
            (0, _) => Self::Failed,
            _ => Self::SomeFailed,
        }
    }
}

impl From<&Error> for Exit {
    fn from(e: &Error) -> Self {
        match e.kind() {
            ErrorKind::Config => Self::Usage,
            ErrorKind::Cancelled => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_decide_between_done_some_and_none() {
        assert_eq!(Exit::of_parts(0, 0), Exit::Done);
        assert_eq!(Exit::of_parts(2, 0), Exit::Done);
        assert_eq!(Exit::of_parts(2, 1), Exit::SomeFailed);
        assert_eq!(Exit::of_parts(0, 1), Exit::Failed);
        assert_eq!(Exit::Interrupted as u8, 130);
    }
}
