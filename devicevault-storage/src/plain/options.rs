//! How a plain store is laid out.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Clock, Error, ErrorKind, Result, SystemClock};

use super::Template;
use crate::codec::Compression;
use crate::objects::Uploads;
use crate::seal::Keyring;

/// Settings of a [`PlainBackend`](super::PlainBackend).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlainOptions {
    /// How new backups are compressed; old ones are read whatever they are.
    pub compression: Compression,
    /// Where new backups go; old ones are found wherever they are.
    pub template: Template,
    /// How old content without a manifest must be before maintenance removes it: longer than any upload takes.
    pub grace: Duration,
    /// Whether what an object store confirmed survives a power cut. A folder's always does.
    pub durable: bool,
    /// The age of leavings is told by it.
    pub clock: Arc<dyn Clock>,
    /// Whether the times of files say how old what lies there is. They do not where a place was copied.
    pub times: bool,
    /// Opens what is sealed.
    pub keyring: Option<Keyring>,
    /// Whether new backups are sealed, under the keyring's newest epoch key.
    pub sealed: bool,
    /// Whether paths hold keyed hashes in place of names.
    pub opaque_names: bool,
    /// Whether what is not sealed is read.
    pub clear: ClearAccess,
    /// What finds uploads that broke off, where the store keeps their parts.
    pub uploads: Option<Arc<dyn Uploads>>,
}

/// Whether backups in the clear are read. Anybody who can write at a destination could have made them: where backups are
/// sealed, they are not believed unless some of an earlier time are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClearAccess {
    /// Where new ones are not sealed either.
    #[default]
    AsWritten,
    /// Where no epoch keys lie: for a place of which nothing else is known.
    AsFound,
    /// Nowhere.
    Never,
    /// Everywhere.
    Always,
}

impl Default for PlainOptions {
    /// zstd, in the clear, `{site}/{device}/{artefact}/{time}.{ext}`, a day of grace, durable, the machine's clock.
    fn default() -> Self {
        Self {
            compression: Compression::Zstd,
            template: Template::default(),
            grace: Duration::from_secs(24 * 3600),
            durable: true,
            clock: Arc::new(SystemClock),
            times: true,
            keyring: None,
            sealed: false,
            opaque_names: false,
            clear: ClearAccess::default(),
            uploads: None,
        }
    }
}

impl PlainOptions {
    /// For a place of which nothing is known, such as a copy of another: the times of its files say nothing.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        self.times = false;
        self
    }

    /// Sets the compression.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the template.
    #[must_use]
    pub fn with_template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// Lets maintenance give up uploads that broke off.
    #[must_use]
    pub fn with_uploads(mut self, uploads: Arc<dyn Uploads>) -> Self {
        self.uploads = Some(uploads);
        self
    }

    /// Sets the grace.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Says whether the object store is durable.
    #[must_use]
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Seals new backups under the newest epoch key of this keyring, and opens old ones with it.
    #[must_use]
    pub fn with_sealing(mut self, keyring: Keyring) -> Self {
        self.sealed = true;
        self.with_keyring(keyring)
    }

    /// Opens what is sealed with this keyring; what is new is written as the other options say.
    #[must_use]
    pub fn with_keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Hides names in paths. Needs sealing.
    #[must_use]
    pub fn with_opaque_names(mut self, opaque: bool) -> Self {
        self.opaque_names = opaque;
        self
    }

    /// Reads backups in the clear in a destination that seals.
    #[must_use]
    pub fn with_accept_clear(mut self, accept: bool) -> Self {
        self.clear = if accept { ClearAccess::Always } else { ClearAccess::AsWritten };
        self
    }

    /// Sets whether backups in the clear are read.
    #[must_use]
    pub fn with_clear(mut self, clear: ClearAccess) -> Self {
        self.clear = clear;
        self
    }

    /// Whether the options go together. A backend with options that do not stores nothing.
    ///
    /// # Errors
    /// `Config` that names what does not.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: &str, hint: &'static str| {
            Err(Error::new(ErrorKind::Config, "open destination", why.to_owned()).hint(hint))
        };
        match self.compression {
            Compression::Gzip if self.sealed => {
                refuse("gzip does not go with sealing", "compress with zstd, or not at all")
            }
            _ if self.opaque_names && !self.sealed => {
                refuse("opaque names need sealing", "a manifest in the clear would tell the names")
            }
            _ if self.sealed && self.keyring.is_none() => {
                refuse("there is no keyring to seal with", "give a keyring with an epoch key")
            }
            _ => Ok(()),
        }
    }
}
