//! Runs that begin, move on, and are closed when their process has died.

use async_trait::async_trait;
use devicevault_core::run::{NewRun, RunState};
use devicevault_core::{Error, ErrorKind, ErrorRecord, RunId};
use sqlx::Row as _;
use uuid::Uuid;

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::{json, micros, word};
use super::statements;

#[derive(Debug)]
pub(super) struct BeginRun {
    pub(super) id: RunId,
    pub(super) run: NewRun,
}

#[async_trait]
impl Change for BeginRun {
    type Output = RunId;

    fn operation(&self) -> &'static str {
        "begin run"
    }

    fn is_one_statement(&self) -> bool {
        true
    }

    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<RunId, Fault> {
        let run = &self.run;
        let begun = sqlx::query(statements::RUN_BEGIN)
            .bind(self.id.0)
            .bind(run.task_id.0)
            .bind(run.task_identifier.clone())
            .bind(i64::from(run.attempt))
            .bind(run.device.0.clone())
            .bind(run.device_name.clone())
            .bind(word(run.triggered_by)?)
            .bind(micros(run.queued_at))
            .bind(micros(run.started_at))
            .bind(RunState::Collecting.as_str())
            .bind(context.owner())
            .execute(&mut *tx)
            .await?;
        if begun.rows_affected() > 0 {
            return Ok(self.id);
        }
        // The task is known. One whose process died, and that was handed on, belongs to this process now.
        let row = sqlx::query(statements::RUN_OF_TASK).bind(run.task_id.0).fetch_one(&mut *tx).await?;
        let (id, owner): (Uuid, Uuid) = (row.try_get("id")?, row.try_get("owner")?);
        if context.is_dead(owner) {
            sqlx::query(statements::RUN_ADOPT).bind(id).bind(context.owner()).execute(tx).await?;
        }
        Ok(RunId(id))
    }
}

#[derive(Debug)]
pub(super) struct AdvanceRun {
    pub(super) run: RunId,
    pub(super) state: RunState,
}

#[async_trait]
impl Change for AdvanceRun {
    type Output = ();

    fn operation(&self) -> &'static str {
        "advance run"
    }

    fn is_one_statement(&self) -> bool {
        true
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        if self.state.is_final() {
            let e = Error::new(ErrorKind::Internal, self.operation(), "the end of a run is recorded with its outcomes");
            return Err(e.with("run", self.run).with("state", self.state).into());
        }
        let advance = sqlx::query(statements::RUN_ADVANCE).bind(self.run.0).bind(self.state.as_str());
        if advance.execute(&mut *tx).await?.rows_affected() == 0 {
            // A run that is over stays so; one that is not there is an error.
            let known = sqlx::query(statements::RUN_EXISTS).bind(self.run.0).fetch_optional(tx).await?;
            known.ok_or_else(|| no_such_run(self.operation(), self.run))?;
        }
        Ok(())
    }
}

pub(super) fn no_such_run(operation: &'static str, run: RunId) -> Error {
    Error::new(ErrorKind::NotFound, operation, "no run has this identifier").with("run", run)
}

/// Closes the runs of processes that died, and frees their leases.
#[derive(Debug)]
pub(super) struct CloseInterrupted;

#[async_trait]
impl Change for CloseInterrupted {
    /// How many runs were closed.
    type Output = u64;

    fn operation(&self) -> &'static str {
        "close interrupted runs"
    }

    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<u64, Fault> {
        let error = ErrorRecord {
            kind: ErrorKind::Cancelled,
            message: "interrupted: the process that ran it ended".to_owned(),
            hint: None,
        };
        let (error, now) = (json(&error)?, micros(context.now()));
        let owners: Vec<Uuid> = sqlx::query_scalar(statements::OWNERS).fetch_all(&mut *tx).await?;
        let mut closed = 0;
        for dead in owners.into_iter().filter(|owner| context.is_dead(*owner)) {
            let close = sqlx::query(statements::RUNS_INTERRUPTED).bind(dead).bind(now).bind(error.clone());
            closed += close.execute(&mut *tx).await?.rows_affected();
            sqlx::query(statements::LEASES_OF_THE_DEAD).bind(dead).execute(&mut *tx).await?;
        }
        if closed > 0 {
            tracing::warn!(runs = closed, "runs closed as failed: the processes that ran them have ended");
        }
        Ok(closed)
    }
}
