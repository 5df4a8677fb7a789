//! Figures, by hand: `cargo nextest run -p devicevault-storage --features sqlite --run-ignored only -E 'test(measure)'
//! --no-capture`. Dependencies, SQLite among them, are optimised in every profile.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use devicevault_core::catalog::{Page, Query};
use devicevault_core::run::{Outcome, RunState};
use devicevault_core::statistics::StatisticsQuery;
use devicevault_core::{Catalog as _, Clock as _, SystemClock};
use devicevault_testkit::samples;
use futures::StreamExt as _;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{ended, new_run, open, place, second};

const RECORDS: usize = 10_000;

/// What the disk does in the same run: appends of a page, each flushed.
fn probe(folder: &std::path::Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("probe")).unwrap();
    let begin = SystemClock.monotonic();
    let mut flushes = 0_u32;
    while SystemClock.monotonic() - begin < Duration::from_secs(1) {
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        flushes += 1;
    }
    f64::from(flushes)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes figures"]
async fn records_a_second() {
    let (folder, path) = place();
    let catalog = open(&path).await;
    for in_flight in [1, 8, 64] {
        let flushes = probe(folder.path());
        let count = RECORDS * in_flight / 64 + 500;
        let begin = SystemClock.monotonic();
        let records = futures::stream::iter(0..count).map(|n| {
            let catalog = &catalog;
            async move {
                let device = format!("sw{:04}", n % 1000);
                let start = new_run(&device, n as i64);
                let lease = catalog.lease(&start.device, Duration::from_secs(60)).await.unwrap().unwrap();
                let run = catalog.begin(&start).await.unwrap();
                let backup = samples::backup(&device, "running-config", run, second(n as i64), &["git", "main"]);
                let end = Outcome::End(ended(run, start, RunState::Succeeded));
                catalog.record(run, vec![Outcome::Backup(backup), end]).await.unwrap();
                catalog.release(&lease).await.unwrap();
            }
        });
        records.buffer_unordered(in_flight).collect::<Vec<_>>().await;
        let seconds = (SystemClock.monotonic() - begin).as_secs_f64();
        let rate = count as f64 / seconds;
        eprintln!(
            "{in_flight:3} in flight: {rate:6.0} runs/s (lease, begin, record, release), {flushes:5.0} flushes/s"
        );
        assert!(in_flight < 64 || rate > 300.0, "a fleet of 300 devices a second needs as many");
    }
}

#[tokio::test]
#[ignore = "writes a million backups"]
async fn history_of_a_million_backups() {
    let (_folder, path) = place();
    drop(open(&path).await);
    let mut db = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let begin = SystemClock.monotonic();
    // 5,000 devices with 200 versions each, one device with 50,000 of them, two copies of each; ids in the order of time.
    sqlx::raw_sql(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; BEGIN; \
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999) \
         INSERT INTO backups SELECT unhex(printf('%012x', 1767225600000 + i) || '7000' || '8000' || printf('%012x', i)), \
         unhex(printf('%032x', i / 2)), \
         CASE WHEN i % 20 = 0 THEN 'core' ELSE printf('sw%04d', (i * 7919) % 5000) END, 'name', \
         CASE i % 2 WHEN 0 THEN 'running-config' ELSE 'inventory' END, 'text', 'txt', 20000, zeroblob(32), \
         1767225600000000 + i * 1000000, 1767225600000000 + i * 1000000, NULL, 0, '{}', NULL FROM n; \
         INSERT INTO copies SELECT id, d.name, 'original', 'stored', d.name || ':' || hex(id), 20000, zeroblob(32), 1, \
         first_seen, last_seen, NULL, NULL, first_seen FROM backups, (SELECT 'git' AS name UNION ALL SELECT 'main') d; \
         COMMIT",
    )
    .execute(&mut db)
    .await
    .unwrap();
    drop(db);
    let bytes = std::fs::metadata(&path).unwrap().len();
    eprintln!("filled in {:?}, {} MB", SystemClock.monotonic() - begin, bytes / 1_000_000);

    let catalog = open(&path).await;
    let ask = async |what: &str, change: &dyn Fn(&mut Query), deep: usize| {
        let mut query = Query::default();
        change(&mut query);
        let mut page = Page::first(100);
        for _ in 0..deep {
            page = Page::after(100, catalog.find(&query, page).await.unwrap().next.unwrap());
        }
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..5 {
            let begin = SystemClock.monotonic();
            found = catalog.find(&query, page.clone()).await.unwrap().items.len();
            times.push(SystemClock.monotonic() - begin);
        }
        times.sort_unstable();
        eprintln!("{what}: {found} in {:?} (first {:?})", times[2], times[4]);
        assert!(found > 0 && times[2] < Duration::from_millis(100), "{what}");
    };
    ask("newest of all", &|_| (), 0).await;
    ask("history of a device", &|q| q.device = Some("sw0042".into()), 0).await;
    ask("history of one with 50,000, page 1", &|q| q.device = Some("core".into()), 0).await;
    ask("history of one with 50,000, page 400", &|q| q.device = Some("core".into()), 400).await;
    let artefact = Some("running-config".to_owned());
    ask("history of an artefact", &|q| (q.device, q.artefact) = (Some("core".into()), artefact.clone()), 0).await;
    ask("as of a time", &|q| (q.device, q.at) = (Some("sw0042".into()), Some(second(500_000))), 0).await;
    ask("at a destination", &|q| q.destination = Some("git".into()), 0).await;
    let begin = SystemClock.monotonic();
    catalog.latest(&"core".into(), "running-config").await.unwrap().reference.unwrap();
    let latest = SystemClock.monotonic() - begin;
    eprintln!("latest: {latest:?}");
    assert!(latest < Duration::from_millis(100));
    let begin = SystemClock.monotonic();
    assert!(catalog.pending().await.unwrap().is_empty());
    eprintln!("pending: {:?}", SystemClock.monotonic() - begin);
    let start = new_run("core", 2_000_000);
    let begin = SystemClock.monotonic();
    let run = catalog.begin(&start).await.unwrap();
    let backup = samples::backup("core", "running-config", run, second(2_000_000), &["git", "main"]);
    let outcomes = vec![Outcome::Backup(backup), Outcome::End(ended(run, start, RunState::Succeeded))];
    catalog.record(run, outcomes).await.unwrap();
    eprintln!("begin and record: {:?}", SystemClock.monotonic() - begin);

    let mut month = Query::default();
    (month.destination, month.seen_since) = (Some("git".into()), Some(second(999_000)));
    let begin = SystemClock.monotonic();
    let seen = catalog.find(&month, Page::first(10_000)).await.unwrap().items.len();
    eprintln!("seen lately at a destination: {seen} in {:?}", SystemClock.monotonic() - begin);
    assert!(seen >= 1000);

    let mut wanted = StatisticsQuery::default();
    (wanted.days_since, wanted.runs) = (Some(second(0)), true);
    for (what, device, destination) in
        [("all", None, None), ("a device", Some("sw0042"), None), ("one", None, Some("git"))]
    {
        (wanted.device, wanted.destination) = (device.map(Into::into), destination.map(Into::into));
        let begin = SystemClock.monotonic();
        let total = catalog.statistics(&wanted).await.unwrap().total();
        let took = SystemClock.monotonic() - begin;
        eprintln!("statistics of {what}: {} copies in {took:?}", total.copies);
        assert!(total.copies > 0, "{what}");
    }
}
