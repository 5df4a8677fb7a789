//! Copies that were verified, are about to be deleted, or are gone.

use async_trait::async_trait;
use devicevault_core::catalog::CopyKey;
use devicevault_core::{BackupId, DestinationId, Error, ErrorKind, ErrorRecord, StorageRef, Timestamp};
use uuid::Uuid;

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::{json, micros};
use super::statements;

#[derive(Debug)]
pub(super) struct NoteVerification {
    pub(super) at: CopyKey,
    pub(super) found: Result<Timestamp, ErrorRecord>,
}

#[async_trait]
impl Change for NoteVerification {
    type Output = ();

    fn operation(&self) -> &'static str {
        "record verification"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        let CopyKey { backup, destination } = &self.at;
        let note = match &self.found {
            Ok(at) => sqlx::query(statements::COPY_GOOD).bind(backup.0).bind(destination.0.clone()).bind(micros(*at)),
            Err(e) => sqlx::query(statements::COPY_DAMAGED).bind(backup.0).bind(destination.0.clone()).bind(json(e)?),
        };
        if note.execute(tx).await?.rows_affected() == 0 {
            let e = Error::new(ErrorKind::NotFound, self.operation(), "the catalog knows no such copy");
            return Err(e.with("backup", backup).with("destination", destination).into());
        }
        Ok(())
    }
}

/// A backup that retention is to leave, or no longer.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) backup: BackupId,
    pub(super) pinned: bool,
}

#[async_trait]
impl Change for Pin {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "pin backup"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let pin = sqlx::query(statements::BACKUP_PIN).bind(self.backup.0).bind(self.pinned);
        Ok(pin.execute(tx).await?.rows_affected() > 0)
    }
}

/// A backup that a person says is good.
#[derive(Debug)]
pub(super) struct Accept(pub(super) BackupId);

#[async_trait]
impl Change for Accept {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "accept backup"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let accept = sqlx::query(statements::BACKUP_ACCEPT).bind(self.0.0);
        Ok(accept.execute(tx).await?.rows_affected() > 0)
    }
}

/// First step of a deletion; a reference that is not known is no error.
#[derive(Debug)]
pub(super) struct MarkCopies {
    pub(super) destination: DestinationId,
    pub(super) refs: Vec<StorageRef>,
}

#[async_trait]
impl Change for MarkCopies {
    type Output = ();

    fn operation(&self) -> &'static str {
        "mark copies"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        for at in &self.refs {
            let mark = sqlx::query(statements::COPIES_MARK).bind(self.destination.0.clone()).bind(at.0.clone());
            mark.execute(&mut *tx).await?;
        }
        Ok(())
    }
}

/// Second step of a deletion; a reference that is not known is no error.
#[derive(Debug)]
pub(super) struct ForgetCopies {
    pub(super) destination: DestinationId,
    pub(super) refs: Vec<StorageRef>,
}

#[async_trait]
impl Change for ForgetCopies {
    type Output = ();

    fn operation(&self) -> &'static str {
        "forget copies"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        for at in &self.refs {
            let forget =
                sqlx::query_scalar(statements::COPIES_FORGET).bind(self.destination.0.clone()).bind(at.0.clone());
            let backups: Vec<Uuid> = forget.fetch_all(&mut *tx).await?;
            for backup in backups {
                sqlx::query(statements::BACKUP_WITHOUT_COPIES).bind(backup).execute(&mut *tx).await?;
            }
        }
        Ok(())
    }
}
