//! What the server's own code asks: [`ServerCall`]s, handed to the room's or session's home.

use roomcast_wire::{ErrorCode, Refusal, RoomPath, SessionId};

use super::direct::no_such_target;
use super::{DEFAULT, Shard};
use crate::envelope::{Answer, Caller, Question, RoomOp, Word};
use crate::io::{Output, ServerCall, ServerReply};
use crate::key::{FullName, ReplyTo};
use crate::room::Publication;

impl Shard {
    pub(super) fn on_call(&mut self, id: u64, call: ServerCall) {
        let to = ReplyTo::Call { shard: self.id, id };
        if let Err(refusal) = self.start_call(to, call) {
            self.answer(to, Answer::Refused(refusal));
        }
    }

    fn start_call(&mut self, to: ReplyTo, call: ServerCall) -> Result<(), Refusal> {
        let (room, op) = match call {
            ServerCall::Create { room, options, permanent } => {
                options.check().map_err(|text| Refusal::new(ErrorCode::InvalidOption, text))?;
                (room, RoomOp::Found { options: Box::new(options), permanent })
            }
            ServerCall::Delete { room } => (room, RoomOp::Delete),
            ServerCall::Announce { room, event, data } => {
                let publication = Publication {
                    name: event,
                    payload: data,
                    from: None,
                    reliable: true,
                    key: None,
                    except: None,
                };
                (room, RoomOp::Publish { publication, echo: None })
            }
            ServerCall::Kick { room, target } => {
                (room, RoomOp::Kick { target: target.into(), message: None })
            }
            ServerCall::Join { room, session } => {
                let (namespace, room) = self.parse_room(&room)?;
                let home = self.home_of_session(session);
                self.send(home, Word::Invite { session, room, namespace, to });
                return Ok(());
            }
            ServerCall::Revoke { revoked } => {
                self.ask_all(to, Question::Revoke(revoked));
                return Ok(());
            }
            ServerCall::Disconnect { session } => {
                let home = self.home_of_session(session);
                self.send(home, Word::Disconnect { session, to });
                return Ok(());
            }
        };
        let (namespace, room) = self.parse_room(&room)?;
        let caller = Caller { session: None, namespace, admin: true, reply: to };
        let home = self.home_of_room(&room);
        self.send(home, Word::Room { room, namespace, caller, op });
        Ok(())
    }

    fn parse_room(&self, room: &str) -> Result<(u16, FullName), Refusal> {
        let path = RoomPath::parse(room)
            .map_err(|error| Refusal::new(ErrorCode::InvalidName, error.to_string()))?;
        self.resolve(DEFAULT, &path)
    }

    /// The server gives a session of this shard a seat.
    pub(super) fn on_invite(
        &mut self,
        session: SessionId,
        room: FullName,
        namespace: u16,
        to: ReplyTo,
    ) {
        let found = self.session_by_id.get(&session).copied();
        let Some((slot, held)) =
            found.and_then(|slot| Some((slot, self.sessions.get(slot as usize)?)))
        else {
            return self.answer(to, Answer::Refused(no_such_target()));
        };
        let caller = held.caller(to);
        if let Err(refusal) = self.expect_seat(slot, namespace, &room) {
            return self.answer(to, Answer::Refused(refusal));
        }
        let op = RoomOp::Join {
            since: None,
            data: None,
            granted: true,
            may_create: true,
            may_look_back: true,
        };
        let home = self.home_of_room(&room);
        self.send(home, Word::Room { room, namespace, caller, op });
    }

    pub(super) fn call_done(&mut self, id: u64, answer: Answer) {
        let reply = match answer {
            Answer::Refused(refusal) => ServerReply::Refused(refusal),
            Answer::Ok { position: Some(position), .. } => ServerReply::At(position),
            _ => ServerReply::Done,
        };
        self.outputs.push_back(Output::CallDone { id, reply });
    }
}
