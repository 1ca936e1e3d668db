//! Whole games over real connections, with seconds that last a twentieth of one.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use roomcast::Server;
use roomcast_client::{Client, ClientEvent};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use words_battle::bots::Bot;
use words_battle::words::Words;
use words_battle::{Setup, lobby};

/// Long enough for a busy machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Server {
    let listen = vec!["ws://127.0.0.1:0".into(), "ws://127.0.0.1:0?dialect=mesh".into()];
    words_battle::start(Setup { listen, second_ms: 50, ..Setup::default() }).unwrap()
}

fn bot(name: &str) -> Bot {
    Bot { name: name.to_owned(), thinks: Duration::ZERO, rests: Duration::ZERO, errs_in: 3 }
}

/// A client as the original's are: one envelope a frame, and several by line breaks understood.
struct Mesh {
    socket: WebSocketStream<TcpStream>,
    waiting: Vec<Value>,
    slug: String,
}

impl Mesh {
    async fn connect(server: &Server) -> Self {
        let listener = &server.listeners()[1];
        let url = format!("{}/wsmesh?name=Guest", listener.url);
        let stream = TcpStream::connect(listener.address).await.unwrap();
        let (socket, _) = timeout(PATIENCE, client_async(&url, stream)).await.unwrap().unwrap();
        Self { socket, waiting: Vec::new(), slug: String::new() }
    }

    async fn say(&mut self, action: &str, body: Value, target: &str) {
        let text = json!({ "action": action, "message_body": body, "target": target }).to_string();
        self.socket.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        while self.waiting.is_empty() {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing is said");
            if let Message::Text(text) = message.unwrap().unwrap() {
                self.waiting = text.lines().map(|one| serde_json::from_str(one).unwrap()).collect();
            }
        }
        self.waiting.remove(0)
    }

    /// The next message, which has this action.
    async fn expect(&mut self, action: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["action"], action, "{message}");
        message
    }

    /// Goes into a room of friends; gives what was told on the way.
    async fn enter(&mut self, room: &str, body: Value) -> Vec<Value> {
        self.say("join-room", body, "mesh-global").await;
        let mut told = Vec::new();
        loop {
            told.push(self.next().await);
            let last = told.last().unwrap();
            if last["action"] == "know-yourself" {
                self.slug = last["message_body"]["sender"].as_str().unwrap().to_owned();
                assert_eq!(
                    (&last["target"], &last["IsTargetClient"]),
                    (&json!(self.slug), &json!(true))
                );
                assert_eq!(told[0]["target"], room);
                return told;
            }
        }
    }
}

fn actions(told: &[Value]) -> Vec<&str> {
    told.iter().map(|told| told["action"].as_str().unwrap()).collect()
}

/// The messages of the original's game, in their order: what a client written for it hears from
/// its first word to the board.
#[tokio::test]
async fn a_client_of_the_original_plays_a_game_to_the_end() {
    let server = start();
    let (mut anna, mut bert) = (Mesh::connect(&server).await, Mesh::connect(&server).await);
    let body = json!({ "roomname": "ROOMabc123", "playerlimit": 3, "setplayername": "Anna" });
    let told = anna.enter("ROOMabc123", body).await;
    assert_eq!(actions(&told), ["join-room-notify", "is-room-maker", "know-yourself"]);
    assert_eq!(
        (&told[0]["sender"], &told[0]["IsTargetClient"]),
        (&json!(anna.slug), &json!(false))
    );
    assert_eq!(told[1]["message_body"]["message"], anna.slug);
    assert_eq!(told[1]["sender"], "bot-of-the-room");
    anna.say("set-client-name", json!({ "setname": "Anna" }), "ROOMabc123").await;
    let list = anna.expect("client-list-notify").await;
    assert_eq!(list["sender"], "Gawd");
    assert_eq!(list["message_body"]["clientsinroomessage"][0]["slug"], anna.slug);

    // The player limit may be missing.
    let told = bert.enter("ROOMabc123", json!({ "roomname": "ROOMabc123" })).await;
    assert_eq!(actions(&told), ["join-room-notify", "know-yourself"]);
    bert.say("set-client-name", json!({ "setname": "Bert" }), "ROOMabc123").await;
    assert_eq!(anna.expect("join-room-notify").await["sender"], bert.slug);
    anna.expect("client-list-notify").await;

    let settings = json!({ "game_duration": "40", "player_limit": "2" });
    anna.say("room-settings", settings, "ROOMabc123").await;
    anna.say("start-the-game", json!({ "message": "ROOMabc123" }), "ROOMabc123").await;
    anna.expect("room-setting-applied").await;
    anna.expect("room-bot-greetings").await;
    assert_eq!(anna.expect("send-message").await["message_body"]["letter"], "");
    let talk = anna.expect("message-by-bot").await;
    assert_eq!(
        (&talk["message_body"]["timer"], &talk["message_body"]["letter"]),
        (&json!(10), &json!(""))
    );
    play_to_the_board(&mut anna, &mut bert).await;
    server.stop();
}

