//! Which stranger waits for another. The lobby and the rooms may be on different threads, so the
//! one place they share has a lock, held for a comparison and never across a call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::terms::Who;

/// The one room that waits for a second stranger.
#[derive(Debug, Default)]
pub struct Pairing(Mutex<Option<Waiting>>);

#[derive(Debug, Clone)]
struct Waiting {
    room: String,
    who: Who,
}

impl Pairing {
    /// The room for a stranger: the one that waits, which waits no longer, or `proposed`, which
    /// waits from now on (`true`). Who asks again while waiting gets its own room, and no game with
    /// itself.
    pub fn room_for(&self, who: Who, proposed: &str) -> (String, bool) {
        let mut waiting = self.lock();
        match &*waiting {
            Some(found) if found.who == who => (found.room.clone(), false),
            Some(found) => {
                let room = found.room.clone();
                *waiting = None;
                (room, false)
            }
            None => {
                *waiting = Some(Waiting { room: proposed.to_owned(), who });
                (proposed.to_owned(), true)
            }
        }
    }

    /// Somebody is alone in a room of strangers: it waits, unless another does already.
    pub fn offer(&self, room: &str, who: Who) {
        let mut waiting = self.lock();
        match &mut *waiting {
            Some(found) if found.room == room => found.who = who,
            Some(_) => {}
            None => *waiting = Some(Waiting { room: room.to_owned(), who }),
        }
    }

    /// A room has its two, or nobody any more.
    pub fn withdraw(&self, room: &str) {
        let mut waiting = self.lock();
        if waiting.as_ref().is_some_and(|found| found.room == room) {
            *waiting = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        // What the lock guards is whole after every statement, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_meet_two_by_two() {
        let pairing = Pairing::default();
        let rooms: Vec<_> =
            (1..=5).map(|who| pairing.room_for(who, &format!("room{who}")).0).collect();
        assert_eq!(rooms, ["room1", "room1", "room3", "room3", "room5"]);
    }

    #[test]
    fn nobody_meets_itself_or_an_empty_room() {
        let pairing = Pairing::default();
        assert_eq!(pairing.room_for(1, "a").0, "a");
        assert_eq!(pairing.room_for(1, "b").0, "a");
        pairing.withdraw("other");
        assert_eq!(pairing.room_for(2, "c").0, "a");
        assert_eq!(pairing.room_for(3, "d").0, "d");
        pairing.withdraw("d");
        assert_eq!(pairing.room_for(4, "e").0, "e");
    }

    #[test]
    fn who_is_left_alone_waits_again() {
        let pairing = Pairing::default();
        pairing.offer("a", 1);
        pairing.offer("b", 2);
        assert_eq!(pairing.room_for(3, "c").0, "a");
        assert_eq!(pairing.room_for(4, "d").0, "d");
    }
}
