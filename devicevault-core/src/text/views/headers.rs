//! What a line stands below, by indentation.

use regex::bytes::Regex;

const MAX_DEPTH: usize = 64;

/// The lines above the current one that it is indented below, and the current one itself.
#[derive(Debug, Default)]
pub(super) struct Headers {
    stack: Vec<(usize, Vec<u8>)>,
    /// Lines that are done with: their memory is used again.
    spare: Vec<Vec<u8>>,
}

impl Headers {
    /// The next line.
    pub(super) fn line(&mut self, line: &[u8]) {
        let indent = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if indent == line.len() {
            return;
        }
        while self.stack.last().is_some_and(|(depth, _)| *depth >= indent) {
            self.spare.extend(self.stack.pop().map(|(_, line)| line));
        }
        if self.stack.len() < MAX_DEPTH {
            let mut own = self.spare.pop().unwrap_or_default();
            own.clear();
            own.extend_from_slice(line);
            self.stack.push((indent, own));
        }
    }

    /// The next lines, each with its line end.
    pub(super) fn lines(&mut self, lines: &[u8]) {
        // From the last one up: what stands deeper than a line below it is above nothing any more.
        let mut chain: Vec<(usize, &[u8])> = Vec::new();
        let mut rest = lines;
        while let Some(above) = rest.strip_suffix(b"\n") {
            let (before, line) = above.split_at(memchr::memrchr(b'\n', above).map_or(0, |end| end + 1));
            rest = before;
            let indent = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
            if indent < line.len() && chain.last().is_none_or(|(deeper, _)| indent < *deeper) {
                chain.push((indent, line));
                if indent == 0 {
                    break;
                }
            }
        }
        for (_, line) in chain.into_iter().rev() {
            self.line(line);
        }
    }

    /// Whether a line above the current one, which is the last of the stack, matches.
    pub(super) fn within(&self, header: &Regex) -> bool {
        self.above().any(|line| header.is_match(line))
    }

    /// Whether a line above the current one speaks of SNMP.
    pub(super) fn within_snmp(&self) -> bool {
        self.above().any(|line| line.windows(4).any(|w| w.eq_ignore_ascii_case(b"snmp")))
    }

    fn above(&self) -> impl Iterator<Item = &[u8]> {
        self.stack.iter().rev().skip(1).map(|(_, line)| line.as_slice())
    }
}
