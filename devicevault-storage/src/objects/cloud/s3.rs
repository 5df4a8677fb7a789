//! Amazon S3, and servers that speak as it does.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Result};
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum, S3ConditionalPut};
use object_store::client::HttpConnector as _;
use tokio::sync::OnceCell;

use super::uploads::BucketUploads;
use super::{Auth, HttpOptions, http, lacks, login, need, refused};
use crate::objects::{LoginSource, StoreOptions, StoreSettings, Uploads};

/// Whether the bucket is in the path or in the name of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://server/bucket/…`: what servers of one's own usually want.
    Path,
    /// `https://bucket.server/…`: what Amazon wants.
    Virtual,
}

/// What the store encrypts with, besides what is sealed before it gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// Keys of the service: `AES256`.
    Service,
    /// A key of the provider's key service: `aws:kms` with its identifier.
    Kms(String),
}

/// Options of `s3://` URLs, each named as in [`NAMES`](Self::NAMES).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Options {
    /// `auth`: who the requests are of. The key's id is the login's user name, its secret the password.
    pub auth: Auth,
    /// `endpoint`: the server, such as `https://s3.example:9000`; Amazon's of the region by default.
    pub endpoint: Option<String>,
    /// `region`, such as `eu-central-1`; `us-east-1` by default, which servers of one's own usually take.
    pub region: Option<String>,
    /// `addressing`: `path` or `virtual`; by default `path` with an endpoint, else `virtual`.
    pub addressing: Option<Addressing>,
    /// `encryption`: `AES256`, or `aws:kms` with `kms_key`; as the bucket is set by default.
    pub encryption: Option<Encryption>,
    /// `put_if_absent`: whether the store is asked not to replace what is there, yes by default; some servers refuse the
    /// question. Then one program at a time should write there.
    pub put_if_absent: Option<bool>,
    /// `bulk_delete`: whether many objects are deleted by one request, yes by default; some servers cannot.
    pub bulk_delete: Option<bool>,
    /// `checksum=sha256`: each upload carries the SHA-256 of its bytes. Buckets with an object lock want that of every
    /// object; some servers do not know it.
    pub checksum: bool,
    /// Connections.
    pub http: HttpOptions,
}

