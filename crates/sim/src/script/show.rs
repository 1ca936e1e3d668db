//! What a client read, as one line.

use roomcast_core::ServerReply;
use roomcast_wire::incoming::Body;
use roomcast_wire::name::GENERATED_NAME_LEN;
use roomcast_wire::push::{Event, MemberInfo, Sender};
use roomcast_wire::reply::Recovery;
use roomcast_wire::{Codec, Payload, Position, SessionId};

use super::stage::Stage;

impl Stage {
    pub(super) fn show_call(&mut self, reply: ServerReply) -> String {
        match reply {
            ServerReply::Done | ServerReply::Created(true) => "done".to_owned(),
            ServerReply::Created(false) => "done (was there)".to_owned(),
            ServerReply::Seated { is_new: true } => "seated".to_owned(),
            ServerReply::Seated { is_new: false } => "seated before".to_owned(),
            ServerReply::At(position) => format!("done @{}", position.offset),
            ServerReply::Reached(count) => format!("done reached={count}"),
            ServerReply::Members { members, truncated } => {
                let members: Vec<_> = members.iter().map(|member| self.member(member)).collect();
                let more = if truncated { " and more" } else { "" };
                format!("members {}{more}", members.join(", "))
            }
            ServerReply::State(state) => {
                let stays = if state.permanent { " permanent" } else { "" };
                let options = state.options;
                let empty = options.keep_when_empty.then_some(options.ttl_s);
                format!("state members={} empty={empty:?}{stays}", state.members)
            }
            ServerReply::Presence { members, users } => {
                format!("presence members={members} users={users}")
            }
            ServerReply::History { position, recovery, events } => {
                let recovery = recovery_text(recovery);
                format!("history @{}{recovery} events={}", position.offset, events.len())
            }
            ServerReply::Rooms { rooms, truncated } => {
                let more = if truncated { " and more" } else { "" };
                let rooms = rooms.iter().map(|one| format!(" {}:{}", one.room, one.members));
                format!("rooms{}{more}", rooms.collect::<String>())
            }
            ServerReply::Seats(rooms) => format!("seats {}", rooms.join(",")),
            ServerReply::Answered(data) => format!("answered{}", data_text(data.as_ref())),
            ServerReply::Refused(refusal) => format!("error {}", refusal.code.reason()),
        }
    }

    pub(super) fn show(&mut self, body: &Body) -> String {
        match body {
            Body::Welcome { user, resumed, rooms, .. } => {
                let user = user.as_ref().map_or(String::new(), |user| format!(" user={user}"));
                let mut rooms = rooms.clone();
                rooms.sort();
                let rooms = match rooms.is_empty() {
                    true => String::new(),
                    false => format!(" rooms={}", rooms.join(",")),
                };
                format!("welcome{user}{}{rooms}", if *resumed { " resumed" } else { "" })
            }
            Body::Joined { room, position, members, recovery } => {
                let at = self.position(room, *position);
                let recovery = recovery_text(*recovery);
                format!("joined {} {at} members={members}{recovery}", self.room(room))
            }
            Body::Created { room, created } => {
                let there = if *created { "" } else { " (was there)" };
                format!("created {}{there}", self.room(room))
            }
            Body::Ok { position, delivered } => {
                let at = position.map_or(String::new(), |at| format!(" @{}", at.offset));
                let delivered = delivered.map_or(String::new(), |n| format!(" delivered={n}"));
                format!("ok{at}{delivered}")
            }
            Body::Rooms { rooms, truncated } => {
                let more = if *truncated { " and more" } else { "" };
                let rooms: Vec<_> = rooms
                    .iter()
                    .map(|one| format!(" {}:{}", self.room(&one.room), one.members))
                    .collect();
                format!("rooms{}{more}", rooms.concat())
            }
            Body::Members { room, members, truncated } => {
                let more = if *truncated { " and more" } else { "" };
                let members: Vec<_> = members.iter().map(|member| self.member(member)).collect();
                format!("members {} {}{more}", self.room(room), members.join(", "))
            }
            Body::History { room, position, recovery, events } => {
                let at = self.position(room, *position);
                let events: Vec<_> =
                    events.iter().map(|event| format!(" [{}]", self.event(room, event))).collect();
                let (recovery, events) = (recovery_text(*recovery), events.concat());
                format!("history {} {at}{recovery}{events}", self.room(room))
            }
            Body::Presence { room, members, users } => {
                format!("presence {room} members={members} users={users}")
            }
            Body::Result { data } => format!("result{}", data_text(data.as_ref())),
            Body::Pong => "pong".to_owned(),
            Body::Error { reason, retry_ms, .. } => {
                let retry = retry_ms.map_or(String::new(), |ms| format!(" retry_ms={ms}"));
                format!("error {reason}{retry}")
            }
            body => self.show_push(body),
        }
    }

