//! `roomcast kick`: puts somebody out of a room.

use std::process::ExitCode;

use roomcast_client::To;

use super::connect::{Server, block_on, explain};
use super::text::plain;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast kick lobby mina --token KEY --message 'be kind'
  roomcast kick lobby 5Yf0wX6lS2a3kq9cQ1bT7w --token KEY

`roomcast room ROOM` shows who is there. The key needs the right `admin`.")]
pub struct Args {
    /// The room, or namespace/room
    #[arg(value_parser = super::connect::room)]
    room: String,
    /// A session (22 characters) or a user, all of whose sessions are meant
    // Sessions may begin with `-`.
    #[arg(allow_hyphen_values = true)]
    who: String,
    /// WHO is a user, even if it looks like a session
    #[arg(long)]
    user: bool,
    /// Why; the one who is put out reads it
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(kick(args))
}

async fn kick(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.connect().await?;
    let who = match args.who.parse() {
        Ok(session) if !args.user => To::Session(session),
        _ => To::User(args.who.clone()),
    };
    let kicked = client.kick(&args.room, who, args.message.as_deref()).await;
    client.close().await;
    kicked.map_err(explain)?;
    eprintln!("{} is out of {}", plain(&args.who), plain(&args.room));
    Ok(ExitCode::SUCCESS)
}
