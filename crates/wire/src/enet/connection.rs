//! One end of a connection.

use bytes::{Bytes, BytesMut};

use super::assembly::PIECE_BYTES;
use super::command::{Body, Command, Connect, Terms};
use super::datagram::{self, Datagram, Header, Options};
use super::incoming::{Incoming, Message, Verdict};
use super::outgoing::{Mode, Outgoing, TooLarge};
use super::pace::{Pace, THROTTLE};
use super::{CHANNEL_NONE, CHANNELS_MAX, MTU, MTU_MAX, MTU_MIN, PEER_NONE, WINDOW_MAX, WINDOW_MIN};

/// How long the other end may take for its part of a farewell, in milliseconds, once this end has
/// said all it had to say; and how long this end may take for that.
const FAREWELL_MS: u64 = 2000;

/// What both ends of a connection are made with.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// What both ends have agreed on.
    pub options: Options,
    /// Largest message that is taken, in bytes.
    pub message_bytes_max: usize,
    /// Most bytes of messages that came too early or are not complete.
    pub waiting_bytes_max: usize,
    /// After so long without an acknowledgement one is asked for, in milliseconds.
    pub ping_ms: u64,
}

/// What a connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The other end has agreed to the connection.
    Connected,
    /// A whole message.
    Message {
        /// On which channel it came.
        channel: u8,
        /// The message.
        bytes: Bytes,
    },
    /// The connection is over. Nothing is told after that.
    Closed(Closed),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The other end has left, with a number of the application.
    Left(u32),
    /// This end has left, and the other end knows or had the time to.
    Done,
    /// Nothing was acknowledged for too long.
    TimedOut,
    /// The other end said what ENet does not know here.
    Garbled,
    /// A message is larger than it may be.
    TooLarge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asked for; waits for [`Body::Verify`].
    Connecting,
    Connected,
    /// Leaves once everything has arrived.
    Leaving(u32),
    /// Has said that it leaves.
    Left,
    /// The other end has left and is yet to hear that this was heard.
    Answering,
    Closed,
}

/// One end of a connection.
pub struct Connection {
    settings: Settings,
    state: State,
    id: [u8; 4],
    /// Our number at the other end, and theirs here.
    peer: u16,
    /// What stands in the headers of either direction.
    outgoing_session: u8,
    incoming_session: u8,
    /// How many channels, once that is known.
    channels: usize,
    mtu: u32,
    incoming: Incoming,
    outgoing: Outgoing,
    pace: Pace,
    /// When something was last acknowledged.
    acknowledged_at: u64,
    /// When a farewell is given up.
    farewell_until: Option<u64>,
    /// What was not told yet, its bytes, and whether it is to wait.
    messages: Vec<Message>,
    messages_bytes: usize,
    is_held: bool,
    /// Kept from one call to the next, so that it does not allocate.
    page: BytesMut,
}

impl Connection {
    /// Asks for a connection of `channels` channels. `id` is to be drawn anew for each.
    pub fn connect(now: u64, settings: Settings, channels: u8, id: [u8; 4], data: u32) -> Self {
        let mut connection = Self::new(now, settings, usize::from(channels.max(1)), id);
        connection.state = State::Connecting;
        connection.outgoing = Outgoing::new(connection.channels, 0);
        let terms = Terms {
            peer: 0,
            incoming_session: 0xff,
            outgoing_session: 0xff,
            mtu: MTU,
            window_bytes: WINDOW_MAX,
            channels: connection.channels as u32,
            incoming_bandwidth: 0,
            outgoing_bandwidth: 0,
            throttle: THROTTLE,
            id,
        };
        connection.outgoing.push_own(Body::Connect(Connect { terms, data }));
        connection
    }

    /// The end that was asked for a connection, once the other one has shown that it receives:
    /// `granted` is what it was told.
    pub(super) fn accept(
        now: u64,
        settings: Settings,
        asked: &Terms,
        granted: &Terms,
        rtt_ms: u32,
    ) -> Self {
        let mut connection = Self::new(now, settings, granted.channels as usize, granted.id);
        connection.peer = asked.peer;
        connection.outgoing_session = granted.incoming_session;
        connection.incoming_session = granted.outgoing_session;
        connection.mtu = granted.mtu;
        connection.pace = Pace::new(asked.throttle, asked.incoming_bandwidth);
        connection.pace.measure(now, rtt_ms, 0);
        connection
    }

