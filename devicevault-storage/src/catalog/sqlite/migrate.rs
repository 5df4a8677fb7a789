//! The schema, and how an older one becomes it.
//!
//! Two numbers stand in the file. `schema` counts the migrations it has had; `readable_by` is the oldest schema whose
//! programs still read and write it rightly. A migration expands first; what the release before needs is taken away
//! a release later, by a migration that raises `readable_by`.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use devicevault_core::{Clock, Error, ErrorKind, Timestamp};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::fault::Fault;
use super::file::{APPLICATION_ID, Place, at_path, create_private, flush_folder, private_folder};
use crate::catalog::rows::micros;
use crate::catalog::statements;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    pub(super) schema: i64,
    pub(super) readable_by: i64,
    pub(super) sql: &'static str,
}

/// Every step, oldest first. Steps that were released are never changed.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { schema: 1, readable_by: 1, sql: include_str!("../migrations/sqlite/0001_catalog.sql") },
    Migration { schema: 2, readable_by: 1, sql: include_str!("../migrations/sqlite/0002_credentials.sql") },
    Migration { schema: 3, readable_by: 1, sql: include_str!("../migrations/sqlite/0003_seen.sql") },
    Migration { schema: 4, readable_by: 1, sql: include_str!("../migrations/sqlite/0004_quarantine.sql") },
    Migration { schema: 5, readable_by: 1, sql: include_str!("../migrations/sqlite/0005_names.sql") },
];

/// What a catalog says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) schema: i64,
    pub(super) readable_by: i64,
}

/// The schema that a list of migrations leads to.
pub(super) fn newest(migrations: &[Migration]) -> i64 {
    migrations.last().map_or(0, |m| m.schema)
}

/// Reads the schema, and refuses another program's database.
pub(super) async fn read(db: &mut SqliteConnection, operation: &'static str) -> Result<Schema, Fault> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *db).await?;
    if id != APPLICATION_ID {
        let e = Error::new(ErrorKind::Config, operation, "the file is a database of another program");
        return Err(e.with("application id", format!("{id:#x}")).hint("check the path").into());
    }
    current(db).await
}

/// The schema now: another process may have migrated it while this one had it open.
pub(super) async fn current(db: &mut SqliteConnection) -> Result<Schema, Fault> {
    let row = sqlx::query(statements::SCHEMA).fetch_one(db).await?;
    Ok(Schema { schema: row.try_get("schema")?, readable_by: row.try_get("readable_by")? })
}

/// Refuses a catalog that is for newer programs only.
pub(super) fn readable(found: Schema, ours: i64, operation: &'static str) -> Result<(), Fault> {
    if found.readable_by <= ours {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        operation,
        "a newer release wrote this catalog, and this one cannot read it",
    )
    .with("schema", found.schema)
    .with("readable by", found.readable_by)
    .with("this release", ours)
    .hint("upgrade this program")
    .into())
}

/// Makes the migrations that are missing, all in one transaction, after a copy of the file. A new file has no copy.
///
/// Returns where the copy is, when one was made.
pub(super) async fn migrate(
    db: &mut SqliteConnection,
    place: &Place,
    migrations: &[Migration],
    clock: &dyn Clock,
) -> Result<Option<PathBuf>, Fault> {
    // Holds the write lock from before the copy to the end: the copy is what the migration began with.
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *tx).await?;
    let from = if tables == 0 { 0 } else { current(&mut tx).await?.schema };
    let missing: Vec<_> = migrations.iter().filter(|m| m.schema > from).collect();
    if missing.is_empty() {
        tx.rollback().await?;
        return Ok(None);
    }
    let now = clock.now();
    let copy = if from == 0 { None } else { Some(safety_copy(place, from, now).await?) };
    if let Err(e) = apply(&mut tx, &missing, now).await {
        // Nothing was changed: the copy is the catalog, once too often.
        if let Some(copy) = copy {
            let _ = std::fs::remove_file(copy);
        }
        return Err(e);
    }
    tx.commit().await?;
    if let Some(copy) = &copy {
        tracing::info!(from, to = newest(migrations), copy = %copy.display(), "catalog migrated");
    }
    Ok(copy)
}

