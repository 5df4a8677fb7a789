//! Looks whether the file is whole and can be used.

use devicevault_core::Result;
use devicevault_core::storage::Health;
use sqlx::{Row as _, SqliteConnection};

use super::SqliteCatalog;
use super::fault::Fault;
use super::file::is_private;
use super::migrate;
use crate::catalog::runs::CloseInterrupted;

/// So many of what is wrong are told.
const TOLD: usize = 20;

impl SqliteCatalog {
    /// Checks the file: every page and index, references between records, who may read it, and that it takes changes.
    ///
    /// Reads the whole file; others go on meanwhile.
    ///
    /// # Errors
    /// Only when the check itself could not be made; what is wrong with the catalog is a probe that is not good.
    pub async fn check(&self) -> Result<Health> {
        let mut health = Health::default();
        let found = self.read("check catalog", async |db: &mut SqliteConnection| look(db).await).await?;
        let (schema, pages, references) = found;
        let detail = format!("schema {}, readable by {} and newer", schema.schema, schema.readable_by);
        health.push("schema", true, detail);
        let good = pages == ["ok"];
        health.push(
            "integrity",
            good,
            if good { "every page and index is sound".to_owned() } else { pages.join("; ") },
        );
        let detail = if references.is_empty() {
            "every record refers to one that is there".to_owned()
        } else {
            references.join("; ")
        };
        health.push("references", references.is_empty(), detail);
        let private = is_private(self.path()).unwrap_or(false);
        let detail = if private { "for the owner alone" } else { "others than the owner may read or write the file" };
        health.push("permissions", private, detail);
        match self.make(CloseInterrupted).await {
            Ok(_) => health.push("changes", true, "accepted"),
            Err(e) => health.push("changes", false, e.to_record().message),
        }
        Ok(health)
    }
}

async fn look(db: &mut SqliteConnection) -> Result<(migrate::Schema, Vec<String>, Vec<String>), Fault> {
    let schema = migrate::current(db).await?;
    let pages: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(&mut *db).await?;
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(db).await?;
    let tell = |row: &sqlx::sqlite::SqliteRow| -> Result<String, sqlx::Error> {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        Ok(format!("a record of {table} refers to one of {parent} that is not there"))
    };
    let references = broken.iter().take(TOLD).map(tell).collect::<Result<_, _>>()?;
    Ok((schema, pages, references))
}
