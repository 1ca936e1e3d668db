//! What a group does beside relaying: it tells the others what who comes or goes has to say.

use std::collections::HashSet;
use std::sync::Arc;

use roomcast_core::logic::{RoomCtx, RoomLogic, RoomSetup};
use roomcast_wire::push::{LeaveReason, MemberInfo};
use roomcast_wire::{Refusal, SessionId};

use super::Notice;
use super::setup::Lost;

/// Makes a message of the application's about somebody who was lost, or is back.
pub(super) type Message = Arc<dyn Fn(&Lost<'_>) -> Option<Notice> + Send + Sync>;

/// The messages of the application's.
#[derive(Clone, Default)]
pub(super) struct Messages {
    pub discard: Option<Message>,
    pub rejoin: Option<Message>,
}

/// A group.
pub(super) struct GroupLogic {
    id: Box<str>,
    messages: Messages,
    /// Members whose link is lost.
    lost: HashSet<SessionId>,
}

impl GroupLogic {
    pub fn new(setup: &RoomSetup<'_>, messages: Messages) -> Self {
        let id = setup.room.rsplit_once('/').map_or(setup.room, |(_, id)| id);
        Self { id: id.into(), messages, lost: HashSet::new() }
    }

    fn tell(&self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, message: Option<&Message>) {
        let about = Lost {
            group: &self.id,
            user: member.sender.user.as_deref(),
            session: member.sender.session,
        };
        if let Some(notice) = message.and_then(|message| message(&about)) {
            ctx.tell_except(about.session, notice.event, notice.data);
        }
    }
}

impl RoomLogic for GroupLogic {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        // Stamped with who it is: a client gives its own words in `data`, and must not speak as if
        // it were the server.
        if let Some(notice) = Notice::read(member.data.as_ref()) {
            ctx.tell_others(&member.sender, notice.event, notice.data);
        }
        Ok(())
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.lost.insert(member.sender.session);
        self.tell(ctx, member, self.messages.discard.as_ref());
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        if self.lost.remove(&member.sender.session) {
            self.tell(ctx, member, self.messages.rejoin.as_ref());
        }
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, reason: LeaveReason) {
        let was_lost = self.lost.remove(&member.sender.session);
        match reason {
            LeaveReason::Left => {
                if let Some(notice) = Notice::read(ctx.last_word()) {
                    ctx.tell_others(&member.sender, notice.event, notice.data);
                }
            }
            // A session that cannot be resumed is gone at once.
            LeaveReason::Lost if !was_lost => {
                self.tell(ctx, member, self.messages.discard.as_ref());
            }
            _ => {}
        }
    }
}
