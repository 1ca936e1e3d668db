//! What commands are answered with.

use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::push::{MemberInfo, Sender};
use roomcast_wire::reply::Recovery;
use roomcast_wire::{ErrorCode, Position, SessionId};

use super::{Asked, Guarantee, Oracle, Place, Seat, Session, Sight, Verdict, broken};
use crate::world::WireId;

impl Oracle {
    pub(super) fn reply(&mut self, wire: WireId, incoming: &Incoming, sight: Sight) -> Verdict {
        self.counts.replies += 1;
        let name = self.player(wire).to_owned();
        let Some(conn) = self.conns.get_mut(&wire) else { return Ok(()) };
        let Some(reference) = incoming.reference else {
            return match &incoming.body {
                Body::Error { .. } => self.unasked_error(wire),
                Body::Joined { room, position, members, recovery: Some(recovery) } => {
                    self.seated_again(wire, room, (*position, *members), *recovery, sight)
                }
                // A seat that the server gave.
                Body::Joined { room, position, members, .. } => {
                    self.joined(wire, room, (*position, *members), (None, None), sight)
                }
                body => broken(Guarantee::Publish, format!("{name}: no `ref` in {body:?}")),
            };
        };
        let Some(asked) = conn.pending.remove(&reference) else {
            let text = format!("{name}: a reply to {reference}, which waits for none");
            return broken(Guarantee::Publish, text);
        };
        self.answered(wire, asked, &incoming.body, sight)
    }

    fn answered(&mut self, wire: WireId, asked: Asked, body: &Body, sight: Sight) -> Verdict {
        let name = self.player(wire).to_owned();
        match (asked, body) {
            (asked, Body::Error { code, .. }) => self.refused(wire, asked, *code),
            (Asked::Hello { resumes }, Body::Welcome { session, resumed, rooms, .. }) => {
                if resumes.is_some() != *resumed || resumes.is_some_and(|other| other != *session) {
                    return broken(Guarantee::Presence, format!("{name}: resumed another session"));
                }
                self.resumed(wire, *session, *resumed, rooms)
            }
            (
                Asked::Join { room, since },
                Body::Joined { room: told, position, members, recovery },
            ) => {
                same_room(&name, &room, told)?;
                let wish = (since, *recovery);
                self.joined(wire, told, (*position, *members), wish, sight)
            }
            (
                Asked::Create { room, join: true },
                Body::Joined { room: told, position, members, .. },
            ) => {
                same_room(&name, &room, told)?;
                self.joined(wire, told, (*position, *members), (None, None), sight)
            }
            (Asked::Create { room, join: false }, Body::Created { room: told, .. }) => {
                same_room(&name, &room, told)
            }
            (Asked::Leave { room }, Body::Ok { .. }) => {
                self.forget_seat(wire, &room);
                Ok(())
            }
            (Asked::Publish { said, .. }, Body::Ok { position: Some(at), .. }) => {
                let room = self.said[said].room.clone();
                self.place_in_log(&room, *at, said)
            }
            // Its logic kept it.
            (Asked::Publish { said, .. }, Body::Ok { position: None, .. })
                if self.plan.is_wild(&self.said[said].room) =>
            {
                Ok(())
            }
            (Asked::Members { room }, Body::Members { room: told, members, .. }) => {
                same_room(&name, &room, told)?;
                self.members(wire, told, members)
            }
            (Asked::Presence { room }, Body::Presence { room: told, .. }) => {
                same_room(&name, &room, told)
            }
            (Asked::History { room, since }, Body::History { .. }) => {
                self.history(&room, since, body, sight)
            }
            (Asked::Rooms { namespace }, Body::Rooms { rooms, .. }) => {
                let foreign = rooms.iter().find(|one| namespace_of(&one.room) != namespace);
                match foreign {
                    None => Ok(()),
                    Some(one) => {
                        let text = format!("{name}: {} is listed in {namespace}", one.room);
                        broken(Guarantee::Isolation, text)
                    }
                }
            }
            (Asked::Ping, Body::Pong) | (Asked::Other, Body::Ok { .. }) => Ok(()),
            (asked, body) => {
                broken(Guarantee::Publish, format!("{name}: {asked:?} is answered with {body:?}"))
            }
        }
    }

    /// An error without a `ref` answers bytes that mean nothing, or a command without one.
    fn unasked_error(&mut self, wire: WireId) -> Verdict {
        let Some(conn) = self.conns.get_mut(&wire) else { return Ok(()) };
        if conn.garbage == 0 {
            let text = format!("{} reads an error for nothing", conn.player);
            return broken(Guarantee::Bounds, text);
        }
        conn.garbage -= 1;
        // It stays known that there was garbage.
        conn.garbage = conn.garbage.max(1);
        Ok(())
    }

