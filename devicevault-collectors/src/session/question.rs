//! What a question of the device is answered with.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::{Error, ErrorKind, ExposeSecret, Login, Result};

use crate::platform::{Answer, Credential, Question};

/// Bytes that no `Debug` shows.
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A question that is no credential's may be asked a few times.
const MOST_ANSWERS: u32 = 5;

/// What is typed when a question stands there for the `times`-th time.
///
/// # Errors
/// `PromptLost` when it comes again and again, `AuthRejected` for a credential that is missing or was not accepted.
pub(crate) fn reply(
    question: &Question,
    times: u32,
    login: &Login,
    line_end: &str,
    operation: &'static str,
) -> Result<Secret> {
    if times > MOST_ANSWERS {
        let message = "the device asks the same question again and again";
        return Err(Error::new(ErrorKind::PromptLost, operation, message));
    }
    let part = match &question.answer {
        Answer::Key(text) => return Ok(Secret(text.clone().into_bytes())),
        Answer::Line(text) => return Ok(Secret(format!("{text}{line_end}").into_bytes())),
        Answer::Credential(part) => *part,
    };
    let (name, value) = match part {
        Credential::Username => ("user name", Some(login.username.as_str())),
        Credential::Password => ("password", login.password.as_ref().map(ExposeSecret::expose_secret)),
        Credential::EnableUsername => {
            ("user name", Some(login.enable_username.as_ref().unwrap_or(&login.username).as_str()))
        }
        Credential::Enable => ("enable secret", login.enable.as_ref().map(ExposeSecret::expose_secret)),
    };
    if times > 1 {
        let message = format!("the device did not accept the {name}");
        return Err(Error::new(ErrorKind::AuthRejected, operation, message).hint("check the credential of this device"));
    }
    match value {
        Some(value) => Ok(Secret(format!("{value}{line_end}").into_bytes())),
        None => {
            let message = format!("the device asks for the {name}, and none is set");
            Err(Error::new(ErrorKind::AuthRejected, operation, message).hint("set it in the credential of this device"))
        }
    }
}

/// A question is answered once on its line: a carriage return that comes before the line's end does not ask it again.
#[derive(Debug, Default)]
pub(crate) struct Once(Option<(usize, u64)>);

impl Once {
    /// The question that stands there, when `ended` lines have ended, unless it was answered on this line.
    pub(crate) fn on(&mut self, question: Option<usize>, ended: u64) -> Option<usize> {
        let here = question.map(|q| (q, ended));
        let before = std::mem::replace(&mut self.0, here);
        question.filter(|_| before != here)
    }
}

/// Questions that the device asks in the middle of an answer. They are no part of its text.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    questions: Vec<Question>,
    times: Vec<u32>,
    once: Once,
    /// The question that was answered and whose line has not ended.
    standing: Option<(Vec<u8>, usize)>,
}

impl Asked {
    pub(crate) fn new(questions: &[Question]) -> Self {
        Self { questions: questions.to_vec(), times: vec![0; questions.len()], once: Once::default(), standing: None }
    }

    /// The question that stands on a line and was not answered there, and how often it has come. `ended` lines have ended.
    pub(crate) fn at(&mut self, current: &[u8], ended: u64) -> Option<(usize, u32)> {
        let index = self.questions.iter().position(|q| q.expect.is_match(current));
        let index = self.once.on(index, ended)?;
        let times = self.times.get_mut(index)?;
        *times += 1;
        self.standing = Some((current.to_vec(), index));
        Some((index, *times))
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Question> {
        self.questions.get(index)
    }

    /// What of a line is text: not the question that stands on it, nor the echo of its answer. `None`: nothing is.
    pub(crate) fn without_question<'l>(&mut self, line: &'l [u8]) -> Option<&'l [u8]> {
        let Some((question, index)) = self.standing.take() else { return Some(line) };
        let Some(rest) = line.strip_prefix(question.trim_ascii_end()) else { return Some(line) };
        let rest = rest.trim_ascii_start();
        let rest = match self.get(index).map(|q| &q.answer) {
            Some(Answer::Key(text) | Answer::Line(text)) => {
                rest.strip_prefix(text.trim_ascii().as_bytes()).unwrap_or(rest)
            }
            _ => rest,
        };
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}
