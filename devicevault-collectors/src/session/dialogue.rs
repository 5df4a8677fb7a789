//! Finding the prompt: banners, questions and look-alikes before the first command, and after privileges were raised.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::VecDeque;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Login};
use regex::bytes::Regex;

use super::answer::at_end;
use super::prompt::Prompt;
use super::question::{self, Once, Secret};
use super::screen::Rows;
use crate::escape::shown;
use crate::platform::{Answer, Confirm, Credential, Question};

/// What the session is to do now that nothing more has come.
#[derive(Debug)]
pub(crate) enum Move {
    /// Wait for more.
    Wait,
    /// Wait, and ask what to do [when nothing more comes](Dialogue::stayed_quiet) for so long.
    WaitQuietly(Duration),
    /// Answer the pager, whose text begins there on the current line.
    Space(usize),
    /// Wait: the pager that begins there was answered.
    Answered(usize),
    /// Type an empty line.
    EmptyLine,
    /// Send this. It may be a secret.
    Say(Secret),
    /// The prompt is known.
    Learned(Prompt),
    /// It goes no further.
    Fail(Error),
}

/// A dialogue that ends at a prompt.
#[derive(Debug)]
pub(crate) struct Dialogue<'a> {
    operation: &'static str,
    questions: &'a [Question],
    password_change: &'a Regex,
    answered: Vec<u32>,
    once: Once,
    /// A part of the login is asked for, and is given when nothing more comes.
    due: Option<usize>,
    given: Vec<Credential>,
    prompt: &'a Regex,
    pager: &'a Regex,
    confirm: Confirm,
    line_end: &'a str,
    login: &'a Login,
    typed: bool,
    candidate: Vec<u8>,
    /// How often the screen had been redrawn when the empty line was typed.
    typed_at: u64,
    lines: u64,
    lines_needed: u64,
    /// A command of ours began it.
    commanded: bool,
    last: Vec<u8>,
    /// The lines that ended last.
    seen: VecDeque<Vec<u8>>,
    /// What stood between two prompts when an empty line was typed for the first time.
    between: Option<Vec<Vec<u8>>>,
    paged_at: Option<u64>,
}

/// So much silence settles what a line is, where a mistake can be mended.
pub(crate) const QUIET: Duration = Duration::from_millis(250);
/// And where a password would be typed before anybody asked for a user name: a greeting may stall behind the word
/// `password:`, as where a packet is lost and sent again after a second or two. Who asks for a user name then shows what
/// was typed, and tells it to AAA servers and logs.
const QUIET_BEFORE_PASSWORD: Duration = Duration::from_secs(3);
/// The same where the line reads like a sentence.
const QUIET_AFTER_SENTENCE: Duration = Duration::from_secs(6);
/// A question has no more words: `Please enter the password for user backup:`.
const MOST_WORDS: usize = 7;
/// More lines before a prompt are no answer to an empty line.
const MOST_BETWEEN: usize = 3;
/// Of a longer line no more is kept: it is no prompt.
const LONGEST_LINE: usize = 1024;

impl<'a> Dialogue<'a> {
    pub(crate) fn new(
        operation: &'static str,
        shell: &'a crate::platform::ShellRules,
        questions: &'a [Question],
        login: &'a Login,
    ) -> Self {
        Self {
            operation,
            questions,
            password_change: &shell.password_change,
            answered: vec![0; questions.len()],
            once: Once::default(),
            due: None,
            given: Vec::new(),
            prompt: &shell.prompt,
            pager: &shell.pager,
            confirm: shell.confirm,
            line_end: &shell.line_end,
            login,
            typed: false,
            candidate: Vec::new(),
            typed_at: 0,
            lines: 0,
            lines_needed: 0,
            commanded: false,
            last: Vec::new(),
            seen: VecDeque::with_capacity(MOST_BETWEEN + 1),
            between: None,
            paged_at: None,
        }
    }

