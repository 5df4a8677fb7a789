//! One device by its address, for visits that are no backups.

use std::time::Duration;

use clap::Args;
use devicevault_core::{Device, DeviceId, Result, StepLimits, Target};

use super::own_folder;
use crate::adhoc;
use crate::commands::device::fields::{FieldArgs, check_texts};
use crate::context::Context;
use crate::instance::KNOWN_HOSTS;
use crate::secrets::Secrets;
use crate::ui::human;
use crate::wiring;
use crate::wiring::visits::Visits;

/// How a device is reached and logged in to.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    fields: FieldArgs,
    /// The longest silence of the device [default: 15s to connect, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

fn duration(s: &str) -> Result<Duration, String> {
    human::parse_duration(s).map_err(|e| e.message().to_owned()).and_then(|d| match d.is_zero() {
        true => Err("it has to be longer than nothing".to_owned()),
        false => Ok(d),
    })
}

impl HostArgs {
    /// The device at this address, with its login.
    ///
    /// # Errors
    /// `Config` for a value that cannot be, or a secret that is not to be had.
    pub(crate) async fn target(&self, context: &Context, host: &str, platform: &str) -> Result<Target> {
        let name = adhoc::name_of(host, self.fields.port);
        let mut device = Device::new(DeviceId(name.clone()), &name, host, platform);
        self.fields.apply(&mut device)?;
        check_texts(&device)?;
        wiring::check_options(&device)?;
        // A credential is the home's; who names none needs no home.
        let shared = std::iter::once(&device.login).chain(device.jump.iter().map(|hop| &hop.login));
        let secrets = match shared.into_iter().any(|login| login.credential.is_some()) {
            true => Secrets::of(&context.instance().await?).await?,
            false => Secrets::default(),
        };
        secrets.ask(std::slice::from_ref(&device))?;
        let login = secrets.login(&device).await?;
        let mut limits = StepLimits::default();
        if let Some(longest) = self.timeout {
            (limits.connect, limits.login, limits.inactivity) = (longest, longest, longest);
        }
        Ok(Target::new(device, login).with_limits(limits))
    }
}

/// Visits that use the home's host keys and platforms, where there is a home.
///
/// # Errors
/// A platform file is wrong.
pub(crate) fn visits(context: &Context) -> Result<Visits> {
    let known_hosts = context.home().ok().map(|h| h.join(KNOWN_HOSTS)).filter(|f| f.is_file());
    if known_hosts.is_none() {
        context.ui.note("there is no home: the device's host key is taken as it is, for this visit");
    }
    Visits::new(own_folder(context).as_deref(), known_hosts.as_deref())
}