    fn refused(&mut self, wire: WireId, asked: Asked, code: u16) -> Verdict {
        let code = ErrorCode::from_number(code);
        let wild = match &asked {
            Asked::Publish { said, .. } => self.plan.is_wild(&self.said[*said].room),
            Asked::Join { room, .. } | Asked::Create { room, .. } => self.plan.is_wild(room),
            _ => false,
        };
        if code.is_none_or(|code| code == ErrorCode::Internal && !wild) {
            return broken(Guarantee::Bounds, format!("{asked:?}: an error {code:?}"));
        }
        let Asked::Publish { said, seated } = asked else { return Ok(()) };
        if code == Some(ErrorCode::Unavailable) {
            // Nobody knows whether it stands in the room.
            return Ok(());
        }
        self.said[said].refusals += 1;
        let room = self.said[said].room.clone();
        let session = self.session_of(wire).and_then(|who| self.sessions.get(&who));
        let still = session.is_some_and(|session| {
            session.seats.contains_key(&room) && !session.uncertain.contains(&room)
        });
        if code == Some(ErrorCode::NotAMember) && seated && still {
            let text = format!("{} has a seat in {room} and may not speak", self.player(wire));
            return broken(Guarantee::Publish, text);
        }
        Ok(())
    }

    fn resumed(
        &mut self,
        wire: WireId,
        who: SessionId,
        resumed: bool,
        rooms: &[String],
    ) -> Verdict {
        let name = self.player(wire).to_owned();
        if let Some(conn) = self.conns.get_mut(&wire) {
            conn.session = Some(who);
        }
        let resume_ms = self.plan.config.limits.resume_ms;
        // What an earlier server said may be read when there is another.
        let late = self.conns.get(&wire).is_some_and(|conn| conn.bye);
        let lives = |session: &&mut Session| !session.over || !resumed || late;
        let session = self.sessions.get_mut(&who).filter(lives);
        let Some(session) = session else {
            return match resumed {
                false => Ok(()),
                true => broken(Guarantee::Presence, format!("{name}: resumed what is over")),
            };
        };
        session.conn = Some(wire);
        if !resumed {
            return Ok(());
        }
        self.counts.resumed += 1;
        for room in session.seats.keys().filter(|room| !rooms.contains(room)) {
            let options = self.plan.options(room);
            // Whose home was lost may find its room full.
            let has_place =
                self.plan.nodes == 1 || options.members_max as usize > self.plan.players;
            let long = u64::from(options.resume_s) * 1_000 >= resume_ms && has_place;
            if long && !session.uncertain.contains(room) && !self.plan.is_wild(room) {
                let text = format!("{name} came back in time and has lost its seat in {room}");
                return broken(Guarantee::Presence, text);
            }
        }
        for room in rooms {
            if !session.seats.contains_key(room) && !session.uncertain.contains(room) {
                let text = format!("{name} came back to a seat in {room} that it never had");
                return broken(Guarantee::Presence, text);
            }
        }
        session.seats = rooms.iter().map(|room| (room.clone(), Seat::default())).collect();
        Ok(())
    }

    /// A session is made known before its `welcome` is read.
    pub(crate) fn expect_session(&mut self, who: SessionId, sender: Sender, namespace: &str) {
        let namespace = namespace.to_owned();
        self.sessions.entry(who).or_insert(Session {
            over: false,
            sender,
            namespace,
            conn: None,
            seats: Default::default(),
            uncertain: Default::default(),
        });
    }

    fn joined(
        &mut self,
        wire: WireId,
        room: &str,
        (position, members): (Position, u32),
        (since, recovery): (Option<Position>, Option<Recovery>),
        sight: Sight,
    ) -> Verdict {
        let name = self.player(wire).to_owned();
        if members == 0 {
            return broken(Guarantee::Presence, format!("{name} is in {room}, which has nobody"));
        }
        if since.is_some() != recovery.is_some() {
            return broken(Guarantee::Recovery, format!("{name} in {room}: verdict {recovery:?}"));
        }
        self.check_tail(wire, room, position, sight)?;
        if let Some((since, recovery)) = since.zip(recovery) {
            self.verdict(room, since, position, recovery, sight)?;
            match recovery {
                Recovery::Recovered => self.counts.recovered += 1,
                _ => self.counts.unrecovered += 1,
            }
        }
        let last = match (since, recovery) {
            (Some(since), Some(Recovery::Recovered)) => since.offset,
            _ => position.offset,
        };
        let place = Place { epoch: position.epoch, last, replayed: position.offset };
        let session = self.session_of(wire).and_then(|who| self.sessions.get_mut(&who));
        let Some(session) = session else { return Ok(()) };
        let seat = session.seats.entry(room.to_owned()).or_default();
        if seat.place.is_none() {
            seat.view = None;
            seat.counts = None;
        }
        seat.place = Some(place);
        Ok(())
    }

