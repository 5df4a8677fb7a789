//! The three views of a text, made in one pass over its lines.

use bytes::{Bytes, BytesMut};
use regex::bytes::{Captures, Regex};

use crate::text::mask::RESALTED;
use crate::text::{BlockRule, InstanceKey, LineRule, SecretRule, SuspectCheck, TextRules};
use crate::{DeviceId, Error, ErrorKind, Result};

/// Turns CR LF, CR CR LF and lone CR before LF into LF, over any cutting into chunks. Other CRs stay.
#[derive(Debug, Default)]
pub struct LineEnds {
    pending_cr: usize,
}

impl LineEnds {
    /// A chunk of the text.
    pub fn push(&mut self, chunk: &Bytes, out: &mut BytesMut) {
        let mut rest: &[u8] = chunk;
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'\r' {
                self.pending_cr += 1;
                rest = tail;
                continue;
            }
            if first != b'\n' {
                self.flush(out);
            }
            self.pending_cr = 0;
            let run = rest.iter().position(|b| *b == b'\r').unwrap_or(rest.len());
            let (plain, after) = rest.split_at(run);
            out.extend_from_slice(plain);
            rest = after;
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        out.extend(std::iter::repeat_n(b'\r', self.pending_cr));
    }

    /// The end of the text.
    pub fn finish(self, out: &mut BytesMut) {
        let mut this = self;
        this.flush(out);
    }
}

/// Makes `clean` and `redacted` from the lines of `original`.
///
/// ```
/// use std::sync::Arc;
/// use bytes::BytesMut;
/// use devicevault_core::text::{InstanceKey, LineRule, SecretRule, TextRules, ViewMaker};
/// use regex::bytes::Regex;
///
/// let mut rules = TextRules::default();
/// rules.volatile.push(LineRule::drop(Regex::new("^! Time:")?));
/// rules.secrets.push(SecretRule::new(Regex::new("^snmp-server community (?<secret>.+?) RO$")?));
/// let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
/// let mut maker = ViewMaker::new(Arc::new(rules), InstanceKey::new([1; 32]), "sw1".into(), 1 << 20);
/// maker.push(b"! Time: 10:11\nsnmp-server community c0mm RO\n", &mut clean, &mut redacted)?;
/// let suspect = maker.finish(&mut clean, &mut redacted);
/// assert_eq!(&clean[..], b"snmp-server community c0mm RO\n");
/// assert!(redacted.starts_with(b"snmp-server community <secret:"));
/// assert!(redacted.ends_with(b"> RO\n") && suspect.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ViewMaker {
    rules: std::sync::Arc<TextRules>,
    key: InstanceKey,
    device: DeviceId,
    line: Vec<u8>,
    max_line: usize,
    number: u64,
    volatile_block: Option<usize>,
    secret_block: Option<Masking>,
    headers: Headers,
    check: SuspectCheck,
}

/// A block that is being masked: nothing of it is shown before its end is known.
#[derive(Debug)]
struct Masking {
    rule: Option<usize>,
    hidden: Vec<u8>,
}

/// PEM and OpenSSH private keys are secret on every platform.
#[derive(Debug)]
struct Common;

impl Common {
    fn starts(line: &[u8]) -> bool {
        Self::has(line, b"-----BEGIN ") && Self::has(line, b"PRIVATE KEY-----")
    }
    fn ends(line: &[u8]) -> bool {
        Self::has(line, b"-----END ") && Self::has(line, b"PRIVATE KEY-----")
    }
    fn has(line: &[u8], what: &[u8]) -> bool {
        memchr::memmem::find(line, what).is_some()
    }
}

impl ViewMaker {
    /// For one text of a device. A line longer than `max_line` bytes is refused.
    #[must_use]
    pub fn new(rules: std::sync::Arc<TextRules>, key: InstanceKey, device: DeviceId, max_line: usize) -> Self {
        let headers = Headers { wanted: rules.secrets.iter().any(|s| s.within.is_some()), stack: Vec::new() };
        Self {
            rules,
            key,
            device,
            line: Vec::new(),
            max_line,
            number: 0,
            volatile_block: None,
            secret_block: None,
            headers,
            check: SuspectCheck::new(),
        }
    }

