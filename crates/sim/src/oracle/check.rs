//! What clients read unasked, and how links end.

use std::collections::BTreeSet;

use roomcast_core::HookMask;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::options::PresenceRule;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{CloseCode, Codec, Payload, Position, SessionId};
use serde_json::Value;

use super::{Addressee, Asked, Gap, Guarantee, Oracle, Said, Verdict, broken};
use crate::sim::CHANGED;
use crate::sim::wild;
use crate::world::WireId;

/// What the world knows about a link when something is read from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sight {
    /// What time it is.
    pub now: u64,
    /// The link was ever behind.
    pub was_behind: bool,
}

impl Oracle {
    /// A client read a frame.
    pub(crate) fn read(&mut self, wire: WireId, incoming: &Incoming, sight: Sight) -> Verdict {
        let ended = self.conns.get(&wire).is_none_or(|conn| conn.goodbye.is_some());
        if ended {
            let text = format!("{} read something after goodbye", self.player(wire));
            return broken(Guarantee::Bounds, text);
        }
        match &incoming.body {
            Body::Event { room, event } => self.event(wire, room, event, sight),
            Body::MemberJoined { room, member } => {
                self.presence_push(wire, room, &member.sender, Some(true))
            }
            Body::MemberLeft { room, from, .. } => {
                self.presence_push(wire, room, from, Some(false))
            }
            Body::MemberDropped { room, from } | Body::MemberResumed { room, from } => {
                self.presence_push(wire, room, from, None)
            }
            Body::Presence { room, members, users } if incoming.reference.is_none() => {
                self.counts_push(wire, room, (*members, *users))
            }
            Body::RoomClosed { room, .. } => self.room_closed(wire, room),
            Body::Message { data, from, .. } => self.message(wire, data.as_ref(), from.as_ref()),
            Body::Goodbye { code, .. } => {
                if let Some(conn) = self.conns.get_mut(&wire) {
                    conn.goodbye = Some(*code);
                }
                Ok(())
            }
            Body::Unknown { kind } => {
                broken(Guarantee::Bounds, format!("an unknown frame `{kind}`"))
            }
            _ => self.reply(wire, incoming, sight),
        }
    }

    fn event(&mut self, wire: WireId, room: &str, event: &Event, sight: Sight) -> Verdict {
        self.counts.events += 1;
        if event.position.is_none() {
            return self.told(wire, room, event);
        }
        let by_logic = self.said_by_logic(room, event, sight);
        let number = by_logic.or_else(|| number_in(event.payload.as_ref(), "n"));
        let who = self.session_of(wire);
        let Some(number) = number.filter(|&number| number < self.said.len()) else {
            return broken(Guarantee::Order, format!("an event of {room} that nobody said"));
        };
        self.check_content(room, event, number)?;
        let name = self.player(wire).to_owned();
        let Some(position) = event.position else {
            return broken(Guarantee::Order, format!("{name} in {room}: an event without a place"));
        };
        self.place_in_log(room, position, number)?;
        self.count_unreliable(room, position, event)?;
        let at = format!("{name} in {room} at {}", position.offset);
        let said = &self.said[number];
        let (own, echo) = (said.session.is_some() && said.session == who, said.echo);
        let place = who
            .and_then(|who| self.sessions.get_mut(&who))
            .and_then(|session| session.seats.get_mut(room))
            .and_then(|seat| seat.place.as_mut());
        let Some(place) = place else {
            return broken(Guarantee::Isolation, format!("{at}: an event without a live seat"));
        };
        if place.epoch != position.epoch {
            return broken(Guarantee::Order, format!("{at}: another epoch without a join"));
        }
        let (last, offset) = (place.last, position.offset);
        if offset <= last {
            return broken(Guarantee::Order, format!("{at}: after {last} already"));
        }
        let replayed = place.replayed;
        place.last = offset;
        if own && !echo && offset > replayed {
            return broken(Guarantee::Publish, format!("{at}: its own event, without echo"));
        }
        self.missed(wire, room, (last + 1, offset), replayed, sight);
        Ok(())
    }

    /// What a logic told some members only.
    fn told(&mut self, wire: WireId, room: &str, event: &Event) -> Verdict {
        let at = format!("{} in {room}, told aside", self.player(wire));
        if !self.plan.is_wild(room) || self.live_seat(wire, room).is_none() {
            return broken(Guarantee::Isolation, format!("{at}: without a logic, or a live seat"));
        }
        let who = self.session_of(wire).map(|who| who.to_string()).unwrap_or_default();
        let data = event.payload.as_ref().and_then(|data| data.read::<Value>().ok());
        let data = data.unwrap_or_default();
        match data["to"] == who || (data["except"].is_string() && data["except"] != who) {
            true => {
                self.counts.told += 1;
                Ok(())
            }
            false => broken(Guarantee::Isolation, format!("{at}: {data} is for others")),
        }
    }

