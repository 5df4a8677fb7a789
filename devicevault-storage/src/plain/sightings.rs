//! The records of sightings beside the backups: `sightings/2026-11.json`, or `.dvo` where they are sealed.
//!
//! A sealed record that no key at hand opens is replaced by none: it is set aside as `2026-11.EPOCH.dvo`, and read by whoever
//! has its key. What was pinned there is not known anywhere else.

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
use crate::seal::{EpochId, HEADER_LEN, open_record, seal_record};

/// The folder that they lie in.
const FOLDER: &str = "sightings";

fn place(period: &str, sealed: bool) -> Path {
    Path::from_iter([FOLDER, &format!("{period}.{}", if sealed { "dvo" } else { "json" })])
}

/// The month that a record is of, and whether it was set aside.
fn month_of(period: &str) -> Result<(&str, bool)> {
    let (month, aside) = period.split_once('.').map_or((period, None), |(month, epoch)| (month, Some(epoch)));
    check_period(month)?;
    aside.map(str::parse::<EpochId>).transpose().map(|epoch| (month, epoch.is_some()))
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
        if sealed {
            self.set_closed_aside(&record.period, &at).await?;
        }
        let put = self.store.put(&at, Bytes::from(bytes).into()).await;
        put.map(|_| true).map_err(|e| fault::of_store("write sightings", &at, e))
    }

    /// Puts a record that no key at hand opens where it stays.
    async fn set_closed_aside(&self, period: &str, at: &Path) -> Result<()> {
        let fail = |e| fault::of_store("read sightings", at, e);
        match self.store.head(at).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            // What is shorter than a header holds nothing.
            there if there.as_ref().is_ok_and(|meta| meta.size < HEADER_LEN as u64) => return Ok(()),
            there => there.map_err(fail)?,
        };
        let head = self.store.get_range(at, 0..HEADER_LEN as u64).await.map_err(fail)?;
        let Ok(epoch) = super::sealing::epoch_of(&head) else { return Ok(()) };
        match self.have(self.ring(epoch)?, epoch).await {
            Err(e) if e.kind() == ErrorKind::KeyUnavailable => {}
            open => return open,
        }
        let closed = self.store.get(at).await.map_err(fail)?.bytes().await.map_err(fail)?;
        let aside = place(&format!("{period}.{epoch}"), true);
        let put = self.store.put(&aside, closed.into()).await;
        put.map(drop).map_err(|e| fault::of_store("write sightings", &aside, e))
    }

    /// The record of a month, or one that was set aside.
    pub(super) async fn sightings(&self, period: &str) -> Result<Option<Sightings>> {
        let (month, is_aside) = month_of(period)?;
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
            let mut record = Sightings::from_json(&json).map_err(|e| e.with("path", &at))?;
            record.set_aside = is_aside;
            if record.period != month {
                return Err(broken("it is the record of another month"));
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// The months of which there are records, and those that were set aside.
    pub(super) async fn sighting_periods(self: &Arc<Self>) -> Result<Vec<String>> {
        let folder = Path::from(FOLDER);
        let listed: Vec<_> = match self.store.list(Some(&folder)).try_collect().await {
            Err(StoreError::NotFound { .. }) => Vec::new(),
            other => other.map_err(|e| fault::of_store("list sightings", &folder, e))?,
        };
        let period = |at: &Path| at.filename()?.rsplit_once('.').map(|(period, _)| period.to_owned());
        let mut periods: Vec<_> = listed.iter().filter_map(|o| period(&o.location)).collect();
        periods.retain(|p| month_of(p).is_ok());
        periods.sort_unstable();
        periods.dedup();
        Ok(periods)
    }

    /// Seals anew what is sealed under another epoch key: a key that is put away must not be wanted for a month of long ago.
    pub(super) async fn reseal_sightings(self: &Arc<Self>, sealing: &Sealing) -> Result<()> {
        let mut failed = None;
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
            let record = match self.sightings(&period).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                // It was set aside for whoever has its key.
                Err(e) if e.kind() == ErrorKind::KeyUnavailable && month_of(&period).is_ok_and(|(_, aside)| aside) => {
                    continue;
                }
                Err(e) => {
                    failed.get_or_insert(e.with("path", &at));
                    continue;
                }
            };
            let sealed = seal_record(&record.to_json(), sealing.epoch, &sealing.key)?;
            let put = self.store.put(&at, Bytes::from(sealed).into()).await;
            put.map_err(|e| fault::of_store("write sightings", &at, e))?;
        }
        failed.map_or(Ok(()), Err)
    }

    async fn open_small(&self, container: &[u8], max: u64) -> Result<Vec<u8>> {
        let epoch = super::sealing::epoch_of(container)?;
        let ring = self.ring(epoch)?;
        self.have(ring, epoch).await?;
        open_record(container, ring, max).await
    }
}
