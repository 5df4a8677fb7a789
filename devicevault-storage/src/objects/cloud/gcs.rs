//! Google Cloud Storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, CredentialProvider};
use tokio::sync::OnceCell;

use super::{Auth, HttpOptions, http, login, need, of_login, refused};
use crate::objects::{LoginSource, StoreOptions, StoreSettings};

/// Options of `gs://` URLs, each named as in [`NAMES`](Self::NAMES).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcsOptions {
    /// `auth`: who the requests are of. The login's private key is the JSON key file of a service account.
    pub auth: Auth,
    /// `endpoint`: the server; Google's by default.
    pub endpoint: Option<String>,
    /// Connections.
    pub http: HttpOptions,
}

impl GcsOptions {
    /// Every option.
    pub const NAMES: &'static [&'static str] =
        &["auth", "endpoint", "allow_http", "timeout", "connect_timeout", "ca_file"];

    /// Reads them.
    ///
    /// # Errors
    /// `Config` for values that they do not have.
    pub fn read(settings: &StoreSettings) -> Result<Self> {
        let options = StoreOptions::new(&settings.options);
        Ok(Self {
            auth: Auth::read(options)?,
            endpoint: options.text("endpoint")?.map(str::to_owned),
            http: HttpOptions::read(settings)?,
        })
    }

    pub(super) async fn open(&self, settings: &StoreSettings) -> Result<GoogleCloudStorage> {
        self.http.check_endpoint(self.endpoint.as_deref())?;
        let (client, connector) = (self.http.client().await?, self.http.connector().await?);
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(settings.url.bucket()?)
            .with_client_options(client.clone())
            .with_retry(http::retries())
            .with_http_connector(connector);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        // Without any credentials the library looks for a file of its own: that is what a role is.
        builder = match self.auth {
            Auth::Key => {
                let (login, provider) = (settings.login.clone(), OnceCell::new());
                builder.with_credentials(Arc::new(Keys { login, client, provider }))
            }
            Auth::Anonymous => builder.with_credentials(Arc::new(Nobody)).with_skip_signature(true),
            Auth::Role => builder,
        };
        builder.build().map_err(refused)
    }
}

/// Tokens of a service account, whose key is read when the first one is needed.
struct Keys {
    login: Arc<dyn LoginSource>,
    client: ClientOptions,
    provider: OnceCell<GcpCredentialProvider>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("login", &self.login).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let read = async {
            let login = login(&*self.login).await?;
            let hint = "name the JSON key file of a service account as the key file; without one, set auth=anonymous or auth=role";
            let key = need(login.private_key.as_ref(), "service account key", hint)?;
            // The library keeps what gets and renews the tokens to itself, but for the one of a whole store.
            let of_key = GoogleCloudStorageBuilder::new()
                .with_bucket_name("any")
                .with_service_account_key(key.expose_secret())
                .with_client_options(self.client.clone())
                .with_retry(http::retries())
                .build();
            // Its error may hold a piece of the file.
            let store = of_key.map_err(|_| {
                of_login(
                    Error::new(ErrorKind::Config, "log in at store", "the service account key cannot be read")
                        .hint("it is the JSON file that the console gives out"),
                )
            })?;
            Ok::<_, object_store::Error>(store.credentials().clone())
        };
        self.provider.get_or_try_init(|| read).await?.get_credential().await
    }
}

/// Nobody's credentials.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl CredentialProvider for Nobody {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        Ok(Arc::new(GcpCredential { bearer: String::new() }))
    }
}
