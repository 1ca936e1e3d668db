//! What happens when the link is lost, on a virtual clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fake::{
    Fake, Line, SECRET_1, SECRET_2, at, error, event, fake, goodbye, joined, recovered, welcome,
};
use roomcast_client::{
    Builder, ClientEvent, CloseCode, Error, ErrorCode, LostReason, PublishOptions, Reconnect, Room,
    RoomEvent,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// In the lobby at position 0.
async fn in_lobby(builder: Builder, fake: &mut Fake) -> (Room, Line) {
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    let (room, _) = tokio::join!(client.join("lobby"), line.let_join(0));
    (room.unwrap(), line)
}

/// Takes the next link and resumes the session.
async fn resumed(fake: &mut Fake) -> Line {
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    assert_eq!(hello["resume"]["secret"], SECRET_1);
    line.say(&welcome(&hello, SECRET_2, true)).await;
    line
}

async fn next_offset(room: &Room) -> u64 {
    match room.next_event().await {
        Some(RoomEvent::Event(event)) => event.position().map_or(0, |at| at.offset),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_is_resumed_and_nothing_is_missed_or_repeated() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let mut told = room.client().events();
    for offset in 1..=3 {
        line.say(&event(offset)).await;
    }
    assert_eq!(next_offset(&room).await, 1);
    drop(line);

    let mut line = resumed(&mut fake).await;
    let join = line.hear("join").await;
    assert_eq!(join["since"], at(3), "the last that came, read or not");
    line.say(&recovered(&join, 5)).await;
    // A server that repeats what it sent already does no harm.
    for offset in [2, 3, 4, 5, 5, 6] {
        line.say(&event(offset)).await;
    }
    assert_eq!(next_offset(&room).await, 2);
    assert_eq!(next_offset(&room).await, 3);
    assert!(matches!(room.next_event().await, Some(RoomEvent::Recovered)));
    for offset in 4..=6 {
        assert_eq!(next_offset(&room).await, offset);
    }

    assert!(matches!(told.next().await, Some(ClientEvent::ConnectionLost { .. })));
    let again = told.next().await;
    assert!(matches!(again, Some(ClientEvent::Reconnecting { attempt: 0, .. })), "{again:?}");
    assert!(matches!(told.next().await, Some(ClientEvent::Reconnected { resumed: true, .. })));
}

/// Its home died with its node: the members hear it unasked.
#[tokio::test(start_paused = true)]
async fn a_room_that_begins_a_new_log_says_so_on_the_same_link() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    line.say(&event(1)).await;
    let mut anew = joined(&json!({"room": "lobby"}), 0);
    anew["position"]["epoch"] = "BBBBBBBB".into();
    (anew["recovered"], anew["reason"]) = (false.into(), "epoch".into());
    line.say(&anew).await;
    let mut first = event(1);
    first["at"]["epoch"] = "BBBBBBBB".into();
    line.say(&first).await;
    assert_eq!(next_offset(&room).await, 1);
    assert!(matches!(room.next_event().await, Some(RoomEvent::Lost(LostReason::Epoch))));
    assert_eq!(next_offset(&room).await, 1);
    // The next loss of the link is recovered from there.
    drop(line);
    let mut line = resumed(&mut fake).await;
    let join = line.hear("join").await;
    assert_eq!(join["since"], first["at"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_begins_anew_on_the_same_link() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    let mut told = room.client().events();
    drop(line);
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    line.say(&error(&hello, 4012, "cannot_resume")).await;
    let hello = line.hear("hello").await;
    assert_eq!(hello.get("resume"), None);
    line.say(&welcome(&hello, SECRET_2, false)).await;
    let join = line.hear("join").await;
    let mut lost = joined(&join, 0);
    lost["position"]["epoch"] = "BBBBBBBB".into();
    (lost["recovered"], lost["reason"]) = (false.into(), "epoch".into());
    line.say(&lost).await;
    let mut first = event(1);
    first["at"]["epoch"] = "BBBBBBBB".into();
    line.say(&first).await;
    assert!(matches!(room.next_event().await, Some(RoomEvent::Lost(LostReason::Epoch))));
    assert_eq!(next_offset(&room).await, 1);
    while let Some(event) = told.next().await {
        if let ClientEvent::Reconnected { resumed, .. } = event {
            assert!(!resumed);
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_publish_is_repeated_and_anything_else_is_not() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let client = room.client().clone();
    let first = async {
        let keyed = line.hear("publish").await;
        line.hear("publish").await;
        line.hear("rooms").await;
        drop(line);
        let mut line = resumed(&mut fake).await;
        let join = line.hear("join").await;
        let again = line.hear("publish").await;
        assert_eq!((&again["key"], &again["data"]), (&keyed["key"], &keyed["data"]));
        line.say(&recovered(&join, 1)).await;
        line.say(&json!({"type": "ok", "ref": again["ref"], "position": at(1)})).await;
        line
    };
    let without = PublishOptions::default().without_key();
    let (keyed, keyless, rooms, _line) = tokio::join!(
        room.publish("chat", "hi"),
        room.publish_with("chat", None, without),
        client.rooms(None),
        first
    );
    assert_eq!(keyed.unwrap().unwrap().offset, 1);
    assert!(matches!(keyless, Err(Error::Disconnected { .. })), "{keyless:?}");
    assert!(matches!(rooms, Err(Error::Disconnected { .. })), "{rooms:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_was_being_left_is_not_joined_again() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let script = async {
        line.hear("leave").await;
        drop(line);
        let mut line = resumed(&mut fake).await;
        let leave = line.hear("leave").await;
        line.say(&error(&leave, 4030, "not_a_member")).await;
        line
    };
    let (left, _line) = tokio::join!(room.leave(), script);
    left.unwrap();
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn commands_wait_for_the_next_link() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    fake.refusals.store(2, Ordering::SeqCst);
    drop(line);
    let client = room.client().clone();
    let waiting = tokio::spawn(async move { client.presence("lobby").await });
    let mut line = resumed(&mut fake).await;
    line.hear("join").await;
    let ask = line.hear("presence").await;
    let answer =
        json!({"type": "presence", "ref": ask["ref"], "room": "lobby", "members": 3, "users": 2});
    line.say(&answer).await;
    assert_eq!(waiting.await.unwrap().unwrap().users, 2);
}

#[tokio::test(start_paused = true)]
async fn delays_stay_below_a_bound_that_doubles_and_attempts_can_end() {
    let (builder, mut fake) = fake();
    let reconnect = Reconnect { attempts_max: Some(9), ..Reconnect::default() };
    let (room, line) = in_lobby(builder.reconnect(reconnect), &mut fake).await;
    fake.refusals.store(usize::MAX, Ordering::SeqCst);
    let mut told = room.client().events();
    drop(line);
    let mut delays = Vec::new();
    let end = loop {
        match told.next().await.unwrap() {
            ClientEvent::Reconnecting { delay, .. } => delays.push(delay),
            ClientEvent::Closed { reason } => break reason,
            _ => {}
        }
    };
    assert!(end.contains("refused"), "{end}");
    assert_eq!(delays.len(), 9);
    for (attempt, delay) in delays.iter().enumerate() {
        let bound = Duration::from_millis(250 << attempt).min(Duration::from_secs(20));
        assert!(*delay <= bound, "attempt {attempt}: {delay:?}");
    }
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_when_to_come_back() {
    let (builder, mut fake) = fake();
    let (room, mut line) = in_lobby(builder, &mut fake).await;
    let mut told = room.client().events();
    let mut drain = goodbye(4802, "drain");
    drain["retry_ms"] = 3_210.into();
    let began = Instant::now();
    line.say(&drain).await;
    resumed(&mut fake).await;
    assert_eq!(began.elapsed(), Duration::from_millis(3_210));
    let first = told.next().await;
    let code = Some(CloseCode::Drain);
    assert!(matches!(first, Some(ClientEvent::Goodbye { code: c, .. }) if c == code), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_close_code_decides_between_stop_and_a_new_session() {
    for (code, word, fresh) in
        [(4820, "replaced", None), (4824, "disconnected", None), (4810, "too_many", Some(true))]
    {
        let (builder, mut fake) = fake();
        let (room, mut line) = in_lobby(builder, &mut fake).await;
        line.say(&goodbye(code, word)).await;
        match fresh {
            Some(_) => drop(fake.welcome(SECRET_2).await),
            None => {
                assert!(room.next_event().await.is_none());
                let ended = room.publish("chat", "hi").await.unwrap_err().to_string();
                assert!(ended.contains(word), "{ended}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_no_longer_valid_ends_the_client() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    drop(line);
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    line.say(&error(&hello, 4011, "invalid_token")).await;
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_then_given_up() {
    let (builder, mut fake) = fake();
    let (_room, mut line) = in_lobby(builder, &mut fake).await;
    let began = Instant::now();
    let ping = line.hear("ping").await;
    assert_eq!(began.elapsed().as_secs(), 25);
    line.say(&json!({"type": "pong", "ref": ping["ref"]})).await;
    line.hear("ping").await;
    line.ended().await;
    assert_eq!(began.elapsed().as_secs(), 60);
    resumed(&mut fake).await;
}

#[tokio::test(start_paused = true)]
async fn a_seat_refused_for_a_while_is_asked_for_again() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    drop(line);
    let mut line = resumed(&mut fake).await;
    let join = line.hear("join").await;
    let mut limited = error(&join, 4290, "rate_limited");
    limited["retry_ms"] = 700.into();
    let began = Instant::now();
    line.say(&limited).await;
    let join = line.hear("join").await;
    assert_eq!(began.elapsed(), Duration::from_millis(700));
    line.say(&recovered(&join, 0)).await;
    assert!(matches!(room.next_event().await, Some(RoomEvent::Recovered)));
}

#[tokio::test(start_paused = true)]
async fn a_seat_refused_for_good_ends_the_stream_with_the_reason() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    drop(line);
    let mut line = resumed(&mut fake).await;
    let join = line.hear("join").await;
    line.say(&error(&join, 4032, "join_not_granted")).await;
    let Some(RoomEvent::Closed { refused: Some(refused), .. }) = room.next_event().await else {
        panic!()
    };
    assert_eq!(refused.known(), Some(ErrorCode::JoinNotGranted));
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_can_be_closed_between_two_attempts() {
    let (builder, mut fake) = fake();
    let (room, line) = in_lobby(builder, &mut fake).await;
    fake.refusals.store(usize::MAX, Ordering::SeqCst);
    drop(line);
    tokio::time::sleep(Duration::from_secs(60)).await;
    room.client().close().await;
    assert!(room.next_event().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn rooms_are_joined_again_under_their_full_names() {
    let (builder, mut fake) = fake();
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    let script = async {
        for _ in 0..2 {
            let join = line.hear("join").await;
            let room = format!("game/{}", join["room"].as_str().unwrap());
            let mut joined = joined(&join, 0);
            joined["room"] = Value::from(room);
            line.say(&joined).await;
        }
        drop(line);
        let mut line = resumed(&mut fake).await;
        let mut rooms = Vec::new();
        for _ in 0..2 {
            rooms.push(line.hear("join").await["room"].as_str().unwrap().to_owned());
        }
        rooms
    };
    let ((a, b), rooms) =
        tokio::join!(async { (client.join("a").await, client.join("b").await) }, script);
    assert_eq!(a.unwrap().name(), "game/a");
    b.unwrap();
    assert_eq!(rooms, ["game/a", "game/b"]);
}
