//! Two ends, the way between them, and one time. Nothing waits: a step goes to the next moment at
//! which something happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Role, Session, Terms};

pub const MS: Duration = Duration::from_millis(1);
pub const ID: u64 = 0x0123_4567_89ab_cdef;
pub const KEY: Key = Key::new(*b"sixteen bytes ok");

pub fn client_address() -> SocketAddr {
    "192.0.2.1:1000".parse().unwrap()
}

pub fn server_address() -> SocketAddr {
    "192.0.2.2:7402".parse().unwrap()
}

pub fn terms(role: Role) -> Terms {
    Terms {
        role,
        message_bytes_max: 64 << 10,
        ping: 15_000 * MS,
        silence: 35_000 * MS,
        secret: Key::new([role as u8; 16]),
    }
}

/// What the way does to datagrams. Shares are of 1,000.
#[derive(Clone, Copy, Default)]
pub struct Way {
    pub delay: Duration,
    pub jitter: Duration,
    pub lost: u64,
    pub doubled: u64,
    /// Bytes a second in each direction, with half a second of them in the queue at most; 0: any.
    pub rate: u64,
}

/// One end.
pub struct End {
    pub session: Session,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    /// Datagrams that it has sent, lost ones included, and their bytes.
    pub sent: u64,
}

pub struct Pair {
    pub now: Duration,
    pub client: End,
    pub server: End,
    pub way: Way,
    /// On their way: to whom, from where, what.
    flying: BTreeMap<(Duration, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    /// Until when the way is full, from the client and from the server.
    busy: [Duration; 2],
    count: u64,
    random: u64,
    /// Everything that was ever sent.
    pub log: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Pair {
    pub fn new(way: Way, seed: u64) -> Self {
        let end = |role, address, peer| End {
            session: Session::new(ID, KEY, terms(role), peer, Duration::ZERO),
            address,
            events: Vec::new(),
            sent: 0,
        };
        Self {
            now: Duration::ZERO,
            client: end(Role::Client, client_address(), server_address()),
            server: end(Role::Server, server_address(), client_address()),
            way,
            flying: BTreeMap::new(),
            busy: [Duration::ZERO; 2],
            count: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            log: Vec::new(),
        }
    }

    pub fn random(&mut self) -> u64 {
        // xorshift64*.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Both send what they have.
    pub fn transmit(&mut self) {
        let mut out = Vec::new();
        for end in [&mut self.client, &mut self.server] {
            let from = end.address;
            let mut sink = |to: SocketAddr, datagram: &[u8]| {
                assert!(datagram.len() <= roomcast_wire::udp::DATAGRAM_BYTES_MAX);
                out.push((to, from, datagram.to_vec()));
            };
            end.session.transmit(self.now, &mut Vec::new(), &mut sink);
        }
        for (to, from, datagram) in out {
            match from == self.server.address {
                true => self.server.sent += 1,
                false => self.client.sent += 1,
            }
            self.log.push((to, from, datagram.clone()));
            let Some(left) = self.pass(from == self.server.address, datagram.len()) else {
                continue;
            };
            let copies = match self.random() % 1_000 {
                lost if lost < self.way.lost => 0,
                other if other < self.way.lost + self.way.doubled => 2,
                _ => 1,
            };
            for _ in 0..copies {
                let jitter = self.way.jitter.as_micros() as u64;
                let jitter = Duration::from_micros(self.random() % (jitter + 1));
                let at = left + self.way.delay + jitter;
                self.count += 1;
                self.flying.insert((at, self.count), (to, from, datagram.clone()));
            }
        }
    }

    /// When a datagram has passed the narrowest place, if it finds room in the queue there.
    fn pass(&mut self, from_server: bool, bytes: usize) -> Option<Duration> {
        if self.way.rate == 0 {
            return Some(self.now);
        }
        let busy = &mut self.busy[usize::from(from_server)];
        let begin = self.now.max(*busy);
        if begin - self.now > 500 * MS {
            return None;
        }
        *busy = begin + Duration::from_micros(bytes as u64 * 1_000_000 / self.way.rate);
        Some(*busy)
    }

    /// Goes to the next moment, not beyond `until`. `false`: nothing happens before that.
    pub fn step(&mut self, until: Duration) -> bool {
        self.transmit();
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let due = [&self.client, &self.server].map(|end| end.session.due());
        let next = due.into_iter().flatten().chain(arrival).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let (to, from, datagram) = entry.remove();
            let ends = [&mut self.client, &mut self.server];
            if let Some(end) = ends.into_iter().find(|end| end.address == to) {
                _ = end.session.receive(self.now, from, &datagram, &mut end.events);
            }
        }
        for end in [&mut self.client, &mut self.server] {
            if end.session.due().is_some_and(|due| due <= self.now) {
                end.session.tick(self.now, &mut end.events);
            }
        }
        true
    }

    pub fn run_until(&mut self, until: Duration) {
        while self.step(until) {}
        self.transmit();
    }
}

impl End {
    /// The messages that came since this was last asked.
    pub fn take_messages(&mut self) -> Vec<Bytes> {
        let events = self.events.drain(..);
        let messages = events.filter_map(|event| match event {
            Event::Message(bytes) => Some(bytes),
            _ => None,
        });
        messages.collect()
    }
}
