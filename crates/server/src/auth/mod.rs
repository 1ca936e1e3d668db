//! Signed tokens (JWT): who signs them, what they say, and what is made of it.
//!
//! | file | what |
//! |---|---|
//! | `claims.rs` | what a token says |
//! | `keys.rs` | the keys of one `[[auth.tokens]]`: inline, file, key set |
//! | `sign.rs` | making tokens, for the command line and tests |
//! | `fetch.rs` | key sets at a URL, fetched at the start and every so often |
//!
//! What a token says about itself decides nothing: how it is signed, with which key, and where that
//! key comes from stand in the configuration. A token makes nobody fetch anything.

mod claims;
mod fetch;
mod keys;
mod sign;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use roomcast_core::contained::contained;
use roomcast_core::rights::RulesOf;
use roomcast_core::{Authenticate, Grants, Identity, Now, Revoked, Rule};
use roomcast_wire::{Codec, ErrorCode, Name, Payload, Refusal};

pub use self::claims::{Claims, Seconds};
use self::keys::Keys;
pub use self::keys::{SECRET_BYTES_MIN, check_secret};
pub use self::sign::sign;
use crate::builder::Builder;
use crate::config::{Config, ConfigError, Problem, RuleConfig, TokenConfig, none_of};
use crate::handle::{Asked, ServerHandle};

/// Most sections `[[auth.tokens]]`: each may be asked about a token.
const SOURCES_MAX: usize = 64;

/// Longest `jti`, in bytes: revocations keep them. A token with a longer one is refused.
pub const TOKEN_ID_BYTES_MAX: usize = 255;

/// Why a token is not good whose key is not among those that are known.
pub const NO_KEY: &str = "no key of this server verifies it";

/// All who sign tokens.
///
/// ```
/// use roomcast::auth::{Claims, Seconds, Tokens, check_secret, sign};
/// use roomcast::config::{Algorithm, Config};
///
/// let secret = "32 bytes of chance that only you know";
/// check_secret(secret.as_bytes())?;
/// let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
/// let claims = Claims {
///     sub: "mina".to_owned(),
///     exp: Seconds(now + 600),
///     nbf: None,
///     iat: Some(Seconds(now)),
///     jti: None,
///     iss: None,
///     aud: None,
///     name: Some("Mina".to_owned()),
///     meta: None,
///     admin: false,
///     rooms: None,
/// };
/// let token = sign(Algorithm::HS256, secret.as_bytes(), None, &claims)?;
///
/// // What a server with this configuration makes of it.
/// let toml = format!("[[auth.tokens]]\nalgorithm = 'HS256'\nsecret = '{secret}'\n");
/// let tokens = Tokens::load(&Config::from_toml(&toml, "example")?)?.ok_or("no keys")?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// tokens.fetch().await?; // the keys at URLs, if there are any
/// # Ok::<(), roomcast::config::ConfigError>(()) })?;
/// let verified = tokens.verify(&token, Some("default"))?;
/// assert_eq!(verified.claims.sub, "mina");
/// assert!(tokens.verify(&token.replace('.', "!"), None).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tokens {
    sources: Vec<Source>,
}

/// One `[[auth.tokens]]`. Its keys verify tokens of its issuer only, whatever their `kid`
/// (threat S35).
#[derive(Debug)]
struct Source {
    config: TokenConfig,
    keys: Keys,
}

/// A token that is good. See [`Tokens`] for an example.
#[derive(Debug)]
pub struct Verified {
    /// Which `[[auth.tokens]]` it is of, counted from 0.
    pub source: usize,
    /// What it says.
    pub claims: Claims,
    /// What it is bound to; none: what namespaces and rooms allow.
    pub grants: Option<Arc<Grants>>,
    /// When it ends, in seconds since 1970, the leeway included.
    pub ends_s: u64,
    /// When it was made at the earliest, in seconds since 1970: the clock of who made it may be
    /// ahead by the leeway. None if it has no `iat`.
    pub issued_s: Option<u64>,
}

