//! TLS of control and data connections.

use std::sync::Arc;

use devicevault_core::{Error, ErrorKind, Result};
use rustls_platform_verifier::BuilderVerifierExt as _;
use suppaftp::tokio::AsyncRustlsConnector;
use suppaftp::tokio_rustls::TlsConnector;
use suppaftp::tokio_rustls::rustls::client::Resumption;
use suppaftp::tokio_rustls::rustls::crypto::aws_lc_rs;
use suppaftp::tokio_rustls::rustls::pki_types::CertificateDer;
use suppaftp::tokio_rustls::rustls::pki_types::pem::PemObject as _;
use suppaftp::tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Tickets of one control connection; its data connections use them up one by one.
const TICKETS: usize = 64;

/// Which servers are believed.
#[derive(Clone)]
pub(super) struct Trust(ClientConfig);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Those with a certificate of these authorities, or of the system's.
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self> {
        let fail = |why: &str| Error::new(ErrorKind::Config, "read certificates of authorities", why.to_owned());
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| fail("TLS cannot be set up").because(e))?;
        let Some(pem) = authorities else {
            let config = builder
                .with_platform_verifier()
                .map_err(|e| fail("the certificates of the system cannot be used").because(e))?;
            return Ok(Self(config.with_no_client_auth()));
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| fail("the file is not PEM").because(e.to_string()))?;
            roots.add(certificate).map_err(|e| fail("a certificate in it cannot be used").because(e))?;
        }
        if roots.is_empty() {
            return Err(fail("there is no certificate in it").hint("name a PEM file with -----BEGIN CERTIFICATE-----"));
        }
        Ok(Self(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    /// For one control connection and its data connections. Servers insist that these resume the session of that one,
    /// and a session of another control connection means nothing to them.
    pub(super) fn connector(&self) -> AsyncRustlsConnector {
        let mut config = self.0.clone();
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        AsyncRustlsConnector::from(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_told() {
        for (pem, word) in [
            (&b""[..], "no certificate"),
            (b"hello", "no certificate"),
            (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "PEM"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
        ] {
            let e = Trust::new(Some(pem)).unwrap_err();
            assert!(e.message().contains(word) && e.kind() == ErrorKind::Config, "{e:?}");
        }
        Trust::new(None).unwrap();
    }
}