    fn show_push(&mut self, body: &Body) -> String {
        match body {
            Body::Event { room, event } => {
                format!("event {} {}", self.room(room), self.event(room, event))
            }
            Body::MemberJoined { room, member } => {
                format!("member_joined {} {}", self.room(room), self.member(member))
            }
            Body::MemberLeft { room, from, reason, data } => {
                let (room, who) = (self.room(room), self.sender(from));
                format!("member_left {room} {who} {}{}", reason.as_str(), data_text(data.as_ref()))
            }
            Body::MemberDropped { room, from } => {
                format!("member_dropped {} {}", self.room(room), self.sender(from))
            }
            Body::MemberResumed { room, from } => {
                format!("member_resumed {} {}", self.room(room), self.sender(from))
            }
            Body::RoomClosed { room, reason } => {
                format!("room_closed {} {}", self.room(room), reason.as_str())
            }
            Body::Message { event, data, from } => {
                let from = from.as_ref().map(|from| format!(" from {}", self.sender(from)));
                let from = from.as_deref().unwrap_or(" from the server");
                format!("message {event}{}{from}", data_text(data.as_ref()))
            }
            Body::Call { call, data, .. } => format!("call {call}{}", data_text(data.as_ref())),
            Body::Goodbye { reason, retry_ms, .. } => {
                format!("goodbye {reason}{}", if retry_ms.is_some() { " retry" } else { "" })
            }
            other => format!("{other:?}"),
        }
    }

    pub(super) fn room(&mut self, room: &str) -> String {
        if room.len() != GENERATED_NAME_LEN {
            return room.to_owned();
        }
        let known = self.made_up.iter().position(|name| name == room);
        let at = known.unwrap_or_else(|| {
            self.made_up.push(room.to_owned());
            self.made_up.len() - 1
        });
        format!("${}", at + 1)
    }

    fn position(&mut self, room: &str, position: Position) -> String {
        let epochs = self.epochs.entry(room.to_owned()).or_default();
        let known = epochs.iter().position(|epoch| *epoch == position.epoch);
        let at = known.unwrap_or_else(|| {
            epochs.push(position.epoch);
            epochs.len() - 1
        });
        match at {
            0 => format!("@{}", position.offset),
            _ => format!("@{}/{}", position.offset, at + 1),
        }
    }

    fn event(&mut self, room: &str, event: &Event) -> String {
        let at = event.position.map_or("@-".to_owned(), |at| self.position(room, at));
        let data = data_text(event.payload.as_ref());
        let from = event.from.as_ref().map(|from| self.sender(from));
        let from = from.as_deref().unwrap_or("the server");
        let unreliable = if event.reliable { "" } else { " unreliable" };
        format!("{at} {}{data} from {from}{unreliable}", event.name)
    }

    fn member(&mut self, member: &MemberInfo) -> String {
        let data = data_text(member.data.as_ref());
        let dropped = if member.dropped { " dropped" } else { "" };
        format!("{}{data}{dropped}", self.sender(&member.sender))
    }

    /// The client's name in the script, with user and display name if it has them.
    pub(super) fn sender(&mut self, sender: &Sender) -> String {
        let name = self.session(sender.session);
        let user = sender.user.as_ref().map_or(String::new(), |user| format!("/{user}"));
        let display = sender.name.as_ref().map_or(String::new(), |text| format!("({text})"));
        format!("{name}{user}{display}")
    }

    fn session(&mut self, session: SessionId) -> String {
        if let Some(client) = self.clients.iter().find(|client| client.session == Some(session)) {
            return client.name.clone();
        }
        let known = self.strangers.iter().position(|known| *known == session);
        let at = known.unwrap_or_else(|| {
            self.strangers.push(session);
            self.strangers.len() - 1
        });
        format!("stranger{}", at + 1)
    }
}

fn recovery_text(recovery: Option<Recovery>) -> String {
    match recovery.map(Recovery::reason) {
        None => String::new(),
        Some(None) => " recovered".to_owned(),
        Some(Some(reason)) => format!(" not recovered: {reason}"),
    }
}

/// The value as JSON; long ones cut.
pub(super) fn data_text(data: Option<&Payload>) -> String {
    let Some(data) = data else { return String::new() };
    let data = data.to_codec(Codec::Json);
    let text = String::from_utf8_lossy(data.bytes());
    match text.char_indices().nth(40) {
        Some((at, _)) => format!(" {}… ({} bytes)", &text[..at], text.len()),
        None => format!(" {text}"),
    }
}
