//! Where objects live, by URL: [`open`] makes an [`ObjectStore`] of a [`StoreUrl`] and the options of its scheme.
//!
//! | URL | feature | what it is |
//! |---|---|---|
//! | `s3://BUCKET/PREFIX` | `cloud` | a bucket of Amazon S3, or of a server that speaks as it does ([`cloud::S3Options`]) |
//! | `az://CONTAINER/PREFIX` | `cloud` | a container of Azure Blob Storage ([`cloud::AzureOptions`]) |
//! | `gs://BUCKET/PREFIX` | `cloud` | a bucket of Google Cloud Storage ([`cloud::GcsOptions`]) |
//! | `memory:` | | the memory of this process, for tests |
//!
//! Every scheme is a line of one table, with the options that it has: one that it does not have is refused.
//!
//! # What holds
//! - Opening connects to nothing and reads no secret: a store that cannot be reached, and a password that has to be
//!   fetched, are met by the first call. A [`LoginSource`] is asked once.
//! - No secret is in an error, a log, `Debug` or `Display`, nor in a URL: one that holds a password is refused.
//! - Objects are as atomic and as durable as the service makes them.
//!
//! [`MarkedStore`] ties such a store to its destination: it holds an object that names it, as a [folder](crate::local)
//! does, and where that is not found nothing else is looked for, so that a wrong bucket does not pass for lost backups.

#[cfg(feature = "cloud")]
pub mod cloud;
mod login;
mod marked;
mod options;
mod uploads;
mod url;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use devicevault_core::{Clock, Error, ErrorKind, Login, Result, SystemClock};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::ObjectStore;

pub use login::LoginSource;
pub use marked::MarkedStore;
pub use options::StoreOptions;
pub use uploads::{IsOurs, Uploads};
pub use url::StoreUrl;

/// What a store is opened by.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreSettings {
    /// Where it is.
    pub url: StoreUrl,
    /// The options of its scheme, by name.
    pub options: BTreeMap<String, String>,
    /// Who logs in, and by which secret.
    pub login: Arc<dyn LoginSource>,
    /// Relative paths in options begin here.
    pub folder: PathBuf,
    /// Variables that a cloud sets for programs that run there (`AWS_…`, `AZURE_…`); read where options name a role.
    pub environment: BTreeMap<String, String>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl StoreSettings {
    /// Settings without options and without a login.
    #[must_use]
    pub fn new(url: StoreUrl) -> Self {
        Self {
            url,
            options: BTreeMap::new(),
            login: Arc::new(Login::default()),
            folder: PathBuf::new(),
            environment: BTreeMap::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets an option.
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Sets all options.
    #[must_use]
    pub fn with_options(mut self, options: BTreeMap<String, String>) -> Self {
        self.options = options;
        self
    }

    /// Sets who logs in.
    #[must_use]
    pub fn with_login(mut self, login: Arc<dyn LoginSource>) -> Self {
        self.login = login;
        self
    }

    /// Sets the folder that relative paths begin at.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets the variables that a cloud sets.
    #[must_use]
    pub fn with_environment(mut self, environment: BTreeMap<String, String>) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

type Opening<'a> = BoxFuture<'a, Result<Arc<dyn ObjectStore>>>;

/// How URLs of one scheme become stores.
struct Scheme {
    name: &'static str,
    /// Every option that it has.
    options: &'static [&'static str],
    open: for<'a> fn(&'a StoreSettings) -> Opening<'a>,
}

/// A new one is a new line.
const SCHEMES: &[Scheme] = &[
    #[cfg(feature = "cloud")]
    Scheme { name: "s3", options: cloud::S3Options::NAMES, open: |s| cloud::open_s3(s).boxed() },
    #[cfg(feature = "cloud")]
    Scheme { name: "az", options: cloud::AzureOptions::NAMES, open: |s| cloud::open_azure(s).boxed() },
    #[cfg(feature = "cloud")]
    Scheme { name: "gs", options: cloud::GcsOptions::NAMES, open: |s| cloud::open_gcs(s).boxed() },
    Scheme { name: "memory", options: &[], open: |s| memory(s).boxed() },
];

/// Opens a store; connects to nothing yet.
///
/// # Errors
/// `Unsupported` for a scheme that this build does not have, `Config` for options that the scheme does not have or that
/// do not go together.
pub async fn open(settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    let scheme = scheme(&settings.url)?;
    if let Some(name) = settings.options.keys().find(|name| !scheme.options.contains(&name.as_str())) {
        let of_url = format!("{}:// URLs have no such option", scheme.name);
        return Err(Error::new(ErrorKind::Config, "open store", of_url)
            .with("option", name.escape_debug())
            .hint(format!("they have: {}", scheme.options.join(", "))));
    }
    (scheme.open)(settings).await.map_err(|e| e.with("url", &settings.url))
}

/// What finds uploads that broke off; `None` where the store forgets them by itself (Azure does after a week), or cannot be
/// asked for them.
///
/// # Errors
/// As [`open`].
pub async fn uploads(settings: &StoreSettings) -> Result<Option<Arc<dyn Uploads>>> {
    #[cfg(feature = "cloud")]
    if settings.url.scheme() == "s3" {
        return cloud::uploads_of_s3(settings).await.map(Some).map_err(|e| e.with("url", &settings.url));
    }
    scheme(&settings.url).map(|_| None)
}

/// The options that URLs of this scheme have.
///
/// # Errors
/// `Unsupported` for a scheme that this build does not have.
pub fn options_of(url: &StoreUrl) -> Result<&'static [&'static str]> {
    scheme(url).map(|scheme| scheme.options)
}