async fn apply(tx: &mut SqliteConnection, missing: &[&Migration], now: Timestamp) -> Result<(), Fault> {
    for step in missing {
        sqlx::raw_sql(step.sql).execute(&mut *tx).await?;
        sqlx::query(statements::SCHEMA_APPLIED)
            .bind(step.schema)
            .bind(step.readable_by)
            .bind(concat!("devicevault ", env!("CARGO_PKG_VERSION")))
            .bind(micros(now))
            .execute(&mut *tx)
            .await?;
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", step.schema);
        sqlx::raw_sql(AssertSqlSafe(marks)).execute(&mut *tx).await?;
    }
    if sqlx::query("PRAGMA foreign_key_check").fetch_optional(tx).await?.is_some() {
        let what = "records would refer to others that are not there";
        return Err(Error::new(ErrorKind::Corrupt, "migrate catalog", what).into());
    }
    Ok(())
}

/// Copies the catalog as it is for readers now, durably, under a name that says from when it is.
async fn safety_copy(place: &Place, schema: i64, now: Timestamp) -> Result<PathBuf, Fault> {
    const OPERATION: &str = "copy catalog before its migration";
    let folder = place.copies();
    let told = |e: io::Error| Fault::from(at_path(OPERATION, &folder, e));
    private_folder(&folder).map_err(told)?;
    let name = format!("schema-{schema}-{}.db", now.strftime("%Y%m%dT%H%M%S%6fZ"));
    let (unfinished, finished) = (folder.join(format!("{name}.tmp")), folder.join(name));
    // SQLite writes into an empty file that is there, and so keeps its mode.
    create_private(&unfinished).map_err(told)?;
    let target = unfinished.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Config, OPERATION, "the path is not UTF-8").with("path", unfinished.display())
    })?;
    let mut reader = super::open::reader_options(place).connect().await?;
    let copied = sqlx::query("VACUUM INTO $1").bind(target.to_owned()).execute(&mut reader).await;
    let closed = reader.close().await;
    let kept = copied.map(drop).and(closed).map_err(Fault::from).and_then(|()| {
        OpenOptions::new().write(true).open(&unfinished).and_then(|f| f.sync_all()).map_err(told)?;
        std::fs::rename(&unfinished, &finished).map_err(told)?;
        flush_folder(&folder).map_err(told)
    });
    match kept {
        Ok(()) => Ok(finished),
        Err(e) => {
            // What is left of a copy that failed is of no use; that it stays is not worth a second error.
            let _ = std::fs::remove_file(&unfinished);
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sqlite::open::reader_options;
    use devicevault_core::SystemClock;
    use std::fs;

    /// The schema before the next migration.
    const NOW: Schema = Schema { schema: 5, readable_by: 1 };
    const NEXT: Migration = Migration {
        schema: 6,
        readable_by: 1,
        sql: "ALTER TABLE leases ADD COLUMN note TEXT; CREATE INDEX notes ON leases (note);",
    };
    const BROKEN: Migration = Migration {
        schema: 7,
        readable_by: 7,
        sql: "CREATE TABLE half (x INTEGER) STRICT; ALTER TABLE nowhere ADD COLUMN x TEXT;",
    };

    async fn connect(place: &Place) -> SqliteConnection {
        reader_options(place).read_only(false).connect().await.unwrap()
    }

    async fn made(folder: &std::path::Path) -> (Place, SqliteConnection) {
        let place = Place { catalog: folder.join("catalog.db") };
        create_private(&place.catalog).unwrap();
        let mut db = connect(&place).await;
        assert_eq!(migrate(&mut db, &place, MIGRATIONS, &SystemClock).await.unwrap(), None, "nothing to copy");
        sqlx::raw_sql("INSERT INTO leases VALUES ('core-rtr1', x'01', x'02', 3)").execute(&mut db).await.unwrap();
        (place, db)
    }

    fn with(more: &[Migration]) -> Vec<Migration> {
        MIGRATIONS.iter().chain(more).copied().collect()
    }

    #[tokio::test]
    async fn a_catalog_is_copied_before_it_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let (place, mut db) = made(folder.path()).await;
        let copy = migrate(&mut db, &place, &with(&[NEXT]), &SystemClock).await.unwrap().unwrap();
        assert_eq!(current(&mut db).await.unwrap(), Schema { schema: NOW.schema + 1, readable_by: 1 });
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut db).await.unwrap();
        assert_eq!(version, NOW.schema + 1);
        sqlx::raw_sql("SELECT note FROM leases").fetch_one(&mut db).await.unwrap();
        #[cfg(unix)]
        assert!(super::super::file::is_private(&copy).unwrap());
        let mut old = connect(&Place { catalog: copy.clone() }).await;
        assert_eq!(read(&mut old, "test").await.unwrap(), NOW);
        let kept: String = sqlx::query_scalar("SELECT device FROM leases").fetch_one(&mut old).await.unwrap();
        assert_eq!(kept, "core-rtr1");
        // Again: nothing to do, no second copy.
        assert_eq!(migrate(&mut db, &place, &with(&[NEXT]), &SystemClock).await.unwrap(), None);
        assert_eq!(fs::read_dir(place.copies()).unwrap().filter(|e| e.as_ref().unwrap().path() == copy).count(), 1);
    }

    #[tokio::test]
    async fn a_catalog_of_any_earlier_schema_becomes_one_of_this() {
        for from in 1..MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let place = Place { catalog: folder.path().join("catalog.db") };
            create_private(&place.catalog).unwrap();
            let mut db = connect(&place).await;
            migrate(&mut db, &place, &MIGRATIONS[..from], &SystemClock).await.unwrap();
            let rows = "INSERT INTO leases VALUES ('core-rtr1', x'01', x'02', 3); \
                        INSERT INTO devices VALUES ('d', 'core-rtr1', 'frr', NULL, NULL, 1, '{}')";
            sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
            assert!(migrate(&mut db, &place, MIGRATIONS, &SystemClock).await.unwrap().is_some());
            assert_eq!(current(&mut db).await.unwrap(), NOW);
            let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM devices").fetch_one(&mut db).await.unwrap();
            assert_eq!(kept, 1);
        }
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_the_catalog_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (place, mut db) = made(folder.path()).await;
        migrate(&mut db, &place, &with(&[NEXT, BROKEN]), &SystemClock).await.unwrap_err();
        db.close().await.unwrap();
        let mut db = connect(&place).await;
        assert_eq!(current(&mut db).await.unwrap(), NOW);
        let half: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'half'")
            .fetch_one(&mut db)
            .await
            .unwrap();
        assert_eq!(half, 0);
        assert_eq!(fs::read_dir(place.copies()).unwrap().count(), 0, "a copy of what is there");
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_made_stops_the_migration() {
        let folder = tempfile::tempdir().unwrap();
        let (place, mut db) = made(folder.path()).await;
        fs::create_dir(place.folder()).unwrap();
        fs::write(place.copies(), "in the way").unwrap();
        migrate(&mut db, &place, &with(&[NEXT]), &SystemClock).await.unwrap_err();
        assert_eq!(current(&mut db).await.unwrap(), NOW);
    }

    #[tokio::test]
    async fn of_two_that_migrate_at_once_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let (place, mut a) = made(folder.path()).await;
        let mut b = connect(&place).await;
        let all = with(&[NEXT]);
        let (x, y) =
            tokio::join!(migrate(&mut a, &place, &all, &SystemClock), migrate(&mut b, &place, &all, &SystemClock));
        assert_eq!([x.unwrap(), y.unwrap()].iter().flatten().count(), 1);
    }

    #[test]
    fn migrations_are_counted_and_say_who_reads_them() {
        for (i, m) in MIGRATIONS.iter().enumerate() {
            assert_eq!(m.schema, i as i64 + 1);
            assert!(m.readable_by <= m.schema);
        }
        assert!(readable(Schema { schema: 9, readable_by: 1 }, 1, "test").is_ok());
        assert!(readable(Schema { schema: 9, readable_by: 2 }, 1, "test").is_err());
    }
}
