//! Visits that are no backups: to recognise a device, to try a platform, to record a session.

use std::path::Path;
use std::sync::Arc;

use devicevault_collectors::{Detector, Dialer, PlatformSet, RecordedDialer};
use devicevault_core::{Result, Target};
use devicevault_ssh::{HostKeysInMemory, KnownHostsFile};

pub(crate) use devicevault_collectors::{
    Change, Disguise, Draft, EndedBy, Exchange, Platform, Recognition, Recording, Tape, Trial, TriedArtefact,
    TriedState, Wire,
};

/// The platform that stands for one that is to be found out.
pub(crate) const AUTO: &str = "auto";

/// Where the system's `ssh` remembers nothing.
const NOWHERE: &str = "/dev/null";

/// Makes visits.
#[derive(Debug, Clone)]
pub(crate) struct Visits {
    platforms: Arc<PlatformSet>,
    dialer: Arc<dyn Dialer>,
}

impl Visits {
    /// With the shipped platforms and those of a folder, and host keys remembered in a file, or for the visit alone.
    ///
    /// # Errors
    /// A platform file is wrong.
    pub(crate) fn new(own: Option<&Path>, known_hosts: Option<&Path>) -> Result<Self> {
        let ssh = match known_hosts {
            Some(file) => super::reach::dialer(Arc::new(KnownHostsFile::new(file))),
            None => super::reach::dialer(Arc::new(HostKeysInMemory::default())),
        };
        let dialer = Arc::new(super::reach::transports(ssh, known_hosts.unwrap_or(Path::new(NOWHERE))));
        Ok(Self { platforms: Arc::new(super::platform_set(own)?), dialer })
    }

    /// By name or alias, or by its file.
    ///
    /// # Errors
    /// `Config` where there is none, or the file is wrong.
    pub(crate) fn platform(&self, name: &str) -> Result<Arc<Platform>> {
        let is_file = Path::new(name).extension().is_some_and(|e| e == "toml");
        if is_file { PlatformSet::check_file(Path::new(name)) } else { self.platforms.get(name) }
    }

    /// Finds out what a device is.
    ///
    /// # Errors
    /// What keeps from talking to it.
    pub(crate) async fn detect(&self, target: &Target) -> Result<Recognition> {
        Detector::new(self.platforms.clone(), self.dialer.clone()).detect(target).await
    }

    /// Tries a platform on a device.
    ///
    /// # Errors
    /// The device's settings are wrong.
    pub(crate) async fn trial(&self, platform: &Arc<Platform>, target: &Target) -> Result<Trial> {
        Trial::run(platform, self.dialer.clone(), target).await
    }

    /// Drafts a platform file from what a device says.
    ///
    /// # Errors
    /// What keeps from talking to it.
    pub(crate) async fn draft(&self, name: &str, like: Option<&Platform>, target: &Target) -> Result<Draft> {
        Draft::of_device(name, like, self.dialer.clone(), target).await
    }
}

/// Tries a platform on a recording. Also returns the commands that the recording does not know.
///
/// # Errors
/// `Internal`.
pub(crate) async fn on_recording(platform: &Arc<Platform>, recording: Recording) -> Result<(Trial, Vec<String>)> {
    let dialer = RecordedDialer::new(recording);
    let trial = Trial::run(platform, Arc::new(dialer.clone()), &Recording::target()).await?;
    Ok((trial, dialer.missing()))
}

/// Recognises a device by its recording.
///
/// # Errors
/// The recording holds too little of a session.
pub(crate) async fn recognise(own: Option<&Path>, recording: Recording) -> Result<Recognition> {
    let platforms = Arc::new(super::platform_set(own)?);
    Detector::new(platforms, Arc::new(RecordedDialer::new(recording))).detect(&Recording::target()).await
}
