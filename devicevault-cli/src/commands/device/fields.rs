//! The fields of a device as options, and the checks that every way to make a device goes through.

use std::net::IpAddr;

use clap::Args;

use devicevault_core::inventory::{Credential, Selector};
use devicevault_core::{Device, DeviceId, Error, ErrorKind, Login, Result, Target};

use super::jump;
use crate::artefacts::Artefacts;
use crate::context::Context;
use crate::instance::Instance;
use crate::login_args::{self, LoginArgs};
use crate::{clear_secrets, recognition, wiring};

/// Heading of the options that say how a device is reached.
const WAY: &str = "Way to the device";

/// What can be said of a device.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FieldArgs {
    /// Port, where it is not the protocol's own
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Where it stands
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// What it belongs to
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// A word to select by; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The collector that talks to it [default: cli]
    #[arg(long, value_name = "KEY")]
    pub(crate) collector: Option<String>,
    /// SSH algorithms: modern, legacy (old devices) or ancient [default: the platform's]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) ssh_profile: Option<String>,
    /// Trust of its host key: first-use, strict, or the fingerprint SHA256:… that it has to have [default: first-use]
    #[arg(long, value_name = "TRUST")]
    pub(crate) host_key: Option<String>,
    /// How it is reached: ssh, telnet (in clear text), or openssh (the system's) [default: the platform's, mostly ssh]
    #[arg(long, value_name = "TRANSPORT", help_heading = WAY)]
    pub(crate) transport: Option<String>,
    /// A jump host on the way, as `USER@HOST:PORT` with settings behind commas; several in the order they are passed
    #[arg(long, value_name = "HOP", help_heading = WAY, long_help = jump::HELP)]
    pub(crate) jump: Vec<String>,
    /// A command whose input and output are the connection; %h is the host, %p the port, %r the user
    #[arg(long, value_name = "COMMAND", help_heading = WAY)]
    pub(crate) proxy_command: Option<String>,
    /// The address that connections come from
    #[arg(long, value_name = "IP", help_heading = WAY)]
    pub(crate) source_address: Option<IpAddr>,
    /// A setting of the collector; may be given several times
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
    /// A shared credential, by name, for what is not said here; see `devicevault credential`
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
}

impl FieldArgs {
    /// Whether anything was given that says how a device is reached, beside its address.
    pub(crate) fn says_how(&self) -> bool {
        self.port.is_some()
            || self.collector.is_some()
            || self.ssh_profile.is_some()
            || self.host_key.is_some()
            || self.transport.is_some()
            || !self.jump.is_empty()
            || self.proxy_command.is_some()
            || self.source_address.is_some()
            || !self.options.is_empty()
    }

    /// Sets what was given on a device.
    ///
    /// # Errors
    /// `Config` for a value that cannot be.
    pub(crate) fn apply(&self, device: &mut Device) -> Result<()> {
        device.port = self.port.or(device.port);
        device.site = self.site.clone().or(device.site.take());
        device.group = self.group.clone().or(device.group.take());
        device.tags.extend(self.tags.iter().cloned());
        if let Some(collector) = &self.collector {
            device.collector.clone_from(collector);
        }
        if let Some(profile) = &self.ssh_profile {
            wiring::set_ssh_profile(&mut device.options, profile)?;
        }
        if let Some(trust) = &self.host_key {
            wiring::set_host_key(&mut device.options, trust)?;
        }
        if let Some(transport) = &self.transport {
            wiring::set_transport(&mut device.options, transport)?;
        }
        if let Some(command) = &self.proxy_command {
            wiring::set_proxy_command(&mut device.options, command);
        }
        if let Some(address) = self.source_address {
            wiring::set_source_address(&mut device.options, address);
        }
        if !self.jump.is_empty() {
            device.jump = self.jump.iter().map(|h| jump::parse(h)).collect::<Result<_>>()?;
        }
        device.options.extend(self.options.iter().cloned());
        if let Some(credential) = &self.credential {
            device.login.credential = Some(credential.clone());
        }
        self.login.apply(&mut device.login)
    }
}

