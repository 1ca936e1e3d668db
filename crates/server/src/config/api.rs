//! The HTTP API.

use serde::{Deserialize, Serialize};

/// The HTTP API, a part of [`Config`](super::Config).
///
/// ```
/// use roomcast::config::{ApiKeyConfig, Config, api_key_hash, new_api_key};
///
/// let key = new_api_key().ok_or("no random bytes")?; // for the back end alone
/// let mut config = Config::default();
/// config.api.keys.push(ApiKeyConfig {
///     name: "backend".into(),
///     hash: api_key_hash(&key),
///     verbs: Some(vec!["publish".into()]),
///     rooms: Some(vec!["game/*".into()]),
/// });
/// config.namespaces.insert("game".into(), Default::default());
/// config.check()?;
/// assert_eq!((config.api.batch_max, config.api.batch_bytes), (100, 1_048_576));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Most commands of one batch.
    pub batch_max: u32,
    /// Largest body of a batch, in bytes.
    pub batch_bytes: usize,
    /// Who may use it; without a key nobody.
    pub keys: Vec<ApiKeyConfig>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { batch_max: 100, batch_bytes: 1 << 20, keys: Vec::new() }
    }
}

/// One key of the API. See [`ApiConfig`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// What it is called in refusals and logs.
    pub name: String,
    /// `sha256:` and the hexadecimal hash of the key.
    pub hash: String,
    /// What it may be used for; none: everything.
    #[serde(default)]
    pub verbs: Option<Vec<String>>,
    /// Patterns of the rooms that it may touch; none: the whole server.
    #[serde(default)]
    pub rooms: Option<Vec<String>>,
}
