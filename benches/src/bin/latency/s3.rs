//! A bucket, over HTTP.

use std::sync::Arc;

use devicevault_core::{Clock as _, Login, SystemClock};
use devicevault_storage::objects::{self, LoginSource, MarkedStore, StoreSettings};
use devicevault_storage::plain::PlainBackend;
use devicevault_testkit::cloud::Double;
use devicevault_testkit::relay::Relay;
use devicevault_testkit::samples;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{Figure, LARGE, ONE_WAY, large_backup, megabytes, options, seconds, small_backups};

/// The part of an upload that simple clients send, as S3's own rule for the least has it.
const PART: usize = 5 << 20;

pub(super) async fn measure(round: u64) -> Vec<Figure> {
    let server = Double::start().await;
    let relay = Relay::to(server.addr()).with_delay(ONE_WAY).start().await.unwrap();
    let mut login = Login::default();
    (login.username, login.password) = ("user".to_owned(), Some("secret".to_owned().into()));
    let login: Arc<dyn LoginSource> = Arc::new(login);
    let settings = StoreSettings::new("s3://backups/dv".parse().unwrap())
        .with_option("endpoint", format!("http://{}", relay.addr()))
        .with_option("allow_http", "yes")
        .with_login(login);
    let store = objects::open(&settings).await.unwrap();
    let marked = MarkedStore::init(store.clone(), &settings.url, &"main".into(), Arc::new(SystemClock)).await.unwrap();
    let backend = PlainBackend::over(Arc::new(marked), options());
    backend.publish_keys().await.unwrap();
    let small = small_backups(&backend, round, 8.0).await;
    let (written, read) = large_backup(&backend, round).await;
    let (written_alone, read_alone) = one_after_the_other(&*store, round).await;
    let mega = |what, ours, one_by_one| Figure { what, unit: "MB/s", ours, one_by_one, bar: 2.0 };
    vec![small, mega("64 MiB stored", written, written_alone), mega("64 MiB read", read, read_alone)]
}

/// Parts that go, and ranges that come, when the one before is done.
async fn one_after_the_other(store: &dyn ObjectStore, round: u64) -> (f64, f64) {
    let path = Path::from("simple");
    let begun = SystemClock.monotonic();
    let mut upload = store.put_multipart(&path).await.unwrap();
    for (i, _) in (0..LARGE).step_by(PART).enumerate() {
        let size = PART.min(LARGE - i * PART);
        upload.put_part(samples::noise((round << 20) | i as u64, size).into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    let written = megabytes(LARGE) / seconds(begun);
    let begun = SystemClock.monotonic();
    for start in (0..LARGE as u64).step_by(PART) {
        let range = start..(start + PART as u64).min(LARGE as u64);
        assert_eq!(store.get_range(&path, range.clone()).await.unwrap().len() as u64, range.end - range.start);
    }
    (written, megabytes(LARGE) / seconds(begun))
}
