//! The certificate of a QUIC listener on loopback that has none configured.
//!
//! Browsers take a certificate that nobody has signed if the page names its hash, it is for
//! ECDSA on P-256, and it is good for at most 14 days (W3C WebTransport section 6.9.1,
//! `serverCertificateHashes`). So one is made at the start, and another before it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{CertificateError, sha256};

/// How long one is good for, from an hour before it was made: clocks differ.
const LIFE: Duration = Duration::from_secs(10 * DAY);

/// When another takes its place. Who has looked up its hash has three days to connect.
const RENEWAL: Duration = Duration::from_secs(7 * DAY);

const HOUR: Duration = Duration::from_secs(3_600);

const DAY: u64 = 86_400;

/// A certificate that renews itself.
#[derive(Debug)]
pub(super) struct Development {
    provider: Arc<CryptoProvider>,
    /// A lock: taken once for each handshake, as long as making a key takes at the most.
    current: Mutex<Made>,
}

#[derive(Debug, Clone)]
struct Made {
    key: Arc<CertifiedKey>,
    hash: Vec<u8>,
    renew_at: SystemTime,
}

impl Development {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Result<Self, CertificateError> {
        let current = Mutex::new(make(&provider, SystemTime::now())?);
        Ok(Self { provider, current })
    }

    /// The SHA-256 of the certificate in use.
    pub(super) fn hash(&self) -> Vec<u8> {
        self.at(SystemTime::now()).hash
    }

    fn at(&self, now: SystemTime) -> Made {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= current.renew_at {
            match make(&self.provider, now) {
                Ok(made) => *current = made,
                Err(error) => tracing::error!(%error, "the old one stays"),
            }
        }
        current.clone()
    }
}

impl ResolvesServerCert for Development {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(SystemTime::now()).key)
    }
}

fn make(provider: &CryptoProvider, now: SystemTime) -> Result<Made, CertificateError> {
    let failed = |error: String| CertificateError::Development(error);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let key = key.map_err(|error| failed(error.to_string()))?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let params = CertificateParams::new(names);
    let mut params = params.map_err(|error| failed(error.to_string()))?;
    let begin = now - HOUR;
    (params.not_before, params.not_after) = (begin.into(), (begin + LIFE).into());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "roomcast development");
    let made = params.self_signed(&key).map_err(|error| failed(error.to_string()))?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = CertifiedKey::from_der(vec![made.der().clone()], private, provider);
    let key = key.map_err(|error| failed(error.to_string()))?;
    Ok(Made { key: Arc::new(key), hash: sha256(made.der()), renew_at: now + RENEWAL })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_before_it_ends() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let development = Development::new(provider).unwrap();
        let now = SystemTime::now();
        let first = development.at(now);
        assert_eq!(first.hash.len(), 32);
        assert_eq!(development.at(now + RENEWAL - HOUR).hash, first.hash);
        let second = development.at(now + RENEWAL + HOUR);
        assert_ne!(second.hash, first.hash);
        assert_eq!(development.at(now + RENEWAL + HOUR).hash, second.hash);
        // What browsers ask for, and that the first is still good when the second comes.
        assert!(LIFE <= Duration::from_secs(14 * DAY) && RENEWAL + HOUR < LIFE);
    }
}
