//! How rooms are made, at their home: by whom, and with which options.

use std::sync::Arc;

use rand_chacha::rand_core::Rng;
use roomcast_wire::push::Sender;
use roomcast_wire::{Epoch, ErrorCode, Refusal, RoomOptions};

use super::Shard;
use super::home::{JoinWish, join_not_granted};
use crate::envelope::{Answer, Caller, CreateWish, Grant, JoinRights, SeatWish, WantedOptions};
use crate::key::{FullName, RoomKey};
use crate::room::Room;

impl Shard {
    pub(super) fn found_static_rooms(&mut self) {
        for namespace in 0..self.namespaces.len() as u16 {
            let policy = self.policy(namespace);
            let rooms = policy.static_rooms.keys().chain(&policy.lobby);
            let rooms: Vec<_> = rooms.map(|room| self.full_name(namespace, room)).collect();
            for name in rooms {
                if self.is_home(self.home_of_room(&name)) && !self.room_by_name.contains_key(&name)
                {
                    let options = self.options_of(namespace, &name).clone();
                    // One that cannot be made is missing; who asks for it is told why.
                    _ = self.new_room(namespace, name, options, None);
                }
            }
        }
    }

    /// Makes a room. Its logic may have ended it again.
    ///
    /// # Errors
    /// It has no logic of the name that its options say.
    fn new_room(
        &mut self,
        namespace: u16,
        name: FullName,
        options: RoomOptions,
        creator: Option<&Arc<Sender>>,
    ) -> Result<u32, Refusal> {
        let logic = self.new_logic(&name, &options)?;
        self.check_durable(&options)?;
        let permanent = self.policy(namespace).is_static(self.own_name(namespace, &name));
        let generation = self.next_made();
        let epoch = Epoch::new(self.rng.next_u64());
        let entry = self.rooms.vacant_entry();
        let slot = entry.key() as u32;
        let key = RoomKey { home: self.id, slot, generation };
        entry.insert(Room::new(key, (namespace, name.clone()), options, epoch, &self.hasher));
        self.room_by_name.insert(name, slot);
        self.counters.rooms += 1;
        self.rooms[slot as usize].permanent = permanent;
        self.begin_log(slot, creator.map(|creator| creator.session));
        self.tell_room_created(slot, creator);
        if let Some(logic) = logic {
            self.start_logic(slot, logic, creator.map(|creator| creator.session));
            if self.room_at(key).is_none() {
                return Err(Refusal::refused("the room's logic ended it at once"));
            }
        }
        Ok(slot)
    }

    /// The options of a room that is made by its name.
    pub(super) fn options_of(&self, namespace: u16, name: &FullName) -> &RoomOptions {
        self.policy(namespace).options_of(self.own_name(namespace, name))
    }

