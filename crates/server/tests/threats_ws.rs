//! Attacks on the handshake and the framing (S1 to S4, S6, S8, S11 to S18): each is run against a
//! server with default settings but for deadlines, which are shortened.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use peer::{HANDSHAKE, Lines, Ws, address, connect, get, http, is_closed, start, until};
use roomcast::Server;

/// A request with a handshake's headers, some of them replaced, and more.
fn handshake(server: &Server, replace: &[(&str, &str)], more: &str) -> u16 {
    let mut head = HANDSHAKE.to_owned();
    for (old, new) in replace {
        assert!(head.contains(old), "{old}");
        head = head.replace(old, new);
    }
    let mut stream = connect(address(server, "ws"));
    stream.write_all(format!("{head}{more}\r\n").as_bytes()).unwrap();
    let answer = peer::read_head(&mut stream);
    peer::split(&answer).0
}

/// The server lives and serves.
fn canary(server: &Server) {
    let mut peer = Ws::connect(server);
    peer.send(r#"{"type":"ping","ref":1}"#);
    assert_eq!(peer.expect("pong")["ref"], 1);
}

#[test]
fn s1_an_endless_header_is_cut_off_early() {
    let server = start(|_| {});
    let mut stream = connect(address(&server, "ws"));
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
    let mut sent = 0;
    while sent < 64 << 10 && stream.write_all(&[b'a'; 256]).is_ok() {
        sent += 256;
    }
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    canary(&server);
}

#[test]
fn s2_more_headers_than_the_limit_are_refused() {
    let server = start(|_| {});
    let many: String = (0..200).map(|n| format!("X-{n}: {n}\r\n")).collect();
    assert_eq!(handshake(&server, &[], &many), 431);
    canary(&server);
}

#[test]
fn s3_lists_in_headers_are_read_in_one_pass() {
    let server = start(|_| {});
    let lists =
        ["a,".repeat(7_000), "\"\\".repeat(7_000), " ".repeat(14_000), "a;b=".repeat(3_500)];
    for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
        for list in &lists {
            let begin = Instant::now();
            let status = handshake(&server, &[], &format!("{name}: x{list}\r\n"));
            assert!(matches!(status, 101 | 400 | 431), "{status}");
            assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
        }
    }
}

#[test]
fn s4_slow_and_silent_peers_are_gone_by_their_deadlines() {
    let server = start(|config| {
        config.limits.handshake_ms = 300;
        config.limits.first_message_ms = 400;
    });
    let mut peers = Vec::new();
    for _ in 0..10 {
        // Nothing at all, on both listeners.
        peers.push(connect(address(&server, "ws")));
        peers.push(connect(address(&server, "tcp")));
        // A head that does not end; a first line that does not end.
        let mut head = connect(address(&server, "ws"));
        head.write_all(b"GET /ws HTTP/1.1\r\nHost: loc").unwrap();
        peers.push(head);
        let mut line = Lines::connect(&server);
        line.stream.write_all(b"{\"type\":").unwrap();
        peers.push(line.stream);
        // A handshake, and nothing after it.
        peers.push(Ws::connect(&server).stream);
        // A body that does not come.
        let mut body = connect(address(&server, "ws"));
        body.write_all(
            b"POST /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
        )
        .unwrap();
        peers.push(body);
    }
    assert!(server.connections() >= 40);
    for mut peer in peers {
        assert!(is_closed(&mut peer));
    }
    until("all are given back", || server.connections() == 0);
}

#[test]
fn s4_bytes_that_drip_do_not_move_the_deadline() {
    let server = start(|config| config.limits.handshake_ms = 300);
    let mut stream = connect(address(&server, "ws"));
    let begin = Instant::now();
    for byte in HANDSHAKE.as_bytes().iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(begin.elapsed() < Duration::from_secs(5), "still open");
    }
}

#[test]
fn s6_declared_lengths_are_not_believed() {
    let server = start(|_| {});
    for len in [1_u64 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        let mut peer = Ws::connect(&server);
        let mut head = vec![0x81, 0x80 | 127];
        head.extend(len.to_be_bytes());
        head.extend([1, 2, 3, 4]);
        peer.stream.write_all(&head).unwrap();
        assert!(matches!(peer.expect_close(), 1002 | 1009), "{len}");
    }
    let mut stream = connect(address(&server, "tcp"));
    stream.write_all(&[0, 0xff, 0xff, 0xff]).unwrap();
    assert!(is_closed(&mut stream));
    canary(&server);
}

#[test]
fn s8_a_message_without_end_is_closed_at_the_limit_with_its_numbers() {
    let server = start(|_| {});
    let mut peer = Ws::connect(&server);
    peer.hello();
    let piece = [b'a'; 1024];
    peer.send_frame(0x01, &piece);
    for _ in 0..64 {
        // The server may have closed already: the answer is there all the same.
        _ = peer.stream.write_all(&peer::frame(0x00, &piece));
    }
    let goodbye = peer.expect("goodbye");
    assert_eq!(goodbye["code"], 1009);
    assert!(goodbye["message"].as_str().unwrap().contains("65536"), "{goodbye}");
    assert_eq!(peer.expect_close(), 1009);
}

#[test]
fn s8_a_line_without_end_is_closed_at_the_limit_with_its_numbers() {
    let server = start(|_| {});
    let mut peer = Lines::connect(&server);
    peer.hello();
    peer.stream.write_all(&[b'{'; 70_000]).unwrap();
    let goodbye = peer.expect("goodbye");
    assert_eq!(goodbye["code"], 1009);
    assert!(goodbye["message"].as_str().unwrap().contains("65536"), "{goodbye}");
    assert_eq!(peer.next(), None);
    let mut stranger = Lines::connect(&server);
    stranger.stream.write_all(&[b'{'; 17_000]).unwrap();
    let goodbye = stranger.expect("goodbye");
    let says =
        "a line of more than 16384 bytes; at most 16384 are allowed before the session begins";
    assert_eq!(goodbye["message"], says);
}

