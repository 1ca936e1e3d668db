//! `msgio-demo`: what the demo server of nimMsgIo does, for a namespace's lobby.
//!
//! Who comes hears three greetings, and all hear who it is; what somebody says all hear under the
//! demo's other names; who goes is told to those who stay.

use roomcast_wire::push::{LeaveReason, MemberInfo};
use roomcast_wire::{Payload, Refusal};

use super::{LogicEvent, Relay, RoomCtx, RoomLogic};

/// What only who comes hears, each an `event`.
const GREETINGS: [&str; 3] = ["data", "hat funktioniert, gä? : )", "ja! :)"];

pub(super) struct MsgioDemo;

impl RoomLogic for MsgioDemo {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        let session = member.sender.session;
        for greeting in GREETINGS {
            ctx.tell(session, "event", greeting);
        }
        let said = format!("USER: {} connected to this server!", session.number());
        ctx.publish("helloWORLD", &said);
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        ctx.publish("eventcontrol", "payload to control namespace");
        let name = match event.name() {
            Some("foo") => "msgBROWSER",
            Some("tcp") => "msg",
            _ => return Ok(Relay::Nothing),
        };
        ctx.publish(name, event.payload.map(Payload::detached));
        Ok(Relay::Nothing)
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, _reason: LeaveReason) {
        // The name has two blanks there too.
        let id = member.sender.session.number().to_string();
        ctx.publish("client disconnected  event", &id);
    }
}
