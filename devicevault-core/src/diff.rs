//! What differs between two texts, line by line, told with the block that a change stands in.
//!
//! Configurations are indented blocks: a changed line means little without the interface that it belongs to. So a hunk
//! carries as its heading the lines that its first change is indented below.

use std::time::Duration;

use serde::Serialize;
use similar::{Algorithm, DiffTag, TextDiff};

/// How a difference is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Unchanged lines around a change.
    pub context: usize,
    /// After this long, what is left is told as removed and added instead of searched for the least change.
    pub patience: Duration,
}

impl Default for DiffOptions {
    /// Three lines of context, two seconds.
    fn default() -> Self {
        Self { context: 3, patience: Duration::from_secs(2) }
    }
}

impl DiffOptions {
    /// Sets the unchanged lines around a change.
    #[must_use]
    pub fn with_context(mut self, lines: usize) -> Self {
        self.context = lines;
        self
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// In both.
    Same,
    /// Only in the older text.
    Removed,
    /// Only in the newer text.
    Added,
}

/// One line of a hunk, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffLine<'a> {
    /// What became of it.
    pub change: Change,
    /// Its number in the older text, from 1.
    pub old: Option<usize>,
    /// Its number in the newer text, from 1.
    pub new: Option<usize>,
    /// The line.
    pub text: &'a [u8],
}

/// Changes that stand close together, with the lines around them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hunk<'a> {
    /// The lines that the first change is indented below, outermost first, as far as the hunk does not show them itself.
    pub heading: Vec<&'a [u8]>,
    /// The lines.
    pub lines: Vec<DiffLine<'a>>,
    /// Lines of either text that come before the hunk.
    before: (usize, usize),
}

/// What differs between two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diff<'a> {
    /// From the top.
    pub hunks: Vec<Hunk<'a>>,
    /// Lines only in the newer text.
    pub added: usize,
    /// Lines only in the older text.
    pub removed: usize,
    ends: [LastLine; 2],
}

/// A row of two columns; `None` where the other side has a line that this one lacks.
pub type Row<'a> = (Option<DiffLine<'a>>, Option<DiffLine<'a>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastLine {
    number: usize,
    terminated: bool,
}

impl<'a> Diff<'a> {
    /// Compares two texts, which need not be UTF-8.
    ///
    /// ```
    /// use devicevault_core::diff::{Diff, DiffOptions};
    ///
    /// let old = b"interface Gi1\n description a\n mtu 1500\ninterface Gi2\n shutdown\n";
    /// let new = b"interface Gi1\n description a\n mtu 9000\ninterface Gi2\n shutdown\n";
    /// let diff = Diff::new(old, new, &DiffOptions::default().with_context(0));
    /// assert_eq!(
    ///     String::from_utf8_lossy(&diff.unified("old", "new")),
    ///     "--- old\n+++ new\n@@ -3 +3 @@ interface Gi1\n- mtu 1500\n+ mtu 9000\n",
    /// );
    /// ```
    #[must_use]
    pub fn new(old: &'a [u8], new: &'a [u8], options: &DiffOptions) -> Self {
        let (old_lines, new_lines) = (split(old), split(new));
        // A last line without its end differs from one with it.
        let (old_keys, new_keys) = (keys(old), keys(new));
        let mut config = TextDiff::configure();
        config.algorithm(Algorithm::Myers).timeout(options.patience);
        let diff = config.diff_slices::<[u8]>(&old_keys, &new_keys);

        let (mut hunks, mut added, mut removed) = (Vec::new(), 0, 0);
        for group in diff.grouped_ops(options.context) {
            let mut lines = Vec::new();
            let before = group.first().map_or((0, 0), |op| (op.old_range().start, op.new_range().start));
            for op in &group {
                let (tag, from, to) = op.as_tag_tuple();
                if tag == DiffTag::Equal {
                    for (o, n) in from.zip(to) {
                        lines.extend(line(&new_lines, n, Change::Same, Some(o), Some(n)));
                    }
                    continue;
                }
                removed += from.len();
                added += to.len();
                lines.extend(from.filter_map(|o| line(&old_lines, o, Change::Removed, Some(o), None)));
                lines.extend(to.filter_map(|n| line(&new_lines, n, Change::Added, None, Some(n))));
            }
            let heading = heading(&lines, &old_lines, &new_lines);
            hunks.push(Hunk { heading, lines, before });
        }
        let last = |lines: &[&[u8]], text: &[u8]| LastLine { number: lines.len(), terminated: text.ends_with(b"\n") };
        Self { hunks, added, removed, ends: [last(&old_lines, old), last(&new_lines, new)] }
    }

