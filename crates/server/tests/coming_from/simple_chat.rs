//! `docs/coming-from-simple-chat-server.md`.

use roomcast::{Answer, EventName, Payload, RoomOptions, Server};
use roomcast_wire::options::PublishRule;
use serde_json::{Value, json};

use crate::client;
use crate::peer::{Lines, start, until};

fn command(kind: &str, room: &str) -> Value {
    json!({ "type": kind, "ref": 1, "room": room })
}

fn post(room: &str, text: &str) -> Value {
    json!({ "type": "publish", "ref": 2, "room": room, "event": "post", "data": text })
}

/// The words of a list of rooms.
fn names(reply: &Value) -> Vec<&str> {
    reply["rooms"].as_array().unwrap().iter().map(|room| room["room"].as_str().unwrap()).collect()
}

#[test]
fn every_command_is_answered() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    let rooms = json!({ "type": "rooms", "ref": 9 });
    assert_eq!(names(&mina.ask(&rooms)), Vec::<&str>::new());
    assert_eq!(mina.ask(&command("create", "red"))["created"], true);
    assert_eq!(names(&mina.ask(&rooms)), ["red"]);
    assert_eq!(mina.ask(&command("join", "red"))["members"], 1);
    assert_eq!(mina.ask(&post("red", "hello"))["type"], "ok");
    assert_eq!(mina.ask(&command("leave", "red"))["type"], "ok");
}

#[test]
fn a_post_reaches_all_members_and_its_author_is_stamped() {
    let server = start(|_| {});
    let (mut mina, mina_id) = client(&server);
    let (mut tom, _) = client(&server);
    for peer in [&mut mina, &mut tom] {
        peer.join("red");
    }
    let mut forged = post("red", "hello");
    forged["from"] = json!({ "session": "AAAAAAAAAAAAAAAAAAAAAA", "name": "admin" });
    mina.send(&forged.to_string());
    for peer in [&mut mina, &mut tom] {
        let event = peer.expect("event");
        assert_eq!((&event["room"], &event["data"]), (&json!("red"), &json!("hello")));
        assert_eq!(event["from"], json!({ "session": mina_id.to_string() }));
    }
}

#[test]
fn a_room_that_is_not_there_is_an_error_where_rooms_are_made_first() {
    let closed = start(|config| {
        let section = config.namespaces.entry("default".into()).or_default();
        section.create = Some(false);
    });
    let mut mina = Lines::connect(&closed);
    assert_eq!(mina.ask(&command("join", "red"))["reason"], "join_not_granted");
    assert_eq!(mina.ask(&command("create", "red"))["type"], "error");
    closed.handle().room("red").create(RoomOptions::default()).wait().unwrap();
    assert_eq!(mina.ask(&command("join", "red"))["type"], "joined");
    // Elsewhere the first to join makes it.
    let open = start(|_| {});
    assert_eq!(Lines::connect(&open).ask(&command("join", "red"))["type"], "joined");
}

#[test]
fn leaving_a_room_one_is_not_in_is_an_error_and_no_more() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    assert_eq!(mina.ask(&command("leave", "nowhere"))["reason"], "not_a_member");
    mina.ask(&command("create", "red"));
    assert_eq!(mina.ask(&command("leave", "red"))["reason"], "not_a_member");
    assert_eq!(mina.ask(&command("join", "red"))["type"], "joined");
    assert_eq!(mina.ask(&command("leave", "red"))["type"], "ok");
    assert_eq!(mina.ask(&command("leave", "red"))["reason"], "not_a_member");
}

#[test]
fn making_a_room_that_is_there_keeps_its_members() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    mina.join("red");
    let mut tom = Lines::connect(&server);
    assert_eq!(tom.ask(&command("create", "red"))["created"], false);
    assert_eq!(tom.ask(&command("create", ""))["reason"], "invalid_name");
    mina.send(&post("red", "still here").to_string());
    assert_eq!(mina.expect("event")["data"], "still here");
}

#[test]
fn a_second_join_is_one_seat() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    mina.join("red");
    assert_eq!(mina.ask(&command("join", "red"))["members"], 1);
    for text in ["once", "and again"] {
        mina.send(&post("red", text).to_string());
        assert_eq!(mina.expect("event")["data"], text);
    }
}

#[test]
fn who_may_post_is_an_option() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    mina.join("red");
    let mut outsider = Lines::connect(&server);
    assert_eq!(outsider.ask(&post("red", "hi"))["reason"], "not_a_member");
    assert_eq!(outsider.ask(&post("nowhere", "hi"))["reason"], "not_a_member");
    let open = RoomOptions { publish: PublishRule::Anyone, ..RoomOptions::default() };
    server.handle().room("open").create(open).wait().unwrap();
    mina.join("open");
    assert_eq!(outsider.ask(&post("open", "hi"))["type"], "ok");
    assert_eq!(mina.expect("event")["data"], "hi");
}

#[test]
fn a_member_that_disconnects_is_gone_and_posts_go_on() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    mina.join("red");
    let mut tom = Lines::connect(&server);
    tom.join("red");
    drop(tom);
    assert_eq!(mina.expect("member_left")["reason"], "left");
    for n in 0..100 {
        mina.send(&post("red", &n.to_string()).to_string());
        assert_eq!(mina.expect("event")["data"], n.to_string());
    }
    assert_eq!(server.handle().room("red").presence().wait().unwrap().members, 1);
}

#[test]
fn unknown_commands_are_answered_and_the_link_goes_on() {
    let server = start(|_| {});
    let mut mina = Lines::connect(&server);
    let unknown = json!({ "type": "dance", "ref": 5 });
    assert_eq!(mina.ask(&unknown)["reason"], "unknown_type");
    mina.join("red");
}

#[test]
fn many_who_connect_at_once_are_served() {
    let server = start(|_| {});
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    Lines::connect(&server).join("red");
                }
            });
        }
    });
    until("all have left", || server.handle().counters().sessions == 0);
}

/// Their commands are numbers; ours may be, too.
#[test]
fn a_handler_answers_the_commands_of_its_number() {
    const COUNT: u64 = 5;
    let builder = Server::builder().listen("tcp://127.0.0.1:0");
    let handled = builder.on_call(EventName::Number(COUNT), |asked| {
        let text: String =
            asked.data.as_ref().map_or(Ok(String::new()), Payload::read).unwrap_or_default();
        Answer::data(&text.len())
    });
    let server = handled.start().unwrap();
    let mut mina = Lines::connect(&server);
    let asked = json!({ "type": "call", "ref": 1, "call": COUNT, "data": "four" });
    assert_eq!(mina.ask(&asked)["data"], 4);
    let unknown = json!({ "type": "call", "ref": 2, "call": 6 });
    assert_eq!(mina.ask(&unknown)["reason"], "no_such_call");
    mina.join("red");
}
