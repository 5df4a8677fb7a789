//! What was dated while the clock was ahead.

use async_trait::async_trait;
use devicevault_core::Timestamp;

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::micros;
use super::statements;

/// Nothing is dated after this time any more. Of what is dated alike then, identifiers tell the order.
#[derive(Debug)]
pub(super) struct Redate(pub(super) Timestamp);

#[async_trait]
impl Change for Redate {
    type Output = u64;

    fn operation(&self) -> &'static str {
        "date backups"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<u64, Fault> {
        let now = micros(self.0);
        sqlx::query(statements::COPIES_REDATE).bind(now).execute(&mut *tx).await?;
        let backups = sqlx::query(statements::BACKUPS_REDATE).bind(now).execute(&mut *tx).await?.rows_affected();
        let runs = sqlx::query(statements::RUNS_REDATE).bind(now).execute(tx).await?.rows_affected();
        Ok(backups + runs)
    }
}
