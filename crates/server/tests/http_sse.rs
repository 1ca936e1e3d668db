//! Rooms over plain HTTP: followers by server-sent events and lines, and sessions that speak by
//! POST.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use peer::{Lines, address, connect, http, start, until};
use roomcast::config::{KeyConfig, RuleConfig};
use roomcast::{RoomOptions, Server};
use serde_json::{Value, json};

/// An answer that goes on.
struct Follower {
    reader: BufReader<TcpStream>,
    /// Decoded, and not given on yet.
    decoded: Vec<u8>,
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    id: String,
    event: String,
    retry: String,
    data: Value,
}

impl Follower {
    /// The status, and the answer if it goes on.
    fn try_open(at: SocketAddr, path: &str, headers: &str) -> Result<Self, (u16, String)> {
        let mut stream = connect(at);
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let head = peer::read_head(&mut stream).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.split_once("content-length: ").unwrap().1;
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            return Err((status, String::from_utf8(body).unwrap()));
        }
        let kind = if path.starts_with("/sse") { "text/event-stream" } else { "x-ndjson" };
        assert!(head.contains(kind) && head.contains("cache-control: no-store"), "{head}");
        Ok(Self { reader: BufReader::new(stream), decoded: Vec::new() })
    }

    fn open(at: SocketAddr, path: &str, headers: &str) -> Self {
        Self::try_open(at, path, headers).map_err(|refused| panic!("{refused:?}")).ok().unwrap()
    }

    /// The next line of the body; none at its end.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.decoded.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.decoded.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            self.decoded.extend_from_slice(&chunk[..size]);
        }
    }

    /// The next event; comments are passed over.
    fn next(&mut self) -> Option<Sent> {
        let mut sent = Sent::default();
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", id)) => sent.id = id.to_owned(),
                Some(("event", event)) => sent.event = event.to_owned(),
                Some(("retry", retry)) => sent.retry = retry.to_owned(),
                Some(("data", data)) => sent.data = serde_json::from_str(data).unwrap(),
                None if line.is_empty() && sent != Sent::default() => return Some(sent),
                _ => assert!(line.is_empty() || line == ":", "{line}"),
            }
        }
    }

    fn expect(&mut self, event: &str) -> Sent {
        loop {
            let sent = self.next().unwrap_or_else(|| panic!("it ended before {event}"));
            let kind = if sent.event.is_empty() { &sent.data["type"] } else { &json!(sent.event) };
            if kind == event {
                return sent;
            }
        }
    }

    /// The next line as JSON.
    fn json(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended before {kind}"));
            let line: Value =
                if line.is_empty() { Value::Null } else { serde_json::from_str(&line).unwrap() };
            if line["type"] == kind {
                return line;
            }
        }
    }
}

fn say(server: &Server, room: &str, data: i32) {
    server.handle().room(room).publish("n", &data).wait().unwrap();
}

fn kept(server: &Server, room: &str) {
    let options = RoomOptions { keep_when_empty: true, ..RoomOptions::default() };
    server.handle().room(room).create(options).wait().unwrap();
}

#[test]
fn a_follower_hears_its_rooms_and_comes_back_to_what_it_missed() {
    let server = start(|_| {});
    let at = address(&server, "ws");
    for room in ["one", "two"] {
        kept(&server, room);
    }
    let mut follower = Follower::open(at, "/sse?room=one&room=default%2Ftwo&name=Mina", "");
    assert_eq!(follower.expect("welcome").data["user"], Value::Null);
    // Each room answers when it can.
    let mut joined = [follower.expect("joined"), follower.expect("joined")];
    joined.sort_by_key(|joined| joined.data["room"].to_string());
    assert_eq!((&joined[0].data["room"], &joined[1].data["room"]), (&json!("one"), &json!("two")));
    assert_eq!(server.handle().room("one").presence().wait().unwrap().members, 1);
    say(&server, "two", 1);
    let event = follower.expect("event");
    let (epoch, offset) =
        (event.data["at"]["epoch"].as_str().unwrap(), &event.data["at"]["offset"]);
    assert!(event.id.ends_with(&format!(",{epoch}:{offset}")), "{event:?}");
    assert_eq!((&event.data["event"], &event.data["data"]), (&json!("n"), &json!(1)));
    say(&server, "one", 2);
    let last = follower.expect("event");
    assert_eq!((last.data["room"].as_str(), last.id.matches(":1").count()), (Some("one"), 2));
    drop(follower);
    // Who only follows leaves no seat behind.
    let seats = || server.handle().room("one").presence().wait().unwrap().members;
    until("the seats are given up", || seats() == 0);

    say(&server, "one", 3);
    say(&server, "two", 4);
    let headers = format!("Last-Event-ID: {}\r\n", last.id);
    let mut again = Follower::open(at, "/sse?room=one&room=two", &headers);
    let (mut recovered, mut missed) = (0, Vec::new());
    while recovered < 2 || missed.len() < 2 {
        let sent = again.next().unwrap();
        recovered += usize::from(sent.data["recovered"] == true);
        missed.extend(sent.data["data"].as_i64());
    }
    missed.sort_unstable();
    assert_eq!(missed, [3, 4]);
    drop(again);

    // What was not kept is told; the query says the same as the header.
    let path = format!("/sse?room=one&since={epoch}:1");
    let told = Follower::open(at, &path, "").expect("joined").data;
    assert_eq!((&told["recovered"], &told["reason"]), (&json!(false), &json!("epoch")));
}