    /// A chunk of the text, line ends normalised; appends to both views what is certain.
    ///
    /// # Errors
    /// `TooLarge` for a line beyond the bound.
    pub fn push(&mut self, chunk: &[u8], clean: &mut BytesMut, redacted: &mut BytesMut) -> Result<()> {
        for part in chunk.split_inclusive(|b| *b == b'\n') {
            if self.line.len() + part.len() > self.max_line {
                return Err(Error::new(ErrorKind::TooLarge, "read text", "a line is longer than it may be")
                    .with("line", self.number + 1)
                    .with("limit in bytes", self.max_line));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.one(&line, clean, redacted);
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// The end of the text. Returns why it is suspect.
    pub fn finish(mut self, clean: &mut BytesMut, redacted: &mut BytesMut) -> Vec<String> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.one(&line, clean, redacted);
        }
        if let Some(open) = self.secret_block.take() {
            // The end never came: everything since the start stays masked.
            self.close(&open, redacted);
        }
        self.check.finish(&self.rules.suspect)
    }

    /// One line, its line end included where it has one.
    fn one(&mut self, raw: &[u8], clean: &mut BytesMut, redacted: &mut BytesMut) {
        self.number += 1;
        let (line, end) = match raw.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (raw, &b""[..]),
        };
        let rules = self.rules.clone();
        if self.volatile_block.is_none() && self.secret_block.is_none() && !Common::starts(line) && !rules.concern(line)
        {
            self.check.plain(line);
            self.headers.line(line);
            emit(clean, line, end);
            emit(redacted, line, end);
            return;
        }
        self.check.line(line, &rules.suspect);
        if self.in_volatile_block(line, &rules) {
            return;
        }
        let Some(line) = volatile(&rules.volatile, line, self.number) else { return };
        let line: &[u8] = &line;
        self.headers.line(line);

        // Re-salted secrets are a constant in `clean` too; inside a re-salted block only its frame is left.
        let before = self.secret_block.is_some();
        let shown = self.redact(line, end, &rules, redacted);
        match shown {
            Shown::Same => emit(clean, line, end),
            Shown::Resalted(text) => emit(clean, &text, end),
            Shown::BlockResalted { first } => {
                if !before {
                    emit(clean, &first, end);
                }
            }
        }
    }

    fn in_volatile_block(&mut self, line: &[u8], rules: &TextRules) -> bool {
        if self.volatile_block.is_none() {
            self.volatile_block = rules.volatile_blocks.iter().position(|b| b.start.is_match(line));
            let Some(i) = self.volatile_block else { return false };
            if rules.volatile_blocks.get(i).is_some_and(|b| b.end.is_match(line)) {
                self.volatile_block = None;
            }
            return true;
        }
        if self.volatile_block.and_then(|i| rules.volatile_blocks.get(i)).is_none_or(|b| b.end.is_match(line)) {
            self.volatile_block = None;
        }
        true
    }

    /// Writes the redacted form of a line, and says what the clean form is.
    fn redact(&mut self, line: &[u8], end: &[u8], rules: &TextRules, redacted: &mut BytesMut) -> Shown {
        if let Some(mut open) = self.secret_block.take() {
            let rule = open.rule.and_then(|i| rules.secret_blocks.get(i));
            let resalted = rule.is_some_and(|r| r.resalted);
            if !rule.map_or_else(|| Common::ends(line), |r| r.end.is_match(line)) {
                open.hidden.extend_from_slice(line);
                open.hidden.push(b'\n');
                self.secret_block = Some(open);
                return if resalted { Shown::BlockResalted { first: Vec::new() } } else { Shown::Same };
            }
            let keep_end = rule.is_none_or(|r| r.keep_end);
            if !keep_end {
                open.hidden.extend_from_slice(line);
            }
            self.close(&open, redacted);
            if keep_end {
                emit(redacted, line, end);
            }
            return if resalted { Shown::BlockResalted { first: Vec::new() } } else { Shown::Same };
        }
        if let Some(i) = rules.secret_blocks.iter().position(|b| b.start.is_match(line)) {
            return self.open_block(i, line, end, rules, redacted);
        }
        if Common::starts(line) && !Common::ends(line) {
            emit(redacted, line, end);
            self.secret_block = Some(Masking { rule: None, hidden: Vec::new() });
            return Shown::Same;
        }
        let (masked, plain) = self.mask_line(line, rules);
        emit(redacted, &masked, end);
        plain.map_or(Shown::Same, Shown::Resalted)
    }

