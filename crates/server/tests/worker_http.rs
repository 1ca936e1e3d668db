//! What is served over HTTP beside the WebSocket.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};

use peer::{Lines, Ws, address, connect, get, http, start, until};

#[test]
fn the_page_health_and_metrics_are_there() {
    let server = start(|_| {});
    let ws = address(&server, "ws");
    let (status, head, body) = get(ws, "/");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("frame-ancestors 'none'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(body.to_ascii_lowercase().starts_with("<!doctype html>"));
    assert_eq!(get(ws, "/health/live").0, 200);
    assert_eq!(get(ws, "/health/ready").0, 200);
    let (status, head, body) = get(ws, "/no/such/path");
    assert_eq!((status, head.contains("application/json")), (404, true));
    let error: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(error["error"], "not_found");
    assert_eq!(http(ws, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").0, 405);
}

#[test]
fn the_javascript_client_is_there_and_sent_once() {
    let server = start(|_| {});
    let ws = address(&server, "ws");
    let (status, head, body) = get(ws, "/roomcast.js");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/javascript"), "{head}");
    assert!(body.ends_with("//# sourceMappingURL=roomcast.js.map\n"));
    let (_, head_of_map, map) = get(ws, "/roomcast.js.map");
    assert!(head_of_map.contains("content-type: application/json"), "{head_of_map}");
    assert!(map.contains("src/index.ts"));

    let asking = |more: &str| {
        let mut stream = connect(ws);
        let head = "GET /roomcast.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        stream.write_all(format!("{head}{more}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer.split_off(end))
    };
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: w/")).unwrap();
    let (head, rest) = asking(&format!("If-None-Match: \"other\", W/{tag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304 ") && rest.is_empty(), "{head}");
    let (head, gzipped) = asking("Accept-Encoding: br, gzip\r\nIf-None-Match: W/\"other\"\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-encoding: gzip"), "{head}");
    assert!(gzipped.len() < 12_000, "{} bytes", gzipped.len());
    let mut script = String::new();
    flate2::read::GzDecoder::new(&gzipped[..]).read_to_string(&mut script).unwrap();
    assert_eq!(script, body);
}

#[test]
fn where_webtransport_is_is_told_to_the_pages_that_may_connect() {
    let server = start(|config| config.http.origins = vec!["http://game.example:8000".to_owned()]);
    let asked = |origin: &str| {
        let request = format!(
            "GET /webtransport HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Origin: {origin}\r\n\r\n"
        );
        http(address(&server, "ws"), &request).1
    };
    let allowed = "access-control-allow-origin: http://game.example:8000";
    assert!(asked("http://game.example:8000").contains(allowed));
    for other in ["http://evil.example", "null", "http://game.example:8001"] {
        assert!(!asked(other).contains("access-control"), "{other}");
    }
}

#[test]
fn metrics_say_what_happened() {
    let server = start(|_| {});
    let mut peers = [Lines::connect(&server), Lines::connect(&server)];
    for peer in &mut peers {
        peer.join("lobby");
    }
    peers[0].send(r#"{"type":"publish","room":"lobby","event":"chat"}"#);
    for peer in &mut peers {
        peer.expect("event");
    }
    let is_counted = || {
        let counters = server.handle().counters();
        (counters.events_total, counters.deliveries_total) == (1, 2)
    };
    until("the turns are over", is_counted);
    let (status, _, text) = get(address(&server, "ws"), "/metrics");
    assert_eq!(status, 200);
    let total = |name: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total("roomcast_events_total"), 1, "{text}");
    assert_eq!(total("roomcast_deliveries_total"), 2);
    assert_eq!(total("roomcast_sessions"), 2);
    assert!(total("roomcast_read_bytes_total") > 100);
    assert!(text.contains("\nroomcast_accepted_total 3\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_metric_is_documented() {
    let server = start(|_| {});
    let documented = include_str!("../../../docs/metrics.md");
    let (_, _, text) = get(address(&server, "ws"), "/metrics");
    let mut count = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(documented.contains(&format!("`{name}{suffix}`")), "{name}{suffix}");
        count += 1;
    }
    // Those of a cluster are only where there is one.
    let here = documented.lines().filter(|line| !line.starts_with("| `roomcast_cluster_"));
    let rows = here.filter(|line| line.starts_with("| `roomcast_")).count();
    assert_eq!(rows, count);
}

#[test]
fn a_connection_serves_several_requests_and_not_for_ever() {
    let server = start(|config| config.limits.handshake_ms = 300);
    let mut stream = connect(address(&server, "ws"));
    for _ in 0..3 {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(peer::read_head(&mut stream).starts_with("HTTP/1.1 200 "));
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"live\n");
    }
    assert_eq!(server.connections(), 1);
    assert!(peer::is_closed(&mut stream));
    until("the connection is given back", || server.connections() == 0);
}

#[test]
fn a_websocket_begins_with_the_first_request() {
    let server = start(|_| {});
    let ws = address(&server, "ws");
    assert_eq!(get(ws, "/ws").0, 426);
    let elsewhere = peer::HANDSHAKE.replace("GET /ws ", "GET /other ");
    assert_eq!(http(ws, &format!("{elsewhere}Connection: close\r\n\r\n")).0, 404);
    Ws::connect(&server).join("lobby");
}

#[test]
fn a_host_that_is_not_ours_is_refused_on_loopback() {
    let server = start(|config| config.http.hosts = vec!["chat.example".into()]);
    let ws = address(&server, "ws");
    let status = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        http(ws, &request).0
    };
    assert_eq!(status("localhost:7400"), 200);
    assert_eq!(status("127.0.0.1"), 200);
    assert_eq!(status("chat.example"), 200);
    for evil in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert!((400..500).contains(&status(evil)), "{evil}");
    }
}

#[test]
fn many_requests_in_pieces_and_large_answers_go_through() {
    let server = start(|_| {});
    let mut stream = connect(address(&server, "ws"));
    for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(b"Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (status, head, body) = peer::split(&answer);
    assert_eq!(status, 200);
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
}
