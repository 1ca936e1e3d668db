//! `docs/coming-from-gomeshstream.md`.

use std::sync::{Arc, Mutex, OnceLock};

use roomcast::{
    ClosedReason, Events, Heard, HubEvent, LeaveReason, LogicEvent, MemberInfo, Payload, Refusal,
    Relay, RoomCtx, RoomEvent, RoomLogic, RoomOptions, RoomTask, Server, ServerHandle, SessionId,
};
use serde_json::{Value, json};

use crate::peer::{Lines, Ws, until};
use crate::{client, run};

/// A room as theirs: what its code does not pass on, nobody hears.
#[derive(Clone, Default)]
struct Watcher {
    stopped: Arc<Mutex<Vec<String>>>,
}

impl RoomLogic for Watcher {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        let slug = member.sender.session.to_string();
        if ctx.creator() == Some(member.sender.session) {
            ctx.tell(member.sender.session, "is-room-maker", json!({ "message": slug }));
        }
        ctx.publish("join-room-notify", json!({ "newmessage": format!("{slug} joined") }));
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        match event.name() {
            Some("send-message") => Ok(Relay::AsIs),
            Some("to-one") => {
                let to: String = event.data()?;
                let to: SessionId =
                    to.parse().map_err(|_| Refusal::refused("nobody is called so"))?;
                ctx.tell(to, "know-yourself", json!({ "sender": to.to_string() }));
                Ok(Relay::Nothing)
            }
            _ => Ok(Relay::Nothing),
        }
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, _: LeaveReason) {
        ctx.publish("client-left-room", json!(member.sender.session.to_string()));
    }

    fn on_close(&mut self, ctx: &mut RoomCtx<'_>, reason: ClosedReason) {
        self.stopped.lock().unwrap().push(format!("{} {}", ctx.room(), reason.as_str()));
    }
}

/// A server whose rooms watch.
fn server(watcher: Watcher) -> Server {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").workers(2).events(256);
    builder.logic("watcher", move |_| watcher.clone()).start().unwrap()
}

/// Has a room made by server code, and a session put in.
fn put_in(server: &Server, room: &str, session: SessionId) {
    let options = RoomOptions { logic: Some("watcher".into()), ..RoomOptions::default() };
    let room = server.handle().room(room);
    room.create(options).wait().unwrap();
    room.join(session, ()).wait().unwrap();
}

fn said(room: &str, event: &str, data: Value) -> String {
    json!({ "type": "publish", "room": room, "event": event, "data": data }).to_string()
}

/// The next event's name and data.
fn heard(peer: &mut Lines) -> (String, Value) {
    let event = peer.expect("event");
    (event["event"].as_str().unwrap().to_owned(), event["data"].clone())
}

#[test]
fn the_rooms_code_decides_what_is_passed_on() {
    let server = server(Watcher::default());
    let (mut anna, anna_id) = client(&server);
    let (mut bert, bert_id) = client(&server);
    put_in(&server, "cow", anna_id);
    put_in(&server, "cow", bert_id);
    assert_eq!(heard(&mut anna).0, "join-room-notify");
    assert_eq!(heard(&mut anna).1, json!({ "newmessage": format!("{bert_id} joined") }));
    anna.send(&said("cow", "attempt-word", json!("hush")));
    anna.send(&said("cow", "send-message", json!("hello")));
    assert_eq!(heard(&mut anna), ("send-message".into(), json!("hello")));
    assert_eq!(heard(&mut bert).0, "join-room-notify");
    assert_eq!(heard(&mut bert), ("send-message".into(), json!("hello")));
}

#[test]
fn one_member_is_told_alone() {
    let server = server(Watcher::default());
    let (mut anna, anna_id) = client(&server);
    let (mut bert, bert_id) = client(&server);
    put_in(&server, "cow", anna_id);
    put_in(&server, "cow", bert_id);
    anna.send(&said("cow", "to-one", json!(bert_id.to_string())));
    anna.send(&said("cow", "send-message", json!("after")));
    assert_eq!(heard(&mut bert).0, "join-room-notify");
    assert_eq!(
        heard(&mut bert),
        ("know-yourself".into(), json!({ "sender": bert_id.to_string() }))
    );
    let of_anna: Vec<_> = (0..3).map(|_| heard(&mut anna).0).collect();
    assert_eq!(of_anna, ["join-room-notify", "join-room-notify", "send-message"]);
    // Whatever the target: the sender is told, and the server goes on.
    let wrong = json!({ "type": "publish", "ref": 5, "room": "cow", "event": "to-one", "data": 7 });
    assert_eq!(anna.ask(&wrong)["reason"], "invalid_field");
}

