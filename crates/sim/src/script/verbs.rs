//! What clients and the server's own code can do in a script.
//!
//! ```text
//! hello [NAME] [token=KEY] [resume[=CLIENT]] [secret=wrong|before]
//! join ROOM [since=@N] [data=JSON]          leave ROOM [data=JSON]
//! create [ROOM] [join] [options=JSON]       say ROOM JSON|TEXT [event=E] [key=K] [echo=false]
//! send CLIENT|user=U EVENT [JSON]               [reliable=false] [size=BYTES]
//! broadcast EVENT [JSON] [namespace=NS]     announce ROOM EVENT [JSON]
//! rooms [namespace=NS]                      members ROOM           presence ROOM
//! history ROOM [since=@N] [limit=N]         refresh KEY            ping         bye
//! kick ROOM CLIENT|user=U [MESSAGE]         delete ROOM            raw BYTES
//! call NAME [JSON] [room=ROOM]              result [JSON] [error=TEXT] [id=N], to the last call
//! ```
//! `noref` anywhere leaves the `ref` out. The server: `create ROOM [JSON] [permanent]`,
//! `delete ROOM`, `announce ROOM EVENT [JSON]`, `kick ROOM CLIENT|user=U`,
//! `join ROOM CLIENT [there] [data=JSON]` (`there`: only if the room is), `leave ROOM CLIENT
//! [data=JSON]`, `say ROOM CLIENT EVENT [JSON] [echo=false] [reliable=false]`,
//! `make ROOM CLIENT [join] [JSON]` (the client makes it), `state ROOM`, `disconnect CLIENT`,
//! `ask CLIENT NAME [JSON] [within=5s]`.

use std::borrow::Cow;

use roomcast_core::{Act, ServerCall};
use roomcast_wire::{
    Command, Epoch, EventName, Name, Payload, Position, Request, Resume, RoomPath, Secret,
    SessionId, Target,
};

use super::stage::{Stage, duration_ms, number, options_of, payload};
use super::words::Words;

pub(super) fn client(stage: &mut Stage, name: &str, text: &str) -> Result<(), String> {
    let client = stage.client(name);
    if let Some(raw) = text.strip_prefix("raw ") {
        stage.say(client, bytes::Bytes::copy_from_slice(raw.as_bytes()));
        return Ok(());
    }
    let mut words = Words::new(text);
    let reference = (!words.flag("noref")).then_some(0);
    let verb = words.need("a verb")?;
    let command = match verb {
        "hello" => hello(stage, client, words)?,
        "say" => say(words)?,
        "create" => create(words)?,
        "send" | "kick" | "broadcast" => to_others(stage, verb, words)?,
        "rooms" => Command::Rooms { namespace: words.value("namespace").map(owned) },
        "refresh" => Command::Refresh { token: owned(words.need("a key")?) },
        "ping" => Command::Ping,
        "bye" => Command::Bye,
        "call" => Command::Call {
            room: words.value("room").map(room).transpose()?,
            call: event(words.need("a name")?)?,
            data: words.next().map(payload).transpose()?,
        },
        "result" => Command::Result {
            id: match words.value("id") {
                Some(id) => number(id)?,
                None => stage.clients[client].asked.ok_or("was asked for nothing")?,
            },
            error: words.value("error").map(owned),
            data: words.next().map(payload).transpose()?,
        },
        verb => in_room(stage, verb, words)?,
    };
    stage.ask(client, Request { reference, command });
    Ok(())
}

