//! `roomcast explain`: what a token allows in a room, step by step.

use std::path::PathBuf;
use std::process::ExitCode;

use roomcast::auth::Verified;
use roomcast::{Config, Right};
use serde_json::{Value, json};

use super::super::connect::block_on;
use super::super::text::{outcome, plain, print};
use super::{json_line, load, read_token, until, verify};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0: the token is accepted; 1: it is not.

Examples:
  roomcast explain eyJhbGciOi... battle-7
  roomcast explain eyJhbGciOi... game/lobby --json | jq '.rights[] | select(.allowed)'
  echo \"$TOKEN\" | roomcast explain - lobby")]
pub struct Args {
    /// The token; `-` reads it from standard input
    token: String,
    /// The room, or namespace/room
    room: String,
    /// The configuration; else what `ROOMCAST_CONFIG` names, else roomcast.toml if it is there
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(explain(args))
}

async fn explain(args: Args) -> anyhow::Result<ExitCode> {
    let token = read_token(&args.token)?;
    let config = load(args.config.as_deref())?;
    let (namespace, room) = args.room.split_once('/').unwrap_or(("default", &args.room));
    let mut steps = vec![policy(&config, namespace)];
    let (rights, accepted) = match verify(&config, &token, namespace).await? {
        Err(reason) => {
            steps.push(format!("the token is not accepted: {reason}"));
            (Vec::new(), false)
        }
        Ok(verified) => {
            steps.push(format!("the token is accepted: {}", until(&verified)));
            steps.push(format!("it stands for the user `{}`", verified.claims.sub));
            steps.push(revocation(&verified));
            let rights = Right::ALL.map(|right| decide(&verified, right, namespace, room));
            (rights.to_vec(), true)
        }
    };
    let shown = match args.json {
        true => json_line(&json!({"accepted": accepted, "steps": steps, "rights": rights})),
        false => {
            let numbered = steps.iter().zip(1..).map(|(step, at)| format!("{at}. {step}"));
            let rights = rights.iter().map(|right| {
                let verdict = if right["allowed"] == true { "yes" } else { "no" };
                let word = |key: &str| right[key].as_str().unwrap_or_default().to_owned();
                format!("{:>9}  {verdict:<3}  {}", word("right"), word("because"))
            });
            numbered.chain(rights).map(|line| plain(&line)).collect::<Vec<_>>().join("\n")
        }
    };
    let printed = outcome(print(&shown));
    Ok(if accepted { printed } else { ExitCode::FAILURE })
}

fn policy(config: &Config, namespace: &str) -> String {
    let known = namespace == "default" || config.namespaces.contains_key(namespace);
    match (known, config.is_anonymous_allowed(namespace)) {
        (false, _) => format!("there is no namespace `{namespace}`: clients do not reach it"),
        (true, true) => format!("the namespace `{namespace}` lets sessions without a token in too"),
        (true, false) => format!("the namespace `{namespace}` wants a token"),
    }
}

fn revocation(verified: &Verified) -> String {
    let by_id = match &verified.claims.jti {
        Some(id) => format!("the token `{id}`"),
        None => "the token (it has no `jti`, so only by its user)".to_owned(),
    };
    format!("only a running server knows whether {by_id} was revoked")
}

fn decide(verified: &Verified, right: Right, namespace: &str, room: &str) -> Value {
    let room = (right != Right::Send).then_some(room);
    let (allowed, because) = match &verified.grants {
        _ if verified.claims.admin => (true, "an admin may do everything".to_owned()),
        None => (true, "the token has no rules: what namespace and room allow".to_owned()),
        Some(grants) => {
            let decision = grants.decide(right, namespace, room);
            (decision.allowed, grants.explain(right, decision))
        }
    };
    json!({"right": right.as_str(), "allowed": allowed, "because": because})
}
