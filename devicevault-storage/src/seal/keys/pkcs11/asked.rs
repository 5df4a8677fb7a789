//! Who asks a token at the moment. The end of the process takes a module down beneath whoever is in it, which many a
//! module answers with a crash.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For the whole process: modules are loaded once.
static OF_PROCESS: Asked = Asked::new();

#[derive(Debug)]
struct Asked {
    now: Mutex<usize>,
    fewer: Condvar,
}

/// Somebody who asks, until it is dropped.
#[derive(Debug)]
pub(super) struct Asking<'a>(&'a Asked);

impl Asked {
    const fn new() -> Self {
        Self { now: Mutex::new(0), fewer: Condvar::new() }
    }

    fn now(&self) -> MutexGuard<'_, usize> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Asking<'_> {
        *self.now() += 1;
        Asking(self)
    }

    fn end(&self, patience: Duration) {
        // Whether it ran out of patience makes no difference: the process ends.
        let _ = self.fewer.wait_timeout_while(self.now(), patience, |asking| *asking > 0);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.0.now() -= 1;
        self.0.fewer.notify_all();
    }
}

/// Before anything is asked of a module.
pub(super) fn begin() -> Asking<'static> {
    OF_PROCESS.begin()
}

/// To be called by a program before it ends, once its runtime is shut down: waits until nobody in this process asks a token
/// any more, but no longer than its patience.
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
    fn the_end_waits_for_those_who_ask() {
        let asked = Asked::new();
        let (ended, told) = mpsc::channel();
        thread::scope(|threads| {
            let asking = [asked.begin(), asked.begin()];
            threads.spawn(|| {
                asked.end(Duration::from_secs(600));
                ended.send(()).unwrap();
            });
            for one in asking {
                told.try_recv().unwrap_err();
                drop(one);
            }
            told.recv().unwrap();
        });
        // A program may have another life in the same process.
        drop(asked.begin());
        asked.end(Duration::ZERO);
    }

    #[test]
    fn the_end_has_no_more_patience_than_it_is_given() {
        let asked = Asked::new();
        let _hangs = asked.begin();
        asked.end(Duration::from_millis(1));
    }
}
