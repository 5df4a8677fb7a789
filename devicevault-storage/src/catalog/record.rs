//! What a run did, in one transaction.

use async_trait::async_trait;
use devicevault_core::run::{Backup, Copy, Outcome, Quarantine, Run};
use devicevault_core::{BackupId, DestinationId, Error, ErrorKind, RunId, Timestamp};

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::{json, micros, size, word};
use super::statements;

#[derive(Debug)]
pub(super) struct Record {
    pub(super) run: RunId,
    pub(super) outcomes: Vec<Outcome>,
}

const OPERATION: &str = "record run";

#[async_trait]
impl Change for Record {
    type Output = ();

    fn operation(&self) -> &'static str {
        OPERATION
    }

    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<(), Fault> {
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Backup(backup) => put_backup(tx, backup).await?,
                Outcome::Extended { backup, destinations, seen } => extend(tx, *backup, destinations, *seen).await?,
                Outcome::End(run) => end(tx, self.run, run, context).await?,
                other => {
                    let e = Error::new(ErrorKind::Unsupported, OPERATION, "this catalog does not know such an outcome");
                    return Err(e.with("outcome", json(other)?.chars().take(40).collect::<String>()).into());
                }
            }
        }
        Ok(())
    }
}

async fn put_backup(tx: &mut Connection, backup: &Backup) -> Result<(), Fault> {
    let suspect = if backup.suspect.is_empty() { None } else { Some(json(&backup.suspect)?) };
    sqlx::query(statements::BACKUP_PUT)
        .bind(backup.id.0)
        .bind(backup.run.0)
        .bind(backup.device.0.clone())
        .bind(backup.device_name.clone())
        .bind(backup.artefact.clone())
        .bind(backup.kind.as_str())
        .bind(backup.extension.clone())
        .bind(size(backup.size)?)
        .bind(backup.content.0.to_vec())
        .bind(micros(backup.first_seen))
        .bind(micros(backup.last_seen))
        .bind(suspect)
        .bind(backup.pinned)
        .bind(json(&backup.metadata)?)
        .bind(backup.quarantine.map(Quarantine::as_str))
        .execute(&mut *tx)
        .await?;
    for copy in &backup.copies {
        put_copy(tx, backup.id, copy).await?;
    }
    Ok(())
}

async fn put_copy(tx: &mut Connection, backup: BackupId, copy: &Copy) -> Result<(), Fault> {
    let put = sqlx::query(statements::COPY_PUT)
        .bind(backup.0)
        .bind(copy.destination.0.clone())
        .bind(copy.view.as_str())
        .bind(copy.status.as_str())
        .bind(copy.storage_ref.as_ref().map(|at| at.0.clone()))
        .bind(size(copy.size)?)
        .bind(copy.sha256.0.to_vec())
        .bind(i64::from(copy.attempts))
        .bind(micros(copy.stored_at))
        .bind(micros(copy.last_seen))
        .bind(copy.verified_at.map(micros))
        .bind(copy.error.as_ref().map(json).transpose()?);
    if put.execute(&mut *tx).await?.rows_affected() == 0 {
        seen_at(tx, backup, &copy.destination, copy.last_seen).await?;
    }
    Ok(())
}

/// Times only ever rise: a clock that was set back does not shorten what was seen.
async fn seen_at(tx: &mut Connection, backup: BackupId, at: &DestinationId, seen: Timestamp) -> Result<(), Fault> {
    let copy = sqlx::query(statements::COPY_SEEN).bind(backup.0).bind(at.0.clone()).bind(micros(seen));
    copy.execute(tx).await?;
    Ok(())
}

async fn extend(tx: &mut Connection, id: BackupId, at: &[DestinationId], seen: Timestamp) -> Result<(), Fault> {
    let backup = sqlx::query(statements::BACKUP_SEEN).bind(id.0).bind(micros(seen));
    if backup.execute(&mut *tx).await?.rows_affected() == 0 {
        let gone = "the backup that was seen again is not in the catalog any more";
        return Err(Error::new(ErrorKind::NotFound, OPERATION, gone).with("backup", id).into());
    }
    for destination in at {
        seen_at(tx, id, destination, seen).await?;
    }
    Ok(())
}

async fn end(tx: &mut Connection, of: RunId, run: &Run, context: &Context) -> Result<(), Fault> {
    let wrong = if run.id != of {
        Some("the end of another run was handed in")
    } else if !run.state.is_final() {
        Some("the run that ended is not in a final state")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        return Err(Error::new(ErrorKind::Internal, OPERATION, wrong).with("run", of).with("state", run.state).into());
    }
    let start = &run.start;
    sqlx::query(statements::RUN_END)
        .bind(run.id.0)
        .bind(start.task_id.0)
        .bind(start.task_identifier.clone())
        .bind(i64::from(start.attempt))
        .bind(start.device.0.clone())
        .bind(start.device_name.clone())
        .bind(word(start.triggered_by)?)
        .bind(micros(start.queued_at))
        .bind(micros(start.started_at))
        .bind(run.state.as_str())
        .bind(run.collected_at.map(micros))
        .bind(run.finished_at.map(micros))
        .bind(size(run.size_before)?)
        .bind(size(run.size_after)?)
        .bind(json(&run.artefacts)?)
        .bind(run.error.as_ref().map(json).transpose()?)
        .bind(json(&run.log)?)
        .bind(context.owner())
        .execute(tx)
        .await
        .map_err(|e| {
            let taken = "another run has this task id";
            Fault::from(e).or_unique(|| Error::new(ErrorKind::Conflict, OPERATION, taken).with("task", start.task_id))
        })?;
    Ok(())
}
