//! Who asks a token at the moment. The end of the process takes a module down beneath whoever is in it, which many a
//! module answers with a crash.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};

/// For the whole process: modules are loaded once.
static OF_PROCESS: Asked = Asked::new();

#[derive(Debug)]
struct Asked {
    now: Mutex<Now>,
    fewer: Condvar,
}

#[derive(Debug)]
struct Now {
    asking: usize,
    is_over: bool,
}

/// Somebody who asks, until it is dropped.
#[derive(Debug)]
pub(super) struct Asking<'a>(&'a Asked);

impl Asked {
    const fn new() -> Self {
        Self { now: Mutex::new(Now { asking: 0, is_over: false }), fewer: Condvar::new() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Result<Asking<'_>> {
        let mut now = self.now();
        if now.is_over {
            let why = "the program is about to end";
            return Err(Error::new(ErrorKind::KeyUnavailable, "use token", why));
        }
        now.asking += 1;
        Ok(Asking(self))
    }

    fn end(&self, patience: Duration) {
        let mut now = self.now();
        now.is_over = true;
        // Whether it ran out of patience makes no difference: the process ends.
        let _ = self.fewer.wait_timeout_while(now, patience, |now| now.asking > 0);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.now().asking -= 1;
        self.0.fewer.notify_all();
    }
}

/// Before anything is asked of a module.
///
/// # Errors
/// `KeyUnavailable` once [`end_tokens`] was called.
pub(super) fn begin() -> Result<Asking<'static>> {
    OF_PROCESS.begin()
}

/// To be called by a program before it ends: waits until nobody in this process asks a token any more, but no longer than
/// its patience. Whoever asks from then on is refused.
pub fn end_tokens(patience: Duration) {
    OF_PROCESS.end(patience);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_end_waits_for_those_who_ask_and_refuses_the_next() {
        let asked = Asked::new();
        let (ended, told) = mpsc::channel();
        thread::scope(|threads| {
            let asking = [asked.begin().unwrap(), asked.begin().unwrap()];
            threads.spawn(|| {
                asked.end(Duration::from_secs(600));
                ended.send(()).unwrap();
            });
            while asked.begin().is_ok() {
                thread::yield_now();
            }
            for one in asking {
                told.try_recv().unwrap_err();
                drop(one);
            }
            told.recv().unwrap();
        });
        assert_eq!(asked.begin().unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }

    #[test]
    fn the_end_has_no_more_patience_than_it_is_given() {
        let asked = Asked::new();
        let _hangs = asked.begin().unwrap();
        asked.end(Duration::from_millis(1));
    }
}
