//! One client: who it is, how it connects and comes back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::BytesMut;
use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::push::Sender;
use roomcast_wire::{
    Command, ErrorCode, Format, Name, Position, Request, Resume, RoomPath, Secret, SessionId,
};

use super::plan::ADMIN_KEY;
use super::{Plan, Sim};
use crate::chance::Chance;
use crate::oracle::Asked;
use crate::world::WireId;

/// One client.
#[derive(Debug)]
pub(super) struct Player {
    pub name: String,
    pub format: Format,
    pub namespace: &'static str,
    token: Option<String>,
    pub admin: bool,
    /// No fault is aimed at it.
    pub calm: bool,
    pub wire: Option<WireId>,
    /// The server has welcomed it on this link.
    pub ready: bool,
    pub session: Option<SessionId>,
    secret: Option<Secret>,
    reference: u64,
    back_at: u64,
    /// The last positions it knows, over all its sessions.
    seen: BTreeMap<String, Position>,
    /// What it said with a key, and may say again.
    pub keyed: Vec<usize>,
}

impl Player {
    pub fn draw(at: usize, plan: &Plan, chance: &mut Chance) -> Self {
        let formats =
            [Format::JSON_LINE, Format::JSON_WS, Format::MSGPACK_LENGTH, Format::MSGPACK_WS];
        let admin = at == 0;
        let token = match admin {
            true => Some(ADMIN_KEY.to_owned()),
            false => chance.percent(60).then(|| format!("key{}", chance.up_to(2))),
        };
        Self {
            name: format!("p{at}"),
            format: chance.pick(&formats).unwrap_or(Format::JSON_WS),
            namespace: if chance.percent(30) { "game" } else { "default" },
            token,
            admin,
            calm: at < plan.calm,
            wire: None,
            ready: false,
            session: None,
            secret: None,
            reference: 0,
            back_at: 0,
            seen: BTreeMap::new(),
            keyed: Vec::new(),
        }
    }

    /// When it connects again, if it is not connected.
    pub fn reconnects_at(&self) -> Option<u64> {
        self.wire.is_none().then_some(self.back_at)
    }

    /// Its link has ended.
    pub fn lost(&mut self, back_at: u64) {
        self.wire = None;
        self.ready = false;
        self.back_at = back_at;
    }

    /// If it is away, it comes back at once.
    pub fn come_back_soon(&mut self, now: u64) {
        self.back_at = self.back_at.min(now);
    }

    /// It gives its session up.
    pub fn forget_session(&mut self) {
        self.secret = None;
    }
}

impl Sim {
    pub(super) fn connect(&mut self, at: usize) {
        let shards = u64::from(self.plan.config.shards * self.plan.nodes);
        let shard = self.chance.up_to(shards - 1) as u16;
        let player = &mut self.players[at];
        let wire = self.world.connect(player.format, Some(player.namespace), shard);
        if player.calm {
            self.world.set_window(wire, 1 << 22);
        }
        (player.wire, player.ready, player.reference) = (Some(wire), false, 0);
        let resume = player.session.zip(player.secret);
        let resume = resume.map(|(session, secret)| Resume { session, secret, offset: None });
        let name = player.name.clone();
        self.oracle.connected(wire, &name, self.players[at].calm);
        self.hello(at, resume);
    }

    fn hello(&mut self, at: usize, resume: Option<Resume>) {
        let player = &self.players[at];
        let token = player.token.clone().map(Cow::Owned);
        let name = Some(Cow::Owned(player.name.clone()));
        let asked = Asked::Hello { resumes: resume.map(|resume| resume.session) };
        self.ask(at, Command::Hello { token, name, resume, data: None }, asked);
    }

    /// Sends a command with a number.
    pub(super) fn ask(&mut self, at: usize, command: Command<'_>, asked: Asked) {
        let Some(wire) = self.players[at].wire else { return };
        self.players[at].reference += 1;
        let reference = self.players[at].reference;
        self.note(|| format!("p{at} > #{reference} {asked:?}"));
        self.oracle.asked(wire, reference, asked);
        self.put(at, Some(reference), command);
    }

    /// Sends a command, with or without a number.
    pub(super) fn put(&mut self, at: usize, reference: Option<u64>, command: Command<'_>) {
        let player = &self.players[at];
        let Some(wire) = player.wire else { return };
        let mut out = BytesMut::new();
        native::encode_request(player.format.codec(), &Request { reference, command }, &mut out);
        self.world.send(wire, out.freeze());
    }

    /// A `welcome` is about to be read.
    pub(super) fn meet(&mut self, at: usize, session: SessionId, user: Option<Name>) {
        let player = &self.players[at];
        let name = Name::new(&player.name).ok();
        let sender = Sender { session, user, name, metadata: None };
        self.oracle.expect_session(session, sender, player.namespace);
    }

    pub(super) fn react(&mut self, at: usize, incoming: &Incoming) {
        let player = &mut self.players[at];
        match &incoming.body {
            Body::Welcome { session, resume, rooms, .. } => {
                (player.session, player.secret) = (Some(*session), Some(*resume));
                player.ready = true;
                self.come_back(at, rooms);
            }
            Body::Event { room, event } => {
                if let Some(position) = event.position {
                    player.seen.insert(room.clone(), position);
                }
            }
            Body::Joined { room, position, .. } if !player.seen.contains_key(room) => {
                player.seen.insert(room.clone(), *position);
            }
            Body::Joined { room, position, recovery, .. } => {
                let recovered = recovery.is_some_and(|verdict| verdict.reason().is_none());
                if !recovered {
                    player.seen.insert(room.clone(), *position);
                }
            }
            Body::Error { code, .. } if *code == ErrorCode::CannotResume.number() => {
                player.secret = None;
                self.hello(at, None);
            }
            _ => {}
        }
    }

    /// Joins again where it was, with the last position it knows.
    fn come_back(&mut self, at: usize, seats: &[String]) {
        let known: Vec<_> = self.players[at].seen.keys().cloned().collect();
        for room in known {
            let likely = if seats.contains(&room) { 85 } else { 40 };
            if self.chance.percent(likely) {
                self.join(at, &room, true);
            }
        }
    }

    pub(super) fn join(&mut self, at: usize, room: &str, with_since: bool) {
        let since = self.players[at].seen.get(room).copied().filter(|_| with_since);
        let Ok(path) = RoomPath::parse(room.to_owned()) else { return };
        // The own namespace need not be written.
        let asked = Asked::Join { room: room.to_owned(), since };
        let path = match path.namespace() {
            Some(namespace) if namespace == self.players[at].namespace => {
                RoomPath::parse(path.room().to_owned()).unwrap_or(path)
            }
            None => RoomPath::parse(format!("default/{room}")).unwrap_or(path),
            _ => path,
        };
        self.ask(at, Command::Join { room: path, since, data: None }, asked);
    }
}
