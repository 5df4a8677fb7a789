//! The helper of the system's `ssh`: started by it with a prompt, it prints what the waiting program hands over.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use devicevault_collectors::{ASKPASS_VARIABLE, answer_from};

use crate::Exit;

/// Answers a prompt where this process was started for that; `None`: it was not.
pub(crate) fn as_helper(args: &[OsString]) -> Option<Exit> {
    let socket = std::env::var_os(ASKPASS_VARIABLE).filter(|s| !s.is_empty())?;
    let [_, prompt] = args else { return None };
    // It says that a hardware key waits to be touched, and asks nothing.
    if std::env::var_os("SSH_ASKPASS_PROMPT").is_some_and(|kind| kind == "none") {
        return Some(Exit::Done);
    }
    let answer = answer_from(Path::new(&socket), &prompt.to_string_lossy()).unwrap_or_default();
    if answer.is_empty() {
        return Some(Exit::Failed);
    }
    let mut out = std::io::stdout().lock();
    let told = out.write_all(answer.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    Some(if told.is_ok() { Exit::Done } else { Exit::Failed })
}
