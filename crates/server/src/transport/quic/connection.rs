//! One connection of a port: its handshake, what is spoken on it, and its end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::{Connection, ConnectionError, Dir, Event, StreamEvent, StreamId, VarInt};
use roomcast_wire::h3::H3Error;
use roomcast_wire::{CloseCode, Codec};

use super::flow::{Flow, Reading, Sending, refuse};
use super::settings::PROTOCOLS;
use super::webtransport::{Step, WebTransport};
use super::{Bounds, Peer, PeerLoss, Told};
use crate::acceptor::admission::Admission;

/// How long what was said last may take to be acknowledged.
const CLOSING: Duration = Duration::from_secs(2);

/// Streams beside that of the messages that are refused before the connection is.
const SURPLUS_MAX: u32 = 64;

/// One connection.
pub(super) struct Conn {
    pub(super) quic: Connection,
    pub(super) peer: Peer,
    pub(super) stage: Stage,
    /// When the stage ends by itself.
    pub(super) until: Option<Instant>,
    speech: Speech,
    flow: Option<Flow>,
    surplus: u32,
    /// Events that were found while nobody could be told.
    pub(super) events: VecDeque<Event>,
    /// There is more to read than was told.
    pub(super) more: bool,
    /// As it stands among the deadlines of the port.
    pub(super) listed: Option<Instant>,
    pub(super) dirty: bool,
    pub(super) ready: bool,
    pub(super) lost_packets: u64,
    pub(super) counted: Counted,
    _admission: Admission,
}

/// What the port counts a connection as.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) half_open: bool,
    pub(super) busy: bool,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The handshake of QUIC is not done.
    Handshake,
    /// The messages have not begun.
    Waiting,
    /// Messages flow.
    Open,
    /// What was said last is on its way.
    Closing(Farewell),
    /// Nothing is said any more.
    Ended,
}

/// What is waited for before a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Farewell {
    code: CloseCode,
    next: Await,
}

/// What is not acknowledged yet. A browser drops what it has not read of a session that is closed:
/// so the messages come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Await {
    /// The stream of the messages.
    Messages,
    /// That of the WebTransport session.
    Session(StreamId),
}

/// What is spoken.
enum Speech {
    Unknown,
    /// One stream, messages from its first byte on.
    Native(Codec),
    WebTransport(WebTransport),
}

impl Conn {
    pub(super) fn new(quic: Connection, peer: Peer, until: Instant, admission: Admission) -> Self {
        Self {
            quic,
            peer,
            stage: Stage::Handshake,
            until: Some(until),
            speech: Speech::Unknown,
            flow: None,
            surplus: 0,
            events: VecDeque::new(),
            more: false,
            listed: None,
            dirty: false,
            ready: false,
            lost_packets: 0,
            counted: Counted::default(),
            _admission: admission,
        }
    }

    /// Goes through what has happened.
    pub(super) fn run(&mut self, at: Instant, bounds: &Bounds, told: &mut Vec<Told>) {
        if std::mem::take(&mut self.more) {
            self.read_messages(at, told);
            self.read_datagrams(at, told);
        }
        while let Some(event) = self.events.pop_front().or_else(|| self.quic.poll()) {
            self.happened(at, bounds, event, told);
        }
    }