#[test]
fn lines_of_json_are_an_alternative() {
    let server = start(|_| {});
    kept(&server, "lobby");
    let mut follower = Follower::open(address(&server, "ws"), "/stream?room=lobby", "");
    assert_eq!(follower.json("joined")["position"]["offset"], 0);
    say(&server, "lobby", 7);
    assert_eq!(follower.json("event")["data"], 7);
    server.handle().room("lobby").delete().wait().unwrap();
    assert_eq!(follower.json("room_closed")["reason"], "deleted");
    // No room is left to follow.
    assert_eq!(follower.line(), None);
}

#[test]
fn who_may_not_follow_is_refused_by_status() {
    let server = start(|config| {
        config.auth.anonymous = false;
        let key = "a key of a test, long enough".to_owned();
        let can = vec!["join".into(), "create".into()];
        let rooms = Some(vec![RuleConfig { room: "open".into(), can }]);
        config.auth.keys.push(KeyConfig { key, user: Some("mina".into()), admin: false, rooms });
    });
    let at = address(&server, "ws");
    let bearer = "Authorization: Bearer a key of a test, long enough\r\n";
    let status = |path: &str, headers: &str| match Follower::try_open(at, path, headers) {
        Ok(_) => 200,
        Err((status, body)) => {
            let error: Value = serde_json::from_str(&body).unwrap();
            assert!(error["message"].is_string() && error["code"].is_u64(), "{path}: {body}");
            status
        }
    };
    assert_eq!(status("/sse?room=open", ""), 401);
    assert_eq!(status("/sse?room=open&token=wrong", ""), 401);
    assert_eq!(status("/sse?room=closed", bearer), 403);
    assert_eq!(status("/sse?room=open&room=closed", bearer), 403);
    assert_eq!(status("/sse?room=open", bearer), 200);
    assert_eq!(status("/sse?room=open&token=a%20key%20of%20a%20test,%20long%20enough", ""), 200);
    for wrong in [
        "/sse?romo=x",
        "/sse?room=a&room=a",
        "/sse?room=a&name=x&name=y",
        "/sse?room=",
        "/sse?room=a/b/c",
        "/sse?token=x",
        "/sse?room=a&since=x",
        "/sse?room=nospace/x",
        "/stream?room=%00",
    ] {
        assert_eq!(status(wrong, bearer), 400, "{wrong}");
    }
    let many: Vec<_> = (0..17).map(|n| format!("room={n}")).collect();
    assert_eq!(status(&format!("/sse?{}", many.join("&")), bearer), 409);
    assert_eq!(
        http(at, "PUT /sse HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0,
        405
    );
    // Nobody was left behind.
    until("all sessions have ended", || server.handle().counters().sessions == 0);
}

#[test]
fn silence_is_broken_and_a_stop_says_when_to_come_back() {
    let server = start(|config| {
        config.limits.ping_ms = 20;
        config.drain_retry_ms = 600_000;
    });
    let at = address(&server, "ws");
    let mut follower = Follower::open(at, "/sse?room=lobby", "");
    follower.expect("joined");
    while follower.line().unwrap() != ":" {}
    let mut lines = Follower::open(at, "/stream?room=lobby", "");
    lines.json("joined");
    while !lines.line().unwrap().is_empty() {}
    let stopping = std::thread::spawn(move || server.drain_and_stop());
    let goodbye = follower.expect("goodbye");
    assert_eq!(goodbye.data["reason"], "drain");
    assert_eq!(goodbye.retry, goodbye.data["retry_ms"].to_string());
    assert_eq!(follower.next(), None);
    assert_eq!(lines.json("goodbye")["reason"], "drain");
    stopping.join().unwrap();
}

/// What becomes of commands that are posted.
fn post(at: SocketAddr, line: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST /sse/{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let (status, _, body) = http(at, &request);
    (status, body)
}

#[test]
fn a_session_speaks_by_post_and_hears_by_the_stream() {
    let server = start(|_| {});
    let at = address(&server, "ws");
    let mut other = Lines::connect(&server);
    other.join("lobby");
    for path in ["/sse", "/stream"] {
        let mut down = Follower::open(at, path, "");
        let mut next = |kind: &str| match path {
            "/sse" => down.expect(kind).data,
            _ => down.json(kind),
        };
        let line = next("open")["line"].as_str().unwrap().to_owned();
        let hello = r#"{"type":"hello","ref":0,"name":"Mina"}"#;
        let join = r#"{"type":"join","ref":1,"room":"lobby"}"#;
        assert_eq!(post(at, &line, &format!("{hello}\r\n{join}")).0, 204);
        let welcome = next("welcome");
        assert_eq!(next("joined")["ref"], 1);
        let publish = r#"{"type":"publish","ref":2,"room":"lobby","event":"chat"}"#;
        assert_eq!(post(at, &line, publish).0, 204);
        assert_eq!(next("ok")["ref"], 2);
        assert_eq!(other.expect("event")["from"]["session"], welcome["session"]);
        assert_eq!(post(at, &line, r#"{"type":"jion"}"#).0, 204);
        assert_eq!(next("error")["code"], 4001);
        // The connection breaks: the session can be taken up again, as any other.
        drop(down);
        other.expect("member_dropped");
        assert_eq!(post(at, &line, publish).0, 404);
        let mut down = Follower::open(at, "/stream", "");
        let line = down.json("open")["line"].as_str().unwrap().to_owned();
        let resume = json!({"session": welcome["session"], "secret": welcome["resume"]});
        let hello = json!({"type": "hello", "ref": 3, "resume": resume}).to_string();
        assert_eq!(post(at, &line, &hello).0, 204);
        assert_eq!(down.json("welcome")["resumed"], true);
        assert_eq!(post(at, &line, r#"{"type":"bye"}"#).0, 204);
        assert_eq!(down.line().filter(|line| line.contains("event")), None);
        other.expect("member_left");
    }
}

#[test]
fn bad_posts_harm_nobody() {
    let server = start(|config| config.limits.handshake_ms = 300);
    let at = address(&server, "ws");
    let mut down = Follower::open(at, "/stream", "");
    let line = down.json("open")["line"].as_str().unwrap().to_owned();
    assert_eq!(line.len(), 22);
    for body in ["", "\n", "\0\0\0\u{1}", "[1]", "text"] {
        assert_eq!(post(at, &line, body).0, 400, "{body:?}");
    }
    assert_eq!(post(at, &line, &"{".repeat(65_537)).0, 413);
    for wrong in ["AAAAAAAAAAAAAAAAAAAAAA", "x", "%00", &line[1..]] {
        assert_eq!(post(at, wrong, "{}").0, 404, "{wrong}");
    }
    let mut slow = connect(at);
    let head =
        format!("POST /sse/{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{");
    slow.write_all(head.as_bytes()).unwrap();
    assert!(peer::read_head(&mut slow).starts_with("HTTP/1.1 408 "));
    // Nothing of all that came to the session.
    assert_eq!(
        post(at, &line, "{\"type\":\"ping\",\"ref\":1}\n{\"type\":\"ping\",\"ref\":2}\n").0,
        204
    );
    assert_eq!(down.json("pong")["ref"], 1);
    assert_eq!(down.json("pong")["ref"], 2);
    // Before its hello a peer may say little.
    let mut down = Follower::open(at, "/stream", "");
    let line = down.json("open")["line"].as_str().unwrap().to_owned();
    post(at, &line, &format!("{{\"type\":\"hello\",\"token\":\"{}\"}}", "x".repeat(20_000)));
    assert_eq!(down.json("goodbye")["code"], 1009);
    assert_eq!(down.line(), None);
}

#[test]
fn a_follower_that_does_not_read_is_dropped_and_nobody_else_notices() {
    let server = start(|config| {
        config.limits.outbox_bytes = 131_072;
        config.rooms.history.size = 0;
    });
    let at = address(&server, "ws");
    kept(&server, "lobby");
    let mut lazy = Follower::open(at, "/sse?room=lobby", "");
    lazy.expect("joined");
    let mut other = Follower::open(at, "/sse?room=lobby", "");
    other.expect("joined");
    let handle = server.handle();
    let data = "x".repeat(60_000);
    let mut said = 0;
    // Until the kernel's buffers, the pair's and the outbox are full: some MiB.
    while handle.counters().slow_readers_total == 0 {
        assert!(said < 2_000, "the slow follower is not dropped");
        handle.room("lobby").publish("n", data.as_str()).wait().unwrap();
        assert_eq!(other.expect("event").data["data"].as_str().unwrap().len(), 60_000);
        said += 1;
    }
    assert_eq!(lazy.expect("goodbye").data["reason"], "slow_reader");
}

#[test]
fn s15_pages_of_other_sites_follow_only_where_they_are_listed() {
    let server = start(|config| config.http.origins = vec!["https://game.example".into()]);
    let at = address(&server, "ws");
    let open = |origin: &str| {
        Follower::try_open(at, "/sse?room=lobby", &format!("Origin: {origin}\r\n")).err()
    };
    assert_eq!(open("https://evil.example").map(|(status, _)| status), Some(403));
    assert!(open("https://game.example").is_none());
    // An image, say, whose page reads nothing: it would still take a seat.
    let headers = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    let image = Follower::try_open(at, "/sse?room=lobby", headers).err();
    assert_eq!(image.map(|(status, _)| status), Some(403));
    let asked = |method: &str, path: &str, origin: &str| {
        let headers = format!("Host: localhost\r\nConnection: close\r\nOrigin: {origin}\r\n");
        http(at, &format!("{method} {path} HTTP/1.1\r\n{headers}\r\n"))
    };
    let (status, head, _) = asked("OPTIONS", "/sse/x", "https://game.example");
    assert_eq!(
        (status, head.contains("access-control-allow-origin: https://game.example")),
        (204, true)
    );
    assert!(
        head.contains("access-control-allow-headers: authorization,content-type,last-event-id"),
        "{head}"
    );
    assert_eq!(asked("POST", "/sse/x", "https://evil.example").0, 403);
    let (status, head, _) = asked("POST", "/sse/x", "https://game.example");
    assert_eq!((status, head.contains("access-control-allow-origin")), (404, true));
}

#[test]
fn lines_end_with_their_connections() {
    let server = start(|_| {});
    let at = address(&server, "ws");
    let open: Vec<_> = (0..20).map(|_| Follower::open(at, "/stream", "")).collect();
    assert_eq!(server.connections(), open.len());
    drop(open);
    until("all are gone", || server.connections() == 0);
    let mut again = Follower::open(at, "/stream", "");
    again.json("open");
    server.stop();
    assert!(peer::is_closed(again.reader.get_mut()));
}

#[test]
fn a_post_that_is_broken_off_ends_its_line() {
    let server = start(|config| config.limits.commands_per_s = 1);
    let at = address(&server, "ws");
    let mut down = Follower::open(at, "/stream", "");
    let line = down.json("open")["line"].as_str().unwrap().to_owned();
    let pings = "{\"type\":\"ping\"}\n".repeat(4_000);
    let head = format!(
        "POST /sse/{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        pings.len()
    );
    // The session reads one command a second, so that the way there is full soon.
    let is_full = (0..100).any(|_| {
        let mut stream = connect(at);
        stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        stream.write_all(format!("{head}{pings}").as_bytes()).unwrap();
        // What is not answered in time is broken off.
        !peer::read_head(&mut stream).starts_with("HTTP/1.1 204 ")
    });
    assert!(is_full);
    // Half a command stands there: what another post said would be read as its other half.
    while down.line().is_some() {}
    until("the line is gone", || post(at, &line, "{}").0 == 404);
}
