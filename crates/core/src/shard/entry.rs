//! `join`, `leave` and `create` on their way to the room's home.

use rand_chacha::rand_core::Rng;
use roomcast_wire::name::GENERATED_NAME_LEN;
use roomcast_wire::push::LeaveReason;
use roomcast_wire::{ErrorCode, Format, Payload, Position, Refusal, RoomPath};

use super::Shard;
use super::commands::{Asker, gone};
use crate::envelope::{CreateWish, Grant, JoinRights, RoomOp, SeatWish, WantedOptions};
use crate::key::FullName;
use crate::rights::Right;
use crate::session::{Again, Seat};

impl Shard {
    pub(super) fn join_command(
        &mut self,
        asker: Asker,
        room: &RoomPath<'_>,
        since: Option<Position>,
        data: Option<Payload>,
    ) -> Result<(), Refusal> {
        let place = self.resolve_for(asker.slot, room, None)?;
        self.join_in(asker, place, since, SeatWish { data, grant: Grant::None })
    }

    pub(super) fn join_in(
        &mut self,
        asker: Asker,
        (namespace, room): (u16, FullName),
        since: Option<Position>,
        SeatWish { data, grant }: SeatWish,
    ) -> Result<(), Refusal> {
        self.refuse_while_draining()?;
        if since.is_some() {
            self.refuse_while_recovering(asker.link)?;
        }
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let own = self.own_name(namespace, &room);
        // Whom the server gave a seat comes back to it after a lost link.
        if !session.seat(&room).is_some_and(|seat| seat.invited) {
            self.check_right(asker.slot, Right::Join, namespace, Some(own))?;
        }
        let may = |right| self.has_right(asker.slot, right, namespace, own);
        let format = self.links.get(asker.link).map(|link| link.format);
        let rights = JoinRights {
            create: may(Right::Create),
            history: may(Right::History),
            needs_own_name: format.is_some_and(Format::hello_names_room),
        };
        self.expect_seat(asker.slot, namespace, &room, data.as_ref())?;
        let op = RoomOp::Join { since, data, grant, rights };
        self.word_to_home(asker, namespace, room, op);
        Ok(())
    }

    /// Notes that the session asks for a seat, so that it is given up if the session ends first.
    ///
    /// # Errors
    /// It has as many as it may have, or could not hear the room.
    pub(super) fn expect_seat(
        &mut self,
        slot: u32,
        namespace: u16,
        room: &FullName,
        data: Option<&Payload>,
    ) -> Result<(), Refusal> {
        let again = self.cluster.is_some().then(|| data.map(Payload::detached));
        let again = again.map(|data| Box::new(Again { data, ..Again::default() }));
        let most = self.config.limits.rooms_per_session;
        let session = self.sessions.get_mut(slot as usize).ok_or_else(gone)?;
        if let Some(seat) = session.seat_mut(room) {
            seat.pending += 1;
            return Ok(());
        }
        let (link, own) = (session.link, session.namespace);
        let format = self.format_of(slot, link);
        if namespace != own && format.is_some_and(Format::hears_own_namespace_only) {
            let text = "a room of another namespace: connect to that namespace and join it there";
            return Err(Refusal::new(ErrorCode::InvalidName, text));
        }
        let session = self.sessions.get_mut(slot as usize).ok_or_else(gone)?;
        if session.seats.len() >= most as usize {
            let text = format!("this session is in {most} rooms, as many as it may be in");
            return Err(Refusal::new(ErrorCode::TooManyRooms, text));
        }
        let name = room.clone();
        if session.seats.is_empty() {
            // Most sessions are in one room: a list that grows by itself begins with four places.
            session.seats.reserve_exact(1);
        }
        session.seats.push(Seat {
            name,
            namespace,
            room: None,
            pending: 1,
            place: None,
            invited: false,
            again,
        });
        Ok(())
    }

    pub(super) fn create_command(
        &mut self,
        asker: Asker,
        room: Option<RoomPath<'_>>,
        options: Option<Payload>,
        join: bool,
    ) -> Result<(), Refusal> {
        let place = self.place_of_new_room(asker, room)?;
        let options = options.map_or(WantedOptions::Default, WantedOptions::Patch);
        let seat = join.then_some(SeatWish { data: None, grant: Grant::None });
        self.create_in(asker, place, CreateWish { options, granted: false, seat })
    }

    /// Where a client's new room is to be, if the client may make one now.
    pub(super) fn place_of_new_room(
        &mut self,
        asker: Asker,
        room: Option<RoomPath<'_>>,
    ) -> Result<(u16, FullName), Refusal> {
        self.refuse_while_draining()?;
        let per_second = self.config.limits.creates_per_s.into();
        let now = self.now;
        let session = self.sessions.get_mut(asker.slot as usize).ok_or_else(gone)?;
        session.creates.try_charge(now, per_second, 1).map_err(|retry_ms| Refusal {
            code: ErrorCode::RateLimited,
            message: "too many rooms made at once (`limits.creates_per_s`)".into(),
            retry_ms: Some(retry_ms),
        })?;
        let room = match room {
            Some(room) => room,
            None => RoomPath::parse(self.generated_name())
                .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?,
        };
        self.resolve_for(asker.slot, &room, Some(Right::Create))
    }

    pub(super) fn create_in(
        &mut self,
        asker: Asker,
        (namespace, room): (u16, FullName),
        wish: CreateWish,
    ) -> Result<(), Refusal> {
        self.refuse_while_draining()?;
        if wish.seat.is_some() {
            let own = self.own_name(namespace, &room);
            self.check_right(asker.slot, Right::Join, namespace, Some(own))?;
            self.expect_seat(asker.slot, namespace, &room, None)?;
        }
        self.word_to_home(asker, namespace, room, RoomOp::Create(Box::new(wish)));
        Ok(())
    }

    /// 52 characters of base 32: 260 random bits.
    fn generated_name(&mut self) -> String {
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let random = (0..GENERATED_NAME_LEN).map(|_| self.rng.next_u32() as usize % DIGITS.len());
        random.map(|digit| char::from(DIGITS[digit])).collect()
    }

    pub(super) fn leave_command(
        &mut self,
        asker: Asker,
        room: &RoomPath<'_>,
        data: Option<Payload>,
    ) -> Result<(), Refusal> {
        let place = self.resolve_for(asker.slot, room, None)?;
        self.leave_in(asker, place, data);
        Ok(())
    }

    pub(super) fn leave_in(
        &mut self,
        asker: Asker,
        (namespace, room): (u16, FullName),
        data: Option<Payload>,
    ) {
        if let Some(data) = &data {
            self.charge_room(asker, &room, data.bytes().len() as u64);
        }
        // What the server gave is given back: from now on the session's own rights count.
        let session = self.sessions.get_mut(asker.slot as usize);
        if let Some(seat) = session.and_then(|session| session.seat_mut(&room)) {
            seat.invited = false;
        }
        let reason = LeaveReason::Left;
        self.word_to_home(asker, namespace, room, RoomOp::Leave { reason, data });
    }
}
