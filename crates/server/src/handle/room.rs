//! A room in the hands of the embedding program.

use std::fmt;
use std::sync::Arc;

use roomcast_core::logic::{IntoData, IntoEvent, RoomRef};
use roomcast_core::{Act, RoomState, ServerCall, ServerReply};
use roomcast_wire::push::{Event, MemberInfo, Sender};
use roomcast_wire::reply::{Recovery, RoomInfo};
use roomcast_wire::{Payload, Position, Refusal, RoomOptions, SessionId};

use super::{Asked, CallError, ServerHandle, done, reached, said};

/// A room in the hands of the embedding program, whether the room is there or not.
///
/// ```
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
/// let lobby = server.handle().room("lobby");
/// assert!(lobby.create(roomcast::RoomOptions::default()).wait()?);
/// let position = lobby.publish("news", &serde_json::json!({ "text": "open" })).wait()?;
/// assert_eq!(position.offset, 1);
/// assert_eq!(lobby.members().wait()?.members.len(), 0);
/// lobby.delete().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RoomHandle {
    pub(super) server: ServerHandle,
    pub(super) name: String,
    /// The only life of the room that it is for; none: whatever room has the name.
    pub(super) life: Option<RoomRef>,
}

/// Who is in a room. See [`RoomState`](crate::RoomState) for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    /// In the order of joining.
    pub members: Vec<MemberInfo>,
    /// Whether there are more than `limits.list_max`.
    pub truncated: bool,
}

/// How many are in a room. See [`RoomState`](crate::RoomState) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Sessions.
    pub members: u32,
    /// Users; sessions of one user count once, each without a user for itself.
    pub users: u32,
}

/// What a room remembers. See [`RoomState`](crate::RoomState) for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The room's position now.
    pub position: Position,
    /// Whether `since` could be continued; none without one.
    pub recovery: Option<Recovery>,
    /// Oldest first.
    pub events: Vec<Arc<Event>>,
}

/// Rooms by name. See [`RoomState`](crate::RoomState) for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rooms {
    /// The rooms.
    pub rooms: Vec<RoomInfo>,
    /// Whether there are more than `limits.list_max`.
    pub truncated: bool,
}

impl RoomHandle {
    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says something to all members, with no sender, whatever the room's `publish` rule. It gets
    /// a position and is kept in history. The room's logic is not asked.
    pub fn publish(&self, event: impl IntoEvent, data: impl IntoData) -> Asked<Position> {
        self.say(None, event, data, true)
    }

    /// The same in somebody's name.
    pub fn publish_from(
        &self,
        from: &Arc<Sender>,
        event: impl IntoEvent,
        data: impl IntoData,
    ) -> Asked<Position> {
        self.say(Some(Arc::clone(from)), event, data, true)
    }

    /// Says something to all members that may be dropped on its way: the newest wins, and it is
    /// not kept in history.
    pub fn publish_unreliable(
        &self,
        event: impl IntoEvent,
        data: impl IntoData,
    ) -> Asked<Position> {
        self.say(None, event, data, false)
    }

    /// Says something to some members only; how many have a seat. As others do not hear it, it has
    /// no position and is not kept in history.
    pub fn tell(&self, to: &[SessionId], event: impl IntoEvent, data: impl IntoData) -> Asked<u32> {
        let (room, to) = (self.name.clone(), to.to_vec());
        let call =
            said(event, data).map(|(event, data)| ServerCall::Tell { room, to, event, data });
        self.ask(call, reached)
    }

    /// Makes the room; `false`: it was there, and keeps its options. It ends as every room does
    /// that nobody is in.
    pub fn create(&self, options: RoomOptions) -> Asked<bool> {
        self.found(options, false)
    }

    /// The same for a room that stays until it is deleted; one that is there already stays, too.
    pub fn create_permanent(&self, options: RoomOptions) -> Asked<bool> {
        self.found(options, true)
    }

    /// Closes the room; its members hear `room_closed`. A static room cannot be deleted.
    pub fn delete(&self) -> Asked<()> {
        self.ask(Ok(ServerCall::Delete { room: self.name.clone() }), done)
    }

