//! Engine.IO by itself, over real sockets: WebSocket, long-polling, and the change between them.

#![allow(clippy::unwrap_used)]

mod engine;
mod peer;

use engine::{Poller, Socket, echo};
use peer::{address, is_closed};

#[test]
fn a_websocket_is_opened_echoes_and_is_pinged() {
    let server = echo(|config| {
        config.socketio.ping_interval = 300;
        config.socketio.ping_timeout = 200;
    });
    let mut socket = Socket::connect(address(&server, "ws"));
    let open = socket.open();
    assert_eq!(open["pingInterval"], 300);
    assert_eq!(open["pingTimeout"], 200);
    assert_eq!(open["upgrades"], serde_json::json!([]));
    assert_eq!(open["maxPayload"], 65_536);
    assert_eq!(open["sid"].as_str().unwrap().len(), 32);
    socket.text("4hello");
    assert_eq!(socket.next_text(), "4hello");
    socket.binary(&[1, 2, 3, 0xff]);
    assert_eq!(socket.next_binary(), [1, 2, 3, 0xff]);
    assert_eq!(socket.next_text(), "2");
    socket.text("3");
    assert_eq!(socket.next_text(), "2");
    // Unanswered.
    assert_eq!(socket.close_code(), 4801);
}

#[test]
fn what_is_no_packet_closes_the_websocket() {
    let server = echo(|_| {});
    for bad in ["abc", "", "7", "2", "2probe", "0{}"] {
        let mut socket = Socket::connect(address(&server, "ws"));
        socket.open();
        socket.text(bad);
        assert_eq!(socket.close_code(), 1002, "{bad}");
    }
    let mut socket = Socket::connect(address(&server, "ws"));
    socket.open();
    socket.text("1");
    assert!(is_closed(&mut socket.ws.stream));
}

#[test]
fn polls_and_posts_carry_packets() {
    let server = echo(|_| {});
    let poller = Poller::open(address(&server, "ws"));
    assert_eq!(poller.open["upgrades"], serde_json::json!(["websocket"]));
    assert_eq!(poller.post("4hello\u{1e}bAQIDBA==\u{1e}4there"), (200, "ok".to_owned()));
    let mut heard = String::new();
    while !heard.ends_with("4there") {
        let (status, body) = poller.poll();
        assert_eq!(status, 200);
        heard = [heard, body].join("\u{1e}");
    }
    assert_eq!(heard, "\u{1e}4hello\u{1e}bAQIDBA==\u{1e}4there");
    assert_eq!(poller.post("1").0, 200);
    assert_eq!(poller.poll(), (400, r#"{"code":1,"message":"Session ID unknown"}"#.to_owned()));
}
