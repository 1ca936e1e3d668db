//! The model that knows what is promised. It sees what clients send and read, and nothing of the
//! hub: each violated promise of the README's table has a name here.

mod check;
mod finish;
mod replies;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use roomcast_wire::push::Sender;
use roomcast_wire::{Epoch, EventName, Position, SessionId};

use crate::sim::Plan;
use crate::world::WireId;

pub use check::Sight;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guarantee {
    /// Every member sees the same order, without gap or repeat.
    Order,
    /// After a loss: every event since, exactly once; or an honest reason.
    Recovery,
    /// One reply for each `ref`; a repeated key is not repeated in the room.
    Publish,
    /// Queues are bounded; who reads is not disturbed by who does not.
    SlowMembers,
    /// Who is there is listed, who is gone is not.
    Presence,
    /// Nothing crosses a namespace or reaches one who has no seat.
    Isolation,
    /// Whatever a client sends is answered clearly; nothing else happens.
    Bounds,
    /// Time goes on, and everything is answered in the end.
    Progress,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub guarantee: Guarantee,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.guarantee, self.text)
    }
}

/// Nothing, or a broken promise.
pub type Verdict = Result<(), Violation>;

pub(crate) fn broken(guarantee: Guarantee, text: impl Into<String>) -> Verdict {
    Err(Violation { guarantee, text: text.into() })
}

/// The model.
pub struct Oracle {
    plan: Plan,
    /// What stands where, as far as anybody has seen.
    logs: BTreeMap<(String, Epoch), BTreeMap<u64, usize>>,
    /// How many events up to each place could be dropped, as far as anybody was told.
    unreliable: BTreeMap<(String, Epoch), BTreeMap<u64, u64>>,
    said: Vec<Said>,
    /// What logics said, by the numbers they gave it.
    by_logics: BTreeMap<u64, usize>,
    sent: Vec<Sent>,
    conns: BTreeMap<WireId, Conn>,
    sessions: BTreeMap<SessionId, Session>,
    gaps: Vec<Gap>,
    /// What was seen, for the report.
    pub counts: Counts,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Commands that waited for a hook.
    pub asked: u64,
    /// Events read by members.
    pub events: u64,
    /// Replies.
    pub replies: u64,
    /// Sessions resumed.
    pub resumed: u64,
    /// Recoveries that were complete.
    pub recovered: u64,
    /// Recoveries that were not, with a reason that holds.
    pub unrecovered: u64,
    /// Links closed as slow.
    pub slow: u64,
    /// Offsets that somebody rightly did not see.
    pub gaps: u64,
    /// Events that logics said to all.
    pub by_logics: u64,
    /// Events that logics told some members only.
    pub told: u64,
    /// Rooms that failed with their logic.
    pub failed: u64,
    /// Seats that were told again, because their home was lost or words to it.
    pub seated_again: u64,
}

/// What was said in a room, by its number: the number stands in the payload.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub room: String,
    /// None: the server.
    pub session: Option<SessionId>,
    pub event: EventName,
    pub reliable: bool,
    /// Whether the sender hears it.
    pub echo: bool,
    pub key: Option<String>,
    /// When it was sent first.
    pub at_ms: u64,
    /// How often it was sent, and refused.
    pub tries: u32,
    pub refusals: u32,
    /// Where it stands.
    positions: Vec<Position>,
}

/// A direct message or a broadcast, by its number.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub from: SessionId,
    pub to: Addressee,
    readers: BTreeSet<SessionId>,
}

#[derive(Debug, Clone)]
pub(crate) enum Addressee {
    Session(SessionId),
    User(String),
    Namespace(String),
}

/// What was asked on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Hello { resumes: Option<SessionId> },
    Join { room: String, since: Option<Position> },
    Leave { room: String },
    Publish { said: usize, seated: bool },
    Members { room: String },
    Presence { room: String },
    History { room: String, since: Option<Position> },
    Create { room: String, join: bool },
    Rooms { namespace: String },
    Ping,
    Other,
}

#[derive(Debug)]
struct Conn {
    player: String,
    calm: bool,
    session: Option<SessionId>,
    pending: BTreeMap<u64, Asked>,
    goodbye: Option<u16>,
    /// It sent bytes that mean nothing.
    garbage: u64,
    /// It, or an operator, asked for the end.
    bye: bool,
    ended: bool,
    /// Bytes that recoveries may have put into its outbox beyond the bound.
    granted: usize,
}

