//! A catalog that another file takes the place of: what others write meanwhile, and who has it open.

use std::time::Duration;

use devicevault_core::{Catalog as _, ErrorKind};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};

use super::{all_backups, new_run, open, place};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_set_aside_only_as_it_was_when_the_watch_began() {
    let (_folder, path) = place();
    let catalog = open(&path).await;
    catalog.begin(&new_run("sw0", 0)).await.unwrap();
    let watch = catalog.watch().await.unwrap();
    // Who only reads changes nothing.
    let other = open(&path).await;
    assert!(all_backups(&other).await.is_empty());
    other.close().await;
    drop(other);
    let other = open(&path).await;
    other.begin(&new_run("sw1", 1)).await.unwrap();
    other.close().await;
    drop(other);
    let refused = catalog.set_aside(watch, LONG).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_record().message.contains("written into it meanwhile"), "{refused}");
    // It is open still; and of what was written before the watch began, nothing is news.
    catalog.begin(&new_run("sw2", 2)).await.unwrap();
    let watch = catalog.watch().await.unwrap();
    drop(catalog.set_aside(watch, LONG).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_it_open_is_waited_for_and_nobody_opens_it_once_it_is_set_aside() {
    let (_folder, path) = place();
    let (catalog, other) = (open(&path).await, open(&path).await);
    let watch = catalog.watch().await.unwrap();
    let refused = catalog.set_aside(watch, SHORT).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let watch = catalog.watch().await.unwrap();
    let ends = async {
        tokio::time::sleep(SHORT).await;
        other.close().await;
        drop(other);
    };
    let (aside, ()) = tokio::join!(catalog.set_aside(watch, LONG), ends);
    let aside = aside.unwrap();
    let hasty = SqliteOptions::default().with_busy_timeout(SHORT);
    assert_eq!(SqliteCatalog::open(&path, hasty.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(aside);
    SqliteCatalog::open(&path, hasty).await.unwrap();
}
