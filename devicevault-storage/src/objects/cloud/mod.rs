//! Object stores of clouds, and of servers of one's own that speak as they do.
//!
//! The protocols, their signatures and their multipart uploads are those of the `object_store` crate. Here is what a
//! person sets, with what is left out refused rather than guessed: nobody is anonymous, no key goes over HTTP without TLS,
//! and no environment is looked at, unless an option says so.

mod azure;
mod gcs;
mod http;
mod pages;
mod s3;
mod uploads;

use std::sync::Arc;

use devicevault_core::{Error, ErrorKind, Login, Result, SecretString};
use object_store::ObjectStore;

pub use azure::AzureOptions;
pub use gcs::GcsOptions;
pub use http::HttpOptions;
pub use s3::{Addressing, Encryption, S3Options};

use super::{LoginSource, StoreOptions, StoreSettings, Uploads, beneath};

/// How requests are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// By a key, from the [`LoginSource`]: `key`.
    #[default]
    Key,
    /// By the role that the cloud gives to the machine, container or workload: `role`.
    Role,
    /// By nothing: `anonymous`.
    Anonymous,
}

impl Auth {
    /// The option's name.
    pub(super) const NAME: &'static str = "auth";

    pub(super) fn read(options: StoreOptions<'_>) -> Result<Self> {
        let words = [("key", Self::Key), ("role", Self::Role), ("anonymous", Self::Anonymous)];
        Ok(options.one_of(Self::NAME, &words)?.unwrap_or_default())
    }
}

pub(super) async fn open_s3(settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    let options = S3Options::read(settings)?;
    let store = options.open(settings).await?;
    Ok(beneath(store, settings.url.path()))
}

pub(super) async fn uploads_of_s3(settings: &StoreSettings) -> Result<Arc<dyn Uploads>> {
    S3Options::read(settings)?.uploads(settings).await
}

pub(super) async fn open_azure(settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    let options = AzureOptions::read(settings)?;
    let store = options.open(settings).await?;
    Ok(beneath(store, settings.url.path()))
}

pub(super) async fn open_gcs(settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    let options = GcsOptions::read(settings)?;
    let store = options.open(settings).await?;
    Ok(beneath(store, settings.url.path()))
}

/// What the builder of a store refuses.
fn refused(e: object_store::Error) -> Error {
    Error::new(ErrorKind::Config, "open store", "its options do not go together").because(e)
}

/// The login of a store, on its way through the trait of credentials.
async fn login(source: &dyn LoginSource) -> object_store::Result<Login> {
    source.login().await.map_err(of_login)
}

fn of_login(e: Error) -> object_store::Error {
    object_store::Error::Generic { store: "login", source: Box::new(e) }
}

fn lacks(what: &str, hint: &'static str) -> object_store::Error {
    of_login(Error::new(ErrorKind::Config, "log in at store", format!("there is no {what}")).hint(hint))
}

/// A secret that has to be there.
fn need<'a>(
    secret: Option<&'a SecretString>,
    what: &str,
    hint: &'static str,
) -> object_store::Result<&'a SecretString> {
    secret.ok_or_else(|| lacks(what, hint))
}
