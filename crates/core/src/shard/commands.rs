//! What sessions ask, handed to where it is decided.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::Standing;
use roomcast_wire::push::Sender;
use roomcast_wire::reply::RoomInfo;
use roomcast_wire::{
    CloseCode, Command, ErrorCode, EventName, Format, Name, Payload, Refusal, Reply, Request,
    RoomPath, SessionId, Target,
};

use super::Shard;
use super::cluster::Home;
use super::sessions::Hello;
use crate::config::Namespaces;
use crate::envelope::{Answer, Message, RoomOp, Survey, Word};
use crate::hook::HookMask;
use crate::io::{LinkId, Now, Output};
use crate::key::{FullName, ReplyTo, SessionKey};
use crate::rights::Right;
use crate::room::Publication;

/// What surrounds a payload in a frame, roughly. Charged at least: a room hears it however little
/// is said.
pub(crate) const AROUND_BYTES: u64 = 128;

/// Where the sender of a message stands, with names of its own: what is read from the message may
/// borrow them. Made for each message of some dialects: a room's name of up to 24 bytes costs
/// no memory.
pub(super) struct Place {
    session: Option<SessionId>,
    namespaces: Namespaces,
    namespace: u16,
    room: Option<FullName>,
}

impl Place {
    pub(super) fn standing(&self) -> Standing<'_> {
        let (name, policy) = &self.namespaces[usize::from(self.namespace)];
        Standing {
            session: self.session,
            namespace: name,
            convention: policy.convention,
            room: self.room.as_ref().map(FullName::as_str),
            lobby: policy.lobby.as_deref().filter(|room| policy.options_of(room).logic.is_some()),
            goes_on: false,
        }
    }
}

impl Shard {
    pub(super) fn on_message(&mut self, link: LinkId, message: &Bytes) {
        let per_second = self.config.limits.commands_per_s.into();
        let Some(entry) = self.links.get_mut(link).filter(|entry| !entry.closing) else { return };
        entry.heard = Some(self.now);
        let pause = entry.commands.charge(self.now, per_second, 1);
        let format = entry.format;
        if let Some(until) = pause {
            self.pause(link, until);
        }
        let place = format.reads_standing().then(|| self.place_of(link));
        let standing = place.as_ref().map(Place::standing).unwrap_or_default();
        match format.decode(message, &standing) {
            Ok(request) => {
                self.counters.commands_total += 1;
                if let Some(entry) = self.links.get_mut(link) {
                    entry.errors = 0;
                }
                self.on_request(link, request, message);
            }
            Err(error) => {
                if let Some(code) = error.close {
                    self.counters.refusals_total += 1;
                    return self.close_link(link, code, &error.refusal.message, None);
                }
                self.refuse_on(link, error.reference, &error.refusal);
                self.count_error(link);
            }
        }
    }

    pub(super) fn place_of(&self, link: LinkId) -> Place {
        let entry = self.links.get(link);
        let slot = entry.and_then(|entry| entry.session);
        let session = slot.and_then(|slot| self.sessions.get(slot as usize));
        let is_in_one = entry.is_some_and(|entry| entry.format.hello_names_room());
        let seat = session.filter(|_| is_in_one).and_then(|session| session.seats.last());
        Place {
            session: session.map(|session| session.sender.session),
            namespaces: Arc::clone(&self.namespaces),
            namespace: entry.map_or(super::DEFAULT, |entry| entry.namespace),
            room: seat.map(|seat| seat.name.clone()),
        }
    }

    /// Carries out what a message that began a session says beside that.
    pub(super) fn go_on_with(&mut self, link: LinkId, message: &Bytes) {
        let Some(format) = self.links.get(link).map(|link| link.format) else { return };
        let place = format.reads_standing().then(|| self.place_of(link));
        let standing = place.as_ref().map(Place::standing).unwrap_or_default();
        // It could be read once, so it can be read again.
        if let Ok(request) = format.decode(message, &Standing { goes_on: true, ..standing }) {
            self.on_request(link, request, message);
        }
    }

