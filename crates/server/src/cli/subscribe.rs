//! `roomcast sub`: prints what is said in rooms.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use roomcast_client::{
    Client, ClientEvent, JoinOptions, LeaveReason, LostReason, Overflow, Position, Room, RoomEvent,
};
use serde_json::{Value, json};
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connect::{Server, block_on, explain, open};
use super::text::{Gone, count, event_json, member_json, plain, plain_json, print, sender_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast sub lobby
  roomcast sub lobby game/arena-7 --json | jq -c 'select(.type==\"event\") | .data'
  roomcast sub lobby --history 20
  roomcast sub lobby --since kJ2mPq0Z:41      everything after that position, then live
  roomcast sub lobby --count 1 --timeout 5    wait for one event; ends with 1 if none comes")]
pub struct Args {
    /// The rooms, each as room or namespace/room
    #[arg(required = true, value_name = "ROOM", value_parser = super::connect::room)]
    rooms: Vec<String>,
    /// Begin after this position (of one room), as `room` and `--json` show it
    // Epochs may begin with `-`.
    #[arg(
        long,
        value_name = "EPOCH:OFFSET",
        value_parser = position,
        allow_hyphen_values = true
    )]
    since: Option<Position>,
    /// Begin with so many of the last events of each room
    #[arg(long, value_name = "N", conflicts_with = "since")]
    history: Option<u32>,
    /// Print each thing that happens as a line of JSON
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds (with --count: with 1 if there were fewer)
    #[arg(long, value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    /// The display name that others see
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    server: Server,
}

fn position(text: &str) -> Result<Position, String> {
    let wrong = || "a position is EPOCH:OFFSET, for example kJ2mPq0Z:41".to_owned();
    let (epoch, offset) = text.split_once(':').ok_or_else(wrong)?;
    let epoch = epoch.parse().map_err(|_| wrong())?;
    Ok(Position { epoch, offset: offset.parse().map_err(|_| wrong())? })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "a number of seconds, for example 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.since.is_some() && args.rooms.len() > 1 {
        bail!("--since is a position of one room: name one room only");
    }
    block_on(subscribe(args))
}

async fn subscribe(args: Args) -> anyhow::Result<ExitCode> {
    let mut builder = args.server.access.builder(&args.server.url)?.overflow(Overflow::Wait);
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    let client = open(builder, &args.server.url).await?;
    let done = listen(&client, &args).await;
    client.close().await;
    done
}

async fn listen(client: &Client, args: &Args) -> anyhow::Result<ExitCode> {
    let mut printer = Printer { json: args.json, left: args.count };
    // One thing at a time waits here; what else comes waits in the rooms' own streams.
    let (happened, mut happenings) = mpsc::channel(1);
    for name in &args.rooms {
        let options = JoinOptions { since: args.since, data: None };
        let room = client.join_with(name, options).await.map_err(explain);
        let room = room.with_context(|| format!("room {}", plain(name)))?;
        if printer.joined(&room).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(limit) = args.history {
            print_history(&room, limit, &mut printer).await?;
        }
        tokio::spawn(forward(room, happened.clone()));
    }
    drop(happened);
    let end = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut told = client.events();
    let mut interrupt = pin!(ctrl_c());
    loop {
        if printer.left == Some(0) {
            return Ok(ExitCode::SUCCESS);
        }
        // In this order, so that what was said before the end is printed before the end.
        tokio::select! {
            biased;
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                return Ok(ended(printer.left));
            }
            // Ended politely, so that the rooms see a member leave and not one get lost.
            _ = &mut interrupt => return Ok(ended(printer.left)),
            happening = happenings.recv() => {
                let Some((room, event)) = happening else {
                    bail!("every room was closed");
                };
                if printer.show(&room, &event).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Some(event) = told.next() => tell(&event)?,
        }
    }
}

fn ended(left: Option<u64>) -> ExitCode {
    match left {
        None => ExitCode::SUCCESS,
        Some(left) => {
            eprintln!("roomcast: ended with {} too few", count(left, "event"));
            ExitCode::FAILURE
        }
    }
}

/// What was said before the seat was taken; the rest comes by the stream.
async fn print_history(room: &Room, limit: u32, printer: &mut Printer) -> anyhow::Result<()> {
    let history = room.history(None, Some(limit)).await.map_err(explain)?;
    for event in history.events {
        let before = event.position().is_some_and(|at| at.offset <= room.position_at_join().offset);
        let gone = before && printer.show(room.name(), &RoomEvent::Event(event)).is_err();
        if gone || printer.left == Some(0) {
            break;
        }
    }
    Ok(())
}

