//! Plain UDP: the table of sessions behind one socket. What is said in a session stands in
//! `roomcast_wire::udp`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_wire::udp::frame::HEADER_BYTES;
use roomcast_wire::udp::greeting::{COOKIE_LIFE, Cookies, Greeting};
use roomcast_wire::udp::seal::{Key, TAG_BYTES};
use roomcast_wire::udp::session::{Event, Refused, Role, Session, Terms, id_of};
use roomcast_wire::{CloseCode, Codec, Format};
use slab::Slab;

use super::datagrams::{Counts, Datagrams, Peer, PeerLoss, Port, Told};
use crate::acceptor::admission::{Admission, Admissions};
use crate::acceptor::refusal::RETRY_S;
use crate::config::LimitsConfig;
use crate::system::random;

/// Answers to greetings that may wait for the socket; beyond it clients ask again.
const ANSWERS_MAX: usize = 4_096;

/// The smallest datagram of a session, larger than what is answered to it.
const SEALED_BYTES_MIN: usize = HEADER_BYTES + TAG_BYTES;

/// Greetings that are remembered, so that a cookie opens one session; beyond it the oldest are
/// forgotten before their time. Whoever repeats one of those gains nothing: the key goes to the
/// address that the cookie was made for.
const GREETED_MAX: usize = 1 << 16;

pub(super) fn open(port: Port) -> io::Result<Box<dyn Datagrams>> {
    let key = || random().map(Key::new).ok_or(ErrorKind::Other);
    Ok(Box::new(Udp {
        cookies: Cookies::new(key()?),
        secret: key()?,
        limits: port.limits,
        admissions: port.admissions,
        peers: Slab::new(),
        by_id: HashMap::new(),
        greeted: HashMap::new(),
        to_forget: VecDeque::new(),
        answers: Vec::new(),
        dirty: Vec::new(),
        due: BinaryHeap::new(),
        events: Vec::new(),
        scratch: Vec::new(),
        counts: Counts::default(),
    }))
}

struct Udp {
    cookies: Cookies,
    /// For challenges to new addresses.
    secret: Key,
    limits: LimitsConfig,
    admissions: Arc<Admissions>,
    peers: Slab<Entry>,
    by_id: HashMap<u64, usize>,
    /// Whose cookie was used, and for which session; as long as it could be used again.
    greeted: HashMap<(SocketAddr, u64), u64>,
    to_forget: VecDeque<(Duration, (SocketAddr, u64))>,
    answers: Vec<(SocketAddr, Greeting)>,
    /// Peers that may have something to send.
    dirty: Vec<usize>,
    /// When peers want to be called; what is not the time noted with the peer is out of date.
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    events: Vec<Event>,
    scratch: Vec<u8>,
    counts: Counts,
}

/// One peer.
struct Entry {
    session: Session,
    id: u64,
    key: Key,
    codec: Codec,
    /// When it is given up if it says nothing.
    until: Duration,
    /// The worker knows it: it has shown that it has the key.
    told: bool,
    /// The worker knows it no more.
    forgotten: bool,
    dirty: bool,
    due: Option<Duration>,
    /// Counts towards the limits until it is dropped.
    _admission: Admission,
}

