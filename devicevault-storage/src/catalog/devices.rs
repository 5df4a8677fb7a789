//! Devices and destinations that are added, changed or removed.

use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{DestinationId, Device, DeviceId, Error, ErrorKind, check_device_name};

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::json;
use super::statements;

#[derive(Debug)]
pub(super) struct PutDevices(pub(super) Arc<[Device]>);

#[async_trait]
impl Change for PutDevices {
    type Output = ();

    fn operation(&self) -> &'static str {
        "store devices"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        for device in self.0.iter() {
            check_device_name(&device.name)?;
        }
        // Out with all, then in with all: two devices may swap their names.
        for device in self.0.iter() {
            sqlx::query(statements::DEVICE_REMOVE).bind(device.id.0.clone()).execute(&mut *tx).await?;
        }
        for device in self.0.iter() {
            let put = sqlx::query(statements::DEVICE_PUT)
                .bind(device.id.0.clone())
                .bind(device.name.clone())
                .bind(device.platform.clone())
                .bind(device.site.clone())
                .bind(device.group.clone())
                .bind(device.enabled)
                .bind(json(device)?);
            let taken = || name_taken(self.operation(), "another device has this name", &device.name);
            put.execute(&mut *tx).await.map_err(|e| Fault::from(e).or_unique(taken))?;
        }
        Ok(())
    }
}

fn name_taken(operation: &'static str, what: &'static str, name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, operation, what)
        .with("name", name.escape_debug())
        .hint("give it another name, or change the one that is there")
}

#[derive(Debug)]
pub(super) struct RemoveDevice(pub(super) DeviceId);

#[async_trait]
impl Change for RemoveDevice {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "remove device"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let removed = sqlx::query(statements::DEVICE_REMOVE).bind(self.0.0.clone()).execute(tx).await?;
        Ok(removed.rows_affected() > 0)
    }
}

#[derive(Debug)]
pub(super) struct PutDestination(pub(super) DestinationConfig);

#[async_trait]
impl Change for PutDestination {
    type Output = ();

    fn operation(&self) -> &'static str {
        "store destination"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        let DestinationConfig { id, name, .. } = &self.0;
        let put = sqlx::query(statements::DESTINATION_PUT).bind(id.0.clone()).bind(name.clone()).bind(json(&self.0)?);
        let taken = || name_taken(self.operation(), "another destination has this name", name);
        put.execute(tx).await.map_err(|e| Fault::from(e).or_unique(taken))?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct RemoveDestination(pub(super) DestinationId);

#[async_trait]
impl Change for RemoveDestination {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "remove destination"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let removed = sqlx::query(statements::DESTINATION_REMOVE).bind(self.0.0.clone()).execute(tx).await?;
        Ok(removed.rows_affected() > 0)
    }
}
