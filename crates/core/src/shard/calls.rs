//! What the server's own code asks: [`ServerCall`]s, handed to the room's or session's home.

use std::sync::Arc;

use roomcast_wire::push::LeaveReason;
use roomcast_wire::{ErrorCode, Refusal, RoomPath, SessionId};

use super::direct::no_such_target;
use super::{DEFAULT, Shard};
use crate::envelope::{
    Answer, Caller, CreateWish, Grant, JoinRights, Message, RoomOp, SeatWish, Survey,
    WantedOptions, Word,
};
use crate::io::{Act, Output, ServerCall, ServerReply};
use crate::key::{FullName, ReplyTo, RoomKey};
use crate::room::{Publication, no_such_room};

impl Shard {
    pub(super) fn on_call(&mut self, id: u64, call: ServerCall) {
        let to = ReplyTo::Call { shard: self.id, id };
        if let Err(refusal) = self.start_call(to, call) {
            self.answer(to, Answer::Refused(refusal));
        }
    }

    fn start_call(&mut self, to: ReplyTo, call: ServerCall) -> Result<(), Refusal> {
        let (life, call) = match call {
            ServerCall::Within { life, call } => (Some(life.0), *call),
            call => (None, call),
        };
        let (room, op) = match call {
            ServerCall::Create { room, options, permanent } => {
                self.refuse_while_draining()?;
                options.check().map_err(|text| Refusal::new(ErrorCode::InvalidOption, text))?;
                (room, RoomOp::Found { options: Box::new(options), permanent })
            }
            ServerCall::CreateWith { room, options } => {
                self.refuse_while_draining()?;
                let options = WantedOptions::Patch(options);
                let wish = CreateWish { options, granted: true, seat: None };
                (room, RoomOp::Create(Box::new(wish)))
            }
            ServerCall::Delete { room } => (room, RoomOp::Delete),
            ServerCall::Publish { room, event, data, from, reliable, key } => {
                let (name, payload, except) = (event, data, None);
                let publication = Publication { name, payload, from, reliable, key, except };
                (room, RoomOp::Publish { publication, echo: None })
            }
            ServerCall::Tell { room, to, event, data } => (room, RoomOp::Tell { to, event, data }),
            ServerCall::Kick { room, target } => {
                (room, RoomOp::Kick { target: target.into(), message: None })
            }
            ServerCall::Members { room } => (room, RoomOp::Members),
            ServerCall::Presence { room } => (room, RoomOp::Presence),
            ServerCall::State { room } => (room, RoomOp::State),
            ServerCall::History { room, since, limit } => (room, RoomOp::History { since, limit }),
            other => return self.start_wide_call(to, other, life),
        };
        let (namespace, room) = self.parse_room(&room)?;
        let caller = Caller { session: None, namespace, admin: true, reply: to };
        let home = self.home_of_room(&room);
        self.send_home(home, within(life, Word::Room { room, namespace, caller, op }));
        Ok(())
    }

    /// What is asked of a session, a user or a namespace.
    fn start_wide_call(
        &mut self,
        to: ReplyTo,
        call: ServerCall,
        life: Option<RoomKey>,
    ) -> Result<(), Refusal> {
        let caller = |namespace| Caller { session: None, namespace, admin: true, reply: to };
        let message = |event, data, reliable| {
            Arc::new(Message { event, data, from: None, reliable, except: None })
        };
        let (home, word) = match call {
            ServerCall::Act { room, session, act } => {
                let (namespace, room) = self.parse_room(&room)?;
                let home = self.shard_of_session(session);
                (home, Word::Act { session, room, namespace, act, to, life })
            }
            ServerCall::Disconnect { session } => {
                (self.shard_of_session(session), Word::Disconnect { session, to })
            }
            ServerCall::Ask { session, call, data, timeout_ms } => {
                let home = self.shard_of_session(session);
                (home, Word::AskSession { session, call: (call, data), timeout_ms, to })
            }
            ServerCall::Seats { session } => {
                (self.shard_of_session(session), Word::ListSeats { session, to })
            }
            ServerCall::Send { session, event, data, reliable } => {
                let (caller, message) = (caller(DEFAULT), message(event, data, reliable));
                (self.shard_of_session(session), Word::Direct { to: session, caller, message })
            }
            ServerCall::SendToUser { namespace, user, event, data } => {
                let namespace = self.find_namespace(&namespace)?;
                let (caller, message) = (caller(namespace), message(event, data, true));
                let home = self.home_of_user(namespace, &user);
                self.send_home(home, Word::DirectToUser { user, caller, message });
                return Ok(());
            }
            ServerCall::Broadcast { namespace, event, data, from, reliable } => {
                let namespace = self.find_namespace(&namespace)?;
                let except = from.as_ref().map(|from| from.session);
                let message = Arc::new(Message { event, data, from, reliable, except });
                self.survey_all(to, Survey::Broadcast { namespace, message });
                return Ok(());
            }
            ServerCall::Rooms { namespace } => {
                let namespace = self.find_namespace(&namespace)?;
                self.survey_all(to, Survey::Rooms { namespace, grants: None });
                return Ok(());
            }
            ServerCall::Revoke { revoked } => {
                self.survey_all(to, Survey::Revoke(revoked));
                return Ok(());
            }
            // The others name a room and were taken by `start_call`.
            _ => return Ok(()),
        };
        self.send(home, word);
        Ok(())
    }

