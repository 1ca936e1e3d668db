//! What came on the channels: put in order, put together, handed on once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::assembly::{Added, Assembly, PIECE_BYTES, is_possible};
use super::command::Fragment;
use super::unsequenced::Window;

/// A sequence number further ahead than this is an old one. ENet sends at most seven windows of
/// 4,096 ahead.
const AHEAD_MAX: u16 = 7 * 4096;

/// A message that is handed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: u8,
    pub(super) bytes: Bytes,
}

/// What becomes of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be acknowledged, whether it was new or not.
    Taken,
    /// There is no room for it now; the peer sends it again.
    Refused,
    /// It cannot be part of this conversation; what stands behind it in the datagram is not read.
    Garbled,
    /// The message is larger than it may be: it would never arrive.
    TooLarge,
}

enum Waiting {
    Whole(Bytes),
    Parts(Assembly),
}

impl Waiting {
    /// Adds a piece to what waits in its place. Returns also whether that is complete.
    fn add<K: Ord>(entry: Entry<'_, K, Self>, fragment: &Fragment) -> (Added, bool) {
        match entry.or_insert_with(|| Self::Parts(Assembly::new(fragment))) {
            Self::Whole(_) => (Added::Foreign, false),
            Self::Parts(assembly) => {
                let added = assembly.add(fragment);
                (added, assembly.is_complete())
            }
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Parts(assembly) => assembly.is_complete(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len() + PIECE_BYTES,
            Self::Parts(assembly) => assembly.bytes(),
        }
    }
}

#[derive(Default)]
struct Channel {
    /// The last reliable message that was handed on. Wide, so that it never wraps; its low 16
    /// bits are those of the wire.
    reliable: u64,
    /// The last unreliable one behind it.
    unreliable: u16,
    /// Reliable ones that came too early or are not complete, by their number.
    waiting: BTreeMap<u64, Waiting>,
    /// Unreliable ones that stand behind a reliable one that has not come, or are not complete.
    held: BTreeMap<(u64, u16), Waiting>,
}

impl Channel {
    /// The number on the wire in full; `None`: an old one.
    fn full(&self, sequence: u16) -> Option<u64> {
        let ahead = sequence.wrapping_sub(self.reliable as u16);
        if ahead > AHEAD_MAX { None } else { Some(self.reliable + u64::from(ahead)) }
    }
}

pub(super) struct Incoming {
    channels: Vec<Channel>,
    unsequenced: Window,
    /// Bytes of everything that waits.
    bytes: usize,
    bytes_max: usize,
    message_bytes_max: usize,
}

impl Incoming {
    /// `bytes_max`: most bytes of what waits for something else; what is next in its order may
    /// exceed it by `message_bytes_max`, as it would otherwise wait for ever.
    pub(super) fn new(channels: usize, bytes_max: usize, message_bytes_max: usize) -> Self {
        let channels = std::iter::repeat_with(Channel::default).take(channels).collect();
        Self { channels, unsequenced: Window::default(), bytes: 0, bytes_max, message_bytes_max }
    }

    pub(super) fn set_message_bytes_max(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = message_bytes_max;
    }

    /// Nothing more is handed on.
    pub(super) fn clear(&mut self) {
        self.channels.clear();
        self.bytes = 0;
    }

    pub(super) fn reliable(
        &mut self,
        channel: u8,
        sequence: u16,
        data: Bytes,
        told: &mut Vec<Message>,
    ) -> Verdict {
        let bytes_max = self.message_bytes_max;
        let place = match place(&mut self.channels, channel, data.len(), bytes_max) {
            Ok(place) => place,
            Err(verdict) => return verdict,
        };
        let Some(number) = place.full(sequence) else { return Verdict::Taken };
        if number <= place.reliable || place.waiting.contains_key(&number) {
            return Verdict::Taken;
        }
        if number == place.reliable + 1 {
            place.reliable = number;
            place.unreliable = 0;
            told.push(Message { channel, bytes: data });
            return self.release(channel, told);
        }
        let added = data.len() + PIECE_BYTES;
        if self.bytes + added > self.bytes_max {
            return Verdict::Refused;
        }
        self.bytes += added;
        place.waiting.insert(number, Waiting::Whole(Bytes::copy_from_slice(&data)));
        Verdict::Taken
    }

    pub(super) fn fragment(
        &mut self,
        channel: u8,
        fragment: &Fragment,
        told: &mut Vec<Message>,
    ) -> Verdict {
        let bytes_max = self.message_bytes_max;
        let place = match place(&mut self.channels, channel, fragment.total as usize, bytes_max) {
            Ok(place) if is_possible(fragment) => place,
            Ok(_) => return Verdict::Garbled,
            Err(verdict) => return verdict,
        };
        let Some(number) = place.full(fragment.start) else { return Verdict::Taken };
        if number <= place.reliable {
            return Verdict::Taken;
        }
        let is_next = number == place.reliable + 1;
        if !is_next && self.bytes + fragment.data.len() + PIECE_BYTES > self.bytes_max {
            return Verdict::Refused;
        }
        let added = Waiting::add(place.waiting.entry(number), fragment);
        match self.count(added) {
            Ok(is_complete) if is_complete && is_next => self.release(channel, told),
            Ok(_) => Verdict::Taken,
            Err(verdict) => verdict,
        }
    }