    /// The number of what a logic said to all, which is known from the first who reads it.
    fn said_by_logic(&mut self, room: &str, event: &Event, sight: Sight) -> Option<usize> {
        if !self.plan.is_wild(room) || event.name.as_text() != Some(wild::EVENT) {
            return None;
        }
        let own = number_in(event.payload.as_ref(), "l")? as u64;
        if let Some(&known) = self.by_logics.get(&own) {
            return Some(known);
        }
        let said = (event.name.clone(), event.reliable);
        let said = Said::new((room.to_owned(), None), said, true, None, sight.now);
        let number = self.say(said);
        self.counts.by_logics += 1;
        self.by_logics.insert(own, number);
        Some(number)
    }

    /// Notes the offsets from `from` to before `to` as not seen.
    pub(super) fn missed(
        &mut self,
        wire: WireId,
        room: &str,
        (from, to): (u64, u64),
        replayed: u64,
        sight: Sight,
    ) {
        let Some(who) = self.session_of(wire) else { return };
        let place = self.sessions.get(&who).and_then(|session| session.seats.get(room));
        let Some(epoch) = place.and_then(|seat| seat.place.as_ref()).map(|place| place.epoch)
        else {
            return;
        };
        for offset in from..to {
            let replayed = offset <= replayed;
            let behind = sight.was_behind;
            let room = room.to_owned();
            self.gaps.push(Gap { who, room, epoch, offset, behind, replayed });
        }
    }

    fn check_content(&self, room: &str, event: &Event, number: usize) -> Verdict {
        let said = &self.said[number];
        let at = format!("event {number} in {room} at {:?}", event.position);
        if said.room != room {
            return broken(Guarantee::Isolation, format!("{at} was said in {}", said.room));
        }
        let from = event.from.as_ref().map(|sender| sender.session);
        if from != said.session {
            return broken(Guarantee::Isolation, format!("{at} is stamped with another sender"));
        }
        let changed = event.name == CHANGED && self.plan.config.hooks.contains(HookMask::PUBLISH);
        if event.name != said.event && !changed || event.reliable != said.reliable {
            return broken(Guarantee::Order, format!("{at} is called or sent differently"));
        }
        if said.refusals == said.tries {
            return broken(Guarantee::Publish, format!("{at} was refused"));
        }
        Ok(())
    }

    /// Everybody must see the same at one position, and each thing at one position of an epoch.
    pub(super) fn place_in_log(&mut self, room: &str, at: Position, number: usize) -> Verdict {
        let log = self.logs.entry((room.to_owned(), at.epoch)).or_default();
        let there = *log.entry(at.offset).or_insert(number);
        if there != number {
            let text = format!("{room} at {}: {there} for one, {number} for another", at.offset);
            return broken(Guarantee::Order, text);
        }
        let said = &mut self.said[number];
        let same_epoch = said.positions.iter().find(|other| other.epoch == at.epoch);
        match same_epoch {
            Some(other) if *other != at => {
                let text =
                    format!("{number} stands in {room} at {} and {}", other.offset, at.offset);
                return broken(Guarantee::Publish, text);
            }
            Some(_) => {}
            None if said.key.is_none() && !said.positions.is_empty() => {
                let text = format!("{number} stands in two lives of {room}");
                return broken(Guarantee::Publish, text);
            }
            None => said.positions.push(at),
        }
        Ok(())
    }

    /// Everybody is told the same count at one position, and it grows with the unreliable events.
    fn count_unreliable(&mut self, room: &str, at: Position, event: &Event) -> Verdict {
        let counts = self.unreliable.entry((room.to_owned(), at.epoch)).or_default();
        let count = event.unreliable;
        let (before, there) =
            counts.range(..at.offset).next_back().map_or((0, 0), |(&o, &c)| (o, c));
        let least = there + u64::from(!event.reliable);
        let most = there + (at.offset - before - u64::from(event.reliable));
        let known = *counts.entry(at.offset).or_insert(count);
        if known != count || !(least..=most).contains(&count) {
            let text = format!("{room} at {}: {count} unreliable, {least} to {most}", at.offset);
            return broken(Guarantee::Order, text);
        }
        Ok(())
    }

    fn presence_push(
        &mut self,
        wire: WireId,
        room: &str,
        from: &Sender,
        comes: Option<bool>,
    ) -> Verdict {
        let rule = self.plan.options(room).presence;
        if rule != PresenceRule::Members {
            return broken(Guarantee::Presence, format!("{room} tells who comes and goes"));
        }
        let name = self.player(wire).to_owned();
        let Some(seat) = self.live_seat(wire, room) else {
            let text = format!("{name} hears of members of {room} without a live seat");
            return broken(Guarantee::Isolation, text);
        };
        if let Some(view) = &mut seat.view {
            match comes {
                Some(true) => _ = view.insert(from.session),
                Some(false) => _ = view.remove(&from.session),
                None => {}
            }
        }
        Ok(())
    }

    fn counts_push(&mut self, wire: WireId, room: &str, counts: (u32, u32)) -> Verdict {
        let name = self.player(wire).to_owned();
        let Some(seat) = self.live_seat(wire, room) else {
            let text = format!("{name} hears numbers of {room} without a live seat");
            return broken(Guarantee::Isolation, text);
        };
        seat.counts = Some(counts);
        Ok(())
    }

