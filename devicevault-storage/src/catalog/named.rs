//! Credentials and policies that are added, changed or removed: each goes by its name.

use async_trait::async_trait;
use devicevault_core::inventory::{Credential, Policy};

use super::change::Change;
use super::db::{Connection, Context, Fault};
use super::rows::json;
use super::statements;

#[derive(Debug)]
pub(super) struct PutCredential(pub(super) Credential);

#[async_trait]
impl Change for PutCredential {
    type Output = ();

    fn operation(&self) -> &'static str {
        "store credential"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        let Credential { name, sealed, .. } = &self.0;
        let put = sqlx::query(statements::CREDENTIAL_PUT).bind(name.clone()).bind(json(&self.0)?).bind(sealed.clone());
        put.execute(tx).await?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct RemoveCredential(pub(super) String);

#[async_trait]
impl Change for RemoveCredential {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "remove credential"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let removed = sqlx::query(statements::CREDENTIAL_REMOVE).bind(self.0.clone()).execute(tx).await?;
        Ok(removed.rows_affected() > 0)
    }
}

#[derive(Debug)]
pub(super) struct PutPolicy(pub(super) Policy);

#[async_trait]
impl Change for PutPolicy {
    type Output = ();

    fn operation(&self) -> &'static str {
        "store policy"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<(), Fault> {
        let put = sqlx::query(statements::POLICY_PUT).bind(self.0.name.clone()).bind(json(&self.0)?);
        put.execute(tx).await?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct RemovePolicy(pub(super) String);

#[async_trait]
impl Change for RemovePolicy {
    type Output = bool;

    fn operation(&self) -> &'static str {
        "remove policy"
    }

    async fn apply(&self, tx: &mut Connection, _context: &Context) -> Result<bool, Fault> {
        let removed = sqlx::query(statements::POLICY_REMOVE).bind(self.0.clone()).execute(tx).await?;
        Ok(removed.rows_affected() > 0)
    }
}
