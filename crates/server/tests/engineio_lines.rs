//! Several namespaces of Socket.IO on one connection, over real sockets.

#![allow(clippy::unwrap_used)]

mod engine;
mod peer;

use std::io::Write;

use engine::{Poller, Socket};
use peer::{address, is_closed};
use std::sync::mpsc;

use roomcast::config::NamespaceSection;
use roomcast::socketio::{DisconnectReason, SocketIo};
use roomcast::{Config, Server};
use serde_json::Value;

fn server(change: impl FnOnce(&mut Config)) -> Server {
    peer::start(|config| {
        config.namespaces.insert("custom".into(), NamespaceSection::default());
        change(config);
    })
}

fn connect(server: &Server) -> Socket {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socket = Socket::at(address(server, "ws"), target);
    socket.open();
    socket
}

/// Connects to a namespace; the socket's id.
fn open(socket: &mut Socket, namespace: &str) -> String {
    socket.text(&format!("40{namespace}"));
    let answer = socket.next_text();
    let told = answer.strip_prefix(&format!("40{namespace}")).unwrap_or_else(|| panic!("{answer}"));
    let told: Value = serde_json::from_str(told).unwrap();
    told["sid"].as_str().unwrap().to_owned()
}

/// Asks something that is always answered.
fn is_served(socket: &mut Socket, namespace: &str) {
    socket.text(&format!("42{namespace}7[\"rooms\"]"));
    let answer = socket.next_text();
    assert!(answer.starts_with(&format!("43{namespace}7[")), "{answer}");
}

#[test]
fn the_end_of_one_namespace_leaves_the_others() {
    let server = server(|_| {});
    let mut socket = connect(&server);
    let main = open(&mut socket, "");
    let custom = open(&mut socket, "/custom,");
    assert_ne!(main, custom);
    is_served(&mut socket, "");
    is_served(&mut socket, "/custom,");
    assert_eq!(server.connections(), 1);
    assert_eq!(server.handle().counters().links, 2);
    socket.text("41/custom,");
    // What was on its way when the namespace was closed means nothing.
    socket.text("42/custom,[\"late\"]");
    is_served(&mut socket, "");
    peer::until("the other is gone", || server.handle().counters().links == 1);
    // It may be opened again.
    open(&mut socket, "/custom,");
    is_served(&mut socket, "/custom,");
    drop(socket);
    peer::until("both are gone", || server.handle().counters().links == 0);
    peer::until("the connection is gone", || server.connections() == 0);
}

#[test]
fn a_namespace_that_is_not_there_is_refused_and_the_connection_stays() {
    let server = server(|_| {});
    let mut socket = connect(&server);
    for unknown in ["/nope", "/a/b", "/default"] {
        socket.text(&format!("40{unknown},"));
        let answer = socket.next_text();
        assert!(answer.starts_with(&format!("44{unknown},")), "{answer}");
        assert!(answer.contains("Invalid namespace"), "{answer}");
    }
    open(&mut socket, "");
    is_served(&mut socket, "");
}

#[test]
fn a_connection_has_so_many_namespaces_and_no_more() {
    let server = server(|config| {
        for number in 0..65 {
            config.namespaces.insert(format!("n{number}"), NamespaceSection::default());
        }
    });
    let mut socket = connect(&server);
    for number in 0..64 {
        open(&mut socket, &format!("/n{number},"));
    }
    socket.text("40/n64,");
    assert_eq!(socket.close_code(), 1002);
    peer::until("all are gone", || server.handle().counters().links == 0);
}

/// `socket.disconnect().connect()` of a client says both in one piece.
#[test]
fn a_namespace_may_be_left_and_entered_again_at_once() {
    let server = server(|_| {});
    let mut socket = connect(&server);
    open(&mut socket, "");
    let first = open(&mut socket, "/custom,");
    let both = [peer::frame(0x81, b"41/custom,"), peer::frame(0x81, b"40/custom,")].concat();
    socket.ws.stream.write_all(&both).unwrap();
    let answer = socket.next_text();
    assert!(answer.starts_with("40/custom,{") && !answer.contains(&first), "{answer}");
    is_served(&mut socket, "/custom,");
    peer::until("the first is gone", || server.handle().counters().links == 2);
}

/// Each namespace has rates of its own; new ones are not to be had by coming again.
#[test]
fn who_leaves_and_comes_again_and_again_is_slowed_down() {
    let server = server(|_| {});
    let mut socket = connect(&server);
    open(&mut socket, "");
    let come_and_go = |socket: &mut Socket, times: usize| {
        let begun = std::time::Instant::now();
        for _ in 0..times {
            open(socket, "/custom,");
            socket.text("41/custom,");
        }
        is_served(socket, "");
        begun.elapsed().as_millis()
    };
    come_and_go(&mut socket, 63);
    let took = come_and_go(&mut socket, 3);
    assert!(took >= 2_900, "{took}");
}

