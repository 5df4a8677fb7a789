//! The suites that every catalog and every inventory passes.

use std::sync::Arc;

use devicevault_core::{Catalog, Inventory};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::{self, CatalogSuite};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let options = SqliteOptions::default().with_clock(Arc::new(clock.clone()));
    let make = async |place: &str| {
        let catalog = SqliteCatalog::create(folder.path().join(place), options.clone()).await?;
        Ok(Arc::new(catalog) as Arc<dyn Catalog>)
    };
    CatalogSuite::new(&make).with_clock(&clock).run().await.assert();
    conformance::catalog(async |place: &str| {
        let catalog =
            SqliteCatalog::create(folder.path().join(format!("by-the-wall-{place}")), SqliteOptions::default());
        Ok(Arc::new(catalog.await?) as Arc<dyn Catalog>)
    })
    .await
    .assert();
}

#[tokio::test]
async fn it_is_an_inventory() {
    let folder = tempfile::tempdir().unwrap();
    conformance::inventory(async |place: &str| {
        let catalog = SqliteCatalog::create(folder.path().join(place), SqliteOptions::default()).await?;
        Ok(Arc::new(catalog) as Arc<dyn Inventory>)
    })
    .await
    .assert();
}
