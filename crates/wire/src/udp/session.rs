//! A session: what both sides do with datagrams once they share an id and a key.
//!
//! Call [`Session::receive`], [`Session::send`] and [`Session::tick`] as things happen, then
//! [`Session::transmit`]: it hands out all datagrams that are to be sent now, and what is small
//! shares one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::chunk::cut;
use super::frame::{Ack, FROM_CLIENT, FROM_SERVER, Frame, HEADER_BYTES, REASON_BYTES_MAX};
use super::inbound::{Inbound, TooLarge};
use super::outbound::Outbound;
use super::owed::Owed;
use super::path::Probe;
use super::replay::Replay;
use super::seal::{Key, TAG_BYTES};
pub use super::terms::{Event, Refused, Role, Terms};
use super::{DATAGRAM_BYTES_MAX, PIECE_BYTES_MAX, WINDOW_PIECES};
use crate::{CloseCode, Codec};

/// Unreliable bytes that wait for the next [`Session::transmit`]; the oldest give way.
const LOOSE_BYTES_MAX: usize = 256 << 10;

/// Bytes of whole messages that wait while the session is held, before pieces are left to be
/// repeated.
const WHOLE_BYTES_MAX: usize = 64 << 10;

/// How long a message may be incomplete without a piece more. Its repetitions come every 2 s at
/// the least: five in a row are lost once in 3,000 times at a loss of 20 %.
const INCOMPLETE: Duration = Duration::from_secs(10);

/// A piece that was sent so often without an answer will not arrive: half a minute.
const TIMES_MAX: u32 = 20;

/// How long what was said before the end may take to be acknowledged.
const FINISH: Duration = Duration::from_secs(2);

/// How often the end is said, if nobody answers.
const CLOSES: u32 = 4;

/// How often a silent peer is asked for a sign of life.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// One side of a session.
#[derive(Debug)]
pub struct Session {
    id: u64,
    key: Key,
    terms: Terms,
    peer: SocketAddr,
    stage: Stage,
    next_seq: u64,
    replay: Replay,
    inbound: Inbound,
    outbound: Outbound,
    loose: VecDeque<Bytes>,
    loose_bytes: usize,
    /// Messages that came while the session was held.
    whole: VecDeque<Bytes>,
    held: bool,
    /// Somebody waits for [`Event::Writable`].
    refused: bool,
    owed: Owed,
    ping_owed: bool,
    response: Option<[u8; TAG_BYTES]>,
    heard: Duration,
    spoke: Duration,
    /// When it was asked for a sign of life last.
    asked: Duration,
    /// When the last piece came that was waited for.
    progressed: Duration,
    probe: Option<Box<Probe>>,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// The end was asked for; what was said before is still on its way.
    Finishing {
        end: Box<End>,
        until: Duration,
    },
    /// The end is said.
    Ending {
        end: Box<End>,
        left: u32,
        next: Duration,
    },
    Over,
}

#[derive(Debug)]
struct End {
    code: u16,
    reason: String,
}

/// The number of the connection that a datagram says it belongs to; none: it is no datagram of a
/// session from a peer in this role.
pub fn id_of(from: Role, datagram: &[u8]) -> Option<u64> {
    let (&kind, rest) = datagram.split_first()?;
    let id = rest.first_chunk()?;
    (kind == kind_of(from)).then_some(u64::from_be_bytes(*id))
}

const fn kind_of(role: Role) -> u8 {
    match role {
        Role::Client => FROM_CLIENT,
        Role::Server => FROM_SERVER,
    }
}

impl Session {
    /// A session with the peer at an address that has shown that it receives.
    pub fn new(id: u64, key: Key, terms: Terms, peer: SocketAddr, now: Duration) -> Self {
        Self {
            id,
            key,
            terms,
            peer,
            stage: Stage::Open,
            next_seq: 0,
            replay: Replay::default(),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            loose: VecDeque::new(),
            loose_bytes: 0,
            whole: VecDeque::new(),
            held: false,
            refused: false,
            owed: Owed::default(),
            ping_owed: false,
            response: None,
            heard: now,
            spoke: now,
            asked: now,
            progressed: now,
            probe: None,
        }
    }