    fn happened(&mut self, at: Instant, bounds: &Bounds, event: Event, told: &mut Vec<Told>) {
        match event {
            Event::HandshakeDataReady => {}
            Event::Connected => self.connected(at, bounds),
            Event::ConnectionLost { reason } => self.lost(&reason, told),
            Event::DatagramReceived => self.read_datagrams(at, told),
            Event::DatagramsUnblocked => self.writable(told),
            Event::Stream(StreamEvent::Opened { dir }) => {
                while let Some(id) = self.quic.streams().accept(dir) {
                    self.opened(at, bounds, id, told);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.readable(at, bounds, id, told),
            Event::Stream(StreamEvent::Writable { .. }) => self.writable(told),
            Event::Stream(StreamEvent::Finished { id }) => self.finished(at, id),
            Event::Stream(StreamEvent::Stopped { id, .. }) => {
                self.finished(at, id);
                if self.stage == Stage::Open && self.is_of_messages(id) {
                    self.end(at, PeerLoss::Broken, told);
                }
            }
            Event::Stream(StreamEvent::Available { .. }) => {}
        }
    }

    fn connected(&mut self, at: Instant, bounds: &Bounds) {
        self.stage = Stage::Waiting;
        self.until = at.checked_add(bounds.first_message);
        let data = self.quic.crypto_session().handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        let protocol = data.and_then(|data| data.protocol).unwrap_or_default();
        let known = PROTOCOLS.iter().find(|(name, _)| name.as_bytes() == protocol);
        // Without one in common the handshake has failed.
        let Some((_, codec)) = known else { return };
        self.speech = match codec {
            Some(codec) => Speech::Native(*codec),
            None => match WebTransport::begin(&mut self.quic) {
                Ok(webtransport) => Speech::WebTransport(webtransport),
                Err(error) => return self.fault(at, error),
            },
        };
    }

    /// The peer has opened a stream.
    fn opened(&mut self, at: Instant, bounds: &Bounds, id: StreamId, told: &mut Vec<Told>) {
        match &mut self.speech {
            Speech::Native(codec) if id.dir() == Dir::Bi && self.flow.is_none() => {
                let codec = *codec;
                let bytes_max = bounds.message_bytes_unknown_peer;
                let flow = Flow::new(id, codec, None, bytes::BytesMut::new(), bytes_max);
                self.begin(at, flow, told);
            }
            Speech::WebTransport(webtransport) => {
                webtransport.opened(id);
                self.readable(at, bounds, id, told);
            }
            _ => {
                refuse(&mut self.quic, id, u32::from(CloseCode::Protocol.number()));
                self.count_surplus(at, told);
            }
        }
    }

    fn readable(&mut self, at: Instant, bounds: &Bounds, id: StreamId, told: &mut Vec<Told>) {
        if self.is_of_messages(id) {
            return self.read_messages(at, told);
        }
        let Speech::WebTransport(webtransport) = &mut self.speech else { return };
        match webtransport.read(&mut self.quic, &bounds.policy, id) {
            Ok(Step::None) => {}
            Ok(Step::Refused) => self.count_surplus(at, told),
            Ok(Step::Ended) => self.end(at, PeerLoss::Closed, told),
            Ok(Step::Begins { stream, session, codec, unread }) => {
                let bytes_max = bounds.message_bytes_unknown_peer;
                self.begin(at, Flow::new(stream, codec, Some(session), unread, bytes_max), told);
                // What came behind the request was not looked at.
                self.readable(at, bounds, session, told);
            }
            Err(error) => {
                self.tell_closed(PeerLoss::Ended(CloseCode::Protocol), told);
                self.fault(at, error);
            }
        }
    }

    /// The messages begin.
    fn begin(&mut self, at: Instant, flow: Flow, told: &mut Vec<Told>) {
        if self.stage != Stage::Waiting {
            return;
        }
        (self.stage, self.until) = (Stage::Open, None);
        let (peer, format) = (self.peer, flow.format);
        self.flow = Some(flow);
        told.push(Told::Opened { peer, format, namespace: None });
        self.read_messages(at, told);
        self.read_datagrams(at, told);
    }

    fn read_messages(&mut self, at: Instant, told: &mut Vec<Told>) {
        let Some(flow) = self.flow.as_mut().filter(|flow| !flow.held) else { return };
        if self.stage != Stage::Open {
            return;
        }
        let peer = self.peer;
        let read = flow.read(&mut self.quic, |bytes| told.push(Told::Message { peer, bytes }));
        self.have_read(at, read, told);
    }

    fn read_datagrams(&mut self, at: Instant, told: &mut Vec<Told>) {
        let Some(flow) = self.flow.as_mut().filter(|flow| !flow.held) else { return };
        if self.stage != Stage::Open {
            return;
        }
        let peer = self.peer;
        let tell = |bytes| told.push(Told::Message { peer, bytes });
        let read = flow.read_datagrams(&mut self.quic, tell);
        self.have_read(at, read, told);
    }

    fn have_read(&mut self, at: Instant, read: Reading, told: &mut Vec<Told>) {
        match read {
            Reading::All => {}
            Reading::More => self.more = true,
            Reading::Finished => self.end(at, PeerLoss::Closed, told),
            Reading::Reset => self.end(at, PeerLoss::Broken, told),
            Reading::TooLarge => {
                let code = CloseCode::TooLarge;
                self.tell_closed(PeerLoss::Ended(code), told);
                self.close(at, code);
            }
        }
    }

    /// The peer has ended, or gone away from, its messages.
    fn end(&mut self, at: Instant, loss: PeerLoss, told: &mut Vec<Told>) {
        self.tell_closed(loss, told);
        self.close(at, CloseCode::Normal);
    }

    fn tell_closed(&mut self, loss: PeerLoss, told: &mut Vec<Told>) {
        if self.stage == Stage::Open {
            told.push(Told::Closed { peer: self.peer, loss });
        }
    }

    fn lost(&mut self, reason: &ConnectionError, told: &mut Vec<Told>) {
        tracing::debug!(peer = self.peer.0, %reason, "QUIC connection ended");
        let loss = match reason {
            ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
                PeerLoss::Closed
            }
            ConnectionError::TransportError(_) => PeerLoss::Ended(CloseCode::Protocol),
            _ => PeerLoss::Broken,
        };
        self.tell_closed(loss, told);
        (self.stage, self.until) = (Stage::Ended, None);
    }

    fn writable(&mut self, told: &mut Vec<Told>) {
        let Some(flow) = &mut self.flow else { return };
        if !flow.flush(&mut self.quic) {
            return;
        }
        match self.stage {
            Stage::Open if std::mem::take(&mut flow.refused) => {
                told.push(Told::Writable { peer: self.peer });
            }
            Stage::Closing(_) => self.finish_messages(),
            _ => {}
        }
    }

    pub(super) fn send(&mut self, chunk: &Bytes, reliable: bool, large_drops: bool) -> Sent {
        let Some(flow) = self.flow.as_mut().filter(|_| self.stage == Stage::Open) else {
            return Sent::Taken;
        };
        if !reliable {
            match flow.send_datagram(&mut self.quic, chunk) {
                Sending::Taken => return Sent::Taken,
                Sending::Full => return Sent::Full,
                Sending::TooLarge if large_drops => return Sent::Dropped,
                Sending::TooLarge => {}
            }
        }
        if flow.send(&mut self.quic, chunk) { Sent::Taken } else { Sent::Full }
    }

    pub(super) fn hold(&mut self, at: Instant, held: bool, told: &mut Vec<Told>) {
        let Some(flow) = &mut self.flow else { return };
        flow.held = held;
        if !held {
            self.read_messages(at, told);
            self.read_datagrams(at, told);
        }
    }

    pub(super) fn trust(&mut self, bytes_max: usize) {
        if let Some(flow) = &mut self.flow {
            flow.trust(bytes_max);
        }
    }

    /// Ends the connection when what was said last is acknowledged, or after a while.
    pub(super) fn close(&mut self, at: Instant, code: CloseCode) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Ended) {
            return;
        }
        if self.flow.is_none() {
            return self.close_session(at, code);
        }
        self.stage = Stage::Closing(Farewell { code, next: Await::Messages });
        self.until = at.checked_add(CLOSING);
        self.finish_messages();
    }

    /// What comes behind the messages.
    fn close_session(&mut self, at: Instant, code: CloseCode) {
        let session = match &mut self.speech {
            Speech::WebTransport(webtransport) => {
                webtransport.close(&mut self.quic, code.number(), code.reason())
            }
            _ => None,
        };
        let Some(session) = session else { return self.end_quic(at, code) };
        self.stage = Stage::Closing(Farewell { code, next: Await::Session(session) });
        self.until = self.until.or(at.checked_add(CLOSING));
    }

    /// Ends the stream of the messages, if all of them are on it.
    fn finish_messages(&mut self) {
        let Some(flow) = self.flow.as_ref().filter(|flow| flow.is_flushed()) else { return };
        // It fails if the peer wants nothing more of it: that is told as its end, too.
        _ = self.quic.send_stream(flow.stream).finish();
    }

    /// A stream is acknowledged to its end, or the peer wants nothing more of it.
    fn finished(&mut self, at: Instant, id: StreamId) {
        let Stage::Closing(Farewell { code, next }) = self.stage else { return };
        match next {
            Await::Messages if self.is_of_messages(id) => self.close_session(at, code),
            Await::Session(session) if session == id => self.end_quic(at, code),
            _ => {}
        }
    }

    /// The time of the stage is over.
    pub(super) fn give_up(&mut self, at: Instant) {
        match self.stage {
            Stage::Closing(Farewell { code, .. }) => self.end_quic(at, code),
            Stage::Handshake | Stage::Waiting => self.end_quic(at, CloseCode::Silent),
            Stage::Open | Stage::Ended => {}
        }
    }

    fn end_quic(&mut self, at: Instant, code: CloseCode) {
        let (number, reason) = match self.speech {
            // The code stands in the session's last capsule.
            Speech::WebTransport(_) => (H3Error::NoError.number(), ""),
            _ => (u32::from(code.number()), code.reason()),
        };
        self.quic.close(at, VarInt::from_u32(number), Bytes::from_static(reason.as_bytes()));
        (self.stage, self.until) = (Stage::Ended, None);
    }

    fn fault(&mut self, at: Instant, error: H3Error) {
        tracing::debug!(peer = self.peer.0, %error, "HTTP/3 connection closed for a fault");
        let reason = Bytes::from(error.to_string());
        self.quic.close(at, VarInt::from_u32(error.number()), reason);
        (self.stage, self.until) = (Stage::Ended, None);
    }

    fn count_surplus(&mut self, at: Instant, told: &mut Vec<Told>) {
        self.surplus += 1;
        if self.surplus > SURPLUS_MAX {
            self.tell_closed(PeerLoss::Ended(CloseCode::Protocol), told);
            self.close(at, CloseCode::Protocol);
        }
    }

    fn is_of_messages(&self, id: StreamId) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.stream == id)
    }
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    Full,
    /// It is unreliable and larger than a datagram.
    Dropped,
}