#[test]
fn what_comes_before_a_namespace_closes_the_connection() {
    let server = server(|_| {});
    for wrong in ["42[\"join\",\"lobby\"]", "4abc", "41", "4"] {
        let mut socket = connect(&server);
        socket.text(wrong);
        assert_eq!(socket.close_code(), 1002, "{wrong}");
    }
    // Larger than an unknown peer may send, smaller than others may.
    let mut socket = connect(&server);
    socket.text(&format!("40{{\"token\":\"{}\"}}", "a".repeat(20_000)));
    assert_eq!(socket.close_code(), 1009);
}

/// As with the reference server, which closes the connection and not the namespace alone.
#[test]
fn what_breaks_the_protocol_in_one_namespace_closes_the_connection() {
    let server = server(|_| {});
    for wrong in ["40/custom,", "44/custom,{}", "42/custom,[\"connect\"]", "42/custom,{}"] {
        let mut socket = connect(&server);
        open(&mut socket, "");
        open(&mut socket, "/custom,");
        socket.text(wrong);
        assert_eq!(socket.close_code(), 1002, "{wrong}");
        peer::until("both are gone", || server.handle().counters().links == 0);
    }
}

#[test]
fn a_connection_without_a_namespace_is_closed_in_time() {
    let server = server(|config| config.socketio.connect_timeout = 200);
    let mut socket = connect(&server);
    assert_eq!(socket.close_code(), 4821);
    let mut socket = connect(&server);
    open(&mut socket, "");
    let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
    assert_eq!(poller.poll(), (200, "1".to_owned()));
    is_served(&mut socket, "");
    // Without one again.
    socket.text("41");
    assert_eq!(socket.close_code(), 4821);
}

#[test]
fn a_stop_tells_all_connections_to_come_again() {
    let server = server(|_| {});
    let mut idle = connect(&server);
    let mut socket = connect(&server);
    open(&mut socket, "");
    open(&mut socket, "/custom,");
    let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
    assert_eq!(poller.post("40").0, 200);
    let stopping = std::thread::spawn(move || server.drain_and_stop());
    assert_eq!(idle.close_code(), 4802);
    assert_eq!(socket.close_code(), 4802);
    drop(poller);
    assert!(is_closed(&mut socket.ws.stream));
    stopping.join().unwrap();
}

#[test]
fn a_reader_that_is_slow_is_closed_and_nobody_else() {
    let server = server(|config| {
        config.limits.outbox_bytes = 256 << 10;
        config.limits.fanout_bytes_per_s = 0;
        config.limits.commands_per_s = 0;
    });
    let mut slow = connect(&server);
    open(&mut slow, "");
    slow.text("421[\"join\",\"lobby\"]");
    assert!(slow.next_text().starts_with("431["));
    let mut speaker = connect(&server);
    open(&mut speaker, "");
    speaker.text("421[\"join\",\"lobby\"]");
    assert!(speaker.next_text().starts_with("431["));
    let word = "a".repeat(30_000);
    // Sockets hold some megabytes; a bound, so that a server without one fails.
    for _ in 0..2_000 {
        speaker.text(&format!("421[\"to-room\",\"lobby\",\"word\",\"{word}\"]"));
        while !speaker.next_text().starts_with("431[") {}
        if server.handle().counters().slow_readers_total == 1 {
            break;
        }
    }
    assert_eq!(server.handle().counters().slow_readers_total, 1);
    speaker.text("427[\"rooms\"]");
    while !speaker.next_text().starts_with("437[") {}
    peer::until("it is gone", || server.handle().counters().links == 1);
}

/// Threat S19. What comes in time does not lengthen the time of what is still missing, and the
/// clock of one packet does not run on for the next.
#[test]
fn attachments_that_do_not_come_end_the_connection() {
    let server = server(|config| config.socketio.attachments_timeout = 500);
    let mut patient = connect(&server);
    open(&mut patient, "");
    let text = r#"452-7["nothing",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let mut socket = connect(&server);
    open(&mut socket, "");
    let begun = std::time::Instant::now();
    let mut whole = 0;
    while begun.elapsed().as_millis() < 1_000 {
        socket.text(text);
        socket.binary(&[1]);
        std::thread::sleep(std::time::Duration::from_millis(2));
        socket.binary(&[2]);
        assert!(socket.next_text().starts_with("437["));
        whole += 1;
    }
    assert!(whole > 2, "{whole}");
    is_served(&mut socket, "");
    let begun = std::time::Instant::now();
    socket.text(text);
    socket.binary(&[1]);
    assert_eq!(socket.close_code(), 4821);
    let took = begun.elapsed().as_millis();
    // The server counts whole milliseconds, from the beginning of one.
    assert!((499..5_000).contains(&took), "{took}");
    // By long-polling, too.
    let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
    assert_eq!(poller.post("40").0, 200);
    assert!(poller.poll().1.starts_with("40{"));
    assert_eq!(poller.post(&format!("{text}\u{1e}bAQ==")).0, 200);
    assert_eq!(poller.poll(), (200, "1".to_owned()));
    is_served(&mut patient, "");
}