    /// A datagram came. What follows from it is appended to `events`.
    ///
    /// # Errors
    /// It was passed over.
    pub fn receive(
        &mut self,
        now: Duration,
        from: SocketAddr,
        datagram: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        let other = match self.terms.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        if id_of(other, datagram) != Some(self.id) || matches!(self.stage, Stage::Over) {
            return Err(Refused::Foreign);
        }
        let (said, tag) = datagram.split_last_chunk().ok_or(Refused::Foreign)?;
        let (header, mut frames) = said.split_at_checked(HEADER_BYTES).ok_or(Refused::Foreign)?;
        let seq = header.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if !self.replay.is_new(seq) {
            return Err(Refused::Replayed);
        }
        if !self.key.verifies(said, *tag) {
            return Err(Refused::Forged);
        }
        let newest = self.replay.highest().is_none_or(|highest| highest < seq);
        self.replay.insert(seq);
        self.heard = now;
        if from != self.peer && newest {
            self.hear_elsewhere(now, from, seq, datagram.len());
        }
        let before = events.len();
        while let Some(frame) = Frame::take(&mut frames) {
            self.handle(now, from, frame, events);
        }
        if !frames.is_empty() {
            self.fault(now, CloseCode::Protocol, events);
        }
        if events.len() == before {
            events.push(Event::Alive);
        }
        Ok(())
    }

    fn handle(
        &mut self,
        now: Duration,
        from: SocketAddr,
        frame: Frame<'_>,
        events: &mut Vec<Event>,
    ) {
        let open = matches!(self.stage, Stage::Open);
        match frame {
            Frame::Ack(ack) => self.acknowledged(now, &ack, events),
            Frame::Close { code, reason } => self.peer_closes(now, code, reason, events),
            Frame::Response(token) => self.answered(from, token, events),
            _ if !open => {}
            Frame::Ping => self.owed.at_once(now),
            Frame::Challenge(token) => self.response = Some(token),
            Frame::Unreliable(bytes) if bytes.len() > self.terms.message_bytes_max => {
                self.fault(now, CloseCode::TooLarge, events);
            }
            Frame::Unreliable(bytes) => {
                if !self.held {
                    events.push(Event::Message(Bytes::copy_from_slice(bytes)));
                }
            }
            Frame::Piece { number, more, bytes } => {
                self.take_piece(now, (number, more, bytes), events);
            }
        }
    }

    fn take_piece(&mut self, now: Duration, piece: (u32, bool, &[u8]), events: &mut Vec<Event>) {
        if self.held && self.whole.iter().map(Bytes::len).sum::<usize>() > WHOLE_BYTES_MAX {
            return;
        }
        let (before, waited) = (self.inbound.next(), self.inbound.is_incomplete());
        let missing = self.inbound.has_gap();
        let taken = self.inbound.take(piece, self.terms.message_bytes_max, &mut self.whole);
        // What is missing, what fills a gap and what came again the sender hears of at once.
        if missing || self.inbound.has_gap() || self.inbound.next() == before {
            self.owed.at_once(now);
        } else {
            self.owed.soon(now);
        }
        if self.inbound.next() != before || !waited {
            self.progressed = now;
        }
        self.tell_whole(events);
        if taken == Err(TooLarge) {
            self.fault(now, CloseCode::TooLarge, events);
        }
    }

    fn tell_whole(&mut self, events: &mut Vec<Event>) {
        if !self.held {
            events.extend(self.whole.drain(..).map(Event::Message));
            self.whole = VecDeque::new();
        }
    }

    fn acknowledged(&mut self, now: Duration, ack: &Ack<'_>, events: &mut Vec<Event>) {
        if ack.seen >= self.next_seq {
            return self.fault(now, CloseCode::Protocol, events);
        }
        self.outbound.acknowledge(now, ack);
        self.outbound.settle_window(self.next_seq);
        if self.outbound.has_drained() && std::mem::take(&mut self.refused) {
            events.push(Event::Writable);
        }
    }

    fn hear_elsewhere(&mut self, now: Duration, from: SocketAddr, seq: u64, bytes: usize) {
        // A client's server has one address.
        if self.terms.role == Role::Client || !matches!(self.stage, Stage::Open) {
            return;
        }
        let probe = match self.probe.take() {
            Some(probe) if probe.address == from => probe,
            _ => Box::new(Probe::new(&self.terms.secret, self.id, seq, from, now)),
        };
        self.probe.insert(probe).heard(bytes);
    }

    fn answered(&mut self, from: SocketAddr, token: [u8; TAG_BYTES], events: &mut Vec<Event>) {
        if self.probe.as_ref().is_some_and(|probe| probe.is_answer(from, token)) {
            self.probe = None;
            self.peer = from;
            self.outbound.change_path();
            events.push(Event::Moved);
        }
    }

