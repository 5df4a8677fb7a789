//! PINs that a token refused: none is offered twice. A token counts wrong PINs, and locks itself after a few.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use devicevault_core::{Error, ExposeSecret as _, Result, SecretString};

/// For the whole process: the same token is opened by many who know nothing of each other.
static OF_PROCESS: Refusals = Refusals(Mutex::new(Vec::new()));

struct Refusals(Mutex<Vec<Refusal>>);

struct Refusal {
    module: PathBuf,
    token: String,
    /// None: it refuses every PIN.
    pin: Option<SecretString>,
    error: Error,
}

/// Why a login failed.
pub(super) enum Failed {
    /// The PIN is not the one.
    Pin(Error),
    /// The token takes no PIN any more.
    Locked(Error),
    /// Something else, that may be different the next time.
    Otherwise(Error),
}

/// Logs in, unless this PIN was refused before: then that is told again, and the token is not asked. One at a time: those
/// who wait learn of the refusal.
///
/// # Errors
/// Why it failed, or had failed.
pub(super) fn login(
    module: &Path,
    token: &str,
    pin: &SecretString,
    login: impl FnOnce() -> std::result::Result<(), Failed>,
) -> Result<()> {
    OF_PROCESS.login(module, token, pin, login)
}

impl Refusals {
    fn login(
        &self,
        module: &Path,
        token: &str,
        pin: &SecretString,
        login: impl FnOnce() -> std::result::Result<(), Failed>,
    ) -> Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |one: &SecretString| one.expose_secret() == pin.expose_secret();
        let known = all.iter().find(|r| r.module == module && r.token == token && r.pin.as_ref().is_none_or(&is_same));
        if let Some(known) = known {
            return Err(known.error.clone());
        }
        let (pin, error) = match login() {
            Ok(()) => return Ok(()),
            Err(Failed::Otherwise(e)) => return Err(e),
            Err(Failed::Pin(e)) => (Some(pin.clone()), e),
            Err(Failed::Locked(e)) => (None, e),
        };
        let (module, token) = (module.to_owned(), token.to_owned());
        all.push(Refusal { module, token, pin, error: error.clone() });
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use devicevault_core::ErrorKind;

    use super::*;

    fn error(why: &'static str) -> Error {
        Error::new(ErrorKind::KeyUnavailable, "open token", why)
    }

    fn pin(pin: &str) -> SecretString {
        pin.to_owned().into()
    }

    #[test]
    fn a_wrong_pin_is_offered_once_by_however_many_at_once() {
        let (refusals, asked) = (Refusals(Mutex::default()), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let told = refusals.login(Path::new("/m"), "backup", &pin("9999"), || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        Err(Failed::Pin(error("its PIN is another one")))
                    });
                    assert_eq!(told.unwrap_err().message(), "its PIN is another one");
                });
            }
        });
        assert_eq!(asked.into_inner(), 1);
        refusals.login(Path::new("/m"), "backup", &pin("1234"), || Ok(())).unwrap();
        refusals.login(Path::new("/m"), "other", &pin("9999"), || Ok(())).unwrap();
        refusals.login(Path::new("/n"), "backup", &pin("9999"), || Ok(())).unwrap();
    }

    #[test]
    fn a_locked_token_is_offered_no_pin_and_what_may_pass_is_tried_again() {
        let refusals = Refusals(Mutex::default());
        let ask = |p: &str, answer| refusals.login(Path::new("/m"), "backup", &pin(p), || answer);
        ask("1", Err(Failed::Otherwise(error("it does not answer")))).unwrap_err();
        ask("1", Ok(())).unwrap();
        ask("1", Err(Failed::Locked(error("it is locked")))).unwrap_err();
        for p in ["1", "2"] {
            assert_eq!(ask(p, Ok(())).unwrap_err().message(), "it is locked");
        }
    }
}
