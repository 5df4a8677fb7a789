//! Devices whose platform is to be found out: they are visited once, and what was found is kept with them.

use std::collections::BTreeMap;

use devicevault_core::inventory::Selector;
use devicevault_core::{Device, Error, Result, Target};
use futures::{StreamExt as _, stream};

use crate::context::Context;
use crate::instance::{Instance, KNOWN_HOSTS, PLATFORMS};
use crate::secrets::Secrets;
use crate::wiring;
use crate::wiring::visits::{AUTO, Visits};

/// So many devices are visited at a time.
const AT_A_TIME: usize = 10;

/// Whether a device's platform is still to be found out.
pub(crate) fn is_due(device: &Device) -> bool {
    device.platform == AUTO && wiring::is_command_line(device)
}

/// Finds out the platform of one device. One that the instance knows by this name keeps what was found for it.
///
/// # Errors
/// The device cannot be talked to, or it is not sure what it is.
pub(crate) async fn settle_one(context: &Context, instance: &Instance, device: &mut Device) -> Result<()> {
    if !is_due(device) {
        return Ok(());
    }
    let mut same = Selector::default();
    same.names.insert(device.name.clone());
    let known = instance.inventory.devices(&same).await?;
    if let Some(known) = known.into_iter().find(|k| k.host == device.host && k.port == device.port && !is_due(k)) {
        device.platform = known.platform;
        return Ok(());
    }
    let secrets = Secrets::of(instance).await?;
    secrets.ask(std::slice::from_ref(device))?;
    let (name, certainty) = found(&visits(context, instance)?, &secrets, device).await?;
    context.ui.note(&format!("{}: recognised as {name} ({certainty} %)", device.name));
    device.platform = name;
    Ok(())
}

/// Finds out the platforms of those among the devices that have none yet, and keeps them in the inventory. A device for
/// which that fails stays as it is, and why is told by its name: its backup fails of that.
///
/// # Errors
/// The inventory cannot be written.
pub(crate) async fn settle(
    context: &Context,
    instance: &Instance,
    devices: Vec<Device>,
) -> Result<(Vec<Device>, BTreeMap<String, Error>)> {
    let due: Vec<Device> = devices.iter().filter(|d| is_due(d)).cloned().collect();
    if due.is_empty() {
        return Ok((devices, BTreeMap::new()));
    }
    let secrets = Secrets::of(instance).await?;
    // All that the round needs: each user name is asked for once.
    secrets.ask(&devices)?;
    let (visits, secrets) = (&visits(context, instance)?, &secrets);
    let visited: Vec<_> = stream::iter(due)
        .map(|mut device| async move {
            let found = found(visits, secrets, &device).await;
            if let Ok((name, _)) = &found {
                device.platform.clone_from(name);
            }
            (device, found)
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let (mut settled, mut failed) = (Vec::new(), BTreeMap::new());
    for (device, found) in visited {
        match found {
            Ok((name, certainty)) => {
                context.ui.note(&format!("{}: recognised as {name} ({certainty} %)", device.name));
                settled.push(device);
            }
            Err(e) => drop(failed.insert(device.name.clone(), e)),
        }
    }
    instance.inventory.put_devices(&settled).await?;
    let now = |device: Device| settled.iter().find(|s| s.id == device.id).cloned().unwrap_or(device);
    Ok((devices.into_iter().map(now).collect(), failed))
}

fn visits(context: &Context, instance: &Instance) -> Result<Visits> {
    let own = instance.home.join(PLATFORMS);
    let platforms =
        context.settings.platforms_dir().map(std::path::Path::to_path_buf).or_else(|| own.is_dir().then_some(own));
    Visits::new(platforms.as_deref(), Some(&instance.home.join(KNOWN_HOSTS)))
}

async fn found(visits: &Visits, secrets: &Secrets, device: &Device) -> Result<(String, u8)> {
    let target = Target::new(device.clone(), secrets.login(device).await?);
    let found = visits.detect(&target).await?.into_platform()?;
    Ok((found.name, found.certainty))
}