    /// Who is in it.
    pub fn members(&self) -> Asked<Members> {
        self.ask(Ok(ServerCall::Members { room: self.name.clone() }), |reply| match reply {
            ServerReply::Members { members, truncated } => Some(Members { members, truncated }),
            _ => None,
        })
    }

    /// How many are in it.
    pub fn presence(&self) -> Asked<Presence> {
        self.ask(Ok(ServerCall::Presence { room: self.name.clone() }), |reply| match reply {
            ServerReply::Presence { members, users } => Some(Presence { members, users }),
            _ => None,
        })
    }

    /// What it is like: its options, whether it stays, how many are in it, its newest position.
    pub fn state(&self) -> Asked<RoomState> {
        self.ask(Ok(ServerCall::State { room: self.name.clone() }), |reply| match reply {
            ServerReply::State(state) => Some(*state),
            _ => None,
        })
    }

    /// What it remembers: after `since`, or the newest; at most `limit` events.
    pub fn history(&self, since: Option<Position>, limit: u32) -> Asked<History> {
        let call = ServerCall::History { room: self.name.clone(), since, limit: Some(limit) };
        self.ask(Ok(call), |reply| match reply {
            ServerReply::History { position, recovery, events } => {
                Some(History { position, recovery, events })
            }
            _ => None,
        })
    }

    /// Puts a session, or every session of a user, out of it; how many that were.
    pub fn kick(&self, who: impl fmt::Display) -> Asked<u32> {
        let call = ServerCall::Kick { room: self.name.clone(), target: who.to_string() };
        self.ask(Ok(call), reached)
    }

    /// Gives a session a seat, whatever the room's `join` rule, and makes the room if it is not
    /// there; `false`: it had one. `data` is what the others see of the member.
    pub fn join(&self, session: SessionId, data: impl IntoData) -> Asked<bool> {
        let call = self.act(session, data, |data| Act::Join { data, make: true });
        self.ask(call, |reply| match reply {
            ServerReply::Seated { is_new } => Some(is_new),
            _ => None,
        })
    }

    /// Takes a session's seat away as if it had left; its client hears `room_closed`. `data` is a
    /// last word for the others.
    pub fn leave(&self, session: SessionId, data: impl IntoData) -> Asked<()> {
        self.ask(self.act(session, data, |data| Act::Leave { data }), done)
    }

    /// The same for one life of the room only.
    pub(crate) fn within(self, life: RoomRef) -> Self {
        Self { life: Some(life), ..self }
    }

    fn ask<T>(
        &self,
        call: Result<ServerCall, Refusal>,
        read: fn(ServerReply) -> Option<T>,
    ) -> Asked<T> {
        let call = call.map(|call| match self.life {
            Some(life) => ServerCall::Within { life, call: Box::new(call) },
            None => call,
        });
        self.server.ask(call, read)
    }

    fn act(
        &self,
        session: SessionId,
        data: impl IntoData,
        act: impl FnOnce(Option<Payload>) -> Act,
    ) -> Result<ServerCall, Refusal> {
        let act = act(data.into_data().map_err(CallError::invalid)?);
        Ok(ServerCall::Act { room: self.name.clone(), session, act })
    }

    fn found(&self, options: RoomOptions, permanent: bool) -> Asked<bool> {
        let call = ServerCall::Create { room: self.name.clone(), options, permanent };
        self.ask(Ok(call), |reply| match reply {
            ServerReply::Created(created) => Some(created),
            _ => None,
        })
    }

    fn say(
        &self,
        from: Option<Arc<Sender>>,
        event: impl IntoEvent,
        data: impl IntoData,
        reliable: bool,
    ) -> Asked<Position> {
        let room = self.name.clone();
        let call = said(event, data).map(|(event, data)| ServerCall::Publish {
            room,
            event,
            data,
            from,
            reliable,
            key: None,
        });
        self.ask(call, |reply| match reply {
            ServerReply::At(position) => Some(position),
            _ => None,
        })
    }
}
