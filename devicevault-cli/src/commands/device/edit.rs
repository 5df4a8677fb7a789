//! `devicevault device edit`

use clap::{Args, ValueEnum};
use devicevault_core::{LoginRef, Result};

use super::fields::{self, FieldArgs};
use crate::Exit;
use crate::context::Context;
use crate::sightings;
use crate::wiring::{self, Setting};

/// Change a device: what is given is set, the rest stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device edit core-rtr1 --host 192.0.2.7
  devicevault device edit core-rtr1 --rename core-rtr1-old --clear tags --tag retired --enabled no
  devicevault device edit core-rtr1 --clear login --user backup --key-file ~/.ssh/backup")]
pub(crate) struct EditArgs {
    /// What it is called now
    name: String,
    /// A new name; its identity and history stay
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    /// Host name or address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Vendor operating system
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Whether `--all` takes it
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    enabled: Option<bool>,
    /// Empty a field before the others are set; may be given several times
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Clear>,
    #[command(flatten)]
    fields: FieldArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clear {
    Port,
    Site,
    Group,
    Tags,
    Jump,
    Credential,
    Login,
    HostKey,
    SshProfile,
    Transport,
    ProxyCommand,
    SourceAddress,
    /// All of the above five, and whatever `--option` set
    Options,
}

fn yes_or_no(s: &str) -> Result<bool, String> {
    match s {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: EditArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut device = instance.device(&args.name).await?;
    for field in &args.clear {
        match field {
            Clear::Port => device.port = None,
            Clear::Site => device.site = None,
            Clear::Group => device.group = None,
            Clear::Tags => device.tags.clear(),
            Clear::Jump => device.jump.clear(),
            Clear::Credential => device.login.credential = None,
            Clear::Login => device.login = LoginRef::default(),
            Clear::HostKey => wiring::clear(&mut device.options, Setting::HostKey),
            Clear::SshProfile => wiring::clear(&mut device.options, Setting::SshProfile),
            Clear::Transport => wiring::clear(&mut device.options, Setting::Transport),
            Clear::ProxyCommand => wiring::clear(&mut device.options, Setting::ProxyCommand),
            Clear::SourceAddress => wiring::clear(&mut device.options, Setting::SourceAddress),
            Clear::Options => device.options.clear(),
        }
    }
    device.name = args.rename.unwrap_or(device.name);
    device.host = args.host.unwrap_or(device.host);
    device.platform = args.platform.unwrap_or(device.platform);
    device.enabled = args.enabled.unwrap_or(device.enabled);
    args.fields.apply(&mut device)?;
    fields::check(&instance, &device)?;
    fields::check_credentials(&instance, &device).await?;
    fields::check_name_is_free(&instance, &device).await?;
    fields::warn(context, &instance, &device);
    instance.inventory.put_devices(std::slice::from_ref(&device)).await?;
    if device.name != args.name {
        sightings::note_renamed(context, &instance, std::slice::from_ref(&device.id)).await?;
    }
    if context.ui.is_json() {
        context.ui.json(&device)?;
    } else {
        context.ui.note(&format!("changed {}", device.name));
    }
    Ok(Exit::Done)
}
