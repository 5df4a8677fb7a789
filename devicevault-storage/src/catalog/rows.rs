//! Rows and the data that they are.

use devicevault_core::clock::to_micros;
use devicevault_core::run::{Backup, Copy, NewRun, Run};
use devicevault_core::{BackupId, Digest, Error, ErrorKind, RunId, StorageRef, TaskId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use uuid::Uuid;

use super::db::{Fault, Row};

type Read<T> = Result<T, Fault>;

/// Microseconds since 1970, the resolution of records. A time may be up to a second later than the last one that
/// reads back.
pub(super) fn micros(at: Timestamp) -> i64 {
    to_micros(at).as_microsecond().min(Timestamp::MAX.as_second() * 1_000_000)
}

pub(super) fn time(micros: i64) -> Read<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|e| corrupt("a time is beyond what a time can be").because(e).into())
}

/// A size as the database keeps it.
pub(super) fn size(bytes: u64) -> Read<i64> {
    i64::try_from(bytes).map_err(|e| {
        let what = "a size is beyond what the catalog can hold";
        Error::new(ErrorKind::TooLarge, "write catalog", what).with("bytes", bytes).because(e).into()
    })
}

pub(super) fn json<T: Serialize>(value: &T) -> Read<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "write catalog", "a record does not serialise").because(e).into())
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Read<T> {
    serde_json::from_str(text).map_err(|e| corrupt("a record does not read back").because(e).into())
}

/// The name that records and JSON use for a value of an enum.
pub(super) fn word<T: Serialize>(value: T) -> Read<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(Error::new(ErrorKind::Internal, "write catalog", "a name does not serialise as one").into()),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Read<T> {
    let unknown = |e| {
        let e = corrupt("a record holds a name that this release does not know").because(e);
        Fault::from(e.hint("upgrade this program"))
    };
    serde_json::from_value(serde_json::Value::String(word)).map_err(unknown)
}

fn corrupt(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read catalog", what)
}

fn unsigned<T: TryFrom<i64>>(value: i64) -> Read<T> {
    T::try_from(value).map_err(|_| corrupt("a number is negative or too large").with("number", value).into())
}

fn digest(bytes: Vec<u8>) -> Read<Digest> {
    let wrong = |b: Vec<u8>| corrupt("a digest has not 32 bytes").with("bytes", b.len());
    bytes.try_into().map(Digest).map_err(|b| wrong(b).into())
}

/// A row of [`BACKUP_COLUMNS`](super::statements::BACKUP_COLUMNS).
pub(super) fn backup(row: &Row) -> Read<Backup> {
    let id = BackupId(row.try_get("id")?);
    let run = RunId(row.try_get("run")?);
    let content = digest(row.try_get("content")?)?;
    let device: String = row.try_get("device")?;
    let artefact: String = row.try_get("artefact")?;
    let mut backup = Backup::new(id, run, device.into(), artefact, content, time(row.try_get("first_seen")?)?);
    backup.device_name = row.try_get("device_name")?;
    backup.kind = from_word(row.try_get("kind")?)?;
    backup.extension = row.try_get("extension")?;
    backup.size = unsigned(row.try_get("size")?)?;
    backup.last_seen = time(row.try_get("last_seen")?)?;
    backup.suspect = row.try_get::<Option<&str>, _>("suspect")?.map_or(Ok(Vec::new()), from_json)?;
    backup.quarantine = row.try_get::<Option<String>, _>("quarantine")?.map(from_word).transpose()?;
    backup.pinned = row.try_get("pinned")?;
    backup.metadata = from_json(row.try_get("metadata")?)?;
    Ok(backup)
}

/// The columns of [`COPY_COLUMNS`](super::statements::COPY_COLUMNS) in a row; `None` where a backup has no copy.
pub(super) fn copy(row: &Row) -> Read<Option<Copy>> {
    let Some(destination) = row.try_get::<Option<String>, _>("c_destination")? else { return Ok(None) };
    let view = from_word(row.try_get("c_view")?)?;
    let sha256 = digest(row.try_get("c_sha256")?)?;
    let size = unsigned(row.try_get("c_size")?)?;
    let mut copy = Copy::new(destination.into(), view, size, sha256, time(row.try_get("c_stored_at")?)?);
    copy.status = from_word(row.try_get("c_status")?)?;
    copy.storage_ref = row.try_get::<Option<String>, _>("c_storage_ref")?.map(StorageRef);
    copy.attempts = unsigned(row.try_get("c_attempts")?)?;
    copy.last_seen = time(row.try_get("c_last_seen")?)?;
    copy.verified_at = row.try_get::<Option<i64>, _>("c_verified_at")?.map(time).transpose()?;
    copy.error = row.try_get::<Option<&str>, _>("c_error")?.map(from_json).transpose()?;
    Ok(Some(copy))
}

/// Rows of backups joined with their copies, those of one backup in a row.
pub(super) fn backups(rows: &[Row]) -> Read<Vec<Backup>> {
    let mut out: Vec<Backup> = Vec::new();
    for row in rows {
        let id: Uuid = row.try_get("id")?;
        if out.last().is_none_or(|b| b.id.0 != id) {
            out.push(backup(row)?);
        }
        if let (Some(backup), Some(copy)) = (out.last_mut(), copy(row)?) {
            backup.copies.push(copy);
        }
    }
    Ok(out)
}

/// A row of [`RUN_COLUMNS`](super::statements::RUN_COLUMNS).
pub(super) fn run(row: &Row) -> Read<Run> {
    let device: String = row.try_get("device")?;
    let device_name: String = row.try_get("device_name")?;
    let triggered_by = from_word(row.try_get("triggered_by")?)?;
    let mut start = NewRun::new(device.into(), device_name, triggered_by, time(row.try_get("started_at")?)?);
    start.task_id = TaskId(row.try_get("task_id")?);
    start.task_identifier = row.try_get("task_identifier")?;
    start.attempt = unsigned(row.try_get("attempt")?)?;
    start.queued_at = time(row.try_get("queued_at")?)?;
    let mut run = Run::begun(RunId(row.try_get("id")?), start);
    run.state = from_word(row.try_get("state")?)?;
    run.collected_at = row.try_get::<Option<i64>, _>("collected_at")?.map(time).transpose()?;
    run.finished_at = row.try_get::<Option<i64>, _>("finished_at")?.map(time).transpose()?;
    run.size_before = unsigned(row.try_get("size_before")?)?;
    run.size_after = unsigned(row.try_get("size_after")?)?;
    run.artefacts = from_json(row.try_get("artefacts")?)?;
    run.error = row.try_get::<Option<&str>, _>("error")?.map(from_json).transpose()?;
    run.log = from_json(row.try_get("log")?)?;
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_at_both_ends() {
        for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            assert_eq!(time(micros(at)).unwrap().as_second(), at.as_second());
        }
        assert!(time(i64::MAX).is_err() && time(i64::MIN).is_err());
    }

    #[test]
    fn numbers_and_digests_out_of_bounds_are_told() {
        assert!(size(u64::MAX).is_err());
        assert_eq!(size(i64::MAX as u64).unwrap(), i64::MAX);
        assert!(unsigned::<u32>(-1).is_err() && unsigned::<u32>(1 << 32).is_err());
        assert!(digest(vec![0; 31]).is_err() && digest(vec![0; 33]).is_err());
        assert!(from_word::<devicevault_core::View>("backwards".to_owned()).is_err());
    }
}
