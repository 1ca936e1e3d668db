//! ENet for native games: many connections on one UDP socket, told apart by address and number.
//!
//! A packet is one message of the native dialect, JSON or MessagePack; the first byte of a
//! connection's first packet says which. What must arrive goes on channel 0, what need not on
//! channel 1; what comes is taken from both.

mod greetings;
mod peer;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomcast_wire::CloseCode;
use roomcast_wire::enet::greeting::{self, TakenUp};
use roomcast_wire::enet::{Closed, Datagram, Heard, PEER_NONE, Settings};
use slab::Slab;

use self::greetings::{Asked, Greetings};
use self::peer::{EnetPeer, Stage};
use super::datagrams::{Counts, Datagrams, Peer, PeerLoss, Port, Told};
use crate::acceptor::admission::Admissions;
use crate::config::LimitsConfig;

/// Control and reliable events; unreliable events.
const CHANNELS: u8 = 2;

/// How long a peer may take, from its connection on, to have a session: slots of ENet servers are
/// cheap to fill (threat S42). The limit for handshakes holds if it is shorter.
const SESSION_MS: u64 = 3000;

/// Without an acknowledgement for so long a peer is asked for one. ENet's own clients ask every
/// 500 ms; a server that did so, too, would send 2,000 datagrams a second to 1,000 idle peers.
const PING_MS: u64 = 1000;

/// Given to a peer and not known to have arrived: beyond this its window is full.
const WINDOW_BYTES: usize = 128 << 10;

/// Beside one whole message: what may come too early, ENet's own window.
const EARLY_BYTES: usize = 64 << 10;

/// A peer that wants to be called more often than this, in milliseconds, has to wait.
const TICK_MS: u64 = 2;

pub(super) fn open(port: Port) -> io::Result<Box<dyn Datagrams>> {
    let Port { site, admissions, limits, .. } = port;
    let settings = Settings {
        options: site.enet,
        message_bytes_max: limits.message_bytes_unknown_peer.min(limits.message_bytes),
        waiting_bytes_max: limits.message_bytes + EARLY_BYTES,
        ping_ms: PING_MS,
    };
    Ok(Box::new(Enet {
        settings,
        limits,
        admissions,
        greetings: Greetings::new(),
        peers: Slab::new(),
        places: HashMap::new(),
        seats: HashMap::new(),
        due: BinaryHeap::new(),
        dirty: Vec::new(),
        unsent: Vec::new(),
        heard: Vec::new(),
        out: BytesMut::new(),
        counts: Counts::default(),
    }))
}

/// All connections of one socket.
struct Enet {
    settings: Settings,
    limits: LimitsConfig,
    admissions: Arc<Admissions>,
    greetings: Greetings,
    peers: Slab<EnetPeer>,
    /// Peers by their address and the number that they were given.
    places: HashMap<(SocketAddr, u16), usize>,
    /// Peers by their address and the number that they have given.
    seats: HashMap<(SocketAddr, u16), usize>,
    /// When peers want to be called. May have entries that hold no longer.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Peers that may have something to send.
    dirty: Vec<usize>,
    /// Datagrams that belong to no connection (any more).
    unsent: Vec<(SocketAddr, Bytes)>,
    /// Kept from one call to the next, so that they do not allocate.
    heard: Vec<Heard>,
    out: BytesMut,
    counts: Counts,
}

fn millis(now: Duration) -> u64 {
    now.as_millis() as u64
}

impl Enet {
    /// Somebody asks for a connection.
    fn asked(&mut self, now: u64, from: SocketAddr, datagram: &[u8]) {
        let read = Datagram::read(datagram, self.settings.options);
        let Some(connect) = read.as_ref().and_then(greeting::asks) else {
            self.counts.refused_total += 1;
            return;
        };
        let Self { greetings, places, peers, settings, out, .. } = self;
        let standing = |number| {
            let peer = peers.get(*places.get(&(from, number))?)?;
            Some(peer.connection.id())
        };
        match greetings.ask(now, from, connect, CHANNELS, standing) {
            Asked::Known(greeting) => {
                out.clear();
                if greeting.answer(now, datagram.len(), settings, out) {
                    self.unsent.push((from, out.split().freeze()));
                }
            }
            Asked::Stands => {}
            Asked::TooOften => self.counts.turned_away_total += 1,
        }
    }

