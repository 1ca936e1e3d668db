//! What is to be sent: in which datagrams, and again when it was lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::CHANNEL_NONE;
use super::command::{Body, Command, Fragment};
use super::pace::Pace;

/// Commands of one datagram at most. The C library writes 32 and reads any number; a flood of
/// commands is so acknowledged in a quarter of the datagrams.
const COMMANDS_MAX: usize = 128;

/// Acknowledgements that wait for the next datagrams at most: those of 16 full ones. What is not
/// acknowledged comes again.
const ACKS_MAX: usize = 4096;

/// The receiver takes what is at most seven windows ahead of what it waits for; at the beginning
/// of each window we look whether all is within six.
const WINDOW: u16 = 4096;
const SPAN_MAX: u16 = 6 * WINDOW;

/// Pieces of one message at most: they must fit into the windows.
const FRAGMENTS_MAX: usize = 5 * WINDOW as usize;

/// Bytes of a piece's own command.
const FRAGMENT_COMMAND_BYTES: usize = 24;

/// Unreliable bytes that wait at most; beyond them the oldest messages are dropped.
const LOOSE_BYTES_MAX: usize = 64 << 10;

/// The unreliable number wraps only with a reliable message between.
const UNRELIABLE_MAX: u16 = u16::MAX;

/// How a message is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In order, again and again until it has arrived.
    Reliable,
    /// Once; not after a later one.
    Unreliable,
    /// Once, whenever it arrives.
    Unsequenced,
}

/// The message needs more pieces than there are numbers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is too large for ENet")]
pub struct TooLarge(usize);

#[derive(Default, Clone, Copy)]
struct Channel {
    reliable: u16,
    unreliable: u16,
}

/// A reliable command.
struct Sending {
    command: Command,
    /// Its place among all that was given to be sent.
    serial: u64,
    attempts: u32,
    sent_at: u64,
    timeout_ms: u32,
}

impl Sending {
    fn bytes(&self) -> u32 {
        self.command.body.data_bytes() as u32
    }

    fn key(&self) -> (u8, u16) {
        (self.command.channel, self.command.sequence)
    }
}

/// A link is given up when something was sent so often and nothing at all was acknowledged for so
/// long, and in any case after the longer time. The numbers are those of the C library, which
/// looks at the one command alone and so ends links of 20 % loss that are alive.
const ATTEMPTS_MAX: u32 = 6;
const SILENCE_MIN_MS: u64 = 5000;
const SILENCE_MAX_MS: u64 = 30_000;

/// The time until something is sent again doubles up to this, or stays what it was first. The C
/// library doubles without end: what was lost five times waits 32 times as long as at first.
const TIMEOUT_MAX_MS: u32 = 1000;

/// How often something is sent again because what was sent later has arrived, and not because its
/// time is over. A peer that acknowledges some messages and never another has no more of it.
const OVERTAKEN_MAX: u32 = 3;

/// What is written of it, one datagram after the other.
pub(super) struct Outgoing {
    channels: Vec<Channel>,
    /// The number of the last reliable command that belongs to no channel.
    own_sequence: u16,
    unsequenced: u16,
    acks: VecDeque<(u8, u16, u16)>,
    /// What may be lost.
    loose: VecDeque<Command>,
    loose_bytes: usize,
    /// What was never sent.
    fresh: VecDeque<Sending>,
    /// By its serial number: the receiver waits for the first of them, and may have no room for
    /// the others.
    lost: BTreeMap<u64, Sending>,
    serial: u64,
    flight: BTreeMap<(u8, u16), Sending>,
    /// The same from the first that was sent on.
    flight_order: BTreeSet<(u64, (u8, u16))>,
    flight_bytes: u32,
    /// When the latest was sent of what has arrived: what was sent before may be lost.
    arrived_sent_at: u64,
    /// Reliable bytes that are not acknowledged, sent or not.
    reliable_bytes: usize,
    /// When the first of what flies is to be sent again, or earlier.
    next_timeout: u64,
    /// Since when nothing that was sent has been acknowledged.
    silent_since: Option<u64>,
    /// When something was last acknowledged.
    acknowledged_at: u64,
    /// How often something was sent again since this was last taken.
    repeated: u64,
}

impl Outgoing {
    pub(super) fn new(channels: usize, own_sequence: u16) -> Self {
        Self {
            channels: vec![Channel::default(); channels],
            own_sequence,
            unsequenced: 0,
            acks: VecDeque::new(),
            loose: VecDeque::new(),
            loose_bytes: 0,
            fresh: VecDeque::new(),
            lost: BTreeMap::new(),
            serial: 0,
            flight: BTreeMap::new(),
            flight_order: BTreeSet::new(),
            flight_bytes: 0,
            arrived_sent_at: 0,
            reliable_bytes: 0,
            next_timeout: u64::MAX,
            silent_since: None,
            acknowledged_at: 0,
            repeated: 0,
        }
    }