impl Tokens {
    /// Reads all keys but those at URLs; none if no tokens are configured.
    ///
    /// # Errors
    /// Everything that is wrong with the sections.
    pub fn load(config: &Config) -> Result<Option<Self>, ConfigError> {
        let mut problems = Vec::new();
        let sections = &config.auth.tokens;
        if sections.len() > SOURCES_MAX {
            let message = format!("has {} sections, but may have {SOURCES_MAX}", sections.len());
            problems.push(Problem::new("auth.tokens", message));
        }
        let sources = sections.iter().enumerate().filter_map(|(at, section)| {
            let place = format!("auth.tokens[{at}]");
            check(config, section, &place, &mut problems);
            let keys = Keys::load(section).map_err(|message| Problem::new(place, message));
            let keys = keys.map_err(|problem| problems.push(problem)).ok()?;
            Some(Source { config: section.clone(), keys })
        });
        let sources: Vec<_> = sources.collect();
        none_of(problems)?;
        Ok((!sources.is_empty()).then_some(Self { sources }))
    }

    /// Reads all key files again, and has all key sets fetched. Files that cannot be used leave
    /// the old keys in place.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(crate) fn reload(&self) -> Result<(), ConfigError> {
        let reloaded = self.sources.iter().enumerate().map(|(at, source)| {
            let place = format!("auth.tokens[{at}]");
            source.keys.reload(&source.config).map_err(|message| Problem::new(place, message))
        });
        none_of(reloaded.filter_map(Result::err).collect())
    }

    /// Fetches key sets from now on, on a runtime.
    pub(crate) fn keep_fetching(self: &Arc<Self>, tasks: &tokio::runtime::Handle) {
        for (at, source) in self.sources.iter().enumerate() {
            if source.config.jwks_url.is_some() {
                tasks.spawn(fetch::keep_fetching(Arc::clone(self), at));
            }
        }
    }

    /// Fetches all key sets once.
    ///
    /// # Errors
    /// Every one that cannot be used; the others are there.
    pub async fn fetch(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            let Some(url) = &source.config.jwks_url else { continue };
            if let Err(error) = fetch::once(url, &source.keys).await {
                problems.push(Problem::new(format!("auth.tokens[{at}].jwks_url"), error));
            }
        }
        none_of(problems)
    }

    /// Looks whether a token is good, for a listener of `namespace` if one is named.
    ///
    /// # Errors
    /// Why it is not, without a word of the token.
    pub fn verify(&self, token: &str, namespace: Option<&str>) -> Result<Verified, String> {
        let header = decode_header(token).map_err(|_| "it is no signed token (JWT)".to_owned())?;
        if header.crit.is_some() {
            return Err("its header asks for extensions (`crit`) that are not known".into());
        }
        let mut reason = None;
        for (at, source) in self.sources.iter().enumerate() {
            if header.alg != source.keys.algorithm() {
                continue;
            }
            for key in &source.keys.named(header.kid.as_deref()) {
                match source.verify_with(token, key, namespace) {
                    Ok(verified) => return Ok(Verified { source: at, ..verified }),
                    // What another key says about it counts more than that this one did not sign.
                    Err(None) => {}
                    Err(Some(fault)) => reason = Some(fault),
                }
            }
        }
        Err(reason.unwrap_or_else(|| NO_KEY.into()))
    }
}

impl Source {
    /// None as the error: the key has not signed it.
    fn verify_with(
        &self,
        token: &str,
        key: &jsonwebtoken::DecodingKey,
        namespace: Option<&str>,
    ) -> Result<Verified, Option<String>> {
        let mut validation = Validation::new(self.keys.algorithm());
        validation.leeway = self.config.leeway_s;
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &self.config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let data =
            decode::<Claims>(token, key, &validation).map_err(|error| fault(error.kind()))?;
        let claims = data.claims;
        let grants = self.grants(&claims, namespace).map_err(Some)?;
        let ends_s = claims.exp.0.saturating_add(self.config.leeway_s);
        let earliest = |issued: &Seconds| issued.0.saturating_sub(self.config.leeway_s);
        let issued_s = claims.iat.as_ref().map(earliest);
        Ok(Verified { source: 0, claims, grants, ends_s, issued_s })
    }

