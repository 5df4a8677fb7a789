//! What is asked of the catalog.

use devicevault_core::catalog::{Latest, Page, Paged, PendingCopy, Query, RunQuery};
use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::run::{Backup, Run};
use devicevault_core::{BackupId, Device, RunId};
use sqlx::Row as _;
use uuid::Uuid;

use super::db::{Connection, Fault, Row};
use super::paging::{Cursor, MAX_PAGE};
use super::rows::{self, from_json, micros};
use super::{select, statements};

/// Up to so many names are looked up one by one; more are picked from the whole list.
const NAMES_LOOKED_UP: usize = 256;

/// Keeps what fits a page and says where the next one begins. One row more than the limit was asked for.
fn paged<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Paged<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| cursor(last).encode());
    Paged { items, next }
}

fn bounds(page: &Page) -> Result<(u32, Option<Cursor>), Fault> {
    let after = page.after.as_deref().map(Cursor::decode).transpose()?;
    Ok((page.limit.min(MAX_PAGE), after))
}

pub(super) async fn find(db: &mut Connection, query: &Query, page: &Page) -> Result<Paged<Backup>, Fault> {
    let (limit, after) = bounds(page)?;
    let rows = select::backups(query, after, i64::from(limit) + 1).build().fetch_all(db).await?;
    Ok(paged(rows::backups(&rows)?, limit, |b| Cursor { micros: micros(b.first_seen), id: b.id.0 }))
}

pub(super) async fn runs(db: &mut Connection, query: &RunQuery, page: &Page) -> Result<Paged<Run>, Fault> {
    let (limit, after) = bounds(page)?;
    let rows = select::runs(query, after, i64::from(limit) + 1).build().fetch_all(db).await?;
    let runs = rows.iter().map(rows::run).collect::<Result<Vec<_>, _>>()?;
    Ok(paged(runs, limit, |r| Cursor { micros: micros(r.start.started_at), id: r.id.0 }))
}

pub(super) async fn latest(db: &mut Connection, device: &str, artefact: &str) -> Result<Latest, Fault> {
    let rows = select::latest(device, artefact).build().fetch_all(db).await?;
    let (suspects, references): (Vec<_>, Vec<_>) =
        rows::backups(&rows)?.into_iter().partition(|b| !b.suspect.is_empty());
    let reference = references.into_iter().next();
    let newer = |s: &Backup| reference.as_ref().is_none_or(|r| (s.first_seen, s.id) > (r.first_seen, r.id));
    let suspect = suspects.into_iter().next().filter(newer);
    Ok(Latest::new(reference, suspect))
}

pub(super) async fn pending(db: &mut Connection) -> Result<Vec<PendingCopy>, Fault> {
    let rows = sqlx::query(statements::PENDING).fetch_all(db).await?;
    let read = |row: &Row| -> Result<_, Fault> {
        let attempts: i64 = row.try_get("attempts")?;
        let (backup, run): (Uuid, Uuid) = (row.try_get("backup")?, row.try_get("run")?);
        let destination: String = row.try_get("destination")?;
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        Ok(PendingCopy::new(BackupId(backup), RunId(run), destination.into(), attempts))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn devices(db: &mut Connection, selector: &Selector) -> Result<Vec<Device>, Fault> {
    let mut details: Vec<String> = Vec::new();
    if selector.names.is_empty() || selector.names.len() > NAMES_LOOKED_UP {
        details = select::devices(selector).build_query_scalar().fetch_all(db).await?;
    } else {
        for name in &selector.names {
            let detail = sqlx::query_scalar(statements::DEVICE_NAMED).bind(name.clone());
            details.extend(detail.fetch_optional(&mut *db).await?);
        }
    }
    let mut devices = Vec::with_capacity(details.len());
    for detail in &details {
        let device: Device = from_json(detail)?;
        if selector.matches(&device) {
            devices.push(device);
        }
    }
    devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(devices)
}

pub(super) async fn destinations(db: &mut Connection) -> Result<Vec<DestinationConfig>, Fault> {
    let details: Vec<String> = sqlx::query_scalar(statements::DESTINATIONS).fetch_all(db).await?;
    let mut all: Vec<DestinationConfig> = details.iter().map(|d| from_json(d)).collect::<Result<_, _>>()?;
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub(super) async fn credentials(db: &mut Connection) -> Result<Vec<Credential>, Fault> {
    let rows = sqlx::query(statements::CREDENTIALS).fetch_all(db).await?;
    let read = |row: &Row| -> Result<_, Fault> {
        let mut credential: Credential = from_json(row.try_get("detail")?)?;
        credential.sealed = row.try_get("sealed")?;
        Ok(credential)
    };
    let mut all: Vec<Credential> = rows.iter().map(read).collect::<Result<_, _>>()?;
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub(super) async fn policies(db: &mut Connection) -> Result<Vec<Policy>, Fault> {
    let details: Vec<String> = sqlx::query_scalar(statements::POLICIES).fetch_all(db).await?;
    let mut all: Vec<Policy> = details.iter().map(|d| from_json(d)).collect::<Result<_, _>>()?;
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