    fn new(now: u64, settings: Settings, channels: usize, id: [u8; 4]) -> Self {
        let channels = channels.min(CHANNELS_MAX as usize);
        Self {
            settings,
            state: State::Connected,
            id,
            peer: PEER_NONE,
            outgoing_session: 0,
            incoming_session: 0,
            channels,
            mtu: MTU,
            incoming: Incoming::new(
                channels,
                settings.waiting_bytes_max,
                settings.message_bytes_max,
            ),
            // The first number of the granting side was that of its answer.
            outgoing: Outgoing::new(channels, 1),
            pace: Pace::new(THROTTLE, 0),
            acknowledged_at: now,
            farewell_until: None,
            messages: Vec::new(),
            messages_bytes: 0,
            is_held: false,
            page: BytesMut::new(),
        }
    }

    /// Drawn by the end that has asked.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The number that the other end has given to this one.
    pub fn peer(&self) -> u16 {
        self.peer
    }

    /// How many channels both ends have.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        self.state == State::Connected
    }

    /// Bytes that were given to be sent and are not known to have arrived.
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Largest message that is taken from now on, in bytes.
    pub fn set_message_bytes_max(&mut self, message_bytes_max: usize) {
        self.incoming.set_message_bytes_max(message_bytes_max);
    }

    /// While a connection is held, no message is told. Reliable ones wait up to the bytes of
    /// [`Settings::waiting_bytes_max`] and are then refused, so that the other end waits;
    /// unreliable ones beyond that are lost.
    pub fn hold(&mut self, held: bool, told: &mut Vec<Heard>) {
        self.is_held = held;
        self.hand_on(told);
    }

    /// How often something was sent again since this was last asked.
    pub fn take_repeated(&mut self) -> u64 {
        self.outgoing.take_repeated()
    }

    /// Whether nothing is on its way to the other end that has to arrive.
    pub fn is_settled(&self) -> bool {
        self.state == State::Closed
            || (matches!(self.state, State::Connected) && self.outgoing.is_settled())
    }

    /// Gives a message to be sent.
    ///
    /// # Errors
    /// It needs more pieces than there are numbers for: more than 20,480 of at least 544 bytes.
    pub fn send(&mut self, channel: u8, bytes: Bytes, mode: Mode) -> Result<(), TooLarge> {
        if self.state != State::Connected {
            return Ok(());
        }
        let channel = usize::from(channel).min(self.channels.saturating_sub(1)) as u8;
        self.outgoing.push(channel, bytes, mode, self.room())
    }

    /// Bytes of commands that fit into a datagram.
    fn room(&self) -> usize {
        self.mtu as usize - datagram::overhead(self.settings.options)
    }

    /// Leaves when all that was given to be sent has arrived, or cannot.
    pub fn disconnect(&mut self, now: u64, data: u32) {
        match self.state {
            State::Connected => {
                self.state = State::Leaving(data);
                self.farewell_until = Some(now + FAREWELL_MS);
                self.incoming.clear();
            }
            State::Connecting => self.state = State::Closed,
            _ => {}
        }
    }

    /// A datagram came that is for this connection.
    pub fn receive(&mut self, now: u64, datagram: &Datagram, told: &mut Vec<Heard>) {
        let is_its = self.peer == PEER_NONE || datagram.header.session == self.incoming_session;
        if self.state == State::Closed || !is_its {
            return;
        }
        // What comes before the answer stands in no connection.
        let id = if datagram.header.peer == PEER_NONE { [0; 4] } else { self.id };
        if !datagram.is_intact(id) {
            return;
        }
        let mut rest = datagram.commands.clone();
        while let Some(command) = Command::read(&mut rest) {
            let (channel, sequence, wants_ack) =
                (command.channel, command.sequence, command.wants_ack);
            let is_farewell = matches!(command.body, Body::Disconnect(_));
            let verdict = self.hear(now, command, told);
            self.hand_on(told);
            match verdict {
                Verdict::Taken => {}
                // What is behind it in the datagram may be what it waits for.
                Verdict::Refused => continue,
                Verdict::Garbled => return self.close(Closed::Garbled, told),
                Verdict::TooLarge => return self.close(Closed::TooLarge, told),
            }
            if self.state == State::Closed {
                return;
            }
            if wants_ack {
                // Without a time nothing can be acknowledged, and what stands behind is as wrong.
                let Some(sent) = datagram.header.sent else { break };
                let answers = match self.state {
                    State::Answering => is_farewell,
                    State::Left => false,
                    _ => true,
                };
                if answers {
                    self.outgoing.acknowledge(channel, sequence, sent);
                }
            }
        }
    }

    fn hand_on(&mut self, told: &mut Vec<Heard>) {
        if self.is_held {
            let bytes = |message: &Message| message.bytes.len() + PIECE_BYTES;
            self.messages_bytes = self.messages.iter().map(bytes).sum();
            return;
        }
        self.messages_bytes = 0;
        let messages = self.messages.drain(..);
        told.extend(messages.map(|Message { channel, bytes }| Heard::Message { channel, bytes }));
    }

    fn hear(&mut self, now: u64, command: Command, told: &mut Vec<Heard>) -> Verdict {
        let Command { channel, sequence, wants_ack, body } = command;
        let is_open = self.state == State::Connected;
        match body {
            Body::Acknowledge { sequence, sent } => {
                return self.hear_ack(now, channel, sequence, sent, told);
            }
            Body::Connect(_) => return Verdict::Refused,
            Body::Verify(granted) => return self.hear_verify(now, &granted, told),
            Body::Disconnect(data) => self.hear_farewell(data, wants_ack, told),
            Body::Ping | Body::Bandwidth { .. } | Body::Throttle(_)
                if self.state == State::Connecting =>
            {
                return Verdict::Refused;
            }
            Body::Ping => {}
            Body::Bandwidth { incoming, .. } => self.pace.set_bandwidth(incoming),
            Body::Throttle(throttle) => self.pace.set_throttle(throttle),
            // Who leaves hears nothing more, but lets the other end know that it came.
            _ if matches!(self.state, State::Leaving(_)) => {}
            _ if !is_open => return Verdict::Refused,
            _ if self.messages_bytes > self.settings.waiting_bytes_max => {
                return if wants_ack { Verdict::Refused } else { Verdict::Taken };
            }
            Body::Reliable(data) => {
                return self.incoming.reliable(channel, sequence, data, &mut self.messages);
            }
            Body::Unreliable(number, data) => {
                let messages = &mut self.messages;
                return self.incoming.unreliable(channel, sequence, number, data, messages);
            }
            Body::Unsequenced(number, data) => {
                return self.incoming.unsequenced(channel, number, data, &mut self.messages);
            }
            Body::Fragment(fragment) => {
                return self.incoming.fragment(channel, &fragment, &mut self.messages);
            }
            Body::UnreliableFragment(fragment) => {
                let messages = &mut self.messages;
                return self.incoming.unreliable_fragment(channel, sequence, &fragment, messages);
            }
        }
        Verdict::Taken
    }

    fn hear_ack(
        &mut self,
        now: u64,
        channel: u8,
        sequence: u16,
        sent: u16,
        told: &mut Vec<Heard>,
    ) -> Verdict {
        // Only what was on its way says something about the link. The clock of the wire wraps every
        // 65 s; what seems to come from the future does not.
        let rtt_ms = (now as u16).wrapping_sub(sent);
        let is_past = rtt_ms < 0x8000;
        let sent_at = if is_past { now.saturating_sub(u64::from(rtt_ms)) } else { 0 };
        let body = self.outgoing.acknowledged(now, (channel, sequence), sent_at, &self.pace);
        let Some(body) = body.filter(|_| is_past) else { return Verdict::Taken };
        self.pace.measure(now, u32::from(rtt_ms), body.data_bytes() as u32);
        self.acknowledged_at = now;
        if self.state == State::Left && matches!(body, Body::Disconnect(_)) {
            self.close(Closed::Done, told);
        }
        Verdict::Taken
    }

    fn hear_verify(&mut self, now: u64, granted: &Terms, told: &mut Vec<Heard>) -> Verdict {
        if self.state != State::Connecting {
            // It came again because its acknowledgement was lost.
            return Verdict::Taken;
        }
        let channels = granted.channels as usize;
        if granted.id != self.id || channels == 0 || channels > self.channels {
            return Verdict::Refused;
        }
        self.outgoing.acknowledged(now, (CHANNEL_NONE, 1), 0, &self.pace);
        self.acknowledged_at = now;
        self.channels = channels;
        self.outgoing.set_channels(channels);
        self.peer = granted.peer & PEER_NONE;
        self.incoming_session = granted.incoming_session & 3;
        self.outgoing_session = granted.outgoing_session & 3;
        self.mtu = self.mtu.min(granted.mtu.clamp(MTU_MIN, MTU_MAX));
        self.pace.set_bandwidth(granted.incoming_bandwidth);
        self.state = State::Connected;
        told.push(Heard::Connected);
        Verdict::Taken
    }

    fn hear_farewell(&mut self, data: u32, wants_ack: bool, told: &mut Vec<Heard>) {
        match self.state {
            State::Answering | State::Closed => {}
            State::Connected | State::Leaving(_) if wants_ack => {
                self.close(Closed::Left(data), told);
                self.state = State::Answering;
            }
            State::Left => self.close(Closed::Done, told),
            _ => self.close(Closed::Left(data), told),
        }
    }

    fn close(&mut self, how: Closed, told: &mut Vec<Heard>) {
        self.state = State::Closed;
        self.outgoing.clear();
        self.incoming.clear();
        told.push(Heard::Closed(how));
    }

    /// Sees to what time brings; to be called when it is [`due`](Self::due), and before
    /// [`transmit`](Self::transmit).
    pub fn tick(&mut self, now: u64, told: &mut Vec<Heard>) {
        match self.state {
            State::Closed => return,
            State::Leaving(data) if self.outgoing.is_settled() || self.is_late(now) => {
                self.outgoing.clear();
                self.outgoing.push_own(Body::Disconnect(data));
                self.farewell_until = Some(now + FAREWELL_MS);
                self.state = State::Left;
            }
            State::Left if self.is_late(now) => return self.close(Closed::Done, told),
            _ => {}
        }
        if self.outgoing.time_out(now, &mut self.pace) {
            let how = if self.state == State::Left { Closed::Done } else { Closed::TimedOut };
            return self.close(how, told);
        }
        let is_quiet = self.outgoing.is_settled();
        if self.state == State::Connected && is_quiet && now >= self.ping_due() {
            self.outgoing.push_own(Body::Ping);
        }
    }

    fn is_late(&self, now: u64) -> bool {
        self.farewell_until.is_some_and(|until| now >= until)
    }

    fn ping_due(&self) -> u64 {
        self.acknowledged_at + self.settings.ping_ms
    }

    /// When [`tick`](Self::tick) is to be called at the latest; `None`: the connection is over.
    pub fn due(&self) -> Option<u64> {
        let next = match self.state {
            State::Closed => return None,
            State::Connected if !self.outgoing.is_waiting() => self.ping_due(),
            State::Leaving(_) if self.outgoing.is_settled() => 0,
            _ => self.outgoing.next_timeout().unwrap_or(u64::MAX),
        };
        Some(next.min(self.farewell_until.unwrap_or(u64::MAX)))
    }

    /// Writes a datagram that ends the connection at once, without waiting for anything: `data`
    /// says why. For faults; see [`disconnect`](Self::disconnect).
    pub fn write_end(&self, data: u32, out: &mut BytesMut) {
        let body = Body::Disconnect(data);
        let command = Command { channel: CHANNEL_NONE, sequence: 0, wants_ack: false, body };
        let mut page = BytesMut::new();
        command.write(&mut page);
        let header = Header { peer: self.peer, session: self.outgoing_session, sent: None };
        datagram::seal(header, &page, self.id, self.settings.options, out);
    }

    /// Writes the next datagram behind what `out` has, if there is one. To be called until there
    /// is none.
    pub fn transmit(&mut self, now: u64, out: &mut BytesMut) -> bool {
        if self.state == State::Closed {
            return false;
        }
        let room = self.room();
        self.page.clear();
        let wants_time = self.outgoing.write(now, &mut self.pace, room, &mut self.page);
        if self.page.is_empty() {
            if self.state == State::Answering {
                self.state = State::Closed;
            }
            return false;
        }
        let sent = wants_time.then_some(now as u16);
        let header = Header { peer: self.peer, session: self.outgoing_session, sent };
        let before = out.len();
        datagram::seal(header, &self.page, self.id, self.settings.options, out);
        self.pace.count(now, out.len() - before);
        true
    }
}

/// The answer to who asks for a connection, bounded by what this end takes.
pub(super) fn grant(asked: &Terms, peer: u16, sessions: [u8; 2], channels: u8) -> Terms {
    Terms {
        peer,
        incoming_session: sessions[0] & 3,
        outgoing_session: sessions[1] & 3,
        mtu: MTU.min(asked.mtu.clamp(MTU_MIN, MTU_MAX)),
        window_bytes: asked.window_bytes.clamp(WINDOW_MIN, WINDOW_MAX),
        channels: asked.channels.min(u32::from(channels)),
        incoming_bandwidth: 0,
        outgoing_bandwidth: 0,
        throttle: asked.throttle,
        id: asked.id,
    }
}
