//! The settings of a device that this collector reads.

use devicevault_core::{Device, Error, ErrorKind, Result};
use devicevault_ssh::{HostKeyPolicy, SshError};

use crate::platform::Channel;

/// `modern`, `legacy` or `ancient`.
pub const PROFILE: &str = "ssh.profile";
/// `strict`, `first-use`, or `pinned` with [`FINGERPRINT`].
pub const HOST_KEY: &str = "ssh.host_key";
/// One or more `SHA256:…`; says `pinned` by itself.
pub const FINGERPRINT: &str = "ssh.host_key_fingerprint";
/// `shell` or `exec`, against what the platform says.
pub const CHANNEL: &str = "cli.channel";

const ALL: [&str; 4] = [PROFILE, HOST_KEY, FINGERPRINT, CHANNEL];

pub(crate) fn get<'a>(device: &'a Device, key: &str) -> Option<&'a str> {
    device.options.get(key).map(String::as_str)
}

/// Refuses settings that look like ours and are not: a misspelt `ssh.host_key` would be no check at all.
///
/// # Errors
/// `Config` that names the option.
pub fn check(device: &Device) -> Result<()> {
    let ours = |k: &&String| k.starts_with("ssh.") || k.starts_with("cli.");
    match device.options.keys().filter(ours).find(|k| !ALL.contains(&k.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::new(ErrorKind::Config, "read device options", "there is no option of this name")
            .with("option", unknown.escape_debug())
            .with("device", &device.name)
            .hint(format!("options are {}", ALL.join(", ")))),
    }
}

pub(crate) fn channel(device: &Device, platform: Channel) -> Result<Channel> {
    match get(device, CHANNEL) {
        None => Ok(platform),
        Some("shell") => Ok(Channel::Shell),
        Some("exec") => Ok(Channel::Exec),
        Some(other) => Err(Error::new(ErrorKind::Config, "read device options", "it is shell or exec")
            .with("option", CHANNEL)
            .with("value", other.escape_debug())
            .with("device", &device.name)),
    }
}

pub(crate) fn host_key_policy(device: &Device, default: &HostKeyPolicy) -> Result<HostKeyPolicy, SshError> {
    let fingerprint = get(device, FINGERPRINT);
    match (get(device, HOST_KEY), fingerprint) {
        (None | Some("pinned"), Some(fingerprints)) => HostKeyPolicy::pinned(fingerprints),
        (None, None) => Ok(default.clone()),
        (Some("strict"), None) => Ok(HostKeyPolicy::Strict),
        (Some("first-use"), None) => Ok(HostKeyPolicy::FirstUse),
        (Some("pinned"), None) => Err(config(format!("{HOST_KEY} is pinned, and {FINGERPRINT} is not set"))),
        (Some(other), _) => Err(config(format!(
            "{HOST_KEY} is strict, first-use or pinned (with {FINGERPRINT}), not '{}'",
            other.escape_debug()
        ))),
    }
}

fn config(message: String) -> SshError {
    SshError::config(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_option_is_an_error() {
        let mut device = Device::new("d", "d", "h", "linux");
        device.options.insert("site.colour".into(), "blue".into());
        check(&device).unwrap();
        device.options.insert("ssh.hostkey".into(), "strict".into());
        assert!(check(&device).unwrap_err().to_string().contains("ssh.hostkey"));
    }

    #[test]
    fn host_keys_are_checked_as_the_device_says() {
        let mut device = Device::new("d", "d", "h", "linux");
        let policy = |d: &Device| host_key_policy(d, &HostKeyPolicy::FirstUse);
        assert_eq!(policy(&device).unwrap(), HostKeyPolicy::FirstUse);
        device.options.insert(HOST_KEY.into(), "strict".into());
        assert_eq!(policy(&device).unwrap(), HostKeyPolicy::Strict);
        for bad in ["pinned", "none", ""] {
            device.options.insert(HOST_KEY.into(), bad.into());
            assert!(policy(&device).is_err());
        }
        device.options.insert(HOST_KEY.into(), "pinned".into());
        device.options.insert(FINGERPRINT.into(), "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDaMMmDGcpGyRlmdqo".into());
        assert!(matches!(policy(&device).unwrap(), HostKeyPolicy::Pinned(_)));
    }
}
