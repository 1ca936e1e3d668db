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

/// A flood in both directions while the WebSocket takes over: everything comes once and in order.
/// What was posted before and what is said after go to the same session.
#[test]
fn an_upgrade_loses_nothing_and_keeps_the_order() {
    let server = echo(|config| {
        config.limits.commands_per_s = 0;
        config.socketio.max_payload = 200_000;
    });
    for round in 0..30 {
        upgrade_in_a_flood(&server, round);
    }
    peer::until("all sessions have left long-polling", || {
        metric(&server, "roomcast_polling_sessions") == 0
    });
    assert_eq!(metric(&server, "roomcast_upgrades_total"), 30);
}

fn upgrade_in_a_flood(server: &roomcast::Server, round: usize) {
    let poller = Poller::open(address(server, "ws"));
    let mut sent = 0;
    let mut payload = |count: usize| {
        let packets: Vec<_> = (sent..sent + count).map(|n| format!("4{n:0>40}")).collect();
        sent += count;
        packets.join("\u{1e}")
    };
    let mut heard = Vec::new();
    let take = |heard: &mut Vec<String>, (status, body): (u16, String)| {
        assert_eq!(status, 200, "{body}");
        heard.extend(body.split('\u{1e}').filter(|one| *one != "6").map(str::to_owned));
    };
    // In some rounds much waits when the WebSocket takes over, in some a poll does.
    assert_eq!(poller.post(&payload(50 * (round % 7) + 1)).0, 200);
    let waiting = poller.begin_poll();
    let mut socket = poller.websocket();
    assert_eq!(poller.post(&payload(1_000)).0, 200);
    socket.text("2probe");
    assert_eq!(socket.next_text(), "3probe");
    take(&mut heard, engine::finish(waiting));
    if round.is_multiple_of(3) {
        take(&mut heard, poller.poll());
    }
    assert_eq!(poller.post(&payload(100 * (round % 5) + 1)).0, 200);
    // What is said behind the upgrade may come in the same piece.
    let mut said = peer::frame(0x81, b"5");
    for packet in payload(500).split('\u{1e}') {
        said.extend(peer::frame(0x81, packet.as_bytes()));
    }
    std::io::Write::write_all(&mut socket.ws.stream, &said).unwrap();
    while heard.len() < sent {
        heard.push(socket.next_text());
    }
    let expected: Vec<_> = (0..sent).map(|n| format!("4{n:0>40}")).collect();
    assert!(heard == expected, "round {round}");
    assert_eq!(poller.poll().0, 400);
    socket.text("4still");
    assert_eq!(socket.next_text(), "4still");
}