    /// Carries out what was read and counted before, and had to wait.
    pub(super) fn read_again(&mut self, link: LinkId, message: &Bytes) {
        let Some(format) = self.links.get(link).map(|link| link.format) else { return };
        let place = format.reads_standing().then(|| self.place_of(link));
        let standing = place.as_ref().map(Place::standing).unwrap_or_default();
        // It could be read once, so it can be read again.
        if let Ok(request) = format.decode(message, &standing) {
            self.on_request(link, request, message);
        }
    }

    fn count_error(&mut self, link: LinkId) {
        let most = self.config.limits.errors_in_a_row;
        let Some(entry) = self.links.get_mut(link) else { return };
        entry.errors += 1;
        if entry.errors >= most {
            let text = format!("{most} frames in a row could not be understood");
            self.close_link(link, CloseCode::TooManyErrors, &text, None);
        }
    }

    pub(super) fn pause(&mut self, link: LinkId, until: Now) {
        self.counters.pauses_total += 1;
        self.outputs.push_back(Output::Pause { link, until });
    }

    pub(super) fn on_request(&mut self, link: LinkId, request: Request<'_>, message: &Bytes) {
        let Request { reference, command } = request;
        let Some(entry) = self.links.get(link) else { return };
        if entry.held.is_some() {
            let text = "a message was read from a link whose command waits for a hook";
            let refusal = Refusal::new(ErrorCode::Internal, text);
            return self.refuse_on(link, reference, &refusal);
        }
        let session = entry.session;
        if session.is_none() && self.waits_for_session(link, message) {
            return;
        }
        if let Command::Hello { token, name, resume, data } = command {
            if session.is_some() {
                let text = "`hello` must be the first command of a connection";
                let refusal = Refusal::new(ErrorCode::HelloNotFirst, text);
                return self.refuse_on(link, reference, &refusal);
            }
            let resume = resume.filter(|_| self.takes_back(link));
            let hello = Hello { token, name, resume, data };
            return self.on_hello(link, reference, &hello, message);
        }
        let slot = match session {
            Some(slot) => slot,
            None if self.config.hooks.contains(HookMask::CONNECT) => {
                return self.ask_first(link, reference, Some(message));
            }
            None => match self.new_anonymous_session(link) {
                Ok(slot) => slot,
                Err(refusal) => return self.refuse_on(link, reference, &refusal),
            },
        };
        let generation = self.links.generation(link).unwrap_or_default();
        let asker = Asker { slot, link, generation, reference };
        if let Err(refusal) = self.on_command(asker, command) {
            self.refuse_on(link, reference, &refusal);
        }
    }

    /// Carries out a command, or hands it to where it is decided. What is refused here is refused
    /// before anything was done.
    fn on_command(&mut self, asker: Asker, mut command: Command<'_>) -> Result<(), Refusal> {
        let Asker { link, reference, .. } = asker;
        if !self.config.hooks.is_empty() {
            match self.ask_before(asker, command)? {
                Some(unasked) => command = unasked,
                None => return Ok(()),
            }
        }
        match command {
            Command::Rooms { namespace } => self.rooms_command(asker, namespace.as_deref()),
            Command::Refresh { token } => self.refresh_command(asker, &token),
            Command::Ping => {
                self.links.reply(&mut self.counters, link, reference, &Reply::Pong);
                Ok(())
            }
            Command::Bye => {
                if reference.is_some() {
                    let done = Reply::Ok { position: None, delivered: None };
                    self.links.reply(&mut self.counters, link, reference, &done);
                }
                self.close_link(link, CloseCode::Normal, "goodbye", None);
                Ok(())
            }
            Command::Send { to, event, data } => self.send_command(asker, to, event, data),
            Command::Broadcast { namespace, event, data } => {
                self.broadcast_command(asker, namespace.as_deref(), event, data)
            }
            Command::Call { call, room, data } => self.call_command(asker, call, room, data),
            Command::Result { id, data, error } => {
                self.result_command(asker, id, data, error.as_deref())
            }
            Command::Hello { .. } => Ok(()),
            command => self.on_room_command(asker, command),
        }
    }

