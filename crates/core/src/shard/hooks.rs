//! Commands that wait for the application: the question, the verdict, and what happens without one.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::limits::MEMBER_DATA_BYTES_MAX;
use roomcast_wire::name::EVENT_NUMBER_MAX;
use roomcast_wire::push::Sender;
use roomcast_wire::{Command, ErrorCode, EventName, Payload, Position, Refusal, Resume, RoomPath};

use super::Shard;
use super::commands::{Asker, gone};
use super::sessions::Introduction;
use crate::envelope::{CreateWish, Grant, SeatWish, WantedOptions};
use crate::held::{Held, HeldCommand};
use crate::hook::{Connect, Create, HookMask, Join, Leave, Publish, Question, Ticket, Verdict};
use crate::io::{LinkId, Output};
use crate::key::FullName;
use crate::rights::{Grants, Identity, Right};
use crate::room::Publication;
use crate::timers::Deadline;

impl Shard {
    /// Asks the application, if it wants to be asked about this command; else gives it back.
    ///
    /// # Errors
    /// It cannot be carried out whatever the application says.
    pub(super) fn ask_before<'a>(
        &mut self,
        asker: Asker,
        command: Command<'a>,
    ) -> Result<Option<Command<'a>>, Refusal> {
        let hooks = self.config.hooks;
        let (held, question) = match command {
            Command::Publish { room, event, data, reliable, key, echo }
                if hooks.contains(HookMask::PUBLISH) =>
            {
                let place = self.resolve_for(asker.slot, &room, Some(Right::Publish))?;
                let from = self.sender_of(asker)?;
                let room = place.1.to_string();
                let question = Publish { from, room, event, data, reliable };
                let key = key.map(|key| key.as_ref().into());
                let held = HeldCommand::Publish { place, reliable, key, echo };
                (held, Question::Publish(Box::new(question)))
            }
            Command::Join { room, since, data } if hooks.contains(HookMask::JOIN) => {
                let (_, room) = self.resolve_for(asker.slot, &room, None)?;
                (HeldCommand::Join { since }, self.join_question(asker, &room, data, since)?)
            }
            Command::Leave { room, data } if hooks.contains(HookMask::LEAVE) => {
                let place = self.resolve_for(asker.slot, &room, None)?;
                let from = self.sender_of(asker)?;
                let room = place.1.to_string();
                let question = Question::Leave(Box::new(Leave { from, room, data }));
                (HeldCommand::Leave { place }, question)
            }
            Command::Create { room, options, join } if hooks.contains(HookMask::CREATE) => {
                (HeldCommand::Create { join }, self.create_question(asker, room, options, join)?)
            }
            Command::Create { room, options, join: true } if hooks.contains(HookMask::JOIN) => {
                let place = self.place_of_new_room(asker, room)?;
                let options = options.map_or(WantedOptions::Default, WantedOptions::Patch);
                let wish = CreateWish { options, granted: false, seat: None };
                return self.ask_about_seat(asker, place, wish).map(|()| None);
            }
            Command::Refresh { token } if hooks.contains(HookMask::REFRESH) => {
                let asked = self.refresh_question(asker, &token)?;
                let (refusal, token_grants) = (asked.refusal.clone(), asked.token_grants.clone());
                let held = HeldCommand::Refresh { refusal, token_grants };
                (held, Question::Refresh(Box::new(asked)))
            }
            command => return Ok(Some(command)),
        };
        self.hold(asker.link, asker.reference, held, question)?;
        Ok(None)
    }

    fn sender_of(&self, asker: Asker) -> Result<Arc<Sender>, Refusal> {
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        Ok(Arc::clone(&session.sender))
    }

    fn join_question(
        &self,
        asker: Asker,
        room: &FullName,
        data: Option<Payload>,
        since: Option<Position>,
    ) -> Result<Question, Refusal> {
        let from = self.sender_of(asker)?;
        let room = room.to_string();
        Ok(Question::Join(Box::new(Join { from, room, data, since, granted: false })))
    }

    fn create_question(
        &mut self,
        asker: Asker,
        room: Option<RoomPath<'_>>,
        options: Option<Payload>,
        join: bool,
    ) -> Result<Question, Refusal> {
        let (namespace, room) = self.place_of_new_room(asker, room)?;
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let (from, admin) = (Arc::clone(&session.sender), session.admin);
        let wanted = options.map_or(WantedOptions::Default, WantedOptions::Patch);
        let options = self.wanted_options(namespace, &room, wanted, admin)?;
        let room = room.to_string();
        Ok(Question::Create(Box::new(Create { from, room, options, join, granted: false })))
    }

    /// Asks about the seat in a room that is to be made with it.
    fn ask_about_seat(
        &mut self,
        asker: Asker,
        place: (u16, FullName),
        wish: CreateWish,
    ) -> Result<(), Refusal> {
        let question = self.join_question(asker, &place.1, None, None)?;
        let held = HeldCommand::CreateSeat { place, wish: Box::new(wish) };
        self.hold(asker.link, asker.reference, held, question)
    }

    /// Asks about a session that wants to begin, or to go on. `first`: the hello, if it says more.
    ///
    /// # Errors
    /// Too many commands wait already.
    pub(super) fn ask_connect(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        identity: Result<Identity, Refusal>,
        token: Option<&str>,
        (own, resume): (Introduction, Option<Resume>),
        first: Option<Bytes>,
    ) -> Result<(), Refusal> {
        let held = |refusal, told| HeldCommand::Connect { refusal, told, resume, first };
        self.hold_connect(link, reference, identity, (token, own, resume.is_some()), held)
    }

    /// The same for a session that nobody says `hello` for. A first message waits too.
    pub(super) fn ask_first(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        message: Option<&Bytes>,
    ) {
        let namespace = self.links.get(link).map_or(super::DEFAULT, |link| link.namespace);
        let identity = self.identify(namespace, None);
        let first = message.cloned();
        let held = |refusal, told| HeldCommand::Connect { refusal, told, resume: None, first };
        let own = Introduction::default();
        let asked = self.hold_connect(link, reference, identity, (None, own, false), held);
        if let Err(refusal) = asked {
            self.refuse_on(link, reference, &refusal);
        }
    }

    fn hold_connect(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        identity: Result<Identity, Refusal>,
        (token, own, resumes): (Option<&str>, Introduction, bool),
        held: impl FnOnce(Option<Refusal>, (Option<Arc<Grants>>, bool)) -> HeldCommand,
    ) -> Result<(), Refusal> {
        let namespace = self.links.get(link).map_or(super::DEFAULT, |link| link.namespace);
        let namespace = self.namespaces[usize::from(namespace)].0.clone();
        let (mut identity, refusal) = match identity {
            Ok(identity) => (identity, None),
            Err(refusal) => (Identity::default(), Some(refusal)),
        };
        // What the token says counts more than what its holder says.
        identity.name = identity.name.or(own.name);
        let token = token.map(Into::into);
        let told = (identity.grants.clone(), identity.admin);
        let question = Question::Connect(Box::new(Connect {
            namespace,
            token,
            data: own.data,
            resumes,
            refusal: refusal.clone(),
            granted: false,
            identity,
        }));
        self.hold(link, reference, held(refusal, told), question)
    }

    /// Holds a link and asks.
    ///
    /// # Errors
    /// Too many commands wait already.
    fn hold(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        command: HeldCommand,
        question: Question,
    ) -> Result<(), Refusal> {
        let most = u64::from(self.config.limits.hooks_waiting) / u64::from(self.shard_count());
        if self.counters.hooks_waiting >= most.max(1) {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: "too many commands wait for hooks (`limits.hooks_waiting`)".into(),
                retry_ms: Some(100),
            });
        }
        let until = self.now.plus(self.config.limits.hook_ms);
        let number = self.counters.hooks_total;
        let Some(entry) = self.links.get_mut(link) else { return Err(gone()) };
        entry.held = Some(Box::new(Held { number, until, reference, command }));
        let generation = entry.generation;
        if !std::mem::replace(&mut entry.hook_timer, true) {
            self.timers.set(until, Deadline::Hook { link, generation });
        }
        self.counters.hooks_waiting += 1;
        self.counters.hooks_total += 1;
        let ticket = Ticket { link, number };
        self.outputs.push_back(Output::Ask { ticket, link, question });
        Ok(())
    }

    pub(super) fn on_verdict(&mut self, ticket: Ticket, verdict: Verdict) {
        let held = self.links.get(ticket.link).and_then(|link| link.held.as_ref());
        if held.is_some_and(|held| held.number == ticket.number)
            && let Some(held) = self.release(ticket.link)
        {
            self.decide(ticket.link, held, verdict);
        }
    }

    /// Gives up on a hook, or looks again when the present one is due. One deadline a link: one
    /// for each command would pile them up, as most verdicts come at once.
    pub(super) fn on_hook_due(&mut self, link: LinkId, generation: u32) {
        let now = self.now;
        let Some(entry) = self.links.get_mut(link).filter(|link| link.generation == generation)
        else {
            return;
        };
        entry.hook_timer = false;
        let Some(until) = entry.held.as_ref().map(|held| held.until) else { return };
        if until > now {
            entry.hook_timer = true;
            return self.timers.set(until, Deadline::Hook { link, generation });
        }
        let Some(held) = self.release(link) else { return };
        self.counters.hook_timeouts_total += 1;
        let text = "the server's own code took too long to decide (`limits.hook_ms`)";
        let refusal = Refusal::new(ErrorCode::HookTimeout, text);
        self.refuse_on(link, held.reference, &refusal);
        self.close_if_overdue(link);
    }

    /// Takes the command off its link, which is read again.
    fn release(&mut self, link: LinkId) -> Option<Held> {
        let now = self.now;
        let entry = self.links.get_mut(link)?;
        let held = entry.held.take()?;
        // What the peer said meanwhile is still to be read.
        entry.heard = Some(now);
        self.counters.hooks_waiting -= 1;
        self.outputs.push_back(Output::Release { link });
        Some(*held)
    }

    fn decide(&mut self, link: LinkId, held: Held, verdict: Verdict) {
        let Held { reference, command, .. } = held;
        let done = match verdict {
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Go(question) => self.go_on(link, reference, command, question),
        };
        if let Err(refusal) = done {
            self.refuse_on(link, reference, &refusal);
        }
        self.close_if_overdue(link);
    }

    /// A link that has no session yet may think of a new token for ever, but not beyond its time.
    fn close_if_overdue(&mut self, link: LinkId) {
        if let Some(entry) = self.links.get_mut(link)
            && entry.held.is_none()
            && std::mem::take(&mut entry.overdue)
        {
            let generation = entry.generation;
            self.on_first_message_due(link, generation);
        }
    }

    fn go_on(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        command: HeldCommand,
        question: Question,
    ) -> Result<(), Refusal> {
        let (command, question) = match (command, question) {
            (HeldCommand::Connect { refusal, told, resume, first }, Question::Connect(asked)) => {
                let of_hook = told != (asked.identity.grants.clone(), asked.identity.admin);
                let outcome = (refusal, of_hook);
                return self.connect_held(link, reference, *asked, outcome, (resume, first));
            }
            other => other,
        };
        let asker = self.asker(link, reference).ok_or_else(gone)?;
        match (command, question) {
            (HeldCommand::Create { join }, Question::Create(create)) => {
                self.create_held(asker, *create, join)
            }
            (HeldCommand::CreateSeat { place, mut wish }, Question::Join(join)) => {
                check_member_data(join.data.as_ref())?;
                let grant = grant(join.granted);
                wish.seat = Some(SeatWish { data: join.data, grant });
                self.create_in(asker, place, *wish)
            }
            (HeldCommand::Join { since }, Question::Join(join)) => {
                check_member_data(join.data.as_ref())?;
                let place = self.place_by_hook(asker, &join.room)?;
                let grant = grant(join.granted);
                self.join_in(asker, place, since, SeatWish { data: join.data, grant })
            }
            (HeldCommand::Leave { place }, Question::Leave(leave)) => {
                check_member_data(leave.data.as_ref())?;
                self.leave_in(asker, place, leave.data);
                Ok(())
            }
            (HeldCommand::Publish { place, reliable, key, echo }, Question::Publish(publish)) => {
                let Publish { event, data, .. } = *publish;
                check_event(&event)?;
                self.check_payload(data.as_ref())?;
                let publication = |from| Publication {
                    name: event,
                    payload: data,
                    from: Some(from),
                    reliable,
                    key,
                    except: None,
                };
                self.publish_in(asker, place.0, place.1, echo, publication)
            }
            (HeldCommand::Refresh { refusal, token_grants }, Question::Refresh(refresh)) => {
                self.refresh_held(asker, *refresh, refusal, token_grants)
            }
            _ => Err(wrong_kind()),
        }
    }

    fn connect_held(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        connect: Connect,
        (refusal, of_hook): (Option<Refusal>, bool),
        (resume, first): (Option<Resume>, Option<Bytes>),
    ) -> Result<(), Refusal> {
        let of_hook = of_hook || refusal.is_some();
        if let Some(refusal) = refusal.filter(|_| !connect.granted) {
            self.charge_failed_token(link, &refusal);
            return Err(refusal);
        }
        self.check_identity(&connect.identity)?;
        let Some(format) = self.links.get(link).map(|link| link.format) else { return Ok(()) };
        if first.is_none() && !format.begins_session() {
            let own = Introduction { name: None, data: connect.data };
            let (slot, resumed) = self.let_in(link, connect.identity, own, resume)?;
            self.set_of_hook(slot, of_hook);
            self.greeted(link, reference, slot, resumed);
            return Ok(());
        }
        let slot = self.begin_unasked(link, connect.identity);
        self.set_of_hook(slot, of_hook);
        if let Some(message) = first {
            self.go_on_with(link, &message);
        }
        Ok(())
    }

    fn set_of_hook(&mut self, slot: u32, of_hook: bool) {
        if let Some(session) = self.sessions.get_mut(slot as usize) {
            session.set_of_hook(of_hook);
        }
    }

    fn create_held(&mut self, asker: Asker, create: Create, join: bool) -> Result<(), Refusal> {
        let Create { room, options, granted, .. } = create;
        let invalid = |text| Refusal::new(ErrorCode::InvalidOption, text);
        options.check().map_err(invalid)?;
        let place = self.place_by_hook(asker, &room)?;
        let own = self.own_name(place.0, &place.1);
        self.check_right(asker.slot, Right::Create, place.0, Some(own))?;
        let options = WantedOptions::Whole(Box::new(options));
        let mut wish = CreateWish { options, granted, seat: None };
        if join && self.config.hooks.contains(HookMask::JOIN) {
            return self.ask_about_seat(asker, place, wish);
        }
        wish.seat = join.then_some(SeatWish { data: None, grant: Grant::None });
        self.create_in(asker, place, wish)
    }

    /// Where a hook wants the session to go: a full name, checked as if the client had said it.
    fn place_by_hook(&self, asker: Asker, room: &str) -> Result<(u16, FullName), Refusal> {
        let place = self.parse_room(room)?;
        self.check_namespace(asker.slot, place.0)?;
        Ok(place)
    }

    fn asker(&self, link: LinkId, reference: Option<u64>) -> Option<Asker> {
        let entry = self.links.get(link)?;
        Some(Asker { slot: entry.session?, link, generation: entry.generation, reference })
    }

    fn check_payload(&self, data: Option<&Payload>) -> Result<(), Refusal> {
        let most = self.config.limits.message_bytes;
        match data {
            Some(data) if data.bytes().len() > most => {
                let text = format!("a hook made `data` larger than {most} bytes");
                Err(Refusal::new(ErrorCode::PayloadTooLarge, text))
            }
            _ => Ok(()),
        }
    }
}

fn check_event(event: &EventName) -> Result<(), Refusal> {
    match event {
        EventName::Number(number) if *number > EVENT_NUMBER_MAX => {
            let text = format!("a hook made `event` larger than {EVENT_NUMBER_MAX}");
            Err(Refusal::new(ErrorCode::InvalidField, text))
        }
        _ => Ok(()),
    }
}

fn check_member_data(data: Option<&Payload>) -> Result<(), Refusal> {
    match data {
        Some(data) if data.bytes().len() > MEMBER_DATA_BYTES_MAX => {
            let text = format!("a hook made `data` larger than {MEMBER_DATA_BYTES_MAX} bytes");
            Err(Refusal::new(ErrorCode::InvalidField, text))
        }
        _ => Ok(()),
    }
}

fn grant(granted: bool) -> Grant {
    if granted { Grant::Rule } else { Grant::None }
}

fn wrong_kind() -> Refusal {
    Refusal::new(ErrorCode::Internal, "a hook answered another question than it was asked")
}