    /// Whether the texts are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hunks.is_empty()
    }

    /// In the unified format of POSIX `diff -u`, which `patch` applies. Bytes of the texts are as they are: escape them
    /// before a terminal shows them.
    #[must_use]
    pub fn unified(&self, old_name: &str, new_name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_empty() {
            return out;
        }
        out.extend_from_slice(format!("--- {old_name}\n+++ {new_name}\n").as_bytes());
        for hunk in &self.hunks {
            out.extend_from_slice(hunk.position().as_bytes());
            if !hunk.heading.is_empty() {
                out.push(b' ');
                out.extend_from_slice(&hunk.heading.join(&b" / "[..]));
            }
            out.push(b'\n');
            for l in &hunk.lines {
                out.push(match l.change {
                    Change::Same => b' ',
                    Change::Removed => b'-',
                    Change::Added => b'+',
                });
                out.extend_from_slice(l.text);
                out.push(b'\n');
                if self.is_unterminated(l) {
                    out.extend_from_slice(b"\\ No newline at end of file\n");
                }
            }
        }
        out
    }

    fn is_unterminated(&self, line: &DiffLine<'_>) -> bool {
        let cut = |end: LastLine, number: Option<usize>| !end.terminated && number == Some(end.number);
        let [old, new] = self.ends;
        match line.change {
            Change::Added => cut(new, line.new),
            Change::Removed | Change::Same => cut(old, line.old),
        }
    }
}

impl<'a> Hunk<'a> {
    /// `@@ -12,7 +12,8 @@`
    #[must_use]
    pub fn position(&self) -> String {
        let range = |numbers: Vec<usize>, before: usize| match (numbers.first(), numbers.len()) {
            (Some(first), 1) => first.to_string(),
            (Some(first), n) => format!("{first},{n}"),
            (None, _) => format!("{before},0"),
        };
        let old: Vec<_> = self.lines.iter().filter_map(|l| l.old).collect();
        let new: Vec<_> = self.lines.iter().filter_map(|l| l.new).collect();
        // Of an empty side, the number of the line before it counts; the sides differ by what came before.
        let (old_before, new_before) = (self.before.0, self.before.1);
        format!("@@ -{} +{} @@", range(old, old_before), range(new, new_before))
    }

    /// In two columns: removed and added lines of one change stand beside each other.
    #[must_use]
    pub fn side_by_side(&self) -> Vec<Row<'a>> {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for l in &self.lines {
            match l.change {
                Change::Removed if added.is_empty() => removed.push(*l),
                Change::Added => added.push(*l),
                Change::Removed | Change::Same => {
                    pair(&mut removed, &mut added, &mut rows);
                    if l.change == Change::Same {
                        rows.push((Some(*l), Some(*l)));
                    } else {
                        removed.push(*l);
                    }
                }
            }
        }
        pair(&mut removed, &mut added, &mut rows);
        rows
    }
}

fn pair<'a>(removed: &mut Vec<DiffLine<'a>>, added: &mut Vec<DiffLine<'a>>, rows: &mut Vec<Row<'a>>) {
    let height = removed.len().max(added.len());
    rows.extend((0..height).map(|i| (removed.get(i).copied(), added.get(i).copied())));
    removed.clear();
    added.clear();
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    keys(text).into_iter().map(|l| l.strip_suffix(b"\n").unwrap_or(l)).collect()
}

fn keys(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|b| *b == b'\n').collect()
}

fn line<'a>(
    lines: &[&'a [u8]],
    at: usize,
    change: Change,
    old: Option<usize>,
    new: Option<usize>,
) -> Option<DiffLine<'a>> {
    let text = lines.get(at)?;
    Some(DiffLine { change, old: old.map(|n| n + 1), new: new.map(|n| n + 1), text })
}

