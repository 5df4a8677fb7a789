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

/// Whether a line says no in words that all devices use.
fn says_no(line: &[u8]) -> bool {
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

    /// The end of the answer: what is left of it, or the line by which the device refused.
    pub(crate) fn finish(mut self) -> Result<Option<Bytes>, String> {
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
        let has = |line: &[u8]| {
            self.text.shape.as_ref().is_some_and(|s| s.is_match(line))
                || self.text.required.iter().any(|r| r.is_match(line))
        };
        let shaped = || lines().any(has);
        let refusal = refusal.or_else(|| filled().find(|line| few && gives_reason(line)).filter(|_| !shaped()));
        let reason = || filled().next().filter(|_| self.may_be_none && filled().count() <= LONGEST_REASON && !shaped());
        if let Some(line) = refusal.or_else(reason) {
            return Err(shown(line, 200));
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

    fn run(pieces: &[&str]) -> (String, Result<Option<Bytes>, String>) {
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
        assert_eq!(finish(none, true).unwrap_err(), "No startup configuration found.");
        assert!(finish(none, false).is_ok(), "what has to be there is kept, and suspect");
        assert!(finish("hostname a\n", true).is_ok());
        assert!(finish("", true).unwrap().is_none());
        assert!(finish(&"a line\n".repeat(10), true).is_ok(), "that many lines are a text");
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
        assert_eq!(run(&["   ^\r\n% Inv", "alid input\r\n\r\n"]).1.unwrap_err(), "% Invalid input");
        assert_eq!(run(&["hostname a\n"]).1.unwrap().unwrap(), "hostname a\n");
        assert_eq!(run(&[]).1.unwrap(), None);
        let long = "x".repeat(LONGEST_REFUSAL + 1);
        assert_eq!(run(&["a", &long, "\n% Invalid"]).0, format!("a{long}\n% Invalid"));
    }
}
