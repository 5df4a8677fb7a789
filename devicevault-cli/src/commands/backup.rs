//! `devicevault backup`

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use devicevault_core::inventory::Selector;
use devicevault_core::{Device, DeviceId, Error, ErrorKind, Result};

use super::device::fields::{self, FieldArgs, key_value};
use crate::context::Context;
use crate::instance::Instance;
use crate::pace::Pace;
use crate::round::{self, RoundOptions, RoundOutcome};
use crate::routing::Deciding;
use crate::ui::human;
use crate::{Exit, adhoc, last_round, pushing, recognition, report, selection};

/// Back up devices: those of the home, or one by its address into a folder.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").args(["names", "all", "host"]),
    after_help = "\
Examples:
  devicevault backup core-rtr1 core-rtr2
  devicevault backup --all --sessions 50
  devicevault backup --failed
  devicevault backup --policy core
  devicevault backup --site zurich --tag core --artefact running-config
  devicevault backup --all --metadata ticket=CHG0042 --json

One device, without a home:
  devicevault backup --host 192.0.2.1 --platform cisco_ios --user backup --password-env PW --to ./backups
  devicevault backup --host 192.0.2.1 --port 2222 --platform frr --user backup --key-file ~/.ssh/id_ed25519 \\
      --host-key SHA256:… --to ./backups --json
The folder then holds SITE/DEVICE/ARTEFACT/TIME.txt in clear, readable by the owner alone, and an index in
.devicevault/; the next run stores what changed. `devicevault diff --from ./backups` shows it."
)]
pub(crate) struct BackupArgs {
    /// Devices of the home
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All that are enabled
    #[arg(long)]
    all: bool,
    /// Of the devices chosen, or of all, only those whose last backup failed or was partial, that were never backed up, or
    /// that a round which was cut off did not come to
    #[arg(long, conflicts_with = "host")]
    failed: bool,
    /// Devices that this policy selects, and only where it sends them; may be given several times
    #[arg(long = "policy", value_name = "NAME", conflicts_with = "host")]
    policies: Vec<String>,
    /// Of this platform; with --host: the device's platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Back up the device at this address, without a home
    #[arg(long, value_name = "HOST", requires_all = ["platform", "to"])]
    host: Option<String>,
    /// The folder that it is stored in
    #[arg(long, value_name = "DIR", requires = "host")]
    to: Option<PathBuf>,
    /// What it is called [default: its address]
    #[arg(long, value_name = "NAME", requires = "host")]
    name: Option<String>,
    #[command(flatten)]
    fields: FieldArgs,
    /// Only this artefact; may be given several times
    #[arg(long = "artefact", value_name = "NAME", help_heading = "How")]
    artefacts: Vec<String>,
    /// The longest silence of a device while connecting, logging in or answering [default: 15s to connect, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = human::positive_duration, help_heading = "How")]
    timeout: Option<Duration>,
    /// The longest conversation with one device [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = human::positive_duration, help_heading = "How")]
    deadline: Option<Duration>,
    /// How often a device is tried again after what may pass; never after a rejected password or host key [default: 2]
    #[arg(long, value_name = "N", help_heading = "How")]
    retries: Option<u32>,
    /// A key and value of your own, kept with every backup; may be given several times
    #[arg(long = "metadata", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "How")]
    metadata: Vec<(String, String)>,
    /// In place of a row for each artefact, only counts, and the failures by kind with the devices that have them
    #[arg(long, help_heading = "How")]
    summary: bool,
    #[command(flatten)]
    pace: Pace,
}

impl BackupArgs {
    fn form(&self) -> report::Form {
        if self.summary { report::Form::Summary } else { report::Form::Rows }
    }

    /// Whether no device is left out.
    fn narrows_nothing(&self) -> bool {
        let fields = &self.fields;
        let narrows = [&fields.site, &fields.group, &self.platform].iter().any(|f| f.is_some());
        !narrows && fields.tags.is_empty() && self.names.is_empty() && self.policies.is_empty()
    }
}