    fn open_block(&mut self, i: usize, line: &[u8], end: &[u8], rules: &TextRules, redacted: &mut BytesMut) -> Shown {
        let Some(rule) = rules.secret_blocks.get(i) else { return Shown::Same };
        let (kept, hidden) = block_head(rule, line);
        let one_line = rule.end.is_match(line) && !hidden.is_empty();
        let mask = if rule.resalted { RESALTED.to_owned() } else { self.key.mask(&self.device, hidden) };
        let mut first = kept.to_vec();
        if one_line {
            first.extend_from_slice(mask.as_bytes());
            emit(redacted, &first, end);
            return if rule.resalted { Shown::BlockResalted { first } } else { Shown::Same };
        }
        // What is left of the first line is shown at once; the mask of the whole block follows at its end.
        redacted.extend_from_slice(kept);
        if hidden.is_empty() {
            redacted.extend_from_slice(b"\n");
        }
        let mut start = hidden.to_vec();
        if !start.is_empty() {
            start.push(b'\n');
        }
        self.secret_block = Some(Masking { rule: Some(i), hidden: start });
        if rule.resalted {
            if hidden.is_empty() {
                first.push(b'\n');
            }
            first.extend_from_slice(RESALTED.as_bytes());
            return Shown::BlockResalted { first };
        }
        Shown::Same
    }

    fn close(&self, open: &Masking, redacted: &mut BytesMut) {
        let resalted = open.rule.and_then(|i| self.rules.secret_blocks.get(i)).is_some_and(|r| r.resalted);
        let mask = if resalted { RESALTED.to_owned() } else { self.key.mask(&self.device, &open.hidden) };
        emit(redacted, mask.as_bytes(), b"\n");
    }

    /// The line with its secrets masked; and, where a re-salted one is among them, with only those masked.
    fn mask_line(&self, line: &[u8], rules: &TextRules) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut spans: Vec<(usize, usize, bool)> = Vec::new();
        for rule in &rules.secrets {
            if rule.within.as_ref().is_some_and(|w| !self.headers.within(w)) {
                continue;
            }
            for found in rule.line.captures_iter(line) {
                spans.extend(secret_spans(rule, &found));
            }
        }
        if spans.is_empty() {
            return (line.to_vec(), None);
        }
        spans.sort_unstable_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
        let masked =
            replace(
                line,
                &spans,
                |secret, resalted| {
                    if resalted { RESALTED.to_owned() } else { self.key.mask(&self.device, secret) }
                },
            );
        let resalted: Vec<_> = spans.into_iter().filter(|(_, _, resalted)| *resalted).collect();
        let plain = (!resalted.is_empty()).then(|| replace(line, &resalted, |_, _| RESALTED.to_owned()));
        (masked, plain)
    }
}

/// What `clean` shows of a line.
enum Shown {
    Same,
    Resalted(Vec<u8>),
    BlockResalted { first: Vec<u8> },
}

fn emit(out: &mut BytesMut, line: &[u8], end: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(end);
}

fn volatile<'a>(rules: &[LineRule], line: &'a [u8], number: u64) -> Option<std::borrow::Cow<'a, [u8]>> {
    let mut line = std::borrow::Cow::Borrowed(line);
    for rule in rules {
        if rule.head.is_some_and(|head| number > head) || !rule.line.is_match(&line) {
            continue;
        }
        match &rule.replace {
            None => return None,
            Some(by) => line = std::borrow::Cow::Owned(rule.line.replace_all(&line, by.as_bytes()).into_owned()),
        }
    }
    Some(line)
}

/// The part of a block's first line that stays, and the part that is hidden.
fn block_head<'a>(rule: &BlockRule, line: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match rule.start.captures(line).and_then(|c| c.name("keep")) {
        Some(keep) => line.split_at(keep.end()),
        None => (line, &[]),
    }
}

fn secret_spans(rule: &SecretRule, found: &Captures<'_>) -> Vec<(usize, usize, bool)> {
    let named: Vec<_> = rule
        .line
        .capture_names()
        .enumerate()
        .filter(|(_, name)| name.is_some_and(|n| n.starts_with("secret")))
        .map(|(i, _)| i)
        .collect();
    let groups = match (named.is_empty(), found.len()) {
        (false, _) => named,
        (true, 1) => vec![0],
        (true, _) => vec![1],
    };
    groups
        .into_iter()
        .filter_map(|i| found.get(i))
        .filter(|m| !m.is_empty())
        .map(|m| (m.start(), m.end(), rule.resalted))
        .collect()
}

/// Replaces the spans, sorted by their beginning; of overlapping ones the first and longest stands for all it covers.
fn replace(line: &[u8], spans: &[(usize, usize, bool)], mask: impl Fn(&[u8], bool) -> String) -> Vec<u8> {
    let mut merged: Vec<(usize, usize, bool)> = Vec::new();
    for &(from, to, resalted) in spans {
        match merged.last_mut() {
            Some(last) if from < last.1 => {
                last.1 = last.1.max(to);
                last.2 |= resalted;
            }
            _ => merged.push((from, to, resalted)),
        }
    }
    let mut out = Vec::with_capacity(line.len() + 24);
    let mut at = 0;
    for (from, to, resalted) in merged {
        out.extend_from_slice(line.get(at..from).unwrap_or_default());
        out.extend_from_slice(mask(line.get(from..to).unwrap_or_default(), resalted).as_bytes());
        at = to;
    }
    out.extend_from_slice(line.get(at..).unwrap_or_default());
    out
}