impl S3Options {
    /// Every option.
    pub const NAMES: &'static [&'static str] = &[
        "auth",
        "endpoint",
        "region",
        "addressing",
        "encryption",
        "kms_key",
        "put_if_absent",
        "bulk_delete",
        "checksum",
        "allow_http",
        "timeout",
        "connect_timeout",
        "ca_file",
    ];

    /// Reads them.
    ///
    /// # Errors
    /// `Config` for values that they do not have, or that do not go together.
    pub fn read(settings: &StoreSettings) -> Result<Self> {
        let options = StoreOptions::new(&settings.options);
        let addressing = [("path", Addressing::Path), ("virtual", Addressing::Virtual)];
        let kms = options.text("kms_key")?;
        let encryption = match (options.one_of("encryption", &[("AES256", false), ("aws:kms", true)])?, kms) {
            (None, None) => None,
            (Some(false), None) => Some(Encryption::Service),
            (Some(true), Some(key)) => Some(Encryption::Kms(key.to_owned())),
            (Some(true), None) => return Err(together("encryption by aws:kms needs a kms_key")),
            (_, Some(_)) => return Err(together("a kms_key needs encryption=aws:kms")),
        };
        Ok(Self {
            auth: Auth::read(options)?,
            endpoint: options.text("endpoint")?.map(str::to_owned),
            region: options.text("region")?.map(str::to_owned),
            addressing: options.one_of("addressing", &addressing)?,
            encryption,
            put_if_absent: options.one_of("put_if_absent", &[("yes", true), ("no", false)])?,
            bulk_delete: options.one_of("bulk_delete", &[("yes", true), ("no", false)])?,
            checksum: options.one_of("checksum", &[("sha256", true)])?.is_some(),
            http: HttpOptions::read(settings)?,
        })
    }

    fn style(&self) -> Addressing {
        self.addressing.unwrap_or(match self.endpoint {
            Some(_) => Addressing::Path,
            None => Addressing::Virtual,
        })
    }

    /// What finds uploads that broke off.
    pub(super) async fn uploads(&self, settings: &StoreSettings) -> Result<Arc<dyn Uploads>> {
        let (bucket, region) = (settings.url.bucket()?, self.region.as_deref().unwrap_or("us-east-1"));
        let of_bucket = match (&self.endpoint, self.style()) {
            (Some(endpoint), Addressing::Path) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            (Some(endpoint), Addressing::Virtual) => {
                endpoint_of(endpoint.trim_end_matches('/'), bucket, Addressing::Virtual)?
            }
            (None, Addressing::Path) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
            (None, Addressing::Virtual) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        };
        let store = self.open(settings).await?;
        let http = self.http.connector().await?.connect(&self.http.client().await?).map_err(refused)?;
        let credentials = (self.auth != Auth::Anonymous).then(|| store.credentials().clone());
        let prefix = settings.url.path().clone();
        Ok(Arc::new(BucketUploads { http, bucket: of_bucket, region: region.to_owned(), prefix, credentials }))
    }

    pub(super) async fn open(&self, settings: &StoreSettings) -> Result<AmazonS3> {
        self.http.check_endpoint(self.endpoint.as_deref())?;
        let bucket = settings.url.bucket()?;
        let style = self.style();
        let (client, connector) = (self.http.client().await?, self.http.connector().await?);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(http::retries())
            .with_http_connector(connector)
            .with_conditional_put(match self.put_if_absent {
                Some(false) => S3ConditionalPut::Disabled,
                _ => S3ConditionalPut::ETagMatch,
            })
            .with_disable_bulk_delete(self.bulk_delete == Some(false))
            .with_virtual_hosted_style_request(style == Addressing::Virtual);
        if self.checksum {
            builder = builder.with_checksum_algorithm(Checksum::SHA256);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint_of(endpoint, bucket, style)?);
        }
        builder = match &self.encryption {
            None => builder,
            // The library keeps the type of this key to itself, but for its name.
            Some(Encryption::Service) => {
                builder.with_config("aws_server_side_encryption".parse().map_err(refused)?, "AES256")
            }
            Some(Encryption::Kms(key)) => builder.with_sse_kms_encryption(key),
        };
        builder = match self.auth {
            Auth::Key => {
                builder.with_credentials(Arc::new(Keys { login: settings.login.clone(), known: OnceCell::new() }))
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

/// What Amazon's container and workload services set for the programs that they run; on a machine nothing is set, and its
/// metadata service is asked.
const ROLE: [(&str, AmazonS3ConfigKey); 7] = [
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
];

fn together(why: &str) -> Error {
    Error::new(ErrorKind::Config, "open store", why.to_owned())
}

/// The library wants the bucket in an endpoint that is addressed by the name of the host.
fn endpoint_of(endpoint: &str, bucket: &str, style: Addressing) -> Result<String> {
    match (style, endpoint.split_once("://")) {
        (Addressing::Path, _) => Ok(endpoint.to_owned()),
        (Addressing::Virtual, Some((scheme, host))) if !host.is_empty() => Ok(format!("{scheme}://{bucket}.{host}")),
        (Addressing::Virtual, _) => Err(together("the endpoint is no URL")),
    }
}

/// The key, read when the first request is signed.
struct Keys {
    login: Arc<dyn LoginSource>,
    known: OnceCell<Arc<AwsCredential>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("login", &self.login).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = async {
            let login = login(&*self.login).await?;
            if login.username.is_empty() {
                return Err(lacks(
                    "access key id",
                    "give it as the user, or name a credential; without one, set auth=anonymous or auth=role",
                ));
            }
            let hint = "say where it is found: a credential, an environment variable, a file or a command";
            let secret = need(login.password.as_ref(), "secret access key", hint)?;
            let secret_key = secret.expose_secret().to_owned();
            Ok(Arc::new(AwsCredential { key_id: login.username, secret_key, token: None }))
        };
        self.known.get_or_try_init(|| read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<S3Options> {
        let mut settings = StoreSettings::new("s3://bucket".parse().unwrap());
        settings.options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        S3Options::read(&settings)
    }

    #[test]
    fn options_that_do_not_go_together_are_told() {
        for bad in [
            [("encryption", "aws:kms")].as_slice(),
            &[("kms_key", "k")],
            &[("kms_key", "k"), ("encryption", "AES256")],
            &[("encryption", "des")],
            &[("addressing", "x")],
            &[("auth", "none")],
        ] {
            assert_eq!(read(bad).unwrap_err().kind(), ErrorKind::Config, "{bad:?}");
        }
        let good = read(&[("kms_key", "k"), ("encryption", "aws:kms"), ("auth", "role")]).unwrap();
        assert_eq!((good.encryption, good.auth), (Some(Encryption::Kms("k".to_owned())), Auth::Role));
    }

    #[test]
    fn an_endpoint_without_tls_has_to_be_asked_for() {
        let with = |endpoint: &str, http: &str| {
            let options = read(&[("endpoint", endpoint), ("allow_http", http)]).unwrap();
            options.http.check_endpoint(options.endpoint.as_deref())
        };
        with("https://s3.example", "no").unwrap();
        with("http://127.0.0.1:9000", "yes").unwrap();
        for (endpoint, http) in [("http://127.0.0.1", "no"), ("127.0.0.1:9000", "yes"), ("ftp://x", "yes")] {
            assert_eq!(with(endpoint, http).unwrap_err().kind(), ErrorKind::Config, "{endpoint}");
        }
        for endpoint in
            ["https://u:hunter2@s3.example", "https://hunter2@s3.example", "https://s3.example/?sig=hunter2"]
        {
            assert!(!format!("{:?}", with(endpoint, "no").unwrap_err()).contains("hunter2"), "{endpoint}");
        }
    }

    #[test]
    fn the_bucket_goes_where_the_server_wants_it() {
        let of = |style| endpoint_of("https://s3.example:9000", "b", style).unwrap();
        assert_eq!(of(Addressing::Path), "https://s3.example:9000");
        assert_eq!(of(Addressing::Virtual), "https://b.s3.example:9000");
    }
}