    pub(super) fn parse_room(&self, room: &str) -> Result<(u16, FullName), Refusal> {
        let path = RoomPath::parse(room)
            .map_err(|error| Refusal::new(ErrorCode::InvalidName, error.to_string()))?;
        self.resolve(DEFAULT, &path)
    }

    /// The server does something in the name of a session of this shard.
    pub(super) fn on_act(
        &mut self,
        session: SessionId,
        (namespace, room): (u16, FullName),
        act: Act,
        (to, life): (ReplyTo, Option<RoomKey>),
    ) {
        let found = self.session_by_id.get(&session).copied();
        let Some((slot, held)) =
            found.and_then(|slot| Some((slot, self.sessions.get(slot as usize)?)))
        else {
            return self.answer(to, Answer::Refused(no_such_target()));
        };
        let mut caller = held.caller(to);
        let takes_seat = matches!(act, Act::Join { .. } | Act::Create { join: true, .. });
        let makes_more = takes_seat || matches!(act, Act::Create { .. });
        let mut ready = if makes_more { self.refuse_while_draining() } else { Ok(()) };
        if takes_seat {
            let data = match &act {
                Act::Join { data, .. } => data.as_ref(),
                _ => None,
            };
            ready = ready.and_then(|()| self.expect_seat(slot, namespace, &room, data));
        }
        if let Err(refusal) = ready {
            return self.answer(to, Answer::Refused(refusal));
        }
        let op = match act {
            Act::Create { options, join } => {
                caller.admin = true;
                let options = options.map_or(WantedOptions::Default, WantedOptions::Patch);
                let seat = join.then_some(SeatWish { data: None, grant: Grant::None });
                RoomOp::Create(Box::new(CreateWish { options, granted: false, seat }))
            }
            Act::Join { data, make } => {
                let grant = if make { Grant::Make } else { Grant::Room };
                RoomOp::Join { since: None, data, grant, rights: JoinRights::ALL }
            }
            Act::Leave { data } => RoomOp::Leave { reason: LeaveReason::Left, data },
            Act::Publish { event, data, reliable, echo, key } => {
                caller.admin = true;
                let from = caller.sender().cloned();
                let publication =
                    Publication { name: event, payload: data, from, reliable, key, except: None };
                RoomOp::Publish { publication, echo }
            }
        };
        let home = self.home_of_room(&room);
        self.send_home(home, within(life, Word::Room { room, namespace, caller, op }));
    }

    /// What is to be done in one life of a room.
    pub(super) fn on_within(&mut self, life: RoomKey, word: Word) {
        let Word::Room { room, namespace, caller, op } = word else { return };
        if self.room_at(life).is_some() {
            return self.on_room_op(room, namespace, caller, op);
        }
        let takes_seat = match &op {
            RoomOp::Join { .. } => true,
            RoomOp::Create(wish) => wish.seat.is_some(),
            _ => false,
        };
        match takes_seat {
            true => self.refuse_join(&caller, room, no_such_room()),
            false => self.answer(caller.reply, Answer::Refused(no_such_room())),
        }
    }

    pub(super) fn on_list_seats(&mut self, session: SessionId, to: ReplyTo) {
        let found = self.session_by_id.get(&session).copied();
        let Some(session) = found.and_then(|slot| self.sessions.get(slot as usize)) else {
            return self.answer(to, Answer::Refused(no_such_target()));
        };
        let seats = session.seats.iter().filter(|seat| seat.room.is_some());
        let rooms = seats.map(|seat| seat.name.to_string()).collect();
        self.answer(to, Answer::Call(ServerReply::Seats(rooms)));
    }

    pub(super) fn call_done(&mut self, id: u64, answer: Answer) {
        let reply = match answer {
            Answer::Call(reply) => reply,
            Answer::Refused(refusal) => ServerReply::Refused(refusal),
            Answer::Ok { position: Some(position), .. } => ServerReply::At(position),
            Answer::Ok { delivered: Some(count), .. } => ServerReply::Reached(count),
            Answer::Ok { .. } | Answer::Left { .. } => ServerReply::Done,
            Answer::Created { created, .. } => ServerReply::Created(created),
            Answer::Members { members, truncated, .. } => {
                ServerReply::Members { members, truncated }
            }
            Answer::Presence { members, users, .. } => ServerReply::Presence { members, users },
            Answer::History { position, recovery, events, .. } => {
                ServerReply::History { position, recovery, events }
            }
            Answer::Rooms { rooms, truncated } => ServerReply::Rooms { rooms, truncated },
        };
        self.outputs.push_back(Output::CallDone { id, reply });
    }
}

fn within(life: Option<RoomKey>, word: Word) -> Word {
    match life {
        Some(life) => Word::Within { life, word: Box::new(word) },
        None => word,
    }
}
