//! What homes do with seats that they are told of again.

use std::collections::BTreeSet;

use roomcast_wire::push::{ClosedReason, LeaveReason};

use super::Shard;
use super::home::JoinWish;
use crate::directory::ShardId;
use crate::envelope::{Caller, Grant, JoinRights, Joined, Reseat, Word};
use crate::key::FullName;

impl Shard {
    /// A member of this room before its home was lost, or words were: it has its seat again, or
    /// still, and is told whether it missed anything.
    pub(super) fn reseat_op(
        &mut self,
        slot: Option<u32>,
        name: FullName,
        namespace: u16,
        caller: &Caller,
        reseat: Reseat,
    ) {
        let Some((key, sender)) = caller.session.clone() else { return };
        let Reseat { life, since, data, dropped } = reseat;
        let slot = match slot {
            Some(slot) => Ok(slot),
            None => {
                let options = self.options_of(namespace, &name).clone();
                self.make_room(namespace, name, true, options, caller)
            }
        };
        let seated = slot.and_then(|slot| {
            let has_seat = self.rooms[slot as usize].member(sender.session).is_some();
            if has_seat {
                self.confirm_seat(slot, caller, since);
                return Ok(slot);
            }
            let (grant, rights) = (Grant::Make, JoinRights::ALL);
            let wish = JoinWish { since, data, grant, rights, created: false, made: false };
            match self.seat(slot, caller, wish) {
                Ok(()) => Ok(slot),
                Err(refusal) => {
                    self.room_emptied(slot, false);
                    Err(refusal)
                }
            }
        });
        match seated {
            Ok(slot) if dropped => self.drop_op(Some(slot), caller),
            Ok(slot) => self.resume_op(Some(slot), caller),
            Err(_) => {
                let (session, reason) = (key, Some(ClosedReason::Ended));
                self.send(key.shard, Word::SeatClosed { session, room: life, reason });
            }
        }
    }

    /// The room has gone on meanwhile: what the member missed follows, if it is still there.
    fn confirm_seat(&mut self, slot: u32, caller: &Caller, since: Option<roomcast_wire::Position>) {
        let Some((key, sender)) = &caller.session else { return };
        self.flush_room(slot);
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        if let Some(cluster) = &mut self.cluster
            && let Some(unnamed) = cluster.unnamed.get_mut(&key.shard)
        {
            unnamed.remove(&(room.key, *key));
        }
        room.move_member(sender.session, *key);
        let position = room.position();
        let (recovery, missed) = room.missed(now, since, true);
        let held = Joined::held(room, caller.reply, *key);
        let joined = Joined { position, recovery, missed, ..held };
        self.send(key.shard, Word::Joined(Box::new(joined)));
    }

    /// A shard tells all of its seats anew. Users are forgotten until they are told, which is
    /// within the same turn.
    pub(super) fn on_seats_follow(&mut self, from: ShardId) {
        self.users.retain(|_, sessions| {
            sessions.retain(|session| session.shard != from);
            !sessions.is_empty()
        });
        let rooms = self.rooms.iter().filter(|(_, room)| room.shards().any(|at| at == from));
        let members = rooms.flat_map(|(_, room)| {
            let members = room.members().filter(|member| member.key.shard == from);
            members.map(|member| (room.key, member.key))
        });
        let unnamed: BTreeSet<_> = members.collect();
        if let Some(cluster) = &mut self.cluster {
            cluster.unnamed.insert(from, unnamed);
        }
    }

    /// A shard has told all of its seats: the others are no more.
    pub(super) fn on_seats_told(&mut self, from: ShardId) {
        let unnamed = self.cluster.as_mut().and_then(|cluster| cluster.unnamed.remove(&from));
        for (room, session) in unnamed.into_iter().flatten() {
            let Some(held) = self.room_at(room) else { continue };
            let found = held.members().find(|member| member.key == session);
            let Some(id) = found.map(|member| member.sender.session) else { continue };
            self.unseat(room.slot, id, LeaveReason::Lost, None);
            self.room_is_dirty(room.slot);
        }
    }
}