    /// The line that stands there now is not the prompt yet: a command was just sent at it.
    pub(crate) fn after_a_command(mut self) -> Self {
        self.lines_needed = 1;
        self.commanded = true;
        self
    }

    /// Whether a part of the login was given.
    pub(crate) fn gave_credential(&self) -> bool {
        !self.given.is_empty()
    }

    /// The last line that said something.
    pub(crate) fn last_words(&self) -> String {
        shown(&self.last, 120)
    }

    /// An empty line was typed though no prompt was seen: some devices wait for one.
    pub(crate) fn woken(&mut self) {
        self.typed = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.last.clear();
        self.seen.clear();
        self.lines = 0;
    }

    /// What stands between the prompt at which an empty line was typed and this one.
    fn lines_between(&self, prompt: &Prompt) -> Option<Vec<Vec<u8>>> {
        let at = self.seen.iter().rposition(|line| prompt.is(line))?;
        Some(self.seen.iter().skip(at + 1).cloned().collect())
    }

    /// Nothing more has come: what now?
    pub(crate) fn at_rest(&mut self, current: &[u8], (redrawn, ended): (u64, u64)) -> Move {
        if self.lines < self.lines_needed {
            return Move::Wait;
        }
        if let Some(start) = at_end(self.pager, current) {
            if self.paged_at.replace(redrawn) == Some(redrawn) {
                return Move::Answered(start);
            }
            return Move::Space(start);
        }
        let asked = self.questions.iter().position(|q| q.expect.is_match(current));
        let of_login = |i: &usize| self.questions.get(*i).is_some_and(|q| matches!(q.answer, Answer::Credential(_)));
        if asked.is_none_or(|i| of_login(&i))
            && self.password_change.is_match(current)
            && !self.prompt.is_match(current)
        {
            let message = "the device wants the password to be changed first";
            let e = Error::new(ErrorKind::AuthRejected, self.operation, message).with("asked", shown(current, 120));
            return Move::Fail(e.hint("log in by hand, set a new password, and update the credential of this device"));
        }
        let new = self.once.on(asked, ended);
        if let Some(question) = asked {
            // A greeting may begin like a question (`Last login: Fri Nov 21`), and a login goes to nobody who did not ask. What
            // comes after a command of ours is asked.
            if of_login(&question) && !self.commanded {
                self.due = new.or(self.due);
                return self.due.map_or(Move::Wait, |due| Move::WaitQuietly(self.silence_before(due, current)));
            }
            return new.map_or(Move::Wait, |question| self.reply(question));
        }
        self.due = None;
        if self.typed
            && let Some(prompt) = twice(current).filter(|p| self.prompt.is_match(p) && *p == self.candidate)
        {
            return Move::Learned(Prompt::new(prompt, self.prompt).mute());
        }
        if current.is_empty() || !self.prompt.is_match(current) {
            return Move::Wait;
        }
        let prompt = Prompt::new(current, self.prompt);
        if let Some(between) = self.typed.then(|| self.lines_between(&prompt)).flatten() {
            // A prompt may have several lines. So may a greeting that goes on: what stands above it comes twice, or it is
            // none of it.
            if between.iter().all(Vec::is_empty) || self.between.as_ref() == Some(&between) {
                return Move::Learned(prompt.apart(between));
            }
            self.between = Some(between);
            return self.type_empty_line(current, redrawn);
        }
        if self.confirm == Confirm::Quiet {
            return Move::WaitQuietly(QUIET);
        }
        if self.typed {
            // The prompt may have been drawn anew on the same line.
            let again = self.lines == 0
                && redrawn > self.typed_at
                && current.trim_ascii_end() == self.candidate.trim_ascii_end();
            return if again { Move::WaitQuietly(QUIET) } else { Move::Wait };
        }
        self.type_empty_line(current, redrawn)
    }

