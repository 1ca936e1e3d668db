//! `roomcast token create|check`, and `roomcast explain`.

mod create;
pub mod explain;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use roomcast::Config;
use roomcast::auth::{NO_KEY, Tokens, Verified};
use serde_json::{Value, json};

use super::connect::block_on;
use super::text::{outcome, plain, plain_json, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A token is a JWT: it says who its user is, until when, and what they may do where. Your back end
makes one for each user who signs in, and the client gives it as `token` in `hello`; docs/tokens.md
has the claims. These verbs do the same by hand. The keys stand in [[auth.tokens]] of the
configuration.

Examples:
  roomcast token create --user mina --expires 1h
  roomcast token create --user mina --room 'battle-*:join,publish' --room 'lobby:join'
  roomcast token check eyJhbGciOi...
  roomcast explain eyJhbGciOi... battle-7")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token and print it.
    Create(Box<create::Args>),
    /// Say what a token says, and whether this configuration accepts it.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The token; `-` reads it from standard input
    token: String,
    /// Shown on a listener of this namespace
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The configuration; else what `ROOMCAST_CONFIG` names, else roomcast.toml if it is there
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Create(args) => create::run(&args),
        Verb::Check(args) => block_on(check(args)),
    }
}

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let token = read_token(&args.token)?;
    let config = load(args.config.as_deref())?;
    let verdict = verify(&config, &token, &args.namespace).await?;
    let says = says(&token);
    let shown = match (args.json, &verdict) {
        (true, Ok(verified)) => json_line(&json!({
            "valid": true, "key": place(verified.source), "ends": verified.claims.exp.0,
            "accepted_until": verified.ends_s, "says": says,
        })),
        (true, Err(reason)) => json_line(&json!({"valid": false, "reason": reason, "says": says})),
        (false, _) => {
            let text = serde_json::to_string_pretty(&says)?;
            let verdict = match &verdict {
                Ok(verified) => format!("valid: {}", until(verified)),
                Err(reason) => format!("not valid: {reason}"),
            };
            let lines = text.lines().chain([verdict.as_str()]).map(plain);
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    let printed = outcome(print(&shown));
    Ok(if verdict.is_ok() { printed } else { ExitCode::FAILURE })
}

/// A token of the command line: of standard input, it stands in no list of processes.
fn read_token(argument: &str) -> anyhow::Result<String> {
    let mut token = argument.to_owned();
    if argument == "-" {
        token.clear();
        std::io::stdin().read_to_string(&mut token).context("standard input")?;
    }
    Ok(token.trim().to_owned())
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(path, std::env::vars_os())?)
}

/// Whether the configuration accepts a token, its key sets fetched. One that cannot be fetched
/// counts only if no other key has signed the token.
async fn verify(
    config: &Config,
    token: &str,
    namespace: &str,
) -> anyhow::Result<Result<Verified, String>> {
    let Some(tokens) = Tokens::load(config)? else {
        bail!(
            "the configuration has no [[auth.tokens]]: name the file with --config, or see \
             `roomcast config default`"
        );
    };
    let not_fetched = tokens.fetch().await.err();
    for problem in not_fetched.iter().flat_map(|error| &error.problems) {
        eprintln!("warning: {}", plain(&problem.to_string()));
    }
    let verdict = tokens.verify(token, Some(namespace));
    Ok(verdict.map_err(|reason| match not_fetched {
        Some(_) if reason == NO_KEY => {
            format!(
                "{reason}, but not all key sets could be fetched: its key may be in one of them"
            )
        }
        _ => reason,
    }))
}

/// What a token says of itself, believed by nobody.
fn says(token: &str) -> Value {
    let header = jsonwebtoken::decode_header(token).ok();
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).ok();
    json!({
        "algorithm": header.as_ref().map(|header| format!("{:?}", header.alg)),
        "key_id": header.and_then(|header| header.kid),
        "claims": claims.map(|data| data.claims),
    })
}

fn place(source: usize) -> String {
    format!("auth.tokens[{source}]")
}

fn until(verified: &Verified) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let ends_s = verified.claims.exp.0;
    let left = ends_s.saturating_sub(now);
    let (hours, minutes, seconds) = (left / 3_600, left / 60 % 60, left % 60);
    let leeway = match verified.ends_s.saturating_sub(ends_s) {
        0 => String::new(),
        leeway => format!(" (taken for {leeway} s more: `leeway_s`)"),
    };
    let ends = match now < ends_s {
        true => format!("ends in {hours} h {minutes} min {seconds} s"),
        false => "has ended".to_owned(),
    };
    format!("signed by the key of {}, {ends}{leeway}", place(verified.source))
}

fn json_line(value: &Value) -> String {
    plain_json(&value.to_string())
}
