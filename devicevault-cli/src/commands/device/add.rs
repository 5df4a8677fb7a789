//! `devicevault device add`

use clap::Args;
use devicevault_core::Result;

use super::fields::{self, FieldArgs};
use crate::context::Context;
use crate::ui::escape;
use crate::{Exit, recognition};

/// Add a device.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device add core-rtr1 --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW
  devicevault device add edge1 --host edge1.example.net --platform mikrotik_routeros --user backup \\
      --key-file ~/.ssh/backup --site zurich --tag edge
  devicevault device add old-sw --host 192.0.2.9 --platform cisco_ios --user backup \\
      --password-command 'pass show net/old-sw' --enable-env ENABLE --ssh-profile legacy

Only where a secret is found is kept, never the secret. Without any, the password is asked for at backup time.")]
pub(crate) struct AddArgs {
    /// What it is called
    name: String,
    /// Host name or address
    #[arg(long, value_name = "HOST")]
    host: String,
    /// Vendor operating system; see `devicevault platform list`. auto: the device is visited, and it is found out
    #[arg(long, value_name = "PLATFORM")]
    platform: String,
    /// `--all` does not take it
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    fields: FieldArgs,
}

pub(crate) async fn run(context: &Context, args: AddArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut device = fields::new_device(&args.name, &args.host, &args.platform);
    device.enabled = !args.disabled;
    args.fields.apply(&mut device)?;
    fields::check(&instance, &device)?;
    fields::check_credentials(&instance, &device).await?;
    fields::check_name_is_free(&instance, &device).await?;
    fields::warn(context, &instance, &device);
    recognition::settle_one(context, &instance, &mut device).await?;
    instance.inventory.put_devices(std::slice::from_ref(&device)).await?;
    if context.ui.is_json() {
        context.ui.json(&device)?;
    } else {
        let name = escape::text(&device.name);
        context.ui.note(&format!("added {name}; back it up with `devicevault backup {name}`"));
    }
    Ok(Exit::Done)
}
