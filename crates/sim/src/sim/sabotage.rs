//! Faults of the kind the oracle must notice: between the world and what it is shown.

use std::collections::VecDeque;

use roomcast_wire::SessionId;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::reply::Recovery;

use crate::world::WireId;

/// One fault, injected once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// An event is not delivered.
    DropEvent,
    /// An event is delivered twice.
    RepeatEvent,
    /// Two events of a room change places.
    SwapEvents,
    /// An event shows another sender.
    ForgeSender,
    /// An event comes from another room.
    MisplaceEvent,
    /// A recovery claims to be complete.
    LieAboutRecovery,
    /// A reply is lost.
    DropReply,
    /// A reply comes twice.
    RepeatReply,
    /// A list shows one who is not there.
    ForgeMember,
    /// A list leaves one out.
    HideMember,
}

impl Sabotage {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::DropEvent,
        Self::RepeatEvent,
        Self::SwapEvents,
        Self::ForgeSender,
        Self::MisplaceEvent,
        Self::LieAboutRecovery,
        Self::DropReply,
        Self::RepeatReply,
        Self::ForgeMember,
        Self::HideMember,
    ];
}

/// Waits for an occasion.
pub(super) struct Saboteur {
    what: Sabotage,
    /// Occasions to let pass: not always the first of its kind.
    skip: u32,
    held: Option<(WireId, Incoming)>,
    pub done: bool,
}

impl Saboteur {
    pub fn new(what: Sabotage) -> Self {
        let skip = if what == Sabotage::LieAboutRecovery { 0 } else { 5 };
        Self { what, skip, held: None, done: false }
    }

    /// Falsifies the frame in `queue`, if it is an occasion.
    pub fn tamper(
        &mut self,
        wire: WireId,
        behind: bool,
        listing: bool,
        queue: &mut VecDeque<Incoming>,
    ) {
        let Some(incoming) = queue.front() else { return };
        if self.done {
            return;
        }
        if let Some((at, held)) = self.held.take() {
            if at == wire && same_room(&held, incoming) {
                queue.push_back(held);
                self.done = true;
            } else if at == wire {
                queue.push_front(held);
            } else {
                self.held = Some((at, held));
            }
            return;
        }
        if behind || !self.is_occasion(incoming, listing) {
            return;
        }
        if self.skip > 0 && !listing {
            self.skip -= 1;
            return;
        }
        self.falsify(wire, queue);
    }

    fn is_occasion(&self, incoming: &Incoming, listing: bool) -> bool {
        match (&self.what, &incoming.body) {
            // What a logic says to some only may be lost unnoticed.
            (_, Body::Event { room, .. }) if room.ends_with("wild") => false,
            (Sabotage::DropEvent, Body::Event { event, .. }) => event.reliable,
            (Sabotage::ForgeSender, Body::Event { event, .. }) => event.from.is_some(),
            (
                Sabotage::RepeatEvent | Sabotage::SwapEvents | Sabotage::MisplaceEvent,
                Body::Event { .. },
            ) => true,
            (Sabotage::LieAboutRecovery, Body::Joined { recovery, .. }) => {
                matches!(recovery, Some(Recovery::Epoch))
            }
            (Sabotage::DropReply | Sabotage::RepeatReply, Body::Ok { .. }) => {
                listing && incoming.reference.is_some()
            }
            (Sabotage::ForgeMember | Sabotage::HideMember, Body::Members { .. }) => listing,
            _ => false,
        }
    }

    fn falsify(&mut self, wire: WireId, queue: &mut VecDeque<Incoming>) {
        let Some(mut incoming) = queue.pop_front() else { return };
        self.done = self.what != Sabotage::SwapEvents;
        match (&self.what, &mut incoming.body) {
            (Sabotage::DropEvent | Sabotage::DropReply, _) => return,
            (Sabotage::RepeatEvent | Sabotage::RepeatReply, _) => {
                queue.push_back(incoming.clone());
            }
            (Sabotage::SwapEvents, _) => {
                self.held = Some((wire, incoming));
                return;
            }
            (Sabotage::ForgeSender, Body::Event { event, .. }) => event.from = None,
            (Sabotage::MisplaceEvent, Body::Event { room, .. }) => {
                *room = if room == "lobby" { "den".to_owned() } else { "lobby".to_owned() };
            }
            (Sabotage::LieAboutRecovery, Body::Joined { recovery, .. }) => {
                *recovery = Some(Recovery::Recovered);
            }
            (Sabotage::ForgeMember, Body::Members { members, .. }) => {
                if let Some(mut forged) = members.first().cloned() {
                    let mut sender = (*forged.sender).clone();
                    sender.session = SessionId(1);
                    forged.sender = sender.into();
                    members.push(forged);
                }
            }
            (Sabotage::HideMember, Body::Members { members, .. }) => _ = members.pop(),
            _ => {}
        }
        queue.push_back(incoming);
    }
}

fn same_room(held: &Incoming, next: &Incoming) -> bool {
    match (&held.body, &next.body) {
        (Body::Event { room, .. }, Body::Event { room: other, .. }) => room == other,
        _ => false,
    }
}