impl Datagrams for Udp {
    fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8], told: &mut Vec<Told>) {
        let Some(id) = id_of(Role::Client, datagram) else {
            return self.greet(now, from, datagram);
        };
        let Some(&at) = self.by_id.get(&id) else {
            self.counts.refused_total += 1;
            // A client of before a restart need not wait until it is sure.
            if datagram.len() >= SEALED_BYTES_MIN && self.answers.len() < ANSWERS_MAX {
                self.answers.push((from, Greeting::Gone { id }));
            }
            return;
        };
        let Some(entry) = self.peers.get_mut(at) else { return };
        match entry.session.receive(now, from, datagram, &mut self.events) {
            Ok(()) => {}
            Err(Refused::Replayed) => self.counts.replayed_total += 1,
            Err(Refused::Foreign | Refused::Forged) => self.counts.refused_total += 1,
        }
        if !entry.told && entry.session.is_confirmed() {
            entry.told = true;
            let (peer, format) = (Peer(at as u32), format_of(entry.codec));
            told.push(Told::Opened { peer, format, namespace: None });
        }
        self.tell(at, told);
    }

    fn send(&mut self, _: Duration, peer: Peer, chunk: &Bytes, reliable: bool) -> bool {
        let Some(entry) = self.peers.get_mut(peer.0 as usize) else { return true };
        mark(entry, peer.0 as usize, &mut self.dirty);
        entry.session.send_chunk(entry.codec, chunk, reliable)
    }

    fn hold(&mut self, _: Duration, peer: Peer, held: bool, told: &mut Vec<Told>) {
        let Some(entry) = self.peers.get_mut(peer.0 as usize) else { return };
        entry.session.hold(held, &mut self.events);
        self.tell(peer.0 as usize, told);
    }

    fn trust(&mut self, peer: Peer) {
        if let Some(entry) = self.peers.get_mut(peer.0 as usize) {
            entry.session.set_message_bytes_max(self.limits.message_bytes);
        }
    }

    fn close(&mut self, now: Duration, peer: Peer, code: CloseCode, reason: &str) {
        let Some(entry) = self.peers.get_mut(peer.0 as usize) else { return };
        entry.forgotten = true;
        entry.session.close(now, code.number(), reason);
        mark(entry, peer.0 as usize, &mut self.dirty);
    }

    fn due(&self) -> Option<Duration> {
        let forget = self.to_forget.front().map(|(at, _)| *at);
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        due.into_iter().chain(forget).min()
    }

    fn tick(&mut self, now: Duration, told: &mut Vec<Told>) {
        while let Some((until, who)) = self.to_forget.front()
            && *until <= now
        {
            self.greeted.remove(who);
            self.to_forget.pop_front();
        }
        while let Some(Reverse((at, key))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Some(entry) = self.peers.get_mut(key).filter(|e| e.due == Some(at)) else {
                continue;
            };
            entry.due = None;
            if !entry.told && entry.until <= now {
                self.remove(key);
                continue;
            }
            entry.session.tick(now, &mut self.events);
            mark(entry, key, &mut self.dirty);
            self.tell(key, told);
        }
    }

    fn transmit(&mut self, now: Duration, sink: &mut dyn FnMut(SocketAddr, &[u8])) {
        for (to, answer) in self.answers.drain(..) {
            sink(to, &answer.encode());
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(entry) = self.peers.get_mut(key) else { continue };
            entry.dirty = false;
            let before = entry.session.repeated_total();
            entry.session.transmit(now, &mut self.scratch, sink);
            self.counts.repeated_total += entry.session.repeated_total() - before;
            if entry.session.is_over() {
                self.remove(key);
                continue;
            }
            let due = entry.session.due();
            let due = if entry.told { due } else { due.into_iter().chain([entry.until]).min() };
            if let Some(due) = due
                && entry.due.is_none_or(|noted| due < noted)
            {
                entry.due = Some(due);
                self.due.push(Reverse((due, key)));
            }
        }
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn is_idle(&self) -> bool {
        self.peers.iter().all(|(_, entry)| !entry.told)
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}

impl Udp {
    /// A datagram without a session.
    fn greet(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        let Some(Greeting::Hello { nonce, codec, cookie }) = Greeting::decode(datagram) else {
            self.counts.refused_total += 1;
            return;
        };
        if self.answers.len() >= ANSWERS_MAX {
            return;
        }
        let checked = cookie.filter(|cookie| self.cookies.check(now, from, nonce, *cookie));
        let answer = match checked {
            // Nothing is kept for it.
            None => {
                self.counts.refused_total += u64::from(cookie.is_some());
                Some(Greeting::Retry { nonce, cookie: self.cookies.make(now, from, nonce) })
            }
            Some(_) => self.accept(now, from, nonce, codec),
        };
        self.answers.extend(answer.map(|answer| (from, answer)));
    }

    /// The client has shown that it receives at its address.
    fn accept(
        &mut self,
        now: Duration,
        from: SocketAddr,
        nonce: u64,
        codec: Codec,
    ) -> Option<Greeting> {
        if let Some(id) = self.greeted.get(&(from, nonce)) {
            // The answer to the same `hello` may have been lost; once the client has used it, the
            // cookie means nothing more.
            let at = self.by_id.get(id)?;
            let entry = self.peers.get(*at).filter(|entry| !entry.told)?;
            return Some(Greeting::Accept { nonce, id: entry.id, key: entry.key });
        }
        let Ok(admission) = self.admissions.admit(from.ip()) else {
            self.counts.turned_away_total += 1;
            let code = CloseCode::TooManyConnections.number();
            return Some(Greeting::Refuse { nonce, code, retry_ms: RETRY_S * 1_000 });
        };
        let id = u64::from_be_bytes(random()?);
        let key = Key::new(random()?);
        if self.by_id.contains_key(&id) {
            return None;
        }
        let limits = &self.limits;
        let terms = Terms {
            role: Role::Server,
            message_bytes_max: limits.message_bytes_unknown_peer,
            ping: Duration::from_millis(limits.ping_ms),
            silence: Duration::from_millis(limits.ping_ms + limits.pong_ms),
            secret: self.secret,
        };
        let at = self.peers.insert(Entry {
            session: Session::new(id, key, terms, from, now),
            id,
            key,
            codec,
            until: now + Duration::from_millis(limits.handshake_ms),
            told: false,
            forgotten: false,
            dirty: false,
            due: None,
            _admission: admission,
        });
        self.by_id.insert(id, at);
        if self.to_forget.len() >= GREETED_MAX
            && let Some((_, oldest)) = self.to_forget.pop_front()
        {
            self.greeted.remove(&oldest);
        }
        self.greeted.insert((from, nonce), id);
        self.to_forget.push_back((now + COOKIE_LIFE, (from, nonce)));
        if let Some(entry) = self.peers.get_mut(at) {
            mark(entry, at, &mut self.dirty);
        }
        Some(Greeting::Accept { nonce, id, key })
    }

    /// Passes on what a session has told.
    fn tell(&mut self, at: usize, told: &mut Vec<Told>) {
        let Some(entry) = self.peers.get_mut(at) else { return };
        mark(entry, at, &mut self.dirty);
        let peer = Peer(at as u32);
        for event in self.events.drain(..) {
            if entry.forgotten || !entry.told {
                continue;
            }
            let loss = match event {
                Event::Message(bytes) => {
                    told.push(Told::Message { peer, bytes });
                    continue;
                }
                Event::Alive | Event::Moved => {
                    told.push(Told::Alive { peer });
                    continue;
                }
                Event::Writable => {
                    told.push(Told::Writable { peer });
                    continue;
                }
                Event::Closed { .. } => PeerLoss::Closed,
                Event::Lost => PeerLoss::Broken,
                Event::Fault(code) => PeerLoss::Ended(code),
            };
            entry.forgotten = true;
            told.push(Told::Closed { peer, loss });
        }
    }

    fn remove(&mut self, at: usize) {
        if let Some(entry) = self.peers.try_remove(at) {
            self.by_id.remove(&entry.id);
        }
        if self.peers.capacity() > 4 * self.peers.len() + 1_024 {
            self.peers.shrink_to_fit();
            self.by_id.shrink_to_fit();
        }
    }
}

fn mark(entry: &mut Entry, at: usize, dirty: &mut Vec<usize>) {
    if !entry.dirty {
        entry.dirty = true;
        dirty.push(at);
    }
}

fn format_of(codec: Codec) -> Format {
    match codec {
        Codec::Json => Format::JSON_LINE,
        Codec::MsgPack => Format::MSGPACK_LENGTH,
    }
}
