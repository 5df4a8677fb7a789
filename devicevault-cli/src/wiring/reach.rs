//! How a device is reached: settings of transports and of the way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devicevault_collectors::{CliCollector, OpenSshDialer, OpenSshOptions, SshDialer, Transport, Transports, options};
use devicevault_core::{Device, Result};
use devicevault_ssh::{Environment, HostKeyStore};

use super::platform_set;

/// Dials over SSH, with the host keys that are remembered there.
pub(super) fn dialer(host_keys: Arc<dyn HostKeyStore>) -> SshDialer {
    SshDialer::new(host_keys).with_environment(environment())
}

/// Every transport that the program has.
pub(super) fn transports(ssh: SshDialer, known_hosts: &Path) -> Transports {
    let openssh = OpenSshOptions {
        program: "ssh".into(),
        known_hosts: known_hosts.to_owned(),
        folders: private_folders(),
        // This program is its own helper for passwords.
        askpass: std::env::current_exe().ok(),
        environment: environment(),
    };
    Transports::new(ssh).with_openssh(OpenSshDialer::new(openssh))
}

/// Where private files and sockets are made: in the folder for temporary files, or else where paths are short.
pub(super) fn private_folders() -> Vec<PathBuf> {
    let of_the_session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let of_all = cfg!(unix).then(|| PathBuf::from("/tmp"));
    std::iter::once(std::env::temp_dir()).chain(of_the_session).chain(of_all).collect()
}

/// What `ssh` and proxy commands get of the environment: where things are, the language, the agent, the ticket, the web proxy,
/// and which profile of a cloud is meant. Nothing else, for passwords stand there.
fn environment() -> Environment {
    // Of the languages and of the folders of a desktop, each that has a meaning: SSH passes on whatever begins by LC_, so that
    // secrets are called so.
    const NAMES: [&str; 55] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "TZ",
        "TMPDIR",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_ADDRESS",
        "LC_COLLATE",
        "LC_CTYPE",
        "LC_IDENTIFICATION",
        "LC_MEASUREMENT",
        "LC_MESSAGES",
        "LC_MONETARY",
        "LC_NAME",
        "LC_NUMERIC",
        "LC_PAPER",
        "LC_TELEPHONE",
        "LC_TIME",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_DIRS",
        "XDG_CONFIG_HOME",
        "XDG_DATA_DIRS",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        "XDG_SESSION_ID",
        "XDG_SESSION_TYPE",
        "XDG_STATE_HOME",
        "SSH_AUTH_SOCK",
        "KRB5CCNAME",
        "KRB5_CONFIG",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AZURE_CONFIG_DIR",
        "CLOUDSDK_CONFIG",
        "CLOUDSDK_ACTIVE_CONFIG_NAME",
        "KUBECONFIG",
        "TELEPORT_HOME",
    ];
    Environment::only(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| NAMES.contains(&name))))
}

/// Sets how a device is reached.
///
/// # Errors
/// `Config` that lists the transports.
pub(crate) fn set_transport(settings: &mut BTreeMap<String, String>, transport: &str) -> Result<()> {
    transport.parse::<Transport>()?;
    settings.insert(options::TRANSPORT.to_owned(), transport.to_owned());
    Ok(())
}

/// A setting of the way to a device that has an option of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setting {
    HostKey,
    SshProfile,
    Transport,
    ProxyCommand,
    SourceAddress,
}

/// Takes a setting away, so that what holds without it is in force.
pub(crate) fn clear(settings: &mut BTreeMap<String, String>, which: Setting) {
    let keys: &[&str] = match which {
        Setting::HostKey => &[options::HOST_KEY, options::FINGERPRINT],
        Setting::SshProfile => &[options::PROFILE],
        Setting::Transport => &[options::TRANSPORT],
        Setting::ProxyCommand => &[options::PROXY_COMMAND],
        Setting::SourceAddress => &[options::SOURCE_ADDRESS],
    };
    for key in keys {
        settings.remove(*key);
    }
}

/// Sets the command whose input and output are the connection.
pub(crate) fn set_proxy_command(settings: &mut BTreeMap<String, String>, command: &str) {
    settings.insert(options::PROXY_COMMAND.to_owned(), command.to_owned());
}

/// Sets the address that connections come from.
pub(crate) fn set_source_address(settings: &mut BTreeMap<String, String>, address: IpAddr) {
    settings.insert(options::SOURCE_ADDRESS.to_owned(), address.to_string());
}

/// What to know of a device that is logged in to in clear text; `None`: it is not, as far as can be told here.
pub(crate) fn clear_text_warning(platforms: Option<&Path>, device: &Device) -> Option<String> {
    let platform = platform_set(platforms).ok()?.get(&device.platform).ok()?;
    let telnet = device.collector == CliCollector::KEY && Transport::of(device, &platform).ok()? == Transport::Telnet;
    telnet.then(|| {
        format!("{} is reached by Telnet: user name, password and configuration pass in clear text", device.name)
    })
}
