//! Each example is started as a program of its own and used by the Rust client. It ends when its
//! input ends.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roomcast_client::{Client, ErrorCode, Event, Room, RoomEvent};
use serde_json::{Value, json};

/// Long enough for a busy machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running example.
struct Example {
    child: Option<Child>,
    url: String,
}

impl Example {
    fn start(program: &str, listen: &str) -> Self {
        let mut child = Command::new(program)
            .arg(listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        Self { child: Some(child), url: url.trim().to_owned() }
    }

    async fn client(&self, name: &str) -> Client {
        Client::builder(&self.url).name(name).connect().await.unwrap()
    }

    /// Ends its input, and waits until it has ended in good order.
    fn end(mut self) {
        let mut child = self.child.take().unwrap();
        let (sender, ended) = std::sync::mpsc::channel();
        // `wait` closes its input first.
        std::thread::spawn(move || sender.send(child.wait()));
        let status = ended.recv_timeout(PATIENCE).expect("it does not end").unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Still there only if a test has failed.
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

const ANY_PORT: &str = "ws://127.0.0.1:0";

/// The next event of that name.
async fn hear(room: &Room, name: &str) -> Event {
    let heard = async {
        loop {
            match room.next_event().await.expect("the room ended") {
                RoomEvent::Event(event) if event.is(name) => return event,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("no `{name}` came"))
}

#[tokio::test]
async fn hello() {
    let example = Example::start(env!("CARGO_BIN_EXE_hello"), ANY_PORT);
    let (mina, tom) = (example.client("Mina").await, example.client("Tom").await);
    let (lobby, same) = (mina.join("lobby").await.unwrap(), tom.join("lobby").await.unwrap());
    lobby.publish("chat", "hi").await.unwrap();
    assert_eq!(hear(&same, "chat").await.data::<String>().unwrap(), "hi");
    mina.close().await;
    tom.close().await;
    example.end();
}

#[tokio::test]
async fn chat() {
    let example = Example::start(env!("CARGO_BIN_EXE_chat"), ANY_PORT);
    let mina = example.client("Mina").await;
    let lobby = mina.join("lobby").await.unwrap();
    lobby.publish("chat", &json!({ "text": " hi " })).await.unwrap();
    assert_eq!(hear(&lobby, "chat").await.data::<Value>().unwrap()["text"], "hi");
    let refused = lobby.publish("chat", &json!({ "text": "" })).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Refused));
    let other = example.client("Mina").await;
    assert_eq!(other.join("lobby").await.unwrap_err().code(), Some(ErrorCode::NameTaken));
    mina.close().await;
    other.close().await;
    example.end();
}

#[tokio::test]
async fn presence() {
    let example = Example::start(env!("CARGO_BIN_EXE_presence"), ANY_PORT);
    let mina = example.client("Mina").await;
    let online = mina.join("online").await.unwrap();
    let tom = example.client("Tom").await;
    let lobby = tom.join("lobby").await.unwrap();
    let list = async |wanted: Value| {
        while hear(&online, "online").await.data::<Value>().unwrap() != wanted {}
    };
    list(json!({ "lobby": ["Tom"], "online": ["Mina"] })).await;
    lobby.leave().await.unwrap();
    list(json!({ "online": ["Mina"] })).await;
    let refused = online.publish("online", &json!({})).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::PublishNotAllowed));
    mina.close().await;
    tom.close().await;
    example.end();
}

#[tokio::test]
async fn positions() {
    let example = Example::start(env!("CARGO_BIN_EXE_positions"), ANY_PORT);
    let (anna, ben) = (example.client("Anna").await, example.client("Ben").await);
    let (field, same) = (anna.join("field").await.unwrap(), ben.join("field").await.unwrap());
    field.publish_unreliable("at", &[10.0, 10.0]).await.unwrap();
    same.publish_unreliable("at", &[20.0, 20.0]).await.unwrap();
    let near = hear(&field, "near").await.data::<Value>().unwrap();
    assert_eq!(near[ben.session().to_string()], json!([20.0, 20.0]));
    anna.close().await;
    ben.close().await;
    example.end();
}

#[tokio::test]
async fn auth() {
    let example = Example::start(env!("CARGO_BIN_EXE_auth"), ANY_PORT);
    let with = |ticket: &str| Client::builder(&example.url).token(ticket).connect();
    let mina = with("ticket-of-mina").await.unwrap();
    assert_eq!(mina.user().unwrap().as_str(), "mina");
    let desk = mina.join("mina.desk").await.unwrap();
    desk.publish("chat", "mine").await.unwrap();
    let tom = with("ticket-of-tom").await.unwrap();
    tom.join("lobby").await.unwrap();
    assert_eq!(tom.join("mina.desk").await.unwrap_err().code(), Some(ErrorCode::Forbidden));
    let stranger = with("ticket-of-nobody").await.unwrap_err();
    assert_eq!(stranger.code(), Some(ErrorCode::InvalidToken));
    mina.close().await;
    tom.close().await;
    example.end();
}

#[tokio::test]
async fn mount() {
    let example = Example::start(env!("CARGO_BIN_EXE_mount"), "127.0.0.1:0");
    let mina = example.client("Mina").await;
    let lobby = mina.join("lobby").await.unwrap();
    let address = example.url.trim_start_matches("ws://").split('/').next().unwrap();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let page = ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(page.contains("my own page"), "{page}");
    let post = |room: &str| {
        ask(&format!(
            "POST /announce/{room} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: 3\r\n\r\n\"x\""
        ))
    };
    assert!(post("lobby").starts_with("HTTP/1.1 200 "));
    assert_eq!(hear(&lobby, "news").await.data::<String>().unwrap(), "x");
    assert!(post("nowhere").starts_with("HTTP/1.1 404 "));
    mina.close().await;
    example.end();
}