fn in_room(stage: &Stage, verb: &str, mut words: Words<'_>) -> Result<Command<'static>, String> {
    let data = words.value("data").map(payload).transpose()?;
    let since = words.value("since");
    let limit = words.value("limit").map(number).transpose()?;
    let text = words.need("a room")?;
    let since = since.map(|since| position(stage, text, since)).transpose()?;
    let room = room(text)?;
    match verb {
        "join" => Ok(Command::Join { room, since, data }),
        "leave" => Ok(Command::Leave { room, data }),
        "members" => Ok(Command::Members { room }),
        "presence" => Ok(Command::Presence { room }),
        "delete" => Ok(Command::Delete { room }),
        "history" => Ok(Command::History { room, since, limit }),
        "announce" => {
            let event = event(words.need("an event")?)?;
            Ok(Command::Announce { room, event, data: words.next().map(payload).transpose()? })
        }
        _ => Err(format!("`{verb}` is no verb")),
    }
}

fn hello(stage: &Stage, client: usize, mut words: Words<'_>) -> Result<Command<'static>, String> {
    let token = words.value("token").map(owned);
    let secret = words.value("secret");
    let whose = match words.value("resume") {
        Some(name) => stage.clients.iter().position(|client| client.name == name),
        None => words.flag("resume").then_some(client),
    };
    let resume = whose.and_then(|whose| {
        let whose = &stage.clients[whose];
        let secret = match secret {
            Some("wrong") => Some(Secret(1)),
            Some(_) => whose.secret_before,
            None => whose.secret,
        };
        Some(Resume { session: whose.session?, secret: secret?, offset: None })
    });
    Ok(Command::Hello { token, name: words.next().map(owned), resume, data: None })
}

fn say(mut words: Words<'_>) -> Result<Command<'static>, String> {
    let name = words.value("event").unwrap_or("chat");
    let size = words.value("size").map(number::<usize>).transpose()?;
    let key = words.value("key").map(owned);
    let echo = words.value("echo").map(|echo| echo == "true");
    let reliable = words.value("reliable") != Some("false");
    let room = room(words.need("a room")?)?;
    let text = words.collect::<Vec<_>>().join(" ");
    let data = match size {
        Some(size) => Some(payload(&format!("\"{}\"", "x".repeat(size.saturating_sub(2))))?),
        None if text.is_empty() => None,
        None => Some(payload(&text).unwrap_or_else(|_| Payload::text(&text))),
    };
    Ok(Command::Publish { room, event: event(name)?, data, reliable, key, echo })
}

fn create(mut words: Words<'_>) -> Result<Command<'static>, String> {
    let options = words.value("options").map(payload).transpose()?;
    let join = words.flag("join");
    Ok(Command::Create { room: words.next().map(room).transpose()?, options, join })
}

fn to_others(stage: &Stage, verb: &str, mut words: Words<'_>) -> Result<Command<'static>, String> {
    if verb == "broadcast" {
        let namespace = words.value("namespace").map(owned);
        let event = event(words.need("an event")?)?;
        let data = words.next().map(payload).transpose()?;
        return Ok(Command::Broadcast { namespace, event, data });
    }
    let user = words.value("user").map(|user| Target::User(owned(user)));
    let room_text = match verb {
        "kick" => Some(words.need("a room")?),
        _ => None,
    };
    let target = match user {
        Some(user) => user,
        None => Target::Session(session(stage, words.need("a name")?)?),
    };
    if let Some(text) = room_text {
        return Ok(Command::Kick { room: room(text)?, target, message: words.next().map(owned) });
    }
    let event = event(words.need("an event")?)?;
    Ok(Command::Send { to: target, event, data: words.next().map(payload).transpose()? })
}

/// `ask CLIENT NAME [JSON] [within=5s]`.
fn ask(stage: &Stage, mut words: Words<'_>) -> Result<ServerCall, String> {
    let timeout_ms = duration_ms(words.value("within").unwrap_or("5s"))?;
    let session = session(stage, words.need("a name")?)?;
    let call = event(words.need("an event")?)?;
    let data = words.next().map(payload).transpose()?;
    Ok(ServerCall::Ask { session, call, data, timeout_ms })
}

pub(super) fn server(stage: &mut Stage, mut words: Words<'_>) -> Result<(), String> {
    let verb = words.need("a verb")?;
    let permanent = words.flag("permanent");
    let user = words.value("user").map(str::to_owned);
    let namespace = words.value("namespace").unwrap_or("default").to_owned();
    let mut room = || words.need("a room").map(str::to_owned);
    let call = match verb {
        "create" => {
            let room = room()?;
            ServerCall::Create { room, options: options_of(words.next())?, permanent }
        }
        "delete" => ServerCall::Delete { room: room()? },
        "announce" => {
            let room = room()?;
            let event = event(words.need("an event")?)?;
            let data = words.next().map(payload).transpose()?;
            ServerCall::Publish { room, event, data, from: None, reliable: true, key: None }
        }
        "kick" => {
            let room = room()?;
            let target = match user {
                Some(user) => user,
                None => session(stage, words.need("a name")?)?.to_string(),
            };
            ServerCall::Kick { room, target }
        }
        "make" | "join" | "leave" | "say" => {
            let room = room()?;
            let session = session(stage, words.need("a name")?)?;
            ServerCall::Act { room, session, act: act(verb, words)? }
        }
        "disconnect" => ServerCall::Disconnect { session: session(stage, words.need("a name")?)? },
        "members" => ServerCall::Members { room: room()? },
        "presence" => ServerCall::Presence { room: room()? },
        "state" => ServerCall::State { room: room()? },
        "history" => ServerCall::History { room: room()?, since: None, limit: None },
        "rooms" => ServerCall::Rooms { namespace },
        "seats" => ServerCall::Seats { session: session(stage, words.need("a name")?)? },
        "ask" => ask(stage, words)?,
        "send" | "broadcast" => server_says(stage, verb, (namespace, user), words)?,
        _ => return Err(format!("`{verb}` is no verb of the server")),
    };
    stage.world().call(0, call);
    Ok(())
}

fn act(verb: &str, mut words: Words<'_>) -> Result<Act, String> {
    let data = words.value("data").map(payload).transpose()?;
    match verb {
        "make" => {
            let join = words.flag("join");
            Ok(Act::Create { options: words.next().map(payload).transpose()?, join })
        }
        "join" => Ok(Act::Join { data, make: !words.flag("there") }),
        "leave" => Ok(Act::Leave { data }),
        _ => {
            let echo = words.value("echo").map(|echo| echo == "true");
            let reliable = words.value("reliable") != Some("false");
            let event = event(words.need("an event")?)?;
            let data = words.next().map(payload).transpose()?;
            Ok(Act::Publish { event, data, reliable, echo, key: None })
        }
    }
}

fn server_says(
    stage: &Stage,
    verb: &str,
    (namespace, user): (String, Option<String>),
    mut words: Words<'_>,
) -> Result<ServerCall, String> {
    let session = match (verb, &user) {
        ("send", None) => Some(session(stage, words.need("a name")?)?),
        _ => None,
    };
    let event = event(words.need("an event")?)?;
    let data = words.next().map(payload).transpose()?;
    Ok(match (session, user) {
        (Some(session), _) => ServerCall::Send { session, event, data, reliable: true },
        (None, Some(user)) => {
            let user = Name::new(&user).map_err(|error| error.to_string())?;
            ServerCall::SendToUser { namespace, user, event, data }
        }
        (None, None) => {
            ServerCall::Broadcast { namespace, event, data, from: None, reliable: true }
        }
    })
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

fn room(text: &str) -> Result<RoomPath<'static>, String> {
    RoomPath::parse(text.to_owned()).map_err(|error| error.to_string())
}

/// A number, or a name.
pub(super) fn event(text: &str) -> Result<EventName, String> {
    match text.parse() {
        Ok(number) => Ok(EventName::Number(number)),
        Err(_) => EventName::text(text).map_err(|error| error.to_string()),
    }
}

/// A client's session; `nobody` has one that does not exist.
fn session(stage: &Stage, name: &str) -> Result<SessionId, String> {
    let client = stage.clients.iter().find(|client| client.name == name);
    match client.and_then(|client| client.session) {
        Some(session) => Ok(session),
        None if name == "nobody" => Ok(SessionId(1)),
        None => Err(format!("`{name}` has no session")),
    }
}

/// `@5`, `@5/2`, or `@5/x` for an epoch that never was.
fn position(stage: &Stage, room: &str, text: &str) -> Result<Position, String> {
    let text = text.strip_prefix('@').ok_or("a position begins with @")?;
    let (offset, epoch) = text.split_once('/').unwrap_or((text, "1"));
    let at: usize = epoch.parse().unwrap_or(usize::MAX);
    let epochs = stage.epochs.get(room);
    let epoch = epochs.and_then(|epochs| epochs.get(at.wrapping_sub(1))).copied();
    Ok(Position { epoch: epoch.unwrap_or(Epoch::new(1)), offset: number(offset)? })
}
