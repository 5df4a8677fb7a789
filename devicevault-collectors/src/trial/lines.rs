//! Which lines of a text the rules change, and how.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::BytesMut;
use devicevault_core::ArtifactInfo;
use devicevault_core::text::{InstanceKey, ViewMaker};

use crate::escape::shown;
use crate::recording::without_secrets;

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is left out where versions are compared.
    LeftOut,
    /// It is changed where versions are compared.
    Replaced,
    /// It holds a secret, which is masked.
    Masked,
}

/// A line that the rules change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedLine {
    /// Counted from 1.
    pub number: u64,
    /// What becomes of it.
    pub change: Change,
    /// What is left of it, escaped: of a line that is left out, the line itself; of a secret, the masked line.
    pub text: String,
}

/// More is not listed.
const MOST: usize = 10_000;
const LONGEST: usize = 160;
const MAX_LINE: usize = 16 << 20;

/// The lines that change, and why the text is suspect.
pub(super) fn changed(info: &ArtifactInfo, text: &[u8]) -> (Vec<ChangedLine>, Vec<String>) {
    // Masks are shown to one person once: any key does.
    let mut maker = ViewMaker::new(info.rules.clone(), InstanceKey::new([0; 32]), "trial".into(), MAX_LINE);
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut all = Vec::new();
    let (mut from, mut to) = (0, 0);
    for (line, number) in text.split_inclusive(|b| *b == b'\n').zip(1..) {
        to += line.len();
        let within = maker.hides();
        if maker.push(line, &mut clean, &mut redacted).is_err() {
            break;
        }
        // A line that goes on in the next is looked at with it, one that ends no line end before the end.
        if maker.holds_back() {
            continue;
        }
        let line = text.get(std::mem::replace(&mut from, to)..to).unwrap_or(line);
        let (clean, redacted) = (clean.split(), redacted.split());
        if !line.ends_with(b"\n") || all.len() >= MOST {
            continue;
        }
        let alone;
        let change = if within && clean.is_empty() {
            Some((Change::Masked, &b""[..]))
        } else if clean.is_empty() {
            alone = without_secrets(line, Some(&info.rules));
            Some((Change::LeftOut, alone.as_slice()))
        } else if redacted != clean {
            Some((Change::Masked, redacted.as_ref()))
        } else if clean != line {
            Some((Change::Replaced, clean.as_ref()))
        } else {
            None
        };
        if let Some((change, left)) = change {
            let left = if left.is_empty() { &b"(within a secret block)"[..] } else { left };
            all.push(ChangedLine { number, change, text: shown(left, LONGEST) });
        }
    }
    let suspect = maker.finish(&mut clean, &mut redacted);
    (all, suspect)
}
