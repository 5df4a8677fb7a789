//! What all clouds have in common: connections, certificates, times, retries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};

use super::pages::Doubting;
use crate::fault;
use crate::objects::{StoreOptions, StoreSettings};

/// A file of certificates is not longer.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// How the HTTP client connects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Whether a server may be spoken to without TLS: `allow_http`.
    pub allow_http: bool,
    /// For how long a server may be silent, `timeout`, by default two minutes: all the while one part of an upload is
    /// sent, and between two pieces of an answer. A part has 5 MiB: six of them at a time in two minutes are 260 KB/s, and
    /// slower lines have to be given more time. A connection whose packets nobody confirms ends after 30
    /// seconds whatever is set here.
    pub timeout: Duration,
    /// How long connecting may take, `connect_timeout`, by default ten seconds.
    pub connect_timeout: Duration,
    /// A file of certificates (PEM) that are trusted besides those of the system, `ca_file`: an authority of one's own.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let (timeout, connect_timeout) = (Duration::from_secs(120), Duration::from_secs(10));
        Self { allow_http: false, timeout, connect_timeout, ca_file: None }
    }
}

impl HttpOptions {
    pub(super) fn read(settings: &StoreSettings) -> Result<Self> {
        let options = StoreOptions::new(&settings.options);
        let default = Self::default();
        Ok(Self {
            allow_http: options.flag("allow_http")?,
            timeout: options.seconds("timeout")?.unwrap_or(default.timeout),
            connect_timeout: options.seconds("connect_timeout")?.unwrap_or(default.connect_timeout),
            ca_file: options.text("ca_file")?.map(|file| settings.folder.join(file)),
        })
    }

    /// Refuses an endpoint whose requests could be read by all on the way, unless that was asked for.
    pub(super) fn check_endpoint(&self, endpoint: Option<&str>) -> Result<()> {
        let refuse = |why: &str, hint: &'static str| {
            Err(Error::new(ErrorKind::Config, "open store", why.to_owned()).with("option", "endpoint").hint(hint))
        };
        match endpoint.map(|e| e.split_once("://")) {
            // It is shown, logged and exported.
            Some(Some((_, rest))) if rest.contains(['@', '?', '#']) => refuse(
                "the endpoint holds more than a host, a port and a path",
                "credentials are given by reference: --user with --password-env, --password-file or --credential",
            ),
            None | Some(Some(("https", _))) => Ok(()),
            Some(Some(("http", _))) if self.allow_http => Ok(()),
            Some(Some(("http", _))) => refuse(
                "the endpoint is spoken to without TLS",
                "write https://, or accept that all on the way can read along: allow_http=yes",
            ),
            Some(_) => refuse("the endpoint is no URL", "write it like https://s3.example:9000"),
        }
    }

    /// Makes the clients of requests to the store.
    pub(super) async fn connector(&self) -> Result<Doubting> {
        let trusted = match &self.ca_file {
            Some(file) => {
                reqwest::Certificate::from_pem_bundle(&pem(file).await?).map_err(|e| not_pem(file).because(e))?
            }
            None => Vec::new(),
        };
        let client = reqwest::Client::builder()
            .user_agent(concat!("devicevault/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .https_only(!self.allow_http)
            .read_timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
            .tls_certs_merge(trusted)
            .build();
        let client = client
            .map_err(|e| Error::new(ErrorKind::Config, "open store", "there can be no connections").because(e))?;
        Ok(Doubting::new(client, self.allow_http))
    }

    pub(super) async fn client(&self) -> Result<ClientOptions> {
        let mut client = ClientOptions::new()
            .with_allow_http(self.allow_http)
            // The whole of a large body may take as long as it takes, as long as it goes on.
            .with_timeout_disabled()
            .with_read_timeout(self.timeout)
            .with_connect_timeout(self.connect_timeout);
        if let Some(file) = &self.ca_file {
            for certificate in certificates(file).await? {
                client = client.with_root_certificate(certificate);
            }
        }
        Ok(client)
    }
}

async fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(&pem(file).await?).map_err(|e| not_pem(file).because(e))?;
    if found.is_empty() { Err(unusable(file, "the file holds no certificate")) } else { Ok(found) }
}

async fn pem(file: &Path) -> Result<Vec<u8>> {
    let path = file.to_owned();
    let read = move || {
        use std::io::Read as _;
        let mut pem = Vec::new();
        std::fs::File::open(path)?.take(MAX_CERTIFICATES).read_to_end(&mut pem)?;
        Ok(pem)
    };
    let lost = |e| Error::new(ErrorKind::Internal, "read certificates", "the task that did it was lost").because(e);
    let read: std::io::Result<Vec<u8>> = tokio::task::spawn_blocking(read).await.map_err(lost)?;
    read.map_err(|e| fault::of_io("read certificates", file.display(), e))
}

fn not_pem(file: &Path) -> Error {
    unusable(file, "the file is not PEM")
}

fn unusable(file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Config, "read certificates", why.to_owned())
        .with("file", file.display())
        .hint("it has to hold certificates between BEGIN CERTIFICATE and END CERTIFICATE")
}

/// Retries beneath those of the engine, which tries a whole backup again, with longer waits, and parks what a store
/// cannot take. Here it is the single request that is repeated: one of the hundreds of a large upload or of a listing
/// that met a server just restarting, or a request too many (503 SlowDown), is no reason to begin all over. Twice, within
/// seconds: an outage is to be seen where it can be waited for. Three attempts here times three there are nine of a
/// request, over about ten seconds here and the minutes of the engine.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(3),
            base: 3.,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
    }
}