    pub(super) fn live_seat(&mut self, wire: WireId, room: &str) -> Option<&mut super::Seat> {
        let who = self.session_of(wire)?;
        let seat = self.sessions.get_mut(&who)?.seats.get_mut(room)?;
        seat.place.is_some().then_some(seat)
    }

    fn room_closed(&mut self, wire: WireId, room: &str) -> Verdict {
        let name = self.player(wire).to_owned();
        let session = self.session_of(wire).and_then(|who| self.sessions.get_mut(&who));
        let Some(session) = session else { return Ok(()) };
        let had = session.seats.remove(room).is_some();
        // A seat may have come and gone again while its client was away.
        let brief = u64::from(self.plan.options(room).resume_s) * 1_000;
        let brief = brief < self.plan.config.limits.resume_ms;
        if !had && !brief && !session.uncertain.contains(room) {
            let text = format!("{name} hears that {room} is closed, where it was not");
            return broken(Guarantee::Isolation, text);
        }
        Ok(())
    }

    fn message(&mut self, wire: WireId, data: Option<&Payload>, from: Option<&Sender>) -> Verdict {
        let name = self.player(wire).to_owned();
        let who = self.session_of(wire);
        let number = number_in(data, "m").filter(|&number| number < self.sent.len());
        let (Some(number), Some(who)) = (number, who) else {
            return broken(Guarantee::Isolation, format!("{name} read a message nobody sent"));
        };
        let Some(session) = self.sessions.get(&who) else { return Ok(()) };
        let sent = &mut self.sent[number];
        let is_for = match &sent.to {
            Addressee::Session(to) => *to == who,
            Addressee::User(user) => session.sender.user.as_deref() == Some(user.as_str()),
            Addressee::Namespace(namespace) => session.namespace == *namespace,
        };
        if !is_for || from.map(|from| from.session) != Some(sent.from) {
            let text = format!("{name} read message {number}, from or for another");
            return broken(Guarantee::Isolation, text);
        }
        if !sent.readers.insert(who) {
            return broken(Guarantee::Publish, format!("{name} read message {number} twice"));
        }
        Ok(())
    }

    /// A client's link has ended.
    pub(crate) fn ended(&mut self, wire: WireId, code: Option<u16>) -> Verdict {
        self.let_go(wire);
        let Some(conn) = self.conns.get(&wire) else { return Ok(()) };
        let player = &conn.player;
        let too_large = CloseCode::TooLarge.number();
        if let Some(code) = code.filter(|&code| code != too_large)
            && conn.goodbye != Some(code)
        {
            let text = format!("{player} is closed with {code} after {:?}", conn.goodbye);
            return broken(Guarantee::Bounds, text);
        }
        let code = code.and_then(CloseCode::from_number);
        let allowed = match code {
            Some(CloseCode::Drain | CloseCode::Replaced) => true,
            Some(CloseCode::TooManyErrors) => conn.garbage > 0,
            // Its node stood still.
            Some(CloseCode::NoPong | CloseCode::Unauthorized) => self.plan.nodes > 1,
            Some(CloseCode::Normal | CloseCode::Disconnected) | None => conn.bye,
            _ => false,
        };
        if conn.calm && !allowed {
            let text = format!("{player} reads all it gets, and is closed: {code:?}");
            return broken(Guarantee::SlowMembers, text);
        }
        Ok(())
    }

    /// The client thinks no more of this link.
    pub(crate) fn let_go(&mut self, wire: WireId) {
        let Some(conn) = self.conns.get_mut(&wire) else { return };
        conn.ended = true;
        let pending = std::mem::take(&mut conn.pending);
        let session = conn.session.and_then(|who| self.sessions.get_mut(&who));
        let Some(session) = session.filter(|session| session.conn == Some(wire)) else { return };
        session.conn = None;
        for asked in pending.into_values() {
            if let Asked::Join { room, .. } | Asked::Leave { room } | Asked::Create { room, .. } =
                asked
            {
                session.uncertain.insert(room);
            }
        }
        for seat in session.seats.values_mut() {
            *seat = super::Seat::default();
        }
    }

    pub(super) fn session_of(&self, wire: WireId) -> Option<SessionId> {
        self.conns.get(&wire).and_then(|conn| conn.session)
    }

    /// The sessions that have a seat in a room, as they know.
    pub(super) fn truth(&self, room: &str) -> BTreeSet<SessionId> {
        let sessions = self.sessions.iter();
        let seated = sessions.filter(|(_, one)| one.seats.contains_key(room) && one.conn.is_some());
        seated.map(|(who, _)| *who).collect()
    }
}

/// The number that a payload `{"n":7}` holds.
fn number_in(payload: Option<&Payload>, name: &str) -> Option<usize> {
    let json = payload?.to_codec(Codec::Json);
    let text = std::str::from_utf8(json.bytes()).ok()?;
    let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}
