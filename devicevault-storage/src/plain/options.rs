//! How a plain store is laid out.

use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Clock, SystemClock};

use super::Template;
use crate::codec::Compression;

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
}

impl Default for PlainOptions {
    /// zstd, `{site}/{device}/{artefact}/{time}.{ext}`, a day of grace, durable, the machine's clock.
    fn default() -> Self {
        Self {
            compression: Compression::Zstd,
            template: Template::default(),
            grace: Duration::from_secs(24 * 3600),
            durable: true,
            clock: Arc::new(SystemClock),
        }
    }
}

impl PlainOptions {
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
}
