//! `roomcast room`: shows one room.

use std::process::ExitCode;

use anyhow::anyhow;
use roomcast_client::{Client, Error, ErrorCode, History, Member, MemberList, Presence};
use serde_json::json;

use super::connect::{Server, block_on, explain};
use super::text::{Gone, count, event_json, member_json, outcome, plain, plain_json, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast room lobby
  roomcast room game/arena-7 --history 50 --json --token KEY")]
pub struct Args {
    /// The room, or namespace/room
    #[arg(value_parser = super::connect::room)]
    room: String,
    /// Show so many of the last events
    #[arg(long, default_value_t = 10, value_name = "N")]
    history: u32,
    /// Take a seat for the moment: rooms tell only their members who is in them
    #[arg(long)]
    join: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

const NOT_A_MEMBER: &str = "a room tells only its members who is in it: take a seat for the \
    moment with --join, or give a key with the right `admin` with --token";

struct Shown {
    presence: Presence,
    members: MemberList,
    history: History,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(show(args))
}

async fn show(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.connect().await?;
    let shown = ask(&client, &args).await;
    client.close().await;
    let not_a_member = matches!(&shown, Err(e) if e.code() == Some(ErrorCode::NotAMember));
    let shown = shown.map_err(explain).map_err(|error| match not_a_member {
        true => anyhow!("{error}\n{NOT_A_MEMBER}"),
        false => error,
    })?;
    let printed =
        if args.json { print_json(&args.room, &shown) } else { print_text(&args.room, &shown) };
    Ok(outcome(printed))
}

async fn ask(client: &Client, args: &Args) -> Result<Shown, Error> {
    // Kept to the end: the seat is needed while the questions are asked.
    let _seat = if args.join { Some(client.join(&args.room).await?) } else { None };
    Ok(Shown {
        presence: client.presence(&args.room).await?,
        members: client.members(&args.room).await?,
        history: client.history(&args.room, None, Some(args.history)).await?,
    })
}

fn print_json(room: &str, shown: &Shown) -> Result<(), Gone> {
    let list: Vec<_> = shown.members.members.iter().map(member_json).collect();
    let events = shown.history.events.iter();
    let events: Vec<_> = events.map(|event| event_json(room, event)).collect();
    let position = shown.history.position;
    let whole = json!({
        "room": room,
        "position": {"epoch": position.epoch.to_string(), "offset": position.offset},
        "members": shown.presence.members,
        "users": shown.presence.users,
        "list": list,
        "truncated": shown.members.truncated,
        "history": events,
    });
    print(&plain_json(&whole.to_string()))
}

fn print_text(room: &str, shown: &Shown) -> Result<(), Gone> {
    let Presence { members, users } = shown.presence;
    let position = shown.history.position;
    let (members, users) = (count(members.into(), "member"), count(users.into(), "user"));
    print(&format!("{}: {members}, {users}", plain(room)))?;
    print(&format!("at {}:{}", position.epoch, position.offset))?;
    for member in &shown.members.members {
        print(&format!("  {}", member_line(member)))?;
    }
    if shown.members.truncated {
        print("  …")?;
    }
    if !shown.history.events.is_empty() {
        print("last events:")?;
    }
    for event in &shown.history.events {
        let (from, name) = (plain(&event.sender_name()), plain(&event.name().to_string()));
        let offset = event.position().map_or(0, |at| at.offset);
        print(&format!("  {offset:>6}  {from} [{name}] {}", plain_json(&event.json())))?;
    }
    Ok(())
}

/// `Mina · user mina · session … (away)`
pub fn member_line(member: &Member) -> String {
    let sender = member.sender();
    let mut line = plain(&member.name());
    if let Some(user) = &sender.user {
        line.push_str(&format!(" · user {}", plain(user)));
    }
    line.push_str(&format!(" · session {}", sender.session));
    if member.dropped() {
        line.push_str(" (away)");
    }
    line
}
