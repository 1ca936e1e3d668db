//! The table of what has a number that the shard knows or may come to know: links, what is
//! carried by one of them, and the peers of ports. All draw from one table, as the shard keeps one
//! for all.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::Now;
use roomcast_wire::{CloseCode, Format};
use slab::Slab;

use super::link::Link;
use crate::transport::datagrams::Peer;

/// One place of the table.
enum Line {
    Link(Link),
    Carried(Carried),
    Peer(PeerLine),
}

/// One namespace's line on a connection that carries several.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The link that carries it.
    pub(super) by: u32,
    /// What the shard wants it closed with at the end of the turn.
    pub(super) close: Option<CloseCode>,
    /// Its namespace as the peer writes it.
    pub(super) namespace: Box<str>,
    /// The namespace of the server; none: the default one.
    pub(super) hub: Option<Arc<str>>,
    pub(super) format: Format,
}

/// One peer of a port.
#[derive(Debug)]
pub(super) struct PeerLine {
    /// The number of the port on this worker.
    pub(super) port: u16,
    pub(super) peer: Peer,
    pub(super) format: Format,
    /// What the shard wants it closed with at the end of the turn.
    pub(super) close: Option<CloseCode>,
    /// The latest of all pauses asked for.
    pub(super) paused_until: Now,
    pub(super) flags: PeerFlags,
    /// Tells this line from an earlier one with the same number.
    pub(super) generation: u32,
    /// Messages that were told before the port knew that the peer is held: those of one datagram.
    pub(super) waiting: VecDeque<Bytes>,
}

/// Facts of a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeerFlags {
    /// It talks faster than it may.
    pub(super) paused: bool,
    /// Its last message waits for the application.
    pub(super) asking: bool,
    /// It asks for more than it reads.
    pub(super) stalled: bool,
    /// The port was told that it is held.
    pub(super) told_held: bool,
    /// Its window was full at the last chunk.
    pub(super) blocked: bool,
    /// The port was told that it has a session.
    pub(super) trusted: bool,
}

impl PeerLine {
    /// Whether nothing may be read of it now.
    pub(super) fn is_held(&self) -> bool {
        let flags = &self.flags;
        flags.paused || flags.asking || flags.stalled || self.close.is_some()
    }
}

/// Links, carried lines and peers by their numbers.
#[derive(Default)]
pub(super) struct Lines(Slab<Line>);

impl Lines {
    #[inline]
    pub(super) fn get(&self, key: usize) -> Option<&Link> {
        match self.0.get(key) {
            Some(Line::Link(link)) => Some(link),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Link> {
        match self.0.get_mut(key) {
            Some(Line::Link(link)) => Some(link),
            _ => None,
        }
    }

    pub(super) fn carried(&self, key: u32) -> Option<&Carried> {
        match self.0.get(key as usize) {
            Some(Line::Carried(carried)) => Some(carried),
            _ => None,
        }
    }

    pub(super) fn carried_mut(&mut self, key: u32) -> Option<&mut Carried> {
        match self.0.get_mut(key as usize) {
            Some(Line::Carried(carried)) => Some(carried),
            _ => None,
        }
    }

    pub(super) fn peer(&self, key: u32) -> Option<&PeerLine> {
        match self.0.get(key as usize) {
            Some(Line::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    pub(super) fn peer_mut(&mut self, key: u32) -> Option<&mut PeerLine> {
        match self.0.get_mut(key as usize) {
            Some(Line::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    pub(super) fn insert_peer(&mut self, peer: PeerLine) -> u32 {
        self.0.insert(Line::Peer(peer)) as u32
    }

    pub(super) fn remove_peer(&mut self, key: u32) -> Option<PeerLine> {
        self.peer(key)?;
        match self.0.try_remove(key as usize)? {
            Line::Peer(peer) => Some(peer),
            Line::Link(_) | Line::Carried(_) => None,
        }
    }

    pub(super) fn has_peers(&self) -> bool {
        self.0.iter().any(|(_, line)| matches!(line, Line::Peer(_)))
    }

    pub(super) fn vacant_key(&self) -> usize {
        self.0.vacant_key()
    }

    pub(super) fn insert(&mut self, link: Link) {
        self.0.insert(Line::Link(link));
    }

    pub(super) fn insert_carried(&mut self, carried: Carried) -> u32 {
        self.0.insert(Line::Carried(carried)) as u32
    }

    /// Takes a link out of the table.
    pub(super) fn try_remove(&mut self, key: usize) -> Option<Link> {
        self.get(key)?;
        match self.0.try_remove(key)? {
            Line::Link(link) => Some(link),
            Line::Carried(_) | Line::Peer(_) => None,
        }
    }

    pub(super) fn remove_carried(&mut self, key: u32) -> Option<Carried> {
        self.carried(key)?;
        match self.0.try_remove(key as usize)? {
            Line::Carried(carried) => Some(carried),
            Line::Link(_) | Line::Peer(_) => None,
        }
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.0.iter().filter_map(|(key, line)| match line {
            Line::Link(link) => Some((key as u32, link)),
            Line::Carried(_) | Line::Peer(_) => None,
        })
    }

    /// Makes the table smaller, if much of it is unused.
    pub(super) fn shrink(&mut self) {
        if self.0.capacity() > 2 * self.0.len() {
            self.0.shrink_to_fit();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_no_larger_than_a_link() {
        assert_eq!(size_of::<Line>(), size_of::<Link>());
    }
}