    /// A datagram for a connection that does not stand yet.
    fn take_up(
        &mut self,
        now: u64,
        from: SocketAddr,
        number: u16,
        read: &Datagram,
        told: &mut Vec<Told>,
    ) -> Option<usize> {
        let greeting = self.greetings.get(from, number)?;
        self.out.clear();
        match greeting.take_up(now, read, self.settings) {
            TakenUp::Foreign => None,
            TakenUp::Unproved => {
                if greeting.answer_again(now, &self.settings, &mut self.out) {
                    self.unsent.push((from, self.out.split().freeze()));
                }
                None
            }
            TakenUp::Open(connection) => {
                let Ok(admission) = self.admissions.admit(from.ip()) else {
                    let code = u32::from(CloseCode::TooManyConnections.number());
                    greeting::refuse(greeting, code, &self.settings, &mut self.out);
                    self.unsent.push((from, self.out.split().freeze()));
                    self.greetings.remove(from, number);
                    self.counts.turned_away_total += 1;
                    return None;
                };
                self.greetings.remove(from, number);
                let session_ms = SESSION_MS.min(self.limits.handshake_ms);
                let peer = EnetPeer::new(*connection, from, number, admission, now + session_ms);
                Some(self.insert(peer, told))
            }
        }
    }

    /// A connection stands. One that the same place of the same client had before was left
    /// without a word: its program has ended and begun again.
    fn insert(&mut self, peer: EnetPeer, told: &mut Vec<Told>) -> usize {
        let seat = (peer.address, peer.connection.peer());
        let place = (peer.address, peer.number);
        if let Some(before) = self.seats.get(&seat).copied() {
            self.tell_loss(before, PeerLoss::Broken, told);
            self.remove(before);
        }
        let key = self.peers.insert(peer);
        self.places.insert(place, key);
        self.seats.insert(seat, key);
        key
    }

    /// What a connection has told.
    fn hear(&mut self, key: usize, commands_bytes: usize, told: &mut Vec<Told>) {
        let mut heard = std::mem::take(&mut self.heard);
        for heard in heard.drain(..) {
            let Some(peer) = self.peers.get_mut(key) else { break };
            match heard {
                Heard::Connected => {}
                Heard::Message { bytes, .. } => peer.hear(key, bytes, commands_bytes, told),
                Heard::Closed(how) => self.closed(key, how, told),
            }
        }
        self.heard = heard;
        if let Some(peer) = self.peers.get_mut(key)
            && peer.is_writable_again(WINDOW_BYTES)
        {
            told.push(Told::Writable { peer: Peer(key as u32) });
        }
    }

    fn closed(&mut self, key: usize, how: Closed, told: &mut Vec<Told>) {
        let loss = match how {
            Closed::Left(_) => {
                // Who only vanishes may come back; who takes leave of ENet is not waited for.
                if let Some(peer) = self.peers.get(key) {
                    peer.take_leave(key, told);
                }
                PeerLoss::Closed
            }
            Closed::Done => PeerLoss::Closed,
            Closed::TimedOut => PeerLoss::Broken,
            Closed::Garbled => return self.fault(key, CloseCode::Protocol, told),
            Closed::TooLarge => return self.fault(key, CloseCode::TooLarge, told),
        };
        self.tell_loss(key, loss, told);
    }

    /// The transport itself ends a peer.
    fn fault(&mut self, key: usize, code: CloseCode, told: &mut Vec<Told>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        self.out.clear();
        peer.connection.write_end(u32::from(code.number()), &mut self.out);
        self.unsent.push((peer.address, self.out.split().freeze()));
        self.tell_loss(key, PeerLoss::Ended(code), told);
        self.remove(key);
    }

    fn tell_loss(&mut self, key: usize, loss: PeerLoss, told: &mut Vec<Told>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Stage::Open(_) = std::mem::replace(&mut peer.stage, Stage::Over) {
            told.push(Told::Closed { peer: Peer(key as u32), loss });
        }
    }

    fn remove(&mut self, key: usize) {
        if let Some(peer) = self.peers.try_remove(key) {
            self.places.remove(&(peer.address, peer.number));
            let seat = (peer.address, peer.connection.peer());
            if self.seats.get(&seat) == Some(&key) {
                self.seats.remove(&seat);
            }
        }
    }