/// Refusals wait in a queue with a bound, as everything else does: who reads none of them is not
/// read, and is given up when it shows no life.
#[test]
fn who_asks_for_namespaces_and_reads_no_answers_is_not_served_without_end() {
    let server = server(|config| {
        config.limits.outbox_bytes = 128 << 10;
        (config.socketio.ping_interval, config.socketio.ping_timeout) = (1_000, 1_000);
    });
    let mut socket = connect(&server);
    socket.ws.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let asked = peer::frame(0x81, format!("40/{},", "n".repeat(10_000)).as_bytes());
    // The sockets of both sides hold some megabytes.
    let taken = (0..10_000).take_while(|_| socket.ws.stream.write_all(&asked).is_ok()).count();
    assert!(taken < 5_000, "{taken}");
    peer::until("it is given up", || server.connections() == 0);
}

/// Nobody polls, so that nobody hears why: the place is free again all the same.
#[test]
fn a_session_that_was_closed_does_not_wait_long_for_a_poll() {
    let server = server(|_| {});
    let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
    assert_eq!(poller.post("4abc").0, 200);
    peer::until("it is forgotten", || server.connections() == 0);
    assert_eq!(poller.poll().0, 400);
}

/// What was said to the old transport comes on the new one, the last words, too.
#[test]
fn a_connection_that_is_closed_during_its_upgrade_is_told_so() {
    let server = server(|_| {});
    let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
    assert_eq!(poller.post("40").0, 200);
    assert!(poller.poll().1.starts_with("40{"));
    let mut socket = poller.websocket();
    socket.text("2probe");
    assert_eq!(socket.next_text(), "3probe");
    assert_eq!(poller.post("42{}").0, 200);
    peer::until("it is closed", || server.handle().counters().links == 0);
    socket.text("5");
    assert_eq!(socket.close_code(), 1002);
}

/// Handlers are told why, whichever way the connection ended.
#[test]
fn handlers_are_told_why_a_connection_ended() {
    let (tell, told) = mpsc::channel();
    let sockets = SocketIo::new().namespace("/", |io| {
        io.on_disconnect(move |_, reason: DisconnectReason| {
            tell.send(reason).unwrap();
            async { Ok(()) }
        });
    });
    let mut config = Config { listen: vec!["ws://127.0.0.1:0".into()], ..Config::default() };
    (config.socketio.ping_interval, config.socketio.ping_timeout) = (300, 300);
    let server = Server::builder().config(config).socketio(sockets).start().unwrap();
    let why = |end: &dyn Fn(Socket)| {
        let mut socket = connect(&server);
        open(&mut socket, "");
        end(socket);
        told.recv_timeout(std::time::Duration::from_secs(10)).unwrap()
    };
    assert_eq!(why(&drop), DisconnectReason::TransportClose);
    let leave = |mut socket: Socket| socket.text("41");
    assert_eq!(why(&leave), DisconnectReason::ClientDisconnect);
    let is_silent = |mut socket: Socket| {
        assert_eq!(socket.next_text(), "2");
        assert_eq!(socket.close_code(), 4801);
    };
    assert_eq!(why(&is_silent), DisconnectReason::PingTimeout);
    // The engine's own rules, and those of Socket.IO.
    for wrong in ["9", "42{}", "40"] {
        let breaks = |mut socket: Socket| socket.text(wrong);
        assert_eq!(why(&breaks).to_string(), "parse error", "{wrong}");
    }
}

/// A client of such a listener knows nothing of the name that the server has for its `/`.
#[test]
fn the_main_namespace_is_the_listeners() {
    let server = server(|config| {
        config.namespaces.insert("game".into(), NamespaceSection::default());
        config.listen[0].push_str("?namespace=game");
    });
    let mut socket = connect(&server);
    open(&mut socket, "");
    is_served(&mut socket, "");
    socket.text(r#"421["join","lobby"]"#);
    let answer = socket.next_text();
    assert!(answer.starts_with("431["), "{answer}");
    let mut native = peer::Ws::connect(&server);
    native.hello();
    native.join("lobby");
    let joined = socket.next_text();
    assert!(joined.starts_with("42["), "{joined}");
    native.send(r#"{"type":"publish","room":"lobby","event":"hi","data":1}"#);
    let heard = socket.next_text();
    assert!(heard.starts_with(r#"42["hi",1"#), "{heard}");
    // By its name it is there, too, as another line.
    open(&mut socket, "/game,");
    is_served(&mut socket, "/game,");
    is_served(&mut socket, "");
}
