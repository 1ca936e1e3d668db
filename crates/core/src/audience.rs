//! Who of this shard hears a room.

use std::sync::Arc;

use bytes::BytesMut;
use roomcast_wire::options::SlowRule;
use roomcast_wire::{Format, Position, Push, Receiver as To};

use crate::io::{Counters, LinkId};
use crate::key::{FullName, RoomKey, SessionKey};
use crate::links::{Delivering, Links};
use crate::outbox::Tag;
use crate::replay::Replays;
use crate::room::Delivery;

/// Receivers whose links are loaded together. More would not be in the cache any longer when their
/// turn comes, and a processor waits for about as many at once.
const PREFETCHED: usize = 8;

/// The local receivers of one room.
#[derive(Debug)]
pub(crate) struct Audience {
    pub room: RoomKey,
    pub name: FullName,
    pub slow: SlowRule,
    /// How many members the room had at the last word of its home, on all shards.
    pub room_members: u32,
    /// In a cluster: what its receivers have heard last.
    pub heard: Option<Position>,
    tag: Tag,
    receivers: Vec<Receiver>,
    /// How many receivers use each format: an event is encoded once for each that is present.
    formats: [u32; Format::COUNT],
}

#[derive(Debug, Clone, Copy)]
struct Receiver {
    session: SessionKey,
    link: LinkId,
    format: Format,
}

impl Audience {
    pub fn new(room: RoomKey, name: FullName, slow: SlowRule, number: u32) -> Self {
        Self {
            room,
            name,
            slow,
            room_members: 0,
            heard: None,
            tag: Tag(u64::from(number)),
            receivers: Vec::new(),
            formats: [0; Format::COUNT],
        }
    }

    /// Adds a receiver; returns its place.
    pub fn add(&mut self, session: SessionKey, link: LinkId, format: Format) -> u32 {
        self.formats[format.index()] += 1;
        self.receivers.push(Receiver { session, link, format });
        (self.receivers.len() - 1) as u32
    }

    /// Removes the receiver at `place`; returns the session that stands there now.
    pub fn remove(&mut self, place: u32) -> Option<SessionKey> {
        let place = place as usize;
        if place >= self.receivers.len() {
            return None;
        }
        let receiver = self.receivers.swap_remove(place);
        self.formats[receiver.format.index()] -= 1;
        self.receivers.get(place).map(|moved| moved.session)
    }

    /// The receiver at `place` hears in another format.
    pub fn set_format(&mut self, place: u32, format: Format) {
        let Some(receiver) = self.receivers.get_mut(place as usize) else { return };
        self.formats[receiver.format.index()] -= 1;
        self.formats[format.index()] += 1;
        receiver.format = format;
    }

