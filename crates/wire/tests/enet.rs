//! Two ends of ENet over a link that loses, repeats and delays, in virtual time.

#![allow(clippy::unwrap_used)]

mod chances;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use chances::Chances;
use roomcast_wire::enet::greeting::{Chance, Greeting, TakenUp, asks};
use roomcast_wire::enet::{Closed, Connection, Datagram, Heard, Mode, Options, Settings};

fn settings(options: Options) -> Settings {
    Settings { options, message_bytes_max: 64 << 10, waiting_bytes_max: 128 << 10, ping_ms: 1000 }
}

fn per_cent(chances: &mut Chances, share: u64) -> bool {
    chances.next() % 100 < share
}

/// A link and what is at both of its ends.
struct World {
    now: u64,
    settings: Settings,
    chances: Chances,
    loss: u64,
    client: Connection,
    greeting: Option<Greeting>,
    server: Option<Connection>,
    /// What is on its way: when it arrives, and whether it goes to the server.
    flying: BTreeMap<(u64, u64), (bool, Bytes)>,
    numbers: u64,
    client_heard: Vec<Heard>,
    server_heard: Vec<Heard>,
    bytes_to_server: usize,
    /// Bytes a millisecond that the link to the client carries, and milliseconds that they wait for
    /// it at most; none: any number.
    narrow: Option<(u64, u64)>,
    /// When the last byte to the client has left.
    free_at: u64,
    bytes_to_client: usize,
}

impl World {
    fn new(seed: u64, loss: u64, options: Options) -> Self {
        let settings = settings(options);
        Self {
            now: 60_000,
            settings,
            chances: Chances(seed),
            loss,
            client: Connection::connect(60_000, settings, 2, *b"\x01\x02\x03\x04", 7),
            greeting: None,
            server: None,
            flying: BTreeMap::new(),
            numbers: 0,
            client_heard: Vec::new(),
            server_heard: Vec::new(),
            bytes_to_server: 0,
            narrow: None,
            free_at: 0,
            bytes_to_client: 0,
        }
    }

    fn fly(&mut self, to_server: bool, datagram: Bytes) {
        let mut left = self.now;
        if to_server {
            self.bytes_to_server += datagram.len();
        } else {
            self.bytes_to_client += datagram.len();
            if let Some((rate, queue)) = self.narrow {
                let begins = self.free_at.max(self.now);
                if begins - self.now > queue {
                    return;
                }
                self.free_at = begins + (datagram.len() as u64).div_ceil(rate);
                left = self.free_at;
            }
        }
        if per_cent(&mut self.chances, self.loss) {
            return;
        }
        let copies = if per_cent(&mut self.chances, self.loss) { 2 } else { 1 };
        for _ in 0..copies {
            let at = left + 20 + self.chances.next() % 15;
            self.numbers += 1;
            self.flying.insert((at, self.numbers), (to_server, datagram.clone()));
        }
    }

    fn send_all(&mut self) {
        let mut heard = std::mem::take(&mut self.client_heard);
        self.client.tick(self.now, &mut heard);
        loop {
            let mut out = BytesMut::new();
            if !self.client.transmit(self.now, &mut out) {
                break;
            }
            self.fly(true, out.freeze());
        }
        self.client_heard = heard;
        let mut heard = std::mem::take(&mut self.server_heard);
        if let Some(mut server) = self.server.take() {
            server.tick(self.now, &mut heard);
            loop {
                let mut out = BytesMut::new();
                if !server.transmit(self.now, &mut out) {
                    break;
                }
                self.fly(false, out.freeze());
            }
            self.server = Some(server);
        }
        self.server_heard = heard;
    }

    fn arrive_at_server(&mut self, bytes: &[u8]) {
        let Some(datagram) = Datagram::read(bytes, self.settings.options) else { return };
        if let Some(server) = &mut self.server {
            server.receive(self.now, &datagram, &mut self.server_heard);
            return;
        }
        let mut out = BytesMut::new();
        if let Some(connect) = asks(&datagram) {
            let chance = Chance { peer: 77, bits: self.chances.next() as u32 };
            let greeting = self.greeting.get_or_insert_with(|| Greeting::new(connect, chance, 2));
            greeting.answer(self.now, bytes.len(), &self.settings, &mut out);
        } else if let Some(greeting) = &mut self.greeting {
            match greeting.take_up(self.now, &datagram, self.settings) {
                TakenUp::Foreign => {}
                TakenUp::Unproved => {
                    greeting.answer_again(self.now, &self.settings, &mut out);
                }
                TakenUp::Open(mut connection) => {
                    connection.receive(self.now, &datagram, &mut self.server_heard);
                    self.server = Some(*connection);
                }
            }
        }
        if !out.is_empty() {
            self.fly(false, out.freeze());
        }
    }

