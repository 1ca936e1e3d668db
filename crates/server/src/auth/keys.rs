//! The keys of one `[[auth.tokens]]`.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};
use tokio::sync::Notify;

use crate::config::{Algorithm, TokenConfig};

/// Shortest secret, in bytes: as long as what HMAC-SHA-256 makes of it.
pub const SECRET_BYTES_MIN: usize = 32;

/// Most keys of a set.
const SET_KEYS_MAX: usize = 256;

/// Largest key file or key set, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 256 << 10;

/// Keys that verify, and can be replaced while the server runs.
pub(super) struct Keys {
    algorithm: Algorithm,
    current: ArcSwap<Vec<Key>>,
    /// A fetch is wanted at once.
    pub(super) wanted: Notify,
}

struct Key {
    /// Its name in a key set. A single key has none and verifies tokens of any `kid`.
    id: Option<String>,
    key: Arc<DecodingKey>,
}

impl std::fmt::Debug for Keys {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys; of a set at a URL there are none yet.
    ///
    /// # Errors
    /// What is wrong with them, without a word of a secret.
    pub(super) fn load(config: &TokenConfig) -> Result<Self, String> {
        let current = ArcSwap::from_pointee(read(config)?);
        Ok(Self { algorithm: config.algorithm, current, wanted: Notify::new() })
    }

    /// Reads them again, or has them fetched.
    ///
    /// # Errors
    /// What is wrong; the old keys stay.
    pub(super) fn reload(&self, config: &TokenConfig) -> Result<(), String> {
        if config.jwks_url.is_some() {
            self.wanted.notify_one();
            return Ok(());
        }
        self.current.store(Arc::new(read(config)?));
        Ok(())
    }

    /// Takes a key set in place of the present keys.
    ///
    /// # Errors
    /// It holds no key of this algorithm; the old keys stay.
    pub(super) fn replace(&self, set: &[u8]) -> Result<usize, String> {
        let keys = read_set(self.algorithm, set)?;
        let count = keys.len();
        self.current.store(Arc::new(keys));
        Ok(count)
    }

    pub(super) fn algorithm(&self) -> Jwa {
        jwa(self.algorithm)
    }

    /// The keys that may have signed a token which names this one. A token without a name is tried
    /// with all of a set only if there is one.
    pub(super) fn named(&self, id: Option<&str>) -> Vec<Arc<DecodingKey>> {
        let keys = self.current.load();
        let only = keys.len() == 1;
        let named = keys.iter().filter(|key| match (&key.id, id) {
            (None, _) => true,
            (Some(own), Some(id)) => own == id,
            (Some(_), None) => only,
        });
        named.map(|key| Arc::clone(&key.key)).collect()
    }
}

pub(crate) fn jwa(algorithm: Algorithm) -> Jwa {
    match algorithm {
        Algorithm::HS256 => Jwa::HS256,
        Algorithm::RS256 => Jwa::RS256,
        Algorithm::ES256 => Jwa::ES256,
        Algorithm::EdDSA => Jwa::EdDSA,
    }
}

