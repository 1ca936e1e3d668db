//! TLS on both transports, and signals to the real binary.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use peer::child::{Child, Setup};
use peer::{HANDSHAKE, Lines, Ws, connect, start, until};
use roomcast::Config;
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Writes a new certificate and its key.
fn write_pair(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A connection that takes no other certificate.
fn tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, connect(address));
    stream.flush()?;
    Ok(stream)
}

fn say(stream: &mut Tls, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(b"\n").unwrap();
}

/// Reads lines until one holds `what`.
fn expect(stream: &mut Tls, what: &str) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
        if byte[0] == b'\n' {
            let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
            if text.contains(what) {
                return text;
            }
        }
    }
}

fn with_tls(config: &mut Config, directory: &Path) {
    config.listen = vec![
        "ws://127.0.0.1:0".into(),
        "tcp://127.0.0.1:0".into(),
        "tls://127.0.0.1:0".into(),
        "wss://127.0.0.1:0".into(),
    ];
    config.tls.cert = Some(directory.join("cert.pem"));
    config.tls.key = Some(directory.join("key.pem"));
}

#[test]
fn rooms_are_shared_with_links_inside_tls() {
    let directory = tempfile::tempdir().unwrap();
    let cert = write_pair(directory.path());
    let server = start(|config| with_tls(config, directory.path()));
    let mut plain = Lines::connect(&server);
    plain.join("lobby");
    let mut line = tls(peer::address(&server, "tls"), &cert).unwrap();
    say(&mut line, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    expect(&mut line, "\"joined\"");
    let mut ws = tls(peer::address(&server, "wss"), &cert).unwrap();
    ws.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).unwrap();
    assert!(peer::read_head(&mut ws).starts_with("HTTP/1.1 101 "));
    let join = peer::frame(0x81, br#"{"type":"join","ref":1,"room":"lobby"}"#);
    ws.write_all(&join).unwrap();
    // Larger than one TLS record and than what TLS may hold back.
    let text = "x".repeat(60_000);
    plain.expect("member_joined");
    plain.expect("member_joined");
    for n in 1..=20 {
        plain.send(&format!(
            r#"{{"type":"publish","ref":{n},"room":"lobby","event":"e","data":"{text}"}}"#
        ));
        assert_eq!(plain.expect("event")["at"]["offset"], n);
    }
    for _ in 0..20 {
        assert!(expect(&mut line, "\"event\":\"e\"").len() > 60_000);
    }
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while all.len() < 20 * 60_000 {
        let count = ws.read(&mut piece).unwrap();
        all.extend_from_slice(&piece[..count]);
    }
}

#[test]
fn http_inside_tls_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let cert = write_pair(directory.path());
    let server = start(|config| with_tls(config, directory.path()));
    let mut stream = tls(peer::address(&server, "wss"), &cert).unwrap();
    for path in ["/health/live", "/metrics", "/"] {
        let close = if path == "/" { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let head = peer::read_head(&mut stream).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let (_, rest) = head.split_once("content-length: ").unwrap();
        let len: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; len];
        stream.read_exact(&mut body).unwrap();
    }
    // The end is said in TLS too: rustls makes an error of one that is not.
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn what_is_no_tls_is_closed_and_silence_has_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path());
    let server = start(|config| {
        with_tls(config, directory.path());
        config.limits.handshake_ms = 300;
    });
    for scheme in ["tls", "wss"] {
        let mut plain = connect(peer::address(&server, scheme));
        plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(peer::is_closed(&mut plain));
        let mut silent = connect(peer::address(&server, scheme));
        assert!(peer::is_closed(&mut silent));
    }
    until("all are given back", || server.connections() == 0);
}

#[test]
fn sighup_takes_a_new_certificate_and_keeps_links() {
    let directory = tempfile::tempdir().unwrap();
    let first = write_pair(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let child = Child::start(&Setup {
        listen: &["tls://127.0.0.1:0"],
        settings: &[("TLS__CERT", &cert), ("TLS__KEY", &key)],
        ..Setup::default()
    });
    let mut old = tls(child.address(0), &first).unwrap();
    say(&mut old, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    expect(&mut old, "\"joined\"");
    // A certificate that cannot be used changes nothing.
    std::fs::write(&cert, "nothing").unwrap();
    child.signal(Signal::HUP);
    say(&mut old, r#"{"type":"ping","ref":2}"#);
    expect(&mut old, "\"pong\"");
    assert!(tls(child.address(0), &first).is_ok());
    let second = write_pair(directory.path());
    child.signal(Signal::HUP);
    until("the new certificate is in use", || tls(child.address(0), &second).is_ok());
    assert!(tls(child.address(0), &first).is_err());
    say(&mut old, r#"{"type":"ping","ref":3}"#);
    expect(&mut old, "\"pong\"");
}

#[test]
fn sigterm_takes_leave_and_ends_well() {
    let child = Child::start(&Setup::default());
    let mut peer = Ws::over(connect(child.address(0)));
    peer.join("lobby");
    child.signal(Signal::TERM);
    assert_eq!(peer.expect("goodbye")["code"], 4802);
    assert_eq!(peer.expect_close(), 4802);
    drop(peer);
    assert!(child.wait().success());
}

/// A session on long-polling goes on over a WebSocket inside TLS: the worker gets the socket with
/// its TLS from the HTTP thread.
#[test]
fn a_session_is_taken_over_inside_tls() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_pair(directory.path());
    let server = start(|config| with_tls(config, directory.path()));
    let address = peer::address(&server, "wss");
    let ask = |method: &str, target: &str, body: &str| {
        let mut stream = tls(address, &trusted).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (status, _, body) = peer::split(&answer);
        assert_eq!(status, 200, "{answer}");
        body
    };
    let open = ask("GET", "/socket.io/?EIO=4&transport=polling", "");
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let sid = open["sid"].as_str().unwrap();
    let polling = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(ask("POST", &polling, "40"), "ok");
    assert!(ask("GET", &polling, "").starts_with("40{"));

    let mut stream = tls(address, &trusted).unwrap();
    let target = polling.replace("transport=polling", "transport=websocket");
    let request = HANDSHAKE.replacen("/ws", &target, 1);
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    assert!(peer::read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    let mut next = |said: &[u8]| {
        stream.write_all(said).unwrap();
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1]);
        if length == 126 {
            stream.read_exact(&mut head).unwrap();
            length = usize::from(u16::from_be_bytes(head));
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).unwrap();
        String::from_utf8(payload).unwrap()
    };
    assert_eq!(next(&peer::frame(0x81, b"2probe")), "3probe");
    assert_eq!(ask("POST", &polling, "421[\"join\",\"lobby\"]"), "ok");
    let mut said = peer::frame(0x81, b"5");
    said.extend(peer::frame(0x81, b"422[\"join\",\"hall\"]"));
    assert!(next(&said).starts_with("431["));
    assert!(next(&[]).starts_with("432["));
    assert!(next(&peer::frame(0x81, b"423[\"rooms\"]")).starts_with("433["));
}
