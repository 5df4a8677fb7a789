//! From a recording to its text.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt::Write as _;

use super::Recording;

const HEAD: &str = "\
# A recorded session with a device, for `devicevault platform check FILE --recording THIS`.
# Secrets were replaced by made-up ones of the same shape; look it through before you give it away.
";

impl Recording {
    /// Its text, which [`parse`](Recording::parse) reads again.
    #[must_use]
    pub fn to_text(&self) -> String {
        let all = || std::iter::once(&self.opening).chain(self.steps.iter().map(|s| &s.receive));
        let latin1 = all().any(|bytes| std::str::from_utf8(bytes).is_err());
        let crlf = all().all(|bytes| every_line_ends_in_crlf(bytes));
        let text = |bytes: &[u8]| encode(bytes, crlf, latin1);
        let mut out = HEAD.to_owned();
        // Writing to a String has no way to fail.
        let _ = writeln!(out, "recording = 1");
        for (key, value) in [("platform", &self.platform), ("version", &self.version), ("banner", &self.banner)] {
            if let Some(value) = value {
                let _ = writeln!(out, "{key} = {}", one_line(value));
            }
        }
        let _ = writeln!(out, "line_end = {}", if crlf { r#""\r\n""# } else { r#""\n""# });
        if latin1 {
            out.push_str("latin1 = true\n");
        }
        let _ = writeln!(out, "opening = {}", text(&self.opening));
        for step in &self.steps {
            out.push_str("\n[[step]]\n");
            let _ = writeln!(out, "{} = {}", if step.exec { "exec" } else { "send" }, one_line(&step.send));
            if let Some(status) = step.status {
                let _ = writeln!(out, "status = {status}");
            }
            for (key, time) in [("after_ms", step.after), ("took_ms", step.took)] {
                if let Some(time) = time {
                    let _ = writeln!(out, "{key} = {}", time.as_millis());
                }
            }
            if step.ends {
                out.push_str("ends = true\n");
            }
            let _ = writeln!(out, "receive = {}", text(&step.receive));
        }
        out
    }
}

fn every_line_ends_in_crlf(bytes: &[u8]) -> bool {
    let ends = bytes.iter().filter(|b| **b == b'\n').count();
    ends == bytes.windows(2).filter(|w| w == b"\r\n").count()
}

fn one_line(text: &str) -> String {
    format!("\"{}\"", text.chars().map(|c| escaped(c, true)).collect::<String>())
}

/// A text of several lines. What an editor would not show, or would take away, is escaped.
fn encode(bytes: &[u8], crlf: bool, latin1: bool) -> String {
    let decoded: String = if latin1 {
        bytes.iter().map(|b| char::from(*b)).collect()
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    let decoded = if crlf { decoded.replace("\r\n", "\n") } else { decoded };
    if !decoded.contains('\n') {
        return one_line(&decoded);
    }
    let mut out = String::from("\"\"\"\n");
    let mut lines = decoded.split('\n').peekable();
    while let Some(line) = lines.next() {
        let more = lines.peek().is_some();
        let kept = line.trim_end_matches(' ');
        out.extend(kept.chars().map(|c| escaped(c, false)));
        let blanks = line.len() - kept.len();
        // Blanks at the end of a line are easily lost.
        let plain = if more { blanks.saturating_sub(1) } else { blanks };
        out.extend(std::iter::repeat_n(' ', plain));
        if more {
            out.push_str(if blanks > 0 { "\\u0020\n" } else { "\n" });
        }
    }
    out + "\"\"\""
}

fn escaped(c: char, line_ends: bool) -> String {
    match c {
        '\n' if line_ends => "\\n".to_owned(),
        '\n' => "\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\\' => "\\\\".to_owned(),
        '"' => "\\\"".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::super::Step;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            opening in proptest::collection::vec(any::<u8>(), 0..200),
            receive in "[ -~\r\n\t\u{1b}\"\\\\ü]{0,200}",
            send in "[ -~]{1,20}",
            exec in any::<bool>(),
        ) {
            let mut recording = Recording { opening, version: Some("SSH-2.0-\"x\"".to_owned()), ..Recording::default() };
            let send = if exec { send } else { format!("{send}\r\n") };
            recording.steps.push(Step { send, exec, receive: receive.into_bytes(), ends: exec, ..Step::default() });
            let text = recording.to_text();
            prop_assert_eq!(Recording::parse(&text).unwrap(), recording, "{}", text);
        }

        #[test]
        fn no_text_ends_the_reader(text in any::<String>()) {
            let _ = Recording::parse(&text);
        }
    }

    #[test]
    fn a_recording_is_readable() {
        let mut recording = Recording { opening: b"\r\nsw1# ".to_vec(), ..Recording::default() };
        let mut step = Step::typed("show version\n");
        step.receive = b"show version\r\nAcme \x1b[m \r\nsw1# ".to_vec();
        recording.steps.push(step);
        let text = recording.to_text();
        assert!(text.contains("receive = \"\"\"\nshow version\nAcme \\u001B[m\\u0020\nsw1# \"\"\"\n"), "{text}");
    }
}
