//! `roomcast pub`: publishes one event, or one for each line of standard input.

use std::io::BufRead as _;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use roomcast_client::wire::incoming::Body;
use roomcast_client::wire::{Command, RoomPath};
use roomcast_client::{
    Client, Error, EventName, IntoEventName as _, Payload, Position, PublishOptions, Room,
    payload_of,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connect::{Server, block_on, explain, open};
use super::text::{Gone, outcome, print};

/// So many events wait for their acknowledgement at once. The order stays that of the lines.
const IN_FLIGHT_MAX: usize = 256;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  roomcast pub lobby chat '{\"text\":\"hi\"}'
  roomcast pub lobby chat --text 'hi' --key greeting-1 --token KEY
  seq 1 1000 | roomcast pub lobby count --stdin

Ends with 0 when the server has acknowledged every event, with 1 otherwise.")]
pub struct Args {
    /// The room, or namespace/room
    #[arg(value_parser = super::connect::room)]
    room: String,
    /// What the event is called: a word, or a number
    event: String,
    /// What it says: a JSON value
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    data: Option<String>,
    /// What it says, as chat does: sent as {"text": TEXT}
    #[arg(long, value_name = "TEXT", conflicts_with = "data", allow_hyphen_values = true)]
    text: Option<String>,
    /// One event for each line of standard input, each a JSON value
    #[arg(long, conflicts_with_all = ["data", "text"])]
    stdin: bool,
    /// Publish without taking a seat, where the room lets anyone do so
    #[arg(long)]
    no_join: bool,
    /// May be dropped on its way: the newest wins
    #[arg(long)]
    unreliable: bool,
    /// Idempotency key: the room does not repeat what it heard from this user under the same key.
    /// Who the user is says --token; without one each run is a user of its own
    #[arg(long, conflicts_with_all = ["stdin", "unreliable"])]
    key: Option<String>,
    /// The display name that others see
    #[arg(long)]
    name: Option<String>,
    /// Print the position of each event as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Read before connecting: what is no JSON is found without a server.
    let data = match (&args.data, &args.text) {
        (Some(text), _) => Some(parse(text)?),
        (None, Some(text)) => Some(json!({ "text": text })),
        (None, None) => None,
    };
    block_on(publish(args, data))
}

fn parse(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| {
        format!("`{}` is no JSON (a text needs quotes: '\"hi\"')", super::text::excerpt(text))
    })
}

async fn publish(args: Args, data: Option<Value>) -> anyhow::Result<ExitCode> {
    let mut builder = args.server.access.builder(&args.server.url)?;
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    let client = open(builder, &args.server.url).await?;
    let publisher = Publisher::new(&client, &args).await;
    let done = match publisher {
        Ok(publisher) if args.stdin => all_lines(publisher, args.json).await,
        Ok(publisher) => one(&publisher, data, args.json).await,
        Err(error) => Err(error),
    };
    client.close().await;
    done
}

/// Says events in one room, with a seat or without.
#[derive(Clone)]
struct Publisher {
    client: Client,
    room: RoomPath<'static>,
    seat: Option<Room>,
    event: EventName,
    options: PublishOptions,
    reliable: bool,
}

impl Publisher {
    async fn new(client: &Client, args: &Args) -> anyhow::Result<Self> {
        let event = match args.event.parse() {
            Ok(number) => EventName::Number(number),
            Err(_) => (&args.event).into_event_name()?,
        };
        let mut options = PublishOptions::default();
        if let Some(key) = &args.key {
            options = options.key(key);
        }
        if args.unreliable {
            options = options.unreliable();
        }
        let seat = match args.no_join {
            true => None,
            false => Some(client.join(&args.room).await.map_err(explain)?),
        };
        let room = RoomPath::parse(args.room.clone())?;
        let reliable = !args.unreliable;
        Ok(Self { client: client.clone(), room, seat, event, options, reliable })
    }

    async fn say(&self, data: Option<&Value>) -> Result<Option<Position>, Error> {
        let codec = self.client.codec();
        let data: Option<Payload> = data.map(|data| payload_of(codec, data)).transpose()?;
        if let Some(seat) = &self.seat {
            return seat.publish_with(self.event.clone(), data, self.options.clone()).await;
        }
        let (room, event) = (self.room.clone(), self.event.clone());
        let reliable = self.reliable;
        let command = Command::Publish { room, event, data, reliable, key: None, echo: None };
        match self.client.request(command).await? {
            Body::Ok { position, .. } => Ok(position),
            other => Err(Error::Unexpected(format!("{other:?}"))),
        }
    }
}

async fn one(publisher: &Publisher, data: Option<Value>, json: bool) -> anyhow::Result<ExitCode> {
    let position = publisher.say(data.as_ref()).await.map_err(explain)?;
    Ok(outcome(if json { show(position) } else { Ok(()) }))
}

async fn all_lines(publisher: Publisher, json: bool) -> anyhow::Result<ExitCode> {
    let mut lines = stdin_lines();
    let mut under_way = JoinSet::new();
    let mut number = 0u64;
    loop {
        let line = tokio::select! {
            line = lines.recv(), if under_way.len() < IN_FLIGHT_MAX => line,
            Some(done) = under_way.join_next() => {
                if settle(done?, json)?.is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
                continue;
            }
        };
        let Some(line) = line else { break };
        let line = line.context("standard input")?;
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let data = parse(&line).with_context(|| format!("line {number}"))?;
        let publisher = publisher.clone();
        // Tasks of one thread begin in the order in which they are spawned, so the commands reach
        // the client in the order of the lines.
        under_way.spawn(async move { (number, publisher.say(Some(&data)).await) });
    }
    while let Some(done) = under_way.join_next().await {
        if settle(done?, json)?.is_err() {
            break;
        }
    }
    if number == 0 {
        bail!("standard input was empty: nothing was published");
    }
    Ok(ExitCode::SUCCESS)
}

fn settle(
    (number, said): (u64, Result<Option<Position>, Error>),
    json: bool,
) -> anyhow::Result<Result<(), Gone>> {
    let position = said.map_err(explain).map_err(|error| anyhow!("line {number}: {error}"))?;
    Ok(if json { show(position) } else { Ok(()) })
}

fn show(position: Option<Position>) -> Result<(), Gone> {
    let position = position.map(|at| json!({"epoch": at.epoch.to_string(), "offset": at.offset}));
    print(&json!({ "position": position }).to_string())
}

/// Lines of standard input, read by a thread of its own because reading cannot be interrupted.
/// At most 64 wait.
pub fn stdin_lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (lines, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
