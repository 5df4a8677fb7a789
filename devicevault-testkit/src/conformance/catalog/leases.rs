//! One run per device.

use std::time::Duration;

use devicevault_core::catalog::Lease;
use devicevault_core::{Catalog, DeviceId};
use futures::future::try_join_all;

use super::stage::Stage;
use crate::conformance::case::{Checked, Stop, broken, ensure, ensure_eq, skip};

const TTL: Duration = Duration::from_secs(60);
/// Far from any end, however slow the machine is.
const LONG: Duration = Duration::from_secs(3600);

async fn taken(catalog: &dyn Catalog, device: &DeviceId, ttl: Duration) -> Result<Lease, Stop> {
    match catalog.lease(device, ttl).await? {
        Some(lease) => {
            ensure_eq!(lease.device, *device, "the lease is for another device");
            Ok(lease)
        }
        None => broken(format!("{device} is free, and its lease cannot be had")),
    }
}

async fn ensure_held(catalog: &dyn Catalog, device: &DeviceId) -> Checked {
    let second = catalog.lease(device, LONG).await?;
    ensure!(second.is_none(), "{device} is held, and its lease was given to another: {second:?}");
    Ok(())
}

pub(super) async fn lease(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let devices: Vec<DeviceId> = ["sw1", "SW1", "sw1 ", "", "sw2"].map(DeviceId::from).into();
    for device in &devices {
        taken(&*catalog, device, LONG).await?;
        ensure_held(&*catalog, device).await?;
    }
    for device in &devices {
        ensure_held(&*catalog, device).await?;
    }
    Ok(())
}

pub(super) async fn at_once(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    for round in 0..5 {
        let device = DeviceId(format!("sw{round}"));
        let tasks = (0..16).map(|_| {
            let (catalog, device) = (catalog.clone(), device.clone());
            tokio::spawn(async move { catalog.lease(&device, LONG).await })
        });
        let given = try_join_all(tasks).await.or_else(|e| broken(format!("a task did not end: {e}")))?;
        let given = given.into_iter().collect::<Result<Vec<_>, _>>()?;
        ensure_eq!(given.iter().flatten().count(), 1, "of 16 callers at once another number than one got the lease");
    }
    Ok(())
}

pub(super) async fn release(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let device = DeviceId::from("sw1");
    let first = taken(&*catalog, &device, LONG).await?;
    catalog.release(&first).await?;
    let second = taken(&*catalog, &device, LONG).await?;
    ensure!(first.token != second.token, "two holders have one token");
    // The first holder has nothing to give back or to keep any more.
    catalog.release(&first).await?;
    ensure_held(&*catalog, &device).await?;
    ensure_eq!(catalog.renew(&first, LONG).await?, None, "a lease that was given back was renewed");
    ensure_held(&*catalog, &device).await?;
    catalog.release(&second).await?;
    catalog.release(&second).await?;
    taken(&*catalog, &device, LONG).await?;
    Ok(())
}

pub(super) async fn expiry(stage: &Stage<'_>) -> Checked {
    let Some(clock) = stage.clock else { return skip("it goes by no manual clock") };
    let catalog = stage.places.main().await?;
    let device = DeviceId::from("sw1");
    let first = taken(&*catalog, &device, TTL).await?;
    clock.advance(TTL - Duration::from_micros(1));
    ensure_held(&*catalog, &device).await?;
    clock.advance(Duration::from_micros(1));
    let second = taken(&*catalog, &device, TTL).await?;
    ensure!(first.token != second.token, "two holders have one token");
    ensure_eq!(catalog.renew(&first, TTL).await?, None, "a lease that another holds was renewed");
    catalog.release(&first).await?;
    ensure_held(&*catalog, &device).await?;
    clock.advance(TTL * 2);
    taken(&*catalog, &device, Duration::MAX).await?;
    clock.advance(TTL * 1000);
    ensure_held(&*catalog, &device).await
}

pub(super) async fn renewal(stage: &Stage<'_>) -> Checked {
    let catalog = stage.places.main().await?;
    let device = DeviceId::from("sw1");
    let mut lease = taken(&*catalog, &device, TTL).await?;
    for _ in 0..4 {
        if let Some(clock) = stage.clock {
            clock.advance(TTL / 2);
        }
        lease = match catalog.renew(&lease, TTL).await? {
            Some(renewed) => {
                ensure_eq!((&renewed.device, renewed.token), (&device, lease.token), "renewing made another lease");
                ensure!(renewed.expires >= lease.expires, "renewing made the lease shorter");
                renewed
            }
            None => return broken("a lease that was held could not be renewed"),
        };
        ensure_held(&*catalog, &device).await?;
    }
    catalog.release(&lease).await?;
    taken(&*catalog, &device, TTL).await?;
    Ok(())
}
