//! Keys of every kind, and tokens signed with them by another library's own functions.

#![allow(dead_code, clippy::unwrap_used)]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use rcgen::KeyPair;
use serde_json::{Value, json};

pub const SECRET: &str = "a secret of the tests, 32 bytes and more";

/// A private key and its public half.
pub struct Pair {
    pub algorithm: Algorithm,
    pub private: String,
    pub public: String,
}

impl Pair {
    pub fn new(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            _ => &rcgen::PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        Self { algorithm, private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    pub fn signing(&self) -> EncodingKey {
        let pem = self.private.as_bytes();
        match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem).unwrap(),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem).unwrap(),
            _ => EncodingKey::from_ed_pem(pem).unwrap(),
        }
    }

    /// The public half as a line of a key set.
    pub fn jwk(&self, id: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing(), self.algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        token(&header(self.algorithm), &claims.to_string(), &self.signing(), self.algorithm)
    }

    pub fn sign_as(&self, id: &str, claims: &Value) -> String {
        let mut header = header(self.algorithm);
        header["kid"] = id.into();
        token(&header, &claims.to_string(), &self.signing(), self.algorithm)
    }
}

pub fn header(algorithm: Algorithm) -> Value {
    serde_json::to_value(Header::new(algorithm)).unwrap()
}

/// Any header and any text as claims, signed.
pub fn token(header: &Value, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let head = URL_SAFE_NO_PAD.encode(header.to_string());
    let body = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(body.as_bytes(), key, algorithm).unwrap();
    format!("{body}.{signature}")
}

pub fn hs256(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    token(&header(Algorithm::HS256), &claims.to_string(), &key, Algorithm::HS256)
}

/// Seconds since 1970, and so many more.
pub fn in_s(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now as i64 + seconds
}

/// A good token's claims.
pub fn claims(user: &str) -> Value {
    json!({ "sub": user, "exp": in_s(600), "iat": in_s(0) })
}
