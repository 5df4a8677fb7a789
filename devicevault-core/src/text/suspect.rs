//! Whether a text may not be what the device holds.

use crate::text::SuspectRules;

/// Watches the lines of a text as they pass.
#[derive(Debug)]
pub struct SuspectCheck {
    failure: Option<String>,
    last: Vec<u8>,
}

const SHOWN: usize = 120;

impl SuspectCheck {
    /// Before the first line.
    #[must_use]
    pub fn new() -> Self {
        Self { failure: None, last: Vec::new() }
    }

    /// A line that no rule matches.
    pub(crate) fn plain(&mut self, line: &[u8]) {
        if !line.trim_ascii().is_empty() {
            self.last.clear();
            self.last.extend_from_slice(line);
        }
    }

    /// A line, without its line end.
    pub fn line(&mut self, line: &[u8], rules: &SuspectRules) {
        self.plain(line);
        if self.failure.is_none() && rules.failure.iter().any(|r| r.is_match(line)) {
            self.failure = Some(shown(line));
        }
    }

    /// Why the text is suspect; nothing where it is not.
    #[must_use]
    pub fn finish(self, rules: &SuspectRules) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(marker) = &rules.end_marker
            && !marker.is_match(&self.last)
        {
            why.push(format!("the end marker is missing; the last line is '{}'", shown(&self.last)));
        }
        if let Some(line) = self.failure {
            why.push(format!("it holds a message of the device that is no part of it: '{line}'"));
        }
        why
    }
}

impl Default for SuspectCheck {
    fn default() -> Self {
        Self::new()
    }
}

fn shown(line: &[u8]) -> String {
    let cut = line.get(..SHOWN).unwrap_or(line);
    cut.trim_ascii().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::bytes::Regex;

    fn check(text: &str) -> Vec<String> {
        let rules = SuspectRules {
            end_marker: Some(Regex::new("^end$").unwrap()),
            failure: vec![Regex::new("^% Invalid input").unwrap()],
        };
        let mut check = SuspectCheck::new();
        text.lines().for_each(|l| check.line(l.as_bytes(), &rules));
        check.finish(&rules)
    }

    #[test]
    fn a_whole_text_is_not_suspect_and_a_cut_or_failed_one_is() {
        assert!(check("hostname a\nend\n\n").is_empty());
        assert_eq!(check("hostname a\n").len(), 1);
        assert_eq!(check("").len(), 1);
        assert_eq!(check("% Invalid input detected\nend").len(), 1);
        assert_eq!(check("% Invalid input detected\n").len(), 2);
    }
}
