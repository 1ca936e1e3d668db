//! `latest`: relays, and tells who joins the last value of each event.
//!
//! | `logic_config` | |
//! | --- | --- |
//! | `key` | a field of the data: values that differ in it are kept beside each other |
//! | `by_sender` | each sender has values of its own, gone when it leaves; default false |
//! | `values_max` | values kept, 1 to 1,000; default 128; the longest unchanged goes first |
//! | `bytes_max` | bytes of them, and of names and keys twice; 1,024 to 524,288; default 262,144 |
//!
//! Each value counts for 256 bytes more. An event without data, or with `null`, forgets its value.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use roomcast_wire::push::{LeaveReason, MemberInfo, Sender};
use roomcast_wire::{Codec, EventName, Payload, Refusal, SessionId};
use serde_json::Value;

use super::settings::Settings;
use super::{LogicEvent, Relay, RoomCtx, RoomLogic};

/// What a value counts for beside its bytes and its place: what surrounds it when it is told.
const AROUND_BYTES: usize = 256;

pub(super) struct Latest {
    key: Option<Box<str>>,
    by_sender: bool,
    values_max: usize,
    bytes_max: usize,
    /// By event, sender and key.
    values: BTreeMap<String, Kept>,
    /// By the time of the last change, the oldest first.
    order: BTreeMap<u64, String>,
    changes: u64,
    bytes: usize,
}

struct Kept {
    name: EventName,
    data: Payload,
    from: Arc<Sender>,
    change: u64,
}

impl Latest {
    pub fn new(config: Option<&Value>) -> Result<Self, String> {
        let mut settings = Settings::new(config)?;
        let latest = Self {
            key: settings.text("key")?.map(Into::into),
            by_sender: settings.boolean("by_sender")?.unwrap_or(false),
            values_max: settings.number("values_max", (1, 1_000))?.unwrap_or(128) as usize,
            bytes_max: settings.number("bytes_max", (1_024, 524_288))?.unwrap_or(262_144) as usize,
            values: BTreeMap::new(),
            order: BTreeMap::new(),
            changes: 0,
            bytes: 0,
        };
        settings.finish()?;
        Ok(latest)
    }

    fn place(&self, event: &LogicEvent<'_>) -> String {
        let kind = if event.name().is_some() { 'w' } else { 'n' };
        let mut place = format!("{kind}{}", event.name);
        if self.by_sender {
            // Writing to a string does not fail. No name holds a line break.
            _ = write!(place, "\n{}", event.from.session);
        }
        if let Some(key) = &self.key
            && let Some(value) =
                event.data::<Value>().ok().as_ref().and_then(|data| data.get(&**key))
        {
            _ = write!(place, "\n{value}");
        }
        place
    }

    fn keep(&mut self, event: &LogicEvent<'_>) {
        let place = self.place(event);
        self.forget(&place);
        let Some(data) = event.payload.filter(|data| !is_null(data)) else { return };
        let (data, name, from) = (data.detached(), event.name.clone(), Arc::clone(event.from));
        self.changes += 1;
        self.bytes += size(&place, &data);
        self.order.insert(self.changes, place.clone());
        self.values.insert(place, Kept { name, data, from, change: self.changes });
        while self.values.len() > self.values_max || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, place: &str) {
        if let Some(kept) = self.values.remove(place) {
            self.order.remove(&kept.change);
            self.bytes -= size(place, &kept.data);
        }
    }

    fn tell_all(&self, ctx: &mut RoomCtx<'_>, session: SessionId) {
        for kept in self.order.values().filter_map(|place| self.values.get(place)) {
            ctx.tell_from(&kept.from, session, &kept.name, Some(&kept.data));
        }
    }
}

impl RoomLogic for Latest {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        self.tell_all(ctx, member.sender.session);
        Ok(())
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.tell_all(ctx, member.sender.session);
    }

    fn on_event(
        &mut self,
        _ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        self.keep(event);
        Ok(Relay::AsIs)
    }

    fn on_leave(&mut self, _ctx: &mut RoomCtx<'_>, member: &MemberInfo, _reason: LeaveReason) {
        if self.by_sender {
            let session = member.sender.session;
            let of_it = |(_, kept): &(&String, &Kept)| kept.from.session == session;
            let places: Vec<_> = self.values.iter().filter(of_it).map(|(p, _)| p.clone()).collect();
            places.iter().for_each(|place| self.forget(place));
        }
    }
}

fn is_null(data: &Payload) -> bool {
    matches!((data.codec(), &data.bytes()[..]), (Codec::Json, b"null") | (Codec::MsgPack, b"\xc0"))
}

/// The place stands in two lists, and holds what the client says under `key`.
fn size(place: &str, data: &Payload) -> usize {
    AROUND_BYTES + 2 * place.len() + data.bytes().len()
}
