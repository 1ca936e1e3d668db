//! What happened, told to the program around the hub, if it wants to hear it.

use std::sync::Arc;

use roomcast_wire::push::{ClosedReason, LeaveReason, Sender};
use roomcast_wire::{CloseCode, Name, Payload, Refusal, SessionId};

use super::Shard;
use crate::event::{
    Connected, Disconnected, HubEvent, MemberDropped, MemberJoined, MemberLeft, MemberResumed,
    Published, Refused, RoomClosed, RoomCreated, SessionEnded, SlowMember,
};
use crate::io::{LinkId, Output};
use crate::room::{Delivery, Member};

impl Shard {
    fn tell(&mut self, event: HubEvent) {
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    /// Who a session is and where; none if nobody wants to hear of it.
    pub(super) fn heard_of(&self, slot: Option<u32>) -> Option<(Arc<Sender>, Name)> {
        if !self.config.events {
            return None;
        }
        let session = self.sessions.get(slot? as usize)?;
        let namespace = self.namespaces.get(usize::from(session.namespace))?.0.clone();
        Some((Arc::clone(&session.sender), namespace))
    }

    pub(super) fn tell_connected(&mut self, slot: u32, resumed: bool, data: Option<Payload>) {
        if let Some((who, namespace)) = self.heard_of(Some(slot)) {
            self.tell(HubEvent::Connected(Connected { who, namespace, resumed, data }));
        }
    }

    /// To be called when the session has lost its link, with what was heard of it before.
    pub(super) fn tell_disconnected(
        &mut self,
        heard: Option<(Arc<Sender>, Name)>,
        reason: Option<CloseCode>,
    ) {
        let Some((who, namespace)) = heard else { return };
        let kept = self.session_by_id.contains_key(&who.session);
        self.tell(HubEvent::Disconnected(Disconnected { who, namespace, reason, kept }));
    }

    pub(super) fn tell_session_ended(&mut self, slot: u32, reason: LeaveReason) {
        if let Some((who, namespace)) = self.heard_of(Some(slot)) {
            self.tell(HubEvent::SessionEnded(SessionEnded { who, namespace, reason }));
        }
    }

    pub(super) fn tell_slow_member(&mut self, link: LinkId) {
        let slot = self.links.get(link).and_then(|link| link.session);
        if let Some((who, namespace)) = self.heard_of(slot) {
            self.tell(HubEvent::SlowMember(SlowMember { who, namespace }));
        }
    }

    pub(super) fn tell_refused(&mut self, link: LinkId, reference: Option<u64>, refusal: &Refusal) {
        if self.config.events {
            let slot = self.links.get(link).and_then(|link| link.session);
            let who = self.heard_of(slot).map(|(who, _)| who);
            let refusal = refusal.clone();
            self.tell(HubEvent::Refused(Refused { who, reference, refusal }));
        }
    }

    /// A room's full name; none if nobody wants to hear of it.
    fn room_heard_of(&self, slot: u32) -> Option<String> {
        let room = self.rooms.get(slot as usize).filter(|_| self.config.events)?;
        Some(room.name.to_string())
    }

    pub(super) fn tell_room_created(&mut self, slot: u32, by: Option<&Arc<Sender>>) {
        if let Some(room) = self.room_heard_of(slot) {
            self.tell(HubEvent::RoomCreated(RoomCreated { room, by: by.cloned() }));
        }
    }

    pub(super) fn tell_room_closed(&mut self, slot: u32, reason: ClosedReason) {
        if let Some(room) = self.room_heard_of(slot) {
            self.tell(HubEvent::RoomClosed(RoomClosed { room, reason }));
        }
    }

    pub(super) fn tell_member_joined(&mut self, slot: u32, session: SessionId) {
        let Some(room) = self.room_heard_of(slot) else { return };
        let member = self.rooms[slot as usize].member(session).map(Member::info);
        if let Some(member) = member {
            self.tell(HubEvent::MemberJoined(MemberJoined { room, member }));
        }
    }

    pub(super) fn tell_member_left(&mut self, slot: u32, who: &Arc<Sender>, reason: LeaveReason) {
        if let Some(room) = self.room_heard_of(slot) {
            let who = Arc::clone(who);
            self.tell(HubEvent::MemberLeft(MemberLeft { room, who, reason }));
        }
    }

    pub(super) fn tell_member_dropped(&mut self, slot: u32, who: Option<&Arc<Sender>>) {
        if let Some((room, who)) = self.room_heard_of(slot).zip(who.cloned()) {
            self.tell(HubEvent::MemberDropped(MemberDropped { room, who }));
        }
    }

    pub(super) fn tell_member_resumed(&mut self, slot: u32, who: Option<&Arc<Sender>>) {
        if let Some((room, who)) = self.room_heard_of(slot).zip(who.cloned()) {
            self.tell(HubEvent::MemberResumed(MemberResumed { room, who }));
        }
    }

    /// To be called as soon as an event has its place: it is the last that the room gathered.
    pub(super) fn tell_published(&mut self, slot: u32) {
        if !self.config.events {
            return;
        }
        let Some(room) = self.rooms.get(slot as usize) else { return };
        if let Some(Delivery::Event { event, .. }) = room.gathered.last() {
            let (room, event) = (room.name.to_string(), Arc::clone(event));
            self.tell(HubEvent::Published(Published { room, event }));
        }
    }
}