/// Both say what they can until the board is there; every turn is checked as it comes.
async fn play_to_the_board(anna: &mut Mesh, bert: &mut Mesh) {
    let words = Words::english();
    let mut said = 0;
    let mut timers = Vec::new();
    loop {
        let told = anna.next().await;
        let body = &told["message_body"];
        if told["action"] == "message-by-bot" {
            let keys: Vec<_> = body.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["clientstats", "letter", "message", "timer", "whichclientturn"]);
            timers.push(body["timer"].as_u64().unwrap());
            let letter = body["letter"].as_str().unwrap().chars().next().unwrap();
            if timers.len() == 1 {
                assert_eq!(letter, 'w');
            }
            said += 1;
            let word = json!({ "message": words.beginning_with(letter)[said] });
            let player =
                if body["whichclientturn"]["slug"] == anna.slug { &mut *anna } else { &mut *bert };
            player.say("attempt-word", word, "ROOMabc123").await;
        } else if told["action"] == "room-bot-end-game" {
            let keys: Vec<_> = body.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["client_list", "message", "word_list"]);
            let found = body["word_list"].as_array().unwrap().len() as u64;
            let players = body["client_list"].as_array().unwrap();
            let points: u64 = players.iter().map(|one| one["score"].as_u64().unwrap()).sum();
            assert!(found > 0 && points == found, "{told}");
            break;
        } else if told["action"] == "error" {
            // On a busy machine a word may come too late.
            assert_eq!(body["reason"], "refused", "{told}");
        } else {
            assert_eq!(told["action"], "send-message", "{told}");
        }
    }
    assert_eq!(timers[0], 10);
    assert!(timers[1..].iter().all(|timer| *timer == 11), "{timers:?}");
}

#[tokio::test]
async fn strangers_of_both_protocols_are_paired_and_start_by_themselves() {
    let server = start();
    let mut anna = Mesh::connect(&server).await;
    anna.say("join-random-room", json!({ "roomname": "abcdefghij" }), "mesh-global").await;
    let found = anna.expect("found-random-room-notify").await;
    assert_eq!(found["message_body"], json!({ "roomname": "abcdefghij" }));
    anna.expect("join-room-notify").await;
    anna.expect("is-room-maker").await;
    anna.expect("know-yourself").await;
    anna.say("set-client-name", json!({ "setname": "Anna" }), "abcdefghij").await;
    anna.expect("client-list-notify").await;

    let client = Client::connect(&server.listeners()[0].url).await.unwrap();
    let mut happenings = client.events();
    let hall = client.join("mesh-global").await.unwrap();
    hall.publish("join-random-room", &json!({ "roomname": "other12345" })).await.unwrap();
    let room = loop {
        if let Some(ClientEvent::Message(found)) =
            timeout(PATIENCE, happenings.next()).await.unwrap()
        {
            assert!(found.is("found-random-room-notify"), "{}", found.json());
            break found.data::<Value>().unwrap()["roomname"].as_str().unwrap().to_owned();
        }
    };
    assert_eq!(room, "abcdefghij");
    let words = Words::english();
    let native = bot("Bert");
    let game = native.play(&client, &room, &words, 0);
    let watch = async {
        loop {
            let told = anna.next().await;
            if told["action"] == "room-bot-end-game" {
                return told;
            }
        }
    };
    let (board, told) = timeout(PATIENCE, async { tokio::join!(game, watch) }).await.unwrap();
    let board = board.unwrap();
    assert_eq!(board.players[0].0, "Bert");
    assert!(board.players[0].1 > 0 && board.players[1].1 == 0, "{board:?}");
    assert_eq!(told["message_body"]["word_list"], json!(board.words));
    server.stop();
}

