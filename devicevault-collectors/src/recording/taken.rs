//! From what went over the wire to a recording.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Login, Result};

use super::{ENABLE, PASSWORD, Recording, Step, USERNAME};
use crate::transport::{Moment, Tape, Wire};

/// Shorter secrets cannot be told from other text.
const SHORTEST: usize = 4;

impl Recording {
    /// What a tape holds, with the login's parts taken out. Empty lines that were only typed to confirm a prompt are
    /// left out.
    ///
    /// # Errors
    /// `TooLarge` where the tape is full, `Config` where a secret of the login is too short to be told from other text.
    pub fn taken_from(tape: &Tape, login: &Login) -> Result<Self> {
        if tape.is_cut() {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "record session",
                "the device sent more than a recording holds",
            ));
        }
        let parts = Parts::of(login);
        parts.check()?;
        let mut recording = Self::default();
        // When the last step began.
        let mut begun = Duration::ZERO;
        for Moment { at, what } in tape.moments() {
            match what {
                Wire::Connected(greeting) => {
                    recording.version = greeting.version;
                    recording.banner = greeting.banner.map(|b| parts.without(&b));
                }
                Wire::Sent(bytes) => {
                    recording.steps.push(Step::typed(parts.named(&String::from_utf8_lossy(&bytes))));
                    begun = at;
                }
                Wire::Exec(command) => {
                    recording.steps.push(Step { exec: true, ..Step::typed(command) });
                    begun = at;
                }
                Wire::Received(bytes) => match recording.steps.last_mut() {
                    None => recording.opening.extend_from_slice(&bytes),
                    Some(step) => {
                        let after = *step.after.get_or_insert(at.saturating_sub(begun));
                        step.took = Some(at.saturating_sub(begun).saturating_sub(after));
                        step.receive.extend_from_slice(&bytes);
                    }
                },
                Wire::Ended(end) => {
                    if let Some(step) = recording.steps.last_mut() {
                        step.status = end.status;
                    }
                }
                Wire::Closed => {
                    if let Some(step) = recording.steps.last_mut() {
                        step.ends = true;
                    }
                }
                Wire::Shell(..) => {}
            }
        }
        recording.drop_confirmations();
        recording.opening = parts.without_bytes(&recording.opening);
        for step in &mut recording.steps {
            step.receive = parts.without_bytes(&step.receive);
            if step.exec {
                step.send = parts.without(&step.send);
            }
        }
        Ok(recording)
    }

    /// An empty line that brought the same prompt again says nothing: whoever plays the recording answers it so.
    fn drop_confirmations(&mut self) {
        let mut prompt = last_line(&self.opening).to_vec();
        self.steps.retain(|step| {
            let is_prompt = !prompt.is_empty() && last_line(&step.receive) == prompt;
            let before = step.receive.get(..step.receive.len().saturating_sub(prompt.len())).unwrap_or_default();
            let says_nothing =
                !step.exec && step.line().is_empty() && is_prompt && before.iter().all(u8::is_ascii_whitespace);
            if !step.receive.is_empty() {
                prompt = last_line(&step.receive).to_vec();
            }
            !says_nothing
        });
    }
}

/// What stands behind the last line end.
pub(crate) fn last_line(bytes: &[u8]) -> &[u8] {
    bytes.rsplit(|b| *b == b'\n').next().unwrap_or_default()
}

/// The secrets of a login, and what stands for them.
#[derive(Debug)]
pub(crate) struct Parts {
    username: String,
    secrets: Vec<(&'static str, String)>,
}

impl Parts {
    pub(crate) fn of(login: &Login) -> Self {
        let all = [(PASSWORD, &login.password), (ENABLE, &login.enable), ("<passphrase>", &login.passphrase)];
        let known = all.into_iter().filter_map(|(name, s)| Some((name, s.as_ref()?.expose_secret().to_owned())));
        Self { username: login.username.clone(), secrets: known.filter(|(_, s)| !s.is_empty()).collect() }
    }

    fn check(&self) -> Result<()> {
        if let Some((name, _)) = self.secrets.iter().find(|(_, s)| s.len() < SHORTEST) {
            let message = "a secret of the login is so short that it cannot be told from other text";
            return Err(Error::new(ErrorKind::Config, "record session", message)
                .with("secret", name)
                .with("shortest", SHORTEST)
                .hint("record with a login whose secrets are longer"));
        }
        Ok(())
    }

    /// What was typed, with a placeholder where it is a part of the login.
    pub(crate) fn named(&self, typed: &str) -> String {
        let line = typed.trim_end_matches(['\r', '\n']);
        let end = typed.get(line.len()..).unwrap_or_default();
        match self.secrets.iter().find(|(_, s)| s == line) {
            Some((name, _)) => format!("{name}{end}"),
            None if line == self.username && !line.is_empty() => format!("{USERNAME}{end}"),
            None => self.without(typed),
        }
    }

    pub(crate) fn without(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.without_bytes(text.as_bytes())).into_owned()
    }

    /// In one pass, so that nothing is looked for in what stands for a secret.
    pub(crate) fn without_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            let places = self.secrets.iter().filter_map(|(name, secret)| {
                let at = memchr::memmem::find(rest, secret.as_bytes())?;
                Some((at, std::cmp::Reverse(secret.len()), *name))
            });
            // The first of them, and of those that begin there the longest.
            let Some((at, std::cmp::Reverse(length), name)) = places.min() else { break };
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            out.extend_from_slice(name.as_bytes());
            rest = rest.get(at + length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use devicevault_core::SecretString;

    #[test]
    fn no_part_of_a_login_is_left_and_no_placeholder_is_taken_for_one() {
        let mut login = Login::default();
        login.username = "admin".to_owned();
        login.password = Some(SecretString::from("password1"));
        login.enable = Some(SecretString::from("password"));
        let parts = Parts::of(&login);
        assert_eq!(parts.without("a password1b password"), "a <password>b <enable>");
        assert_eq!(parts.named("password1\r\n"), "<password>\r\n");
        assert_eq!(parts.named("admin\n"), "<username>\n");
        assert_eq!(parts.named("show password1\n"), "show <password>\n");
    }
}
