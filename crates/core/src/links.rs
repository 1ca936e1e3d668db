//! The links of one shard and what waits for them.

use bytes::{Bytes, BytesMut};
use roomcast_wire::Receiver;
use roomcast_wire::options::SlowRule;
use roomcast_wire::{CloseCode, Format, Offset, Push, Reply, SessionId};

use crate::config::Namespaces;
use crate::held::Held;
use crate::io::{Counters, LinkId, Now};
use crate::outbox::{Outbox, Tag};
use crate::rate::Rate;

/// The links of one shard.
#[derive(Debug)]
pub(crate) struct Links {
    /// In one piece: a box each would cost a delivery a cache line more. So would an `Option`: the
    /// compiler keeps its mark where it finds room, which was in a link's second line.
    table: Vec<Link>,
    /// Last in, first out: what was touched last is in the cache. 1,000 rooms of 5 at saturation
    /// cost 0.87 of the floor with it and 1.03 with first in, first out; the price is a p99 of 1.4
    /// times the floor's there, and none below saturation (docs/performance.md).
    dirty: Vec<LinkId>,
    /// Links whose outbox went over its bound: to be closed by the shard.
    pub overflowed: Vec<LinkId>,
    scratch: BytesMut,
    outbox_bytes_max: usize,
    opened: u32,
    namespaces: Namespaces,
}

/// One open link. What a delivery needs of it comes first and fills one cache line: in small rooms
/// that take turns, each is read from memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Link {
    pub outbox: Outbox,
    /// Tells this link from an earlier one with the same number; [`VACANT`]: there is none.
    pub generation: u32,
    pub format: Format,
    /// The link took no more at the last write.
    blocked: bool,
    dirty: bool,
    /// The close was asked for; nothing more is said.
    pub closing: bool,
    // From here on: what only the link's own commands need.
    pub session: Option<u32>,
    pub commands: Rate,
    /// The last sign of life, if there was one.
    pub heard: Option<Now>,
    /// The command that waits for the application; meanwhile no other is handled.
    pub held: Option<Box<Held>>,
    /// Whose it is, where its format names the receiver; elsewhere it would only make links larger.
    pub owner: Option<Box<SessionId>>,
    /// Frames in a row that could not be understood.
    pub errors: u32,
    pub namespace: u16,
    /// Something was refused before it had a session.
    pub refused: bool,
    /// It was to have a session by now, but the application still thinks about it.
    pub overdue: bool,
    /// A deadline looks whether a command has waited for too long.
    pub hook_timer: bool,
}

/// The generation of a place in the table where no link is.
const VACANT: u32 = 0;

/// How much more than its bound an outbox may hold within a turn, if its link is not behind: what
/// many say in one turn must not look like a reader that is slow. The frames are shared, and the
/// write at the end of the turn shows how the link really is.
const TURN_FACTOR: usize = 8;

impl Link {
    fn new(format: Format, namespace: u16, generation: u32) -> Self {
        Self {
            format,
            namespace,
            generation,
            session: None,
            owner: None,
            outbox: Outbox::default(),
            commands: Rate::default(),
            heard: None,
            closing: false,
            errors: 0,
            refused: false,
            held: None,
            hook_timer: false,
            overdue: false,
            blocked: false,
            dirty: false,
        }
    }

    fn vacant() -> Self {
        Self::new(Format::JSON_LINE, 0, VACANT)
    }

    fn is_open(&self) -> bool {
        self.generation != VACANT
    }

    fn bytes_max(&self, most: usize) -> usize {
        if self.blocked { most } else { most.saturating_mul(TURN_FACTOR) }
    }

    /// Behind a link that takes nothing, the newest replaces what it may replace.
    #[inline(never)]
    fn make_way(&mut self, counters: &mut Counters, how: Delivering) {
        let replaces = !how.reliable || how.slow == SlowRule::Latest;
        while replaces && self.outbox.drop_oldest(how.tag) {
            counters.deliveries_dropped_total += 1;
        }
    }

    /// Drops what may be dropped until the outbox is within its bound; `false` if it is not.
    #[inline(never)]
    fn keep_bound(&mut self, counters: &mut Counters, how: Delivering, most: usize) -> bool {
        let drops = !how.reliable || how.slow != SlowRule::Close;
        while self.outbox.counted_bytes() > self.bytes_max(most) {
            if !drops || !self.outbox.drop_oldest(how.tag) {
                return false;
            }
            counters.deliveries_dropped_total += 1;
        }
        true
    }
}

/// How a room's frame is put into an outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivering {
    pub tag: Tag,
    pub slow: SlowRule,
    /// `false`: never behind a slow link; the newest of its tag wins.
    pub reliable: bool,
}

