//! Links: how they begin, speak, and end.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::net::Shutdown;

use peer::{Lines, Ws, address, connect, start, until};
use roomcast::CallError;

#[test]
fn a_room_is_shared_by_transports_and_workers() {
    let server = start(|_| {});
    let mut ws: Vec<_> = (0..4).map(|_| Ws::connect(&server)).collect();
    let mut tcp: Vec<_> = (0..4).map(|_| Lines::connect(&server)).collect();
    ws.iter_mut().for_each(|peer| peer.join("lobby"));
    tcp.iter_mut().for_each(|peer| peer.join("lobby"));
    tcp[0].send(r#"{"type":"publish","room":"lobby","event":"chat","data":{"text":"hi"}}"#);
    for peer in &mut ws {
        assert_eq!(peer.expect("event")["data"]["text"], "hi");
    }
    for peer in &mut tcp {
        assert_eq!(peer.expect("event")["at"]["offset"], 1);
    }
}

#[test]
fn what_comes_in_pieces_or_together_is_understood() {
    let server = start(|_| {});
    let mut peer = Lines::connect(&server);
    let many: String =
        (1..=500).map(|n| format!("{{\"type\":\"ping\",\"ref\":{n}}}\r\n")).collect();
    peer.stream.write_all(many.as_bytes()).unwrap();
    for n in 1..=500 {
        assert_eq!(peer.expect("pong")["ref"], n);
    }
    for byte in b"{\"type\":\"ping\",\"ref\":501}\n" {
        peer.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(peer.expect("pong")["ref"], 501);
    let mut ws = Ws::connect(&server);
    let frame = peer::frame(0x81, br#"{"type":"ping","ref":7}"#);
    for byte in frame {
        ws.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(ws.expect("pong")["ref"], 7);
}

#[test]
fn messagepack_behind_its_length_is_spoken_on_tcp() {
    let server = start(|_| {});
    let mut stream = connect(address(&server, "tcp"));
    let ping = b"\x82\xa4type\xa4ping\xa3ref\x05";
    stream.write_all(&(ping.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(ping).unwrap();
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer.windows(5).any(|bytes| bytes == b"\xa4pong"), "{answer:?}");
}

#[test]
fn a_peer_that_ends_its_side_still_gets_its_answers() {
    let server = start(|_| {});
    // Rooms of both workers, so that some answers cross.
    for n in 0..8 {
        let mut peer = Lines::connect(&server);
        peer.send(&format!(r#"{{"type":"join","ref":1,"room":"room-{n}"}}"#));
        peer.send(&format!(
            r#"{{"type":"publish","ref":2,"room":"room-{n}","event":"a","echo":false}}"#
        ));
        peer.stream.shutdown(Shutdown::Write).unwrap();
        peer.expect("joined");
        assert_eq!(peer.expect("ok")["position"]["offset"], 1);
        assert_eq!(peer.next(), None);
    }
}

#[test]
fn an_unknown_first_byte_is_told_what_to_send() {
    let server = start(|_| {});
    let mut stream = connect(address(&server, "tcp"));
    stream.write_all(b"hello\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("one JSON object a line"), "{said}");
}

#[test]
fn a_frame_cut_in_the_middle_disturbs_nobody() {
    let server = start(|_| {});
    let mut stays = Ws::connect(&server);
    stays.join("lobby");
    let mut cut = Ws::connect(&server);
    cut.hello();
    cut.join("lobby");
    let frame = peer::frame(0x81, br#"{"type":"publish","room":"lobby","event":"lost"}"#);
    cut.stream.write_all(&frame[..frame.len() - 3]).unwrap();
    drop(cut);
    stays.expect("member_dropped");
    stays.send(r#"{"type":"publish","room":"lobby","event":"kept"}"#);
    assert_eq!(stays.expect("event")["event"], "kept");
}

#[test]
fn a_session_is_resumed_wherever_its_link_comes_in() {
    let server = start(|config| config.workers = 4);
    for _ in 0..12 {
        let mut first = Ws::connect(&server);
        first.send(r#"{"type":"hello","ref":1,"name":"Mina"}"#);
        let welcome = first.expect("welcome");
        first.join("lobby");
        drop(first);
        let mut again = Ws::connect(&server);
        let session = welcome["session"].as_str().unwrap();
        let secret = welcome["resume"].as_str().unwrap();
        // The messages behind the first must follow the link to its session's worker.
        let hello = format!(
            r#"{{"type":"hello","ref":2,"resume":{{"session":"{session}","secret":"{secret}"}}}}"#
        );
        let mut both = peer::frame(0x81, hello.as_bytes());
        both.extend(peer::frame(0x81, br#"{"type":"ping","ref":3}"#));
        again.stream.write_all(&both).unwrap();
        let welcome = again.expect("welcome");
        assert_eq!(welcome["resumed"], true, "{welcome}");
        assert_eq!(welcome["rooms"][0], "lobby");
        assert_eq!(again.expect("pong")["ref"], 3);
        again.send(r#"{"type":"bye"}"#);
        assert_eq!(again.expect_close(), 1000);
    }
}

#[test]
fn a_close_is_answered_with_the_same_code() {
    let server = start(|_| {});
    let mut peer = Ws::connect(&server);
    peer.send_frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(peer.expect_close(), 1000);
    assert!(peer::is_closed(&mut peer.stream));
    let mut silent = Ws::connect(&server);
    silent.send_frame(0x88, &[]);
    assert_eq!(silent.next_frame().map(|frame| frame.opcode), Some(8));
    assert!(peer::is_closed(&mut silent.stream));
    until("both are gone", || server.connections() == 0);
}

#[test]
fn a_link_without_life_is_closed() {
    let server = start(|config| {
        config.limits.first_message_ms = 100;
        config.limits.ping_ms = 100;
        config.limits.pong_ms = 100;
    });
    let mut peer = Ws::connect(&server);
    peer.join("lobby");
    // This peer reads, but answers no ping.
    assert_eq!(peer.expect("goodbye")["code"], 4801);
    assert_eq!(peer.expect_close(), 4801);
}

#[test]
fn the_program_around_the_server_can_speak() {
    let server = start(|_| {});
    let handle = server.handle();
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    for n in 1..=4 {
        assert_eq!(handle.room("lobby").publish("news", ()).wait().unwrap().offset, n);
        let event = peer.expect("event");
        assert_eq!((&event["event"], event.get("from")), (&"news".into(), None));
    }
    until("the turn is over", || handle.counters().events_total == 4);
    server.stop();
    assert_eq!(handle.room("lobby").delete().wait(), Err(CallError::Stopped));
}

#[test]
fn a_reader_that_stops_is_dropped_and_nobody_else_notices() {
    let server = start(|config| config.limits.outbox_bytes = 128 << 10);
    let mut slow = Ws::connect(&server);
    slow.hello();
    slow.join("busy");
    let mut reader = Lines::connect(&server);
    reader.join("busy");
    let mut writer = Lines::connect(&server);
    writer.join("busy");
    let text = "x".repeat(48_000);
    // What fits into the buffers of both kernels, and more than the outbox on top of it.
    let mut sent = 0;
    while server.handle().counters().slow_readers_total == 0 {
        sent += 1;
        let said = format!(r#""room":"busy","event":"e","data":"{text}","echo":false"#);
        writer.send(&format!(r#"{{"type":"publish","ref":{sent},{said}}}"#));
        assert_eq!(reader.expect("event")["at"]["offset"], sent);
        assert_eq!(writer.expect("ok")["ref"], sent);
        assert!(sent < 20_000, "the slow reader was not dropped");
    }
    reader.send(r#"{"type":"members","ref":1,"room":"busy"}"#);
    let members = reader.expect("members");
    let dropped = members["members"].as_array().unwrap().iter().filter(|m| m["dropped"] == true);
    assert_eq!(dropped.count(), 1, "{members}");
}