    pub(super) fn unreliable(
        &mut self,
        channel: u8,
        behind: u16,
        sequence: u16,
        data: Bytes,
        told: &mut Vec<Message>,
    ) -> Verdict {
        let bytes_max = self.message_bytes_max;
        let place = match place(&mut self.channels, channel, data.len(), bytes_max) {
            Ok(place) => place,
            Err(verdict) => return verdict,
        };
        let Some(number) = place.full(behind) else { return Verdict::Taken };
        if number == place.reliable {
            if sequence > place.unreliable {
                place.unreliable = sequence;
                told.push(Message { channel, bytes: data });
                self.drop_older(channel);
            }
            return Verdict::Taken;
        }
        let added = data.len() + PIECE_BYTES;
        let key = (number, sequence);
        // Unreliable: without room it is lost.
        if self.bytes + added <= self.bytes_max && !place.held.contains_key(&key) {
            self.bytes += added;
            place.held.insert(key, Waiting::Whole(Bytes::copy_from_slice(&data)));
        }
        Verdict::Taken
    }

    pub(super) fn unreliable_fragment(
        &mut self,
        channel: u8,
        behind: u16,
        fragment: &Fragment,
        told: &mut Vec<Message>,
    ) -> Verdict {
        let bytes_max = self.message_bytes_max;
        let place = match place(&mut self.channels, channel, fragment.total as usize, bytes_max) {
            Ok(place) if is_possible(fragment) => place,
            Ok(_) => return Verdict::Garbled,
            Err(verdict) => return verdict,
        };
        let Some(number) = place.full(behind) else { return Verdict::Taken };
        let is_old = number == place.reliable && fragment.start <= place.unreliable;
        let added = fragment.data.len() + PIECE_BYTES;
        if is_old || self.bytes + added > self.bytes_max {
            return Verdict::Taken;
        }
        let is_now = number == place.reliable;
        let added = Waiting::add(place.held.entry((number, fragment.start)), fragment);
        match self.count(added) {
            Ok(is_complete) if is_complete && is_now => self.release_unreliable(channel, told),
            Ok(_) => Verdict::Taken,
            Err(verdict) => verdict,
        }
    }

    pub(super) fn unsequenced(
        &mut self,
        channel: u8,
        number: u16,
        data: Bytes,
        told: &mut Vec<Message>,
    ) -> Verdict {
        if data.len() > self.message_bytes_max {
            return Verdict::TooLarge;
        }
        if usize::from(channel) >= self.channels.len() {
            return Verdict::Garbled;
        }
        if self.unsequenced.take(number) {
            told.push(Message { channel, bytes: data });
        }
        Verdict::Taken
    }

    /// Counts what became of a piece. Returns whether its message is complete now.
    fn count(&mut self, (added, is_complete): (Added, bool)) -> Result<bool, Verdict> {
        match added {
            Added::Stored(bytes) => self.bytes += bytes,
            Added::Known => return Ok(false),
            Added::Foreign => return Err(Verdict::Garbled),
        }
        Ok(is_complete)
    }

    /// Hands on what waits no longer.
    fn release(&mut self, channel: u8, told: &mut Vec<Message>) -> Verdict {
        let Some(place) = self.channels.get_mut(usize::from(channel)) else {
            return Verdict::Garbled;
        };
        while let Some(entry) = place.waiting.first_entry() {
            let number = *entry.key();
            let is_passed = number <= place.reliable;
            let is_next = number == place.reliable + 1;
            let is_ready = entry.get().is_complete();
            let may_go = is_passed || (is_next && is_ready);
            if !may_go {
                break;
            }
            let waiting = entry.remove();
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            // One that claims a number inside another was never sent by ENet.
            if is_passed {
                continue;
            }
            let (bytes, count) = match waiting {
                Waiting::Whole(bytes) => (Some(bytes), 1),
                Waiting::Parts(assembly) => {
                    let count = assembly.count();
                    (assembly.join(), count)
                }
            };
            let Some(bytes) = bytes else { return Verdict::Garbled };
            place.reliable += u64::from(count);
            place.unreliable = 0;
            told.push(Message { channel, bytes });
        }
        self.release_unreliable(channel, told)
    }

    /// Hands on the unreliable ones that stand behind the last reliable one.
    fn release_unreliable(&mut self, channel: u8, told: &mut Vec<Message>) -> Verdict {
        let Some(place) = self.channels.get_mut(usize::from(channel)) else {
            return Verdict::Garbled;
        };
        let now = (place.reliable, 0)..=(place.reliable, u16::MAX);
        let ready = place.held.range(now).filter(|(_, waiting)| waiting.is_complete());
        let ready: Vec<_> = ready.map(|(key, _)| *key).collect();
        for key in ready {
            let Some(waiting) = place.held.remove(&key) else { continue };
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            let bytes = match waiting {
                Waiting::Whole(bytes) => Some(bytes),
                Waiting::Parts(assembly) => assembly.join(),
            };
            let Some(bytes) = bytes else { return Verdict::Garbled };
            if key.1 > place.unreliable {
                place.unreliable = key.1;
                told.push(Message { channel, bytes });
            }
        }
        self.drop_older(channel);
        Verdict::Taken
    }

    /// Unreliable ones that can no longer be handed on.
    fn drop_older(&mut self, channel: u8) {
        let Some(place) = self.channels.get_mut(usize::from(channel)) else { return };
        let last = (place.reliable, place.unreliable);
        while let Some(entry) = place.held.first_entry()
            && *entry.key() <= last
        {
            self.bytes = self.bytes.saturating_sub(entry.remove().bytes());
        }
    }
}

/// The channel of a message of so many bytes.
fn place(
    channels: &mut [Channel],
    channel: u8,
    bytes: usize,
    bytes_max: usize,
) -> Result<&mut Channel, Verdict> {
    if bytes > bytes_max {
        return Err(Verdict::TooLarge);
    }
    channels.get_mut(usize::from(channel)).ok_or(Verdict::Garbled)
}