impl Links {
    pub fn new(outbox_bytes_max: usize, namespaces: Namespaces) -> Self {
        Self {
            table: Vec::new(),
            dirty: Vec::new(),
            overflowed: Vec::new(),
            scratch: BytesMut::new(),
            outbox_bytes_max,
            opened: 0,
            namespaces,
        }
    }

    pub fn open(&mut self, link: LinkId, format: Format, namespace: u16) -> u32 {
        let at = link.0 as usize;
        if self.table.len() <= at {
            self.table.resize_with(at + 1, Link::vacant);
        }
        self.opened = self.opened.wrapping_add(1).max(VACANT + 1);
        self.table[at] = Link::new(format, namespace, self.opened);
        self.opened
    }

    pub fn remove(&mut self, link: LinkId) -> Option<Link> {
        let removed = std::mem::replace(self.get_mut(link)?, Link::vacant());
        while self.table.last().is_some_and(|link| !link.is_open()) {
            self.table.pop();
        }
        if self.table.capacity() > 4 * self.table.len() + 1_024 {
            self.table.shrink_to(2 * self.table.len());
        }
        Some(removed)
    }

    pub fn get(&self, link: LinkId) -> Option<&Link> {
        self.table.get(link.0 as usize).filter(|link| link.is_open())
    }

    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.table.get_mut(link.0 as usize).filter(|link| link.is_open())
    }

    /// Tells the present use of a link's number from earlier ones.
    pub fn generation(&self, link: LinkId) -> Option<u32> {
        self.get(link).map(|link| link.generation)
    }

    /// Loads what a delivery needs of some links, before it is needed: so their cache misses are
    /// waited for together and not one after the other.
    pub fn prefetch(&self, links: impl Iterator<Item = LinkId>) {
        for link in links {
            std::hint::black_box(self.table.get(link.0 as usize).map(|link| link.dirty));
        }
    }

    /// The same for what a command of one link needs of it: its session stands in its second line.
    pub fn prefetch_speaker(&self, link: LinkId) {
        let link = self.table.get(link.0 as usize);
        std::hint::black_box(link.map(|link| (link.dirty, link.session)));
    }

    pub fn ids(&self) -> impl Iterator<Item = LinkId> {
        let open = self.table.iter().enumerate().filter(|(_, link)| link.is_open());
        open.map(|(at, _)| LinkId(at as u32))
    }

    /// Writes a reply to one link.
    pub fn reply(
        &mut self,
        counters: &mut Counters,
        link: LinkId,
        reference: Option<u64>,
        reply: &Reply<'_>,
    ) {
        self.reply_with(counters, link, reference, reply, None);
    }

    /// The same with what the client may come back with.
    pub fn reply_with(
        &mut self,
        counters: &mut Counters,
        link: LinkId,
        reference: Option<u64>,
        reply: &Reply<'_>,
        offset: Option<Offset>,
    ) {
        let Some(entry) = self.get(link).filter(|link| !link.closing) else { return };
        let format = entry.format;
        let bytes = self.encode_for(link, |to, out| {
            format.encode_reply(&Receiver { offset, ..*to }, reference, reply, out);
        });
        self.put(counters, link, bytes);
    }

    /// Writes a push to one link.
    pub fn push(&mut self, counters: &mut Counters, link: LinkId, push: &Push<'_>) -> usize {
        let Some(entry) = self.get(link).filter(|link| !link.closing) else { return 0 };
        let format = entry.format;
        let bytes = self.encode_for(link, |to, out| format.encode_push(to, push, out));
        let len = bytes.len();
        self.put(counters, link, bytes);
        len
    }

    /// The bytes that `write` appends for one link.
    pub fn encode_for(
        &mut self,
        link: LinkId,
        write: impl FnOnce(&Receiver<'_>, &mut BytesMut),
    ) -> Bytes {
        let entry = self.table.get(link.0 as usize).filter(|link| link.is_open());
        let namespace = entry.and_then(|entry| self.namespaces.get(usize::from(entry.namespace)));
        let to = Receiver {
            session: entry.and_then(|entry| entry.owner.as_deref().copied()),
            namespace: namespace.map_or("", |(name, _)| name),
            offset: None,
        };
        written(&mut self.scratch, |out| write(&to, out))
    }

    /// The bytes that `write` appends, in an allocation of just their size: a slice of a larger
    /// buffer would keep all of it alive while one slow link waits.
    pub fn encode(&mut self, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        written(&mut self.scratch, write)
    }

    /// Whether what may be dropped is not even put into an outbox: the link takes nothing.
    pub fn skips(&self, counters: &mut Counters, link: LinkId) -> bool {
        let skips = self.get(link).is_some_and(|link| link.blocked);
        counters.deliveries_dropped_total += u64::from(skips);
        skips
    }

    /// Puts a frame that must not be dropped into an outbox.
    pub fn put(&mut self, counters: &mut Counters, link: LinkId, bytes: Bytes) {
        let most = self.outbox_bytes_max;
        let has_more = |link: &&mut Link| !link.closing && !bytes.is_empty();
        let Some(entry) = self.get_mut(link).filter(has_more) else { return };
        counters.outbox_bytes_total += bytes.len() as u64;
        entry.outbox.push(bytes, Tag::NONE);
        let over = entry.outbox.counted_bytes() > entry.bytes_max(most);
        if over {
            self.overflowed.push(link);
        }
        self.mark_dirty(link);
    }

    /// Puts what a client had missed into an outbox: it does not count against the bound.
    pub fn put_granted(&mut self, counters: &mut Counters, link: LinkId, bytes: Bytes) {
        if let Some(entry) = self.get_mut(link) {
            entry.outbox.grant(bytes.len());
        }
        self.put(counters, link, bytes);
    }

    /// Puts a room's frame into an outbox, by the room's rule for slow members. `events`: how many
    /// events the frame holds.
    #[inline]
    pub fn deliver(
        &mut self,
        counters: &mut Counters,
        link: LinkId,
        frame: &Bytes,
        events: u64,
        how: Delivering,
    ) {
        let most = self.outbox_bytes_max;
        let Some(entry) = self.table.get_mut(link.0 as usize) else { return };
        if !entry.is_open() || entry.closing {
            return;
        }
        if entry.blocked {
            entry.make_way(counters, how);
        }
        counters.deliveries_total += events;
        counters.outbox_bytes_total += frame.len() as u64;
        entry.outbox.push(frame.clone(), how.tag);
        if entry.outbox.counted_bytes() > most && !entry.keep_bound(counters, how, most) {
            self.overflowed.push(link);
        }
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(link);
        }
    }

    pub fn mark_dirty(&mut self, link: LinkId) {
        if let Some(entry) = self.get_mut(link)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push(link);
        }
    }

    pub fn take_dirty(&mut self) -> Option<LinkId> {
        while let Some(link) = self.dirty.pop() {
            if let Some(entry) = self.get_mut(link)
                && std::mem::take(&mut entry.dirty)
                && !entry.blocked
            {
                return Some(link);
            }
        }
        None
    }

    pub fn next_dirty(&self, most: usize) -> impl Iterator<Item = LinkId> {
        self.dirty.iter().rev().take(most).copied()
    }

    pub fn set_blocked(&mut self, link: LinkId, blocked: bool) {
        let Some(entry) = self.get_mut(link) else { return };
        entry.blocked = blocked;
        if !blocked && !entry.outbox.is_empty() {
            self.mark_dirty(link);
        }
    }

    /// Says goodbye and nothing more. A reader that is too slow is told without the bytes that it
    /// did not read: it can resume, and the memory is needed.
    pub fn say_goodbye(
        &mut self,
        counters: &mut Counters,
        link: LinkId,
        (code, message): (CloseCode, &str),
        retry_ms: Option<u64>,
    ) {
        if code == CloseCode::SlowReader
            && let Some(entry) = self.get_mut(link)
        {
            entry.outbox.clear();
        }
        self.push(counters, link, &Push::Goodbye { code, message, retry_ms });
        if let Some(entry) = self.get_mut(link) {
            entry.closing = true;
        }
    }
}

fn written(scratch: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    scratch.clear();
    write(scratch);
    let bytes = Bytes::copy_from_slice(scratch);
    // One huge frame must not hold its memory for ever.
    if scratch.capacity() > 1 << 20 {
        *scratch = BytesMut::new();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_delivery_needs_one_cache_line_of_a_link() {
        assert_eq!(size_of::<Link>(), 128);
        assert_eq!(offset_of!(Link, session), 64);
        assert!(offset_of!(Link, generation) < 64);
    }

    #[test]
    fn a_number_without_a_link_has_none() {
        let mut links = Links::new(1_000, Namespaces::from([]));
        let generation = links.open(LinkId(2), Format::JSON_LINE, 0);
        assert!(links.get(LinkId(0)).is_none() && links.remove(LinkId(1)).is_none());
        assert_eq!(links.ids().collect::<Vec<_>>(), [LinkId(2)]);
        assert_eq!(links.generation(LinkId(2)), Some(generation));
        assert!(links.remove(LinkId(2)).is_some() && links.remove(LinkId(2)).is_none());
        links.opened = u32::MAX;
        assert_ne!(links.open(LinkId(0), Format::JSON_LINE, 0), VACANT);
    }
}