    /// Lets time go on until `done` or for `most_ms`. Returns whether it was done.
    fn run(&mut self, most_ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + most_ms;
        loop {
            self.send_all();
            if done(self) {
                return true;
            }
            let dues = [
                self.client.due(),
                self.server.as_ref().and_then(Connection::due),
                self.flying.first_key_value().map(|(key, _)| key.0),
            ];
            let Some(next) = dues.into_iter().flatten().min() else { return done(self) };
            if next > until {
                self.now = until;
                return false;
            }
            self.now = next.max(self.now);
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (to_server, bytes) = entry.remove();
                if to_server {
                    self.arrive_at_server(&bytes);
                } else if let Some(datagram) = Datagram::read(&bytes, self.settings.options) {
                    self.client.receive(self.now, &datagram, &mut self.client_heard);
                }
            }
        }
    }

    fn messages(heard: &[Heard], of: u8) -> Vec<Bytes> {
        let messages = heard.iter().filter_map(|heard| match heard {
            Heard::Message { channel, bytes } if *channel == of => Some(bytes.clone()),
            _ => None,
        });
        messages.collect()
    }

    fn connect(&mut self) {
        let stands =
            |world: &Self| world.client_heard.contains(&Heard::Connected) && world.server.is_some();
        assert!(self.run(60_000, stands), "no connection");
    }
}

fn message(number: usize) -> Bytes {
    let length = [20, 300, 1400, 20_000, 3][number % 5];
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(length.max(8), number as u8);
    bytes.into()
}

const ALL_OPTIONS: [Options; 4] = [
    Options { checksum: false, compression: false },
    Options { checksum: true, compression: false },
    Options { checksum: false, compression: true },
    Options { checksum: true, compression: true },
];

#[test]
fn reliable_messages_arrive_once_and_in_order_over_a_bad_link() {
    for (seed, options) in (1..).zip(ALL_OPTIONS) {
        let mut world = World::new(seed, 20, options);
        world.connect();
        let sent: Vec<_> = (0..200).map(message).collect();
        for message in &sent {
            world.client.send(0, message.clone(), Mode::Reliable).unwrap();
            world.server.as_mut().unwrap().send(0, message.clone(), Mode::Reliable).unwrap();
        }
        let all_came = |world: &World| {
            World::messages(&world.client_heard, 0).len() >= 200
                && World::messages(&world.server_heard, 0).len() >= 200
        };
        assert!(world.run(600_000, all_came), "seed {seed}");
        assert_eq!(World::messages(&world.client_heard, 0), sent);
        assert_eq!(World::messages(&world.server_heard, 0), sent);
    }
}

#[test]
fn unreliable_messages_arrive_at_most_once_and_never_behind_a_later_one() {
    let mut world = World::new(5, 10, Options::default());
    world.connect();
    for number in 0..1000 {
        world.client.send(1, message(number), Mode::Unreliable).unwrap();
        world.run(10, |_| false);
    }
    world.run(2000, |_| false);
    let came = World::messages(&world.server_heard, 1);
    let numbers: Vec<_> =
        came.iter().map(|bytes| usize::from_be_bytes(bytes[..8].try_into().unwrap())).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(came.iter().zip(&numbers).all(|(bytes, number)| *bytes == message(*number)));
    assert!(came.len() > 400, "{}", came.len());
}

