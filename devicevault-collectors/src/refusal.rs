//! Telling a refused command from its output.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{Bytes, BytesMut};
use devicevault_core::text::{FailureLines, FailureWatch, SuspectRules};
use regex::bytes::Regex;

use crate::escape::shown;

/// Holds the beginning of an answer back until it is too long for a refusal.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    failure: &'a [Regex],
    text: &'a SuspectRules,
    /// The device may have no such text, and say so in whatever words.
    may_be_none: bool,
    held: Option<BytesMut>,
}

/// No device says no at greater length.
const LONGEST_REFUSAL: usize = 2048;
/// An answer of no more lines than these may be a refusal that the platform file does not know.
const FEW_LINES: usize = 3;
/// Why there is nothing to be shown is told in no more lines than these.
const LONGEST_REASON: usize = 9;
/// How devices of all kinds begin to say no, after signs such as `%`.
const REFUSALS: [&str; 32] = [
    "unknown command",
    "unknown keyword",
    "unrecognized command",
    "unrecognised command",
    "unrecognized input",
    "invalid command",
    "invalid input",
    "invalid parameter",
    "invalid syntax",
    "bad command",
    "no such command",
    "command not found",
    "command rejected",
    "command denied",
    "command not allowed",
    "command is not allowed",
    "ambiguous command",
    "ambiguous input",
    "incomplete command",
    "syntax error",
    "permission denied",
    "cannot execute command",
    "access denied",
    "authorization failed",
    "authorization failure",
    "authorization denied",
    "command authorization failed",
    "command authorization failure",
    "you do not have ",
    "you are not authorized",
    "insufficient privilege",
    "not authorized",
];
/// What they say in the midst of a sentence, where no line looks like one of a configuration.
const REASONS: [&str; 27] = [
    "not authorized to",
    "not authorised to",
    "not privileged to",
    "not permitted to",
    "not allowed to",
    "no permission to",
    "permission to run",
    "permission denied",
    "privileges to run",
    "insufficient privilege",
    "insufficient permission",
    "insufficient rights",
    "authorization fail",
    "authorization denied",
    "access denied",
    "unable to retrieve",
    "unable to read",
    "unable to connect",
    "failed to retrieve",
    "failed to connect",
    "configuration lock",
    "database is locked",
    "try again later",
    "request aborted",
    "timeout waiting for",
    "still starting up",
    "contact your administrator",
];

/// A command that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The line that says so.
    pub(crate) line: String,
    /// Its words are known, and they say that the device knows no such command or has nothing to show.
    pub(crate) none: bool,
}

/// How they say that there is nothing to be shown.
const NOTHING: [&str; 6] =
    ["no such file", "does not exist", "not present", "no startup", "no saved config", "startup-config is empty"];

/// Whether a line says no in words that all devices use.
pub(crate) fn says_no(line: &[u8]) -> bool {
    let line = line.to_ascii_lowercase();
    let words = line.iter().position(u8::is_ascii_alphanumeric).and_then(|at| line.get(at..)).unwrap_or_default();
    let after = |sign: &[u8]| words.strip_prefix(sign).map(|w| w.strip_prefix(b":").unwrap_or(w).trim_ascii_start());
    let words = after(b"error").or_else(|| after(b"warning")).unwrap_or(words);
    REFUSALS.iter().any(|no| words.starts_with(no.as_bytes())) || line.ends_with(b": command not found")
}

/// Whether a line gives a reason for which there is no answer.
fn gives_reason(line: &[u8]) -> bool {
    let line = line.to_ascii_lowercase();
    REASONS.iter().any(|why| memchr::memmem::find(&line, why.as_bytes()).is_some())
}

/// Whether a line says that there is nothing.
fn says_nothing(line: &[u8]) -> bool {
    let line = line.to_ascii_lowercase();
    NOTHING.iter().any(|words| memchr::memmem::find(&line, words.as_bytes()).is_some())
}

/// Whether a refusal may be another one for another user, or at another time.
fn is_of_rights(line: &[u8]) -> bool {
    let words = [b"denied".as_slice(), b"author", b"privilege", b"permi", b"rejected", b"not allowed"];
    gives_reason(line) || words.iter().any(|w| memchr::memmem::find(&line.to_ascii_lowercase(), w).is_some())
}

impl<'a> Gate<'a> {
    /// By the lines that refuse a command on this platform, and what is known of the text that is asked for.
    pub(crate) fn new(failure: &'a [Regex], text: &'a SuspectRules) -> Self {
        Self { failure, text, may_be_none: false, held: Some(BytesMut::new()) }
    }

