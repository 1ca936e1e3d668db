//! What the client has to remember about its server: which seats it holds, which commands wait
//! for an answer. No sockets here; the driver carries the messages.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::push;
use roomcast_wire::reply::Recovery;
use roomcast_wire::{
    CloseCode, Codec, Command, ErrorCode, Next, Payload, Position, Request, RoomPath,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::builder::Settings;
use crate::calls::Calls;
use crate::event::{ClientEvent, Event, LostReason, Member, Message, Missed, RoomEvent};
use crate::link::Ended;
use crate::queue::Queue;
use crate::room::Given;
use crate::{Error, Overflow, Refused};

/// Most commands that wait for an answer.
const PENDING_MAX: usize = 1_024;

/// How long to wait before a refused seat is asked for again, if the server does not say.
const REJOIN: Duration = Duration::from_secs(1);

pub(crate) type RoomQueue = Arc<Queue<RoomEvent>>;

/// One command of the application.
pub(crate) struct Op {
    pub(crate) command: Command<'static>,
    /// Without it the command carries no `ref`.
    pub(crate) answer: Option<oneshot::Sender<Result<Answer, Error>>>,
}

impl Op {
    /// Whether nobody will miss it: an unreliable event that nobody waits for the answer to.
    pub(crate) fn may_be_lost(&self) -> bool {
        let reliable = match &self.command {
            Command::Publish { reliable, .. } => *reliable,
            _ => true,
        };
        !reliable && self.answer.is_none()
    }
}

/// What a command was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Body,
    /// The stream of the seat that was taken.
    pub(crate) seat: Option<RoomQueue>,
}

pub(crate) struct Ledger {
    codec: Codec,
    overflow: Overflow,
    room_queue: usize,
    message_bytes_max: u64,
    events: Arc<Queue<ClientEvent>>,
    calls: Arc<Calls>,
    seats: HashMap<String, Seat>,
    /// By `ref`, so that repeats keep their order.
    pending: BTreeMap<u64, Pending>,
    next_reference: u64,
}

struct Seat {
    queue: RoomQueue,
    /// The last event seen that could not be dropped: where to go on after a loss.
    last: Position,
    /// The newest event seen, once there was one.
    newest: Option<Newest>,
    data: Option<Payload>,
    /// When to ask for the seat again, after a refusal that may pass.
    rejoin_at: Option<Instant>,
    /// It was asked for again, and the answer brings what is missing: what comes before that
    /// (in a lobby, whose seat is given unasked) comes once more.
    rejoins: bool,
    /// The server gave it: whether the application has opened it.
    given: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy)]
struct Newest {
    offset: u64,
    /// How many events up to it could be dropped, itself included.
    unreliable: u64,
}

struct Pending {
    command: Command<'static>,
    asker: Asker,
}

enum Asker {
    Application(oneshot::Sender<Result<Answer, Error>>),
    /// The client itself: a seat taken again, or a sign of life.
    Client,
}

impl Ledger {
    pub(crate) fn new(
        settings: &Settings,
        events: Arc<Queue<ClientEvent>>,
        calls: Arc<Calls>,
    ) -> Self {
        Self {
            codec: settings.codec,
            overflow: settings.overflow,
            room_queue: settings.room_queue,
            message_bytes_max: u64::MAX,
            events,
            calls,
            seats: HashMap::new(),
            pending: BTreeMap::new(),
            next_reference: 1,
        }
    }

    pub(crate) fn set_message_bytes_max(&mut self, bytes: u64) {
        self.message_bytes_max = bytes;
    }

