//! Object stores by URL: real servers, and a double that misbehaves.

mod conformance;
mod hostile;
pub(crate) mod large;
mod probes;
mod servers;
mod unfinished;
mod writers;

use std::sync::Arc;

use devicevault_core::{Login, StorageBackend, SystemClock};
use devicevault_storage::objects::{self, LoginSource, MarkedStore, StoreSettings};
use devicevault_storage::plain::{PlainBackend, PlainOptions};

fn login(user: &str, secret: &str) -> Arc<dyn LoginSource> {
    let mut login = Login::default();
    login.username = user.to_owned();
    login.password = Some(secret.to_owned().into());
    Arc::new(login)
}

/// Backups at a place, which is made a destination's home.
async fn plain(settings: &StoreSettings, options: PlainOptions) -> devicevault_core::Result<PlainBackend> {
    let store = objects::open(settings).await?;
    let marked = MarkedStore::init(store, &settings.url, &"main".into(), Arc::new(SystemClock)).await?;
    let options = match objects::uploads(settings).await? {
        Some(uploads) => options.with_uploads(uploads),
        None => options,
    };
    Ok(PlainBackend::over(Arc::new(marked), options))
}

async fn backend(settings: &StoreSettings, options: PlainOptions) -> devicevault_core::Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(plain(settings, options).await?))
}