    fn on_room_command(&mut self, asker: Asker, command: Command<'_>) -> Result<(), Refusal> {
        match command {
            Command::Publish { room, event, data, reliable, key, echo } => {
                let key = key.map(|key| key.as_ref().into());
                self.publish_command(asker, &room, Some(Right::Publish), echo, |from| Publication {
                    name: event,
                    payload: data,
                    from: Some(from),
                    reliable,
                    key,
                    except: None,
                })
            }
            Command::Announce { room, event, data } => {
                self.need_admin(asker.slot)?;
                self.publish_command(asker, &room, None, None, |_| Publication {
                    name: event,
                    payload: data,
                    from: None,
                    reliable: true,
                    key: None,
                    except: None,
                })
            }
            Command::Join { room, since, data } => self.join_command(asker, &room, since, data),
            Command::Leave { room, data } => self.leave_command(asker, &room, data),
            Command::Create { room, options, join } => {
                self.create_command(asker, room, options, join)
            }
            Command::Members { room } => self.members_command(asker, &room),
            Command::Presence { room } => {
                self.ask_home(asker, &room, Some(Right::Presence), RoomOp::Presence)
            }
            Command::History { room, since, limit } => {
                self.refuse_while_recovering(asker.link)?;
                self.ask_home(asker, &room, Some(Right::History), RoomOp::History { since, limit })
            }
            Command::Kick { room, target, message } => {
                self.need_admin(asker.slot)?;
                let target = target_text(&target);
                let message = message.map(|text| text.as_ref().into());
                self.ask_home(asker, &room, None, RoomOp::Kick { target, message })
            }
            Command::Delete { room } => {
                self.need_admin(asker.slot)?;
                self.ask_home(asker, &room, None, RoomOp::Delete)
            }
            // Those that name no room were taken by `on_command`.
            _ => Ok(()),
        }
    }

    fn ask_home(
        &mut self,
        asker: Asker,
        room: &RoomPath<'_>,
        right: Option<Right>,
        op: RoomOp,
    ) -> Result<(), Refusal> {
        let (namespace, room) = self.resolve_for(asker.slot, room, right)?;
        self.word_to_home(asker, namespace, room, op);
        Ok(())
    }

    pub(super) fn word_to_home(
        &mut self,
        asker: Asker,
        namespace: u16,
        room: FullName,
        op: RoomOp,
    ) {
        let Some(session) = self.sessions.get(asker.slot as usize) else { return };
        let caller = session.caller(asker.reply_to(session.key));
        match self.home_of_room(&room) {
            // Nothing is on its way that this could overtake.
            Home::Shard(home) if home == self.id && self.own.is_empty() => {
                self.on_room_op(room, namespace, caller, op);
            }
            home => self.send_home(home, Word::Room { room, namespace, caller, op }),
        }
    }

    /// The full name, if the session may speak in that namespace and has the right there.
    pub(super) fn resolve_for(
        &self,
        slot: u32,
        room: &RoomPath<'_>,
        right: Option<Right>,
    ) -> Result<(u16, FullName), Refusal> {
        let session = self.sessions.get(slot as usize).ok_or_else(gone)?;
        let (namespace, full) = self.resolve(session.namespace, room)?;
        self.check_namespace(slot, namespace)?;
        if let Some(right) = right {
            self.check_right(slot, right, namespace, Some(room.room()))?;
        }
        Ok((namespace, full))
    }

    fn publish_command(
        &mut self,
        asker: Asker,
        room: &RoomPath<'_>,
        right: Option<Right>,
        echo: Option<bool>,
        publication: impl FnOnce(Arc<Sender>) -> Publication,
    ) -> Result<(), Refusal> {
        let (namespace, room) = self.resolve_for(asker.slot, room, right)?;
        self.publish_in(asker, namespace, room, echo, publication)
    }

