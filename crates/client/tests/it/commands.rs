//! Commands and their answers on a link that stays.

use std::time::Duration;

use crate::fake::{EPOCH, Fake, Line, SECRET_1, SESSION, at, error, event, fake, joined, welcome};
use roomcast_client::{
    Client, ClientEvent, ClosedReason, Codec, Error, ErrorCode, JoinOptions, LostReason, Overflow,
    PublishOptions, Room, RoomEvent, To,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    n: u64,
}

async fn in_lobby(builder: roomcast_client::Builder, fake: &mut Fake) -> (Room, Line) {
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    let (room, _) = tokio::join!(client.join("lobby"), line.let_join(0));
    (room.unwrap(), line)
}

async fn next_number(room: &Room) -> u64 {
    match room.next_event().await {
        Some(RoomEvent::Event(event)) => event.data::<Count>().unwrap().n,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_introduction_tells_name_and_token() {
    let (builder, mut fake) = fake();
    let connecting = tokio::spawn(builder.name("Mina").token("secret").connect());
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    assert_eq!((&hello["name"], &hello["token"]), (&json!("Mina"), &json!("secret")));
    line.say(&welcome(&hello, SECRET_1, false)).await;
    let client = connecting.await.unwrap().unwrap();
    assert_eq!(client.session().to_string(), SESSION);
    assert_eq!(client.limits().rooms, 128);
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_answered_and_events_are_typed() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    assert_eq!((room.name(), room.members_at_join()), ("lobby", 2));
    let answer = async {
        let publish = line.hear("publish").await;
        assert_eq!(publish["data"], json!({"n": 1}));
        assert!(publish["key"].is_string());
        line.say(&event(1)).await;
        line.say(&json!({"type": "ok", "ref": publish["ref"], "position": at(1)})).await;
    };
    let (position, ()) = tokio::join!(room.publish("chat", &Count { n: 1 }), answer);
    assert_eq!(position.unwrap().unwrap().offset, 1);
    let Some(RoomEvent::Event(event)) = room.next_event().await else { panic!() };
    assert!(event.is("chat"));
    assert_eq!(event.sender_name(), "Mina");
    assert_eq!(event.data::<Count>().unwrap(), Count { n: 1 });
    assert!(matches!(event.data::<String>(), Err(Error::Payload(_))));
    assert_eq!(event.json(), r#"{"n":1}"#);
}

#[tokio::test(start_paused = true)]
async fn join_carries_position_and_data_and_tells_the_verdict() {
    let (builder, mut fake) = fake();
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    let since = roomcast_client::Position { epoch: EPOCH.parse().unwrap(), offset: 7 };
    let options = JoinOptions::default().since(since).data(Codec::Json, "here").unwrap();
    let script = async {
        let join = line.hear("join").await;
        assert_eq!((&join["since"], &join["data"]), (&at(7), &json!("here")));
        let mut joined = joined(&join, 99);
        (joined["recovered"], joined["reason"]) = (false.into(), "trimmed".into());
        line.say(&joined).await;
        line.say(&event(99)).await;
        line.say(&event(100)).await;
    };
    let (room, ()) = tokio::join!(client.join_with("lobby", options), script);
    let room = room.unwrap();
    assert!(matches!(room.next_event().await, Some(RoomEvent::Lost(LostReason::Trimmed))));
    assert_eq!(next_number(&room).await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_to_do_next() {
    let (builder, mut fake) = fake();
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    let refuse = async {
        let join = line.hear("join").await;
        line.say(&error(&join, 4091, "room_full")).await;
    };
    let (refused, ()) = tokio::join!(client.join("lobby"), refuse);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RoomFull));
    assert_eq!(refused.to_string(), "as the script says (room_full, 4091)");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused_here() {
    let (builder, mut fake) = fake();
    let (room, _line) = in_lobby(builder, &mut fake).await;
    let client = room.client();
    let large = room.publish("chat", &"x".repeat(1000)).await.unwrap_err();
    assert!(large.to_string().contains("at most 1000"), "{large}");
    let name = client.join("a\nb").await.unwrap_err();
    assert!(matches!(name, Error::Invalid(_)), "{name}");
    let option = client.create(None, &json!({"histroy": 1})).await.unwrap_err();
    assert!(option.to_string().contains("histroy"), "{option}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_a_timeout() {
    let (builder, mut fake) = fake();
    let builder = builder.ack_timeout(Duration::from_secs(3));
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let began = tokio::time::Instant::now();
    let timeout = room.client().rooms(None).await.unwrap_err();
    assert!(matches!(timeout, Error::Timeout(_)), "{timeout}");
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    // A late answer disturbs nobody.
    let rooms = line.hear("rooms").await;
    line.say(&json!({"type": "ok", "ref": rooms["ref"]})).await;
    line.say(&event(1)).await;
    assert_eq!(next_number(&room).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_publish_has_no_number_and_its_refusal_is_told() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    room.publish_unreliable("move", &Count { n: 1 }).await.unwrap();
    let publish = line.hear("publish").await;
    assert_eq!((publish.get("ref"), publish.get("key")), (None, None));
    assert_eq!(publish["reliable"], json!(false));
    let mut refused = error(&publish, 4290, "rate_limited");
    refused.as_object_mut().unwrap().remove("ref");
    line.say(&refused).await;
    let Some(ClientEvent::Refused(refused)) = room.client().events().next().await else { panic!() };
    assert_eq!(refused.known(), Some(ErrorCode::RateLimited));
}

#[tokio::test(start_paused = true)]
async fn messages_reach_the_client_and_their_sender_learns_how_many() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let client = room.client();
    let script = async {
        let send = line.hear("send").await;
        assert_eq!(send["user"], "zoe");
        line.say(&json!({"type": "ok", "ref": send["ref"], "delivered": 2})).await;
        line.say(&json!({"type": "message", "event": "hint", "data": 5})).await;
    };
    let to = To::User("zoe".to_owned());
    let (delivered, ()) = tokio::join!(client.send(to, "invite", "lobby"), script);
    assert_eq!(delivered.unwrap(), 2);
    let Some(ClientEvent::Message(message)) = client.events().next().await else { panic!() };
    assert_eq!((message.sender_name(), message.data::<u32>().unwrap()), ("server".into(), 5));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_dropped_is_never_taken_for_a_repeat() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let mut unreliable = event(1);
    unreliable["reliable"] = false.into();
    for message in [event(1), event(1), unreliable, event(2)] {
        line.say(&message).await;
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(next_number(&room).await);
    }
    assert_eq!(heard, [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_between_two_events_is_told_by_kind() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let said = |offset, unreliable: u64, reliable: bool| {
        let mut event = event(offset);
        (event["unreliable"], event["reliable"]) = (unreliable.into(), reliable.into());
        event
    };
    // The first tells nothing; 3 to 6 are missing, of which two could be dropped; 5 comes late.
    for message in [
        said(2, 1, true),
        said(7, 4, false),
        said(5, 3, false),
        said(8, 4, true),
        said(10, 4, true),
    ] {
        line.say(&message).await;
    }
    let mut missed = Vec::new();
    for _ in 0..5 {
        let Some(RoomEvent::Event(event)) = room.next_event().await else { panic!() };
        missed.push((event.missed().reliable, event.missed().unreliable));
    }
    assert_eq!(missed, [(0, 0), (2, 2), (0, 0), (0, 0), (1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_unread_stream_drops_the_oldest_and_says_so() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder.room_queue(3), &mut fake).await;
    for offset in 1..=10 {
        line.say(&event(offset)).await;
    }
    let ping = tokio::spawn({
        let client = room.client().clone();
        async move { client.ping().await }
    });
    let command = line.hear("ping").await;
    line.say(&json!({"type": "pong", "ref": command["ref"]})).await;
    ping.await.unwrap().unwrap();
    let lost = room.next_event().await;
    assert!(matches!(lost, Some(RoomEvent::Lost(LostReason::Unread { missed: 7 }))), "{lost:?}");
    assert_eq!(next_number(&room).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_must_be_read_holds_the_server_back_and_loses_nothing() {
    let (builder, mut fake) = fake();
    let builder = builder.room_queue(3).overflow(Overflow::Wait);
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let said = tokio::spawn(async move {
        for offset in 1..=200 {
            line.say(&event(offset)).await;
        }
        line
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!said.is_finished(), "200 events went into a queue of 3");
    for offset in 1..=200 {
        assert_eq!(next_number(&room).await, offset);
    }
    said.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_the_server_back_once_the_handles_are_gone() {
    let (builder, mut fake) = fake();
    let builder = builder.room_queue(3).overflow(Overflow::Wait);
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let client = room.client().clone();
    drop(room);
    for offset in 1..=50 {
        line.say(&event(offset)).await;
    }
    drop(client);
    line.hear("bye").await;
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_is_taken_away_ends_the_stream() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    line.say(&event(1)).await;
    line.say(&json!({"type": "room_closed", "room": "lobby", "reason": "kicked"})).await;
    assert_eq!(next_number(&room).await, 1);
    let closed = room.next_event().await;
    let kicked = Some(ClosedReason::Kicked);
    assert!(matches!(closed, Some(RoomEvent::Closed { reason, .. }) if reason == kicked));
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_join_gives_a_handle_to_the_same_seat() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let client = room.client().clone();
    let (again, _) = tokio::join!(client.join("lobby"), line.let_join(0));
    drop(room);
    line.say(&event(1)).await;
    assert_eq!(next_number(&again.unwrap()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn closing_says_bye_and_ends_everything() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let client = room.client().clone();
    let bye = async {
        line.hear("bye").await;
        line.ended().await;
    };
    tokio::join!(client.close(), bye);
    assert!(room.next_event().await.is_none());
    let closed = client.events().next().await;
    assert!(matches!(closed, Some(ClientEvent::Closed { .. })), "{closed:?}");
    let late = room.publish_with("chat", None, PublishOptions::default()).await.unwrap_err();
    assert!(matches!(late, Error::Closed { .. }), "{late}");
    // A second end is none.
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_tells_what_failed() {
    let (builder, fake) = fake();
    fake.refusals.store(1, std::sync::atomic::Ordering::SeqCst);
    let error = builder.clone().connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = builder.connect_timeout(Duration::from_secs(1)).connect().await.unwrap_err();
    assert!(error.to_string().contains("no answer within 1s"), "{error}");
    let error = Client::connect("roomcast.example").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