    /// The room's home is another, or words to it were lost: its member is told whether it missed
    /// anything.
    fn seated_again(
        &mut self,
        wire: WireId,
        room: &str,
        (position, members): (Position, u32),
        recovery: Recovery,
        sight: Sight,
    ) -> Verdict {
        let name = self.player(wire).to_owned();
        let Some(seat) = self.live_seat(wire, room).filter(|_| members > 0) else {
            let text = format!("{name} is told again of {room}, where it has no live seat");
            return broken(Guarantee::Presence, text);
        };
        let place = seat.place.clone();
        let Some(Place { epoch, last, .. }) = place else { return Ok(()) };
        let since = Position { epoch, offset: last };
        self.verdict(room, since, position, recovery, sight)?;
        self.counts.seated_again += 1;
        let (last, replayed) = match recovery {
            Recovery::Recovered => (last, position.offset),
            _ => (position.offset, position.offset),
        };
        if let Some(seat) = self.live_seat(wire, room) {
            (seat.view, seat.counts) = (None, None);
            seat.place = Some(Place { epoch: position.epoch, last, replayed });
        }
        Ok(())
    }

    /// Everything up to the position that a repeated join tells came before it.
    fn check_tail(&mut self, wire: WireId, room: &str, at: Position, sight: Sight) -> Verdict {
        let session = self.session_of(wire).and_then(|who| self.sessions.get(&who));
        let place = session.and_then(|session| session.seats.get(room)?.place.clone());
        let Some(place) = place else { return Ok(()) };
        if place.epoch != at.epoch {
            let text = format!("{} in {room}: the epoch changed under it", self.player(wire));
            return broken(Guarantee::Order, text);
        }
        self.missed(wire, room, (place.last + 1, at.offset + 1), place.replayed, sight);
        Ok(())
    }

    /// Whether the verdict about a recovery is honest.
    fn verdict(
        &self,
        room: &str,
        since: Position,
        head: Position,
        recovery: Recovery,
        sight: Sight,
    ) -> Verdict {
        let text = format!("{room} since {}, now {}: {recovery:?}", since.offset, head.offset);
        let same_epoch = since.epoch == head.epoch;
        let honest = match recovery {
            Recovery::Recovered => same_epoch && since.offset <= head.offset,
            Recovery::Epoch => !same_epoch,
            Recovery::Ahead => same_epoch && since.offset > head.offset,
            // No schedule has rules that leave history out.
            Recovery::Forbidden => false,
            Recovery::Trimmed => {
                same_epoch
                    && since.offset < head.offset
                    && self.may_be_trimmed(room, since, head, sight)
            }
        };
        if honest { Ok(()) } else { broken(Guarantee::Recovery, text) }
    }

    /// Whether the room's bounds may have made it forget what came after `since`.
    fn may_be_trimmed(&self, room: &str, since: Position, head: Position, sight: Sight) -> bool {
        let history = self.plan.options(room).history;
        let Some(log) = self.logs.get(&(room.to_owned(), since.epoch)) else { return true };
        // 1 KiB is more than any event counts for.
        let newer = log.range(since.offset + 1..=head.offset);
        let count = newer.clone().count() as u64;
        let all_seen = head.offset - since.offset == count;
        let oldest = newer.clone().next().map_or(0, |(_, &said)| self.said[said].at_ms);
        !all_seen
            || count > u64::from(history.size)
            || count * 1_024 > history.bytes as u64
            || sight.now.saturating_sub(oldest) > history.age_s * 1_000
    }

    fn history(
        &mut self,
        room: &str,
        since: Option<Position>,
        body: &Body,
        sight: Sight,
    ) -> Verdict {
        let Body::History { position, recovery, events, .. } = body else { return Ok(()) };
        if let Some((since, recovery)) = since.zip(*recovery) {
            self.verdict(room, since, *position, recovery, sight)?;
        }
        let mut last = 0;
        for event in events {
            let Some(at) = event.position else {
                return broken(Guarantee::Order, format!("the history of {room} has no position"));
            };
            let offset = at.offset;
            if offset <= last || offset > position.offset || at.epoch != position.epoch {
                let text = format!("the history of {room} has {offset} after {last}");
                return broken(Guarantee::Order, text);
            }
            last = offset;
        }
        Ok(())
    }

    fn members(&mut self, wire: WireId, room: &str, members: &[MemberInfo]) -> Verdict {
        let who = self.session_of(wire);
        let listed: std::collections::BTreeSet<_> =
            members.iter().map(|member| member.sender.session).collect();
        if listed.len() != members.len() {
            return broken(Guarantee::Presence, format!("{room} lists a member twice"));
        }
        let session = who.and_then(|who| self.sessions.get_mut(&who));
        if let Some(seat) = session.and_then(|session| session.seats.get_mut(room))
            && seat.place.is_some()
        {
            seat.view = Some(listed);
        }
        Ok(())
    }

    fn forget_seat(&mut self, wire: WireId, room: &str) {
        let session = self.session_of(wire).and_then(|who| self.sessions.get_mut(&who));
        if let Some(session) = session {
            session.seats.remove(room);
        }
    }
}

fn same_room(name: &str, asked: &str, told: &str) -> Verdict {
    if asked == told {
        return Ok(());
    }
    broken(Guarantee::Isolation, format!("{name} asked for {asked} and is told about {told}"))
}

fn namespace_of(room: &str) -> &str {
    room.split_once('/').map_or("default", |(namespace, _)| namespace)
}
