//! One logical client. It outlives its link.

use std::sync::Arc;

use roomcast_wire::push::Sender;
use roomcast_wire::{Payload, Position, Secret};

use crate::envelope::Caller;
use crate::io::{LinkId, Now};
use crate::key::{FullName, ReplyTo, RoomKey, SessionKey};
use crate::rate::Rate;
use crate::rights::{Grants, Identity};

/// One logical client. What a publish needs of it comes first and fills one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Session {
    pub key: SessionKey,
    pub namespace: u16,
    pub admin: bool,
    /// It got a `welcome`, so that somebody can resume it.
    pub can_resume: bool,
    pub sender: Arc<Sender>,
    /// What it is bound to; none: to what namespaces and rooms allow everybody, for ever.
    pub rights: Option<Box<Rights>>,
    pub seats: Vec<Seat>,
    /// None while it is dropped.
    pub link: Option<LinkId>,
    // From here on: what is rare.
    /// What resumes it, if it can be. Not in an `Option`: its mark would be where the slab keeps
    /// its own, and every look at a session would need this cache line too.
    pub secret: Secret,
    /// How often its link was lost.
    pub drops: u32,
    /// The log has it.
    pub logged: bool,
    pub fanout: Rate,
    pub creates: Rate,
}

/// What a token gives to a session, and for how long.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// None: what namespaces and rooms allow.
    pub grants: Option<Arc<Grants>>,
    pub token_id: Option<Box<str>>,
    pub expires: Option<Now>,
    /// A hook gave the rules, or whether it is an admin, in place of the token: the session's next
    /// token does not bring back what the hook took.
    pub of_hook: bool,
    /// When the expiry is looked at next; what was set for another time is passed over.
    pub looked_at: Option<Now>,
}

impl Rights {
    pub fn of(identity: &Identity) -> Option<Box<Self>> {
        let Identity { token_id, expires, .. } = identity;
        let grants = identity.grants.as_ref().filter(|_| !identity.admin);
        if grants.is_none() && token_id.is_none() && expires.is_none() {
            return None;
        }
        let (grants, token_id) = (grants.cloned(), token_id.clone());
        let expires = *expires;
        Some(Box::new(Self { grants, token_id, expires, of_hook: false, looked_at: None }))
    }
}

/// A session's place in a room, as its own shard sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub name: FullName,
    pub namespace: u16,
    /// Known once the home has said `joined`.
    pub room: Option<RoomKey>,
    /// Joins that the home has not answered yet.
    pub pending: u32,
    /// The audience and the place in it; none while the seat is quiet.
    pub place: Option<(u32, u32)>,
    /// The server gave it, so that no rule takes it away.
    pub invited: bool,
    /// In a cluster: what its home is told when it is told again.
    pub again: Option<Box<Again>>,
}

/// What is kept of a seat to tell its home of it again.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// What was given with `join`.
    pub data: Option<Payload>,
    /// How often its home was told.
    pub round: u32,
    /// What it has heard last, while it waits for its home to answer; none: it hears the room, or
    /// is quiet.
    pub heard: Option<Position>,
}

impl Seat {
    /// Whether it heard its room before its home was told of it again, and this answers the last
    /// time it was.
    pub fn awaits(&self, to: ReplyTo) -> bool {
        let again = self.again.as_ref().filter(|again| again.heard.is_some());
        again.is_some_and(|again| match to {
            ReplyTo::Again { round, .. } => round == again.round,
            _ => true,
        })
    }
}

impl Session {
    /// Whether rules and standing were given by a hook.
    pub fn set_of_hook(&mut self, of_hook: bool) {
        if of_hook {
            self.rights.get_or_insert_default().of_hook = true;
        } else if let Some(rights) = &mut self.rights {
            rights.of_hook = false;
        }
    }

    /// The session as a room's home sees it.
    pub fn caller(&self, reply: ReplyTo) -> Caller {
        Caller {
            session: Some((self.key, Arc::clone(&self.sender))),
            namespace: self.namespace,
            admin: self.admin,
            reply,
        }
    }

    pub fn seat(&self, name: &str) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.name == name)
    }

    pub fn seat_mut(&mut self, name: &str) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_publish_needs_one_cache_line_of_a_session() {
        assert_eq!(offset_of!(Session, secret), 64);
        assert_eq!(size_of::<Option<Session>>(), 128);
    }
}