/// Reads `name=value`.
pub(crate) fn key_value(s: &str) -> Result<(String, String), String> {
    match s.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// A device with an identity of its own.
pub(crate) fn new_device(name: &str, host: &str, platform: &str) -> Device {
    Device::new(DeviceId(uuid::Uuid::now_v7().to_string()), name, host, platform)
}

/// Checks what can be checked without asking the device.
///
/// # Errors
/// `Config` that names the field.
pub(crate) fn check(instance: &Instance, device: &Device) -> Result<()> {
    check_texts(device)?;
    check_platform(instance, device)
}

/// Checks name, host, site, group and tags.
///
/// # Errors
/// `Config` that names the field.
pub(crate) fn check_texts(device: &Device) -> Result<()> {
    let refuse = |field: &'static str, why: &str| {
        Err(Error::new(ErrorKind::Config, "check device", why)
            .with("field", field)
            .with("device", device.name.escape_debug()))
    };
    // First: no other error is to tell what holds a password.
    clear_secrets::refuse(device)?;
    devicevault_core::check_device_name(&device.name)?;
    let texts = [("host", Some(&device.host)), ("site", device.site.as_ref()), ("group", device.group.as_ref())];
    let texts = texts.into_iter().filter_map(|(field, text)| Some((field, text?)));
    for (field, text) in texts.chain(device.tags.iter().map(|t| ("tag", t))) {
        if text.trim().is_empty() {
            return refuse(field, "it is empty");
        }
        if text.chars().any(char::is_control) || text.len() > 255 {
            return refuse(field, "it holds a control character, or more than 255 bytes");
        }
    }
    if device.host.contains(char::is_whitespace) {
        return refuse("host", "it holds a blank");
    }
    let hops = device.jump.iter().map(|hop| (&hop.host, hop.port));
    for (host, port) in std::iter::once((&device.host, device.port)).chain(hops) {
        // A proxy command would take it for an option.
        if host.starts_with('-') {
            return refuse("host", "it begins with a hyphen");
        }
        if port == Some(0) {
            return refuse("port", "it is 0");
        }
    }
    Ok(())
}

/// Checks that the collector is there and takes the device's platform and settings.
///
/// # Errors
/// `Config` or `Unsupported`, as the collector tells.
pub(crate) fn check_platform(instance: &Instance, device: &Device) -> Result<()> {
    instance.check_file_rules("the device", &device.options).map_err(|e| e.with("device", &device.name))?;
    let collector = instance.collectors.get(&device.collector)?;
    if recognition::is_due(device) {
        return wiring::check_options(device);
    }
    wiring::check_options(device)?;
    let target = Target::new(device.clone(), Login::default());
    collector.artefacts(&target).map(drop).map_err(|e| e.with("device", &device.name))
}

/// Says what is dangerous about a device, where something is, and which of its file rules are for nothing.
pub(crate) fn warn(context: &Context, instance: &Instance, device: &Device) {
    if let Some(doubt) = Artefacts::of(instance).doubt_rules(device) {
        context.ui.warn(&doubt);
    }
    if let Some(warning) = wiring::clear_text_warning(context.settings.platforms_dir(), device) {
        context.ui.warn(&warning);
    }
    for login in std::iter::once(&device.login).chain(device.jump.iter().map(|hop| &hop.login)) {
        login_args::warn_of_open_files(&context.ui, login);
    }
}

/// Refuses a credential that is not there, of a device or of a jump host before it.
///
/// # Errors
/// `Config`, or what the inventory answers.
pub(crate) async fn check_credentials(instance: &Instance, device: &Device) -> Result<()> {
    if named_credentials(device).next().is_none() {
        return Ok(());
    }
    check_named(&instance.inventory.credentials().await?, device)
}

/// The same, where the credentials are known.
///
/// # Errors
/// `NotFound` that names the credential.
pub(crate) fn check_named(known: &[Credential], device: &Device) -> Result<()> {
    for name in named_credentials(device) {
        devicevault_core::credential::named(known, name).map_err(|e| e.with("device", &device.name))?;
    }
    Ok(())
}

fn named_credentials(device: &Device) -> impl Iterator<Item = &str> {
    let logins = std::iter::once(&device.login).chain(device.jump.iter().map(|h| &h.login));
    logins.filter_map(|l| l.credential.as_deref())
}

/// Refuses a name that another device has.
///
/// # Errors
/// `AlreadyExists`.
pub(crate) async fn check_name_is_free(instance: &Instance, device: &Device) -> Result<()> {
    let mut selector = Selector::default();
    selector.names.insert(device.name.clone());
    let same = instance.inventory.devices(&selector).await?;
    if same.iter().any(|d| d.id != device.id) {
        return Err(Error::new(ErrorKind::AlreadyExists, "store device", "there is a device of this name already")
            .with("name", &device.name)
            .hint("`devicevault device edit` changes it"));
    }
    Ok(())
}