#[tokio::test]
async fn bots_play_each_other_headless() {
    let server = start();
    let words = Arc::new(Words::english());
    let room = server.handle().room("bots");
    room.create(lobby::friends(4)).await.unwrap();
    let url = &server.listeners()[0].url;
    let games = ["Ada", "Boole", "Curie", "Darwin"].map(|name| {
        let words = Arc::clone(&words);
        async move {
            let client = Client::connect(url).await.unwrap();
            bot(name).play(&client, "bots", &words, 4).await.unwrap()
        }
    });
    let boards = timeout(PATIENCE, join_all(games)).await.unwrap();
    let best = &boards[0];
    assert_eq!(best.players.len(), 4);
    assert!(boards.iter().all(|board| board.words == best.words));
    let points: u64 = best.players.iter().map(|(_, score)| score).sum();
    assert!(points > 0 && points == best.words.len() as u64, "{best:?}");
    // Each begins where the one before ended, and none comes twice.
    for pair in best.words.windows(2) {
        assert_eq!(pair[0].chars().last(), pair[1].chars().next(), "{pair:?}");
    }
    let unique: std::collections::BTreeSet<_> = best.words.iter().collect();
    assert_eq!(unique.len(), best.words.len());
    server.stop();
}

#[tokio::test]
async fn what_the_original_died_of_is_answered() {
    let server = start();
    let mut anna = Mesh::connect(&server).await;
    let body = json!({ "roomname": "cows", "playerlimit": "many", "setplayername": 7 });
    anna.enter("cows", body).await;
    for (action, body, reason) in [
        ("send-message", json!({ "message": "before a name" }), "refused"),
        ("attempt-word", json!({ "message": "" }), "refused"),
        ("start-the-game", Value::Null, "refused"),
        ("room-settings", json!({ "game_duration": {} , "player_limit": [] }), ""),
        ("set-client-name", json!({ "setname": "<" }), "refused"),
        ("no-such-thing", json!({}), "refused"),
    ] {
        anna.say(action, body, "cows").await;
        let told = anna.next().await;
        match reason {
            "" => assert_eq!(told["action"], "room-setting-applied"),
            reason => assert_eq!(told["message_body"]["reason"], reason, "{action}: {told}"),
        }
    }
    for name in ["", "much-too-long", "a b", "a/b"] {
        anna.say("join-room", json!({ "roomname": name }), "mesh-global").await;
        let told = anna.expect("fail-join-room-notify").await;
        assert_eq!((&told["target"], &told["IsTargetClient"]), (&json!(anna.slug), &json!(true)));
    }
    anna.say("shout", json!({}), "mesh-global").await;
    assert_eq!(anna.next().await["message_body"]["reason"], "refused");
    // Leaving is heard: the next in the room is its maker.
    anna.say("leave-room", json!({}), "cows").await;
    let mut bert = Mesh::connect(&server).await;
    let told = bert.enter("cows", json!({ "roomname": "cows" })).await;
    assert_eq!(actions(&told), ["join-room-notify", "is-room-maker", "know-yourself"]);
    server.stop();
}
