//! Leases: one run per device at a time.

use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::catalog::Lease;
use devicevault_core::{DeviceId, Timestamp};
use uuid::Uuid;

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::{micros, time};
use super::statements;

/// When a lease taken now ends; one without a foreseeable end lasts as long as a time can be written.
fn expiry(now: Timestamp, ttl: Duration) -> i64 {
    now.checked_add(ttl).map_or(micros(Timestamp::MAX), micros)
}

#[derive(Debug)]
pub(super) struct TakeLease {
    pub(super) device: DeviceId,
    pub(super) token: Uuid,
    pub(super) ttl: Duration,
}

#[async_trait]
impl Change for TakeLease {
    type Output = Option<Lease>;

    fn operation(&self) -> &'static str {
        "take lease"
    }

    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<Option<Lease>, Fault> {
        let now = context.now();
        let expires = expiry(now, self.ttl);
        let granted = Some(Lease::new(self.device.clone(), self.token, time(expires)?));
        let free = sqlx::query(statements::LEASE_TAKE)
            .bind(self.device.0.clone())
            .bind(self.token)
            .bind(context.owner())
            .bind(expires)
            .bind(micros(now));
        if free.fetch_optional(&mut *tx).await?.is_some() {
            return Ok(granted);
        }
        // Somebody has it. The transaction holds the write lock since it began: nobody else can take it meanwhile.
        let holder = sqlx::query_scalar(statements::LEASE_OWNER).bind(self.device.0.clone());
        let holder: Uuid = holder.fetch_one(&mut *tx).await?;
        if !context.is_dead(holder) {
            return Ok(None);
        }
        sqlx::query(statements::LEASE_TAKE_OVER)
            .bind(self.device.0.clone())
            .bind(self.token)
            .bind(context.owner())
            .bind(expires)
            .bind(holder)
            .execute(tx)
            .await?;
        tracing::info!(device = %self.device, "lease taken over: the process that held it has ended");
        Ok(granted)
    }
}

#[derive(Debug)]
pub(super) struct RenewLease {
    pub(super) lease: Lease,
    pub(super) ttl: Duration,
}

#[async_trait]
impl Change for RenewLease {
    type Output = Option<Lease>;

    fn operation(&self) -> &'static str {
        "renew lease"
    }

    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<Option<Lease>, Fault> {
        let expires = expiry(context.now(), self.ttl);
        let Lease { device, token, .. } = &self.lease;
        let renew = sqlx::query(statements::LEASE_RENEW).bind(device.0.clone()).bind(*token).bind(expires);
        let kept = renew.execute(tx).await?.rows_affected() > 0;
        Ok(if kept { Some(Lease::new(device.clone(), *token, time(expires)?)) } else { None })
    }
}

#[derive(Debug)]
pub(super) struct ReleaseLease(pub(super) Lease);

#[async_trait]
impl Change for ReleaseLease {
    type Output = ();

    fn operation(&self) -> &'static str {
        "release lease"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        let release = sqlx::query(statements::LEASE_RELEASE).bind(self.0.device.0.clone()).bind(self.0.token);
        release.execute(tx).await?;
        Ok(())
    }
}