    /// What the token is bound to, and whether it may say what it says.
    fn grants(
        &self,
        claims: &Claims,
        namespace: Option<&str>,
    ) -> Result<Option<Arc<Grants>>, String> {
        if claims.admin && !self.config.admin {
            return Err(
                "it says `admin`, which its key may not (`admin` of `[[auth.tokens]]`)".into()
            );
        }
        let issued = claims.iat.map_or(0, |at| at.0);
        if issued > unix_ms() / 1_000 + self.config.leeway_s {
            return Err("it is issued in the future (`iat`)".into());
        }
        let id_bytes = claims.jti.as_ref().map_or(0, String::len);
        if id_bytes > TOKEN_ID_BYTES_MAX {
            return Err(format!("its `jti` has {id_bytes} bytes, more than {TOKEN_ID_BYTES_MAX}"));
        }
        let own = &self.config.namespaces;
        if let Some(namespace) = namespace
            && !own.is_empty()
            && !own.iter().any(|own| own == namespace)
        {
            return Err(format!("its key is not for the namespace `{namespace}`"));
        }
        let rules = match &claims.rooms {
            Some(rooms) => rules(rooms).map_err(|text| format!("its claim `rooms`: {text}"))?,
            None if own.is_empty() => return Ok(None),
            None => {
                let all = own.iter().map(|own| Rule::new(&format!("{own}/*"), ["*"]));
                all.collect::<Result<_, _>>()?
            }
        };
        let foreign = rules
            .iter()
            .find(|rule| !own.is_empty() && !own.iter().any(|own| own == rule.namespace()));
        match foreign {
            Some(rule) => Err(format!("its rule `{rule}` is not in a namespace of its key")),
            None => Ok(Some(Arc::new(Grants::new(RulesOf::Token, rules)))),
        }
    }
}

impl Authenticate for Tokens {
    fn authenticate(&self, now: Now, namespace: &str, token: &str) -> Result<Identity, Refusal> {
        let verified = self.verify(token, Some(namespace)).map_err(|reason| {
            Refusal::new(ErrorCode::InvalidToken, format!("the token is not accepted: {reason}"))
        })?;
        identity(now, unix_ms(), verified)
    }
}

/// The application's own judge of tokens.
struct Contained<A>(A);

impl<A: Authenticate> Authenticate for Contained<A> {
    fn authenticate(&self, now: Now, namespace: &str, token: &str) -> Result<Identity, Refusal> {
        let judged = contained(|| self.0.authenticate(now, namespace, token));
        judged.unwrap_or_else(|_| {
            tracing::error!("`authenticate` panicked (see above); the token is refused");
            let text = "the server's own code failed; its log has the reason";
            Err(Refusal::new(ErrorCode::Internal, text))
        })
    }
}

fn identity(now: Now, unix_ms: u64, verified: Verified) -> Result<Identity, Refusal> {
    let invalid = |claim: &str, error: String| {
        let text = format!("the token is not accepted: `{claim}`: {error}");
        Refusal::new(ErrorCode::InvalidToken, text)
    };
    let Verified { claims, grants, ends_s, issued_s, .. } = verified;
    let name =
        |claim, text: &str| Name::new(text).map_err(|error| invalid(claim, error.to_string()));
    // What was before the start of the server is its start.
    let at = |seconds: u64| {
        Now((now.0.saturating_add(seconds.saturating_mul(1_000))).saturating_sub(unix_ms))
    };
    let metadata = match claims.meta {
        None => None,
        Some(meta) => {
            let bytes =
                serde_json::to_vec(&meta).map_err(|error| invalid("meta", error.to_string()))?;
            let payload = Payload::new(Codec::Json, bytes.into());
            Some(payload.map_err(|error| invalid("meta", error.to_string()))?)
        }
    };
    Ok(Identity {
        user: Some(name("sub", &claims.sub)?),
        name: claims.name.as_deref().map(|text| name("name", text)).transpose()?,
        admin: claims.admin,
        expires: Some(at(ends_s)),
        issued: issued_s.map(at),
        token_id: claims.jti.map(Into::into),
        metadata,
        grants,
    })
}

