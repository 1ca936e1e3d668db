//! Threats S34 and S36: what a token may make the server fetch, and where tokens come to stand.

#![allow(clippy::unwrap_used)]

mod peer;
mod tokens;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::Algorithm as Jwa;
use peer::{Lines, Ws, connect, get, http, read_head, start, until};
use roomcast::Server;
use roomcast::config::TokenConfig;
use serde_json::{Value, json};
use tokens::{Pair, SECRET, claims, header, hs256, token};

/// A login server that tells its keys, and counts how often it is asked.
struct Login {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<String>>,
}

impl Login {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
        let login = Self { address, asked: Arc::clone(&asked), answer: Arc::clone(&answer) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                read_head(&mut stream);
                let answer = answer.lock().unwrap().clone();
                asked.fetch_add(1, Ordering::SeqCst);
                _ = stream.write_all(answer.as_bytes());
            }
        });
        login
    }

    fn tells(&self, keys: &[Value]) {
        let body = json!({ "keys": keys }).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        *self.answer.lock().unwrap() = head + &body;
    }

    fn fails(&self) {
        *self.answer.lock().unwrap() = "HTTP/1.1 500 Sorry\r\ncontent-length: 0\r\n\r\n".to_owned();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://{}/keys.json", self.address)
    }
}

fn server(login: &Login) -> Server {
    start(|config| {
        let text = format!("algorithm = \"ES256\"\njwks_url = \"{}\"", login.url());
        config.auth.tokens = vec![toml::from_str::<TokenConfig>(&text).unwrap()];
    })
}

fn is_let_in(server: &Server, token: &str) -> bool {
    let mut peer = Lines::connect(server);
    peer.send(&json!({"type": "hello", "ref": 1, "token": token}).to_string());
    peer.next().unwrap()["type"] == "welcome"
}

#[test]
fn keys_of_a_url_are_fetched_and_replaced_while_the_server_runs() {
    let (old, new) = (Pair::new(Jwa::ES256), Pair::new(Jwa::ES256));
    let login = Login::start();
    // A key of another kind, and one for encryption, are passed over.
    let mut encryption = Pair::new(Jwa::ES256).jwk("enc");
    encryption["use"] = "enc".into();
    login.tells(&[Pair::new(Jwa::RS256).jwk("rsa"), encryption, old.jwk("old")]);
    let server = server(&login);
    let (by_old, by_new) =
        (old.sign_as("old", &claims("mina")), new.sign_as("new", &claims("mina")));
    until("the keys are fetched", || is_let_in(&server, &by_old));
    assert!(!is_let_in(&server, &by_new));
    // While there is no new set, the old keys stay.
    login.fails();
    let asked = login.asked();
    server.reload_token_keys().unwrap();
    until("the keys are asked for", || login.asked() > asked);
    assert!(is_let_in(&server, &by_old));
    login.tells(&[new.jwk("new")]);
    server.reload_token_keys().unwrap();
    until("the new keys are there", || is_let_in(&server, &by_new));
    assert!(!is_let_in(&server, &by_old));
}

#[test]
fn s34_no_token_makes_the_server_fetch_anything() {
    let login = Login::start();
    let known = Pair::new(Jwa::ES256);
    login.tells(&[known.jwk("known")]);
    let server = server(&login);
    until("the keys are fetched", || is_let_in(&server, &known.sign_as("known", &claims("mina"))));
    // Where tokens try to lead the server: to itself, and to somebody else.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", elsewhere.local_addr().unwrap());
    let pair = Pair::new(Jwa::ES256);
    for key in ["jku", "x5u", "kid", "url"] {
        for target in [&url, &login.url()] {
            let mut head = header(Jwa::ES256);
            head[key] = target.as_str().into();
            let mut says = claims("mina");
            (says["iss"], says["aud"]) = (target.as_str().into(), target.as_str().into());
            let token = token(&head, &says.to_string(), &pair.signing(), Jwa::ES256);
            assert!(!is_let_in(&server, &token), "{key}");
        }
    }
    for unknown in 0..20 {
        assert!(!is_let_in(&server, &pair.sign_as(&format!("k{unknown}"), &claims("mina"))));
    }
    assert_eq!(login.asked(), 1, "once at the start, and never for a token");
    assert_eq!(elsewhere.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn s36_tokens_stand_in_no_log_and_no_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let hash = roomcast::config::api_key_hash("a key that nobody shows");
    let api_keys = format!("[{{ name = \"backend\", hash = \"{hash}\" }}]");
    let tokens = format!("[{{ algorithm = \"HS256\", secret = \"{SECRET}\" }}]");
    let mut child = Command::new(env!("CARGO_BIN_EXE_roomcast"))
        .args(["serve", "--workers", "1", "--listen", "ws://127.0.0.1:0"])
        .env("ROOMCAST_LOG__LEVEL", "trace")
        .env("ROOMCAST_AUTH__TOKENS", tokens)
        .env("ROOMCAST_API__KEYS", api_keys)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_once("://").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let mut shown = Vec::new();
    for n in 0..100 {
        let good = hs256(&claims(&format!("user-{n}")));
        let token = if n % 2 == 0 { good } else { good[..good.len() - 4].to_owned() };
        let mut peer = Ws::over(connect(address));
        peer.send(&json!({"type": "hello", "ref": 1, "token": token}).to_string());
        let wanted = if n % 2 == 0 { "welcome" } else { "error" };
        peer.expect(wanted);
        // What does not belong into a URL is put there all the same.
        assert_eq!(get(address, &format!("/nowhere?token={token}")).0, 404);
        // There, browsers must put it: their EventSource sends no header.
        let mut follower = connect(address);
        let head = format!("GET /sse?room=lobby&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        follower.write_all(head.as_bytes()).unwrap();
        let status = if n % 2 == 0 { "HTTP/1.1 200 " } else { "HTTP/1.1 401 " };
        assert!(read_head(&mut follower).starts_with(status));
        let api = format!(
            "GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        assert!([401, 429].contains(&http(address, &api).0));
        shown.push(token);
    }
    let metrics = get(address, "/metrics").2;
    _ = child.kill();
    child.wait().unwrap();
    let mut said = String::new();
    std::fs::File::open(&log).unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("hyper") || said.contains("roomcast"), "something is logged: {said}");
    for part in shown.iter().flat_map(|token| token.split('.').skip(1)) {
        assert!(!said.contains(part), "a token stands in the log");
        assert!(!metrics.contains(part), "a token stands in the metrics");
    }
    assert!(!said.contains(SECRET) && !metrics.contains(SECRET));
}
