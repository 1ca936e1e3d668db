//! QUIC against a real server, with a client that is not ours.

#![allow(clippy::unwrap_used)]

mod attacks;
mod member;
#[path = "../peer/mod.rs"]
mod peer;
mod relay;
mod webtransport;

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use member::{Member, host};
use peer::{Lines, Ws, address, get};
use roomcast::config::LargeUnreliable;
use roomcast_client::{Client, Codec, RoomEvent};
use serde_json::json;
use tokio::runtime::Handle;

/// Where connections live, on a thread of their own: tests wait for sockets that know no runtime.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

fn chat(room: &str, text: &str, reliable: bool) -> String {
    let data = json!({ "text": text });
    json!({ "type": "publish", "room": room, "event": "chat", "data": data, "reliable": reliable })
        .to_string()
}

#[test]
fn members_on_quic_websocket_and_tcp_hear_each_other_in_one_order() {
    run(async {
        let host = host(|_| {});
        let (mut quic, mut ws) = (host.member().await, Ws::connect(&host.server));
        let mut tcp = Lines::connect(&host.server);
        quic.join("one").await;
        ws.join("one");
        tcp.join("one");
        // Of our own client, in the other codec, over the listener's certificate as a root.
        let pem = pem(&host.cert);
        let url = format!("quic://localhost:{}", host.quic().port());
        let ours = Client::builder(&url).codec(Codec::MsgPack).trust(pem).connect().await.unwrap();
        let room = ours.join("one").await.unwrap();
        let mut events = room.events();
        quic.say(&chat("one", "of quic", true)).await;
        for told in [quic.expect("event").await, ws.expect("event"), tcp.expect("event")] {
            assert_eq!(told["data"]["text"], "of quic");
        }
        ws.send(&chat("one", "of ws", true));
        tcp.expect("event");
        tcp.send(&chat("one", "of tcp", true));
        assert_eq!(quic.expect("event").await["data"]["text"], "of ws");
        assert_eq!(quic.expect("event").await["data"]["text"], "of tcp");
        room.publish("chat", &json!({ "text": "of ours" })).await.unwrap();
        assert_eq!(quic.expect("event").await["data"]["text"], "of ours");
        let mut heard = Vec::new();
        while heard.len() < 4 {
            if let Some(RoomEvent::Event(event)) = events.next().await {
                let data: serde_json::Value = event.data().unwrap();
                heard.push(data["text"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(heard, ["of quic", "of ws", "of tcp", "of ours"]);
        ours.close().await;
    });
}

fn pem(cert: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(cert);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()
}

#[test]
fn what_need_not_arrive_comes_as_a_datagram_and_nothing_else_does() {
    run(async {
        let host = host(|_| {});
        let mut quic = host.member().await;
        let mut tcp = Lines::connect(&host.server);
        quic.join("two").await;
        tcp.join("two");
        let before = quic.connection.stats().frame_rx.datagram;
        tcp.send(&chat("two", "first", true));
        tcp.send(&chat("two", "small", false));
        // Larger than a datagram: it goes the way of those that must arrive.
        tcp.send(&chat("two", &"x".repeat(2_000), false));
        assert_eq!(quic.datagram().await["data"]["text"], "small");
        let told = quic.expect("event").await;
        assert_eq!((&told["data"]["text"], &told["at"]["offset"]), (&json!("first"), &json!(1)));
        assert_eq!(quic.expect("event").await["data"]["text"], "x".repeat(2_000));
        assert_eq!(quic.connection.stats().frame_rx.datagram - before, 1);
    });
}

#[test]
fn large_ones_are_dropped_and_counted_where_that_is_wished() {
    run(async {
        let host = host(|config| config.quic.large_unreliable = LargeUnreliable::Drop);
        let mut quic = host.member().await;
        let mut tcp = Lines::connect(&host.server);
        quic.join("three").await;
        tcp.join("three");
        tcp.send(&chat("three", &"x".repeat(2_000), false));
        tcp.send(&chat("three", "next", true));
        assert_eq!(quic.expect("event").await["data"]["text"], "next");
        let metrics = get(address(&host.server, "ws"), "/metrics").2;
        let counted =
            metrics.lines().filter(|line| line.starts_with("roomcast_datagrams_too_large"));
        let sum: u64 =
            counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        assert_eq!(sum, 1, "{metrics}");
    });
}

#[test]
fn a_message_that_comes_as_a_datagram_is_a_message() {
    run(async {
        let host = host(|_| {});
        let mut quic = host.member().await;
        let mut tcp = Lines::connect(&host.server);
        quic.join("four").await;
        tcp.join("four");
        quic.connection.send_datagram(chat("four", "moved", false).into()).unwrap();
        assert_eq!(tcp.expect("event")["data"]["text"], "moved");
        // And its sender hears it as one.
        assert_eq!(quic.datagram().await["data"]["text"], "moved");
        // Our client does the same.
        let pem = pem(&host.cert);
        let url = format!("quic://localhost:{}", host.quic().port());
        let ours = Client::builder(&url).trust(pem).connect().await.unwrap();
        let room = ours.join("four").await.unwrap();
        room.publish_unreliable("chat", &json!({ "text": "of ours" })).await.unwrap();
        assert_eq!(tcp.expect("event")["data"]["text"], "of ours");
        assert_eq!(quic.datagram().await["data"]["text"], "of ours");
        ours.close().await;
    });
}

#[test]
fn no_loss_on_the_way_loses_what_must_arrive() {
    run(async {
        const COUNT: usize = 400;
        let host = host(|config| config.limits.commands_per_s = 0);
        let relay = relay::lay(host.quic(), 7).await;
        let mut quic = host.member_through(relay.address).await;
        let mut tcp = Lines::connect(&host.server);
        quic.join("five").await;
        tcp.join("five");
        for n in 0..COUNT {
            tcp.send(&chat("five", &n.to_string(), true));
            quic.say(&chat("five", &format!("q{n}"), true)).await;
        }
        let (mut of_tcp, mut of_quic) = (Vec::new(), Vec::new());
        while of_tcp.len() + of_quic.len() < 2 * COUNT {
            let text = quic.expect("event").await["data"]["text"].as_str().unwrap().to_owned();
            let which = if text.starts_with('q') { &mut of_quic } else { &mut of_tcp };
            which.push(text.trim_start_matches('q').parse::<usize>().unwrap());
        }
        assert!(of_tcp.iter().copied().eq(0..COUNT) && of_quic.iter().copied().eq(0..COUNT));
        assert!(relay.dropped.load(Ordering::Relaxed) > 20);
    });
}

#[test]
fn a_member_that_moves_to_another_address_stays() {
    run(async {
        let host = host(|_| {});
        let mut quic = host.member().await;
        let mut tcp = Lines::connect(&host.server);
        quic.join("six").await;
        tcp.join("six");
        let before = quic.endpoint.local_addr().unwrap();
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        quic.endpoint.rebind(socket).unwrap();
        assert_ne!(quic.endpoint.local_addr().unwrap(), before);
        quic.say(&chat("six", "from elsewhere", true)).await;
        assert_eq!(tcp.expect("event")["data"]["text"], "from elsewhere");
        tcp.send(&chat("six", "there you are", true));
        assert_eq!(quic.expect("event").await["data"]["text"], "from elsewhere");
        assert_eq!(quic.expect("event").await["data"]["text"], "there you are");
        tcp.send(&chat("six", "quick", false));
        assert_eq!(quic.datagram().await["data"]["text"], "quick");
    });
}

#[test]
fn a_server_that_stops_takes_leave() {
    run(async {
        let host = host(|_| {});
        let mut quic: Member = host.member().await;
        quic.join("seven").await;
        let member::Host { server, .. } = host;
        let stopping = std::thread::spawn(move || {
            let begin = std::time::Instant::now();
            server.drain_and_stop();
            begin.elapsed()
        });
        assert_eq!(quic.expect("goodbye").await["code"], 4802);
        assert_eq!(quic.next().await, None);
        assert_eq!(quic.closed().await, 4802);
        let took = tokio::task::spawn_blocking(move || stopping.join().unwrap()).await.unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn bye_and_the_end_of_the_stream_are_good_ends() {
    run(async {
        let host = host(|_| {});
        let mut tcp = Lines::connect(&host.server);
        tcp.join("eight");
        for by_word in [true, false] {
            let mut quic = host.member().await;
            quic.join("eight").await;
            tcp.expect("member_joined");
            match by_word {
                true => quic.say(r#"{"type":"bye"}"#).await,
                false => quic.send.finish().unwrap(),
            }
            assert_eq!(quic.closed().await, 1000);
            assert_eq!(tcp.expect("member_left")["reason"], "left");
        }
    });
}
