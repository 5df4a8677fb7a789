//! What is stored, added up by the database: as floating point, since a sum of integers that runs over is an error. Bytes are
//! exact up to nine petabytes.

use devicevault_core::statistics::{Amount, Collected, DAY, Statistics, StatisticsQuery, Tally};
use devicevault_core::{DestinationId, DeviceId};
use sqlx::{QueryBuilder, Row as _};

use super::db::{Connection, Db, Fault, Row};
use super::rows::micros;

/// Copies that take room.
const THERE: &str = "c.status IN ('stored', 'extended', 'damaged', 'marked')";

fn amount(row: &Row) -> Result<Amount, Fault> {
    let (copies, bytes): (i64, i64) = (row.try_get("copies")?, row.try_get("bytes")?);
    Ok(Amount { copies: unsigned(copies), content_bytes: unsigned(bytes) })
}

/// Sums of what is never negative.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

/// Adds up.
pub(super) async fn statistics(db: &mut Connection, wanted: &StatisticsQuery) -> Result<Statistics, Fault> {
    let mut statistics = Statistics::default();
    statistics.tallies = tallies(db, wanted).await?;
    if let Some(since) = wanted.days_since {
        let mut sql = QueryBuilder::<Db>::new(format!(
            "SELECT c.destination, c.stored_at / {DAY} AS day, count(*) AS copies, \
             CAST(coalesce(sum(c.size * 1.0), 0) AS BIGINT) AS bytes FROM copies c"
        ));
        narrow(&mut sql, wanted);
        sql.push(" AND c.stored_at >= ").push_bind(micros(since)).push(" GROUP BY 1, 2");
        for row in sql.build().fetch_all(&mut *db).await? {
            let destination: String = row.try_get("destination")?;
            statistics.days.insert((row.try_get("day")?, destination.into()), amount(&row)?);
        }
    }
    if wanted.runs {
        statistics.collected = Some(collected(db, wanted).await?);
    }
    Ok(statistics)
}

async fn tallies(db: &mut Connection, wanted: &StatisticsQuery) -> Result<Vec<Tally>, Fault> {
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT b.device, max(b.device_name) AS device_name, c.destination, count(*) AS copies, \
         CAST(coalesce(sum(c.size * 1.0), 0) AS BIGINT) AS bytes FROM copies c CROSS JOIN backups b",
    );
    narrow(&mut sql, wanted);
    sql.push(" AND b.id = c.backup GROUP BY b.device, c.destination ORDER BY b.device, c.destination");
    let mut all = Vec::new();
    for row in sql.build().fetch_all(db).await? {
        let (device, destination): (String, String) = (row.try_get("device")?, row.try_get("destination")?);
        all.push(Tally {
            device: DeviceId(device),
            device_name: row.try_get("device_name")?,
            destination: DestinationId(destination),
            amount: amount(&row)?,
        });
    }
    Ok(all)
}

/// The copies that are meant. Those of a device are found by its backups.
fn narrow(sql: &mut QueryBuilder<Db>, wanted: &StatisticsQuery) {
    sql.push(format_args!(" WHERE {THERE}"));
    if let Some(destination) = &wanted.destination {
        sql.push(" AND c.destination = ").push_bind(destination.0.clone());
    }
    if let Some(device) = &wanted.device {
        sql.push(" AND c.backup IN (SELECT d.id FROM backups d WHERE d.device = ")
            .push_bind(device.0.clone())
            .push(")");
    }
    if let Some(name) = &wanted.device_name {
        sql.push(" AND c.backup IN (SELECT n.id FROM backups n WHERE n.device_name = ")
            .push_bind(name.clone())
            .push(")");
    }
}

async fn collected(db: &mut Connection, wanted: &StatisticsQuery) -> Result<Collected, Fault> {
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT count(*) AS copies, CAST(coalesce(sum(size_before * 1.0), 0) AS BIGINT) AS bytes FROM runs \
         WHERE state NOT IN ('queued', 'collecting', 'storing')",
    );
    let of_device = |sql: &mut QueryBuilder<Db>| {
        if let Some(device) = &wanted.device {
            sql.push(" AND device = ").push_bind(device.0.clone());
        }
        if let Some(name) = &wanted.device_name {
            sql.push(" AND device_name = ").push_bind(name.clone());
        }
    };
    of_device(&mut sql);
    let runs = amount(&sql.build().fetch_one(&mut *db).await?)?;
    let mut sql = QueryBuilder::<Db>::new(
        "SELECT count(*) AS copies, CAST(coalesce(sum(size * 1.0), 0) AS BIGINT) AS bytes FROM backups \
         WHERE EXISTS (SELECT 1 FROM runs r WHERE r.id = backups.run)",
    );
    of_device(&mut sql);
    let new = amount(&sql.build().fetch_one(&mut *db).await?)?;
    Ok(Collected { runs: runs.copies, bytes: runs.content_bytes, new_bytes: new.content_bytes })
}
