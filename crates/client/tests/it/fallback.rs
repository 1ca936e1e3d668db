//! Several ways to one server, on a virtual clock.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fake::{SECRET_1, SECRET_2, error, fake_at, welcome};
use roomcast_client::{ClientEvent, Error, Transport};
use tokio::time::Instant;

/// Longer than a way has before the next is tried, shorter than twice that.
const HEAD_START: std::ops::Range<Duration> =
    Duration::from_millis(500)..Duration::from_millis(1_000);

/// An address where datagrams end, as behind a firewall.
fn silent() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", socket.local_addr().unwrap());
    (socket, url)
}

#[tokio::test(start_paused = true)]
async fn where_the_better_way_is_silent_the_next_is_taken_soon_and_remembered() {
    let (_socket, url) = silent();
    let (builder, mut fake) = fake_at(&url);
    let builder = builder.fall_back_to("tcp://fake");
    let began = Instant::now();
    let (client, line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    let client = client.unwrap();
    assert!(HEAD_START.contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(client.transport(), Transport::Tcp);

    let mut told = client.events();
    drop(line);
    let began = Instant::now();
    let mut line = fake.accept().await;
    // The first delay before a reconnect is 250 ms at most: no head start was given.
    assert!(began.elapsed() < HEAD_START.start, "{:?}", began.elapsed());
    let hello = line.hear("hello").await;
    line.say(&welcome(&hello, SECRET_2, true)).await;
    loop {
        if let Some(ClientEvent::Reconnected { resumed, transport, .. }) = told.next().await {
            assert_eq!((resumed, transport), (true, Transport::Tcp));
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_that_fails_at_once_costs_nothing() {
    let (builder, mut fake) = fake_at("tcp://fake");
    fake.refusals.store(2, Ordering::SeqCst);
    let builder = builder.fall_back_to("tcp://other").fall_back_to("tcp://third");
    let began = Instant::now();
    let (client, _line) = tokio::join!(builder.connect(), fake.welcome(SECRET_1));
    client.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_not_asked_again_by_another_way() {
    let (builder, mut fake) = fake_at("tcp://fake");
    let builder = builder.fall_back_to("tcp://other");
    let refuse = async {
        let mut line = fake.accept().await;
        let hello = line.hear("hello").await;
        line.say(&error(&hello, 4010, "token_required")).await;
        line
    };
    let (client, _line) = tokio::join!(builder.connect(), refuse);
    let Err(Error::Refused(refused)) = client else { panic!("{client:?}") };
    assert_eq!(refused.code, 4010);
    assert!(fake.is_left_alone().await);
}

#[tokio::test(start_paused = true)]
async fn who_opens_but_does_not_answer_is_given_up_for_the_next() {
    let (builder, mut fake) = fake_at("tcp://fake");
    let builder = builder.fall_back_to("tcp://other");
    let serve = async {
        let _deaf = fake.accept().await;
        fake.welcome(SECRET_1).await
    };
    let began = Instant::now();
    let (client, _line) = tokio::join!(builder.connect(), serve);
    client.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn when_no_way_is_left_all_are_told() {
    let (builder, fake) = fake_at("tcp://fake:1");
    fake.refusals.store(2, Ordering::SeqCst);
    let error = builder.fall_back_to("tcp://other:2").connect().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("tcp://fake:1") && text.contains("tcp://other:2"), "{text}");
    assert!(matches!(error, Error::Unreachable { .. }));
    let (_socket, url) = silent();
    let (builder, fake) = fake_at(&url);
    fake.refusals.store(1, Ordering::SeqCst);
    let error = builder.fall_back_to("tcp://fake:1").connect().await.unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    let (builder, _fake) = fake_at("tcp://fake");
    let error = builder.fall_back_to("carrier-pigeon://loft").connect().await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
