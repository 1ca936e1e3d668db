//! Clients whom the embedding program brings: over any stream, and through its own axum app.

#![allow(clippy::unwrap_used)]

mod peer;

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use peer::{Lines, PATIENCE, Ws, connect, http, start, until};
use roomcast::{Config, EntranceError, Server, Speaks};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::time::timeout;

/// The client's end of a connection that the program has made up.
struct Client(BufReader<DuplexStream>);

impl Client {
    async fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        timeout(PATIENCE, self.0.write_all(line.as_bytes())).await.unwrap().unwrap();
    }

    async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
            assert_ne!(read, 0, "the end came before {kind}");
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["type"] == kind {
                return value;
            }
        }
    }

    async fn hear_end(&mut self) {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}

fn bring(server: &Server) -> (Client, tokio::task::JoinHandle<Result<(), EntranceError>>) {
    let (client, io) = duplex(1024);
    let serving = tokio::spawn(server.entrance().add_client(io, Speaks::Stream));
    (Client(BufReader::new(client)), serving)
}

#[tokio::test]
async fn a_client_on_any_stream_is_a_client_like_others() {
    let server = start(|_| {});
    let (mut client, serving) = bring(&server);
    let mut other = Lines::connect(&server);
    other.join("lobby");
    client.say(r#"{"type":"join","ref":1,"room":"lobby"}"#).await;
    assert_eq!(client.hear("joined").await["members"], 2);
    other.expect("member_joined");
    // Larger than the buffers on its way.
    let long = "x".repeat(40_000);
    let publish = format!(r#"{{"type":"publish","room":"lobby","event":"chat","data":"{long}"}}"#);
    client.say(&publish).await;
    // Its own echo first: the other peer blocks the thread that carries its bytes.
    assert_eq!(client.hear("event").await["data"].as_str().unwrap().len(), 40_000);
    assert_eq!(other.expect("event")["data"].as_str().unwrap().len(), 40_000);
    assert_eq!(server.connections(), 2);
    // It goes: the others hear of it, and its place is free.
    drop(client);
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
    assert_eq!(other.expect("member_left")["reason"], "left");
    until("its place is free", || server.connections() == 1);
}

#[tokio::test]
async fn a_client_that_the_server_closes_hears_why_and_then_the_end() {
    let server = start(|_| {});
    let (mut client, serving) = bring(&server);
    client.say(r#"{"type":"hello","ref":1}"#).await;
    let session = client.hear("welcome").await["session"].as_str().unwrap().parse().unwrap();
    server.handle().session(session).disconnect().await.unwrap();
    assert_eq!(client.hear("goodbye").await["code"], 4824);
    client.hear_end().await;
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
    // And when the server ends, so do its clients.
    let (mut client, serving) = bring(&server);
    client.say(r#"{"type":"ping","ref":1}"#).await;
    client.hear("pong").await;
    drop(server);
    client.hear_end().await;
    timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_holds_nobody_up() {
    let server = start(|config| {
        config.limits.outbox_bytes = 128 << 10;
        (config.limits.ping_ms, config.limits.pong_ms) = (400, 400);
    });
    let (mut client, serving) = bring(&server);
    client.say(r#"{"type":"hello","ref":1}"#).await;
    client.say(r#"{"type":"join","ref":2,"room":"lobby"}"#).await;
    client.hear("joined").await;
    let lobby = server.handle().room("lobby");
    let text = "x".repeat(60_000);
    let mut published = 0;
    while server.handle().counters().slow_readers_total == 0 {
        published += 1;
        assert!(published < 1_000, "the bytes pile up somewhere");
        lobby.publish("news", &text).await.unwrap();
    }
    // What it does not read holds nothing for ever.
    let error = timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, EntranceError::Broken(_)), "{error}");
    client.hear_end().await;
}

#[tokio::test]
async fn places_are_bounded_and_namespaces_are_known() {
    let server = start(|config| config.limits.connections = 1);
    let (mut client, _serving) = bring(&server);
    client.say(r#"{"type":"ping","ref":1}"#).await;
    client.hear("pong").await;
    let (_, io) = duplex(64);
    let full = server.entrance().add_client(io, Speaks::Stream).await.unwrap_err();
    assert!(matches!(full, EntranceError::Full), "{full}");
    let (_, io) = duplex(64);
    let nowhere = server.entrance().namespace("nowhere");
    let error = nowhere.add_client(io, Speaks::Stream).await.unwrap_err();
    assert!(matches!(error, EntranceError::NoNamespace(_)), "{error}");
}

#[tokio::test]
async fn a_websocket_may_come_over_any_stream() {
    let server = start(|_| {});
    let (mut client, io) = duplex(1024);
    let serving = tokio::spawn(server.entrance().add_client(io, Speaks::WebSocket));
    client.write_all(format!("{}\r\n", peer::HANDSHAKE).as_bytes()).await.unwrap();
    let mut head = [0; 12];
    timeout(PATIENCE, client.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    // A request for something else is answered as on a listener.
    let (mut other, io) = duplex(1024);
    tokio::spawn(server.entrance().add_client(io, Speaks::WebSocket));
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    other.write_all(request).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, other.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("live\n"), "{answer}");
    drop(client);
    _ = timeout(PATIENCE, serving).await.unwrap();
}

/// An application of the embedding program with a route of its own. Its thread ends with the test.
fn app(config: Config) -> (Server, SocketAddr) {
    let server = Server::builder().config(config).without_listeners().workers(2).start().unwrap();
    let app = Router::new()
        .route("/", get(|| async { "my page" }))
        .merge(server.entrance().router())
        .nest("/game", server.entrance().namespace("game").router());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await
        })
    });
    (server, address)
}

#[test]
fn an_axum_app_takes_clients_in_beside_its_own_routes() {
    let config = Config::from_toml("[namespaces.game]\n", "test").unwrap();
    let (server, address) = app(config);
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(http(address, request).2, "my page");
    let mut one = Ws::over(connect(address));
    let mut two = Ws::over(connect(address));
    one.hello();
    one.join("lobby");
    two.join("lobby");
    two.send(r#"{"type":"publish","room":"lobby","event":"chat","data":1}"#);
    assert_eq!(one.expect("event")["data"], 1);
    // One that is cut off is missed, as on a listener of the server's own.
    two.stream.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(one.expect("member_left")["reason"], "lost");
    let mut far = connect(address);
    let game = peer::HANDSHAKE.replace("/ws", "/game/ws");
    std::io::Write::write_all(&mut far, format!("{game}\r\n").as_bytes()).unwrap();
    assert!(peer::read_head(&mut far).starts_with("HTTP/1.1 101 "));
    let mut far = Ws { stream: far };
    far.join("table");
    let rooms = server.handle().namespace("game").rooms().wait().unwrap();
    assert_eq!(rooms.rooms[0].room, "game/table");
    // A stop says goodbye to them, too.
    let drain = std::thread::spawn(move || server.drain_and_stop());
    assert_eq!(one.expect("goodbye")["code"], 4802);
    assert_eq!(one.expect_close(), 4802);
    assert_eq!(far.expect_close(), 4802);
    drain.join().unwrap();
}

#[test]
fn who_finds_no_place_is_told_so_before_it_becomes_a_websocket() {
    let mut config = Config::default();
    config.limits.connections = 1;
    let (server, address) = app(config);
    let one = Ws::over(connect(address));
    let mut two = connect(address);
    std::io::Write::write_all(&mut two, format!("{}\r\n", peer::HANDSHAKE).as_bytes()).unwrap();
    let head = peer::read_head(&mut two);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 10\r\n"), "{head}");
    drop(one);
    until("its place is free", || server.connections() == 0);
    Ws::over(connect(address)).join("lobby");
}

#[test]
fn strange_pages_and_names_are_refused_by_the_router() {
    let mut config = Config::default();
    config.http.hosts = vec!["game.example".into()];
    let (_server, address) = app(config);
    let status = |host: &str, more: &str| {
        let head = peer::HANDSHAKE.replace("localhost", host);
        let mut stream = connect(address);
        std::io::Write::write_all(&mut stream, format!("{head}{more}\r\n").as_bytes()).unwrap();
        peer::read_head(&mut stream).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("localhost", ""), "101");
    assert_eq!(status("game.example", "Origin: https://game.example\r\n"), "101");
    assert_eq!(status("game.example", "Origin: https://evil.example\r\n"), "403");
    assert_eq!(status("evil.example", "Origin: http://evil.example\r\n"), "421");
    let plain = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (code, head, _) = http(address, plain);
    assert_eq!(code, 426);
    assert!(head.contains("sec-websocket-version: 13"), "{head}");
}
