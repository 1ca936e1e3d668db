//! What was taken back: tokens that are still good by their own words, but no longer here.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::Name;

use crate::io::{Now, Revoked};
use crate::rights::Identity;

/// The revocations that a token could still run into.
#[derive(Debug)]
pub(crate) struct Revocations {
    users: HashMap<Name, Now, FixedState>,
    tokens: HashMap<Box<str>, Now, FixedState>,
    /// All of them, oldest first; what was revoked again stands here twice.
    order: VecDeque<(Now, Revoked)>,
}

impl Revocations {
    pub fn new(hasher: &FixedState) -> Self {
        Self {
            users: HashMap::with_hasher(hasher.clone()),
            tokens: HashMap::with_hasher(hasher.clone()),
            order: VecDeque::new(),
        }
    }

    /// Keeps a revocation for as long as a token may last. `false`: there are `most` already.
    pub fn keep(&mut self, now: Now, revoked: &Revoked, token_ms: u64, most: usize) -> bool {
        while let Some((at, _)) = self.order.front()
            && at.plus(token_ms) < now
        {
            self.forget_oldest();
        }
        let is_full = self.order.len() >= most;
        match revoked {
            Revoked::Session(_) => return true,
            _ if is_full => return false,
            Revoked::User(user) => self.users.insert(user.clone(), now),
            Revoked::Token(id) => self.tokens.insert(id.as_str().into(), now),
        };
        self.order.push_back((now, revoked.clone()));
        true
    }

    fn forget_oldest(&mut self) {
        match self.order.pop_front() {
            Some((at, Revoked::User(user))) if self.users.get(&user) == Some(&at) => {
                self.users.remove(&user);
            }
            Some((at, Revoked::Token(id))) if self.tokens.get(id.as_str()) == Some(&at) => {
                self.tokens.remove(id.as_str());
            }
            _ => {}
        }
    }

    /// Whether the token of this identity was revoked. A token is older than the revocation of its
    /// user if it was not issued after it: tokens count whole seconds.
    pub fn hit(&self, identity: &Identity) -> bool {
        let by_id = identity.token_id.as_deref().is_some_and(|id| self.tokens.contains_key(id));
        let user = identity.user.as_ref().and_then(|user| self.users.get(user));
        let by_user = user.is_some_and(|at| identity.issued.is_none_or(|issued| issued <= *at));
        by_id || by_user
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn identity(user: &str, issued: Option<u64>, id: &str) -> Identity {
        Identity {
            user: Some(Name::new(user).unwrap()),
            issued: issued.map(Now),
            token_id: Some(id.into()),
            ..Identity::default()
        }
    }

    #[test]
    fn only_tokens_from_before_are_hit() {
        let mut kept = Revocations::new(&FixedState::with_seed(1));
        let mina = Revoked::User(Name::new("mina").unwrap());
        assert!(kept.keep(Now(5_000), &mina, DAY_MS, 10));
        assert!(kept.keep(Now(6_000), &Revoked::Token("t7".to_owned()), DAY_MS, 10));
        assert!(kept.hit(&identity("mina", Some(4_000), "a")));
        assert!(kept.hit(&identity("mina", Some(5_000), "a")));
        assert!(kept.hit(&identity("mina", None, "a")));
        assert!(!kept.hit(&identity("mina", Some(5_001), "a")));
        assert!(!kept.hit(&identity("zoe", None, "a")));
        // A token's own name is its own for ever.
        assert!(kept.hit(&identity("zoe", Some(9_000), "t7")));
    }

    #[test]
    fn they_are_bounded_and_forgotten_when_no_token_can_be_left() {
        let mut kept = Revocations::new(&FixedState::with_seed(1));
        let token = |n: u64| Revoked::Token(format!("t{n}"));
        for n in 0..3 {
            assert!(kept.keep(Now(n), &token(n), DAY_MS, 3));
        }
        assert!(!kept.keep(Now(3), &token(3), DAY_MS, 3), "three is the bound");
        assert!(!kept.hit(&identity("zoe", None, "t3")));
        assert!(kept.keep(Now(DAY_MS + 2), &token(4), DAY_MS, 3), "the first two are forgotten");
        assert!(!kept.hit(&identity("zoe", None, "t1")));
        assert!(kept.hit(&identity("zoe", None, "t2")));
        assert_eq!((kept.order.len(), kept.tokens.len()), (2, 2));
    }
}
