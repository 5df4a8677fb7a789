//! The records of sightings beside the backups: `sightings/2026-11.json`, or `.dvo` where they are sealed.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::sightings::{MAX_RECORD, Sightings, check_period};
use devicevault_core::{Error, ErrorKind, Result};
use futures::stream::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _};

use super::Plain;
use super::chain::Form;
use super::sealing::Sealing;
use crate::fault;
use crate::seal::{open_record, seal_record};

/// The folder that they lie in.
const FOLDER: &str = "sightings";

fn place(period: &str, sealed: bool) -> Path {
    Path::from_iter([FOLDER, &format!("{period}.{}", if sealed { "dvo" } else { "json" })])
}

impl Plain {
    /// Puts the record in the place of the one of the same month.
    pub(super) async fn note_sightings(&self, record: &Sightings) -> Result<bool> {
        check_period(&record.period)?;
        self.may_replace().await?;
        let json = record.to_json();
        let form = self.form().await?;
        let (sealed, bytes) = match &form {
            Form::Clear(_) => (false, json),
            Form::Sealed(sealing) => (true, seal_record(&json, sealing.epoch, &sealing.key)?),
        };
        let at = place(&record.period, sealed);
        let put = self.store.put(&at, Bytes::from(bytes).into()).await;
        put.map(|_| true).map_err(|e| fault::of_store("write sightings", &at, e))
    }

    /// The record of a month.
    pub(super) async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        check_period(period)?;
        // Those of before the destination was sealed count where what is clear does.
        for sealed in [true, false] {
            if !sealed && self.refuses_clear().await? {
                continue;
            }
            let at = place(period, sealed);
            let fail = |e| fault::of_store("read sightings", &at, e);
            let got = match self.store.get(&at).await {
                Err(StoreError::NotFound { .. }) => continue,
                got => got.map_err(fail)?,
            };
            let broken = |why: &str| Error::new(ErrorKind::Corrupt, "read sightings", why.to_owned()).with("path", &at);
            if got.meta.size > MAX_RECORD {
                return Err(broken("it is too long to be a record of sightings"));
            }
            let bytes = got.bytes().await.map_err(fail)?;
            let json = if sealed { self.open_small(&bytes, MAX_RECORD).await?.into() } else { bytes };
            let record = Sightings::from_json(&json).map_err(|e| e.with("path", &at))?;
            if record.period != period {
                return Err(broken("it is the record of another month"));
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// The months of which there are records.
    pub(super) async fn sighting_periods(self: &Arc<Self>) -> Result<Vec<String>> {
        let folder = Path::from(FOLDER);
        let listed: Vec<_> = match self.store.list(Some(&folder)).try_collect().await {
            Err(StoreError::NotFound { .. }) => Vec::new(),
            other => other.map_err(|e| fault::of_store("list sightings", &folder, e))?,
        };
        let period = |at: &Path| at.filename()?.split('.').next().map(str::to_owned);
        let mut periods: Vec<_> = listed.iter().filter_map(|o| period(&o.location)).collect();
        periods.retain(|p| check_period(p).is_ok());
        periods.sort_unstable();
        periods.dedup();
        Ok(periods)
    }

    /// Seals anew what is sealed under another epoch key: a key that is put away must not be wanted for a month of long ago.
    pub(super) async fn reseal_sightings(self: &Arc<Self>, sealing: &Sealing) -> Result<()> {
        for period in self.sighting_periods().await? {
            let at = place(&period, true);
            let container = match self.store.get(&at).await {
                Err(StoreError::NotFound { .. }) => continue,
                got => got.map_err(|e| fault::of_store("read sightings", &at, e))?,
            };
            if container.meta.size > MAX_RECORD {
                continue;
            }
            let bytes = container.bytes().await.map_err(|e| fault::of_store("read sightings", &at, e))?;
            if super::sealing::epoch_of(&bytes)? == sealing.epoch {
                continue;
            }
            let record = self.sightings(&period).await.map_err(|e| e.with("path", &at))?;
            let Some(record) = record else { continue };
            let sealed = seal_record(&record.to_json(), sealing.epoch, &sealing.key)?;
            let put = self.store.put(&at, Bytes::from(sealed).into()).await;
            put.map_err(|e| fault::of_store("write sightings", &at, e))?;
        }
        Ok(())
    }

    async fn open_small(&self, container: &[u8], max: u64) -> Result<Vec<u8>> {
        let epoch = super::sealing::epoch_of(container)?;
        let ring = self.ring(epoch)?;
        self.have(ring, epoch).await?;
        open_record(container, ring, max).await
    }
}
