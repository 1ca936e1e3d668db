//! `roomcast rooms`: lists the rooms.

use std::process::ExitCode;

use roomcast_client::RoomList;
use serde_json::json;

use super::connect::{Server, block_on, explain};
use super::text::{Gone, outcome, plain, plain_json, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast rooms
  roomcast rooms --namespace game --json | jq -r '.rooms[].room'")]
pub struct Args {
    /// Of this namespace instead of the listener's own
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(list(args))
}

async fn list(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.connect().await?;
    let rooms = client.rooms(args.namespace.as_deref()).await;
    client.close().await;
    let rooms = rooms.map_err(explain)?;
    Ok(outcome(if args.json { show_json(&rooms) } else { show(&rooms) }))
}

fn show_json(list: &RoomList) -> Result<(), Gone> {
    let rooms = list.rooms.iter();
    let rooms: Vec<_> =
        rooms.map(|room| json!({"room": room.room, "members": room.members})).collect();
    print(&plain_json(&json!({"rooms": rooms, "truncated": list.truncated}).to_string()))
}

fn show(list: &RoomList) -> Result<(), Gone> {
    for room in &list.rooms {
        print(&format!("{:>7}  {}", room.members, plain(&room.room)))?;
    }
    if list.rooms.is_empty() {
        eprintln!(
            "no rooms yet, or none that you may see: the first one to join makes one, as `roomcast \
             chat --room lobby`"
        );
    }
    if list.truncated {
        eprintln!("… and more than one answer may hold");
    }
    Ok(())
}