    fn mark(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.is_dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Notes when a peer wants to be called, if that is earlier than noted.
    fn schedule(&mut self, now: u64, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(due) = peer.due() else { return };
        let due = due.max(now + TICK_MS);
        if due < peer.noted_due {
            peer.noted_due = due;
            self.due.push(Reverse((due, key)));
        }
    }

    fn tick_peer(&mut self, now: u64, key: usize, told: &mut Vec<Told>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.noted_due = u64::MAX;
        if peer.is_late(now) {
            return self.fault(key, CloseCode::Silent, told);
        }
        peer.connection.tick(now, &mut self.heard);
        self.hear(key, 0, told);
        self.mark(key);
        self.schedule(now, key);
    }
}

impl Datagrams for Enet {
    fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8], told: &mut Vec<Told>) {
        let now = millis(now);
        let number = match Datagram::addressee(datagram) {
            Some(PEER_NONE) => return self.asked(now, from, datagram),
            Some(number) => number,
            None => {
                self.counts.refused_total += 1;
                return;
            }
        };
        let known = self.places.get(&(from, number)).copied();
        // What is for nobody is not even decompressed.
        let read = if known.is_some() || self.greetings.get(from, number).is_some() {
            Datagram::read(datagram, self.settings.options)
        } else {
            None
        };
        let Some(read) = read else {
            self.counts.refused_total += 1;
            return;
        };
        let key = match known {
            Some(key) => key,
            None => match self.take_up(now, from, number, &read, told) {
                Some(key) => key,
                None => return,
            },
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.connection.receive(now, &read, &mut self.heard);
        peer.show_life(key, now, told);
        self.mark(key);
        self.hear(key, read.commands.len(), told);
    }

    fn send(&mut self, _: Duration, peer: Peer, chunk: &Bytes, reliable: bool) -> bool {
        let key = peer.0 as usize;
        let Some(peer) = self.peers.get_mut(key) else { return true };
        if reliable && peer.connection.queued_bytes() >= WINDOW_BYTES {
            peer.is_blocked = true;
            return false;
        }
        peer.send(chunk, reliable);
        self.mark(key);
        true
    }

    fn hold(&mut self, _: Duration, peer: Peer, held: bool, told: &mut Vec<Told>) {
        let key = peer.0 as usize;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.is_held = held;
        peer.connection.hold(held, &mut self.heard);
        self.hear(key, 0, told);
    }

    fn trust(&mut self, peer: Peer) {
        let Some(peer) = self.peers.get_mut(peer.0 as usize) else { return };
        peer.session_until = None;
        peer.connection.set_message_bytes_max(self.limits.message_bytes);
    }

    fn close(&mut self, now: Duration, peer: Peer, code: CloseCode, _: &str) {
        let key = peer.0 as usize;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.stage = Stage::Over;
        peer.session_until = None;
        peer.connection.disconnect(millis(now), u32::from(code.number()));
        self.mark(key);
        self.schedule(millis(now), key);
    }

    fn due(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((due, _))| Duration::from_millis(*due))
    }

    fn tick(&mut self, now: Duration, told: &mut Vec<Told>) {
        let now = millis(now);
        while let Some(Reverse((due, key))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            if self.peers.get(key).is_some_and(|peer| peer.noted_due == due) {
                self.tick_peer(now, key, told);
            }
        }
    }

    fn transmit(&mut self, now: Duration, sink: &mut dyn FnMut(SocketAddr, &[u8])) {
        let now = millis(now);
        for (to, datagram) in self.unsent.drain(..) {
            sink(to, &datagram);
        }
        for key in std::mem::take(&mut self.dirty) {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            peer.is_dirty = false;
            self.out.clear();
            while peer.connection.transmit(now, &mut self.out) {
                sink(peer.address, &self.out);
                self.out.clear();
            }
            self.counts.repeated_total += peer.connection.take_repeated();
            if peer.connection.due().is_none() {
                self.remove(key);
            } else {
                self.schedule(now, key);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.unsent.is_empty()
            && self.dirty.is_empty()
            && self.peers.iter().all(|(_, peer)| peer.connection.is_settled())
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}
