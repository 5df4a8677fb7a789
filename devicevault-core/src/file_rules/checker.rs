//! Whoever looks at a whole file and says whether it may be kept.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Body, Digest, Result};

/// A file that is to be looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckedFile {
    /// Name of the device.
    pub device: String,
    /// Name of the artefact.
    pub artefact: String,
    /// File name extension without the dot.
    pub extension: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its bytes.
    pub body: Arc<dyn Body>,
}

impl CheckedFile {
    /// A file of a device.
    pub fn new(device: impl Into<String>, artefact: impl Into<String>, sha256: Digest, body: Arc<dyn Body>) -> Self {
        let size = body.len();
        Self { device: device.into(), artefact: artefact.into(), extension: "bin".to_owned(), size, sha256, body }
    }

    /// Sets the extension.
    #[must_use]
    pub fn with_extension(mut self, extension: impl Into<String>) -> Self {
        self.extension = extension.into();
        self
    }
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that speaks against it.
    Passed,
    /// It must not be kept as a good file; why, in the checker's words.
    Rejected(String),
}

/// Looks at files: an antivirus program, YARA, a service.
///
/// # Contract
/// - [`Finding::Passed`] is said only of a file that was looked at to the checker's satisfaction. Everything that keeps
///   it from a verdict (it is not there, it crashed, it took too long, the bytes could not be read) is an error; the
///   engine takes that for a file that did not pass.
/// - It takes bounded time and memory, whatever the size of the file.
/// - Its words come from outside: the engine escapes and cuts them. No secret and nothing of the environment is given to
///   what it starts.
/// - Dropping the future ends whatever it started.
#[async_trait]
pub trait FileChecker: Debug + Send + Sync {
    /// Looks at a file.
    ///
    /// # Errors
    /// There is no verdict.
    async fn check(&self, file: &CheckedFile) -> Result<Finding>;
}