    fn peer_closes(&mut self, now: Duration, code: u16, reason: &str, events: &mut Vec<Event>) {
        match self.stage {
            // Both have said it.
            Stage::Ending { .. } => self.stage = Stage::Over,
            Stage::Over => {}
            Stage::Open | Stage::Finishing { .. } => {
                if matches!(self.stage, Stage::Open) {
                    events.push(Event::Closed { code, reason: reason.to_owned() });
                }
                let end = Box::new(End { code, reason: String::new() });
                self.stage = Stage::Ending { end, left: 1, next: now };
            }
        }
    }

    fn fault(&mut self, now: Duration, code: CloseCode, events: &mut Vec<Event>) {
        if matches!(self.stage, Stage::Open) {
            events.push(Event::Fault(code));
            let end = Box::new(End { code: code.number(), reason: code.reason().to_owned() });
            self.stage = Stage::Ending { end, left: CLOSES, next: now };
        }
    }

    /// Gives a message to the peer: reliable, in order and as often as is needed, or once. One
    /// above [`PIECE_BYTES_MAX`] is always reliable. `false`: there is no room, nothing was taken,
    /// and [`Event::Writable`] follows.
    pub fn send(&mut self, message: &Bytes, reliable: bool) -> bool {
        if !matches!(self.stage, Stage::Open) {
            return true;
        }
        if reliable || message.len() > PIECE_BYTES_MAX {
            let room = self.outbound.has_room();
            if room {
                self.outbound.push(message);
            }
            self.refused |= !room;
            return room;
        }
        self.loose_bytes += message.len();
        self.loose.push_back(message.clone());
        while self.loose_bytes > LOOSE_BYTES_MAX
            && let Some(oldest) = self.loose.pop_front()
        {
            self.loose_bytes -= oldest.len();
        }
        true
    }

    /// Gives a chunk to the peer: messages in the framing of TCP, lines of JSON or MessagePack
    /// behind its length. As with [`Session::send`]; a chunk is taken whole or not at all.
    pub fn send_chunk(&mut self, codec: Codec, chunk: &Bytes, reliable: bool) -> bool {
        let mut rest = chunk.clone();
        let mut first = true;
        while let Some(message) = cut(codec, &mut rest) {
            if first && !self.send(&message, reliable) {
                return false;
            }
            if !first && (reliable || message.len() > PIECE_BYTES_MAX) {
                self.outbound.push(&message);
            } else if !first {
                self.send(&message, false);
            }
            first = false;
        }
        true
    }

    /// While held, no message is told: reliable ones wait, unreliable ones are dropped.
    pub fn hold(&mut self, held: bool, events: &mut Vec<Event>) {
        self.held = held;
        self.tell_whole(events);
    }

