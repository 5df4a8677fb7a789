//! Whether a text may not be what the device holds.
//!
//! Reasons go where texts do not: into the catalog, manifests, commit messages and logs. So they quote nothing of a text
//! but what the platform's own expressions match; a line that was cut off may be the one with the secret.

use crate::text::SuspectRules;

/// Watches the lines of a text as they pass.
#[derive(Debug)]
pub struct SuspectCheck {
    failure: Option<String>,
    last: Vec<u8>,
    lines: u64,
}

const SHOWN: usize = 120;

impl SuspectCheck {
    /// Before the first line.
    #[must_use]
    pub fn new() -> Self {
        Self { failure: None, last: Vec::new(), lines: 0 }
    }

    /// A line that no rule matches.
    pub(crate) fn plain(&mut self, line: &[u8]) {
        self.lines += 1;
        if !line.trim_ascii().is_empty() {
            self.last.clear();
            self.last.extend_from_slice(line);
        }
    }

    /// A line, without its line end.
    pub fn line(&mut self, line: &[u8], rules: &SuspectRules) {
        self.plain(line);
        if self.failure.is_none()
            && let Some(found) = rules.failure.iter().find_map(|r| r.find(line))
        {
            self.failure = Some(format!("'{}' in line {}", shown(found.as_bytes()), self.lines));
        }
    }

    /// Why the text is suspect; nothing where it is not.
    #[must_use]
    pub fn finish(self, rules: &SuspectRules) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(marker) = &rules.end_marker
            && !marker.is_match(&self.last)
        {
            why.push(format!("the end marker is missing; the text ends at line {}", self.lines));
        }
        if let Some(found) = self.failure {
            why.push(format!("it holds a message of the device that is no part of it: {found}"));
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

    #[test]
    fn nothing_is_quoted_that_may_be_a_secret() {
        let why = check("a\n% Invalid input: community s3cret\nsnmp-server community s3cret");
        assert_eq!(why.len(), 2);
        assert!(why[0].ends_with("at line 3") && why[1].ends_with("'% Invalid input' in line 2"), "{why:?}");
    }
}
