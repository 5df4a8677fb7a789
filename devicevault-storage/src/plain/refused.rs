//! What a place refuses of one object, and what it refuses altogether.
//!
//! On a disk what cannot be read is a matter of that file. Over a network the same answer may be about one object (its
//! owner, an archive that it was moved to, a key that is switched off) or about whoever asks: a policy that was changed, a
//! login that lost its rights. Only other objects tell. So a refusal waits until something of the place was read, counts as
//! that object's own then, like damage, and the rest follows; a place that gives nothing, or nothing any more, is an error.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use futures::stream::{BoxStream, Fuse, StreamExt as _};
use object_store::path::Path;

use super::Plain;

/// That a place gives what it is asked for is believed for so long after it did.
const TRUST: Duration = Duration::from_secs(5);

/// Where so many were refused and nothing was read, no more is asked for.
const MOST_WAITING: usize = 10_000;

/// What a walk read last, and when, by the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Given(Mutex<Option<(Path, Duration)>>);

impl Given {
    fn last(&self) -> Option<(Path, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, read: Option<(Path, Duration)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = read;
    }
}

/// A walk whose refusals are told apart.
struct Walk<T> {
    plain: Arc<Plain>,
    given: Arc<Given>,
    found: Fuse<BoxStream<'static, Result<T>>>,
    /// Refused, and not told yet.
    waiting: VecDeque<Error>,
    /// One was told as damage since the place was last asked.
    unproven: bool,
}

impl Plain {
    /// A manifest was read.
    pub(super) fn gave(&self, given: &Given, manifest: &Path) {
        if !self.in_folder() {
            given.set(Some((manifest.clone(), self.options.clock.monotonic())));
        }
    }

    /// The items of a walk, with a refusal of one object as `Corrupt`, and one of the place as what it is, last.
    pub(super) fn told_apart<T: Send + 'static>(
        self: Arc<Self>,
        given: Arc<Given>,
        found: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        // What a disk refuses was told where it was met.
        if self.in_folder() {
            return found;
        }
        let walk = Walk { plain: self, given, found: found.fuse(), waiting: VecDeque::new(), unproven: false };
        futures::stream::unfold(Some(walk), async |walk| walk?.next().await).boxed()
    }

    /// Whether the place gives what this walk read last, now or a moment ago; `false` where it read nothing.
    ///
    /// # Errors
    /// It does not any more.
    async fn gives(&self, given: &Given, trust: Duration) -> Result<bool> {
        let Some((manifest, at)) = given.last() else { return Ok(false) };
        if self.options.clock.monotonic().saturating_sub(at) < trust {
            return Ok(true);
        }
        match self.load(&manifest).await {
            Ok(_) => {
                self.gave(given, &manifest);
                Ok(true)
            }
            // Deleted meanwhile: it tells nothing.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                given.set(None);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

impl<T> Walk<T> {
    async fn next(mut self) -> Option<(Result<T>, Option<Self>)> {
        loop {
            if !self.waiting.is_empty() {
                match self.plain.gives(&self.given, TRUST).await {
                    Ok(true) => {
                        let refused = self.waiting.pop_front()?;
                        self.unproven = true;
                        return Some((Err(of_one(&refused)), Some(self)));
                    }
                    Ok(false) if self.waiting.len() < MOST_WAITING => {}
                    Ok(false) => return Some((Err(self.waiting.pop_front()?), None)),
                    Err(e) => return Some((Err(e), None)),
                }
            }
            match self.found.next().await {
                Some(Err(e)) if e.kind() == ErrorKind::PermissionDenied => self.waiting.push_back(e),
                Some(item) => return Some((item, Some(self))),
                None if self.unproven => match self.plain.gives(&self.given, Duration::ZERO).await {
                    Ok(_) => self.unproven = false,
                    Err(e) => return Some((Err(e), None)),
                },
                None => return self.waiting.pop_front().map(|e| (Err(e), None)),
            }
        }
    }
}

/// What an error is about.
pub(super) fn path_of(e: &Error) -> Option<String> {
    e.context().find(|(name, _)| *name == "path").map(|(_, path)| path.to_owned())
}

/// What the place refuses of one object or folder, told like damage.
fn of_one(e: &Error) -> Error {
    let told = Error::new(ErrorKind::Corrupt, "list backups", format!("it cannot be read: {}", e.message()));
    let told = match path_of(e) {
        Some(path) => told.with("path", path),
        None => told,
    };
    match e.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}
