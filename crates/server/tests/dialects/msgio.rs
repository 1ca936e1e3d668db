//! nimMsgIo: magic bytes, then events behind their length; or WebSocket with the namespace as
//! subprotocol.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use roomcast::hook::Call;
use roomcast::{Answer, Config, EventName, RoomOptions, Server};

use crate::peer::{self, HANDSHAKE, Ws, connect, get, is_closed, read_head};
use crate::transcript::{nobody_is_left, replay, until_members};

/// JSON, MessagePack, whatever the client speaks, and WebSocket.
const LISTEN: [&str; 4] = [
    "tcp://127.0.0.1:0?dialect=msgio&codec=json",
    "tcp://127.0.0.1:0?dialect=msgio&codec=msgpack",
    "tcp://127.0.0.1:0?dialect=msgio",
    "ws://127.0.0.1:0?dialect=msgio",
];

fn start(change: impl FnOnce(&mut Config)) -> Server {
    peer::start(|config| {
        config.listen = LISTEN.map(Into::into).into();
        change(config);
    })
}

/// The demo server, by configuration alone.
fn demo(config: &mut Config) {
    let text = "[namespaces.default]\nlobby = \"demo\"\n\
                [namespaces.default.static.demo]\nlogic = \"msgio-demo\"\n";
    config.namespaces = Config::from_toml(text, "demo").unwrap().namespaces;
}

/// Everybody in a namespace is in its room `all`.
fn lobby(config: &mut Config, namespace: &str) {
    config.namespaces.entry(namespace.into()).or_default().lobby = Some("all".into());
}

/// Which listener, by its place in [`LISTEN`].
fn at(server: &Server, place: usize) -> SocketAddr {
    server.listeners()[place].address
}

/// A client that sends and reads as the original's does.
struct Client(TcpStream);

impl Client {
    fn open(address: SocketAddr) -> Self {
        let mut stream = connect(address);
        stream.write_all(b"msgio").unwrap();
        Self(stream)
    }

    fn send(&mut self, body: &[u8]) {
        self.0.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
        self.0.write_all(body).unwrap();
    }

    fn event(&mut self, event: &str, payload: &str) {
        let body = serde_json::json!({ "namespace": "", "event": event, "payload": payload });
        self.send(body.to_string().as_bytes());
    }