#[test]
fn s11_s12_s13_broken_rules_are_closed_with_their_code() {
    let server = start(|_| {});
    let mut unmasked = vec![0x81, 2];
    unmasked.extend(b"{}");
    let frames: Vec<(&str, Vec<u8>, u16)> = vec![
        ("reserved opcode", peer::frame(0x83, b""), 1002),
        ("reserved control opcode", peer::frame(0x8b, b""), 1002),
        ("reserved bit", peer::frame(0xc1, b"{}"), 1002),
        ("ping in pieces", peer::frame(0x09, b""), 1002),
        ("ping above 125 bytes", peer::frame(0x89, &[0; 126]), 1002),
        ("continuation of nothing", peer::frame(0x80, b"a"), 1002),
        ("text inside text", [peer::frame(0x01, b"a"), peer::frame(0x81, b"b")].concat(), 1002),
        ("close of one byte", peer::frame(0x88, &[3]), 1002),
        ("close with a code that nobody may send", peer::frame(0x88, &[3, 237]), 1002),
        ("close with a reason that is no text", peer::frame(0x88, &[3, 232, 0xff]), 1007),
        ("not masked", unmasked, 1002),
        ("a kind that is not spoken", peer::frame(0x82, b"{}"), 1003),
        ("no text", peer::frame(0x81, &[0xff]), 1007),
        ("overlong text", peer::frame(0x81, &[0xc0, 0xaf]), 1007),
        ("surrogate", peer::frame(0x81, &[0xed, 0xa0, 0x80]), 1007),
        ("cut character", peer::frame(0x81, &[0xe2, 0x82]), 1007),
    ];
    for (what, bytes, code) in frames {
        let mut peer = Ws::connect(&server);
        peer.stream.write_all(&bytes).unwrap();
        assert_eq!(peer.expect_close(), code, "{what}");
        drop(peer);
        canary(&server);
    }
}

#[test]
fn s14_no_tunnel_is_opened_for_a_handshake_that_is_none() {
    let server = start(|_| {});
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let attempts: &[(&[(&str, &str)], &str)] = &[
        (&[("Version: 13", "Version: 12")], ""),
        (&[("Version: 13", "Version: 13, 8")], ""),
        (&[(key, "")], ""),
        (&[(key, "Sec-WebSocket-Key: short\r\n")], ""),
        (&[], key),
        (&[], "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        (&[], "Transfer-Encoding: chunked\r\n"),
        (&[], "Content-Length: 5\r\n"),
        (&[("HTTP/1.1", "HTTP/1.0")], ""),
        (&[("GET", "POST")], ""),
        (&[("\r\n", "\n")], ""),
        (&[("Connection: Upgrade", "Connection: close")], ""),
        (&[("Host: localhost\r\n", "")], ""),
        (&[], "Host: localhost\r\n"),
        (&[("Host: localhost", "Host : localhost")], ""),
    ];
    for (replace, more) in attempts {
        let status = handshake(&server, replace, more);
        assert_ne!(status, 101, "{replace:?} {more:?}");
        assert!(status == 0 || (400..500).contains(&status), "{replace:?} {more:?}: {status}");
    }
    assert_eq!(handshake(&server, &[], ""), 101);
}

#[test]
fn s15_pages_of_other_sites_cannot_connect() {
    let server = start(|config| config.http.origins = vec!["https://example.org".into()]);
    let origin = |origin: &str| handshake(&server, &[], &format!("Origin: {origin}\r\n"));
    for good in ["http://localhost", "https://example.org"] {
        assert_eq!(origin(good), 101, "{good}");
    }
    for evil in [
        "https://evil.example",
        "null",
        "https://example.org.evil.example",
        "https://evilexample.org",
        "http://example.org",
        "https://xn--exmple-cua.org",
        "https://example.org:8443",
        "http://localhost.evil.example",
    ] {
        assert_eq!(origin(evil), 403, "{evil}");
    }
}

#[test]
fn s16_a_name_that_points_here_is_not_served() {
    let server = start(|_| {});
    for evil in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7400"] {
        let host = format!("Host: {evil}");
        let status = handshake(&server, &[("Host: localhost", &host)], "");
        assert!((400..500).contains(&status), "{evil}: {status}");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {evil}\r\nConnection: close\r\n\r\n");
        let status = http(address(&server, "ws"), &request).0;
        assert!((400..500).contains(&status), "{evil}: {status}");
    }
    assert_eq!(get(address(&server, "ws"), "/metrics").0, 200);
}

#[test]
fn s17_http_2_is_not_spoken() {
    let server = start(|_| {});
    let mut stream = connect(address(&server, "ws"));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    // The upgrade to HTTP/2 in clear text is not taken up either.
    let h2c = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\
        Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    assert_eq!(http(address(&server, "ws"), h2c).0, 200);
}

#[test]
fn s18_a_pong_says_what_the_ping_said_and_nothing_else() {
    let server = start(|_| {});
    let mut peer = Ws::connect(&server);
    for len in [0, 1, 5, 124, 125] {
        let payload: Vec<u8> = (0..len).collect();
        peer.send_frame(0x89, &payload);
        let pong = peer.next_frame().unwrap();
        assert_eq!((pong.opcode, pong.payload), (10, payload));
    }
}
