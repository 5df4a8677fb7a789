//! Builds the queries whose conditions vary.

use devicevault_core::catalog::{Query, RunQuery};
use devicevault_core::inventory::Selector;
use sqlx::QueryBuilder;

use super::db::Db;
use super::paging::Cursor;
use super::rows::micros;
use super::statements::{BACKUP_COLUMNS, COPY_COLUMNS, RUN_COLUMNS};

/// Puts ` WHERE ` before the first condition and ` AND ` before the others.
struct Conditions<'q> {
    sql: &'q mut QueryBuilder<Db>,
    any: bool,
}

impl<'q> Conditions<'q> {
    fn of(sql: &'q mut QueryBuilder<Db>) -> Self {
        Self { sql, any: false }
    }

    fn and(&mut self, condition: &'static str) -> &mut QueryBuilder<Db> {
        self.sql.push(if self.any { " AND " } else { " WHERE " });
        self.any = true;
        self.sql.push(condition)
    }
}

/// The backups of a page with their copies, newest first: a row for each copy, and one for a backup without any.
pub(super) fn backups(query: &Query, after: Option<Cursor>, limit: i64) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("WITH page AS (");
    push_page(&mut sql, query, after, limit);
    push_copies(&mut sql);
    sql
}

/// The reference and the newest suspect backup of an artefact, with their copies.
pub(super) fn latest(device: &str, artefact: &str) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("WITH page AS (");
    for (i, condition) in ["NULL", "NOT NULL"].into_iter().enumerate() {
        sql.push(if i == 0 { "" } else { " UNION ALL " });
        sql.push(format_args!("SELECT * FROM (SELECT {BACKUP_COLUMNS} FROM backups b WHERE b.device = "));
        sql.push_bind(device.to_owned()).push(" AND b.artefact = ").push_bind(artefact.to_owned());
        sql.push(format_args!(" AND b.suspect IS {condition} ORDER BY b.first_seen DESC, b.id DESC LIMIT 1)"));
        sql.push(if i == 0 { " AS reference" } else { " AS suspected" });
    }
    push_copies(&mut sql);
    sql
}

fn push_copies(sql: &mut QueryBuilder<Db>) {
    sql.push(format_args!(
        ") SELECT page.*, {COPY_COLUMNS} FROM page LEFT JOIN copies c ON c.backup = page.id \
         ORDER BY page.first_seen DESC, page.id DESC, c.destination"
    ));
}

fn push_page(sql: &mut QueryBuilder<Db>, query: &Query, after: Option<Cursor>, limit: i64) {
    // Where nothing but the destination narrows, its copies are walked in order; else the backups are, and each is
    // asked for a copy there.
    let narrow = query.id.is_some() || query.run.is_some() || query.device.is_some() || query.artefact.is_some();
    let by_copies = query.destination.is_some() && !narrow;
    let (source, seen, id) = if by_copies {
        ("copies k CROSS JOIN backups b", "k.first_seen", "k.backup")
    } else {
        ("backups b", "b.first_seen", "b.id")
    };
    sql.push(format_args!("SELECT {BACKUP_COLUMNS} FROM {source}"));
    let mut conditions = Conditions::of(sql);
    if let Some(destination) = &query.destination {
        let destination = destination.0.clone();
        if by_copies {
            conditions.and("b.id = k.backup AND k.destination = ").push_bind(destination);
        } else {
            let exists = "EXISTS (SELECT 1 FROM copies k WHERE k.backup = b.id AND k.destination = ";
            conditions.and(exists).push_bind(destination).push(")");
        }
    }
    if let Some(id) = query.id {
        conditions.and("b.id = ").push_bind(id.0);
    }
    if let Some(device) = &query.device {
        conditions.and("b.device = ").push_bind(device.0.clone());
    }
    if let Some(artefact) = &query.artefact {
        conditions.and("b.artefact = ").push_bind(artefact.clone());
    }
    if let Some(run) = query.run {
        conditions.and("b.run = ").push_bind(run.0);
    }
    let seen_at = |conditions: &mut Conditions<'_>, compare: &'static str, at: i64| {
        conditions.and(seen).push(compare).push_bind(at);
    };
    if let Some(at) = query.at.map(micros) {
        seen_at(&mut conditions, " <= ", at);
        let replaced = "NOT EXISTS (SELECT 1 FROM backups n WHERE n.device = b.device AND n.artefact = b.artefact \
                        AND n.suspect IS NULL AND (n.first_seen, n.id) > (b.first_seen, b.id) AND n.first_seen <= ";
        conditions.and(replaced).push_bind(at).push(")");
    }
    if let Some(since) = query.since {
        seen_at(&mut conditions, " >= ", micros(since));
    }
    if let Some(until) = query.until {
        seen_at(&mut conditions, " < ", micros(until));
    }
    if let Some(since) = query.seen_since {
        // The few that were seen lately are asked for first.
        let lately = "b.id IN (SELECT s.id FROM backups s WHERE s.last_seen >= ";
        conditions.and(lately).push_bind(micros(since)).push(")");
    }
    if query.quarantined {
        conditions.and("b.quarantine = 'held'");
    }
    if let Some(cursor) = after {
        conditions.and("(").push(format_args!("{seen}, {id}) < ("));
        conditions.sql.push_bind(cursor.micros).push(", ").push_bind(cursor.id).push(")");
    }
    sql.push(format_args!(" ORDER BY {seen} DESC, {id} DESC LIMIT {limit}"));
}

