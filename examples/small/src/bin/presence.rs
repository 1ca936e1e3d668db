//! Who is where: the server keeps a list of all who are online, by what it hears of its own
//! events, and gives it to everybody who enters the room `online` and whenever it changes.

use std::collections::BTreeMap;
use std::thread;

use roomcast::{Config, Events, Heard, HubEvent, Server, ServerHandle};

/// Only the server speaks in `online`; it is always there.
const CONFIG: &str = r#"
    [namespaces.default.static.online]
    publish = "server"
    presence = "off"
"#;

/// How many events may wait for the list; one that lost some begins anew.
const EVENTS: usize = 4_096;

/// How many sessions each room has, by room and then by who they are.
type Online = BTreeMap<String, BTreeMap<String, String>>;

/// Keeps the list until the server ends.
fn keep_list(server: &ServerHandle, mut events: Events) {
    let mut online = Online::new();
    while let Some(heard) = events.next_blocking() {
        let changed = match heard {
            Heard::Lost(_) => {
                online = look(server);
                true
            }
            Heard::Event(event) => note(&mut online, &event),
        };
        if changed {
            let names: BTreeMap<&str, Vec<&String>> =
                online.iter().map(|(room, who)| (room.as_str(), who.values().collect())).collect();
            // Nobody needs to wait for it: the next change brings the list again.
            drop(server.room("online").publish("online", &names));
        }
    }
}

/// Notes who came or went. Returns whether the list is another now.
fn note(online: &mut Online, event: &HubEvent) -> bool {
    match event {
        HubEvent::MemberJoined(joined) => {
            let sender = &joined.member.sender;
            let name = sender.name.as_deref().unwrap_or("somebody").to_owned();
            let room = online.entry(joined.room.to_string()).or_default();
            room.insert(sender.session.to_string(), name);
            true
        }
        HubEvent::MemberLeft(left) => {
            let Some(room) = online.get_mut(left.room.as_str()) else { return false };
            let gone = room.remove(&left.who.session.to_string()).is_some();
            if room.is_empty() {
                online.remove(left.room.as_str());
            }
            gone
        }
        HubEvent::RoomClosed(closed) => online.remove(closed.room.as_str()).is_some(),
        _ => false,
    }
}

/// The list as the rooms know it: slower than hearing of each change, but complete.
fn look(server: &ServerHandle) -> Online {
    let mut online = Online::new();
    let Ok(rooms) = server.rooms().wait() else { return online };
    for room in rooms.rooms {
        // A room that has ended meanwhile has nobody in it.
        let Ok(members) = server.room(&room.room).members().wait() else { continue };
        let senders = members.members.into_iter().map(|member| member.sender);
        let name = |name: Option<&str>| name.unwrap_or("somebody").to_owned();
        let who = senders.map(|one| (one.session.to_string(), name(one.name.as_deref())));
        online.insert(room.room, who.collect());
    }
    online.retain(|_, who| !who.is_empty());
    online
}

fn main() -> anyhow::Result<()> {
    let server = Server::builder()
        .config(Config::from_toml(CONFIG, "presence")?)
        .listen(small_examples::url())
        .events(EVENTS)
        .start()?;
    let handle = server.handle();
    if let Some(events) = handle.events() {
        thread::spawn(move || keep_list(&handle, events));
    }
    small_examples::run(server);
    Ok(())
}
