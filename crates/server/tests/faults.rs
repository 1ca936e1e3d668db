//! Links that are cut, many at once and in the middle of a message.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peer::{Lines, Ws, address, connect, start, until};
use roomcast::Server;
use roomcast_wire::options::PresenceRule;
use serde_json::Value;
use socket2::SockRef;

/// Links that are cut; every second one has a session that can be resumed.
const LINKS: usize = 2_000;
const SESSIONS: usize = LINKS / 2;

/// As many as one session may make at once.
const ROOMS: usize = 20;

/// Threads that come back at the same time, each with its share of the links.
const THREADS: usize = 8;

/// Newest offset of each room before anybody joins, when the links are cut, while all are away,
/// and at the end.
const JOINED: u64 = 5;
const CUT: u64 = 10;
const AWAY: u64 = 20;
const END: u64 = 30;

/// How far a member has read when it is cut: the rest is on its way and lost.
const READ: u64 = 7;

/// Longest time a bystander may wait for its own event, on a busy machine.
const STALL: Duration = Duration::from_secs(4);

#[test]
fn two_thousand_links_cut_at_once_come_back_and_miss_nothing() {
    let server = start(|config| {
        config.rooms.presence = PresenceRule::Off;
        config.limits.connections_per_address = 3 * LINKS;
        config.limits.commands_per_s = 0;
    });
    let handle = server.handle();
    let newest = AtomicU64::new(JOINED);
    let all_have = |offset: u64| {
        until("the rooms speak", || handle.counters().events_total == offset * ROOMS as u64);
    };
    thread::scope(|scope| {
        let bystander = scope.spawn(|| stand_by(&server, &newest));
        let end = End(&newest);
        all_have(JOINED);
        let mut crowd = in_shares(|share| Crowd::connect(&server, share));
        newest.store(CUT, Ordering::Relaxed);
        all_have(CUT);
        crowd.iter_mut().for_each(|share| share.read_to(READ));
        let crowd: Vec<_> = crowd.into_iter().map(Crowd::cut).collect();
        newest.store(AWAY, Ordering::Relaxed);
        until("all are missed", || handle.counters().links == 1);
        all_have(AWAY);
        let away = handle.counters();
        assert_eq!((away.sessions, away.sessions_dropped), (1 + SESSIONS as u64, SESSIONS as u64));
        assert_eq!(away.seats as usize, SESSIONS + ROOMS);

        newest.store(END, Ordering::Relaxed);
        let crowd = in_shares(|share| Crowd::come_back(&server, &crowd[share]));
        all_have(END);
        until("all links are counted", || handle.counters().links == 1 + LINKS as u64);
        until("all are counted", || handle.counters().recovered_total == SESSIONS as u64);
        let back = handle.counters();
        assert_eq!((back.sessions, back.sessions_dropped), (1 + LINKS as u64, 0));
        let recovered = (back.resumed_total, back.recovered_total, back.unrecovered_total);
        assert_eq!(recovered, (SESSIONS as u64, SESSIONS as u64, 0));
        assert_eq!((back.seats as usize, back.slow_readers_total), (SESSIONS + ROOMS, 0));
        crowd.into_iter().for_each(Crowd::leave);
        until("all are given back", || server.connections() == 1);
        until("no session stays", || handle.counters().sessions == 1);
        until("no seat stays", || handle.counters().seats as usize == ROOMS);
        drop(end);
        let longest = bystander.join().unwrap();
        assert!(longest < STALL, "a bystander waited for {longest:?}");
    });
}