    pub(super) fn publish_in(
        &mut self,
        asker: Asker,
        namespace: u16,
        room: FullName,
        echo: Option<bool>,
        publication: impl FnOnce(Arc<Sender>) -> Publication,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        // Before the sender is counted: no load overtakes an atomic one, and both are cache misses.
        std::hint::black_box(session.seats.first().map(|seat| seat.room));
        let publication = publication(Arc::clone(&session.sender));
        let len = publication.payload.as_ref().map_or(0, |payload| payload.bytes().len());
        self.charge_room(asker, &room, AROUND_BYTES.max(len as u64));
        if self.own.is_empty()
            && let Some(slot) = self.seat_here(asker.slot, &room)
            && let Some(session) = self.sessions.get(asker.slot as usize)
        {
            let caller = session.caller(asker.reply_to(session.key));
            self.publish_op(Some(slot), &caller, publication, echo, true);
            return Ok(());
        }
        self.word_to_home(asker, namespace, room, RoomOp::Publish { publication, echo });
        Ok(())
    }

    /// Where on this shard a room is at home that a session has a seat in. While no word is on its
    /// way, what the seat says is what the room would say, without looking up room and member.
    fn seat_here(&self, slot: u32, room: &FullName) -> Option<u32> {
        let seat = self.sessions.get(slot as usize)?.seat(room)?;
        // One that its home is being told of again has no place.
        seat.place?;
        let key = seat.room.filter(|key| key.home == self.id && !self.lease_is_over())?;
        let room = self.rooms.get(key.slot as usize)?;
        (room.key == key).then_some(key.slot)
    }

    fn members_command(&mut self, asker: Asker, room: &RoomPath<'_>) -> Result<(), Refusal> {
        let (namespace, room) = self.resolve_for(asker.slot, room, Some(Right::Presence))?;
        self.charge_list(asker.link, self.members_of(asker.slot, &room));
        self.word_to_home(asker, namespace, room, RoomOp::Members);
        Ok(())
    }

    /// How many members a room had at the last word of its home; 1 if the session does not hear it.
    fn members_of(&self, slot: u32, room: &FullName) -> u64 {
        let session = self.sessions.get(slot as usize);
        let place = session.and_then(|session| session.seat(room)?.place);
        let audience = place.and_then(|(audience, _)| self.audiences.get(audience as usize));
        audience.map_or(1, |audience| audience.room_members.max(1).into())
    }

    /// A list is made by looking through all there are: 100,000 take some milliseconds, so every
    /// 100 count for one more command.
    fn charge_list(&mut self, link: LinkId, among: u64) {
        let per_second = self.config.limits.commands_per_s.into();
        let now = self.now;
        let Some(entry) = self.links.get_mut(link) else { return };
        if let Some(until) = entry.commands.charge(now, per_second, among / 100) {
            self.pause(link, until);
        }
    }

    /// Charges what every member of a room is told.
    pub(super) fn charge_room(&mut self, asker: Asker, room: &FullName, bytes: u64) {
        if self.config.limits.fanout_bytes_per_s > 0 {
            self.charge_fanout(asker.slot, bytes * self.members_of(asker.slot, room));
        }
    }

    /// Charges bytes that a session makes the server say; above its rate it is not read.
    pub(super) fn charge_fanout(&mut self, slot: u32, bytes: u64) {
        let per_second = self.config.limits.fanout_bytes_per_s;
        let now = self.now;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let until = session.fanout.charge(now, per_second, bytes);
        if let (Some(until), Some(link)) = (until, session.link) {
            self.pause(link, until);
        }
    }

    fn send_command(
        &mut self,
        asker: Asker,
        to: Target<'_>,
        event: EventName,
        data: Option<Payload>,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let caller = session.caller(asker.reply_to(session.key));
        let from = Some(Arc::clone(&session.sender));
        let namespace = session.namespace;
        self.check_right(asker.slot, Right::Send, namespace, None)?;
        let message = Arc::new(Message { event, data, from, reliable: true, except: None });
        match to {
            Target::Session(to) => {
                let home = self.shard_of_session(to);
                self.send(home, Word::Direct { to, caller, message });
            }
            Target::User(user) => {
                let user = Name::new(&user)
                    .map_err(|error| Refusal::new(ErrorCode::InvalidName, error.to_string()))?;
                let home = self.home_of_user(namespace, &user);
                self.send_home(home, Word::DirectToUser { user, caller, message });
            }
        }
        Ok(())
    }