/// Why a token is refused; none if this key has not signed it.
fn fault(kind: &ErrorKind) -> Option<String> {
    Some(match kind {
        ErrorKind::InvalidSignature => return None,
        ErrorKind::ExpiredSignature => "it has expired".into(),
        ErrorKind::ImmatureSignature => "it is not valid yet (`nbf`)".into(),
        ErrorKind::InvalidIssuer => "it is of another issuer (`iss`)".into(),
        ErrorKind::InvalidAudience => "it is for another audience (`aud`)".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no claim `{claim}`"),
        ErrorKind::InvalidClaimFormat(claim) => format!("its claim `{claim}` is of the wrong kind"),
        // The reader's words may hold some of the token.
        ErrorKind::Json(_) => {
            "a claim is missing, given twice, or of the wrong kind (see docs/tokens.md)".into()
        }
        _ => "its signature cannot be checked".into(),
    })
}

/// Rules of a claim or of the configuration.
///
/// # Errors
/// The first that is wrong.
pub(crate) fn rules(rooms: &[RuleConfig]) -> Result<Vec<Rule>, String> {
    let most = roomcast_core::rights::RULES_MAX;
    if rooms.len() > most {
        return Err(format!("{} rules, more than {most}", rooms.len()));
    }
    let rules = rooms.iter().enumerate();
    rules.map(|(at, one)| one.rule().map_err(|text| format!("rule {}: {text}", at + 1))).collect()
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    // A clock before 1970 makes every token expired or not valid yet: nobody is let in by it.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// What can be known of a section without reading its keys.
fn check(config: &Config, section: &TokenConfig, place: &str, problems: &mut Vec<Problem>) {
    let mut wrong = |key: &str, message: String| {
        problems.push(Problem::new(format!("{place}.{key}"), message));
    };
    if section.leeway_s > 300 {
        wrong("leeway_s", format!("is {}, but must be 0 to 300", section.leeway_s));
    }
    if !(10..=86_400).contains(&section.refresh_s) {
        wrong("refresh_s", format!("is {}, but must be 10 to 86400", section.refresh_s));
    }
    if section.admin && !section.namespaces.is_empty() {
        let message = "an admin is one of the whole server: leave `namespaces` out";
        wrong("admin", message.into());
    }
    for namespace in &section.namespaces {
        let default = roomcast_wire::name::DEFAULT_NAMESPACE;
        if namespace != default && !config.namespaces.contains_key(namespace) {
            wrong("namespaces", format!("there is no section [namespaces.{namespace}]"));
        }
    }
    let is_set = section.jwks_file.is_some() || section.jwks_url.is_some();
    let sets = config.auth.tokens.iter();
    let sets = sets.filter(|other| other.jwks_file.is_some() || other.jwks_url.is_some());
    if is_set && section.issuer.is_none() && sets.count() > 1 {
        let message = "is missing: with several key sets each needs its own, so that the keys of \
                       one cannot sign tokens of another";
        wrong("issuer", message.into());
    }
}

impl Builder {
    /// Asks `authenticate` about tokens that are none of the configuration's keys, in place of its
    /// `[[auth.tokens]]`. It is called on the threads that carry messages and must not wait; what
    /// has to ask elsewhere is a hook before connect. A panic in it refuses the token with
    /// `internal`.
    pub fn authenticate(mut self, authenticate: impl Authenticate + 'static) -> Self {
        self.authenticate = Some(Arc::new(Contained(authenticate)));
        self
    }
}

impl ServerHandle {
    /// Takes back the right to be here: of all sessions of a user, of a token, or of one session.
    /// They end at once, and their tokens are refused from now on; how many sessions ended.
    /// Revocations are kept in memory, for as long as `limits.token_ms` lets a token last.
    pub fn revoke(&self, revoked: Revoked) -> Asked<u32> {
        self.ask(Ok(roomcast_core::ServerCall::Revoke { revoked }), crate::handle::reached)
    }
}
