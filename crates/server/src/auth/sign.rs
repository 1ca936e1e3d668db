//! Making tokens.

use jsonwebtoken::{EncodingKey, Header, encode};

use super::claims::Claims;
use super::keys::{check_secret, jwa};
use crate::config::Algorithm;

/// A token that says `claims`, signed with `key`: the secret of `HS256`, else the private key as
/// PEM (`RS256`: PKCS #1 or #8, the others: PKCS #8). See [`Tokens`](super::Tokens) for an example.
///
/// # Errors
/// The key does not fit, in words for a person and without a word of it.
pub fn sign(
    algorithm: Algorithm,
    key: &[u8],
    key_id: Option<&str>,
    claims: &Claims,
) -> Result<String, String> {
    let signing = match algorithm {
        Algorithm::HS256 => {
            check_secret(key)?;
            Ok(EncodingKey::from_secret(key))
        }
        Algorithm::RS256 => EncodingKey::from_rsa_pem(key),
        Algorithm::ES256 => EncodingKey::from_ec_pem(key),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(key),
    };
    let wrong = |_| format!("this is no private key for {algorithm:?} as PEM");
    let signing = signing.map_err(wrong)?;
    let mut header = Header::new(jwa(algorithm));
    header.kid = key_id.map(str::to_owned);
    encode(&header, claims, &signing).map_err(wrong)
}