fn metric(server: &roomcast::Server, name: &str) -> u64 {
    let (_, _, text) = peer::get(address(server, "ws"), "/metrics");
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_probe_that_fails_leaves_long_polling_alone() {
    let server = echo(|_| {});
    let poller = Poller::open(address(&server, "ws"));
    for wrong in ["5", "4early", "2", "1"] {
        let mut socket = poller.websocket();
        socket.text(wrong);
        assert!(is_closed(&mut socket.ws.stream), "{wrong}");
        peer::until("another may be probed", || metric(&server, "roomcast_links{") == 1);
    }
    // One that goes in the middle.
    let mut socket = poller.websocket();
    socket.text("2probe");
    assert_eq!(socket.next_text(), "3probe");
    let second = engine::ask(poller.address, "GET", &poller.target("websocket"), "");
    assert_eq!(second.0, 400);
    drop(socket);
    assert_eq!(poller.post("4on").0, 200);
    let mut heard = poller.poll();
    while heard == (200, "6".to_owned()) {
        heard = poller.poll();
    }
    assert_eq!(heard, (200, "4on".to_owned()));
}

#[test]
fn requests_that_do_not_fit_are_told_why() {
    let server = echo(|_| {});
    let address = address(&server, "ws");
    let refused = |method: &str, query: &str, body: &str| {
        let (status, said) = engine::ask(address, method, &format!("/engine.io/{query}"), body);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        (status, said["code"].as_u64().unwrap())
    };
    assert_eq!(refused("GET", "", ""), (400, 0));
    assert_eq!(refused("GET", "?EIO=4&transport=tcp", ""), (400, 0));
    assert_eq!(refused("GET", "?EIO=4&transport=polling&sid=x", ""), (400, 1));
    assert_eq!(refused("POST", "?EIO=4&transport=polling", "4a"), (400, 2));
    assert_eq!(refused("PUT", "?EIO=4&transport=polling", ""), (400, 2));
    assert_eq!(refused("GET", "?EIO=4&transport=websocket", ""), (400, 3));
    assert_eq!(refused("GET", "?EIO=3&transport=polling", ""), (400, 5));
    assert_eq!(refused("GET", "?transport=polling", ""), (400, 5));
    let poller = Poller::open(address);
    assert_eq!(
        refused("PUT", poller.target("polling").trim_start_matches("/engine.io/"), ""),
        (400, 2)
    );
    assert_eq!(poller.post("4still there").0, 200);
}

#[test]
fn what_is_posted_wrongly_ends_the_session() {
    let server = echo(|_| {});
    let long = format!("4{}", "a".repeat(65_536));
    let wrong = ["abc", "", "\u{1e}", "4a\u{1e}", "b!", "2", "0{}", &long];
    for (at, wrong) in wrong.iter().enumerate() {
        let poller = Poller::open(address(&server, "ws"));
        let status = poller.post(wrong).0;
        assert_eq!(status, if at + 1 == 8 { 413 } else { 400 }, "{at}");
        assert_eq!(poller.poll().0, 400, "{at}");
    }
    // A flood of separators and one of empty messages are read once and cost no memory.
    let poller = Poller::open(address(&server, "ws"));
    assert_eq!(poller.post(&"\u{1e}".repeat(60_000)).0, 400);
    peer::until("nothing is left", || server.connections() <= 1);
}

#[test]
fn two_polls_at_once_end_the_session() {
    let server = echo(|_| {});
    let poller = Poller::open(address(&server, "ws"));
    let both = [poller.begin_poll(), poller.begin_poll()];
    let mut answers = both.map(engine::finish);
    // Whichever comes second is refused.
    answers.sort();
    assert_eq!(answers[0], (200, "1".to_owned()));
    assert_eq!(answers[1].0, 400);
    assert_eq!(poller.poll().0, 400);
}

#[test]
fn a_client_that_says_goodbye_is_let_go_in_its_poll() {
    let server = echo(|_| {});
    let poller = Poller::open(address(&server, "ws"));
    let waiting = poller.begin_poll();
    // Until it waits.
    assert_eq!(poller.post("4a").0, 200);
    assert_eq!(engine::finish(waiting), (200, "4a".to_owned()));
    let waiting = poller.begin_poll();
    assert_eq!(poller.post("1").0, 200);
    let (status, body) = engine::finish(waiting);
    // One that comes later finds no session.
    assert!((status, body.as_str()) == (200, "6") || status == 400, "{status} {body}");
    assert_eq!(poller.poll().0, 400);
}

/// Threats S4 and S26: who opens sessions and goes leaves nothing behind.
#[test]
fn sessions_whose_client_has_gone_are_given_up() {
    let server = echo(|config| {
        config.socketio.ping_interval = 200;
        config.socketio.ping_timeout = 100;
        config.limits.connections = 40;
    });
    let address = address(&server, "ws");
    let pollers: Vec<_> = (0..20).map(|_| Poller::open(address)).collect();
    // A poll that is broken off ends its session at once.
    drop(pollers[0].begin_poll());
    peer::until("all are given up", || server.connections() == 0);
    for poller in &pollers {
        assert_eq!(poller.poll().0, 400);
    }
    // As many as there may be connections, and no more.
    let open = || engine::ask(address, "GET", "/engine.io/?EIO=4&transport=polling", "").0;
    let opened = (0..60).filter(|_| open() == 200).count();
    assert!((30..=40).contains(&opened), "{opened}");
    peer::until("all are given up", || server.connections() == 0);
    assert_eq!(open(), 200);
}

#[test]
fn a_silent_poller_is_gone_after_interval_and_timeout() {
    let server = echo(|config| {
        config.socketio.ping_interval = 300;
        config.socketio.ping_timeout = 200;
    });
    let poller = Poller::open(address(&server, "ws"));
    for _ in 0..3 {
        assert_eq!(poller.poll(), (200, "2".to_owned()));
        assert_eq!(poller.post("3").0, 200);
    }
    assert_eq!(poller.poll(), (200, "2".to_owned()));
    assert_eq!(poller.poll(), (200, "1".to_owned()));
    assert_eq!(poller.poll().0, 400);
}

#[test]
fn pages_of_other_sites_are_let_in_by_name_only() {
    let server = echo(|config| config.http.origins = vec!["https://game.example".into()]);
    let address = address(&server, "ws");
    let ask = |method: &str, origin: &str| {
        let target = "/engine.io/?EIO=4&transport=polling";
        peer::http(
            address,
            &format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
                 Connection: close\r\n\r\n"
            ),
        )
    };
    let (status, head, _) = ask("GET", "https://game.example");
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-origin: https://game.example"), "{head}");
    assert!(head.contains("access-control-allow-credentials: true"), "{head}");
    assert!(head.contains("vary: origin"), "no cache gives it to another page: {head}");
    let (status, head, _) = ask("OPTIONS", "https://game.example");
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-headers: content-type"), "{head}");
    for method in ["GET", "OPTIONS"] {
        let (status, head, body) = ask(method, "https://evil.example");
        assert_eq!((status, body.contains(r#""code":4"#)), (403, true), "{body}");
        assert!(!head.contains("access-control-allow-origin"), "{head}");
    }
}

/// What a listener lets its clients do is not to be had by way of another's.
#[test]
fn a_session_is_known_where_it_began_and_nowhere_else() {
    let server = echo(|config| {
        config.listen.push("ws://127.0.0.1:0".into());
        config.socketio.path = "/engine.io/".into();
    });
    let poller = Poller::open(address(&server, "ws"));
    let elsewhere = server.listeners()[1].address;
    for method in ["GET", "POST"] {
        let (status, body) = engine::ask(elsewhere, method, &poller.target("polling"), "4a");
        assert_eq!((status, body.contains("Session ID unknown")), (400, true), "{body}");
    }
    let mut socket = Socket::at(elsewhere, &poller.target("websocket"));
    assert_eq!(socket.close_code(), 1002);
    assert_eq!(poller.post("4here").0, 200);
    assert_eq!(poller.poll(), (200, "4here".to_owned()));
}

/// The client may have waited since the very moment when it was answered.
#[test]
fn a_poll_that_comes_after_its_time_finds_no_session() {
    let server = echo(|config| {
        config.socketio.ping_interval = 10;
        config.socketio.ping_timeout = 10;
    });
    for round in 0..50 {
        let poller = Poller::open(address(&server, "ws"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(poller.poll().0, 400, "{round}");
    }
}

/// A browser does not show why a WebSocket is refused, so it is told on the WebSocket.
#[test]
fn a_second_websocket_for_a_session_is_told_that_there_is_none() {
    let server = echo(|_| {});
    let poller = Poller::open(address(&server, "ws"));
    let mut socket = poller.websocket();
    // While the first is taking over, and when it has.
    assert_eq!(poller.websocket().close_code(), 1002);
    socket.text("2probe");
    assert_eq!(socket.next_text(), "3probe");
    socket.text("5");
    assert_eq!(poller.websocket().close_code(), 1002);
    socket.text("4hello");
    assert_eq!(socket.next_text(), "4hello");
}

/// Threat S5: bytes that come one by one do not lengthen the time of a body.
#[test]
fn a_body_that_comes_slowly_ends_its_session() {
    use std::io::Write;
    let server = echo(|config| config.socketio.ping_timeout = 300);
    let poller = Poller::open(address(&server, "ws"));
    let begun = std::time::Instant::now();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n4",
        poller.target("polling")
    );
    let mut stream = peer::connect(poller.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut trickling = stream.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..200 {
            if trickling.write_all(b"a").is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let answer = peer::read_head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let took = begun.elapsed().as_millis();
    assert!((300..5_000).contains(&took), "{took}");
    assert_eq!(poller.poll().0, 400);
    drop(stream);
    trickle.join().unwrap();
}