    /// A few lines that do not look like such a text say that there is none.
    pub(crate) fn may_be_none(mut self, yes: bool) -> Self {
        self.may_be_none = yes && self.text.shape.is_some();
        self
    }

    /// A piece of the answer; gives what may be handed on.
    pub(crate) fn push(&mut self, piece: Bytes) -> Option<Bytes> {
        let Some(held) = &mut self.held else { return Some(piece) };
        if held.is_empty() && piece.len() > LONGEST_REFUSAL {
            self.held = None;
            return Some(piece);
        }
        held.extend_from_slice(&piece);
        if held.len() <= LONGEST_REFUSAL {
            return None;
        }
        self.held.take().map(BytesMut::freeze)
    }

    /// Whether what is held back looks like such a text.
    pub(crate) fn holds_text(&self) -> bool {
        let held = self.held.as_deref().unwrap_or_default();
        held.split(|b| *b == b'\n').any(|line| self.is_of_text(line))
    }

    fn is_of_text(&self, line: &[u8]) -> bool {
        self.text.shape.as_ref().is_some_and(|s| s.is_match(line))
            || self.text.required.iter().any(|r| r.is_match(line))
    }

    /// The end of the answer: what is left of it, or the line by which the device refused.
    pub(crate) fn finish(mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(held) = self.held.take() else { return Ok(None) };
        let lines = || held.as_ref().split(|b: &u8| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let filled = || lines().map(<[u8]>::trim_ascii).filter(|l| !l.is_empty());
        let few = filled().count() <= FEW_LINES;
        // A text that has its beginning and its end is no refusal, whatever stands in it: it is kept, and suspect.
        if !few && self.is_framed(&lines()) {
            return Ok(Some(held.freeze()));
        }
        // What refuses a command is no text that people wrote; a banner may quote one.
        let refusals = FailureLines::new(self.failure, &self.text.prose);
        let mut watch = FailureWatch::default();
        for line in lines() {
            watch.line(line, refusals);
        }
        let refusal = watch.finish().first().and_then(|f| lines().nth(usize::try_from(f.line).ok()?.checked_sub(1)?));
        let refusal = refusal.or_else(|| filled().find(|line| few && says_no(line)));
        let shaped = || lines().any(|line| self.is_of_text(line));
        let known = refusal.is_some() || few && filled().any(says_nothing);
        let none = known && !filled().any(is_of_rights);
        let refusal = refusal.or_else(|| filled().find(|line| few && gives_reason(line)).filter(|_| !shaped()));
        let reason = || filled().next().filter(|_| self.may_be_none && filled().count() <= LONGEST_REASON && !shaped());
        if let Some(line) = refusal.or_else(reason) {
            return Err(Refusal { line: shown(line, 200), none });
        }
        Ok((!held.is_empty()).then(|| held.freeze()))
    }

    fn is_framed<'t>(&self, lines: &(impl Iterator<Item = &'t [u8]> + Clone)) -> bool {
        let (Some(end), [_, ..]) = (&self.text.end_marker, self.text.required.as_slice()) else { return false };
        let last = lines.clone().filter(|l| !l.trim_ascii().is_empty()).last();
        let begun = |r: &Regex| lines.clone().any(|l| r.is_match(l));
        last.is_some_and(|l| end.is_match(l)) && self.text.required.iter().all(begun)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use devicevault_core::text::{ProseRule, ShapeRule};

    fn run(pieces: &[&str]) -> (String, Result<Option<Bytes>, Refusal>) {
        let failure = [Regex::new("^% Invalid").unwrap()];
        let mut text = SuspectRules::default();
        text.end_marker = Some(Regex::new("^end$").unwrap());
        text.required = vec![Regex::new("^version ").unwrap()];
        text.shape = Some(ShapeRule::new(Regex::new("^hostname ").unwrap(), Regex::new("not").unwrap()));
        text.prose = vec![ProseRule::until_its_mark(Regex::new(r"^banner (?<until>\^C)").unwrap())];
        let mut gate = Gate::new(&failure, &text);
        let mut through = String::new();
        for piece in pieces {
            if let Some(bytes) = gate.push(Bytes::copy_from_slice(piece.as_bytes())) {
                through.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        }
        (through, gate.finish())
    }

    #[test]
    fn a_few_words_that_say_no_are_a_refusal_on_every_platform() {
        for no in [
            "Unknown command\n",
            "\n  ^\n% Unrecognized command.\n",
            "Error: Invalid input\n",
            "-sh: x: command not found",
            "Cannot execute command. Command not allowed.\n",
            "% Command rejected: not authorized to run this command on this line\n",
            "Error: You do not have permission to run this command.\n",
            "Command authorization failure: the server does not answer, denied.\n",
            "ERROR: Another session is holding the configuration lock, please try again later.\n",
            "Unable to retrieve the configuration: internal error\n",
            "User u is not privileged to run this command; it was logged.\nAsk for access.\nSession 1\n",
            "Connection lost, retrying...\nTimeout waiting for reply from the management daemon\nrequest aborted.\n",
        ] {
            assert!(run(&[no]).1.is_err(), "{no:?}");
        }
        let quoted = "hostname a\nmotd you are not authorized to be here\n";
        assert!(run(&[quoted]).1.is_ok(), "{quoted:?}");
        let yes = "hostname a\nbanner motd Unknown command\n";
        assert!(run(&[yes]).1.is_ok());
        assert!(run(&["a\nb\nc\nunknown command\n"]).1.is_ok(), "a text is no refusal");
    }

    #[test]
    fn what_need_not_be_there_is_said_not_to_be() {
        let mut text = SuspectRules::default();
        text.shape = Some(ShapeRule::new(Regex::new("^hostname ").unwrap(), Regex::new("not").unwrap()));
        let finish = |answer: &str, optional: bool| {
            let mut gate = Gate::new(&[], &text).may_be_none(optional);
            assert!(gate.push(Bytes::copy_from_slice(answer.as_bytes())).is_none());
            gate.finish()
        };
        let none = "No startup configuration found.\n";
        assert_eq!(finish(none, true).unwrap_err().line, "No startup configuration found.");
        assert!(finish(none, false).is_ok(), "what has to be there is kept, and suspect");
        assert!(finish("hostname a\n", true).is_ok());
        assert!(finish("", true).unwrap().is_none());
        assert!(finish(&"a line\n".repeat(10), true).is_ok(), "that many lines are a text");
    }

    #[test]
    fn only_known_words_say_that_there_is_none() {
        for (answer, none) in [
            ("% Invalid input\n", true),
            ("Unknown command\n", true),
            ("% Invalid input: permission denied\n", false),
            ("Command rejected\n", false),
            ("You are not authorized to see this.\n", false),
            ("Unable to read flash\n", false),
        ] {
            assert_eq!(run(&[answer]).1.unwrap_err().none, none, "{answer}");
        }
        let mut text = SuspectRules::default();
        text.shape = Some(ShapeRule::new(Regex::new("^hostname ").unwrap(), Regex::new("not").unwrap()));
        for (answer, none) in [
            ("startup-config: No such file or directory\n", true),
            ("No startup configuration found.\n", true),
            ("startup-config cannot be shown: flash read error, sector 4711 is bad\n", false),
            ("No startup configuration: access denied\n", false),
        ] {
            let mut gate = Gate::new(&[], &text).may_be_none(true);
            assert!(gate.push(Bytes::copy_from_slice(answer.as_bytes())).is_none());
            assert_eq!(gate.finish().unwrap_err().none, none, "{answer}");
        }
    }

    #[test]
    fn a_banner_may_quote_a_refusal_and_a_whole_text_is_none() {
        let banner = "hostname a\nbanner ^C\n% Invalid\n^C\n";
        assert_eq!(run(&[banner]).1.unwrap().unwrap(), banner);
        assert!(run(&["hostname a\nbanner ^C\n% Invalid\n"]).1.is_err());
        let whole = "version 1\nhostname a\n% Invalid\nend\n";
        assert_eq!(run(&[whole]).1.unwrap().unwrap(), whole, "what is wrong in it is told where it is kept");
        assert!(run(&["hostname a\nhostname b\n% Invalid\nend\n"]).1.is_err());
    }

    #[test]
    fn a_short_answer_is_looked_at_and_a_long_one_passes() {
        assert_eq!(run(&["   ^\r\n% Inv", "alid input\r\n\r\n"]).1.unwrap_err().line, "% Invalid input");
        assert_eq!(run(&["hostname a\n"]).1.unwrap().unwrap(), "hostname a\n");
        assert_eq!(run(&[]).1.unwrap(), None);
        let long = "x".repeat(LONGEST_REFUSAL + 1);
        assert_eq!(run(&["a", &long, "\n% Invalid"]).0, format!("a{long}\n% Invalid"));
    }
}