/// The runs of a page, newest first.
pub(super) fn runs(query: &RunQuery, after: Option<Cursor>, limit: i64) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new(format!("SELECT {RUN_COLUMNS} FROM runs"));
    let mut conditions = Conditions::of(&mut sql);
    if let Some(id) = query.id {
        conditions.and("id = ").push_bind(id.0);
    }
    if let Some(device) = &query.device {
        conditions.and("device = ").push_bind(device.0.clone());
    }
    if let Some(state) = query.state {
        conditions.and("state = ").push_bind(state.as_str());
    }
    if let Some(job) = &query.task_identifier {
        conditions.and("task_identifier = ").push_bind(job.clone());
    }
    if let Some(cursor) = after {
        conditions.and("(started_at, id) < (").push_bind(cursor.micros).push(", ").push_bind(cursor.id).push(")");
    }
    sql.push(format_args!(" ORDER BY started_at DESC, id DESC LIMIT {limit}"));
    sql
}

/// The devices that may be meant, for [`Selector::matches`] to have the last word.
pub(super) fn devices(selector: &Selector) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("SELECT detail FROM devices");
    let mut conditions = Conditions::of(&mut sql);
    if let Some(site) = &selector.site {
        conditions.and("site = ").push_bind(site.clone());
    }
    if let Some(group) = &selector.group {
        conditions.and("grp = ").push_bind(group.clone());
    }
    if let Some(platform) = &selector.platform {
        conditions.and("platform = ").push_bind(platform.clone());
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use devicevault_core::{BackupId, DestinationId, DeviceId, RunId, Timestamp, run::RunState};
    use sqlx::{AssertSqlSafe, Connection as _, Execute as _, Row as _, SqliteConnection};
    use uuid::Uuid;

    const CURSOR: Cursor = Cursor { micros: 1, id: Uuid::nil() };

    /// Every step of the plan of a query, in an empty catalog: what the planner decides without statistics is what it
    /// decides in every catalog.
    async fn plan(mut query: QueryBuilder<Db>) -> Vec<String> {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for step in [
            include_str!("migrations/sqlite/0001_catalog.sql"),
            include_str!("migrations/sqlite/0003_seen.sql"),
            include_str!("migrations/sqlite/0004_quarantine.sql"),
            include_str!("migrations/sqlite/0005_names.sql"),
        ] {
            sqlx::raw_sql(step).execute(&mut db).await.unwrap();
        }
        let sql = format!("EXPLAIN QUERY PLAN {}", query.build().sql().as_str());
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    /// The plan of the page alone, without its copies and the last sort of a page's rows.
    async fn page_plan(query: &Query, after: Option<Cursor>) -> Vec<String> {
        let mut sql = QueryBuilder::new("");
        push_page(&mut sql, query, after, 100);
        plan(sql).await
    }

    fn walks_an_index(steps: &[String]) -> bool {
        let scans =
            |s: &String| s.starts_with("SCAN") && !s.contains("USING INDEX") && !s.contains("USING COVERING INDEX");
        !steps.iter().any(|s| scans(s) || s.contains("TEMP B-TREE"))
    }

    #[tokio::test]
    async fn every_page_of_backups_walks_an_index_in_its_order() {
        let at = Timestamp::UNIX_EPOCH;
        type Narrow = fn(&mut Query, Timestamp);
        let fields: [(&str, Narrow); 9] = [
            ("id", |q, _| q.id = Some(BackupId::generate())),
            ("device", |q, _| q.device = Some(DeviceId::from("a"))),
            ("artefact", |q, _| q.artefact = Some("b".to_owned())),
            ("run", |q, _| q.run = Some(RunId::generate())),
            ("destination", |q, _| q.destination = Some(DestinationId::from("c"))),
            ("at", |q, at| q.at = Some(at)),
            ("since", |q, at| q.since = Some(at)),
            ("until", |q, at| q.until = Some(at)),
            ("quarantined", |q, _| q.quarantined = true),
        ];
        for choice in 0..1_u32 << fields.len() {
            let chosen: Vec<_> =
                fields.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, f)| f).collect();
            let mut query = Query::default();
            chosen.iter().for_each(|(_, narrow)| narrow(&mut query, at));
            for after in [None, Some(CURSOR)] {
                let steps = page_plan(&query, after).await;
                let names: Vec<_> = chosen.iter().map(|(name, _)| name).collect();
                assert!(walks_an_index(&steps), "{names:?} after {after:?}: {steps:#?}");
            }
        }
    }

    #[tokio::test]
    async fn a_devices_history_is_searched_and_not_scanned() {
        let mut query = Query::default();
        query.device = Some(DeviceId::from("a"));
        assert!(page_plan(&query, None).await[0].starts_with("SEARCH b USING INDEX backups_by_device (device=?)"));
        query.artefact = Some("running-config".to_owned());
        let steps = page_plan(&query, Some(CURSOR)).await;
        assert!(
            steps[0].starts_with("SEARCH b USING INDEX backups_history (device=? AND artefact=? AND (first_seen"),
            "{steps:?}"
        );
        let mut query = Query::default();
        query.destination = Some(DestinationId::from("main"));
        let steps = page_plan(&query, Some(CURSOR)).await;
        assert!(
            steps[0].starts_with("SEARCH k USING COVERING INDEX copies_by_destination (destination=?"),
            "{steps:?}"
        );
        let steps = plan(latest("a", "running-config")).await;
        let searched = |index: &str| {
            let step = format!("SEARCH b USING INDEX {index} (device=? AND artefact=?)");
            steps.iter().filter(|s| s.starts_with(&step)).count()
        };
        assert_eq!([searched("backups_history"), searched("backups_suspect")], [1, 1], "{steps:#?}");
        let copies = plan(backups(&Query::default(), None, 100)).await;
        assert!(copies.iter().any(|s| s.starts_with("SEARCH c USING PRIMARY KEY (backup=?)")), "{copies:#?}");
    }

    #[tokio::test]
    async fn every_page_of_runs_walks_an_index_in_its_order() {
        let narrow: [fn(&mut RunQuery); 5] = [
            |_| (),
            |q| q.id = Some(RunId::generate()),
            |q| q.device = Some(DeviceId::from("a")),
            |q| q.state = Some(RunState::Failed),
            |q| q.task_identifier = Some("job".to_owned()),
        ];
        for (i, first) in narrow.iter().enumerate() {
            for second in &narrow {
                let mut query = RunQuery::default();
                first(&mut query);
                second(&mut query);
                let steps = plan(runs(&query, Some(CURSOR), 100)).await;
                assert!(walks_an_index(&steps), "{i}: {steps:#?}");
            }
        }
    }

    #[tokio::test]
    async fn statements_by_key_use_one() {
        use super::super::statements as s;
        for sql in [
            s::RUN_OF_TASK,
            s::RUN_ADVANCE,
            s::RUN_EXISTS,
            s::RUNS_INTERRUPTED,
            s::OWNERS,
            s::LEASE_OWNER,
            s::LEASE_RENEW,
            s::BACKUP_SEEN,
            s::COPY_SEEN,
            s::COPY_GOOD,
            s::COPIES_MARK,
            s::BACKUP_PIN,
            s::BACKUP_ACCEPT,
            s::COPIES_FORGET,
            s::BACKUP_WITHOUT_COPIES,
            s::PENDING,
            s::DEVICE_NAMED,
            s::DEVICE_REMOVE,
        ] {
            let steps = plan(QueryBuilder::new(sql)).await;
            // Leases are few; all of them are looked at to find the dead.
            let few = |s: &String| s == "SCAN leases" || s.starts_with("UNION") || s.starts_with("USE TEMP B-TREE");
            let steps: Vec<_> = steps.into_iter().filter(|s| !few(s)).collect();
            assert!(walks_an_index(&steps), "{sql}: {steps:#?}");
        }
    }
}
