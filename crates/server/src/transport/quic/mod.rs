//! QUIC (RFC 9000) and WebTransport on one UDP socket. ALPN tells them apart.
//!
//! Of our own protocols a connection has one stream with the messages of the dialect, and
//! datagrams (RFC 9221) of one message each beside it; a WebTransport session has the same within
//! HTTP/3. QUIC itself is `quinn-proto`, a state machine as this file is: there is no hop to
//! another thread, and what one turn has for one peer shares datagrams.

mod connection;
mod flow;
mod settings;
#[cfg(test)]
mod tests;
mod webtransport;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{ConnectionHandle, DatagramEvent, Endpoint, Incoming, Transmit};
use roomcast_wire::CloseCode;
use roomcast_wire::ws::handshake::SitePolicy;

use self::connection::{Conn, Counted, Sent, Stage};
use super::datagrams::{Counts, Datagrams, Peer, PeerLoss, Port, Told};
use crate::acceptor::admission::Admissions;
use crate::config::LargeUnreliable;

/// Connections whose handshake is not done. Each has shown that it receives at its address, or
/// comes from this machine, and keeps some 20 KiB.
const HALF_OPEN_MAX: usize = 4_096;

/// From so many on, clients of this machine are asked to show that they receive, too.
const RETRY_ABOVE: usize = 256;

/// Answers that belong to no connection and wait to be sent. More are dropped: they are repeated
/// by those who wait for them.
const ANSWERS_MAX: usize = 1_024;

/// Datagrams of one connection that are made together.
const TOGETHER: usize = 16;

pub(super) fn open(port: Port) -> io::Result<Box<dyn Datagrams>> {
    Ok(Box::new(Quic::new(port)?))
}

/// What holds for all connections of a port.
struct Bounds {
    policy: SitePolicy,
    handshake: Duration,
    first_message: Duration,
    message_bytes: usize,
    message_bytes_unknown_peer: usize,
}

struct Quic {
    endpoint: Endpoint,
    /// By the number that the endpoint gave them.
    conns: Vec<Option<Box<Conn>>>,
    admissions: Arc<Admissions>,
    bounds: Bounds,
    /// Whether unreliable messages above the size of a datagram are dropped.
    large_drops: bool,
    /// What the times of this port are counted from.
    origin: Instant,
    half_open: usize,
    /// Connections with messages, or on their way to the end.
    busy: usize,
    /// When each connection wants to be looked at.
    deadlines: BTreeSet<(Instant, u32)>,
    /// Connections that may have something to send.
    dirty: Vec<u32>,
    /// Connections that have more to tell.
    ready: Vec<u32>,
    /// What is to be sent beside connections.
    answers: VecDeque<(SocketAddr, Bytes)>,
    buffer: Vec<u8>,
    counts: Counts,
}

