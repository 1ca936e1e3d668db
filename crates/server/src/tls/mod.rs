//! TLS of the `wss://`, `tls://` and `quic://` listeners.

mod development;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};

use self::development::Development;
use crate::config::TlsConfig;

/// Most bytes that wait inside a TLS connection; the rest waits in the outbox, which is bounded
/// and shared.
const BUFFER_BYTES: usize = 32 << 10;

/// The certificate cannot be used. One of the reasons why a server does not start:
/// [`StartError`](crate::StartError).
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificate is configured.
    #[error("set `tls.cert` and `tls.key` to PEM files (chain and private key)")]
    Missing,
    /// A file cannot be read.
    #[error("{path}: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// None can be made for development.
    #[error("no certificate for development can be made: {0}")]
    Development(String),
    /// Certificate and key are well-formed but do not serve.
    #[error("certificate {cert} and key {key} cannot be used together: {reason}")]
    Unusable {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What is wrong with them.
        reason: String,
    },
}

/// The certificate of a server and how connections are begun with it.
#[derive(Debug)]
pub(crate) struct Tls {
    source: Source,
    config: Arc<ServerConfig>,
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Source {
    Files { current: Arc<Current>, files: TlsConfig },
    Development(Arc<Development>),
}

/// The certificate in use: new handshakes take it from here, links that are open keep theirs.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the certificate.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub(crate) fn load(files: &TlsConfig) -> Result<Self, CertificateError> {
        let provider = Arc::new(default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(read(files, &provider)?)));
        let config = config(provider, Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        let config = config.map_err(|error| CertificateError::Unusable {
            cert: shown(files.cert.as_deref()),
            key: shown(files.key.as_deref()),
            reason: error.to_string(),
        })?;
        Ok(Self { source: Source::Files { current, files: files.clone() }, config })
    }

    /// Makes a certificate that nobody has signed: for listeners that only this machine reaches.
    ///
    /// # Errors
    /// The TLS library cannot.
    pub(crate) fn development() -> Result<Self, CertificateError> {
        let provider = Arc::new(default_provider());
        let development = Arc::new(Development::new(Arc::clone(&provider))?);
        let config = config(provider, Arc::clone(&development) as Arc<dyn ResolvesServerCert>);
        let config = config.map_err(|error| CertificateError::Development(error.to_string()))?;
        Ok(Self { source: Source::Development(development), config })
    }

    /// The SHA-256 of the certificate, if nobody has signed it: pages name it to their browser.
    pub(crate) fn development_hash(&self) -> Option<Vec<u8>> {
        match &self.source {
            Source::Files { .. } => None,
            Source::Development(development) => Some(development.hash()),
        }
    }

    /// The same certificate for QUIC, which has TLS 1.3 only and names its protocols (ALPN).
    /// Nothing is resumed, so nothing is kept of a connection that has ended.
    ///
    /// # Errors
    /// The TLS library has no TLS 1.3.
    pub(crate) fn for_quic(&self, protocols: Vec<Vec<u8>>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::clone(self.config.crypto_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        let resolver: Arc<dyn ResolvesServerCert> = match &self.source {
            Source::Files { current, .. } => Arc::clone(current) as _,
            Source::Development(development) => Arc::clone(development) as _,
        };
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = protocols;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Reads the files again. What is wrong leaves the certificate in use as it is.
    ///
    /// # Errors
    /// What is wrong with the new one.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        if let Source::Files { current, files } = &self.source {
            let new = read(files, self.config.crypto_provider())?;
            current.0.store(Arc::new(new));
        }
        Ok(())
    }

    /// A new connection's side of TLS.
    pub(crate) fn connection(&self) -> Result<ServerConnection, rustls::Error> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config))?;
        connection.set_buffer_limit(Some(BUFFER_BYTES));
        Ok(connection)
    }
}

fn config(
    provider: Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_no_client_auth().with_cert_resolver(resolver)))
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as SUITE;
    let hash = SUITE.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    hash.map(|hash| hash.as_ref().to_vec()).unwrap_or_default()
}

fn read(files: &TlsConfig, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else {
        return Err(CertificateError::Missing);
    };
    let unreadable = |path: &Path, reason: String| {
        let path = shown(Some(path));
        CertificateError::Unreadable { path, reason }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable(cert, "no certificate (PEM) stands in it".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error.to_string()))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| CertificateError::Unusable {
        cert: shown(Some(cert)),
        key: shown(Some(key)),
        reason: error.to_string(),
    })
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> TlsConfig {
        let cert = directory.join("cert.pem");
        let key = directory.join("key.pem");
        TlsConfig { cert: Some(cert), key: Some(key) }
    }

    fn write_pair(directory: &Path) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn a_reload_takes_the_new_certificate_and_keeps_the_old_if_the_new_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        let first = write_pair(directory.path());
        let tls = Tls::load(&files(directory.path())).unwrap();
        let Source::Files { current, .. } = &tls.source else { unreachable!() };
        let in_use = || current.0.load().cert[0].to_vec();
        assert_eq!(in_use(), first);
        let second = write_pair(directory.path());
        tls.reload().unwrap();
        assert_eq!(in_use(), second);
        std::fs::write(directory.path().join("cert.pem"), "nothing").unwrap();
        assert!(matches!(tls.reload(), Err(CertificateError::Unreadable { .. })));
        assert_eq!(in_use(), second);
        // A key that belongs to another certificate.
        let key = std::fs::read(directory.path().join("key.pem")).unwrap();
        write_pair(directory.path());
        std::fs::write(directory.path().join("key.pem"), key).unwrap();
        assert!(matches!(tls.reload(), Err(CertificateError::Unusable { .. })));
        assert_eq!(in_use(), second);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Tls::load(&TlsConfig::default()).unwrap_err().to_string();
        assert!(error.contains("tls.cert"), "{error}");
    }
}