/// The server says something of both kinds 60 times a second. Returns how long each that came took,
/// in milliseconds, the reliable ones first.
fn speak(world: &mut World, seconds: u64) -> [Vec<u64>; 2] {
    let (times, mut waits) = (seconds * 60, [Vec::new(), Vec::new()]);
    world.client_heard.clear();
    for beat in 0..times + 180 {
        for (channel, mode) in [(0, Mode::Reliable), (1, Mode::Unreliable)] {
            let mut bytes = world.now.to_be_bytes().to_vec();
            bytes.resize(230, channel);
            if beat < times {
                world.server.as_mut().unwrap().send(channel, bytes.into(), mode).unwrap();
            }
        }
        for _ in 0..16 {
            world.run(1, |_| false);
            for heard in world.client_heard.drain(..) {
                let Heard::Message { channel, bytes } = heard else { panic!("{heard:?}") };
                let said = u64::from_be_bytes(bytes[..8].try_into().unwrap());
                waits[usize::from(channel)].push(world.now - said);
            }
        }
    }
    waits.iter_mut().for_each(|waits| waits.sort_unstable());
    waits
}

#[test]
fn jitter_and_loss_are_not_taken_for_a_full_link() {
    let mut world = World::new(21, 5, Options::default());
    world.connect();
    let [reliable, unreliable] = speak(&mut world, 60);
    let repeated = world.server.as_mut().unwrap().take_repeated();
    let p99 = reliable[reliable.len() * 99 / 100];
    assert_eq!(reliable.len(), 3600);
    // Of three round trips of 40 to 70 ms one finds the loss.
    assert!(p99 < 200, "{p99} ms");
    assert!(unreliable.len() > 3600 * 93 / 100, "{}", unreliable.len());
    // A lost acknowledgement repeats as well: 5 % there and 5 % back.
    assert!(repeated < 3600 * 15 / 100, "{repeated}");
}

#[test]
fn a_link_that_was_very_bad_is_soon_as_good_as_before() {
    let mut world = World::new(22, 5, Options::default());
    world.connect();
    speak(&mut world, 10);
    world.server.as_mut().unwrap().take_repeated();
    world.loss = 20;
    let [reliable, unreliable] = speak(&mut world, 10);
    let repeated = world.server.as_mut().unwrap().take_repeated();
    assert_eq!(reliable.len(), 600);
    assert!(reliable[599] < 3000, "{}", reliable[599]);
    assert!(unreliable.len() > 600 * 70 / 100, "{}", unreliable.len());
    assert!(repeated < 600, "{repeated}");
    world.loss = 5;
    let [reliable, _] = speak(&mut world, 10);
    assert!(reliable[reliable.len() * 99 / 100] < 250, "{reliable:?}");
}

#[test]
fn a_narrow_link_is_filled_and_not_flooded() {
    let mut world = World::new(23, 0, Options::default());
    world.connect();
    // 400 kbit/s with a queue of 200 ms.
    world.narrow = Some((50, 200));
    let before = world.bytes_to_client;
    let start = world.now;
    for number in 0..50_u8 {
        let bytes = Bytes::from(vec![number; 20_000]);
        world.server.as_mut().unwrap().send(0, bytes, Mode::Reliable).unwrap();
    }
    assert!(world.run(60_000, |world| World::messages(&world.client_heard, 0).len() == 50));
    let (took, went) = (world.now - start, world.bytes_to_client - before);
    assert!(took < 26_000, "{took}");
    assert!(went < 1_500_000, "{went}");
}

#[test]
fn numbers_wrap() {
    let mut world = World::new(6, 1, Options::default());
    world.connect();
    // More than twice the 65,536 numbers of the wire, reliable and unreliable.
    for round in 0..1400_u32 {
        for number in 0..100_u32 {
            let bytes = Bytes::copy_from_slice(&(round * 100 + number).to_be_bytes());
            let server = world.server.as_mut().unwrap();
            server.send(0, bytes.clone(), Mode::Reliable).unwrap();
            server.send(1, bytes.clone(), Mode::Unreliable).unwrap();
            server.send(0, bytes, Mode::Unsequenced).unwrap();
        }
        let mut settled =
            |world: &World| world.server.as_ref().is_some_and(|server| server.queued_bytes() == 0);
        assert!(world.run(60_000, &mut settled), "round {round}");
    }
    world.run(2000, |_| false);
    let loose = World::messages(&world.client_heard, 1);
    assert!(loose.len() > 20_000, "{}", loose.len());
    assert!(loose.windows(2).all(|pair| pair[0] < pair[1]));
    let all = World::messages(&world.client_heard, 0);
    // Reliable ones and unsequenced ones, the former all.
    let mut seen = BTreeMap::new();
    for bytes in &all {
        *seen.entry(u32::from_be_bytes(bytes[..].try_into().unwrap())).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 140_000);
    assert!(seen.values().all(|times| *times <= 2));
}

