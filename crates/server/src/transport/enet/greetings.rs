//! Connections that were asked for and not yet taken up. Anybody can ask in the name of any
//! address, so all of them together are bounded, and the newest push out the oldest: who asks in
//! earnest answers within a round trip, or asks again.
//!
//! There is no bound for how often all together may ask: that would be a means to keep everybody
//! out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};

use roomcast_wire::enet::greeting::{Chance, Greeting};
use roomcast_wire::enet::{Connect, PEER_NONE};

/// Kept at a time, at most: 13 MB with the tables around them (a few more, and the hash table
/// doubles when it tidies up). 100,000 forged questions a second leave each 0.28 s.
const GREETINGS_MAX: usize = 28_000;

/// Kept for so long, in milliseconds.
const KEPT_MS: u64 = 10_000;

/// Networks (IPv4 /24, IPv6 /64) share so many counters.
const COUNTERS: usize = 4096;
/// Questions of one network: so often, in a row and on average.
const BURST: u64 = 1024;
const PER_SECOND: u64 = 512;

/// Numbers tried for one question. Others at the same address, and whoever asks in its name, may
/// have some.
const TRIES: u16 = 8;

/// The table.
pub(super) struct Greetings {
    table: HashMap<(SocketAddr, u16), Kept>,
    /// From the oldest on. May have entries that hold no longer.
    order: VecDeque<(SocketAddr, u16, u64)>,
    /// When each counter is at zero again, in microseconds.
    counters: Box<[u64; COUNTERS]>,
    chances: RandomState,
    serial: u64,
}

struct Kept {
    greeting: Greeting,
    serial: u64,
    at: u64,
}

/// What follows from a question.
pub(super) enum Asked<'a> {
    /// It is to be answered.
    Known(&'a mut Greeting),
    /// The connection stands, and the question came late.
    Stands,
    /// Its network asks too often, or its address has no number left.
    TooOften,
}

impl Greetings {
    pub(super) fn new() -> Self {
        Self {
            table: HashMap::new(),
            order: VecDeque::new(),
            counters: Box::new([0; COUNTERS]),
            chances: RandomState::new(),
            serial: 0,
        }
    }

    /// Somebody asks for a connection. `standing` tells what the connection with a number at the
    /// same address was asked for with, if there is one.
    pub(super) fn ask(
        &mut self,
        now: u64,
        from: SocketAddr,
        connect: Connect,
        channels: u8,
        standing: impl Fn(u16) -> Option<[u8; 4]>,
    ) -> Asked<'_> {
        if !self.may_ask(now, from.ip()) {
            return Asked::TooOften;
        }
        self.drop_old(now);
        // The same question finds its number again.
        let first = self.chances.hash_one((from, connect.terms.id)) as u16;
        let mut chosen = None;
        for number in (0..TRIES).map(|at| first.wrapping_add(at) % PEER_NONE) {
            if let Some(id) = standing(number) {
                if id == connect.terms.id {
                    return Asked::Stands;
                }
                continue;
            }
            match self.table.get(&(from, number)) {
                Some(kept) if !kept.greeting.is_for(&connect) => {}
                _ => {
                    chosen = Some(number);
                    break;
                }
            }
        }
        let Some(number) = chosen else { return Asked::TooOften };
        self.serial += 1;
        let serial = self.serial;
        // Nobody can guess the hash of a key that is drawn when the socket is opened.
        let bits = self.chances.hash_one((from, serial)) as u32;
        let kept = match self.table.entry((from, number)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back((from, number, serial));
                let chance = Chance { peer: number, bits };
                let greeting = Greeting::new(connect, chance, channels);
                entry.insert(Kept { greeting, serial, at: now })
            }
        };
        Asked::Known(&mut kept.greeting)
    }

    pub(super) fn get(&mut self, from: SocketAddr, number: u16) -> Option<&mut Greeting> {
        self.table.get_mut(&(from, number)).map(|kept| &mut kept.greeting)
    }

    pub(super) fn remove(&mut self, from: SocketAddr, number: u16) {
        self.table.remove(&(from, number));
    }

    fn drop_old(&mut self, now: u64) {
        while let Some((from, number, serial)) = self.order.front().copied() {
            let kept = self.table.get(&(from, number)).filter(|kept| kept.serial == serial);
            let is_old = kept.is_some_and(|kept| now.saturating_sub(kept.at) >= KEPT_MS);
            if kept.is_some() && !is_old && self.order.len() < GREETINGS_MAX {
                break;
            }
            if kept.is_some() {
                self.table.remove(&(from, number));
            }
            self.order.pop_front();
        }
        // What a flood needed is given back.
        if self.table.capacity() > 1024 + 8 * self.table.len() {
            self.table.shrink_to(2 * self.table.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Counts one question of a network.
    fn may_ask(&mut self, now: u64, from: IpAddr) -> bool {
        let network = match from.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let at = self.chances.hash_one(network) as usize % COUNTERS;
        let Some(zero_at) = self.counters.get_mut(at) else { return false };
        let now = now.saturating_mul(1000);
        let cost = 1_000_000 / PER_SECOND;
        let then = (*zero_at).max(now) + cost;
        if then - now > BURST * cost {
            return false;
        }
        *zero_at = then;
        true
    }
}