fn read(config: &TokenConfig) -> Result<Vec<Key>, String> {
    let TokenConfig { secret, secret_file, public_key, public_key_file, .. } = config;
    let TokenConfig { jwks_file, jwks_url, algorithm, .. } = config;
    let is_symmetric = *algorithm == Algorithm::HS256;
    let given = [
        (secret.is_some(), true),
        (secret_file.is_some(), true),
        (public_key.is_some(), false),
        (public_key_file.is_some(), false),
        (jwks_file.is_some(), false),
        (jwks_url.is_some(), false),
    ];
    let fitting = given.iter().filter(|(is_given, fits)| *is_given && *fits == is_symmetric);
    let unfitting = given.iter().filter(|(is_given, fits)| *is_given && *fits != is_symmetric);
    if fitting.count() != 1 || unfitting.count() != 0 {
        return Err(match is_symmetric {
            true => "HS256 needs one of `secret` and `secret_file`, and no other key",
            false => {
                "needs one of `public_key`, `public_key_file`, `jwks_file` and `jwks_url`, and no \
                 secret"
            }
        }
        .to_owned());
    }
    if let Some(url) = jwks_url {
        super::fetch::check_url(url)?;
        return Ok(Vec::new());
    }
    if let Some(path) = jwks_file {
        return read_set(*algorithm, &file(path)?);
    }
    let bytes = match (secret.as_ref().or(public_key.as_ref()), secret_file.as_ref()) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => file(path)?.trim_ascii_end().to_vec(),
        (None, None) => file(public_key_file.as_deref().unwrap_or(Path::new("")))?,
    };
    let key = Arc::new(single(*algorithm, &bytes)?);
    Ok(vec![Key { id: None, key }])
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    match bytes.len() {
        0..=FILE_BYTES_MAX => Ok(bytes),
        len => Err(format!("{shown} has {len} bytes, more than a key may have")),
    }
}

fn single(algorithm: Algorithm, bytes: &[u8]) -> Result<DecodingKey, String> {
    if algorithm == Algorithm::HS256 {
        check_secret(bytes)?;
        return Ok(DecodingKey::from_secret(bytes));
    }
    let text = String::from_utf8_lossy(bytes);
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key: the server needs the public one only".into());
    }
    let key = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(bytes),
        Algorithm::ES256 => DecodingKey::from_ec_pem(bytes),
        _ => DecodingKey::from_ed_pem(bytes),
    };
    key.map_err(|_| format!("this is no public key for {algorithm:?} as PEM"))
}

/// Looks whether a secret of `HS256` may be used: one that can be guessed lets everybody sign. See
/// [`Tokens`](super::Tokens) for an example.
///
/// # Errors
/// Too short, or not meant to be secret.
pub fn check_secret(secret: &[u8]) -> Result<(), String> {
    if secret.len() < SECRET_BYTES_MIN {
        let len = secret.len();
        return Err(format!(
            "the secret has {len} bytes, but must have at least {SECRET_BYTES_MIN}: \
             openssl rand -base64 48"
        ));
    }
    if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err("the secret is a PEM key: HS256 takes random bytes that only you know".into());
    }
    Ok(())
}

fn read_set(algorithm: Algorithm, bytes: &[u8]) -> Result<Vec<Key>, String> {
    // One at a time: a set may hold keys of kinds that are not known here.
    let set: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|_| "this is no JSON Web Key Set".to_owned())?;
    let keys = set.get("keys").and_then(|keys| keys.as_array());
    let keys = keys.ok_or("this is no JSON Web Key Set: it has no `keys`")?;
    if keys.len() > SET_KEYS_MAX {
        return Err(format!("the set has {} keys, more than {SET_KEYS_MAX}", keys.len()));
    }
    let single = |key: &serde_json::Value| {
        let one = serde_json::json!({ "keys": [key] });
        serde_json::from_value::<JwkSet>(one).ok()?.keys.pop()
    };
    let fitting = keys.iter().filter_map(single).filter(|jwk| fits(algorithm, jwk));
    let keys: Vec<_> = fitting
        .filter_map(|jwk| {
            let key = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
            Some(Key { id: jwk.common.key_id, key })
        })
        .collect();
    if keys.is_empty() {
        return Err(format!("the set holds no key for {algorithm:?}"));
    }
    Ok(keys)
}

/// Whether a key of a set is one for signatures of this algorithm: its kind decides, not what a
/// token says about it.
fn fits(algorithm: Algorithm, jwk: &Jwk) -> bool {
    let is_kind = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let is_for_signing =
        jwk.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let wanted = match algorithm {
        Algorithm::HS256 => KeyAlgorithm::HS256,
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
    };
    let is_of_algorithm = jwk.common.key_algorithm.is_none_or(|of| of == wanted);
    is_kind && is_for_signing && is_of_algorithm
}
