//! Configurations that are made up: of any size, from a seed, with secrets in them.

use std::fmt::Write as _;

/// A configuration as a platform prints it, lines ended by LF, and the secrets in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Generated {
    pub(super) text: String,
    pub(super) secrets: Vec<String>,
}

/// Writes a configuration.
#[derive(Debug)]
pub(super) struct Writer {
    rng: fastrand::Rng,
    out: Generated,
}

impl Writer {
    /// The same device name and seed write the same configuration.
    pub(super) fn new(device: &str, seed: u64) -> Self {
        let mix = device
            .bytes()
            .fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        Self { rng: fastrand::Rng::with_seed(mix), out: Generated::default() }
    }

    /// Lines as they stand.
    pub(super) fn lines(&mut self, text: &str) {
        self.out.text.push_str(text);
        if !text.ends_with('\n') {
            self.out.text.push('\n');
        }
    }

    /// One line.
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string has no way to fail.
        let _ = writeln!(self.out.text, "{line}");
    }

    /// A secret of so many letters and digits, remembered.
    pub(super) fn secret(&mut self, prefix: &str, length: usize) -> String {
        let letters: String = (0..length).map(|_| self.rng.alphanumeric()).collect();
        let secret = format!("{prefix}{letters}");
        self.out.secrets.push(secret.clone());
        secret
    }

    pub(super) fn number(&mut self, below: u32) -> u32 {
        self.rng.u32(..below)
    }

    pub(super) fn len(&self) -> usize {
        self.out.text.len()
    }

    /// Another writer's work behind this one's.
    pub(super) fn append(&mut self, end: Self) {
        self.out.text.push_str(&end.out.text);
        self.out.secrets.extend(end.out.secrets);
    }

    pub(super) fn finish(self) -> Generated {
        self.out
    }
}

/// Where something can be put between two lines in the middle of a text.
pub(super) fn middle(text: &[u8]) -> usize {
    let half = text.len() / 2;
    let rest = text.get(half..).unwrap_or_default();
    rest.iter().position(|b| *b == b'\n').map_or(text.len(), |at| half + at + 1)
}
