//! The prompt of a session, learned exactly.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use regex::bytes::Regex;

/// A prompt as the device showed it, and how the device answers an empty line.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    text: Vec<u8>,
    /// Where the platform names groups `varies…`, what they match may differ from one prompt to the next.
    varies: Option<Regex>,
    /// The lines between the prompt that an empty line was typed at and the next one: blank ones mostly, and those of a
    /// prompt that has several lines.
    pub(crate) between: Vec<Vec<u8>>,
    /// The device shows nothing of what is typed, not even the line end: the next prompt stands right behind this one.
    pub(crate) mute: bool,
    /// The device draws its prompt anew on the same line when an empty line is typed.
    pub(crate) in_place: bool,
    /// It is not known how the device answers an empty line.
    pub(crate) unconfirmed: bool,
}

impl Prompt {
    /// The prompt `text`, which `pattern` matches.
    pub(crate) fn new(text: &[u8], pattern: &Regex) -> Self {
        let varies = pattern.capture_names().flatten().any(|n| n.starts_with("varies"));
        Self {
            text: text.to_vec(),
            varies: varies.then(|| pattern.clone()),
            between: Vec::new(),
            mute: false,
            in_place: false,
            unconfirmed: false,
        }
    }

    /// The same, with these lines between two of it.
    pub(crate) fn apart(mut self, between: Vec<Vec<u8>>) -> Self {
        self.between = between;
        self
    }

    /// The same, of a device that does not answer an empty line by it.
    pub(crate) fn unconfirmed(mut self) -> Self {
        self.unconfirmed = true;
        self
    }

    /// Whether a line is the one that comes so many lines after a prompt at which an empty line was typed.
    pub(crate) fn follows(&self, lines: usize, line: &[u8]) -> bool {
        match (lines % (1 + self.between.len())).checked_sub(1) {
            None => self.is(line),
            Some(n) => self.between.get(n).is_some_and(|own| own.trim_ascii_end() == line.trim_ascii_end()),
        }
    }

    /// The same, of a device that shows nothing of what is typed.
    pub(crate) fn mute(mut self) -> Self {
        self.mute = true;
        self
    }

    /// The same, of a device that draws it anew on the same line.
    pub(crate) fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// How many lines of it, blank ones among them, stand above the last one; none where there are only blank ones, which
    /// may as well end an answer.
    pub(crate) fn first_lines(&self) -> usize {
        if self.between.iter().all(Vec::is_empty) { 0 } else { self.between.len() }
    }

    /// Whether these lines are those that stand above its last one.
    pub(crate) fn begins_with<'l>(&self, lines: impl IntoIterator<Item = &'l Vec<u8>>) -> bool {
        self.first_lines() > 0
            && lines.into_iter().map(|l| l.trim_ascii_end()).eq(self.between.iter().map(|l| l.trim_ascii_end()))
    }

    /// As it was seen last.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether a line is this prompt and nothing else. Blanks at its end do not count: they may still be under way when
    /// the prompt is learned, or be lost when it is drawn again.
    pub(crate) fn is(&self, line: &[u8]) -> bool {
        let bare = |text: &[u8]| text.trim_ascii_end().to_vec();
        line.trim_ascii_end() == self.text.trim_ascii_end()
            || self.varies.as_ref().is_some_and(|v| {
                fixed(v, line).is_some_and(|f| fixed(v, &self.text).is_some_and(|own| bare(&f) == bare(&own)))
            })
    }

    /// The length of what stands before the prompt on a line that ends in it.
    pub(crate) fn at_end_of(&self, line: &[u8]) -> Option<usize> {
        if self.is(line) {
            return Some(0);
        }
        let text = self.text.trim_ascii_end();
        line.trim_ascii_end().strip_suffix(text).filter(|_| !text.is_empty()).map(<[u8]>::len)
    }
}

/// A line without what may vary; nothing where the line is no prompt at all.
fn fixed(pattern: &Regex, line: &[u8]) -> Option<Vec<u8>> {
    let found = pattern.captures(line)?;
    let mut kept = Vec::with_capacity(line.len());
    let mut at = 0;
    for name in pattern.capture_names().flatten().filter(|n| n.starts_with("varies")) {
        let Some(part) = found.name(name).filter(|p| p.start() >= at) else { continue };
        kept.extend_from_slice(line.get(at..part.start()).unwrap_or_default());
        at = part.end();
    }
    kept.extend_from_slice(line.get(at..).unwrap_or_default());
    Some(kept)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_vary_and_no_other() {
        let pattern = Regex::new(r"^(?<varies>\* )?(?<name>[\w-]+)\.(?<varies2>\d+) # $").unwrap();
        let prompt = Prompt::new(b"sw.1 # ", &pattern);
        assert!(prompt.is(b"sw.1 # ") && prompt.is(b"sw.17 # ") && prompt.is(b"* sw.3 # "));
        assert!(!prompt.is(b"sx.1 # ") && !prompt.is(b"sw.1 >") && !prompt.is(b"x sw.1 # "));
        let exact = Prompt::new(b"rtr#", &Regex::new("#$").unwrap());
        assert!(exact.is(b"rtr#") && exact.is(b"rtr# ") && !exact.is(b"rtr#x") && !exact.is(b" rtr#"));
        assert_eq!(exact.at_end_of(b"no line end rtr#"), Some(12));
        assert_eq!(exact.at_end_of(b"rtr# "), Some(0));
        assert_eq!(exact.at_end_of(b"rtr# no"), None);
    }
}
