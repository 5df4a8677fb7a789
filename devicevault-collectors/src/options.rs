//! The settings of a device that this collector reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use devicevault_core::{Device, Error, ErrorKind, Result};
use devicevault_ssh::{HostKeyPolicy, Profile, ProxyCommand, SshError};

use crate::platform::Channel;
use crate::transport::Transport;

/// `modern`, `legacy` or `ancient`.
pub const PROFILE: &str = "ssh.profile";
/// `strict`, `first-use`, or `pinned` with [`FINGERPRINT`].
pub const HOST_KEY: &str = "ssh.host_key";
/// One or more `SHA256:…`; says `pinned` by itself.
pub const FINGERPRINT: &str = "ssh.host_key_fingerprint";
/// `shell` or `exec`, against what the platform says.
pub const CHANNEL: &str = "cli.channel";

/// `ssh`, `telnet` or `openssh`, against what the platform prefers.
pub const TRANSPORT: &str = "cli.transport";
/// The command whose input and output are the connection, with `%h`, `%p` and `%r`.
pub const PROXY_COMMAND: &str = "ssh.proxy_command";
/// The address that connections come from.
pub const SOURCE_ADDRESS: &str = "ssh.source_address";
/// After so many seconds of silence the server is asked whether it is there.
pub const KEEPALIVE: &str = "ssh.keepalive";

const ALL: [&str; 8] = [PROFILE, HOST_KEY, FINGERPRINT, CHANNEL, TRANSPORT, PROXY_COMMAND, SOURCE_ADDRESS, KEEPALIVE];
/// Those of a jump host.
const OF_HOP: [&str; 4] = [PROFILE, HOST_KEY, FINGERPRINT, KEEPALIVE];

pub(crate) fn get<'a>(options: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    options.get(key).map(String::as_str)
}

/// Refuses settings that look like ours and are not, and values that are none: a misspelt `ssh.host_key` would be no
/// check at all.
///
/// # Errors
/// `Config` that names the option.
pub fn check(device: &Device) -> Result<()> {
    let of_device = |e: Error| e.with("device", &device.name);
    known(&device.options, &ALL).map_err(of_device)?;
    values(&device.options).map_err(of_device)?;
    if let Some(transport) = get(&device.options, TRANSPORT) {
        transport.parse::<Transport>().map_err(of_device)?;
    }
    for hop in &device.jump {
        let of_hop = |e: Error| of_device(e.with("jump host", hop.host.escape_debug()));
        known(&hop.options, &OF_HOP).and_then(|()| values(&hop.options)).map_err(of_hop)?;
        if hop.host.trim().is_empty() || hop.host.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(of_hop(Error::new(ErrorKind::Config, "read device options", "a jump host has no address")));
        }
    }
    Ok(())
}

/// Refuses settings that nobody reads: a slip would do nothing, and what somebody took for the place of a secret would be
/// kept in clear. `others`: what the names of those begin with that are not of the connection.
///
/// # Errors
/// `Config` that names the option.
pub fn refuse_unknown(device: &Device, others: &[&str]) -> Result<()> {
    let is_read = |name: &String| ALL.contains(&name.as_str()) || others.iter().any(|o| name.starts_with(o));
    let Some(unknown) = device.options.keys().find(|name| !is_read(name)) else { return Ok(()) };
    let others: Vec<_> = others.iter().map(|o| format!("{o}…")).collect();
    Err(Error::new(ErrorKind::Config, "read device options", "there is no option of this name")
        .with("option", unknown.escape_debug())
        .with("device", &device.name)
        .hint(format!(
            "options are {}, {}; a secret is never one: see --password-env, --key-file and --credential",
            ALL.join(", "),
            others.join(", ")
        )))
}

fn known(options: &BTreeMap<String, String>, all: &[&str]) -> Result<()> {
    let ours = |k: &&String| k.starts_with("ssh.") || k.starts_with("cli.");
    match options.keys().filter(ours).find(|k| !all.contains(&k.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::new(ErrorKind::Config, "read device options", "there is no option of this name")
            .with("option", unknown.escape_debug())
            .hint(format!("options are {}", all.join(", ")))),
    }
}

