//! One step of a schedule: somebody does something, or something goes wrong.

use std::borrow::Cow;

use bytes::Bytes;
use roomcast_core::{Act, ServerCall};
use roomcast_wire::{Codec, Command, EventName, Payload, RoomPath, Target};

use super::Sim;
use crate::oracle::{Addressee, Asked, Said};

/// How long a drained server still runs at most, in milliseconds.
const DRAIN_MS: u64 = 1_000;

impl Sim {
    pub(super) fn act(&mut self) {
        self.mend_due();
        if self.fault() {
            return;
        }
        let ready: Vec<_> = (0..self.players.len()).filter(|&at| self.players[at].ready).collect();
        let Some(at) = self.chance.pick(&ready) else { return };
        let burst = if self.chance.percent(10) { self.chance.between(2, 12) } else { 1 };
        match self.chance.up_to(99) {
            0..55 => (0..burst).for_each(|_| self.publish(at)),
            55..70 => {
                let room = self.any_room();
                let with_since = self.chance.percent(40);
                self.join(at, &room, with_since);
            }
            70..75 => self.leave(at),
            75..84 => self.look(at),
            84..90 => self.send_message(at),
            90..93 => self.create(at),
            93..95 => self.ask(at, Command::Ping, Asked::Ping),
            95..96 => self.bye(at),
            96..98 => self.admin(at),
            _ => self.server_call(),
        }
    }

    fn any_room(&mut self) -> String {
        let rooms = self.plan.rooms();
        let at = self.chance.index(rooms.len());
        rooms.get(at).cloned().unwrap_or_default()
    }

    /// Mostly a room the player is in.
    fn some_room(&mut self, at: usize) -> String {
        let seats = self.players[at].session.map(|session| self.oracle.seats(session));
        let seats = seats.unwrap_or_default();
        match self.chance.percent(92) && !seats.is_empty() {
            true => seats[self.chance.index(seats.len())].0.clone(),
            false => self.any_room(),
        }
    }

    pub(super) fn publish(&mut self, at: usize) {
        if !self.players[at].keyed.is_empty() && self.chance.percent(15) {
            return self.publish_again(at);
        }
        let room = self.some_room(at);
        let options = self.plan.options(&room);
        let echo = self.chance.percent(20).then(|| self.chance.percent(50));
        let key = self.chance.percent(15).then(|| format!("k{}", self.chance.number()));
        let event = match self.chance.up_to(4) {
            0 => EventName::Number(7 << 16 | 1),
            _ => EventName::text("chat").unwrap_or(EventName::Number(1)),
        };
        let said = Said::new(
            (room, self.players[at].session),
            (event, self.chance.percent(85)),
            echo.unwrap_or(options.echo),
            key,
            self.world.now(),
        );
        let keyed = said.key.is_some();
        let number = self.oracle.say(said);
        if keyed {
            self.players[at].keyed.push(number);
        }
        let without_number = !keyed && self.chance.percent(15);
        self.say(at, number, !without_number);
    }

    fn publish_again(&mut self, at: usize) {
        let which = self.chance.index(self.players[at].keyed.len());
        let number = self.players[at].keyed[which];
        let said = self.oracle.say_again(number);
        if said.session == self.players[at].session {
            self.say(at, number, true);
        }
    }

    pub(super) fn say(&mut self, at: usize, number: usize, with_number: bool) {
        let said = self.oracle.said(number);
        let padding = "x".repeat(self.chance.pick(&[0, 20, 700, 700]).unwrap_or(0));
        let json = format!("{{\"n\":{number},\"pad\":\"{padding}\"}}");
        let data = Payload::new(Codec::Json, Bytes::from(json)).ok();
        let Ok(room) = RoomPath::parse(full(&said.room)) else { return };
        let key = said.key.clone().map(Cow::Owned);
        let (event, reliable) = (said.event.clone(), said.reliable);
        let echo = Some(said.echo);
        let command = Command::Publish { room, event, data, reliable, key, echo };
        if !with_number {
            self.oracle.unnumbered(self.players[at].wire);
            self.note(|| format!("p{at} > publish {number} without a number"));
            return self.put(at, None, command);
        }
        let seated = self.players[at]
            .session
            .is_some_and(|session| self.oracle.seats(session).iter().any(|(r, _)| *r == said.room));
        self.ask(at, command, Asked::Publish { said: number, seated });
    }

