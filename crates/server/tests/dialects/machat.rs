//! MaChat: an object that names client and room, then lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use roomcast::{Config, Server};

use crate::peer::{self, HANDSHAKE, Lines, Ws, address, connect, get, read_head};
use crate::transcript::{nobody_is_left, replay, until_members};

fn start() -> Server {
    start_with(|_| {})
}

/// A native listener stands behind MaChat's two.
fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    peer::start(|config| {
        config.listen = vec![
            "tcp://127.0.0.1:0?dialect=machat".into(),
            "ws://127.0.0.1:0?dialect=machat".into(),
            "tcp://127.0.0.1:0".into(),
        ];
        change(config);
    })
}

/// A client that sends and reads as the original's does.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn open(server: &Server, first: &[u8]) -> Self {
        let mut stream = connect(address(server, "tcp"));
        stream.write_all(first).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// In the room when it returns.
    fn join(server: &Server, name: &str, room: &str, members: u32) -> Self {
        let hello = format!("{{\"name\":\"{name}\",\"room\":\"{room}\"}}");
        let client = Self::open(server, hello.as_bytes());
        until_members(server, room, members);
        client
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next line with its end; empty at the end.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn refused(&mut self) -> String {
        let line = self.line();
        assert!(line.starts_with("error: ") && line.ends_with('\n'), "{line:?}");
        assert_eq!(self.line(), "", "one line, then the end");
        line
    }
}

fn native(server: &Server) -> Lines {
    let last = server.listeners().last().unwrap().address;
    Lines::over(connect(last))
}

fn open_ws(address: SocketAddr, path: &str) -> (Ws, String) {
    let mut stream = connect(address);
    let request = HANDSHAKE.replace("GET /ws", &format!("GET {path}"));
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let head = read_head(&mut stream);
    (Ws { stream }, head)
}

fn text(ws: &mut Ws) -> String {
    let frame = ws.next_frame().unwrap();
    assert_eq!(frame.opcode, 1, "{frame:?}");
    String::from_utf8(frame.payload).unwrap()
}

#[test]
fn the_recording_of_the_original_replays_byte_by_byte() {
    let lines = replay(&start(), include_str!("transcripts/machat.txt"));
    assert_eq!(lines, 31);
}

#[test]
fn what_comes_with_the_hello_is_kept_and_lines_keep_their_order() {
    let server = start();
    let mut first = b"{\"name\":\"Mina\",\"room\":\"r\"}\n".to_vec();
    for number in 0..2_000 {
        first.extend(format!("{number}\n").bytes());
    }
    first.extend(b"\r\n\nand no end");
    let mut mina = Client::open(&server, &first);
    mina.stream.shutdown(Shutdown::Write).unwrap();
    for number in 0..2_000 {
        assert_eq!(mina.line(), format!("Mina:{number}\n"));
    }
    for last in ["Mina:\n", "Mina:\n", "Mina:and no end\n", ""] {
        assert_eq!(mina.line(), last);
    }
}