    /// Messages of so many bytes may come from now on.
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        self.terms.message_bytes_max = bytes;
    }

    /// Ends the session when all that was said is acknowledged, or after two seconds.
    pub fn close(&mut self, now: Duration, code: u16, reason: &str) {
        if matches!(self.stage, Stage::Open) {
            let reason = reason.get(..REASON_BYTES_MAX).unwrap_or(reason).to_owned();
            let end = Box::new(End { code, reason });
            self.stage = Stage::Finishing { end, until: now + FINISH };
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Duration) {
        let Stage::Finishing { end, until } = &mut self.stage else { return };
        if *until <= now || (self.outbound.is_empty() && self.loose.is_empty()) {
            let end = Box::new(End { code: end.code, reason: std::mem::take(&mut end.reason) });
            self.stage = Stage::Ending { end, left: CLOSES, next: now };
        }
    }

    /// Repetitions, timeouts, signs of life.
    pub fn tick(&mut self, now: Duration, events: &mut Vec<Event>) {
        self.outbound.tick(now);
        self.outbound.settle_window(self.next_seq);
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        let silent = now.saturating_sub(self.heard) >= self.terms.silence;
        if silent || self.outbound.times_of_oldest() > TIMES_MAX {
            self.stage = Stage::Over;
            return events.push(Event::Lost);
        }
        if self.incomplete_due().is_some_and(|due| due <= now) {
            return self.fault(now, CloseCode::Protocol, events);
        }
        if self.ping_due() <= now {
            self.asked = now;
            self.ping_owed = true;
        }
    }

    /// When [`Session::tick`] or [`Session::transmit`] wants to be called.
    pub fn due(&self) -> Option<Duration> {
        let own = match &self.stage {
            Stage::Open => {
                let gone = self.heard + self.terms.silence;
                let own = gone.min(self.ping_due());
                self.incomplete_due().map_or(own, |due| due.min(own))
            }
            Stage::Finishing { until, .. } => *until,
            Stage::Ending { next, .. } => return Some(*next),
            Stage::Over => return None,
        };
        [self.outbound.due(), self.owed.due()].into_iter().flatten().chain([own]).min()
    }

    fn ping_due(&self) -> Duration {
        let quiet = match self.terms.role {
            Role::Client => self.heard.min(self.spoke),
            Role::Server => self.heard,
        };
        (quiet + self.terms.ping).max(self.asked + ASK_EVERY)
    }

    fn incomplete_due(&self) -> Option<Duration> {
        // One who is held is not to blame.
        let waits = self.inbound.is_incomplete() && !self.held;
        waits.then_some(self.progressed + INCOMPLETE)
    }

    /// Hands out the datagrams to be sent now. `scratch` is memory to write them in.
    pub fn transmit(
        &mut self,
        now: Duration,
        scratch: &mut Vec<u8>,
        sink: &mut dyn FnMut(SocketAddr, &[u8]),
    ) {
        self.ask_elsewhere(now, scratch, sink);
        self.finish(now);
        while !matches!(self.stage, Stage::Over) {
            self.begin(scratch);
            let acknowledged = self.acknowledge(scratch);
            self.fill(now, scratch);
            // An acknowledgement alone waits for company until it is due.
            if scratch.len() == acknowledged && !self.owed.is_due(now) {
                return;
            }
            self.owed.settle();
            self.spoke = now;
            self.seal(now, scratch);
            sink(self.peer, scratch);
        }
    }

    fn begin(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(kind_of(self.terms.role));
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.next_seq.to_be_bytes());
    }

    /// Writes what came, if that is owed. Returns where it ends.
    fn acknowledge(&self, out: &mut Vec<u8>) -> usize {
        if self.owed.due().is_some() {
            let seen = self.replay.highest().unwrap_or_default();
            Frame::Ack(self.inbound.ack(seen, &mut [0; WINDOW_PIECES / 8])).put(out);
        }
        out.len()
    }

    fn seal(&mut self, now: Duration, out: &mut Vec<u8>) {
        self.outbound.note(self.next_seq, now);
        let tag = self.key.tag(out);
        out.extend_from_slice(&tag);
        // 2^64 datagrams are not sent in a lifetime.
        self.next_seq = self.next_seq.wrapping_add(1);
    }

    /// Appends frames until there are no more, or the next does not fit.
    fn fill(&mut self, now: Duration, out: &mut Vec<u8>) {
        const END: usize = DATAGRAM_BYTES_MAX - TAG_BYTES;
        if std::mem::take(&mut self.ping_owed) {
            Frame::Ping.put(out);
        }
        if let Some(token) = self.response.take() {
            Frame::Response(token).put(out);
        }
        if let Stage::Ending { end, left, next } = &mut self.stage {
            if *next <= now {
                Frame::Close { code: end.code, reason: &end.reason }.put(out);
                *left -= 1;
                *next = now + self.outbound.timeout();
                if *left == 0 {
                    self.stage = Stage::Over;
                }
            }
            return;
        }
        while let room = END.saturating_sub(out.len() + 7)
            && let Some(piece) = self.outbound.send(now, self.next_seq, room)
        {
            Frame::Piece { number: piece.number, more: piece.more, bytes: &piece.bytes }.put(out);
        }
        while let Some(message) = self.loose.pop_front_if(|m| out.len() + m.len() + 3 <= END) {
            self.loose_bytes -= message.len();
            Frame::Unreliable(&message).put(out);
        }
        if self.loose.is_empty() {
            self.loose = VecDeque::new();
        }
    }

    fn ask_elsewhere(
        &mut self,
        now: Duration,
        scratch: &mut Vec<u8>,
        sink: &mut dyn FnMut(SocketAddr, &[u8]),
    ) {
        const BYTES: usize = HEADER_BYTES + 9 + TAG_BYTES;
        let Some(probe) = &mut self.probe else { return };
        let address = probe.address;
        let Some(token) = probe.ask(now, BYTES) else { return };
        self.begin(scratch);
        Frame::Challenge(token).put(scratch);
        self.seal(now, scratch);
        sink(address, scratch);
    }

    /// Where the peer is.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether a datagram of the peer has come.
    pub fn is_confirmed(&self) -> bool {
        self.replay.highest().is_some()
    }

    /// Whether nothing more is to be said or heard.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Pieces sent once more, since the start.
    pub fn repeated_total(&self) -> u64 {
        self.outbound.repeated_total()
    }
}