    fn leave(&mut self, at: usize) {
        let text = self.some_room(at);
        if let Ok(room) = RoomPath::parse(full(&text)) {
            self.ask(at, Command::Leave { room, data: None }, Asked::Leave { room: text });
        }
    }

    fn look(&mut self, at: usize) {
        let text = self.some_room(at);
        let Ok(room) = RoomPath::parse(full(&text)) else { return };
        match self.chance.up_to(3) {
            0 => self.ask(at, Command::Members { room }, Asked::Members { room: text }),
            1 => self.ask(at, Command::Presence { room }, Asked::Presence { room: text }),
            2 => {
                let seats = self.players[at].session.map(|session| self.oracle.seats(session));
                let seat = seats.into_iter().flatten().find(|(seat, _)| *seat == text);
                let since = seat.and_then(|(_, position)| position);
                let asked = Asked::History { room: text, since };
                self.ask(at, Command::History { room, since, limit: Some(50) }, asked);
            }
            _ => {
                let namespace = self.players[at].namespace.to_owned();
                self.ask(at, Command::Rooms { namespace: None }, Asked::Rooms { namespace });
            }
        }
    }

    fn send_message(&mut self, at: usize) {
        let Some(from) = self.players[at].session else { return };
        let sessions: Vec<_> = self.players.iter().filter_map(|player| player.session).collect();
        let Some(session) = self.chance.pick(&sessions) else { return };
        let user = format!("user{}", self.chance.up_to(2));
        let event = EventName::Number(2);
        let broadcast = self.players[at].admin && self.chance.percent(30);
        if broadcast {
            let namespace = self.chance.pick(&["default", "game"]).unwrap_or("default");
            let number = self.oracle.send(from, Addressee::Namespace(namespace.to_owned()));
            let namespace = Some(Cow::Borrowed(namespace));
            let data = message(number);
            return self.ask(at, Command::Broadcast { namespace, event, data }, Asked::Other);
        }
        let (to, addressee) = match self.chance.percent(50) {
            true => (Target::Session(session), Addressee::Session(session)),
            false => (Target::User(Cow::Owned(user.clone())), Addressee::User(user)),
        };
        let number = self.oracle.send(from, addressee);
        self.ask(at, Command::Send { to, event, data: message(number) }, Asked::Other);
    }

    fn create(&mut self, at: usize) {
        let text = self.any_room();
        let Ok(room) = RoomPath::parse(full(&text)) else { return };
        let join = self.chance.percent(70);
        let asked = Asked::Create { room: text, join };
        self.ask(at, Command::Create { room: Some(room), options: None, join }, asked);
    }

    fn bye(&mut self, at: usize) {
        if let Some(wire) = self.players[at].wire {
            self.oracle.said_bye(wire);
            self.players[at].forget_session();
            self.ask(at, Command::Bye, Asked::Other);
            self.players[at].ready = false;
        }
    }

    fn admin(&mut self, at: usize) {
        if !self.players[at].admin {
            return;
        }
        let text = self.some_room(at);
        let Ok(room) = RoomPath::parse(full(&text)) else { return };
        self.oracle.unsettle(&text);
        let sessions: Vec<_> = self.players.iter().filter_map(|player| player.session).collect();
        match self.chance.pick(&sessions) {
            Some(session) if self.chance.percent(70) => {
                let target = Target::Session(session);
                self.ask(at, Command::Kick { room, target, message: None }, Asked::Other);
            }
            _ => self.ask(at, Command::Delete { room }, Asked::Other),
        }
    }

    fn server_call(&mut self) {
        let room = self.any_room();
        let shard = self.chance.up_to(3) as u16;
        let sessions: Vec<_> = self.players.iter().filter_map(|player| player.session).collect();
        let Some(session) = self.chance.pick(&sessions) else { return };
        let call = match self.chance.up_to(9) {
            0..5 => {
                let event = EventName::Number(3);
                let from = self.chance.percent(40).then_some(session);
                let said = Said::new(
                    (room.clone(), from),
                    (event.clone(), true),
                    true,
                    None,
                    self.world.now(),
                );
                let number = self.oracle.say(said);
                let json = Bytes::from(format!("{{\"n\":{number}}}"));
                let data = Payload::new(Codec::Json, json).ok();
                match from {
                    Some(session) => {
                        let echo = Some(true);
                        let act = Act::Publish { event, data, reliable: true, echo, key: None };
                        ServerCall::Act { room, session, act }
                    }
                    None => ServerCall::Publish {
                        room,
                        event,
                        data,
                        from: None,
                        reliable: true,
                        key: None,
                    },
                }
            }
            5..8 => {
                self.oracle.unsettle(&room);
                let make = self.chance.percent(85);
                let act = match self.chance.percent(85) {
                    true => Act::Join { data: None, make },
                    false => Act::Leave { data: None },
                };
                ServerCall::Act { room, session, act }
            }
            8 => {
                self.oracle.unsettle(&room);
                ServerCall::Kick { room, target: session.to_string() }
            }
            _ => {
                self.oracle.disconnects(session);
                ServerCall::Disconnect { session }
            }
        };
        self.note(|| format!("server > {call:?}"));
        self.world.call(shard, call);
    }