#[test]
fn who_leaves_is_heard_and_what_was_said_before_arrives() {
    let mut world = World::new(7, 20, Options::default());
    world.connect();
    world.server.as_mut().unwrap().send(0, message(3), Mode::Reliable).unwrap();
    world.server.as_mut().unwrap().disconnect(world.now, 4802);
    let closed = |heard: &[Heard], how| heard.contains(&Heard::Closed(how));
    assert!(world.run(10_000, |world| closed(&world.client_heard, Closed::Left(4802))));
    assert_eq!(World::messages(&world.client_heard, 0), [message(3)]);
    assert!(world.run(10_000, |world| closed(&world.server_heard, Closed::Done)));
    assert_eq!(world.client.due(), None);
    assert_eq!(world.server.unwrap().due(), None);
}

#[test]
fn a_silent_end_is_given_up_in_time_and_asked_less_and_less() {
    let mut world = World::new(8, 0, Options::default());
    world.connect();
    world.server = None;
    world.greeting = None;
    let before = world.bytes_to_server;
    let start = world.now;
    let gone = |world: &World| world.client_heard.contains(&Heard::Closed(Closed::TimedOut));
    assert!(world.run(40_000, gone));
    assert!((5000..=33_000).contains(&(world.now - start)), "{}", world.now - start);
    assert!(world.bytes_to_server - before < 200);
}

#[test]
fn the_answer_to_a_stranger_is_never_larger_than_what_came() {
    for options in ALL_OPTIONS {
        let mut world = World::new(9, 0, options);
        let mut out = BytesMut::new();
        assert!(world.client.transmit(world.now, &mut out));
        let datagram = Datagram::read(&out, options).unwrap();
        let connect = asks(&datagram).unwrap();
        let chance = Chance { peer: 4094, bits: 0xdead_beef };
        let mut greeting = Greeting::new(connect, chance, 2);
        let (mut came, mut went) = (0, 0);
        for _ in 0..100 {
            came += out.len();
            let mut answer = BytesMut::new();
            greeting.answer(world.now, out.len(), &settings(options), &mut answer);
            went += answer.len();
            assert!(went <= came, "{options:?}: {went} for {came}");
        }
        assert!(went > came / 2, "{options:?}: {went} for {came}");
    }
}

#[test]
fn hostile_datagrams_end_their_own_connection_at_most() {
    for (seed, options) in (10..).zip(ALL_OPTIONS) {
        let mut world = World::new(seed, 0, options);
        world.connect();
        // What an honest client says is the seed of what a hostile one does.
        let mut honest = Vec::new();
        for number in 0..40 {
            let mode = [Mode::Reliable, Mode::Unreliable, Mode::Unsequenced][number % 3];
            world.client.send((number % 2) as u8, message(number), mode).unwrap();
            let mut out = BytesMut::new();
            while world.client.transmit(world.now, &mut out) {
                honest.push(out.split().freeze());
            }
        }
        let mut closed = 0;
        let mut server = world.server.take().unwrap();
        for round in 0..50_000 {
            let pick = world.chances.next() as usize % honest.len();
            let mut bytes = honest[pick].to_vec();
            for _ in 0..=world.chances.next() % 6 {
                let at = 2 + world.chances.next() as usize % 60;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = world.chances.next() as u8;
                }
            }
            if per_cent(&mut world.chances, 10) {
                bytes.truncate(world.chances.next() as usize % bytes.len());
            }
            let mut heard = Vec::new();
            if let Some(datagram) = Datagram::read(&bytes, options) {
                server.receive(world.now, &datagram, &mut heard);
            }
            let mut out = BytesMut::new();
            while server.transmit(world.now, &mut out) {}
            if heard.iter().any(|heard| matches!(heard, Heard::Closed(_))) {
                closed += 1;
                server = reopened(&mut world, options);
            }
            if round % 100 == 0 {
                world.now += 1;
            }
        }
        assert!(closed > 0 || options.checksum, "{options:?}");
    }
}

/// Another connection, as the last one was ended by what came.
fn reopened(world: &mut World, options: Options) -> Connection {
    let mut fresh = World::new(world.chances.next(), 0, options);
    fresh.connect();
    fresh.server.take().unwrap()
}
