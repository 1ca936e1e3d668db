//! `roomcast token create`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use roomcast::auth::{Claims, Seconds, TOKEN_ID_BYTES_MAX, sign};
use roomcast::config::{Algorithm, RuleConfig, TokenConfig};
use roomcast::{Config, Name, Rule};
use serde_json::json;

use super::super::text::{outcome, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --key and --key-file, the secret of the first HS256 section [[auth.tokens]] signs, and its
issuer and audience are the defaults. For RS256, ES256 and EdDSA the server knows public keys only:
give the private one with --key-file.

The first rule that names a room decides. Rights: join, publish, presence, history, create, send
(with the room * only), or * for all. Without --room the token allows what namespaces and rooms
allow everybody.

Examples:
  roomcast token create --user mina
  roomcast token create --user mina --name Mina --expires 15m --room 'game/battle-*:join,publish'
  roomcast token create --user ops --admin
  roomcast token create --user mina --algorithm ES256 --key-file private.pem
  roomcast chat --token \"$(roomcast token create --user mina)\"")]
pub struct Args {
    /// Who its user is
    #[arg(long, value_name = "NAME", value_parser = name)]
    user: String,
    /// The display name
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// How long it lasts: seconds, or with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    expires: u64,
    /// What may be done where: PATTERN:RIGHT,RIGHT (repeat)
    #[arg(long, value_name = "RULE", value_parser = rule)]
    room: Vec<RuleConfig>,
    /// Allow everything everywhere (the key's section must say `admin = true`)
    #[arg(long)]
    admin: bool,
    /// Its own name, by which it can be revoked
    #[arg(long, value_name = "ID", value_parser = token_id)]
    id: Option<String>,
    /// Anything about the user for the server's own code, as JSON
    #[arg(long, value_name = "JSON", value_parser = value)]
    meta: Option<serde_json::Value>,
    /// How it is signed: HS256, RS256, ES256, EdDSA
    #[arg(long, value_parser = algorithm, default_value = "HS256")]
    algorithm: Algorithm,
    /// The secret; others can see it in the list of processes
    #[arg(long, value_name = "TEXT", conflicts_with = "key_file")]
    key: Option<String>,
    /// The file with the secret, or with the private key as PEM
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// The key's name in a key set (`kid`)
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Who makes it (`iss`)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// Whom it is for (`aud`)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// The configuration; else what `ROOMCAST_CONFIG` names, else roomcast.toml if it is there
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (key, section) = key(args)?;
    let of_section = |of: fn(&TokenConfig) -> &Option<String>| {
        section.as_ref().and_then(|section| of(section).clone())
    };
    check_lasting(args, section.as_ref())?;
    let now = SystemTime::UNIX_EPOCH.elapsed().context("the clock")?.as_secs();
    let claims = Claims {
        sub: args.user.clone(),
        exp: Seconds(now + args.expires),
        nbf: None,
        iat: Some(Seconds(now)),
        jti: args.id.clone(),
        iss: args.issuer.clone().or_else(|| of_section(|section| &section.issuer)),
        aud: args
            .audience
            .clone()
            .or_else(|| of_section(|section| &section.audience))
            .map(Into::into),
        name: args.name.clone(),
        meta: args.meta.clone(),
        admin: args.admin,
        rooms: (!args.room.is_empty()).then(|| args.room.clone()),
    };
    let token = sign(args.algorithm, &key, args.key_id.as_deref(), &claims);
    let token = token.map_err(anyhow::Error::msg)?;
    Ok(outcome(match args.json {
        true => print(&json!({"token": token, "expires": claims.exp.0}).to_string()),
        false => print(&token),
    }))
}

/// A server takes no token that ends later than `limits.token_ms` from now, the leeway of its
/// section included: a revocation might be forgotten before.
fn check_lasting(args: &Args, section: Option<&TokenConfig>) -> anyhow::Result<()> {
    // With a key of its own, the token may be for a server that is configured elsewhere.
    let config = Config::load(args.config.as_deref(), std::env::vars_os());
    let config = if section.is_some() { config? } else { config.unwrap_or_default() };
    let leeway_s = section.map_or(0, |section| section.leeway_s);
    let most_s = (config.limits.token_ms / 1_000).saturating_sub(leeway_s);
    if args.expires > most_s {
        bail!(
            "--expires {}s is more than the server takes: {most_s}s at most (`limits.token_ms`, \
             less `leeway_s`); give a shorter one, and `refresh` before it ends",
            args.expires
        );
    }
    Ok(())
}

/// What signs, and the section of the configuration that it stands in.
fn key(args: &Args) -> anyhow::Result<(Vec<u8>, Option<TokenConfig>)> {
    if let Some(key) = &args.key {
        return Ok((key.clone().into_bytes(), None));
    }
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path);
        let bytes = bytes.with_context(|| format!("{} cannot be read", path.display()));
        bytes.map(|bytes| bytes.trim_ascii_end().to_vec())
    };
    if let Some(path) = &args.key_file {
        return Ok((read(path)?, None));
    }
    if args.algorithm != Algorithm::HS256 {
        bail!("{:?} needs the private key: --key-file private.pem", args.algorithm);
    }
    let config = Config::load(args.config.as_deref(), std::env::vars_os())?;
    let section = config.auth.tokens.into_iter().find(|one| one.algorithm == Algorithm::HS256);
    let Some(section) = section else {
        bail!(
            "no secret to sign with: the configuration has no HS256 section [[auth.tokens]] \
             (--config PATH), and neither --key nor --key-file is given"
        );
    };
    let key = match (&section.secret, &section.secret_file) {
        (Some(secret), _) => secret.clone().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => bail!("the HS256 section [[auth.tokens]] has no secret"),
    };
    Ok((key, Some(section)))
}

fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("`{unit}` is no unit of time: s, m, h or d")),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 90s, 15m, 1h or 7d".to_owned())?;
    let seconds = number.checked_mul(factor).filter(|seconds| *seconds <= 366 * 86_400);
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| "1 s to 366 d".to_owned())
}

fn rule(text: &str) -> Result<RuleConfig, String> {
    let (room, can) = text.rsplit_once(':').ok_or("write it as PATTERN:RIGHT,RIGHT")?;
    let can: Vec<_> = can.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    Rule::new(room, can.iter().copied())?;
    let can = can.into_iter().map(str::to_owned).collect();
    Ok(RuleConfig { room: room.to_owned(), can })
}

fn name(text: &str) -> Result<String, String> {
    Name::new(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

fn token_id(text: &str) -> Result<String, String> {
    match text.len() {
        1..=TOKEN_ID_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("1 to {TOKEN_ID_BYTES_MAX} bytes")),
    }
}

fn value(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let of = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let found = of.into_iter().find(|one| format!("{one:?}").eq_ignore_ascii_case(text));
    found.ok_or_else(|| "HS256, RS256, ES256 or EdDSA".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rules_are_written_briefly() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "h", "1w", "-1h", "0s", "367d", "1.5h", "99999999999999999999"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        let read = rule("game/battle-*: join, publish").map(|rule| (rule.room, rule.can));
        assert_eq!(read, Ok(("game/battle-*".into(), vec!["join".into(), "publish".into()])));
        assert!(name("mina").is_ok() && name("").is_err() && name("a\nb").is_err());
        assert!(token_id(&"x".repeat(255)).is_ok() && token_id(&"x".repeat(256)).is_err());
        for wrong in ["battle-*", "battle-*:fly", ":join", "lobby:send", "a/b/c:join"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }
}