    /// A full name without its namespace.
    pub(super) fn own_name<'a>(&self, namespace: u16, name: &'a FullName) -> &'a str {
        match namespace {
            super::DEFAULT => name,
            _ => name.split_once('/').map_or(name, |(_, own)| own),
        }
    }

    /// Whether somebody may make rooms of a namespace.
    pub(super) fn may_make(&self, namespace: u16, caller: &Caller) -> bool {
        self.policy(namespace).create || caller.admin
    }

    /// Makes a room for somebody who may.
    pub(super) fn make_room(
        &mut self,
        namespace: u16,
        name: FullName,
        may: bool,
        options: RoomOptions,
        caller: &Caller,
    ) -> Result<u32, Refusal> {
        if !may {
            // The words for a room that is there and closed to the asker are the same (S25).
            return Err(join_not_granted());
        }
        let most = (self.config.limits.rooms as usize).div_ceil(self.shard_count().into());
        if self.rooms.len() >= most {
            let text = "the server has as many rooms as it may have (`limits.rooms`)";
            return Err(Refusal::new(ErrorCode::RoomLimit, text));
        }
        self.new_room(namespace, name, options, caller.sender())
    }

    pub(super) fn create_op(
        &mut self,
        slot: Option<u32>,
        name: FullName,
        namespace: u16,
        caller: &Caller,
        wish: CreateWish,
    ) {
        let CreateWish { options, granted, seat } = wish;
        let created = slot.is_none();
        let may = granted || self.may_make(namespace, caller);
        let made = match slot {
            // Elsewhere the answer says whether the room is there (threat S25).
            Some(slot) if may || seat.is_some() => Ok(slot),
            Some(_) => Err(join_not_granted()),
            None => self
                .wanted_options(namespace, &name, options, caller.admin)
                .and_then(|options| self.make_room(namespace, name.clone(), may, options, caller)),
        };
        let slot = match made {
            Ok(slot) => slot,
            Err(refusal) if seat.is_some() => return self.refuse_join(caller, name, refusal),
            Err(refusal) => return self.answer(caller.reply, Answer::Refused(refusal)),
        };
        if let Some(SeatWish { data, grant }) = seat {
            // Who makes a room is let in, whatever its `join` rule.
            let grant = if created { Grant::Room } else { grant };
            let rights = JoinRights::ALL;
            let made = created;
            let wish = JoinWish { since: None, data, grant, rights, created: false, made };
            return self.seat_or_refuse(slot, name, caller, wish);
        }
        if created {
            self.room_emptied(slot, true);
        }
        self.answer(caller.reply, Answer::Created { room: name, created });
    }

    /// The whole options that somebody wants for a room of this name.
    ///
    /// # Errors
    /// They are out of bounds, or not for clients to set.
    pub(super) fn wanted_options(
        &self,
        namespace: u16,
        name: &FullName,
        wanted: WantedOptions,
        admin: bool,
    ) -> Result<RoomOptions, Refusal> {
        let defaults = self.options_of(namespace, name);
        let patch = match wanted {
            WantedOptions::Default => return Ok(defaults.clone()),
            WantedOptions::Whole(options) => return Ok(*options),
            WantedOptions::Patch(patch) => patch,
        };
        let invalid = |text| Refusal::new(ErrorCode::InvalidOption, text);
        let options = defaults.patched(&patch).map_err(invalid)?;
        if !admin {
            options.check_client(defaults).map_err(invalid)?;
            self.check_client_logic(namespace, &options, defaults).map_err(invalid)?;
        }
        Ok(options)
    }

    /// Whether a client may give a room this logic.
    fn check_client_logic(
        &self,
        namespace: u16,
        options: &RoomOptions,
        defaults: &RoomOptions,
    ) -> Result<(), String> {
        let same = options.logic == defaults.logic && options.logic_config == defaults.logic_config;
        let known = &self.policy(namespace).client_logics;
        match options.logic.as_deref() {
            _ if same => Ok(()),
            Some(logic) if known.iter().any(|one| one == logic) => Ok(()),
            _ => {
                let name = self.namespace_name(namespace);
                Err(format!(
                    "`logic` and `logic_config` are for the logics that clients may choose in the \
                     namespace `{name}` (`namespaces.{name}.client_logics`)"
                ))
            }
        }
    }

    pub(super) fn found_op(
        &mut self,
        slot: Option<u32>,
        name: FullName,
        namespace: u16,
        caller: &Caller,
        options: RoomOptions,
        permanent: bool,
    ) {
        let created = slot.is_none();
        let made = match slot {
            Some(slot) => Ok(slot),
            None => self.make_room(namespace, name.clone(), true, options, caller),
        };
        match made {
            Ok(slot) => {
                let room = &mut self.rooms[slot as usize];
                let changes = permanent && !room.permanent;
                room.permanent |= permanent;
                if changes {
                    self.log_room(slot);
                }
                if created {
                    self.room_emptied(slot, true);
                }
                self.answer(caller.reply, Answer::Created { room: name, created });
            }
            Err(refusal) => self.answer(caller.reply, Answer::Refused(refusal)),
        }
    }
}
