//! simple-chat-server's clients on a listener of their own, over real sockets.

#![allow(clippy::unwrap_used)]

mod gopher;
mod peer;
#[path = "dialects/transcript.rs"]
mod transcript;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use gopher::{Gopher, Heard, Kind, action, post};
use peer::{Lines, connect, until};
use roomcast::{Name, Payload, RoomOptions, Server};
use serde_json::json;

const LISTENER: &str = "tcp://127.0.0.1:0?dialect=simple-chat";

/// A server with a listener of the dialect, and the native ones.
fn start() -> (Server, SocketAddr) {
    let server = peer::start(|config| {
        config.listen.push(LISTENER.into());
        config.limits.first_message_ms = 1_000;
    });
    let address = server.listeners().last().unwrap().address;
    (server, address)
}

/// The captured bytes, both ways. The original calls somebody by address and port; so does this
/// server's hook here, with the ports of the capture.
#[test]
fn the_captured_talk_of_two_original_clients_is_replayed_byte_by_byte() {
    let next = AtomicU16::new(58_378);
    let builder = Server::builder().listen(LISTENER).before_connect(move |asked| {
        let port = next.fetch_add(2, Ordering::Relaxed);
        asked.identity.user = Name::new(&format!("127.0.0.1:{port}")).ok();
        Ok(())
    });
    let server = builder.start().unwrap();
    let recording = include_str!("dialects/transcripts/simple-chat.txt");
    assert_eq!(transcript::replay(&server, recording), 28);
}

#[test]
fn a_client_creates_joins_posts_and_leaves() {
    let (_server, address) = start();
    let mut mina = Gopher::connect(address);
    assert_eq!(mina.ask(Kind::GetRooms, ""), Heard::Rooms(vec![]));
    assert_eq!(mina.ask(Kind::Create, "red"), Heard::Room(Kind::Create, "red".into()));
    assert_eq!(mina.ask(Kind::GetRooms, ""), Heard::Rooms(vec!["red".into()]));
    assert_eq!(mina.ask(Kind::Join, "red"), Heard::Room(Kind::Join, "red".into()));
    // Twice is one seat.
    assert_eq!(mina.ask(Kind::Join, "red"), Heard::Room(Kind::Join, "red".into()));
    mina.post("red", "hello");
    assert!(
        matches!(mina.next(), Some(Heard::Post(room, _, text)) if room == "red" && text == "hello")
    );
    assert_eq!(mina.ask(Kind::Leave, "red"), Heard::Room(Kind::Leave, "red".into()));
    // One who makes a room that is there changes nothing about it.
    let mut tom = Gopher::connect(address);
    tom.ask(Kind::Join, "blue");
    assert_eq!(mina.ask(Kind::Create, "blue"), Heard::Room(Kind::Create, "blue".into()));
    tom.post("blue", "still here");
    assert_eq!(tom.next().unwrap().said(), "still here");
    // A room ends with its last member, where the namespace does not keep it.
    assert_eq!(mina.ask(Kind::GetRooms, ""), Heard::Rooms(vec!["blue".into()]));
}