fn values(options: &BTreeMap<String, String>) -> Result<()> {
    let profile = get(options, PROFILE).map(str::parse::<Profile>).transpose().map(drop);
    profile
        .and_then(|()| host_key_policy(options, &HostKeyPolicy::default()).map(drop))
        .and_then(|()| proxy_command(options).map(drop))
        .and_then(|()| source_address(options).map(drop))
        .and_then(|()| keepalive(options).map(drop))
        .map_err(|e| Error::new(ErrorKind::Config, "read device options", e.to_string()))
}

pub(crate) fn proxy_command(options: &BTreeMap<String, String>) -> Result<Option<ProxyCommand>, SshError> {
    get(options, PROXY_COMMAND).map(str::parse).transpose()
}

pub(crate) fn source_address(options: &BTreeMap<String, String>) -> Result<Option<IpAddr>, SshError> {
    let Some(text) = get(options, SOURCE_ADDRESS) else { return Ok(None) };
    let address =
        text.parse().map_err(|_| config(format!("{SOURCE_ADDRESS} is no IP address: '{}'", text.escape_debug())));
    address.map(Some)
}

pub(crate) fn keepalive(options: &BTreeMap<String, String>) -> Result<Option<Duration>, SshError> {
    let Some(text) = get(options, KEEPALIVE) else { return Ok(None) };
    match text.strip_suffix('s').unwrap_or(text).parse() {
        Ok(0) => Ok(None),
        Ok(seconds @ 1..=86_400) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(config(format!("{KEEPALIVE} is a number of seconds, not '{}'", text.escape_debug()))),
    }
}

pub(crate) fn channel(device: &Device, platform: Channel) -> Result<Channel> {
    match get(&device.options, CHANNEL) {
        None => Ok(platform),
        Some("shell") => Ok(Channel::Shell),
        Some("exec") => Ok(Channel::Exec),
        Some(other) => Err(Error::new(ErrorKind::Config, "read device options", "it is shell or exec")
            .with("option", CHANNEL)
            .with("value", other.escape_debug())
            .with("device", &device.name)),
    }
}

pub(crate) fn host_key_policy(
    options: &BTreeMap<String, String>,
    default: &HostKeyPolicy,
) -> Result<HostKeyPolicy, SshError> {
    let fingerprint = get(options, FINGERPRINT);
    match (get(options, HOST_KEY), fingerprint) {
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
        device.options.clear();
        device.options.insert(KEEPALIVE.into(), "30".into());
        device.options.insert("files.config".into(), "/x".into());
        refuse_unknown(&device, &["files."]).unwrap();
        assert!(refuse_unknown(&device, &["sftp."]).unwrap_err().to_string().contains("files.config"));
        device.options.insert("password".into(), "never shown".into());
        let told = format!("{:?}", refuse_unknown(&device, &["files."]).unwrap_err());
        assert!(told.contains("option: password") && !told.contains("never shown"), "{told}");
    }

    #[test]
    fn values_are_checked_before_anything_is_done() {
        for (key, good, bad) in [
            (PROFILE, "legacy", "old"),
            (TRANSPORT, "telnet", "rlogin"),
            (PROXY_COMMAND, "nc %h %p", "nc %x"),
            (SOURCE_ADDRESS, "::1", "eth0"),
            (KEEPALIVE, "30s", "often"),
        ] {
            let mut device = Device::new("d", "d", "h", "linux");
            device.options.insert(key.into(), good.into());
            check(&device).unwrap();
            device.options.insert(key.into(), bad.into());
            assert!(check(&device).is_err(), "{key}");
        }
        let mut device = Device::new("d", "d", "h", "linux");
        let mut hop = devicevault_core::Hop::new("bastion", None);
        hop.options.insert(PROXY_COMMAND.into(), "nc %h %p".into());
        device.jump = vec![hop.clone()];
        assert!(check(&device).unwrap_err().to_string().contains("bastion"));
        hop.options.clear();
        hop.host = " ".into();
        device.jump = vec![hop];
        assert!(check(&device).is_err());
    }

    #[test]
    fn host_keys_are_checked_as_the_device_says() {
        let mut device = Device::new("d", "d", "h", "linux");
        let policy = |d: &Device| host_key_policy(&d.options, &HostKeyPolicy::FirstUse);
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