    fn next(&mut self) -> String {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).unwrap();
        let mut body = vec![0; u32::from_le_bytes(len) as usize];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

fn open_ws(address: SocketAddr, subprotocol: Option<&str>) -> (Ws, String) {
    let mut stream = connect(address);
    let offer = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let request = HANDSHAKE.replace("GET /ws", "GET /any");
    stream.write_all(format!("{request}{}\r\n", offer.unwrap_or_default()).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    (Ws { stream }, head)
}

#[test]
fn the_recording_of_the_original_replays_byte_by_byte() {
    let lines = replay(&start(demo), include_str!("transcripts/msgio.txt"));
    assert_eq!(lines, 26);
}

#[test]
fn what_clients_say_is_for_the_servers_code_and_reaches_nobody() {
    let config = Config { listen: LISTEN.map(Into::into).into(), ..Config::default() };
    let foo = EventName::text("foo").unwrap();
    let server = Server::builder()
        .config(config)
        .on_call(foo, |call: &Call| Ok(Answer::Data(call.data.clone())))
        .start()
        .unwrap();
    let mut client = Client::open(at(&server, 2));
    client.event("nothing", "x");
    let told = client.next();
    assert!(told.starts_with(r#"{"namespace":"","event":"error","payload":""#), "{told}");
    client.event("foo", "baa");
    client.event("nothing", "x");
    assert!(client.next().contains(r#""event":"error""#));
}

#[test]
fn the_subprotocol_is_the_namespace_and_other_requests_are_answered_as_ever() {
    let server = start(|config| {
        lobby(config, "control");
    });
    let ws = at(&server, 3);
    let (mut client, head) = open_ws(ws, Some("other, control"));
    assert!(head.contains("\r\nSec-WebSocket-Protocol: control\r\n"), "{head}");
    let control = server.handle().namespace("control");
    until_members(&server, "control/all", 1);
    control.room("all").publish("x", &[1, 2]).wait().unwrap();
    let frame = client.next_frame().unwrap();
    let text = String::from_utf8(frame.payload).unwrap();
    assert_eq!((frame.opcode, &*text), (1, r#"{"namespace":"","event":"x","payload":"[1,2]"}"#));
    for subprotocol in [None, Some("other"), Some("")] {
        let (_, head) = open_ws(ws, subprotocol);
        assert!(head.starts_with("HTTP/1.1 400 "), "{subprotocol:?}: {head}");
    }
    assert_eq!(get(ws, "/health/live").0, 200);
    client.send_frame(0x82, b"\x93\xa0\xa1x\xa0");
    assert_eq!(client.expect_close(), 1003);
}

#[test]
fn all_transports_meet_in_rooms_that_the_servers_code_grants() {
    let server = start(|config| {
        lobby(config, "default");
    });
    let mut json = Client::open(at(&server, 0));
    let mut packed = Client::open(at(&server, 1));
    let (mut ws, _) = open_ws(at(&server, 3), Some("default"));
    until_members(&server, "all", 3);
    server.handle().room("r").create(RoomOptions::default()).wait().unwrap();
    for member in server.handle().room("all").members().wait().unwrap().members {
        server.handle().room("r").join(member.sender.session, ()).wait().unwrap();
    }
    server.handle().room("r").publish("msg", "to all").wait().unwrap();
    let heard = r#"{"namespace":"","event":"msg","payload":"to all"}"#;
    assert_eq!(json.next(), heard);
    assert_eq!(String::from_utf8(ws.next_frame().unwrap().payload).unwrap(), heard);
    let mut bytes = [0; 17];
    packed.0.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\x0d\0\0\0\x93\xa0\xa3msg\xa6to all");
}

#[test]
fn whatever_is_malformed_is_answered_or_closed_and_leaves_nothing() {
    let server = start(|config| config.limits.first_message_ms = 1_000);
    let streams: [&[u8]; 8] = [
        b"{\"namespace\"",
        b"msgiX",
        b"GET / HTTP/1.1\r\n\r\n",
        b"msg",
        b"msgio\0\0\0\0",
        b"msgio\x01\xfa\0\0{",
        b"msgio\xff\xff\xff\xff{",
        b"msgio\x02\0\0\0hi",
    ];
    for stream in streams {
        let mut client = connect(at(&server, 2));
        client.write_all(stream).unwrap();
        assert!(is_closed(&mut client), "{stream:?}");
    }
    let bodies: [&[u8]; 9] = [
        b"{}",
        b"{\"event\":\"x\",\"payload\":\"y\"}",
        b"{\"namespace\":\"\",\"event\":\"x\",\"payload\":5}",
        b"{\"namespace\":\"\",\"event\":\"x\",\"payload\":\"y\"} z",
        b"{\"namespace\":\"\",\"event\":\"\",\"payload\":\"y\"}",
        b"{\"namespace\":\"\",\"event\":\"a\\nb\",\"payload\":\"y\"}",
        b"{\"namespace\":",
        b"{\"namespace\":\"\",\"event\":\"\xff\",\"payload\":\"y\"}",
        b"[\"\",\"x\",\"y\"]",
    ];
    for body in bodies {
        let mut client = Client::open(at(&server, 0));
        client.send(body);
        let told = client.next();
        assert!(told.starts_with(r#"{"namespace":"","event":"error","payload":""#), "{told}");
    }
    let packed: [&[u8]; 6] = [
        b"\x93\xa0\xa1x",
        b"\x92\xa0\xa1x",
        b"\x93\xa0\xa1x\x05",
        b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\x94\xa0\xa1x\xa0\xa0",
    ];
    for body in packed {
        let mut client = Client::open(at(&server, 1));
        client.send(body);
        let mut head = [0; 12];
        client.0.read_exact(&mut head).unwrap();
        assert_eq!(&head[4..], b"\x93\xa0\xa5error", "{body:?}");
    }
    // So many in a row end the connection.
    let mut client = Client::open(at(&server, 0));
    for _ in 0..20 {
        client.send(b"{}");
    }
    assert!(is_closed(&mut client.0));
    nobody_is_left(&server);
}

#[test]
fn messages_have_their_limit() {
    let server = start(|_| {});
    let mut client = Client::open(at(&server, 0));
    let around = r#"{"namespace":"","event":"x","payload":""}"#.len();
    client.event("x", &"y".repeat(64_000 - around));
    assert!(client.next().contains(r#""event":"error""#), "nobody takes the call");
    client.event("x", &"y".repeat(64_001 - around));
    let told = client.next();
    assert!(told.contains("64001 bytes") && told.contains("64000"), "{told}");
    assert!(is_closed(&mut client.0));
    nobody_is_left(&server);
}

#[test]
fn a_reader_that_stops_is_closed() {
    let server = start(|config| {
        lobby(config, "default");
    });
    let _stopped = Client::open(at(&server, 0));
    let mut reads = Client::open(at(&server, 0));
    until_members(&server, "all", 2);
    let payload = "x".repeat(10_000);
    for _ in 0..3_000 {
        server.handle().room("all").publish("x", &payload).wait().unwrap();
        reads.next();
    }
    until_members(&server, "all", 1);
}
