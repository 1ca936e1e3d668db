//! Which publications a room has seen already, by their idempotency keys.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::push::Sender;

use crate::io::Now;

/// A key counts for its user only, or its session if nobody knows the user: clients that number
/// what they say must not take each other's words for repeats. No name holds a line break.
pub(crate) fn owned_key(from: Option<&Sender>, key: &str) -> Box<str> {
    let owned = match from.map(|from| (from.session, &from.user)) {
        Some((_, Some(user))) => format!("user {user}\n{key}"),
        Some((session, None)) => format!("session {session}\n{key}"),
        None => key.to_owned(),
    };
    owned.into()
}

/// The idempotency keys a room remembers.
#[derive(Debug)]
pub(crate) struct Keys {
    known: HashMap<Box<str>, (Now, u64), FixedState>,
    order: VecDeque<Box<str>>,
}

impl Keys {
    pub fn new(hasher: &FixedState) -> Self {
        Self { known: HashMap::with_hasher(hasher.clone()), order: VecDeque::new() }
    }

    pub fn find(&mut self, now: Now, key: &str, key_ms: u64) -> Option<u64> {
        while let Some(oldest) = self.order.front() {
            match self.known.get(oldest) {
                Some((at, _)) if now.0.wrapping_sub(at.0) <= key_ms => break,
                _ => self.forget_oldest(),
            }
        }
        self.known.get(key).map(|&(_, offset)| offset)
    }

    pub fn keep(&mut self, now: Now, key: Box<str>, offset: u64, most: usize) {
        while self.order.len() >= most.max(1) {
            self.forget_oldest();
        }
        self.order.push_back(key.clone());
        self.known.insert(key, (now, offset));
    }

    /// Forgets a key: what it was given with is taken back.
    pub fn forget(&mut self, key: &str) {
        if self.known.remove(key).is_some() {
            self.order.retain(|known| &**known != key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}