    /// How long nothing more has to come on a line that asks for a part of the login, before that is given.
    fn silence_before(&self, question: usize, line: &[u8]) -> Duration {
        let part = self.questions.get(question).map(|q| &q.answer);
        let harmless = matches!(part, Some(Answer::Credential(Credential::Username | Credential::EnableUsername)));
        if harmless || self.given.contains(&Credential::Username) {
            return QUIET;
        }
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        if words > MOST_WORDS { QUIET_AFTER_SENTENCE } else { QUIET_BEFORE_PASSWORD }
    }

    fn type_empty_line(&mut self, current: &[u8], redrawn: u64) -> Move {
        self.typed = true;
        self.typed_at = redrawn;
        self.candidate = current.to_vec();
        self.lines_needed = 0;
        self.forget();
        Move::EmptyLine
    }

    /// Nothing more came for long after [`Move::EmptyLine`]: the prompt, of a platform that may answer it by something
    /// else, or not at all.
    pub(crate) fn unconfirmed(&self, current: &[u8]) -> Option<Prompt> {
        let stands = !current.is_empty() && self.prompt.is_match(current);
        let learned = self.confirm == Confirm::Learned && self.typed && stands && self.lines >= self.lines_needed;
        learned.then(|| Prompt::new(current, self.prompt).unconfirmed())
    }

    /// Nothing more came for long enough after [`Move::WaitQuietly`].
    pub(crate) fn stayed_quiet(&mut self, current: &[u8]) -> Move {
        if let Some(question) = self.due.take() {
            return self.reply(question);
        }
        let prompt = Prompt::new(current, self.prompt);
        Move::Learned(if self.typed && self.confirm != Confirm::Quiet { prompt.in_place() } else { prompt })
    }

    fn reply(&mut self, index: usize) -> Move {
        let (Some(question), Some(times)) = (self.questions.get(index), self.answered.get_mut(index)) else {
            return Move::Wait;
        };
        *times += 1;
        let times = *times;
        self.typed = false;
        self.lines_needed = 0;
        // A question that scrolled up says nothing new.
        let asked_before = self.questions.iter().any(|q| q.expect.is_match(&self.last));
        let said = if asked_before { String::new() } else { self.last_words() };
        self.forget();
        if let Answer::Credential(part) = question.answer {
            if self.given.contains(&part) {
                return Move::Fail(self.not_accepted(part, said));
            }
            self.given.push(part);
        }
        match question::reply(question, times, self.login, self.line_end, self.operation) {
            Ok(text) => Move::Say(text),
            Err(e) => Move::Fail(e),
        }
    }
}

impl Dialogue<'_> {
    fn not_accepted(&self, part: Credential, said: String) -> Error {
        let name = match (self.given.as_slice(), part) {
            ([Credential::Enable], _) => "enable secret",
            (_, Credential::EnableUsername | Credential::Enable) => "user name and enable secret",
            ([Credential::Password], _) => "password",
            ([Credential::Username], _) => "user name",
            _ => "user name and password",
        };
        let message = format!("the device did not accept the {name}");
        let e = Error::new(ErrorKind::AuthRejected, self.operation, message);
        let e = if said.is_empty() { e } else { e.with("it says", said) };
        e.hint("check the credential of this device")
    }
}

/// The half of a line that says the same twice.
fn twice(line: &[u8]) -> Option<&[u8]> {
    let (first, second) = line.split_at_checked(line.len() / 2)?;
    (!first.is_empty() && first == second).then_some(first)
}

impl Rows for Dialogue<'_> {
    fn line(&mut self, text: &[u8]) {
        self.lines += 1;
        if self.seen.len() > MOST_BETWEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(text.get(..LONGEST_LINE).unwrap_or(text).to_vec());
        if !text.is_empty() {
            self.last.clear();
            self.last.extend_from_slice(text);
        }
    }

    fn part(&mut self, _text: &[u8]) {}
}
