//! `[[auth.tokens]]`: who signs tokens, and how that is checked.

use std::path::PathBuf;

use roomcast_core::Rule;
use serde::{Deserialize, Serialize};

/// Who signs tokens: one key, or one set of keys. See
/// [`Config`](super::Config) for an example.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// How tokens are signed. It is never taken from a token.
    pub algorithm: Algorithm,
    /// The secret of `HS256`, at least 32 bytes.
    #[serde(default)]
    pub secret: Option<String>,
    /// The file that the secret stands in; line breaks at its end do not count.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The public key, as PEM.
    #[serde(default)]
    pub public_key: Option<String>,
    /// The file that the public key stands in, as PEM.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
    /// A file with a JSON Web Key Set.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// Where a JSON Web Key Set is fetched from, at the start and every `refresh_s`.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// How often it is fetched, in seconds; 10 to 86,400.
    #[serde(default = "refresh_s")]
    pub refresh_s: u64,
    /// What `iss` must be.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What `aud` must name; without it, a token that names any is refused.
    #[serde(default)]
    pub audience: Option<String>,
    /// How far clocks may differ, in seconds; 0 to 300.
    #[serde(default = "leeway_s")]
    pub leeway_s: u64,
    /// The only namespaces that the tokens are good for; empty: all.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Whether a token may make its user an admin.
    #[serde(default)]
    pub admin: bool,
}

impl TokenConfig {
    /// One with every key set.
    pub(super) fn full() -> Self {
        Self {
            algorithm: Algorithm::HS256,
            secret: Some(String::new()),
            secret_file: Some(PathBuf::new()),
            public_key: Some(String::new()),
            public_key_file: Some(PathBuf::new()),
            jwks_file: Some(PathBuf::new()),
            jwks_url: Some(String::new()),
            refresh_s: refresh_s(),
            issuer: Some(String::new()),
            audience: Some(String::new()),
            leeway_s: leeway_s(),
            namespaces: vec![String::new()],
            admin: false,
        }
    }
}

fn refresh_s() -> u64 {
    300
}

fn leeway_s() -> u64 {
    30
}

impl std::fmt::Debug for TokenConfig {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenConfig")
            .field("algorithm", &self.algorithm)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// How tokens are signed. See
/// [`Config`](super::Config) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256: who checks can also sign.
    HS256,
    /// RSA (PKCS #1 v1.5) with SHA-256; keys of 2,048 bits or more.
    RS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// What may be done in the rooms that a pattern describes: in the configuration and in the claim
/// `rooms` of tokens. See
/// [`Config`](super::Config) for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// `room`, or `namespace/room`; `*` stands for any run of characters.
    pub room: String,
    /// Names of rights; `*`: all.
    pub can: Vec<String>,
}

impl RuleConfig {
    /// The rule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn rule(&self) -> Result<Rule, String> {
        Rule::new(&self.room, self.can.iter().map(String::as_str))
    }
}
