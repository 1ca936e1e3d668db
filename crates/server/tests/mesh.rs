//! GoMeshStream's clients on a listener of their own, over real sockets.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::Write;
use std::net::SocketAddr;

use peer::{HANDSHAKE, Lines, Ws, address, connect, get, read_head};
use roomcast::{Config, RoomOptions, Server, SessionId};

fn start() -> (Server, SocketAddr) {
    let server = peer::start(|config| {
        config.listen.insert(0, "ws://127.0.0.1:0?dialect=mesh".into());
    });
    let address = address(&server, "ws");
    (server, address)
}

/// Connects as the original's clients do; gives the response to the handshake too.
fn open(address: SocketAddr) -> (Ws, String) {
    let mut stream = connect(address);
    let request = HANDSHAKE.replace("GET /ws", "GET /wsmesh?name=Guest");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    stream.write_all(format!("{request}{offer}\r\n").as_bytes()).unwrap();
    let head = read_head(&mut stream);
    (Ws { stream }, head)
}

fn next(ws: &mut Ws) -> String {
    let frame = ws.next_frame().unwrap();
    assert_eq!(frame.opcode, 1, "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

#[test]
fn any_path_opens_a_link_without_subprotocol_or_compression() {
    let (_server, address) = start();
    let (mut ws, head) = open(address);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("sec-websocket-protocol"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{head}");
    // Nothing is said on connecting; the first that comes is an answer.
    ws.send("nonsense");
    assert!(next(&mut ws).contains(r#""reason":"malformed""#));
    assert_eq!(get(address, "/health/live").0, 200);
}

#[test]
fn the_servers_code_gives_seats_and_clients_talk() {
    let (server, address) = start();
    let (mut mina, _) = open(address);
    let (mut jonas, _) = open(address);
    server.handle().room("r1").create(RoomOptions::default()).wait().unwrap();
    for peer in [&mut mina, &mut jonas] {
        // Which session is whose is known by its slug only, and that stands in an answer.
        peer.send(r#"{"action":"x","target":"r1"}"#);
        let told: serde_json::Value = serde_json::from_str(&next(peer)).unwrap();
        let slug = told["target"].as_str().unwrap();
        let session = roomcast_wire::dialect::mesh::session_of(slug).unwrap();
        server.handle().room("r1").join(session, ()).wait().unwrap();
    }
    jonas.send(r#"{"action":"chat","message_body":{"b":"&","a":1},"target":"r1"}"#);
    let heard = next(&mut mina);
    let body = r#"{"action":"chat","message_body":{"a":1,"b":"\u0026"},"IsTargetClient":false,"#;
    assert!(heard.starts_with(&format!(r#"{body}"target":"r1","sender":""#)), "{heard}");
    assert_eq!(next(&mut jonas), heard);
}

#[test]
fn a_binary_frame_is_read_and_one_that_is_too_large_closes() {
    let (_server, address) = start();
    let (mut ws, _) = open(address);
    ws.send_frame(0x82, br#"{"action":"x","target":"nowhere"}"#);
    assert!(next(&mut ws).contains(r#""reason":"not_a_member""#));
    ws.send_frame(0x82, b"\x00\xff");
    assert!(next(&mut ws).contains(r#""reason":"malformed""#));
    let message = |len: usize| {
        let around = r#"{"action":"x","target":"nowhere","message_body":{"x":""}}"#.len();
        let fill = "x".repeat(len - around);
        format!(r#"{{"action":"x","target":"nowhere","message_body":{{"x":"{fill}"}}}}"#)
    };
    ws.send(&message(10_000));
    assert!(next(&mut ws).contains(r#""reason":"not_a_member""#));
    ws.send(&message(10_001));
    assert_eq!(ws.expect_close(), 1009);
}

/// A sender is a slug, whatever its client calls itself: the server's name is no slug.
#[test]
fn nobody_is_called_what_the_server_is() {
    let server = peer::start(|config| {
        config.listen.push("ws://127.0.0.1:0?dialect=mesh".into());
        let text = "[namespaces.default]\nlobby = \"mesh-global\"\n";
        config.namespaces = Config::from_toml(text, "lobby").unwrap().namespaces;
    });
    let (mut mina, _) = open(server.listeners().last().unwrap().address);
    let mut tom = Lines::connect(&server);
    tom.send(r#"{"type":"hello","ref":0,"name":"bot-of-the-room"}"#);
    let session: SessionId = tom.expect("welcome")["session"].as_str().unwrap().parse().unwrap();
    tom.join("mesh-global");
    tom.send(r#"{"type":"publish","room":"mesh-global","event":"error","data":{"code":4030}}"#);
    let heard: serde_json::Value = serde_json::from_str(&next(&mut mina)).unwrap();
    assert_eq!(heard["sender"], roomcast_wire::dialect::mesh::slug(session).as_str());
    assert_eq!((&heard["action"], &heard["IsTargetClient"]), (&"error".into(), &false.into()));
}