    /// Lets something go wrong, perhaps.
    fn fault(&mut self) -> bool {
        let faults = self.plan.faults;
        let mut draw = self.chance.up_to(999);
        let mut is = |share: u64| {
            let hit = draw < share;
            draw = if hit { u64::MAX } else { draw - share };
            hit
        };
        let (cut, half_open) = (is(faults.cut), is(faults.half_open));
        let (stop, mass_cut) = (is(faults.stop_reading), is(faults.mass_cut));
        let (restart, garbage) = (is(faults.restart), is(faults.garbage));
        let node = is(faults.node);
        let rough: Vec<_> = (0..self.players.len())
            .filter(|&at| !self.players[at].calm && self.players[at].wire.is_some())
            .collect();
        let victim = self.chance.pick(&rough);
        match victim {
            _ if restart => self.drain(),
            _ if node => self.node_fault(),
            Some(_) if mass_cut => rough.iter().for_each(|&at| self.cut(at)),
            Some(at) if cut => self.cut(at),
            Some(at) if half_open => self.half_open(at),
            Some(at) if stop => self.stop_or_read(at),
            Some(at) if garbage => self.garbage(at),
            _ => return false,
        }
        true
    }

    fn cut(&mut self, at: usize) {
        let Some(wire) = self.players[at].wire else { return };
        let orderly = self.chance.percent(30);
        self.note(|| format!("p{at} is cut, orderly: {orderly}"));
        match orderly {
            true => self.world.close(wire),
            false => self.world.cut(wire),
        }
    }

    fn half_open(&mut self, at: usize) {
        let Some(wire) = self.players[at].wire else { return };
        self.note(|| format!("p{at} goes silent"));
        self.world.half_open(wire);
        self.world.forget(wire);
        self.oracle.let_go(wire);
        let wait = self.chance.pick(&[0, 1_000, 30_000]).unwrap_or(0);
        self.players[at].lost(self.world.now() + wait);
    }

    fn stop_or_read(&mut self, at: usize) {
        let Some(wire) = self.players[at].wire else { return };
        let reads = self.chance.percent(20);
        self.note(|| format!("p{at} reads: {reads}"));
        self.world.set_reads(wire, reads);
    }

    fn garbage(&mut self, at: usize) {
        let Some(wire) = self.players[at].wire else { return };
        let bytes: Vec<u8> = match self.chance.up_to(3) {
            0 => (0..self.chance.up_to(40)).map(|_| self.chance.number() as u8).collect(),
            1 => b"{\"type\":\"publish\",\"room\":\"lobby\",\"data\":[[[[".to_vec(),
            2 => vec![0x91; 300],
            _ => b"{\"type\":\"join\",\"room\":\"\\u0000\"}".to_vec(),
        };
        self.note(|| format!("p{at} > garbage {bytes:?}"));
        self.oracle.sent_garbage(wire);
        self.world.send(wire, Bytes::from(bytes));
    }

    fn drain(&mut self) {
        if self.restart_at.is_some() {
            return;
        }
        self.note(|| "the server drains".to_owned());
        self.world.drain(500);
        let at = self.world.now() + 101 + self.chance.up_to(DRAIN_MS);
        (self.restart_at, self.down_until) = (Some(at), at);
    }

    pub(super) fn restart(&mut self) {
        self.restart_at = None;
        self.note(|| "another server starts".to_owned());
        let mut config = self.plan.config.clone();
        config.seed = self.chance.seed();
        self.oracle.restarted();
        self.world.restart(config);
    }
}

fn message(number: usize) -> Option<Payload> {
    Payload::new(Codec::Json, Bytes::from(format!("{{\"m\":{number}}}"))).ok()
}

/// The name with its namespace.
fn full(room: &str) -> String {
    if room.contains('/') { room.to_owned() } else { format!("default/{room}") }
}
