//! Floods and bad manners on QUIC: bounded, answered with a code, and felt by nobody else.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{Endpoint, EndpointConfig};

use crate::member::{Host, code, host};
use crate::peer::{Lines, PATIENCE, Ws};
use crate::{chat, run};

/// Somebody else is served as ever.
fn canary(host: &Host) {
    let mut peer = Ws::connect(&host.server);
    peer.send(r#"{"type":"ping","ref":1}"#);
    assert_eq!(peer.expect("pong")["ref"], 1);
}

#[test]
fn a_flood_of_streams_ends_the_connection() {
    run(async {
        let host = host(|_| {});
        let mut quic = host.member().await;
        quic.join("floods").await;
        let connection = quic.connection.clone();
        let flood = tokio::spawn(async move {
            let mut opened = 0_u32;
            while let Ok(mut stream) = connection.open_uni().await {
                // It is refused at some time; that it is counts.
                _ = stream.write_all(b"anything").await;
                _ = stream.finish();
                opened += 1;
            }
            opened
        });
        assert_eq!(quic.closed().await, 1002);
        let opened = flood.await.unwrap();
        assert!((60..200).contains(&opened), "{opened}");
        canary(&host);
    });
}

#[test]
fn a_flood_of_datagrams_ends_the_link_of_who_sends_it() {
    run(async {
        let host = host(|_| {});
        let (mut quic, mut other) = (host.member().await, host.member().await);
        quic.join("floods").await;
        other.join("floods").await;
        for _ in 0..20_000 {
            if quic.connection.send_datagram(vec![0xff; 100].into()).is_err() {
                break;
            }
            if quic.connection.datagram_send_buffer_space() < 1_000 {
                tokio::task::yield_now().await;
            }
        }
        let number = quic.closed().await;
        assert_eq!(number, 4823);
        other.say(&chat("floods", "still here", true)).await;
        assert_eq!(other.expect("event").await["data"]["text"], "still here");
        canary(&host);
    });
}

#[test]
fn who_connects_and_says_nothing_is_let_go() {
    run(async {
        let host = host(|config| {
            config.limits.first_message_ms = 200;
            config.limits.handshake_ms = 200;
        });
        let (_endpoint, connection) = host.dial(host.quic(), "roomcast.v1.json").await;
        assert_eq!(code(&connection).await, 4821);
        let (_endpoint, connection) = host.dial(host.quic(), "h3").await;
        // HTTP/3 says it in its own way: no error.
        assert_eq!(code(&connection).await, 0x100);
    });
}

#[test]
fn a_message_above_the_limit_is_refused_by_its_code() {
    run(async {
        let host = host(|_| {});
        let mut quic = host.member().await;
        quic.say(&format!("{{\"type\":\"{}\"}}", "x".repeat(17_000))).await;
        assert_eq!(quic.closed().await, 1009);
        // After `welcome` it may be longer.
        let mut quic = host.member().await;
        quic.join("large").await;
        quic.say(&chat("large", &"x".repeat(40_000), true)).await;
        quic.expect("event").await;
        quic.say(&chat("large", &"x".repeat(70_000), true)).await;
        assert_eq!(quic.closed().await, 1009);
    });
}

#[test]
fn who_does_not_read_is_closed_and_the_others_hear_everything() {
    run(async {
        let host = host(|config| {
            config.limits.outbox_bytes = 256 << 10;
            config.limits.commands_per_s = 0;
            config.limits.fanout_bytes_per_s = 0;
        });
        let mut slow = host.member().await;
        slow.join("slow").await;
        // Its window stays as it is: nothing of the stream is read from here on.
        let (mut talker, mut reader) = (Lines::connect(&host.server), host.member().await);
        talker.join("slow");
        reader.join("slow").await;
        let text = "x".repeat(10_000);
        let begin = Instant::now();
        while slow.connection.close_reason().is_none() {
            talker.send(&chat("slow", &text, true));
            reader.expect("event").await;
            talker.expect("event");
            assert!(begin.elapsed() < PATIENCE, "it was never closed");
        }
        assert_eq!(slow.closed().await, 4800);
        canary(&host);
    });
}

/// What a client begins with.
fn first_datagrams(host: &Host) -> Vec<Vec<u8>> {
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let (now, config) = (Instant::now(), host.config("roomcast.v1.json"));
    let (_, mut quic) = endpoint.connect(now, config, host.quic(), "localhost").unwrap();
    let (mut all, mut buffer) = (Vec::new(), Vec::new());
    while let Some(made) = quic.poll_transmit(now, 1, &mut buffer) {
        all.push(buffer[..made.size].to_vec());
        buffer.clear();
    }
    assert!(!all.is_empty());
    all
}

#[test]
fn garbage_and_handshakes_never_finished_keep_nobody_out() {
    run(async {
        let host = host(|config| config.limits.handshake_ms = 500);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut seed = 1_u32;
        let mut datagram = [0; 1_200];
        for n in 0..20_000 {
            for byte in &mut datagram {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (seed >> 24) as u8;
            }
            if n % 2 == 0 {
                // The first byte and the version of an Initial.
                datagram[0] = 0xc0;
                datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
                datagram[5] = 8;
            }
            _ = socket.send_to(&datagram, host.quic());
        }
        // A hundred that begin rightly and never go on.
        for _ in 0..100 {
            for datagram in first_datagrams(&host) {
                socket.send_to(&datagram, host.quic()).unwrap();
            }
        }
        let mut quic = host.member().await;
        quic.join("garbage").await;
        canary(&host);
    });
}