async fn forward(room: Room, happened: mpsc::Sender<(String, RoomEvent)>) {
    while let Some(event) = room.next_event().await {
        if happened.send((room.name().to_owned(), event)).await.is_err() {
            return;
        }
    }
}

/// What happens to the connection stands on standard error: it is not what was asked for.
fn tell(event: &ClientEvent) -> anyhow::Result<()> {
    match event {
        ClientEvent::ConnectionLost { reason } => {
            eprintln!("roomcast: connection lost ({})", plain(reason));
        }
        ClientEvent::Reconnected { resumed: true, transport, .. } => {
            eprintln!("roomcast: resumed by {transport}");
        }
        ClientEvent::Reconnected { transport, .. } => {
            eprintln!("roomcast: connected again by {transport}, as a new session");
        }
        ClientEvent::Closed { reason } => bail!("the server ended it: {}", plain(reason)),
        _ => {}
    }
    Ok(())
}

struct Printer {
    json: bool,
    /// So many events are still to come.
    left: Option<u64>,
}

impl Printer {
    /// From here on nothing is missed: a script waits for this line.
    fn joined(&self, room: &Room) -> Result<(), Gone> {
        let (name, members, at) = (room.name(), room.members_at_join(), room.position_at_join());
        if !self.json {
            let members = count(members.into(), "member");
            eprintln!("roomcast: listening in {}, {members}", plain(name));
            return Ok(());
        }
        let position = json!({"epoch": at.epoch.to_string(), "offset": at.offset});
        let line =
            json!({"type": "joined", "room": name, "position": position, "members": members});
        print(&plain_json(&line.to_string()))
    }

    fn show(&mut self, room: &str, event: &RoomEvent) -> Result<(), Gone> {
        if matches!(event, RoomEvent::Event(_)) {
            match &mut self.left {
                Some(0) => return Ok(()),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let line = if self.json {
            as_json(room, event).map(|value| plain_json(&value.to_string()))
        } else {
            as_text(event).map(|text| format!("{} {text}", plain(room)))
        };
        line.map_or(Ok(()), |line| print(&line))
    }
}

fn as_text(event: &RoomEvent) -> Option<String> {
    Some(match event {
        RoomEvent::Event(event) => {
            let (from, name) = (plain(&event.sender_name()), plain(&event.name().to_string()));
            format!("{from} [{name}] {}", plain_json(&event.json()))
        }
        RoomEvent::Recovered => "* nothing was missed".to_owned(),
        RoomEvent::Lost(reason) => format!("* something was missed: {}", lost_words(*reason)),
        RoomEvent::Closed { .. } => "* closed".to_owned(),
        _ => return None,
    })
}

/// Why something was missed, for a person.
pub fn lost_words(reason: LostReason) -> String {
    match reason {
        LostReason::Epoch => "the room began anew".to_owned(),
        LostReason::Trimmed => "the room no longer keeps it".to_owned(),
        LostReason::Unread { missed } => format!("{missed} lines came faster than they were read"),
        _ => "the position is not of this room".to_owned(),
    }
}

fn as_json(room: &str, event: &RoomEvent) -> Option<Value> {
    Some(match event {
        RoomEvent::Event(event) => event_json(room, event),
        RoomEvent::MemberJoined(member) => {
            json!({"type": "member_joined", "room": room, "member": member_json(member)})
        }
        RoomEvent::MemberLeft { from, reason } => {
            let (from, reason) = (sender_json(from), LeaveReason::as_str(*reason));
            json!({"type": "member_left", "room": room, "from": from, "reason": reason})
        }
        RoomEvent::MemberDropped(from) => {
            json!({"type": "member_dropped", "room": room, "from": sender_json(from)})
        }
        RoomEvent::MemberResumed(from) => {
            json!({"type": "member_resumed", "room": room, "from": sender_json(from)})
        }
        RoomEvent::Presence { members, users } => {
            json!({"type": "presence", "room": room, "members": members, "users": users})
        }
        RoomEvent::Recovered => json!({"type": "recovered", "room": room}),
        RoomEvent::Lost(reason) => {
            json!({"type": "lost", "room": room, "reason": lost_word(*reason)})
        }
        RoomEvent::Closed { reason, .. } => {
            let reason = reason.map_or("refused", roomcast_client::ClosedReason::as_str);
            json!({"type": "room_closed", "room": room, "reason": reason})
        }
        _ => return None,
    })
}

fn lost_word(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Epoch => "epoch",
        LostReason::Trimmed => "trimmed",
        LostReason::Ahead => "ahead",
        LostReason::Forbidden => "forbidden",
        _ => "unread",
    }
}