#[test]
fn a_name_is_one_members_at_a_time() {
    let server = start();
    let mina = Client::join(&server, "Mina", "r", 1);
    let elsewhere = Client::join(&server, "Mina", "other", 1);
    let mut second = Client::open(&server, b"{\"name\":\"Mina\",\"room\":\"r\"}lost\n");
    assert!(second.refused().contains("`Mina`"));
    drop(mina);
    until_members(&server, "r", 0);
    let mut third = Client::join(&server, "Mina", "r", 1);
    third.say("free again\n");
    assert_eq!(third.line(), "Mina:free again\n");
    drop(elsewhere);
    // Who speaks another dialect may have any name where the room lets it.
    let mut other = native(&server);
    other.send(r#"{"type":"hello","name":"Mina"}"#);
    other.join("r");
    let mut fourth = Client::open(&server, b"{\"name\":\"Mina\",\"room\":\"r\"}");
    assert!(fourth.refused().contains("`Mina`"));
}

#[test]
fn a_bad_hello_is_answered_and_closed() {
    let long = "x".repeat(300);
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    let table: Vec<(String, &str)> = vec![
        ("hello\n".into(), "begin with"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "begin with"),
        ("[]".into(), "begin with"),
        ("\u{0}".into(), "begin with"),
        (r#"{"name" "x"}"#.into(), "begin with"),
        (r#"{"name":5,"room":"r"}"#.into(), "`name` is no text"),
        (r#"{"name":"a","room":["r"]}"#.into(), "`room` is no text"),
        (r#"{"name":"evil\nadmin","room":"r"}"#.into(), "`name`: a name may not hold control"),
        (r#"{"name":"a\u0000","room":"r"}"#.into(), "`name`: a name may not hold control"),
        (r#"{"name":"a\u202eb","room":"r"}"#.into(), "`name`: a name may not hold control"),
        (r#"{"name":"a:b","room":"r"}"#.into(), "`name`: a name may not hold `:`"),
        (r#"{"name":"error","room":"r"}"#.into(), "`name`: `error` is the server's own"),
        (r#"{"name":"server","room":"r"}"#.into(), "`name`: `server` is the server's own"),
        (r#"{"name":" Server","room":"r"}"#.into(), "`name`: ` Server` is the server's own"),
        (format!(r#"{{"name":"{long}"}}"#), "`name`: a name may have at most"),
        (r#"{"name":"a","room":"a\tb"}"#.into(), "`room`: a name may not hold control"),
        (r#"{"name":"a","room":"a/b/c"}"#.into(), "`room`: "),
        (r#"{"name":"a","room":"nowhere/r"}"#.into(), "no namespace `nowhere`"),
        (huge, "a hello of more than"),
    ];
    let server = start();
    for (hello, said) in &table {
        let mut client = Client::open(&server, hello.as_bytes());
        let line = client.refused();
        assert!(line.contains(said), "{hello:.60}: {line}");
    }
    let ws = address(&server, "ws");
    for (hello, said) in table.iter().filter(|(hello, _)| hello.len() < 1_000) {
        let (mut client, _) = open_ws(ws, "/mychat");
        client.send(hello);
        let line = text(&mut client);
        assert!(line.starts_with("error: ") && line.contains(said), "{hello:.60}: {line}");
        client.expect_close();
    }
    nobody_is_left(&server);
}

#[test]
fn names_and_rooms_may_be_missing_and_keys_in_any_case() {
    let server = start();
    let mut who = Client::open(&server, br#"{"other":{"a":[1]}}who"#);
    who.say("\n");
    let line = who.line();
    let (name, text) = line.split_once(':').unwrap();
    assert_eq!((name.len(), text), (22, "who\n"), "{line}");
    until_members(&server, "lounge", 1);
    let mut mina = Client::open(&server, br#"{"NAME":"Mina","Room":"r","room":null}"#);
    mina.say("x\n");
    assert_eq!(mina.line(), "Mina:x\n");
}

#[test]
fn lines_have_their_limit_and_what_is_longer_is_refused_with_a_line() {
    let server = start();
    let mut mina = Client::join(&server, "Mina", "r", 1);
    // What a room takes of a payload counts `{"text":""}` too.
    let most = "x".repeat(65_536 - 11);
    for end in ["\n", "\r\n"] {
        mina.say(&format!("{most}{end}"));
        assert_eq!(mina.line(), format!("Mina:{most}\n"));
    }
    mina.say(&format!("{most}x\n"));
    assert!(mina.line().starts_with("error: the payload has 65537 bytes"));
    mina.say(&format!("{most}{}\n", "x".repeat(11)));
    assert!(mina.refused().contains("65535 bytes"));
    let mut endless = Client::join(&server, "Endless", "r", 1);
    endless.say(&format!("{most}{}", "x".repeat(12)));
    assert!(endless.refused().contains("65535 bytes"));
    nobody_is_left(&server);
}

#[test]
fn frames_carry_a_stream_of_bytes() {
    let server = start();
    let ws = address(&server, "ws");
    let (mut bob, head) = open_ws(ws, "/mychat");
    let lower = head.to_ascii_lowercase();
    assert!(head.starts_with("HTTP/1.1 101 ") && lower.contains("\r\nconnection: upgrade\r\n"));
    assert!(!lower.contains("sec-websocket-protocol") && !lower.contains("-extensions"), "{head}");
    for piece in [r#"{"name":"Bo"#, r#"b","room":"r"}on"#, "e\ntwo\nth", "", "ree\n"] {
        bob.send(piece);
    }
    for line in ["one", "two", "three"] {
        assert_eq!(text(&mut bob), format!("Bob:{line}\n"));
    }
    // The original cut frames at 1,010 bytes.
    let long = "y".repeat(20_000);
    bob.send(&format!("{long}\n"));
    assert_eq!(text(&mut bob), format!("Bob:{long}\n"));
    let (_, head) = open_ws(ws, "/other");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(get(ws, "/health/live").0, 200);
    bob.send_frame(0x88, &1000u16.to_be_bytes());
    assert_eq!(bob.expect_close(), 1000);
    nobody_is_left(&server);
}

#[test]
fn each_client_is_answered_in_frames_of_the_kind_that_it_sent_last() {
    let server = start();
    let ws = address(&server, "ws");
    let mut kinds = [0x82, 0x81];
    let mut both = ["Bob", "Eve"].map(|name| (name, open_ws(ws, "/mychat").0));
    for (members, (name, client)) in (1..).zip(&mut both) {
        let hello = format!("{{\"name\":\"{name}\",\"room\":\"r\"}}");
        client.send_frame(kinds[members as usize - 1], hello.as_bytes());
        until_members(&server, "r", members);
    }
    for round in 0..4 {
        for speaker in 0..2 {
            let line = format!("{round}{speaker}\n");
            both[speaker].1.send_frame(kinds[speaker], line.as_bytes());
            let said = format!("{}:{line}", both[speaker].0);
            for (at, (name, client)) in both.iter_mut().enumerate() {
                let frame = client.next_frame().unwrap();
                assert_eq!(String::from_utf8(frame.payload).unwrap(), said);
                // One that has not spoken in this round yet is answered as in the last.
                let now =
                    if at <= speaker { kinds[at] } else { kinds[at] ^ (u8::from(round > 0) * 3) };
                assert_eq!(frame.opcode, now & 15, "{name} in round {round}");
            }
        }
        kinds = kinds.map(|kind| kind ^ 3);
    }
    let (_, bob) = &mut both[0];
    server.handle().room("r").delete().wait().unwrap();
    let last = (kinds[0] ^ 3) & 15;
    assert_eq!(bob.next_frame().unwrap().opcode, last, "also what is said at the end");
}

#[test]
fn other_dialects_hear_chat_and_what_they_say_is_a_line() {
    let server = start();
    let mut mina = Client::join(&server, "Mina", "r", 1);
    let mut other = native(&server);
    other.send(r#"{"type":"hello","name":"a:b"}"#);
    other.join("r");
    mina.say("caf\u{e9} \"1\"\u{7}\n");
    assert_eq!(mina.line(), "Mina:café \"1\"\n", "control characters do not reach terminals");
    let event = other.expect("event");
    assert_eq!(
        (&event["event"], &event["data"]["text"]),
        (&"chat".into(), &"café \"1\"\u{7}".into())
    );
    assert_eq!(event["from"]["name"], "Mina");
    let table = [
        ("chat", r#"{"text":"hi\nevil"}"#, "a_b:hievil\n"),
        ("chat", r#""plain""#, "a_b:plain\n"),
        ("chat", r#"{"x": [1, "a b"]}"#, "a_b:{\"x\":[1,\"a b\"]}\n"),
        ("chat", "12", "a_b:12\n"),
        ("move", r#"{"x": 1}"#, "a_b:[move] {\"x\":1}\n"),
        ("move", r#"{"text":"up"}"#, "a_b:[move] up\n"),
    ];
    for (event, data, line) in table {
        let publish = format!(r#"{{"type":"publish","room":"r","event":"{event}","data":{data}}}"#);
        other.send(&publish);
        assert_eq!(mina.line(), line);
    }
    server.handle().room("r").publish("x", "from code").wait().unwrap();
    assert_eq!(mina.line(), "server:[x] from code\n");
}

#[test]
fn who_loses_its_room_is_told_and_closed() {
    let server = start();
    let mut mina = Client::join(&server, "Mina", "r", 1);
    server.handle().room("r").delete().wait().unwrap();
    assert!(mina.refused().contains("deleted"));
    let server = start_with(|config| {
        config.namespaces.entry("default".into()).or_default().create = Some(false);
    });
    let mut nobody = Client::open(&server, b"{\"name\":\"Mina\",\"room\":\"r\"}");
    nobody.refused();
    nobody_is_left(&server);
}

#[test]
fn a_reader_that_stops_is_closed_and_the_others_hear_all() {
    let server = start();
    let _stopped = Client::join(&server, "Stopped", "r", 1);
    let mut mina = Client::join(&server, "Mina", "r", 2);
    let line = "x".repeat(5_000);
    for _ in 0..40 {
        let hundred = format!("{line}\n").repeat(100);
        mina.say(&hundred);
        for _ in 0..100 {
            assert_eq!(mina.line().len(), "Mina:\n".len() + line.len());
        }
    }
    until_members(&server, "r", 1);
}

#[test]
fn garbage_and_aborted_hellos_leave_nothing_behind() {
    let server = start_with(|config| config.limits.first_message_ms = 1_000);
    for number in 0..50 {
        let mut stream = connect(address(&server, "tcp"));
        stream.write_all([b"{\"na".as_slice(), b"\xff\xfe\x00", b"{}{}"][number % 3]).unwrap();
    }
    let mut partial = Client::open(&server, b"{\"name\":");
    assert!(partial.refused().contains("within 1 s"));
    nobody_is_left(&server);
}

#[test]
fn a_stream_that_ends_in_the_hello_is_closed() {
    let server = start();
    let mut client = Client::open(&server, b"{\"name\":\"Mi");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    client.reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    nobody_is_left(&server);
}