    pub(super) fn set_channels(&mut self, channels: usize) {
        self.channels.truncate(channels);
    }

    /// Bytes that were given to be sent and are not known to have arrived.
    pub(super) fn bytes(&self) -> usize {
        self.reliable_bytes + self.loose_bytes
    }

    /// How often something was sent again since this was last asked.
    pub(super) fn take_repeated(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }

    /// Whether everything reliable has arrived.
    pub(super) fn is_settled(&self) -> bool {
        self.fresh.is_empty() && self.lost.is_empty() && self.flight.is_empty()
    }

    /// Whether anything is known to be on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.flight.is_empty()
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        (!self.flight.is_empty()).then_some(self.next_timeout)
    }

    /// Forgets everything but acknowledgements.
    pub(super) fn clear(&mut self) {
        self.loose.clear();
        self.fresh.clear();
        self.lost.clear();
        self.flight.clear();
        self.flight_order.clear();
        (self.loose_bytes, self.reliable_bytes, self.flight_bytes) = (0, 0, 0);
    }

    pub(super) fn acknowledge(&mut self, channel: u8, sequence: u16, sent: u16) {
        if self.acks.len() < ACKS_MAX {
            self.acks.push_back((channel, sequence, sent));
        }
    }

    /// A reliable command that belongs to no channel.
    pub(super) fn push_own(&mut self, body: Body) {
        self.own_sequence = self.own_sequence.wrapping_add(1);
        let sequence = self.own_sequence;
        self.push_reliable(Command { channel: CHANNEL_NONE, sequence, wants_ack: true, body });
    }

    fn push_reliable(&mut self, command: Command) {
        self.serial += 1;
        let serial = self.serial;
        let sending = Sending { command, serial, attempts: 0, sent_at: 0, timeout_ms: 0 };
        self.reliable_bytes += sending.bytes() as usize;
        self.fresh.push_back(sending);
    }

    /// A message. Pieces have at most `room` bytes with their commands.
    pub(super) fn push(
        &mut self,
        channel: u8,
        bytes: Bytes,
        mode: Mode,
        room: usize,
    ) -> Result<(), TooLarge> {
        let piece_bytes = room.saturating_sub(FRAGMENT_COMMAND_BYTES).max(1);
        let count = bytes.len().div_ceil(piece_bytes).max(1);
        if count > FRAGMENTS_MAX {
            return Err(TooLarge(bytes.len()));
        }
        let Some(numbers) = self.channels.get_mut(usize::from(channel)) else { return Ok(()) };
        if count > 1 {
            return self.push_pieces(channel, &bytes, mode, piece_bytes, count);
        }
        let is_wrapping = mode == Mode::Unreliable && numbers.unreliable == UNRELIABLE_MAX;
        if mode == Mode::Reliable || is_wrapping {
            numbers.reliable = numbers.reliable.wrapping_add(1);
            numbers.unreliable = 0;
            let sequence = numbers.reliable;
            let body = Body::Reliable(bytes);
            self.push_reliable(Command { channel, sequence, wants_ack: true, body });
            return Ok(());
        }
        self.loose_bytes += bytes.len();
        let (sequence, body) = if mode == Mode::Unreliable {
            numbers.unreliable += 1;
            (numbers.reliable, Body::Unreliable(numbers.unreliable, bytes))
        } else {
            self.unsequenced = self.unsequenced.wrapping_add(1);
            (0, Body::Unsequenced(self.unsequenced, bytes))
        };
        self.loose.push_back(Command { channel, sequence, wants_ack: false, body });
        self.bound_loose();
        Ok(())
    }

    fn push_pieces(
        &mut self,
        channel: u8,
        bytes: &Bytes,
        mode: Mode,
        piece_bytes: usize,
        count: usize,
    ) -> Result<(), TooLarge> {
        let Some(numbers) = self.channels.get_mut(usize::from(channel)) else { return Ok(()) };
        // Unsequenced messages have no pieces; as in the C library they are then reliable.
        let is_loose = mode == Mode::Unreliable && numbers.unreliable < UNRELIABLE_MAX;
        let start = if is_loose {
            numbers.unreliable += 1;
            numbers.unreliable
        } else {
            numbers.unreliable = 0;
            numbers.reliable.wrapping_add(1)
        };
        let behind = numbers.reliable;
        if !is_loose {
            numbers.reliable = behind.wrapping_add(count as u16);
        }
        for number in 0..count {
            let from = number * piece_bytes;
            let data = bytes.slice(from..bytes.len().min(from + piece_bytes));
            let fragment = Fragment {
                start,
                count: count as u32,
                number: number as u32,
                total: bytes.len() as u32,
                offset: from as u32,
                data,
            };
            if is_loose {
                self.loose_bytes += fragment.data.len();
                let body = Body::UnreliableFragment(fragment);
                let command = Command { channel, sequence: behind, wants_ack: false, body };
                self.loose.push_back(command);
            } else {
                let sequence = start.wrapping_add(number as u16);
                let body = Body::Fragment(fragment);
                self.push_reliable(Command { channel, sequence, wants_ack: true, body });
            }
        }
        self.bound_loose();
        Ok(())
    }

    /// The newest message stays, however large it is.
    fn bound_loose(&mut self) {
        while self.loose_bytes > LOOSE_BYTES_MAX && self.has_several_loose() {
            self.drop_loose();
        }
    }

    fn has_several_loose(&self) -> bool {
        let begins = |command: &Command| match &command.body {
            Body::UnreliableFragment(fragment) => fragment.number == 0,
            _ => true,
        };
        self.loose.iter().skip(1).any(begins)
    }

    /// Something arrived that was sent at `sent_at`, as far as the other end knows. Returns what it
    /// was, if it was on its way.
    pub(super) fn acknowledged(
        &mut self,
        now: u64,
        (channel, sequence): (u8, u16),
        sent_at: u64,
        pace: &Pace,
    ) -> Option<Body> {
        let key = (channel, sequence);
        let sending = match self.land(key) {
            Some(sending) => sending,
            // It was thought lost and its acknowledgement was only late.
            None => {
                let mut lost = self.lost.values();
                let serial = lost.find(|sending| sending.key() == key)?.serial;
                self.lost.remove(&serial)?
            }
        };
        self.silent_since = None;
        self.acknowledged_at = now;
        self.reliable_bytes = self.reliable_bytes.saturating_sub(sending.bytes() as usize);
        // A peer that invents times learns nothing later than what it has.
        self.arrived_sent_at = self.arrived_sent_at.max(sent_at.min(sending.sent_at));
        if let Some((first, _)) = self.flight_order.first()
            && *first < self.arrived_sent_at
        {
            let due = first + u64::from(pace.overtaken_ms());
            self.next_timeout = self.next_timeout.min(due);
        }
        Some(sending.command.body)
    }

    /// Takes something out of what is on its way.
    fn land(&mut self, key: (u8, u16)) -> Option<Sending> {
        let sending = self.flight.remove(&key)?;
        self.flight_order.remove(&(sending.sent_at, key));
        self.flight_bytes = self.flight_bytes.saturating_sub(sending.bytes());
        Some(sending)
    }

    /// Looks for what was lost. Returns whether the link is.
    pub(super) fn time_out(&mut self, now: u64, pace: &mut Pace) -> bool {
        if self.flight.is_empty() || now < self.next_timeout {
            return false;
        }
        let overtaken_ms = pace.overtaken_ms();
        let mut overdue = Vec::new();
        self.next_timeout = u64::MAX;
        for (key, sending) in &self.flight {
            let is_overtaken =
                sending.sent_at < self.arrived_sent_at && sending.attempts <= OVERTAKEN_MAX;
            let wait_ms = match is_overtaken {
                true => sending.timeout_ms.min(overtaken_ms),
                false => sending.timeout_ms,
            };
            let due = sending.sent_at + u64::from(wait_ms);
            if due > now {
                self.next_timeout = self.next_timeout.min(due);
                continue;
            }
            overdue.push((*key, is_overtaken));
            if is_overtaken {
                continue;
            }
            let since = self.silent_since.map_or(sending.sent_at, |at| at.min(sending.sent_at));
            // What was sent before the last acknowledgement says nothing about what came after.
            let since = *self.silent_since.insert(since.max(self.acknowledged_at));
            let silent = now.saturating_sub(since);
            let is_tired = sending.attempts >= ATTEMPTS_MAX;
            if silent >= SILENCE_MAX_MS || (is_tired && silent >= SILENCE_MIN_MS) {
                return true;
            }
        }
        for (key, is_overtaken) in overdue {
            let Some(mut sending) = self.land(key) else { continue };
            if !is_overtaken {
                let doubled = sending.timeout_ms.saturating_mul(2).min(TIMEOUT_MAX_MS);
                sending.timeout_ms = sending.timeout_ms.max(doubled);
            }
            pace.lose(now);
            self.lost.insert(sending.serial, sending);
        }
        false
    }

    /// Writes the commands of one datagram of at most `room` bytes. Returns whether one of them
    /// wants an acknowledgement, so that the datagram needs its time.
    pub(super) fn write(
        &mut self,
        now: u64,
        pace: &mut Pace,
        room: usize,
        out: &mut BytesMut,
    ) -> bool {
        let mut page = Page { out, room, commands: 0 };
        while let Some(&(channel, sequence, sent)) = self.acks.front() {
            let body = Body::Acknowledge { sequence, sent };
            if !page.write(&Command { channel, sequence, wants_ack: false, body }) {
                return false;
            }
            self.acks.pop_front();
        }
        let mut wants_time = false;
        while let Some((_, sending)) = self.lost.first_key_value() {
            if !self.may_fly(sending, pace, room) || !page.write(&sending.command) {
                break;
            }
            let Some((_, sending)) = self.lost.pop_first() else { break };
            self.launch(sending, now, pace);
            self.repeated += 1;
            wants_time = true;
        }
        self.write_loose(pace, &mut page);
        while let Some(sending) = self.fresh.front() {
            let is_next = self.lost.is_empty() && self.is_within_span(sending);
            if !is_next || !self.may_fly(sending, pace, room) || !page.write(&sending.command) {
                break;
            }
            let Some(sending) = self.fresh.pop_front() else { break };
            self.launch(sending, now, pace);
            wants_time = true;
        }
        wants_time
    }

    fn write_loose(&mut self, pace: &mut Pace, page: &mut Page<'_>) {
        while let Some(command) = self.loose.front() {
            let is_first = match &command.body {
                Body::UnreliableFragment(fragment) => fragment.number == 0,
                _ => true,
            };
            if !page.has_room_for(command) {
                return;
            }
            if is_first && !pace.lets_through() {
                self.drop_loose();
                continue;
            }
            page.write(command);
            let bytes = command.body.data_bytes();
            self.loose_bytes = self.loose_bytes.saturating_sub(bytes);
            self.loose.pop_front();
        }
    }

    /// Drops the first unreliable message with all its pieces.
    fn drop_loose(&mut self) {
        let mut is_first = true;
        while let Some(command) = self.loose.front() {
            let is_rest = match &command.body {
                Body::UnreliableFragment(fragment) => fragment.number > 0,
                _ => false,
            };
            if !is_first && !is_rest {
                return;
            }
            is_first = false;
            let bytes = command.body.data_bytes();
            self.loose_bytes = self.loose_bytes.saturating_sub(bytes);
            self.loose.pop_front();
        }
    }

    /// Whether the window has room for it.
    fn may_fly(&self, sending: &Sending, pace: &Pace, room: usize) -> bool {
        let bytes = sending.bytes();
        // What has no data does not count: pings go through a full window.
        bytes == 0 || self.flight_bytes + bytes <= pace.window_bytes().max(room as u32)
    }

    /// Whether the receiver can know that the number is a new one.
    fn is_within_span(&self, sending: &Sending) -> bool {
        let (channel, sequence) = sending.key();
        if channel == CHANNEL_NONE || !sequence.is_multiple_of(WINDOW) {
            return true;
        }
        let is_near = |other: u16| sequence.wrapping_sub(other) < SPAN_MAX;
        let mut lost = self.lost.values().map(Sending::key).filter(|key| key.0 == channel);
        let mut flight = self.flight.range((channel, 0)..=(channel, u16::MAX));
        lost.all(|key| is_near(key.1)) && flight.all(|(key, _)| is_near(key.1))
    }

    fn launch(&mut self, mut sending: Sending, now: u64, pace: &Pace) {
        sending.attempts += 1;
        sending.sent_at = now;
        if sending.timeout_ms == 0 {
            sending.timeout_ms = pace.timeout_ms();
        }
        let due = now + u64::from(sending.timeout_ms);
        if self.flight.is_empty() || due < self.next_timeout {
            self.next_timeout = due;
        }
        self.flight_bytes += sending.bytes();
        self.flight_order.insert((now, sending.key()));
        self.flight.insert(sending.key(), sending);
    }
}

/// The commands of one datagram.
struct Page<'a> {
    out: &'a mut BytesMut,
    room: usize,
    commands: usize,
}

impl Page<'_> {
    fn has_room_for(&self, command: &Command) -> bool {
        self.commands < COMMANDS_MAX && self.out.len() + command.size() <= self.room
    }

    fn write(&mut self, command: &Command) -> bool {
        let has_room = self.has_room_for(command);
        if has_room {
            command.write(self.out);
            self.commands += 1;
        }
        has_room
    }
}