impl Datagrams for Quic {
    fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8], told: &mut Vec<Told>) {
        let at = self.origin + now;
        self.buffer.clear();
        let data = BytesMut::from(datagram);
        match self.endpoint.handle(at, from, None, None, data, &mut self.buffer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let Some(conn) = conn(&mut self.conns, handle.0) else { return };
                conn.quic.handle_event(event);
                self.service(handle.0, at, told);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.come(at, incoming, told),
            Some(DatagramEvent::Response(transmit)) => {
                self.counts.refused_total += 1;
                self.answer(&transmit);
            }
            None => self.counts.refused_total += 1,
        }
    }

    fn send(&mut self, _: Duration, peer: Peer, chunk: &Bytes, reliable: bool) -> bool {
        let Some(conn) = conn(&mut self.conns, peer.0 as usize) else { return true };
        let sent = conn.send(chunk, reliable, self.large_drops);
        mark(&mut conn.dirty, peer.0, &mut self.dirty);
        self.counts.too_large_total += u64::from(sent == Sent::Dropped);
        sent != Sent::Full
    }

    fn hold(&mut self, now: Duration, peer: Peer, held: bool, told: &mut Vec<Told>) {
        let Some(conn) = conn(&mut self.conns, peer.0 as usize) else { return };
        let at = self.origin + now;
        conn.hold(at, held, told);
        self.service(peer.0 as usize, at, told);
    }

    fn trust(&mut self, peer: Peer) {
        if let Some(conn) = conn(&mut self.conns, peer.0 as usize) {
            conn.trust(self.bounds.message_bytes);
        }
    }

    fn close(&mut self, now: Duration, peer: Peer, code: CloseCode, _: &str) {
        let Some(conn) = conn(&mut self.conns, peer.0 as usize) else { return };
        let at = self.origin + now;
        conn.close(at, code);
        let mut nothing = Vec::new();
        self.service(peer.0 as usize, at, &mut nothing);
    }

    fn due(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let (at, _) = self.deadlines.first()?;
        Some(at.saturating_duration_since(self.origin))
    }

    fn tick(&mut self, now: Duration, told: &mut Vec<Told>) {
        let at = self.origin + now;
        for key in std::mem::take(&mut self.ready) {
            if let Some(conn) = conn(&mut self.conns, key as usize) {
                conn.ready = false;
                self.service(key as usize, at, told);
            }
        }
        while let Some((due, key)) = self.deadlines.first().copied().filter(|(due, _)| *due <= at) {
            self.deadlines.remove(&(due, key));
            let Some(conn) = conn(&mut self.conns, key as usize) else { continue };
            conn.listed = None;
            if conn.until.is_some_and(|until| until <= at) {
                conn.give_up(at);
            }
            conn.quic.handle_timeout(at);
            let lost = conn.quic.stats().path.lost_packets;
            self.counts.repeated_total += lost.saturating_sub(conn.lost_packets);
            conn.lost_packets = lost;
            self.service(key as usize, at, told);
        }
    }

    fn transmit(&mut self, now: Duration, sink: &mut dyn FnMut(SocketAddr, &[u8])) {
        let at = self.origin + now;
        for (to, answer) in self.answers.drain(..) {
            sink(to, &answer);
        }
        for key in std::mem::take(&mut self.dirty) {
            let Some(conn) = conn(&mut self.conns, key as usize) else { continue };
            conn.dirty = false;
            loop {
                self.buffer.clear();
                let made = conn.quic.poll_transmit(at, TOGETHER, &mut self.buffer);
                let Some(Transmit { destination, size, segment_size, .. }) = made else { break };
                let made = self.buffer.get(..size).unwrap_or_default();
                for datagram in made.chunks(segment_size.unwrap_or(size).max(1)) {
                    sink(destination, datagram);
                }
            }
            while let Some(event) = conn.quic.poll() {
                conn.events.push_back(event);
            }
            if !conn.events.is_empty() {
                mark(&mut conn.ready, key, &mut self.ready);
            }
            list(conn, key, &mut self.deadlines);
        }
    }

    fn is_idle(&self) -> bool {
        self.busy == 0 && self.dirty.is_empty()
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}