#[test]
fn who_makes_a_room_by_joining_is_its_maker() {
    let mut config =
        roomcast::Config { listen: vec!["tcp://127.0.0.1:0".into()], ..Default::default() };
    config.rooms.logic = Some("watcher".into());
    let builder = Server::builder().config(config).workers(2);
    let server = builder.logic("watcher", |_| Watcher::default()).start().unwrap();
    let (mut anna, anna_id) = client(&server);
    let (mut bert, bert_id) = client(&server);
    // By server code, in a room that is not there; theirs is the same.
    server.handle().room("cow").join(anna_id, ()).wait().unwrap();
    server.handle().room("cow").join(bert_id, ()).wait().unwrap();
    let maker = ("is-room-maker".to_owned(), json!({ "message": anna_id.to_string() }));
    assert_eq!(heard(&mut anna), maker);
    assert_eq!(heard(&mut bert).0, "join-room-notify");
    let state = server.handle().room("cow").state().wait().unwrap();
    assert_eq!(state.creator, Some(anna_id));
}

#[test]
fn the_rooms_code_ends_with_its_room() {
    let watcher = Watcher::default();
    let stopped = Arc::clone(&watcher.stopped);
    let server = server(watcher);
    let (mut anna, anna_id) = client(&server);
    put_in(&server, "cow", anna_id);
    put_in(&server, "ox", anna_id);
    anna.ask(&json!({ "type": "leave", "ref": 7, "room": "cow" }));
    until("the room has stopped", || !stopped.lock().unwrap().is_empty());
    server.handle().room("ox").delete().wait().unwrap();
    assert_eq!(*stopped.lock().unwrap(), ["cow expired", "ox deleted"]);
}

#[test]
fn rooms_clients_and_members_can_be_listed() {
    let server = server(Watcher::default());
    let (_anna, anna_id) = client(&server);
    let (_bert, bert_id) = client(&server);
    for (room, session) in [("cow", anna_id), ("cow", bert_id), ("ox", anna_id)] {
        put_in(&server, room, session);
    }
    let handle = server.handle();
    let rooms = handle.rooms().wait().unwrap().rooms;
    let listed: Vec<_> = rooms.iter().map(|room| (room.room.as_str(), room.members)).collect();
    assert_eq!(listed, [("cow", 2), ("ox", 1)]);
    let members = handle.room("cow").members().wait().unwrap().members;
    let members: Vec<_> = members.iter().map(|member| member.sender.session).collect();
    assert_eq!(members, [anna_id, bert_id]);
    assert_eq!(handle.session(anna_id).rooms().wait().unwrap(), ["cow", "ox"]);
    until("the turn is over", || handle.counters().sessions == 2);
}

#[test]
fn a_burst_loses_nothing() {
    let server = server(Watcher::default());
    let (mut anna, anna_id) = client(&server);
    put_in(&server, "cow", anna_id);
    heard(&mut anna);
    let burst: Vec<_> = (0..2_000).map(|n| said("cow", "send-message", json!(n))).collect();
    let mut writer = Lines::over(anna.stream.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || writer.send(&burst.join("\n")));
        for n in 0..2_000 {
            assert_eq!(heard(&mut anna).1, n);
        }
    });
}

#[test]
fn a_room_without_code_passes_everything_on() {
    let server = server(Watcher::default());
    let (mut anna, _) = client(&server);
    anna.join("plain");
    anna.send(&said("plain", "anything", json!(1)));
    assert_eq!(heard(&mut anna), ("anything".into(), json!(1)));
}

/// The lobby: it gives seats to who asks for one.
struct Lobby(Arc<OnceLock<ServerHandle>>);

impl RoomLogic for Lobby {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let (session, room) = (event.from.session, event.data::<String>()?);
        let server = self.0.get().cloned().ok_or_else(|| Refusal::refused("not open yet"))?;
        let seat = async move { server.room(room).join(session, ()).await.is_ok() };
        if !ctx.call(1, seat) {
            return Err(Refusal::refused("too many at once"));
        }
        Ok(Relay::Nothing)
    }
}