    /// The receiver at `place` hears by another link, or by none for the time being
    /// ([`LinkId::NONE`]).
    pub fn set_link(&mut self, place: u32, link: LinkId) {
        if let Some(receiver) = self.receivers.get_mut(place as usize) {
            receiver.link = link;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Puts deliveries into the receivers' outboxes: all that may go together as one frame of
    /// bytes for each format.
    pub fn deliver(
        &self,
        links: &mut Links,
        replays: &mut Replays,
        counters: &mut Counters,
        deliveries: &[Delivery],
    ) {
        let mut rest = deliveries;
        while let Some(first) = rest.first() {
            let together = match first.is_alone() {
                true => 1,
                false => rest.iter().position(Delivery::is_alone).unwrap_or(rest.len()),
            };
            let (now, later) = rest.split_at(together);
            self.deliver_together(links, replays, counters, now);
            rest = later;
        }
    }

    fn deliver_together(
        &self,
        links: &mut Links,
        replays: &mut Replays,
        counters: &mut Counters,
        group: &[Delivery],
    ) {
        let except = group.first().and_then(Delivery::except);
        let events =
            group.iter().filter(|one| matches!(one, Delivery::Event { .. })).count() as u64;
        let how = match group.first() {
            Some(Delivery::Event { event, .. }) if !event.reliable => {
                Delivering { tag: self.tag_of(event), slow: self.slow, reliable: false }
            }
            _ => self.delivering(),
        };
        for format in Format::all() {
            let mut left = self.formats[format.index()];
            if left == 0 {
                continue;
            }
            if replays.keeps(format) {
                for delivery in group {
                    self.deliver_kept(links, replays, counters, (format, delivery, how));
                }
                continue;
            }
            let frame = links.encode(|out| self.encode(format, group, out));
            if frame.is_empty() {
                // The dialect has no word for it.
                continue;
            }
            for some in self.receivers.chunks(PREFETCHED) {
                links.prefetch(some.iter().map(|receiver| receiver.link));
                for receiver in some.iter().filter(|one| one.format == format) {
                    if except.is_none_or(|except| except != receiver.session) {
                        links.deliver(counters, receiver.link, &frame, events, how);
                    }
                    left -= 1;
                }
                if left == 0 {
                    break;
                }
            }
        }
    }

    /// Delivers to receivers that may come back for it, with a number of its own: each may have
    /// heard one thing and missed the next.
    fn deliver_kept(
        &self,
        links: &mut Links,
        replays: &mut Replays,
        counters: &mut Counters,
        (format, delivery, how): (Format, &Delivery, Delivering),
    ) {
        let mark = replays.mark(format, how.reliable);
        let to = To { offset: mark.offset, ..To::default() };
        let push = delivery.push(self.name.as_str());
        let frame = links.encode(|out| format.encode_push(&to, &push, out));
        if frame.is_empty() {
            return;
        }
        let (except, is_event) = (delivery.except(), matches!(delivery, Delivery::Event { .. }));
        for receiver in self.receivers.iter().filter(|one| one.format == format) {
            if except.is_none_or(|except| except != receiver.session) {
                links.deliver(counters, receiver.link, &frame, is_event.into(), how);
                replays.keep(receiver.session.slot, mark, &frame);
            }
        }
    }

    /// How what is reliable reaches the receivers.
    pub fn delivering(&self) -> Delivering {
        Delivering { tag: self.tag, slow: self.slow, reliable: true }
    }

    fn encode(&self, format: Format, group: &[Delivery], out: &mut BytesMut) {
        let room = self.name.as_str();
        format.encode_pushes(group.iter().map(|delivery| delivery.push(room)), out);
    }

    /// Unreliable events replace each other only where sender and event name are the same.
    fn tag_of(&self, event: &Arc<roomcast_wire::push::Event>) -> Tag {
        use std::hash::{BuildHasher, Hash, Hasher};
        let mut hasher = foldhash::fast::FixedState::with_seed(self.tag.0).build_hasher();
        event.name.hash(&mut hasher);
        event.from.as_ref().map(|from| from.session).hash(&mut hasher);
        Tag::unreliable(hasher.finish())
    }
}

impl Delivery {
    fn push<'a>(&'a self, room: &'a str) -> Push<'a> {
        match self {
            Self::Event { event, .. } | Self::Told { event, .. } => Push::Event { room, event },
            Self::Joined { member, .. } => Push::MemberJoined { room, member },
            Self::Left { from, reason, data } => {
                Push::MemberLeft { room, from, reason: *reason, data: data.as_ref() }
            }
            Self::Dropped { from, .. } => Push::MemberDropped { room, from },
            Self::Resumed { from, .. } => Push::MemberResumed { room, from },
            Self::Counts { members, users } => {
                Push::Presence { room, members: *members, users: *users }
            }
        }
    }

    /// Whether it cannot share a frame: it is not for all, or may be dropped by itself.
    fn is_alone(&self) -> bool {
        match self {
            Self::Event { event, except } => except.is_some() || !event.reliable,
            Self::Joined { .. }
            | Self::Dropped { .. }
            | Self::Resumed { .. }
            | Self::Told { .. } => true,
            _ => false,
        }
    }

    /// Where it stands in the room's order, if it does.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Event { event, .. } => event.position,
            _ => None,
        }
    }

    fn except(&self) -> Option<SessionKey> {
        match self {
            Self::Event { except, .. } => *except,
            Self::Joined { except, .. }
            | Self::Dropped { except, .. }
            | Self::Resumed { except, .. } => Some(*except),
            _ => None,
        }
    }
}
