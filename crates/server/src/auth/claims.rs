//! What a token says.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::RuleConfig;

/// The claims of a token that count here; others are passed over. A claim that is given twice, or
/// is of the wrong kind, makes the whole token invalid (threat S33). See
/// [`Tokens`](super::Tokens) for an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// When the token ends.
    pub exp: Seconds,
    /// From when on it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Seconds>,
    /// When it was made; what a revocation of its user is measured by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<Seconds>,
    /// Its own name, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Who made it; looked at where the configuration names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is for: one name or several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Value>,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Anything about the user, for the server's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// Whether broadcast, announce, kick and delete are allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// What may be done where; absent: what namespaces and rooms allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<RuleConfig>>,
}

/// Seconds since 1970: a number, whole or not, never a text; see
/// [`Tokens`](super::Tokens) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seconds(
    /// How many.
    pub u64,
);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_u64().or_else(|| {
            // The year 33,658 is late enough; what is cut off is less than a second.
            let float = number.as_f64().filter(|float| (0.0..1e12).contains(float));
            float.map(|float| float as u64)
        });
        whole.map(Self).ok_or_else(|| D::Error::custom("no time"))
    }
}