/// The lines that a hunk's first change is indented below and that the hunk does not show.
fn heading<'a>(hunk: &[DiffLine<'a>], old: &[&'a [u8]], new: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let Some(first) = hunk.first() else { return Vec::new() };
    let Some(change) = hunk.iter().position(|l| l.change != Change::Same).and_then(|i| hunk.get(i)) else {
        return Vec::new();
    };
    let (lines, at, shown_from) = match change.old {
        Some(at) => (old, at, first.old.unwrap_or(at)),
        None => (new, change.new.unwrap_or(1), first.new.or(change.new).unwrap_or(1)),
    };
    let mut depth = indent(change.text);
    let mut above = Vec::new();
    for i in (1..at).rev() {
        if depth == 0 {
            break;
        }
        let Some(text) = lines.get(i - 1) else { break };
        if text.trim_ascii().is_empty() || indent(text) >= depth {
            continue;
        }
        depth = indent(text);
        if i < shown_from {
            above.push(text.trim_ascii());
        }
    }
    above.reverse();
    above
}

fn indent(line: &[u8]) -> usize {
    line.iter().take_while(|b| b.is_ascii_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Applies a unified diff as `patch` does.
    fn patch(old: &[u8], diff: &Diff<'_>) -> Vec<u8> {
        let old_keys = keys(old);
        let (mut out, mut at) = (Vec::new(), 0);
        for hunk in &diff.hunks {
            out.extend(old_keys[at..hunk.before.0].concat());
            at = hunk.before.0;
            for l in &hunk.lines {
                let end: &[u8] = if diff.is_unterminated(l) { b"" } else { b"\n" };
                match l.change {
                    Change::Removed => at += 1,
                    Change::Same => {
                        out.extend([l.text, end].concat());
                        at += 1;
                    }
                    Change::Added => out.extend([l.text, end].concat()),
                }
            }
        }
        out.extend(old_keys[at..].concat());
        out
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_the_old_text_to_the_new(old in "([ab]{0,2}\n){0,12}[ab]{0,2}", new in "([ab]{0,2}\n){0,12}[ab]{0,2}", context in 0usize..4) {
            let diff = Diff::new(old.as_bytes(), new.as_bytes(), &DiffOptions::default().with_context(context));
            prop_assert_eq!(diff.is_empty(), old == new);
            prop_assert_eq!(String::from_utf8(patch(old.as_bytes(), &diff)).unwrap(), new);
        }

        #[test]
        fn two_columns_hold_every_line_once(old in "([ab]{0,2}\n){0,12}", new in "([ab]{0,2}\n){0,12}") {
            let diff = Diff::new(old.as_bytes(), new.as_bytes(), &DiffOptions::default());
            for hunk in &diff.hunks {
                let rows = hunk.side_by_side();
                let left: Vec<_> = rows.iter().filter_map(|r| r.0?.old).collect();
                let right: Vec<_> = rows.iter().filter_map(|r| r.1?.new).collect();
                prop_assert_eq!(left, hunk.lines.iter().filter_map(|l| l.old).collect::<Vec<_>>());
                prop_assert_eq!(right, hunk.lines.iter().filter_map(|l| l.new).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_heading_names_every_block_around_the_change() {
        let old = b"router bgp 1\n vrf a\n  a\n  b\n  c\n  d\n  e\n  x 1\n";
        let new = b"router bgp 1\n vrf a\n  a\n  b\n  c\n  d\n  e\n  x 2\n";
        let diff = Diff::new(old, new, &DiffOptions::default());
        assert_eq!(diff.hunks[0].heading, [&b"router bgp 1"[..], b"vrf a"]);
        assert_eq!((diff.added, diff.removed), (1, 1));
        // What the hunk shows itself is not repeated.
        let diff = Diff::new(old, new, &DiffOptions::default().with_context(10));
        assert!(diff.hunks[0].heading.is_empty());
    }

    #[test]
    fn empty_sides_and_missing_line_ends_are_told() {
        let text = |d: Diff<'_>| String::from_utf8(d.unified("a", "b")).unwrap();
        assert_eq!(text(Diff::new(b"", b"x\n", &DiffOptions::default())), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(
            text(Diff::new(b"x", b"x\n", &DiffOptions::default())),
            "--- a\n+++ b\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n"
        );
        assert_eq!(text(Diff::new(b"x", b"x", &DiffOptions::default())), "");
    }
}
