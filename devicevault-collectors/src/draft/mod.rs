//! A first draft of a platform file, from what a device says: its prompt, what turns paging off, what prints its
//! configuration, how it refuses.

mod explore;
mod text;

use std::sync::Arc;

use devicevault_core::{Result, Target};

use crate::platform::{Platform, PlatformSource};
use crate::recording::Recording;
use crate::transport::{Dialer, RecordedDialer};
use explore::Explorer;

/// A drafted platform file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Draft {
    /// The file's text. It is a good platform file.
    pub text: String,
    /// The platform that it describes.
    pub platform: Arc<Platform>,
    /// What could not be found out, and what to look at.
    pub remarks: Vec<String>,
}

impl Draft {
    /// From a visit: known commands that turn paging off and that print configurations are tried, and one that no
    /// device knows; nothing is changed but the session. With `like`, that platform's file is the beginning.
    ///
    /// # Errors
    /// What keeps from talking to the device; `Config` for a name that cannot be.
    pub async fn of_device(
        name: &str,
        like: Option<&Platform>,
        dialer: Arc<dyn Dialer>,
        target: &Target,
    ) -> Result<Self> {
        let found = Explorer::new(dialer, target, None).explore().await?;
        Self::of(name, like, &found)
    }

    /// From a recording: only what it knows is tried.
    ///
    /// # Errors
    /// The recording holds no session; `Config` for a name that cannot be.
    pub async fn of_recording(name: &str, like: Option<&Platform>, recording: Recording) -> Result<Self> {
        let known: Vec<String> = recording.commands().into_iter().map(str::to_owned).collect();
        let target = Recording::target();
        let dialer = Arc::new(RecordedDialer::new(recording));
        let found = Explorer::new(dialer, &target, Some(known)).explore().await?;
        Self::of(name, like, &found)
    }

    fn of(name: &str, like: Option<&Platform>, found: &explore::Found) -> Result<Self> {
        let text = match like {
            Some(like) => text::like(name, like, found),
            None => text::from_nothing(name, found),
        };
        let platform = Platform::parse(&text, &PlatformSource::BuiltIn)?;
        Ok(Self { text, platform, remarks: found.remarks() })
    }
}
