//! TLS below a link.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::TlsConnector;

use super::BoxIo;
use crate::Error;
use crate::url::ServerUrl;

/// Who is trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// Certificates in PEM that are trusted beside the system's.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Trust anybody.
    pub(crate) anybody: bool,
    /// Made once for all links of a client: reading the system's certificates takes a while, and
    /// a link that comes back can take up its TLS session again.
    config: OnceLock<Arc<ClientConfig>>,
}

/// Puts TLS onto an open stream.
pub(crate) async fn wrap(url: &ServerUrl, trust: &Trust, io: BoxIo) -> Result<BoxIo, Error> {
    let failed = |reason: String| Error::Handshake { address: url.to_string(), reason };
    let config = match trust.config.get() {
        Some(config) => Arc::clone(config),
        None => {
            let config = Arc::new(config(trust, trust.anybody, DEFAULT_VERSIONS)?);
            Arc::clone(trust.config.get_or_init(|| config))
        }
    };
    let connector = TlsConnector::from(config);
    let name = ServerName::try_from(url.host.clone())
        .map_err(|error| Error::Invalid(format!("`{}`: {error}", url.host)))?;
    let stream = connector.connect(name, io).await.map_err(|error| failed(error.to_string()))?;
    Ok(Box::new(stream))
}

/// The configuration of one QUIC connection, which has TLS 1.3 only. `anybody` is trusted beside
/// those of `trust`.
pub(super) fn quic_config(trust: &Trust, anybody: bool) -> Result<ClientConfig, Error> {
    config(trust, anybody || trust.anybody, &[&rustls::version::TLS13])
}

fn config(
    trust: &Trust,
    anybody: bool,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let invalid = |error: String| Error::Invalid(format!("TLS: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| invalid(error.to_string()))?;
    if anybody {
        let verifier = Arc::new(TrustAnybody(provider));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for pem in &trust.roots {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
    }
    // Certificates of the system that cannot be read are passed over: a single odd one would
    // otherwise shut out every server.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Accepts every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