impl Quic {
    fn new(port: Port) -> io::Result<Self> {
        let server = settings::server(port.tls.as_deref(), &port.limits)?;
        let endpoint = settings::endpoint();
        // A datagram that is too large for the path is split by the system, not dropped: so no
        // larger ones than every path takes (1,200 bytes) are tried.
        let endpoint = Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), false, None);
        let bounds = Bounds {
            policy: port.site.policy.clone(),
            handshake: Duration::from_millis(port.limits.handshake_ms),
            first_message: Duration::from_millis(port.limits.first_message_ms),
            message_bytes: port.limits.message_bytes,
            message_bytes_unknown_peer: port.limits.message_bytes_unknown_peer,
        };
        Ok(Self {
            endpoint,
            conns: Vec::new(),
            admissions: port.admissions,
            bounds,
            large_drops: port.quic.large_unreliable == LargeUnreliable::Drop,
            origin: Instant::now(),
            half_open: 0,
            busy: 0,
            deadlines: BTreeSet::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            answers: VecDeque::new(),
            buffer: Vec::new(),
            counts: Counts::default(),
        })
    }

    /// Somebody wants to connect.
    fn come(&mut self, at: Instant, incoming: Incoming, told: &mut Vec<Told>) {
        let from = incoming.remote_address();
        let near = from.ip().to_canonical().is_loopback();
        // QUIC itself lets a server send three times what came before it knows that the address
        // is no lie; a retry is shorter than what it answers (threat S41), and nothing is kept.
        let is_known = incoming.remote_address_validated();
        if !is_known && incoming.may_retry() && (!near || self.half_open >= RETRY_ABOVE) {
            if let Ok(transmit) = self.endpoint.retry(incoming, &mut self.buffer) {
                self.answer(&transmit);
            }
            return;
        }
        let admitted = match self.half_open {
            HALF_OPEN_MAX.. => None,
            _ => self.admissions.admit(from.ip()).ok(),
        };
        let Some(admission) = admitted else {
            self.counts.turned_away_total += 1;
            let transmit = self.endpoint.refuse(incoming, &mut self.buffer);
            return self.answer(&transmit);
        };
        match self.endpoint.accept(incoming, at, &mut self.buffer, None) {
            Ok((ConnectionHandle(key), quic)) => {
                let until = at + self.bounds.handshake;
                // The endpoint numbers what it has: fewer connections than may be let in.
                let conn = Conn::new(quic, Peer(key as u32), until, admission);
                if self.conns.len() <= key {
                    self.conns.resize_with(key + 1, || None);
                }
                if let Some(place) = self.conns.get_mut(key) {
                    *place = Some(Box::new(conn));
                }
                self.service(key, at, told);
            }
            Err(error) => {
                self.counts.refused_total += 1;
                if let Some(transmit) = error.response {
                    self.answer(&transmit);
                }
            }
        }
    }

    /// Goes on with one connection after something has happened to it.
    fn service(&mut self, key: usize, at: Instant, told: &mut Vec<Told>) {
        let Some(conn) = conn(&mut self.conns, key) else { return };
        let mut drained = false;
        conn.run(at, &self.bounds, told);
        while let Some(event) = conn.quic.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(key), event) {
                conn.quic.handle_event(event);
                conn.run(at, &self.bounds, told);
            }
        }
        let counted = conn.counted;
        conn.counted = match drained {
            true => Counted::default(),
            false => Counted {
                half_open: conn.stage == Stage::Handshake,
                busy: matches!(conn.stage, Stage::Open | Stage::Closing(_)),
            },
        };
        count(&mut self.half_open, counted.half_open, conn.counted.half_open);
        count(&mut self.busy, counted.busy, conn.counted.busy);
        if drained {
            return self.forget(key);
        }
        mark(&mut conn.dirty, key as u32, &mut self.dirty);
        if conn.more {
            mark(&mut conn.ready, key as u32, &mut self.ready);
        }
        list(conn, key as u32, &mut self.deadlines);
    }

    fn forget(&mut self, key: usize) {
        let gone = self.conns.get_mut(key).and_then(Option::take);
        if let Some(due) = gone.and_then(|conn| conn.listed) {
            self.deadlines.remove(&(due, key as u32));
        }
        while self.conns.last().is_some_and(Option::is_none) {
            self.conns.pop();
        }
        if self.conns.capacity() > 4 * self.conns.len() + 1_024 {
            self.conns.shrink_to(2 * self.conns.len());
        }
    }

    /// Sends what belongs to no connection; it stands in the buffer.
    fn answer(&mut self, transmit: &Transmit) {
        if self.answers.len() < ANSWERS_MAX {
            let answer = self.buffer.get(..transmit.size).unwrap_or_default();
            self.answers.push_back((transmit.destination, Bytes::copy_from_slice(answer)));
        }
    }
}

fn conn(conns: &mut [Option<Box<Conn>>], key: usize) -> Option<&mut Conn> {
    conns.get_mut(key)?.as_deref_mut()
}

fn mark(flag: &mut bool, key: u32, list: &mut Vec<u32>) {
    if !std::mem::replace(flag, true) {
        list.push(key);
    }
}

fn count(total: &mut usize, before: bool, after: bool) {
    *total = *total + usize::from(after) - usize::from(before);
}

/// Notes when a connection wants to be looked at next.
fn list(conn: &mut Conn, key: u32, deadlines: &mut BTreeSet<(Instant, u32)>) {
    let next = match (conn.quic.poll_timeout(), conn.until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if next == conn.listed {
        return;
    }
    if let Some(before) = conn.listed {
        deadlines.remove(&(before, key));
    }
    deadlines.extend(next.map(|next| (next, key)));
    conn.listed = next;
}