/// A server whose clients are all in `mesh-global`, and can join nothing by themselves.
fn with_lobby() -> Server {
    let text = "listen = [\"tcp://127.0.0.1:0\"]\nworkers = 2\n\
                [namespaces.default]\nlobby = \"mesh-global\"\n\
                [namespaces.default.rooms]\njoin = \"granted\"\n\
                [namespaces.default.static.mesh-global]\nlogic = \"lobby\"\n";
    let config = roomcast::Config::from_toml(text, "roomcast.toml").unwrap();
    let door = Arc::new(OnceLock::new());
    let inside = Arc::clone(&door);
    let builder = Server::builder().config(config).logic("lobby", move |_| Lobby(inside.clone()));
    let server = builder.start().unwrap();
    assert!(door.set(server.handle()).is_ok());
    server
}

#[test]
fn everybody_is_in_the_global_room_from_the_beginning_to_the_end() {
    let server = with_lobby();
    let (anna, anna_id) = client(&server);
    let (mut bert, bert_id) = client(&server);
    let lobby = server.handle().room("mesh-global");
    let connected = || {
        let members = lobby.members().wait().unwrap().members;
        members.iter().map(|member| member.sender.session).collect::<Vec<_>>()
    };
    until("both are there", || connected().len() == 2);
    assert!(connected().contains(&anna_id) && connected().contains(&bert_id));
    bert.send(r#"{"type":"bye"}"#);
    bert.expect("goodbye");
    until("who goes is not", || connected() == [anna_id]);
    let mut anna = anna;
    anna.send(r#"{"type":"bye"}"#);
    anna.expect("goodbye");
    until("it stays", || connected().is_empty());
}

#[test]
fn the_lobbys_code_gives_seats() {
    let server = with_lobby();
    let (mut anna, _) = client(&server);
    let wish = json!({ "type": "join", "ref": 5, "room": "cow" });
    assert_eq!(anna.ask(&wish)["reason"], "join_not_granted");
    anna.send(&said("mesh-global", "join-room", json!("cow")));
    loop {
        if anna.expect("joined")["room"] == "cow" {
            break;
        }
    }
    anna.send(&said("cow", "hello", json!(1)));
    assert_eq!(heard(&mut anna), ("hello".into(), json!(1)));
}

#[test]
fn a_member_of_any_dialect_hears_what_server_code_says() {
    let builder = Server::builder().listen("ws://127.0.0.1:0?dialect=mesh");
    let server = builder.listen("tcp://127.0.0.1:0").workers(2).start().unwrap();
    let mut theirs = Ws::connect(&server);
    let (mut anna, anna_id) = client(&server);
    let room = server.handle().room("cow");
    room.join(anna_id, ()).wait().unwrap();
    // Its slug, and with it its session, stands in the first answer.
    theirs.send(r#"{"action":"x","target":"cow"}"#);
    let told = theirs.next_frame().unwrap().json();
    let slug = told["target"].as_str().unwrap();
    let session = roomcast_wire::dialect::mesh::session_of(slug).unwrap();
    room.join(session, ()).wait().unwrap();
    room.publish("send-message", json!({ "message": "from the bot" })).wait().unwrap();
    assert_eq!(heard(&mut anna), ("send-message".into(), json!({ "message": "from the bot" })));
    let frame = theirs.next_frame().unwrap().json();
    assert_eq!((&frame["action"], &frame["target"]), (&json!("send-message"), &json!("cow")));
    assert_eq!(frame["message_body"], json!({ "message": "from the bot" }));
}

fn next(events: &mut Events) -> HubEvent {
    match run(events.next()).unwrap() {
        Heard::Event(event) => (*event).clone(),
        Heard::Lost(count) => panic!("{count} events were lost"),
    }
}

#[test]
fn all_six_triggers_are_told() {
    let server = server(Watcher::default());
    let mut events = server.handle().events().unwrap();
    let (mut anna, anna_id) = client(&server);
    let HubEvent::Connected(connected) = next(&mut events) else { panic!() };
    assert_eq!(connected.who.session, anna_id);
    put_in(&server, "cow", anna_id);
    let HubEvent::RoomCreated(made) = next(&mut events) else { panic!() };
    assert_eq!(made.room, "cow");
    let HubEvent::MemberJoined(joined) = next(&mut events) else { panic!() };
    assert_eq!((&*joined.room, joined.member.sender.session), ("cow", anna_id));
    anna.send(r#"{"type":"bye"}"#);
    // Which session and which room comes first is not said; of each the order holds.
    let mut told = Vec::new();
    while told.len() < 3 {
        match next(&mut events) {
            HubEvent::MemberLeft(left) => told.push(format!("{} left", left.room)),
            HubEvent::RoomClosed(closed) => told.push(format!("{} closed", closed.room)),
            HubEvent::Disconnected(gone) => {
                assert_eq!(gone.who.session, anna_id);
                told.push("disconnected".to_owned());
            }
            _ => {}
        }
    }
    told.retain(|what| what != "disconnected");
    assert_eq!(told, ["cow left", "cow closed"]);
}

#[test]
fn what_is_said_can_be_heard_and_added_to_by_server_code() {
    let server = server(Watcher::default());
    let mut events = server.handle().events().unwrap();
    let (mut anna, anna_id) = client(&server);
    put_in(&server, "cow", anna_id);
    server.handle().room("cow").publish("send-message", json!("from the bot")).wait().unwrap();
    assert_eq!(heard(&mut anna).0, "join-room-notify");
    assert_eq!(heard(&mut anna), ("send-message".into(), json!("from the bot")));
    anna.send(&said("cow", "send-message", json!("thanks")));
    loop {
        if let HubEvent::Published(said) = next(&mut events)
            && said.event.from.as_ref().is_some_and(|from| from.session == anna_id)
        {
            assert_eq!(said.event.payload.as_ref().unwrap().bytes(), "\"thanks\"");
            break;
        }
    }
}

/// The same room as one routine, which is the shape of theirs.
async fn routine(mut room: RoomTask, stopped: Arc<Mutex<Vec<String>>>) {
    while let Some(event) = room.next().await {
        match event {
            RoomEvent::Joined(member) => {
                let slug = member.sender.session.to_string();
                drop(room.publish("client-joined-room", json!(slug)));
            }
            RoomEvent::Message(said) if said.name() == Some("send-message") => {
                drop(room.publish_from(&said.from, "send-message", said.payload));
            }
            RoomEvent::Left(member, _) => {
                let slug = member.sender.session.to_string();
                drop(room.publish("client-left-room", json!(slug)));
            }
            RoomEvent::Closing(reason) => {
                stopped.lock().unwrap().push(format!("{} {}", room.name(), reason.as_str()));
            }
            _ => {}
        }
    }
}

#[test]
fn a_room_may_be_one_routine_that_takes_what_happens() {
    let stopped = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&stopped);
    let builder = Server::builder().listen("tcp://127.0.0.1:0").workers(2);
    let builder = builder.room_task("routine", move |room| routine(room, Arc::clone(&seen)));
    let server = builder.start().unwrap();
    let (mut anna, anna_id) = client(&server);
    let (bert, bert_id) = client(&server);
    let room = server.handle().room("cow");
    let options = RoomOptions { logic: Some("routine".into()), ..RoomOptions::default() };
    room.create(options).wait().unwrap();
    for session in [anna_id, bert_id] {
        room.join(session, ()).wait().unwrap();
        let joined = ("client-joined-room".to_owned(), json!(session.to_string()));
        assert_eq!(heard(&mut anna), joined);
    }
    for (event, data) in [("attempt-word", 1), ("send-message", 2)] {
        anna.send(&said("cow", event, json!(data)));
    }
    assert_eq!(heard(&mut anna), ("send-message".into(), json!(2)));
    room.leave(bert_id, ()).wait().unwrap();
    assert_eq!(heard(&mut anna), ("client-left-room".into(), json!(bert_id.to_string())));
    drop(bert);
    room.delete().wait().unwrap();
    until("the routine has ended", || *stopped.lock().unwrap() == ["cow deleted"]);
}

/// A room for those whom a hook gave the role.
struct Secure;

impl RoomLogic for Secure {
    fn on_join(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        let roles = member.sender.metadata.as_ref().and_then(|data| data.field("roles"));
        let roles: Vec<String> = roles.and_then(|roles| roles.read().ok()).unwrap_or_default();
        match roles.iter().any(|role| role == "judge") {
            true => Ok(()),
            false => Err(Refusal::refused("for judges only")),
        }
    }
}

#[test]
fn a_rooms_code_sees_what_is_known_of_a_client() {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").before_connect(|asked| {
        if asked.identity.name.as_deref() == Some("Judy") {
            asked.identity.metadata = Payload::json(&json!({ "roles": ["judge"] })).ok();
        }
        Ok(())
    });
    let server = builder.logic("secure", |_| Secure).start().unwrap();
    let options = RoomOptions { logic: Some("secure".into()), ..RoomOptions::default() };
    server.handle().room("court").create(options).wait().unwrap();
    let enter = |name: &str| {
        let mut peer = Lines::connect(&server);
        peer.ask(&json!({ "type": "hello", "ref": 1, "name": name }));
        peer.ask(&json!({ "type": "join", "ref": 2, "room": "court" }))
    };
    assert_eq!(enter("Judy")["type"], "joined");
    assert_eq!(enter("Eve")["message"], "for judges only");
}
