//! The table of what has a number that the shard knows or may come to know: links, and what is
//! carried by one of them. Both draw from one table, as the shard keeps one for both.

use std::sync::Arc;

use roomcast_wire::{CloseCode, Format};
use slab::Slab;

use super::link::Link;

/// One place of the table.
enum Line {
    Link(Link),
    Carried(Carried),
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

/// Links and carried lines by their numbers.
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
            Line::Carried(_) => None,
        }
    }

    pub(super) fn remove_carried(&mut self, key: u32) -> Option<Carried> {
        self.carried(key)?;
        match self.0.try_remove(key as usize)? {
            Line::Carried(carried) => Some(carried),
            Line::Link(_) => None,
        }
    }

    pub(super) fn links(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.0.iter().filter_map(|(key, line)| match line {
            Line::Link(link) => Some((key as u32, link)),
            Line::Carried(_) => None,
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