fn scheme(url: &StoreUrl) -> Result<&'static Scheme> {
    SCHEMES.iter().find(|s| s.name == url.scheme()).ok_or_else(|| {
        let known: Vec<_> = SCHEMES.iter().map(|s| s.name).collect();
        Error::new(ErrorKind::Unsupported, "open store", "this program has no stores of this scheme")
            .with("url", url)
            .hint(format!("it has: {}", known.join(", ")))
    })
}

async fn memory(settings: &StoreSettings) -> Result<Arc<dyn ObjectStore>> {
    if settings.url.host().is_some() || !settings.url.path().as_ref().is_empty() {
        return Err(Error::new(ErrorKind::Config, "open store", "memory has no places: write `memory:`"));
    }
    Ok(Arc::new(object_store::memory::InMemory::new()))
}

/// A store's objects beneath a prefix; all of them for an empty one.
#[cfg(feature = "cloud")]
fn beneath<S: ObjectStore>(store: S, prefix: &object_store::path::Path) -> Arc<dyn ObjectStore> {
    if prefix.as_ref().is_empty() {
        return Arc::new(store);
    }
    Arc::new(object_store::prefix::PrefixStore::new(store, prefix.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> StoreSettings {
        StoreSettings::new(url.parse().unwrap())
    }

    #[tokio::test]
    async fn a_slip_in_an_option_is_told() {
        let e = open(&settings("memory:").with_option("endpiont", "x")).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(format!("{e:?}").contains("endpiont"), "{e:?}");
        let e = open(&settings("s4://bucket")).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.hint_text().unwrap().contains("memory"), "{e:?}");
    }

    #[cfg(feature = "cloud")]
    #[tokio::test]
    async fn every_cloud_opens_without_a_network_and_shows_no_secret() {
        let mut login = Login::default();
        login.username = "AKIAEXAMPLE".to_owned();
        login.password = Some("hunter2hunter2".to_owned().into());
        login.private_key = Some("hunter2hunter2".to_owned().into());
        let login: Arc<dyn LoginSource> = Arc::new(login);
        for s in [
            settings("s3://bucket/a/b").with_option("region", "eu-central-1"),
            settings("s3://bucket").with_option("auth", "anonymous").with_option("endpoint", "https://192.0.2.1:9000"),
            settings("az://container/a").with_option("account", "acme"),
            settings("gs://bucket/a"),
        ] {
            let s = s.with_login(login.clone());
            let store = open(&s).await.unwrap();
            let marked = MarkedStore::open(store.clone(), &s.url, &"main".into(), s.clock.clone());
            for shown in [format!("{store:?}"), format!("{store}"), format!("{s:?}"), format!("{marked:?} {marked}")] {
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
    }
}