/// Ends the bystander, also where the test fails: it would be waited for.
struct End<'a>(&'a AtomicU64);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// Speaks and listens in every room until the newest offset is the highest there is; says how
/// long the longest round trip took.
fn stand_by(server: &Server, newest: &AtomicU64) -> Duration {
    let mut peer = Ws::connect(server);
    peer.hello();
    (0..ROOMS).for_each(|room| peer.join(&name(room)));
    let mut offset = 0;
    let mut longest = Duration::ZERO;
    loop {
        match newest.load(Ordering::Relaxed) {
            u64::MAX => return longest,
            wanted if wanted > offset => {
                offset += 1;
                for room in 0..ROOMS {
                    let begin = Instant::now();
                    let (room, n) = (name(room), offset);
                    peer.send(&format!(
                        r#"{{"type":"publish","room":"{room}","event":"n","data":{n}}}"#
                    ));
                    let event = peer.next_frame().unwrap().json();
                    assert_eq!((&event["room"], place(&event)), (&Value::from(room), n));
                    longest = longest.max(begin.elapsed());
                }
            }
            _ => {
                let begin = Instant::now();
                peer.send(r#"{"type":"ping","ref":1}"#);
                assert_eq!(peer.next_frame().unwrap().json()["type"], "pong");
                longest = longest.max(begin.elapsed());
            }
        }
    }
}

/// A share of the links.
struct Crowd {
    members: Vec<Member>,
    /// Links without `hello`, on plain TCP.
    others: Vec<Lines>,
}

struct Member {
    peer: Ws,
    memory: Memory,
}

/// What a client keeps when its link is gone.
struct Memory {
    room: String,
    session: Value,
    secret: Value,
    epoch: Value,
    /// Of the newest event it has handled.
    offset: u64,
}

impl Crowd {
    fn connect(server: &Server, share: usize) -> Self {
        let members = (0..SESSIONS / THREADS).map(|n| {
            let mut peer = Ws::connect(server);
            let welcome = peer.hello();
            let room = name((share + n) % ROOMS);
            peer.send(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
            let joined = peer.expect("joined");
            assert_eq!(joined["position"]["offset"], JOINED);
            let (session, secret) = (welcome["session"].clone(), welcome["resume"].clone());
            let epoch = joined["position"]["epoch"].clone();
            Member { peer, memory: Memory { room, session, secret, epoch, offset: JOINED } }
        });
        Self { members: members.collect(), others: others(server) }
    }

    /// Every member has heard all up to `offset`, once and in order, and nothing else.
    fn read_to(&mut self, offset: u64) {
        for Member { peer, memory } in &mut self.members {
            while memory.offset < offset {
                let event = peer.next_frame().unwrap().json();
                assert_eq!(event["type"], "event", "{event}");
                assert_eq!(
                    (&event["room"], place(&event)),
                    (&Value::from(memory.room.as_str()), memory.offset + 1)
                );
                assert_eq!(event["data"], place(&event));
                memory.offset += 1;
            }
        }
    }

    /// All links are gone, half of them with a reset.
    fn cut(self) -> Vec<Memory> {
        let others = self.others.into_iter().map(|other| other.stream);
        let (streams, memories): (Vec<_>, Vec<_>) =
            self.members.into_iter().map(|member| (member.peer.stream, member.memory)).unzip();
        for (n, stream) in others.chain(streams).enumerate() {
            if n % 2 == 0 {
                reset(&stream);
            }
        }
        memories
    }

    fn come_back(server: &Server, memories: &[Memory]) -> Self {
        let mut peers: Vec<_> = memories.iter().map(|_| Ws::connect(server)).collect();
        let others = others(server);
        for (peer, Memory { session, secret, .. }) in peers.iter_mut().zip(memories) {
            peer.send(&format!(
                r#"{{"type":"hello","resume":{{"session":{session},"secret":{secret}}}}}"#
            ));
        }
        let mut members = Vec::new();
        for (mut peer, memory) in peers.into_iter().zip(memories) {
            let Memory { room, session, epoch, offset, .. } = memory;
            let welcome = peer.next_frame().unwrap().json();
            assert_eq!((&welcome["session"], &welcome["resumed"]), (session, &true.into()));
            assert_eq!(welcome["rooms"], Value::from(vec![room.as_str()]));
            peer.send(&format!(
                r#"{{"type":"join","room":"{room}","since":{{"epoch":{epoch},"offset":{offset}}}}}"#
            ));
            let secret = welcome["resume"].clone();
            let (room, session) = (room.clone(), session.clone());
            let memory = Memory { room, session, secret, epoch: epoch.clone(), offset: *offset };
            members.push(Member { peer, memory });
        }
        for Member { peer, .. } in &mut members {
            let joined = peer.next_frame().unwrap().json();
            assert_eq!((&joined["type"], &joined["recovered"]), (&"joined".into(), &true.into()));
        }
        let mut crowd = Self { members, others };
        crowd.read_to(END);
        crowd
    }

    fn leave(mut self) {
        for Member { peer, .. } in &mut self.members {
            peer.send(r#"{"type":"ping","ref":1}"#);
            // Nothing came twice.
            assert_eq!(peer.next_frame().unwrap().json()["type"], "pong");
            peer.send(r#"{"type":"bye"}"#);
        }
    }
}

fn others(server: &Server) -> Vec<Lines> {
    let count = (LINKS - SESSIONS) / THREADS;
    let mut others: Vec<_> = (0..count).map(|_| Lines::connect(server)).collect();
    for other in &mut others {
        other.send(r#"{"type":"ping","ref":1}"#);
        other.expect("pong");
    }
    others
}

/// Does something for every share of the links at the same time.
fn in_shares<T: Send>(task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let task = &task;
        let threads: Vec<_> = (0..THREADS).map(|share| scope.spawn(move || task(share))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn name(room: usize) -> String {
    format!("storm-{room}")
}

fn place(event: &Value) -> u64 {
    event["at"]["offset"].as_u64().unwrap_or_else(|| panic!("{event}"))
}

/// Dropped, the stream ends with a reset.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_message_that_is_cut_off_was_never_sent() {
    let server = start(|_| {});
    let mut bystander = Lines::connect(&server);
    bystander.join("lobby");
    let publish = br#"{"type":"publish","room":"lobby","event":"half","data":1}"#;
    let packed_publish = b"\x84\xa4type\xa7publish\xa4room\xa5lobby\xa5event\xa4half\xa4data\x01";
    for with_reset in [false, true] {
        for packed in [false, true] {
            let mut stream = connect(address(&server, "tcp"));
            if packed {
                ask(&mut stream, b"\x82\xa4type\xa5hello\xa3ref\x00");
                ask(&mut stream, b"\x83\xa4type\xa4join\xa3ref\x01\xa4room\xa5lobby");
                stream.write_all(&(packed_publish.len() as u32).to_be_bytes()).unwrap();
                stream.write_all(&packed_publish[..packed_publish.len() - 1]).unwrap();
            } else {
                let mut lines = Lines::over(stream.try_clone().unwrap());
                lines.hello();
                lines.join("lobby");
                // Whole but for its end: it may be a part of a longer line.
                stream.write_all(publish).unwrap();
            }
            if with_reset {
                reset(&stream);
            }
            drop(stream);
            bystander.expect("member_joined");
            let next = bystander.next().unwrap();
            assert_eq!(next["type"], "member_dropped", "{next}");
        }
    }
    until("all are counted", || server.handle().counters().sessions_dropped == 4);
    bystander.send(r#"{"type":"publish","room":"lobby","event":"whole"}"#);
    assert_eq!(place(&bystander.next().unwrap()), 1);
}

/// Sends one MessagePack message and reads the reply.
fn ask(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&(message.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(message).unwrap();
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut reply = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut reply).unwrap();
}
