//! Tokens that end, and seats that nobody asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::fake::{SECRET_1, SECRET_2, at, event, fake, goodbye, joined, recovered, welcome};
use roomcast_client::{Builder, Client, ClientEvent, Error, Overflow, RoomEvent, Token};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Tokens `t1`, `t2`, … that last an hour.
fn numbered(builder: Builder) -> Builder {
    let count = Arc::new(AtomicU32::new(0));
    builder.token_with(move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let token = Token::new(format!("t{number}"));
            Ok::<_, String>(token.lasting(Duration::from_secs(3_600)))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn every_link_gets_a_token_of_its_own() {
    let (builder, mut fake) = fake();
    let client = tokio::spawn(numbered(builder).connect());
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    assert_eq!(hello["token"], "t1");
    line.say(&welcome(&hello, SECRET_1, false)).await;
    let client = client.await.unwrap().unwrap();
    line.say(&goodbye(4804, "token_expired")).await;
    drop(line);

    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    assert_eq!((&hello["token"], &hello["resume"]["secret"]), (&json!("t2"), &json!(SECRET_1)));
    line.say(&welcome(&hello, SECRET_2, true)).await;
    let mut told = client.events();
    while !matches!(told.next().await, Some(ClientEvent::Reconnected { resumed: true, .. })) {}
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_on_the_living_link_before_it_ends() {
    let (builder, mut fake) = fake();
    let connecting = numbered(builder).connect();
    let (client, mut line) = tokio::join!(connecting, fake.welcome(SECRET_1));
    let began = Instant::now();
    let mut told = client.as_ref().unwrap().events();
    let mut refresh = Value::Null;
    while refresh["token"] != "t2" {
        // Between, the silent server is asked for signs of life.
        let command = line.command().await;
        match command["type"].as_str() {
            Some("refresh") => refresh = command,
            Some("ping") => line.say(&json!({"type": "pong", "ref": command["ref"]})).await,
            _ => panic!("{command}"),
        }
    }
    assert_eq!(began.elapsed().as_secs(), 2_880, "four fifths of an hour");
    line.say(&crate::fake::error(&refresh, 4011, "invalid_token")).await;
    assert!(matches!(told.next().await, Some(ClientEvent::Refused(no)) if no.code == 4011));
}

/// What a provider says of its tokens is not to be trusted with the client's life, nor with that of
/// who gives them.
#[tokio::test(start_paused = true)]
async fn tokens_that_last_for_ever_or_not_at_all_are_asked_for_in_measure() {
    for (lasts, most) in [(Duration::MAX, 1), (Duration::ZERO, 13)] {
        let (builder, mut fake) = fake();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let builder = builder.token_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, String>(Token::new("t").lasting(lasts)) }
        });
        let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
        let _client = client.unwrap();
        let minute = tokio::time::sleep(Duration::from_secs(60));
        tokio::pin!(minute);
        loop {
            let command = tokio::select! {
                () = &mut minute => break,
                command = line.command() => command,
            };
            if command["type"] == "ping" {
                line.say(&json!({"type": "pong", "ref": command["ref"]})).await;
            }
        }
        let asked = asked.load(Ordering::Relaxed);
        assert!((1..=most).contains(&asked), "{lasts:?}: {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_token_to_show_does_not_connect() {
    let (builder, _fake) = fake();
    let none = builder.clone().token_with(|| async { Err::<String, _>("nobody is logged in") });
    let error = none.connect().await.unwrap_err();
    assert!(matches!(&error, Error::Token(text) if text == "nobody is logged in"), "{error}");
    let never = builder.token_with(std::future::pending::<Result<String, String>>);
    assert!(matches!(never.connect().await, Err(Error::Token(_))));
}

async fn given(client: &Client) -> roomcast_client::Given {
    match client.events().next().await {
        Some(ClientEvent::Joined(given)) => given,
        other => panic!("{other:?}"),
    }
}

fn unasked(offset: u64) -> Value {
    let mut given = joined(&json!({"room": "lobby"}), offset);
    given.as_object_mut().unwrap().remove("ref");
    given
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_was_not_asked_for_is_told_and_opened() {
    let (builder, mut fake) = fake();
    let builder = builder.overflow(Overflow::Wait).room_queue(2);
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    line.say(&unasked(0)).await;
    // More than fits, and nobody reads: the client goes on all the same.
    for offset in 1..=4 {
        line.say(&event(offset)).await;
    }
    let given = given(&client).await;
    assert_eq!(given.name(), "lobby");
    let asked = tokio::join!(client.ping(), async {
        let ping = line.hear("ping").await;
        line.say(&json!({"type": "pong", "ref": ping["ref"]})).await;
    });
    asked.0.unwrap();
    let room = given.open(&client);
    assert_eq!(room.members_at_join(), 2);
    assert!(matches!(room.next_event().await, Some(RoomEvent::Lost(_))));
    for offset in [3, 4] {
        let Some(RoomEvent::Event(event)) = room.next_event().await else { panic!() };
        assert_eq!(event.position().unwrap().offset, offset);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lobby_of_a_new_session_brings_what_was_missed_in_order() {
    let (builder, mut fake) = fake();
    let (client, mut line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    line.say(&unasked(1)).await;
    let room = given(&client).await.open(&client);
    drop(line);
    // The session is gone; the new one is given its seat before it asks.
    let mut line = fake.accept().await;
    let hello = line.hear("hello").await;
    line.say(&welcome(&hello, SECRET_2, false)).await;
    line.say(&unasked(3)).await;
    line.say(&event(4)).await;
    let join = line.hear("join").await;
    assert_eq!(join["since"], at(1));
    line.say(&recovered(&join, 4)).await;
    for offset in 2..=5 {
        line.say(&event(offset)).await;
    }
    assert!(matches!(room.next_event().await, Some(RoomEvent::Recovered)));
    for offset in 2..=5 {
        let Some(RoomEvent::Event(event)) = room.next_event().await else { panic!() };
        assert_eq!(event.position().unwrap().offset, offset);
    }
}
