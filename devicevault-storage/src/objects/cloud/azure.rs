//! Azure Blob Storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result};
use object_store::CredentialProvider;
use object_store::azure::{AzureAccessKey, AzureConfigKey, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use tokio::sync::OnceCell;

use super::{Auth, HttpOptions, http, login, need, of_login, refused};
use crate::objects::{LoginSource, StoreOptions, StoreSettings};

/// Options of `az://` URLs, each named as in [`NAMES`](Self::NAMES).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AzureOptions {
    /// `account`: the storage account.
    pub account: String,
    /// `auth`: who the requests are of. The login's password is an access key of the account, or a shared access
    /// signature (`sv=…&sig=…`).
    pub auth: Auth,
    /// `endpoint`: the server, such as `http://127.0.0.1:10000/devstoreaccount1`; Azure's of the account by default.
    pub endpoint: Option<String>,
    /// Connections.
    pub http: HttpOptions,
}

impl AzureOptions {
    /// Every option.
    pub const NAMES: &'static [&'static str] =
        &["account", "auth", "endpoint", "allow_http", "timeout", "connect_timeout", "ca_file"];

    /// Reads them.
    ///
    /// # Errors
    /// `Config` for values that they do not have.
    pub fn read(settings: &StoreSettings) -> Result<Self> {
        let options = StoreOptions::new(&settings.options);
        let account = options.text("account")?.ok_or_else(|| {
            Error::new(ErrorKind::Config, "open store", "the option account is missing")
                .hint("it names the storage account that the container is in")
        })?;
        Ok(Self {
            account: account.to_owned(),
            auth: Auth::read(options)?,
            endpoint: options.text("endpoint")?.map(str::to_owned),
            http: HttpOptions::read(settings)?,
        })
    }

    pub(super) async fn open(&self, settings: &StoreSettings) -> Result<MicrosoftAzure> {
        self.http.check_endpoint(self.endpoint.as_deref())?;
        let (client, connector) = (self.http.client().await?, self.http.connector().await?);
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_container_name(settings.url.bucket()?)
            .with_client_options(client)
            .with_retry(http::retries())
            .with_http_connector(connector);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder = match self.auth {
            Auth::Key => {
                let keys = Keys { login: settings.login.clone(), known: OnceCell::new() };
                builder.with_credentials(Arc::new(keys))
            }
            Auth::Anonymous => builder.with_skip_signature(true),
            Auth::Role => ROLE.iter().fold(builder, |builder, (variable, key)| {
                let value = settings.environment.get(*variable);
                value.into_iter().fold(builder, |b, value| b.with_config(*key, value))
            }),
        };
        builder.build().map_err(refused)
    }
}

/// What Azure's services set for the programs that they run; on a machine nothing is set, and its metadata service is
/// asked.
const ROLE: [(&str, AzureConfigKey); 5] = [
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// The key, read when the first request is signed.
struct Keys {
    login: Arc<dyn LoginSource>,
    known: OnceCell<Arc<AzureCredential>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("login", &self.login).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let read = async {
            let login = login(&*self.login).await?;
            let hint = "say where the access key of the account is found: a credential, an environment variable, a file or a command; without one, set auth=anonymous or auth=role";
            let secret = need(login.password.as_ref(), "access key", hint)?;
            credential(secret.expose_secret()).map(Arc::new)
        };
        self.known.get_or_try_init(|| read).await.cloned()
    }
}

/// An access key is base64; a signature is the query of a URL, and is known by the field that every one has.
fn credential(secret: &str) -> object_store::Result<AzureCredential> {
    let query = secret.trim_start_matches('?');
    if query.starts_with("sig=") || query.contains("&sig=") {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        return Ok(AzureCredential::SASToken(pairs.into_owned().collect()));
    }
    // The library's error repeats nothing of the key.
    let key = AzureAccessKey::try_new(secret).map_err(|e| {
        of_login(
            Error::new(ErrorKind::Config, "log in at store", "the access key is not one")
                .hint("it is the base64 text that the portal shows, or a shared access signature with sig=")
                .because(e),
        )
    })?;
    Ok(AzureCredential::AccessKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_signatures_are_told_apart() {
        assert!(matches!(credential("a2V5a2V5"), Ok(AzureCredential::AccessKey(_))));
        for sas in ["?sv=2024-11-04&sig=a%2Bb", "sig=a%2Bb&sv=2024-11-04"] {
            let Ok(AzureCredential::SASToken(pairs)) = credential(sas) else { panic!("{sas}") };
            assert!(pairs.contains(&("sig".to_owned(), "a+b".to_owned())), "{pairs:?}");
        }
        let e = credential("hunter2!").unwrap_err();
        assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
    }
}