    fn broadcast_command(
        &mut self,
        asker: Asker,
        namespace: Option<&str>,
        event: EventName,
        data: Option<Payload>,
    ) -> Result<(), Refusal> {
        self.need_admin(asker.slot)?;
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let to = asker.reply_to(session.key);
        let from = Some(Arc::clone(&session.sender));
        let own = session.namespace;
        let namespace = namespace.map_or(Ok(own), |name| self.find_namespace(name))?;
        let message = Arc::new(Message { event, data, from, reliable: true, except: None });
        self.survey_all(to, Survey::Broadcast { namespace, message });
        Ok(())
    }

    fn rooms_command(&mut self, asker: Asker, namespace: Option<&str>) -> Result<(), Refusal> {
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let to = asker.reply_to(session.key);
        let own = session.namespace;
        let admin = session.admin;
        let namespace = namespace.map_or(Ok(own), |name| self.find_namespace(name))?;
        self.check_namespace(asker.slot, namespace)?;
        if self.policy(namespace).list_rooms || admin {
            self.charge_list(asker.link, self.counters.rooms * u64::from(self.shard_count()));
            let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
            let grants = session.rights.as_ref().and_then(|rights| rights.grants.clone());
            self.survey_all(to, Survey::Rooms { namespace, grants });
            return Ok(());
        }
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let seats = session.seats.iter().filter(|seat| seat.namespace == namespace);
        let mut rooms: Vec<_> = seats
            .filter_map(|seat| {
                let audience = self.audiences.get(seat.place?.0 as usize)?;
                Some(RoomInfo { room: seat.name.to_string(), members: audience.room_members })
            })
            .collect();
        rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));
        self.on_answer(to, Answer::Rooms { rooms, truncated: false });
        Ok(())
    }

    pub(super) fn refuse_while_draining(&self) -> Result<(), Refusal> {
        match self.draining {
            Some(_) => Err(Refusal::new(ErrorCode::Draining, "the server is stopping")),
            None => Ok(()),
        }
    }

    /// Recoveries may go beyond the outbox's bound, but there must be an end. Small ones go
    /// together: a client that is back asks for all its rooms at once.
    pub(super) fn refuse_while_recovering(&self, link: LinkId) -> Result<(), Refusal> {
        let most = self.config.limits.outbox_bytes / 2;
        if self.links.get(link).is_some_and(|link| link.outbox.granted_bytes() > most) {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: "read what is on its way first, then ask for more".into(),
                retry_ms: Some(100),
            });
        }
        Ok(())
    }

    /// Answers a command with an error on its link.
    pub(super) fn refuse_on(&mut self, link: LinkId, reference: Option<u64>, refusal: &Refusal) {
        self.counters.refusals_total += 1;
        self.tell_refused(link, reference, refusal);
        if let Some(entry) = self.links.get_mut(link).filter(|entry| entry.session.is_none()) {
            entry.refused = true;
        }
        let Refusal { code, message, retry_ms } = refusal;
        let ends = |format: Format| format.hello_names_room() && reference.is_some();
        if self.links.get(link).is_some_and(|entry| ends(entry.format)) {
            return self.close_link(link, CloseCode::Unauthorized, message, None);
        }
        let message = Cow::Borrowed(message.as_ref());
        let reply = Reply::Error { code: *code, message, retry_ms: *retry_ms };
        self.links.reply(&mut self.counters, link, reference, &reply);
    }
}

/// The session, link and reference of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub slot: u32,
    pub link: LinkId,
    pub generation: u32,
    pub reference: Option<u64>,
}

impl Asker {
    pub(super) fn reply_to(self, session: SessionKey) -> ReplyTo {
        let Self { link, generation, reference, .. } = self;
        ReplyTo::Session { session, link, generation, reference }
    }
}

fn target_text(target: &Target<'_>) -> Box<str> {
    match target {
        Target::Session(session) => session.to_string().into(),
        Target::User(user) => user.as_ref().into(),
    }
}

pub(super) fn gone() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the session is gone")
}