/// The lines above the current one that it is indented below.
#[derive(Debug)]
struct Headers {
    wanted: bool,
    stack: Vec<(usize, Vec<u8>)>,
}

const MAX_DEPTH: usize = 64;

impl Headers {
    fn line(&mut self, line: &[u8]) {
        if !self.wanted {
            return;
        }
        let indent = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if indent == line.len() {
            return;
        }
        self.stack.retain(|(depth, _)| *depth < indent);
        if self.stack.len() < MAX_DEPTH {
            self.stack.push((indent, line.to_vec()));
        }
    }

    /// Whether a line above the current one, which is the last of the stack, matches.
    fn within(&self, header: &Regex) -> bool {
        self.stack.iter().rev().skip(1).any(|(_, line)| header.is_match(line))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn re(s: &str) -> Regex {
        Regex::new(s).unwrap()
    }

    fn rules() -> TextRules {
        let mut rules = TextRules::default();
        rules.volatile.push(LineRule::drop(re("^! Time:")));
        rules.volatile.push(LineRule::drop(re("^Current configuration")).in_head(3));
        rules.volatile.push(LineRule::replace(re(r"clock-period \d+"), "clock-period 0"));
        rules.volatile_blocks.push(BlockRule::new(re("^<revision>"), re("^</revision>")));
        rules.secrets.push(SecretRule::new(re(r"community (\S+)")));
        rules.secrets.push(SecretRule::new(re(r"auth (?<secret>\S+) priv (?<secret2>\S+)")));
        rules.secrets.push(SecretRule::new(re(r"^ +key (\S+)$")).within(re("^aaa-server")));
        rules.secrets.push(SecretRule::new(re(r"ENC (\S+)")).resalted(true));
        rules.secret_blocks.push(
            BlockRule::new(re(r#"^(?<keep> *set private-key )".*"#), re(r#"-----END.*"$"#))
                .keep_end(false)
                .resalted(true),
        );
        rules.secret_blocks.push(BlockRule::new(re("^ssd-control-start"), re("^ssd-control-end")));
        let any = regex::bytes::RegexSet::new(rules.expressions().map(Regex::as_str)).unwrap();
        rules.with_prefilter(any)
    }

    fn views_of(text: &[u8], cuts: &[usize]) -> (String, String) {
        let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
        let mut maker = ViewMaker::new(Arc::new(rules()), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
        let mut at = 0;
        for cut in cuts.iter().map(|c| c % (text.len() + 1)).filter(|c| *c > 0) {
            let to = at.max(cut);
            maker.push(&text[at..to], &mut clean, &mut redacted).unwrap();
            at = to;
        }
        maker.push(&text[at..], &mut clean, &mut redacted).unwrap();
        maker.finish(&mut clean, &mut redacted);
        (String::from_utf8_lossy(&clean).into_owned(), String::from_utf8_lossy(&redacted).into_owned())
    }

    fn views(text: &str) -> (String, String) {
        views_of(text.as_bytes(), &[])
    }

    fn unmask(text: &str) -> String {
        re("<secret:[0-9a-f]{12}>").replace_all(text.as_bytes(), &b"<M>"[..]).iter().map(|b| char::from(*b)).collect()
    }

    #[test]
    fn volatile_lines_are_left_out_or_levelled() {
        let (clean, _) = views(
            "Current configuration : 9\na\n! Time: 1\nntp clock-period 17\n<revision>\nx\n</revision>\nCurrent configuration stays",
        );
        assert_eq!(clean, "a\nntp clock-period 0\nCurrent configuration stays");
    }

    #[test]
    fn secrets_are_masked_where_they_stand() {
        let (clean, redacted) = views(
            "snmp community pub RO\nuser auth a1 priv b2 end\nkey 10\naaa-server X\n host 1\n  key k3y\nother\n key 10\n",
        );
        assert_eq!(
            clean,
            "snmp community pub RO\nuser auth a1 priv b2 end\nkey 10\naaa-server X\n host 1\n  key k3y\nother\n key 10\n"
        );
        assert_eq!(
            unmask(&redacted),
            "snmp community <M> RO\nuser auth <M> priv <M> end\nkey 10\naaa-server X\n host 1\n  key <M>\nother\n key 10\n"
        );
    }

    #[test]
    fn a_changed_secret_shows_and_a_resalted_one_does_not() {
        assert_ne!(views("community a").1, views("community b").1);
        assert_eq!(views("set password ENC abc").0, "set password ENC <secret>");
        assert_eq!(views("set password ENC abc"), views("set password ENC xyz"));
    }

    #[test]
    fn blocks_are_masked_as_a_whole() {
        let pem = "x\n-----BEGIN RSA PRIVATE KEY-----\nAAAA\nBBBB\n-----END RSA PRIVATE KEY-----\ny\n";
        let (clean, redacted) = views(pem);
        assert_eq!(clean, pem);
        assert_eq!(unmask(&redacted), "x\n-----BEGIN RSA PRIVATE KEY-----\n<M>\n-----END RSA PRIVATE KEY-----\ny\n");

        let forti = |body: &str| {
            format!(
                "edit 1\n  set private-key \"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\"\nnext\n"
            )
        };
        let (clean, redacted) = views(&forti("AA\nBB"));
        assert_eq!(redacted, "edit 1\n  set private-key <secret>\nnext\n");
        assert_eq!(clean, redacted);
        assert_eq!(views(&forti("AA\nBB")), views(&forti("CC")));

        let (_, redacted) = views("ssd-control-start\nabc\nssd-control-end\nend\n");
        assert_eq!(unmask(&redacted), "ssd-control-start\n<M>\nssd-control-end\nend\n");
    }

    #[test]
    fn a_block_without_its_end_stays_masked() {
        let (_, redacted) = views("-----BEGIN PRIVATE KEY-----\nAAAA\ncommunity x");
        assert_eq!(unmask(&redacted), "-----BEGIN PRIVATE KEY-----\n<M>\n");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut maker = ViewMaker::new(Arc::default(), InstanceKey::new([1; 32]), "d".into(), 10);
        let (mut a, mut b) = (BytesMut::new(), BytesMut::new());
        assert!(maker.push(b"12345\n67890", &mut a, &mut b).is_ok());
        assert_eq!(maker.push(b"123456", &mut a, &mut b).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    fn line_ends(text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut ends, mut out) = (LineEnds::default(), BytesMut::new());
        let text = Bytes::copy_from_slice(text);
        let mut at = 0;
        for cut in cuts.iter().map(|c| c % (text.len() + 1)) {
            let to = at.max(cut);
            ends.push(&text.slice(at..to), &mut out);
            at = to;
        }
        ends.push(&text.slice(at..), &mut out);
        ends.finish(&mut out);
        out.to_vec()
    }

    proptest! {
        #[test]
        fn views_do_not_depend_on_chunks(lines in proptest::collection::vec(prop_oneof![
            Just("a".to_owned()), Just("! Time: x".to_owned()), Just("community s RO".to_owned()), Just(" key k".to_owned()), Just("aaa-server".to_owned()),
            Just("-----BEGIN PRIVATE KEY-----".to_owned()), Just("-----END PRIVATE KEY-----".to_owned()), Just("<revision>".to_owned()), Just("</revision>".to_owned()),
            Just(" set private-key \"x".to_owned()), Just("-----END x\"".to_owned()), Just("p ENC q".to_owned()), ".*"], 0..20), cuts in proptest::collection::vec(any::<usize>(), 0..10)) {
            let text = lines.join("\n");
            prop_assert_eq!(views_of(text.as_bytes(), &cuts), views(&text));
        }

        #[test]
        fn no_secret_is_left_in_redacted(secret in "[a-z]{12}", before in "[a-z]{0,9}", tail in " [a-z]{0,9}") {
            let text = format!("{before}\nsnmp community {secret}{tail}\nx ENC {secret}\n-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
            prop_assert!(!views(&text).1.contains(&secret));
        }

        #[test]
        fn bytes_that_are_not_utf8_survive(line in proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..40)) {
            let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
            let mut maker = ViewMaker::new(Arc::default(), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
            maker.push(&line, &mut clean, &mut redacted).unwrap();
            maker.finish(&mut clean, &mut redacted);
            prop_assert_eq!(&clean[..], &line[..]);
        }

        #[test]
        fn line_ends_become_lf_wherever_the_text_is_cut(text in "[ab\r\n]{0,40}", cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
            let want = re("\r+\n").replace_all(text.as_bytes(), &b"\n"[..]).into_owned();
            prop_assert_eq!(line_ends(text.as_bytes(), &cuts), want);
        }
    }
}