/// One session, as its client knows it.
#[derive(Debug)]
struct Session {
    /// Its server is no more; its client may still read what it said.
    over: bool,
    sender: Sender,
    namespace: String,
    conn: Option<WireId>,
    seats: BTreeMap<String, Seat>,
    /// Rooms in which its seat may have come or gone without its knowledge.
    uncertain: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Seat {
    /// What it has seen; none: the seat is quiet.
    place: Option<Place>,
    /// Who is there, by the last list and the pushes since.
    view: Option<BTreeSet<SessionId>>,
    counts: Option<(u32, u32)>,
}

#[derive(Debug, Clone)]
struct Place {
    epoch: Epoch,
    last: u64,
    /// Up to where events come out of the history.
    replayed: u64,
}

/// Offsets that somebody did not see.
#[derive(Debug)]
struct Gap {
    who: SessionId,
    room: String,
    epoch: Epoch,
    offset: u64,
    /// Its link was behind, so the room's rule for slow members may explain it.
    behind: bool,
    /// It lies in what a recovery brought, which leaves out what is unreliable.
    replayed: bool,
}

impl Said {
    pub fn new(
        (room, session): (String, Option<SessionId>),
        (event, reliable): (EventName, bool),
        echo: bool,
        key: Option<String>,
        at_ms: u64,
    ) -> Self {
        let (tries, refusals, positions) = (1, 0, Vec::new());
        Self { room, session, event, reliable, echo, key, at_ms, tries, refusals, positions }
    }
}

impl Oracle {
    /// A model of this plan.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            logs: BTreeMap::new(),
            unreliable: BTreeMap::new(),
            said: Vec::new(),
            by_logics: BTreeMap::new(),
            sent: Vec::new(),
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            gaps: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// A client connected.
    pub(crate) fn connected(&mut self, wire: WireId, player: &str, calm: bool) {
        self.conns.insert(
            wire,
            Conn {
                player: player.to_owned(),
                calm,
                session: None,
                pending: BTreeMap::new(),
                goodbye: None,
                garbage: 0,
                bye: false,
                ended: false,
                granted: 0,
            },
        );
    }

    /// Something is about to be said in a room; its number goes into the payload.
    pub(crate) fn say(&mut self, said: Said) -> usize {
        self.said.push(said);
        self.said.len() - 1
    }

    /// It is said again, with the same key.
    pub(crate) fn say_again(&mut self, number: usize) -> Said {
        self.said[number].tries += 1;
        self.said[number].clone()
    }

    pub(crate) fn said(&self, number: usize) -> Said {
        self.said[number].clone()
    }

    /// A command without a number was sent: its error has none either.
    pub(crate) fn unnumbered(&mut self, wire: Option<WireId>) {
        if let Some(conn) = wire.and_then(|wire| self.conns.get_mut(&wire)) {
            conn.garbage += 1;
        }
    }

    /// An operator ends a session.
    pub(crate) fn disconnects(&mut self, session: SessionId) {
        for conn in self.conns.values_mut().filter(|conn| conn.session == Some(session)) {
            conn.bye = true;
        }
    }

    /// A message is about to be sent; its number goes into the payload.
    pub(crate) fn send(&mut self, from: SessionId, to: Addressee) -> usize {
        self.sent.push(Sent { from, to, readers: BTreeSet::new() });
        self.sent.len() - 1
    }

    /// A command with a number was sent.
    pub(crate) fn asked(&mut self, wire: WireId, reference: u64, asked: Asked) {
        let history = self.plan.config.limits.outbox_bytes / 4;
        let Some(conn) = self.conns.get_mut(&wire) else { return };
        if let Asked::Join { since: Some(_), room } = &asked {
            // An event of few bytes is several times as long in its frame.
            conn.granted += 4 * self.plan.options(room).history.bytes;
        }
        if matches!(asked, Asked::History { .. }) {
            conn.granted += 4 * history;
        }
        conn.pending.insert(reference, asked);
    }

    /// The client, or an operator, asked for the end of the connection.
    pub(crate) fn said_bye(&mut self, wire: WireId) {
        if let Some(conn) = self.conns.get_mut(&wire) {
            conn.bye = true;
        }
    }

    /// Bytes that mean nothing were sent.
    pub(crate) fn sent_garbage(&mut self, wire: WireId) {
        if let Some(conn) = self.conns.get_mut(&wire) {
            conn.garbage += 1;
        }
    }

    /// Seats in a room may come or go without their holders' knowledge.
    pub(crate) fn unsettle(&mut self, room: &str) {
        for session in self.sessions.values_mut() {
            session.uncertain.insert(room.to_owned());
        }
    }

    /// The server was replaced by another: no session lives on, every link ends.
    pub(crate) fn restarted(&mut self) {
        for session in self.sessions.values_mut() {
            session.over = true;
        }
        for conn in self.conns.values_mut() {
            conn.bye = true;
        }
    }

    /// The process at the other end of a link is no more.
    pub(crate) fn killed(&mut self, wire: WireId) {
        let Some(conn) = self.conns.get_mut(&wire) else { return };
        conn.bye = true;
        let session = conn.session.and_then(|who| self.sessions.get_mut(&who));
        // It may have gone on elsewhere.
        if let Some(session) = session.filter(|session| session.conn == Some(wire)) {
            session.over = true;
        }
    }

    /// What a session is called and in which rooms it is, with the last positions.
    pub(crate) fn seats(&self, session: SessionId) -> Vec<(String, Option<Position>)> {
        let Some(session) = self.sessions.get(&session) else { return Vec::new() };
        let seats = session.seats.iter().map(|(room, seat)| {
            let place = seat.place.as_ref();
            let position = place.map(|place| Position { epoch: place.epoch, offset: place.last });
            (room.clone(), position)
        });
        seats.collect()
    }

    /// Commands that are not answered yet on a connection.
    pub(crate) fn pending(&self, wire: WireId) -> usize {
        self.conns.get(&wire).map_or(0, |conn| conn.pending.len())
    }

    fn player(&self, wire: WireId) -> &str {
        self.conns.get(&wire).map_or("nobody", |conn| &conn.player)
    }
}
