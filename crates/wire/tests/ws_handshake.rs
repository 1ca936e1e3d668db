//! The opening handshake: who is let in, who is refused and with what words.
#![allow(clippy::unwrap_used)]
// The bans of the crate hold for its sources; a test may look at the clock and tell.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::time::{Duration, Instant};

use roomcast_wire::Format;
use roomcast_wire::ws::client;
use roomcast_wire::ws::handshake::{
    HEAD_BYTES_MAX, HeadError, SitePolicy, accept, read_head, refusal,
};

/// The request of RFC 6455 section 1.3, with lines changed: `Name: value` replaces or adds a
/// header, `-Name` takes one out, `+Name: value` adds one more, `>...` is the request line.
fn request(changes: &[&str]) -> Vec<u8> {
    let mut first = "GET /ws HTTP/1.1".to_owned();
    let mut lines: Vec<String> = [
        "Host: localhost:7400",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    .map(str::to_owned)
    .to_vec();
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    for change in changes {
        if let Some(line) = change.strip_prefix('>') {
            line.clone_into(&mut first);
        } else if let Some(out) = change.strip_prefix('-') {
            lines.retain(|line| name(line) != out.to_ascii_lowercase());
        } else if let Some(line) = change.strip_prefix('+') {
            lines.push(line.to_owned());
        } else {
            lines.retain(|line| name(line) != name(change));
            lines.push((*change).to_owned());
        }
    }
    format!("{first}\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

fn open_with(
    changes: &[&str],
    policy: &SitePolicy,
    deflate: bool,
) -> Result<(Format, String), HeadError> {
    let bytes = request(changes);
    let head = read_head(&bytes)?.expect("a whole head");
    let accepted = accept(&head, policy, deflate, None)?;
    Ok((accepted.format, String::from_utf8(accepted.response()).unwrap()))
}

fn open(changes: &[&str]) -> Result<(Format, String), HeadError> {
    open_with(changes, &SitePolicy::default(), true)
}

#[test]
fn the_handshake_of_rfc_6455() {
    let (format, response) = open(&[]).unwrap();
    assert_eq!(format, Format::JSON_WS);
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         \r\n"
    );
}

#[test]
fn our_client_and_our_server_agree() {
    let key = *b"0123456789abcdef";
    let bytes = client::request("localhost:7400", "/ws?namespace=a", "roomcast.v1.msgpack", key);
    let head = read_head(&bytes).unwrap().unwrap();
    assert_eq!((head.path(), head.len), ("/ws", bytes.len()));
    let accepted = accept(&head, &SitePolicy::default(), true, None).unwrap();
    assert_eq!(accepted.format, Format::MSGPACK_WS);
    let mut answer = accepted.response();
    let len = answer.len();
    answer.extend(b"\x81\x00");
    let read = client::check_response(&answer, key).unwrap().unwrap();
    assert_eq!((read.len, read.subprotocol.as_deref()), (len, Some("roomcast.v1.msgpack")));
    assert_eq!(client::check_response(&answer[..len - 1], key), Ok(None));
    assert_eq!(client::check_response(&answer, [0; 16]).unwrap_err().status, 502);
    let refused = refusal(&HeadError { status: 403, message: "no".to_owned() });
    let error = client::check_response(&refused, key).unwrap_err();
    assert_eq!((error.status, error.message.as_str()), (403, "no"));
}

#[test]
fn subprotocols_are_chosen_in_the_clients_order() {
    let name = "Sec-WebSocket-Protocol:";
    let cases = [
        ("roomcast.v1.json", "roomcast.v1.json", Format::JSON_WS),
        ("roomcast.v1.msgpack", "roomcast.v1.msgpack", Format::MSGPACK_WS),
        ("chat, roomcast.v1.msgpack,roomcast.v1.json", "roomcast.v1.msgpack", Format::MSGPACK_WS),
        ("chat,\troomcast.v1.json , roomcast.v1.msgpack", "roomcast.v1.json", Format::JSON_WS),
    ];
    for (offer, chosen, expected) in cases {
        let (format, response) = open(&[&format!("{name} {offer}")]).unwrap();
        assert_eq!(format, expected, "{offer}");
        assert!(response.contains(&format!("{name} {chosen}\r\n")), "{response}");
    }
    let both = [format!("{name} chat"), format!("+{name} roomcast.v1.msgpack")];
    assert_eq!(open(&[&both[0], &both[1]]).unwrap().0, Format::MSGPACK_WS);

    for bad in ["", ",", "chat", "a b", "roomcast.v1.json,", "roomcast.v2.json", "\"x\""] {
        let error = open(&[&format!("{name} {bad}")]).unwrap_err();
        assert_eq!(error.status, 400, "{bad}");
    }
    let error = open(&[&format!("{name} chat")]).unwrap_err();
    assert!(error.message.contains("roomcast.v1.json or roomcast.v1.msgpack"), "{error}");
}

#[test]
fn compression_is_agreed_on_by_the_first_offer_that_can_be_met() {
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let window = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                  server_max_window_bits=15";
    let cases = [
        ("permessage-deflate", Some(plain)),
        ("Permessage-Deflate", Some(plain)),
        ("permessage-deflate; client_max_window_bits", Some(plain)),
        ("permessage-deflate;client_max_window_bits=\"10\"", Some(plain)),
        ("permessage-deflate; server_max_window_bits=15", Some(window)),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", Some(plain)),
        (
            "x-webkit-deflate-frame; a=b, permessage-deflate; server_no_context_takeover",
            Some(plain),
        ),
        ("permessage-deflate; server_max_window_bits=10", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; client_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=08", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-deflate; surprise", None),
        ("mux", None),
    ];
    for (offer, answer) in cases {
        let offer = format!("Sec-WebSocket-Extensions: {offer}");
        let (format, response) = open(&[&offer]).unwrap();
        let expected = if answer.is_some() { Format::JSON_WS_DEFLATE } else { Format::JSON_WS };
        assert_eq!(format, expected, "{offer}");
        match answer {
            Some(answer) => {
                let line = format!("\r\nSec-WebSocket-Extensions: {answer}\r\n");
                assert!(response.contains(&line), "{offer}: {response}");
            }
            None => assert!(!response.contains("Extensions"), "{offer}: {response}"),
        }
        let (format, response) = open_with(&[&offer], &SitePolicy::default(), false).unwrap();
        assert_eq!(format, Format::JSON_WS);
        assert!(!response.contains("Extensions"), "compression is off");
    }
    for bad in
        ["", ",", "a;", "a,", ";a", "a;b=", "a;b=\"c", "a;b=\"\"", "a b", "a;b=c d", "a;=b", "é"]
    {
        let error = open(&[&format!("Sec-WebSocket-Extensions: {bad}")]).unwrap_err();
        assert_eq!(error.status, 400, "{bad}");
    }
}

/// Threat S14: nothing but a whole and right handshake opens the tunnel.
#[test]
fn what_is_not_quite_a_handshake_is_refused() {
    let cases: &[(u16, &[&str])] = &[
        (405, &[">POST /ws HTTP/1.1"]),
        (400, &[">GET /ws HTTP/1.0"]),
        (421, &[">GET /ws HTTP/1.0", "-Host"]),
        (400, &[">GET /ws HTTP/2.0"]),
        (400, &[">GET  /ws HTTP/1.1"]),
        (400, &[">GET http://localhost/ws HTTP/1.1"]),
        (400, &[">GET ws HTTP/1.1"]),
        (426, &["-Upgrade"]),
        (426, &["Upgrade: h2c"]),
        (400, &["-Connection"]),
        (400, &["Connection: keep-alive"]),
        (426, &["-Sec-WebSocket-Version"]),
        (426, &["Sec-WebSocket-Version: 8"]),
        (426, &["Sec-WebSocket-Version: 13, 8"]),
        (400, &["+Sec-WebSocket-Version: 13"]),
        (400, &["-Sec-WebSocket-Key"]),
        (400, &["Sec-WebSocket-Key: "]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE="]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="]),
        (400, &["Sec-WebSocket-Key: ********************=="]),
        (400, &["+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]),
        (400, &["+Host: localhost"]),
        (400, &["-Host"]),
        (400, &["Transfer-Encoding: chunked"]),
        (400, &["Transfer-Encoding: identity"]),
        (400, &["Transfer-Encoding: chunked", "Content-Length: 3"]),
        (400, &["Content-Length: 3"]),
        (400, &["Content-Length: 0", "+Content-Length: 0"]),
        (400, &["Bad : space before the colon"]),
        (400, &["X: folded\r\n  line"]),
        (400, &["X: control \x01 character"]),
        (400, &["X: bare \r carriage return"]),
        (400, &["X: bare\nY: line feed"]),
        (400, &["X: nul \0"]),
        (400, &["no colon"]),
        (400, &[": no name"]),
    ];
    for (status, changes) in cases {
        let error = open(changes).expect_err(&format!("{changes:?}"));
        assert_eq!(error.status, *status, "{changes:?}: {error}");
        let response = String::from_utf8(refusal(&error)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert_eq!(body, format!("{}\n", error.message));
        assert_eq!(head.contains("Sec-WebSocket-Version: 13"), *status == 426, "{head}");
    }
    assert!(open(&["Content-Length: 0"]).is_ok());
    assert!(open(&["Upgrade: WebSocket", "Connection: UPGRADE"]).is_ok());
    // 22 random characters, of which the last has bits that say nothing.
    assert!(open(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZZ=="]).is_ok());
}

#[test]
fn bare_line_feeds_are_refused_before_the_head_is_whole() {
    assert_eq!(read_head(b"GET / HTTP/1.1\nHost: a\n\n").unwrap_err().status, 400);
    assert_eq!(read_head(b"GET / HTTP/1.1\r\nHost: a\n").unwrap_err().status, 400);
    assert_eq!(read_head(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err().status, 400);
}

#[test]
fn a_head_cut_anywhere_waits_for_the_rest() {
    let mut bytes = request(&["Sec-WebSocket-Protocol: roomcast.v1.json"]);
    let len = bytes.len();
    bytes.extend(b"\x81\x85what follows is frames");
    for end in 0..len {
        assert!(read_head(&bytes[..end]).unwrap().is_none(), "{end}");
    }
    for end in len..bytes.len() {
        assert_eq!(read_head(&bytes[..end]).unwrap().unwrap().len, len);
    }
}

/// Threat S2.
#[test]
fn headers_are_counted() {
    let with = |extra: usize| {
        let lines: Vec<String> = (0..extra).map(|i| format!("+X-{i}: {i}")).collect();
        open(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(with(64 - 5).is_ok());
    assert_eq!(with(64 - 5 + 1).unwrap_err().status, 431);
    assert_eq!(with(2_000).unwrap_err().status, 431);
    let endless = [&b"GET / HTTP/1.1\r\n"[..], &b"X: y\r\n".repeat(65)].concat();
    assert_eq!(read_head(&endless).unwrap_err().status, 431, "before its end has come");
}

#[test]
fn a_head_has_at_most_16_kib() {
    let empty = request(&["X: "]).len();
    let padded = |len: usize| request(&[&format!("X: {}", "x".repeat(len - empty))]);
    let exact = padded(HEAD_BYTES_MAX);
    assert_eq!(read_head(&exact).unwrap().unwrap().len, HEAD_BYTES_MAX);
    let larger = padded(HEAD_BYTES_MAX + 1);
    assert_eq!(read_head(&larger).unwrap_err().status, 431);
    assert_eq!(read_head(&larger[..HEAD_BYTES_MAX]).unwrap_err().status, 431);
    assert!(read_head(&larger[..HEAD_BYTES_MAX - 1]).unwrap().is_none());
}

/// How long the fastest of several runs took: what a busy machine adds is not counted.
fn fastest(mut run: impl FnMut()) -> Duration {
    let time = |_| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    };
    (0..20).map(time).min().unwrap()
}

/// Threat S1: one endless header, a byte at a time, is not parsed again each time. 50 ms for
/// 16,384 reads of 8 KiB on average are 6 µs for a read of all; a debug build gets ten times that.
#[test]
fn an_endless_header_costs_little() {
    let mut bytes = request(&["X: "]);
    bytes.truncate(bytes.len() - 4);
    bytes.resize(HEAD_BYTES_MAX, b'x');
    let one_less = &bytes[..HEAD_BYTES_MAX - 1];
    let took = fastest(|| assert!(read_head(one_less).unwrap().is_none()));
    println!("looking for the end of an endless header: {took:?}");
    assert!(took < Duration::from_micros(60), "{took:?}");
    assert_eq!(read_head(&bytes).unwrap_err().status, 431);
}

/// Threat S3: the longest lists that fit into a head, in shapes that make others backtrack.
#[test]
fn long_lists_are_read_in_linear_time() {
    let fill = |unit: &str| unit.repeat(15_000 / unit.len());
    for unit in ["a,", ",", " ", "\t,", "a ", "a; ", "a;b=\"", "\\\"", "a;b=c;"] {
        for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Connection", "Upgrade"]
        {
            let line = format!("{name}: {}", fill(unit));
            let took = fastest(|| drop(open(&[&line])));
            assert!(took < Duration::from_millis(20), "{name} {unit:?}: {took:?}");
        }
    }
    let many = format!("Sec-WebSocket-Extensions: {}x", fill("permessage-deflate;b=c,"));
    assert_eq!(open(&[&many]).unwrap().0, Format::JSON_WS);
}

/// Threat S15: another site's page must not open a socket in its visitor's name.
#[test]
fn pages_of_other_sites_are_refused() {
    let policy = SitePolicy {
        origins: vec!["https://app.example".to_owned(), "capacitor://localhost".to_owned()],
        hosts: vec!["chat.example".to_owned()],
        ..SitePolicy::default()
    };
    let try_origin = |host: &str, origin: &str| {
        let changes = [format!("Host: {host}"), format!("Origin: {origin}")];
        open_with(&[&changes[0], &changes[1]], &policy, false)
    };
    let allowed = [
        ("chat.example", "https://chat.example"),
        ("chat.example", "http://CHAT.example:80"),
        ("chat.example:443", "https://chat.example"),
        // As programs write it that are told the address of a page.
        ("chat.example", "https://chat.example/"),
        ("chat.example:7400", "http://chat.example:7400"),
        ("[::1]:7400", "http://[::1]:7400"),
        ("chat.example", "https://app.example"),
        ("chat.example", "https://app.example:443"),
        ("chat.example", "capacitor://localhost"),
    ];
    for (host, origin) in allowed {
        assert!(try_origin(host, origin).is_ok(), "{host} {origin}");
    }
    let refused = [
        "null",
        "",
        "chat.example",
        "//chat.example",
        "https://evil.example",
        "https://chat.example.evil.example",
        "https://evilchat.example",
        "https://xchat.example",
        "https://chat.example.",
        "https://chat.example:8443",
        "http://app.example",
        "https://app.example:80",
        "https://sub.app.example",
        "https://chat.example@evil.example",
        "https://evil.example#@chat.example",
        "https://chat.example//",
        "https://chat.example/x",
        "https://chat.example, https://evil.example",
        "https://chat.example https://evil.example",
        "https://xn--cht-5na.example",
        "https://ch\u{430}t.example",
        "file://chat.example",
        "*",
    ];
    for origin in refused {
        let error = try_origin("chat.example", origin).expect_err(origin);
        assert_eq!(error.status, 403, "{origin}");
        assert!(error.message.contains("http.origins"), "{error}");
    }
    let twice = ["Origin: http://localhost:7400", "+Origin: https://evil.example"];
    assert_eq!(open(&twice).unwrap_err().status, 400);
    assert!(open(&["Origin: http://localhost:7400"]).is_ok());

    let any = SitePolicy { origins: vec!["*".to_owned()], ..policy };
    for origin in ["null", "https://evil.example"] {
        assert!(open_with(&[&format!("Origin: {origin}")], &any, false).is_ok());
    }
}

/// Threat S16: a page whose name was made to point at this machine is known by its `Host`.
#[test]
fn unknown_host_names_are_refused() {
    let policy = SitePolicy {
        hosts: vec!["chat.example".to_owned(), "fd00::1".to_owned()],
        ..SitePolicy::default()
    };
    let check = |host: &str, policy: &SitePolicy| {
        let bytes = request(&[&format!("Host: {host}")]);
        read_head(&bytes).unwrap().unwrap().check_host(policy)
    };
    let known = [
        "localhost",
        "LOCALHOST:7400",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1:7400",
        "127.9.9.9",
        "[::1]",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
        "chat.example:1",
        "Chat.Example",
        "[fd00::1]:7400",
    ];
    for host in known {
        assert!(check(host, &policy).is_ok(), "{host}");
    }
    let unknown = [
        "evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "10.0.0.1",
        "[::]",
        "[::2]",
        "::1",
        "localhost.",
        "",
        "x@localhost",
        "localhost:80:80",
        "localhost:x",
        "chat.example.",
        "xchat.example",
        "[fd00::2]",
    ];
    for host in unknown {
        let error = check(host, &policy).expect_err(host);
        assert_eq!(error.status, 421, "{host}");
        assert!(error.message.contains("http.hosts"), "{error}");
    }
    let any = SitePolicy { any_host: true, ..SitePolicy::default() };
    assert!(check("evil.example", &any).is_ok());
    assert_eq!(open(&["Host: evil.example"]).unwrap_err().status, 421);
}

#[test]
fn other_requests_are_read_too() {
    let bytes = b"POST /api/v1/publish?x=1 HTTP/1.1\r\nHost: localhost\r\n\
        Transfer-Encoding: chunked\r\n\r\n0";
    let head = read_head(bytes).unwrap().unwrap();
    assert_eq!((head.method, head.target), ("POST", "/api/v1/publish?x=1"));
    assert_eq!((head.path(), head.wants_websocket()), ("/api/v1/publish", false));
    assert_eq!(head.headers.len(), 2);
    let bytes = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(read_head(bytes).unwrap().unwrap().minor_version, 0);
}