pub(crate) async fn run(context: &Context, args: BackupArgs) -> Result<Exit> {
    let mut limits = args.pace.over(context.settings.limits());
    limits.collect = args.deadline.unwrap_or(limits.collect);
    let mut options = RoundOptions {
        selection: selection::artefacts(&args.artefacts)?,
        deciding: Deciding::Nothing,
        limits,
        timeout: args.timeout.or(context.settings.timeout()),
        retries: args.retries.or(context.settings.retries()),
        metadata: args.metadata.iter().cloned().collect(),
        left_over: args.failed,
    };
    let (instance, devices) = match (&args.host, &args.to) {
        (Some(host), Some(to)) => ad_hoc(context, &args, host, to).await?,
        _ => {
            let (instance, mut devices, deciding) = at_home(context, &args).await?;
            options.deciding = deciding;
            let form = args.form();
            if args.failed {
                devices = last_round::left_over(&instance, devices).await?;
                if devices.is_empty() {
                    context.ui.note("nothing is left over from the last round");
                    if !context.ui.is_json() {
                        return Ok(Exit::Done);
                    }
                    return report::round(context, &instance, &RoundOutcome::default(), form).await;
                }
            }
            last_round::failed_last(&instance, &mut devices);
            let all = args.all && !args.failed && args.narrows_nothing();
            if let Err(e) = last_round::begin(&instance, &devices, all, context.clock().now()) {
                // A backup is worth more than a note of it.
                tracing::warn!(event = "round_not_noted", error = %e);
            }
            (instance, devices)
        }
    };
    let (devices, unknown) = recognition::settle(context, &instance, devices).await?;
    let done = Box::pin(round::back_up(context, &instance, devices, unknown, &options)).await?;
    if args.host.is_none()
        && let Err(e) = last_round::end(&instance, &done.devices)
    {
        tracing::warn!(event = "round_not_noted", error = %e);
    }
    if !done.interrupted {
        pushing::after_round(context, &instance).await;
    }
    report::round(context, &instance, &done, args.form()).await
}

/// One device by its address. Whatever is wrong with it is found before the folder is made.
async fn ad_hoc(
    context: &Context,
    args: &BackupArgs,
    host: &str,
    to: &std::path::Path,
) -> Result<(Instance, Vec<Device>)> {
    let name = args.name.clone().unwrap_or_else(|| adhoc::name_of(host, args.fields.port));
    let platform = args.platform.as_deref().unwrap_or_default();
    let mut device = Device::new(DeviceId(name.clone()), &name, host, platform);
    args.fields.apply(&mut device)?;
    fields::check_texts(&device)?;
    if !recognition::is_due(&device) {
        crate::wiring::platform(context.settings.platforms_dir(), platform)
            .map(drop)
            .or_else(|e| if args.fields.collector.is_some() { Ok(()) } else { Err(e) })?;
    }
    crate::wiring::check_options(&device)?;
    let instance = adhoc::open(context, to).await?;
    fields::warn(context, &instance, &device);
    recognition::settle_one(context, &instance, &mut device).await?;
    fields::check_platform(&instance, &device)?;
    adhoc::remember(&instance, &device).await?;
    Ok((instance, vec![device]))
}

/// Devices of the home.
async fn at_home(context: &Context, args: &BackupArgs) -> Result<(Instance, Vec<Device>, Deciding)> {
    let refuse = |why: &str, hint: &str| Err(Error::new(ErrorKind::Config, "choose devices", why).hint(hint));
    let fields = &args.fields;
    let mut selector = Selector::default();
    selector.names = args.names.iter().cloned().collect();
    selector.site.clone_from(&fields.site);
    selector.group.clone_from(&fields.group);
    selector.tags = fields.tags.iter().cloned().collect();
    selector.platform.clone_from(&args.platform);
    if args.narrows_nothing() && !args.all && !args.failed {
        return refuse(
            "it is not said which devices are to be backed up",
            "name devices, or give --all, --failed, --policy, --site, --group, --tag, --platform or --host",
        );
    }
    let login = &fields.login;
    let mut given = devicevault_core::LoginRef::default();
    login.apply(&mut given)?;
    let of_device = fields.says_how() || given != devicevault_core::LoginRef::default();
    if of_device {
        return refuse(
            "login and connection options go with --host",
            "`devicevault device edit` changes them for a device of the home",
        );
    }
    let instance = context.instance().await?;
    let deciding = deciding(&instance, &args.policies).await?;
    let mut devices = instance.inventory.devices(&selector).await?;
    if let Deciding::Named(policies) = &deciding {
        devices.retain(|d| policies.iter().any(|p| p.devices.matches(d)));
    }
    for name in &selector.names {
        if !devices.iter().any(|d| d.name == *name) {
            // Looked up alone, a name that only the other options exclude is found.
            let device = instance.device(name).await?;
            return refuse(
                "a device that was named does not fit the other options",
                "leave the options away, or the name",
            )
            .map_err(|e| e.with("device", &device.name));
        }
    }
    if devices.is_empty() {
        let mut any = Selector::default();
        any.disabled = true;
        let some = instance.inventory.devices(&any).await?;
        return if some.is_empty() {
            refuse("there are no devices yet", "add some with `devicevault device add` or `device import`")
        } else {
            refuse("no enabled device fits", "`devicevault device list` shows all")
        };
    }
    Ok((instance, devices, deciding))
}

/// Which policies say where to: those that are named, else those in force.
async fn deciding(instance: &Instance, names: &[String]) -> Result<Deciding> {
    if names.is_empty() {
        return Ok(Deciding::InForce(instance.policies().await?));
    }
    let mut named = Vec::new();
    for name in names {
        named.push(instance.policy(name).await?);
    }
    Ok(Deciding::Named(named))
}
