//! No image of the process on a disk: it holds keys and passwords.

/// Keeps the system from writing a core file when the process dies, and other processes of the same user from reading
/// its memory and environment (Linux: `PR_SET_DUMPABLE`, prctl(2); elsewhere `RLIMIT_CORE`, which says nothing of
/// reading). Programs that it starts are not touched by it on Linux.
pub(crate) fn none() {
    #[cfg(target_os = "linux")]
    let done = {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
    };
    #[cfg(all(unix, not(target_os = "linux")))]
    let done = {
        use rustix::process::{Resource, Rlimit, setrlimit};
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
    };
    #[cfg(unix)]
    if let Err(e) = done {
        tracing::debug!(error = %e, "a core file cannot be ruled out");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    #[test]
    fn a_process_that_asked_for_it_is_not_dumped() {
        super::none();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