    /// Whether another command may be opened. Those whose askers have given up make way.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.pending.len() >= PENDING_MAX {
            self.pending.retain(|_, pending| match &pending.asker {
                Asker::Application(answer) => !answer.is_closed(),
                Asker::Client => true,
            });
        }
        self.pending.len() < PENDING_MAX
    }

    /// The message of a command; none if there is nothing to send.
    pub(crate) fn open(&mut self, op: Op) -> Option<Bytes> {
        let Some(answer) = op.answer else {
            let message = self.encode(None, &op.command);
            let sent = self.check_size(&message);
            return sent.map_err(|error| tracing::warn!(%error, "not sent")).ok().map(|()| message);
        };
        if answer.is_closed() {
            return None;
        }
        let message = self.encode(Some(self.next_reference), &op.command);
        if let Err(error) = self.check_size(&message) {
            let _ = answer.send(Err(error));
            return None;
        }
        self.remember(op.command, Asker::Application(answer));
        Some(message)
    }

    /// A message that gives the server the next token.
    pub(crate) fn refresh(&mut self, token: String) -> Bytes {
        self.ask(Command::Refresh { token: token.into() })
    }

    /// A message that the server answers, as a sign of life.
    pub(crate) fn probe(&mut self) -> Bytes {
        self.ask(Command::Ping)
    }

    /// What the server said; the end of the link, if it said that.
    pub(crate) fn handle(&mut self, incoming: Incoming, now: Instant) -> Option<Ended> {
        match (incoming.reference, incoming.body) {
            (_, Body::Goodbye { code, message, retry_ms, .. }) => {
                let known = CloseCode::from_number(code);
                let event = ClientEvent::Goodbye { code: known, message: message.clone() };
                self.events.push(event);
                return Some(Ended::closed(code, &message, retry_ms));
            }
            (Some(reference), body) => self.handle_answer(reference, body, now),
            (None, body) => self.handle_push(body),
        }
        None
    }

    /// The link is gone. Commands that may be repeated stay; the others' askers are told.
    pub(crate) fn lose(&mut self, reason: &str) {
        self.calls.link_lost();
        for (reference, pending) in std::mem::take(&mut self.pending) {
            let Asker::Application(answer) = pending.asker else { continue };
            if may_repeat(&pending.command) && !answer.is_closed() {
                let asker = Asker::Application(answer);
                self.pending.insert(reference, Pending { command: pending.command, asker });
            } else {
                let reason = reason.to_owned();
                let _ = answer.send(Err(Error::Disconnected { reason }));
            }
        }
    }

    /// What to say first on a new link: take every seat again, then repeat what was under way.
    /// The server carries out one link's commands in order, so no answer need be awaited.
    pub(crate) fn reopen(&mut self) -> Vec<Bytes> {
        let under_way = std::mem::take(&mut self.pending);
        let leaving = |room: &str| {
            under_way.values().any(|pending| match &pending.command {
                Command::Leave { room: left, .. } => left.as_str() == room,
                _ => false,
            })
        };
        let mut rooms: Vec<_> = self.seats.keys().filter(|room| !leaving(room)).cloned().collect();
        rooms.sort_unstable();
        let mut messages: Vec<_> = rooms.iter().filter_map(|room| self.rejoin(room)).collect();
        for pending in under_way.into_values() {
            let message = self.encode(Some(self.next_reference), &pending.command);
            self.remember(pending.command, pending.asker);
            messages.push(message);
        }
        messages
    }

    /// When [`rejoin_due`](Self::rejoin_due) has something to do.
    pub(crate) fn rejoin_at(&self) -> Option<Instant> {
        self.seats.values().filter_map(|seat| seat.rejoin_at).min()
    }

    /// Asks again for seats that were refused for a while.
    pub(crate) fn rejoin_due(&mut self, now: Instant) -> Vec<Bytes> {
        let is_due = |seat: &Seat| seat.rejoin_at.is_some_and(|at| at <= now);
        let due: Vec<_> = self.seats.iter().filter(|(_, seat)| is_due(seat)).collect();
        let due: Vec<_> = due.into_iter().map(|(room, _)| room.clone()).collect();
        due.iter().filter_map(|room| self.rejoin(room)).collect()
    }

    /// A stream that is full and must be read before the socket is.
    pub(crate) fn full(&self) -> Option<RoomQueue> {
        if self.overflow == Overflow::DropOldest {
            return None;
        }
        let waits = |seat: &&Seat| has_reader(seat) && is_opened(seat) && seat.queue.is_full();
        let mut full = self.seats.values().filter(waits);
        full.next().map(|seat| Arc::clone(&seat.queue))
    }

    /// The client has ended: everybody who waits is told.
    pub(crate) fn end(&mut self, reason: &str) {
        for pending in std::mem::take(&mut self.pending).into_values() {
            if let Asker::Application(answer) = pending.asker {
                let _ = answer.send(Err(Error::Closed { reason: reason.to_owned() }));
            }
        }
        for seat in std::mem::take(&mut self.seats).into_values() {
            seat.queue.close();
        }
    }

    fn rejoin(&mut self, room: &str) -> Option<Bytes> {
        let seat = self.seats.get_mut(room)?;
        (seat.rejoin_at, seat.rejoins) = (None, true);
        let (since, data) = (Some(seat.last), seat.data.clone());
        let room = RoomPath::parse(room.to_owned()).ok()?;
        Some(self.ask(Command::Join { room, since, data }))
    }

    fn ask(&mut self, command: Command<'static>) -> Bytes {
        let message = self.encode(Some(self.next_reference), &command);
        self.remember(command, Asker::Client);
        message
    }

    fn remember(&mut self, command: Command<'static>, asker: Asker) {
        self.pending.insert(self.next_reference, Pending { command, asker });
        self.next_reference += 1;
    }

    fn encode(&self, reference: Option<u64>, command: &Command<'static>) -> Bytes {
        let mut message = BytesMut::new();
        let request = Request { reference, command: command.clone() };
        native::encode_request(self.codec, &request, &mut message);
        message.freeze()
    }

    /// The server would close the link at a message above its limit.
    fn check_size(&self, message: &Bytes) -> Result<(), Error> {
        let (bytes, max) = (message.len(), self.message_bytes_max);
        if bytes as u64 <= max {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "the message has {bytes} bytes, the server takes at most {max}"
        )))
    }

    fn handle_answer(&mut self, reference: u64, body: Body, now: Instant) {
        let Some(Pending { command, asker }) = self.pending.remove(&reference) else {
            tracing::debug!(reference, "an answer that nobody waits for");
            return;
        };
        let answer = match (body, &command) {
            (Body::Joined { room, position, members, recovery }, _) => {
                let seat = self.seat(&room, &command, position, recovery);
                let body = Body::Joined { room, position, members, recovery };
                Ok(Answer { body, seat: Some(seat) })
            }
            // A repeated `leave` finds no seat if the session began anew.
            (Body::Error { code, .. }, Command::Leave { room, .. })
                if code == ErrorCode::NotAMember.number() =>
            {
                self.drop_seat(room.as_str(), None);
                Ok(Answer { body: Body::Ok { position: None, delivered: None }, seat: None })
            }
            (Body::Error { code, reason, message, retry, retry_ms }, _) => {
                let retry_after = retry_ms.map(Duration::from_millis);
                Err(Refused { code, reason, message, retry, retry_after })
            }
            (body, Command::Leave { room, .. }) => {
                self.drop_seat(room.as_str(), None);
                Ok(Answer { body, seat: None })
            }
            (body, _) => Ok(Answer { body, seat: None }),
        };
        match (asker, answer) {
            // An asker that went away meanwhile does not want to know.
            (Asker::Application(to), answer) => {
                let _ = to.send(answer.map_err(Error::Refused));
            }
            (Asker::Client, Ok(_)) => {}
            (Asker::Client, Err(refused)) => self.own_refused(&command, refused, now),
        }
    }

    fn own_refused(&mut self, command: &Command<'_>, refused: Refused, now: Instant) {
        let Command::Join { room, .. } = command else {
            return self.events.push(ClientEvent::Refused(refused));
        };
        if refused.next() == Next::Retry {
            if let Some(seat) = self.seats.get_mut(room.as_str()) {
                seat.rejoin_at = Some(now + refused.retry_after.unwrap_or(REJOIN));
                seat.rejoins = false;
            }
            return;
        }
        let closed = RoomEvent::Closed { reason: None, refused: Some(refused) };
        self.drop_seat(room.as_str(), Some(closed));
    }

    /// A seat was taken, or taken again.
    fn seat(
        &mut self,
        room: &str,
        command: &Command<'_>,
        position: Position,
        recovery: Option<Recovery>,
    ) -> RoomQueue {
        let bound = self.room_queue;
        let seat = self.seats.entry(room.to_owned()).or_insert_with(|| Seat {
            queue: Queue::new(bound),
            last: position,
            newest: None,
            data: None,
            rejoin_at: None,
            rejoins: false,
            given: None,
        });
        seat.last = position;
        (seat.rejoins, seat.given) = (false, None);
        if let Command::Join { data, since, .. } = command {
            seat.data.clone_from(data);
            if let (Some(Recovery::Recovered), Some(since)) = (recovery, since) {
                seat.last = *since;
            }
        }
        if recovery != Some(Recovery::Recovered) {
            seat.newest = None;
        }
        let queue = Arc::clone(&seat.queue);
        match recovery.map(LostReason::of) {
            None => {}
            Some(None) => self.tell(room, RoomEvent::Recovered),
            Some(Some(reason)) => self.tell(room, RoomEvent::Lost(reason)),
        }
        queue
    }

    fn handle_push(&mut self, body: Body) {
        match body {
            Body::Event { room, event } => self.handle_event(&room, event),
            Body::MemberJoined { room, member } => {
                self.tell(&room, RoomEvent::MemberJoined(Member(member)));
            }
            Body::MemberLeft { room, from, reason, .. } => {
                self.tell(&room, RoomEvent::MemberLeft { from, reason });
            }
            Body::MemberDropped { room, from } => self.tell(&room, RoomEvent::MemberDropped(from)),
            Body::MemberResumed { room, from } => self.tell(&room, RoomEvent::MemberResumed(from)),
            Body::Presence { room, members, users } => {
                self.tell(&room, RoomEvent::Presence { members, users });
            }
            Body::RoomClosed { room, reason } => {
                let closed = RoomEvent::Closed { reason: Some(reason), refused: None };
                self.drop_seat(&room, Some(closed));
            }
            Body::Message { event, data, from } => {
                let message = Message { name: event, payload: data, from };
                self.events.push(ClientEvent::Message(message));
            }
            Body::Call { id, call, data } => {
                self.calls.answer(id, Message { name: call, payload: data, from: None });
            }
            Body::Error { code, reason, message, retry, retry_ms } => {
                let retry_after = retry_ms.map(Duration::from_millis);
                let refused = Refused { code, reason, message, retry, retry_after };
                self.events.push(ClientEvent::Refused(refused));
            }
            Body::Joined { room, position, members, recovery } => {
                self.given(room, position, members, recovery);
            }
            // Newer servers may tell what this version does not know.
            other => tracing::debug!(?other, "passed over"),
        }
    }

    /// The server gave a seat unasked. One that is held goes on, whatever may be missing: its room
    /// has come to another node of a cluster.
    fn given(
        &mut self,
        room: String,
        position: Position,
        members: u32,
        recovery: Option<Recovery>,
    ) {
        if let Some(seat) = self.seats.get_mut(&room) {
            let Some(recovery) = recovery else { return };
            let lost = LostReason::of(recovery);
            if lost.is_some() {
                (seat.last, seat.newest) = (position, None);
            }
            return self.tell(&room, lost.map_or(RoomEvent::Recovered, RoomEvent::Lost));
        }
        let queue = Queue::new(self.room_queue);
        let opened = Arc::new(AtomicBool::new(false));
        let given = Given {
            room: room.as_str().into(),
            position,
            members,
            queue: Arc::clone(&queue),
            opened: Arc::clone(&opened),
        };
        self.events.push(ClientEvent::Joined(given));
        let seat = Seat {
            queue,
            last: position,
            newest: None,
            data: None,
            rejoin_at: None,
            rejoins: false,
            given: Some(opened),
        };
        self.seats.insert(room, seat);
    }

    fn handle_event(&mut self, room: &str, event: push::Event) {
        let Some(seat) = self.seats.get_mut(room) else { return };
        let mut missed = Missed::default();
        if let Some(position) = event.position {
            if seat.rejoins {
                return;
            }
            let same_log = position.epoch == seat.last.epoch;
            // What can be dropped is not kept either, so it never comes twice.
            if event.reliable && same_log && position.offset <= seat.last.offset {
                return;
            }
            if !same_log {
                seat.newest = None;
            }
            if seat.newest.is_none_or(|newest| newest.offset < position.offset) {
                missed = missed_before(seat, &event, position);
                seat.newest =
                    Some(Newest { offset: position.offset, unreliable: event.unreliable });
            }
            // On UDP what can be dropped overtakes what is repeated, which would be missed after
            // the next loss of the link if that counted here.
            if event.reliable {
                seat.last = position;
            }
        }
        self.tell(room, RoomEvent::Event(Event(Arc::new(event), missed)));
    }

    fn tell(&mut self, room: &str, event: RoomEvent) {
        let Some(seat) = self.seats.get(room).filter(|seat| has_reader(seat)) else { return };
        match self.overflow {
            Overflow::Wait if is_opened(seat) => seat.queue.push_all(event),
            _ => seat.queue.push(event),
        }
    }

    fn drop_seat(&mut self, room: &str, last_word: Option<RoomEvent>) {
        if let Some(last_word) = last_word {
            self.tell(room, last_word);
        }
        if let Some(seat) = self.seats.remove(room) {
            seat.queue.close();
        }
    }
}

/// What lies between the last event of a seat and one that is newer.
fn missed_before(seat: &Seat, event: &push::Event, position: Position) -> Missed {
    let Some(newest) = seat.newest else { return Missed::default() };
    let all = position.offset.saturating_sub(newest.offset + 1);
    let own = u64::from(!event.reliable);
    let unreliable = event.unreliable.saturating_sub(newest.unreliable + own).min(all);
    Missed { reliable: all - unreliable, unreliable }
}

/// Nothing is kept for a room whose handles and streams are all gone.
fn has_reader(seat: &Seat) -> bool {
    Arc::strong_count(&seat.queue) > 1
}

/// Nobody may ever read the stream of a seat that nobody asked for: it is not waited for.
fn is_opened(seat: &Seat) -> bool {
    seat.given.as_ref().is_none_or(|opened| opened.load(Ordering::Relaxed))
}

/// Whether a command that may have been carried out already can be said again.
fn may_repeat(command: &Command<'_>) -> bool {
    matches!(command, Command::Publish { key: Some(_), .. } | Command::Leave { .. })
}