#[test]
fn clients_of_other_dialects_hear_the_same_and_the_author_is_stamped() {
    let (server, address) = start();
    let mut mina = Gopher::connect(address);
    mina.ask(Kind::Join, "red");
    let mut tom = Lines::connect(&server);
    tom.send(r#"{"type":"hello","ref":0,"name":"Tom"}"#);
    tom.join("red");
    mina.send(&[action(Kind::Post), post("red", "admin", "50% done %d")].concat());
    let heard = tom.expect("event");
    assert_eq!((&heard["event"], &heard["data"]), (&json!("chat"), &json!({"text":"50% done %d"})));
    let session = heard["from"]["session"].as_str().unwrap().to_owned();
    assert_eq!(mina.next(), Some(Heard::Post("red".into(), session, "50% done %d".into())));
    for (event, data, text) in [
        ("chat", r#"{"text":"hi"}"#, "hi"),
        ("chat", r#""hi""#, "hi"),
        ("move", r#"{"x": 1}"#, r#"[move] {"x":1}"#),
        ("move", r#"{"text":"up"}"#, "[move] up"),
    ] {
        tom.send(&format!(r#"{{"type":"publish","room":"red","event":"{event}","data":{data}}}"#));
        assert_eq!(mina.next(), Some(Heard::Post("red".into(), "Tom".into(), text.into())));
    }
    tom.send(r#"{"type":"publish","room":"red","event":"nod"}"#);
    assert_eq!(mina.next().unwrap().said(), "[nod]");
}

/// What the server says is a post of `server`: so nobody else's is.
#[test]
fn nobody_is_called_what_the_server_is() {
    let (server, address) = start();
    let mut mina = Gopher::connect(address);
    mina.ask(Kind::Join, "red");
    for (name, shown) in [
        ("server", "server_"),
        ("Server", "Server_"),
        (" server ", " server _"),
        ("server_", "server_"),
        ("observer", "observer"),
    ] {
        let mut tom = Lines::connect(&server);
        tom.send(&json!({"type": "hello", "ref": 0, "name": name}).to_string());
        tom.expect("welcome");
        tom.join("red");
        tom.send(r#"{"type":"publish","room":"red","event":"chat","data":{"text":"hi"}}"#);
        assert_eq!(mina.next(), Some(Heard::Post("red".into(), shown.into(), "hi".into())));
    }
    // The server's code speaks in the server's name, or in any that it likes.
    let room = server.handle().room("red");
    let text = Payload::json(&json!({"text": "hi"})).unwrap();
    room.publish("chat", text).wait().unwrap();
    assert_eq!(mina.next(), Some(Heard::Post("red".into(), "server".into(), "hi".into())));
}

#[test]
fn what_is_refused_is_said_by_the_server_and_the_link_goes_on() {
    let (server, address) = start();
    let mut mina = Gopher::connect(address);
    for (kind, room, words) in [
        (Kind::Leave, "nowhere", "seat"),
        (Kind::Join, "", "at least 1 byte"),
        (Kind::Create, "", "at least 1 byte"),
        (Kind::Create, "a/b", "may not hold `/`"),
        (Kind::Join, "a\u{202e}b", "U+202E"),
    ] {
        let Heard::Post(to, author, text) = mina.ask(kind, room) else { panic!("{kind:?} {room}") };
        assert_eq!((to.as_str(), author.as_str()), ("", "server"));
        assert!(text.contains(words), "{text}");
    }
    mina.post("nowhere", "hello");
    assert!(matches!(mina.next(), Some(Heard::Post(_, author, _)) if author == "server"));
    // Who is put out has left, as far as its client knows.
    mina.ask(Kind::Join, "red");
    server.handle().room("red").delete().wait().unwrap();
    assert!(mina.next().unwrap().said().contains("deleted"));
    assert_eq!(mina.next(), Some(Heard::Room(Kind::Leave, "red".into())));
    server.handle().room("blue").create(RoomOptions::default()).wait().unwrap();
    assert_eq!(mina.ask(Kind::Join, "blue"), Heard::Room(Kind::Join, "blue".into()));
}

#[test]
fn what_is_no_request_is_told_so_and_closed() {
    let (_server, address) = start();
    let unknown = gopher::numbered(5);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"{\"type\":\"ping\"}\n", &[0x80; 40], &unknown] {
        let mut peer = Gopher::connect(address);
        peer.send(bytes);
        assert!(peer.next().unwrap().said().contains("no request"), "{bytes:x?}");
        assert_eq!(peer.next(), None);
    }
    // A message that announces more than a stranger may send is not waited for.
    let mut peer = Gopher::connect(address);
    peer.send(&[0xfc, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x81]);
    assert!(peer.next().unwrap().said().contains("at most"));
    assert_eq!(peer.next(), None);
}

/// The original waits for ever.
#[test]
fn half_a_request_is_waited_for_no_longer_than_a_first_message() {
    let (_server, address) = start();
    let mut peer = Gopher::connect(address);
    peer.send(&action(Kind::Join)[..33]);
    assert!(peer.next().unwrap().said().contains("within 1 s"));
    assert_eq!(peer.next(), None);
}

#[test]
fn who_leaves_in_the_middle_of_a_request_is_gone_and_posts_go_on() {
    let (server, address) = start();
    let mut mina = Gopher::connect(address);
    mina.ask(Kind::Join, "red");
    let mut tom = Gopher::connect(address);
    tom.ask(Kind::Join, "red");
    tom.send(&action(Kind::Post)[..20]);
    drop(tom);
    until("one member is left", || {
        server.handle().room("red").presence().wait().is_ok_and(|counts| counts.members == 1)
    });
    for number in 0..100 {
        mina.post("red", &number.to_string());
    }
    for number in 0..100 {
        assert_eq!(mina.next().unwrap().said(), number.to_string());
    }
}

/// With the original, the fast member got 205 of 364 posts of 20 kB, then everything stopped.
#[test]
fn who_does_not_read_is_dropped_and_nobody_else_notices() {
    let (server, address) = start();
    let mut slow = Gopher::connect(address);
    slow.ask(Kind::Join, "red");
    let mut mina = Gopher::connect(address);
    mina.ask(Kind::Join, "red");
    let mut tom = Gopher::connect(address);
    tom.ask(Kind::Join, "red");
    let text = "x".repeat(20_000);
    for _ in 0..400 {
        mina.post("red", &text);
        for peer in [&mut mina, &mut tom] {
            assert_eq!(peer.next().unwrap().said().len(), text.len());
        }
    }
    until("the slow one is out", || {
        server.handle().room("red").presence().wait().is_ok_and(|counts| counts.members == 2)
    });
    drop(slow);
}

/// 8 threads with 300 connects each ended the original's process.
#[test]
fn a_storm_of_connects_disturbs_nobody() {
    let (_server, address) = start();
    let mut mina = Gopher::connect(address);
    mina.ask(Kind::Join, "red");
    let storm: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                for number in 0..100 {
                    let mut peer = connect(address);
                    match number % 3 {
                        0 => drop(peer),
                        1 => peer.write_all(&action(Kind::Join)).unwrap(),
                        _ => {
                            let mut peer = Gopher::over(peer);
                            let room = format!("room {thread}");
                            let joined = Heard::Room(Kind::Join, room.clone());
                            assert_eq!(peer.ask(Kind::Join, &room), joined);
                        }
                    }
                }
            })
        })
        .collect();
    for number in 0..50 {
        mina.post("red", &number.to_string());
        assert_eq!(mina.next().unwrap().said(), number.to_string());
    }
    for thread in storm {
        thread.join().unwrap();
    }
    mina.post("red", "all well");
    assert_eq!(mina.next().unwrap().said(), "all well");
}

/// A client sends as it likes: byte by byte, or all at once.
#[test]
fn requests_come_in_any_parts() {
    let (_server, address) = start();
    let mut mina = Gopher::connect(address);
    let all = [
        gopher::request(Kind::GetRooms, ""),
        gopher::request(Kind::Join, "red"),
        [action(Kind::Post), post("red", "", "hello")].concat(),
        gopher::request(Kind::Leave, "red"),
    ]
    .concat();
    // Every room is asked at its own worker, so the list may be overtaken.
    let expected = |mina: &mut Gopher| {
        let mut heard: Vec<_> = (0..4).map(|_| mina.next().unwrap()).collect();
        let lists = heard.extract_if(.., |one| matches!(one, Heard::Rooms(_)));
        assert_eq!(lists.count(), 1);
        assert_eq!(heard.remove(1).said(), "hello");
        assert_eq!(heard, [Kind::Join, Kind::Leave].map(|kind| Heard::Room(kind, "red".into())));
    };
    mina.send(&all);
    expected(&mut mina);
    for byte in &all {
        mina.send(&[*byte]);
    }
    expected(&mut mina);
    mina.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(mina.stream.read(&mut [0]).unwrap(), 0);
}
