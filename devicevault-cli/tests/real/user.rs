//! A user of the system, for logins with a password.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::{feed, program};

/// Removed at the end of its test.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl User {
    /// A user without a home.
    ///
    /// # Panics
    /// We are not root.
    pub(crate) fn add() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dv{}x{number}", std::process::id());
        let user = Self { password: format!("correct horse {name}"), name };
        patiently("useradd", &["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", &user.name], "");
        patiently("chpasswd", &[], &format!("{}:{}\n", user.name, user.password));
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // A session of it may still be closing down.
        patiently("userdel", &["--force", &self.name], "");
    }
}

/// The system's list of users has a lock, and whoever does not get it at once gives up.
fn patiently(name: &str, args: &[&str], input: &str) {
    let program = program(name);
    let mut last = String::new();
    for _ in 0..50 {
        match feed(Command::new(&program).args(args), input) {
            Ok(()) => return,
            Err(e) if e.contains("lock") => last = e,
            Err(e) => {
                last = e;
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(std::thread::panicking(), "{name} {args:?}: {last}");
}
