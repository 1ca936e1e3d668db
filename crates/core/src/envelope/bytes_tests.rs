//! Each word comes back as it was, and no bytes do harm.

use std::sync::Arc;

use proptest::prelude::*;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{
    Codec, Epoch, EventName, Name, Payload, Position, RoomOptions, Secret, SessionId,
};

use super::*;

/// What the samples are made of.
#[derive(Debug, Clone)]
struct Stuff {
    text: String,
    number: u64,
    yes: bool,
    payload: Option<Payload>,
}

impl Stuff {
    fn small(&self) -> u32 {
        self.number as u32
    }

    fn shard(&self) -> ShardId {
        let node = NodeId::new(self.number as u16 % NodeId::COUNT).unwrap();
        ShardId { node, worker: (self.number >> 16) as u16 }
    }

    fn session(&self) -> SessionKey {
        SessionKey { shard: self.shard(), slot: self.small(), generation: !self.small() }
    }

    fn room(&self) -> RoomKey {
        RoomKey { home: self.shard(), slot: self.small(), generation: 3 }
    }

    fn name(&self) -> FullName {
        FullName::new(format!("{}/{}", self.text, self.text))
    }

    fn user(&self) -> Name {
        Name::new(&self.text).unwrap()
    }

    fn id(&self) -> SessionId {
        SessionId(u128::from(self.number) << 70 | u128::from(self.number))
    }

    fn position(&self) -> Option<Position> {
        self.yes.then_some(Position { epoch: Epoch::new(self.number), offset: self.number })
    }

    fn event_name(&self) -> EventName {
        match self.yes {
            true => EventName::Text(self.user()),
            false => EventName::Number(self.number >> 11),
        }
    }

    fn sender(&self) -> Arc<Sender> {
        let user = self.yes.then(|| self.user());
        let metadata = self.payload.clone().map(Box::new);
        Arc::new(Sender { session: self.id(), user, name: Some(self.user()), metadata })
    }

    fn event(&self) -> Arc<Event> {
        Arc::new(Event {
            name: self.event_name(),
            payload: self.payload.clone(),
            from: self.yes.then(|| self.sender()),
            position: self.position(),
            reliable: self.yes,
            unreliable: self.number,
        })
    }

    fn refusal(&self) -> Refusal {
        let code = ErrorCode::ALL[self.number as usize % ErrorCode::ALL.len()];
        Refusal { code, message: self.text.clone().into(), retry_ms: Some(self.number) }
    }

    fn replies_to(&self) -> [ReplyTo; 5] {
        let (session, link, generation) = (self.session(), LinkId(7), self.small());
        let (shard, number) = (self.shard(), self.number);
        let reference = self.yes.then_some(self.number);
        [
            ReplyTo::Session { session, link, generation, reference },
            ReplyTo::Call { shard, id: number },
            ReplyTo::Awaited { shard, number, is_call: self.yes },
            ReplyTo::Again { link, generation, round: 9 },
            ReplyTo::Nobody,
        ]
    }

    fn to(&self) -> ReplyTo {
        self.replies_to()[self.number as usize % 5]
    }

    fn caller(&self) -> Caller {
        let session = self.yes.then(|| (self.session(), self.sender()));
        Caller { session, namespace: 2, admin: self.yes, reply: self.to() }
    }

    fn message(&self) -> Arc<Message> {
        let (event, data) = (self.event_name(), self.payload.clone());
        let (from, except) = (Some(self.sender()), self.yes.then(|| self.id()));
        Arc::new(Message { event, data, from, reliable: self.yes, except })
    }

    fn member(&self) -> MemberInfo {
        let data = self.payload.clone();
        MemberInfo { sender: self.sender(), data, dropped: self.yes }
    }

    fn options(&self) -> Box<RoomOptions> {
        Box::new(RoomOptions { logic: Some(self.text.as_str().into()), ..RoomOptions::default() })
    }

    fn ops(&self) -> Vec<RoomOp> {
        let data = || self.payload.clone();
        let rights = JoinRights { create: self.yes, history: true, needs_own_name: !self.yes };
        let wish = |options| {
            let seat = self.yes.then(|| SeatWish { data: data(), grant: Grant::Rule });
            RoomOp::Create(Box::new(CreateWish { options, granted: self.yes, seat }))
        };
        let publication = Publication {
            name: self.event_name(),
            payload: data(),
            from: Some(self.sender()),
            reliable: self.yes,
            key: self.yes.then(|| self.text.as_str().into()),
            except: Some(self.session()),
        };
        let since = self.position();
        let mut ops = vec![
            RoomOp::Join { since, data: data(), grant: Grant::Make, rights },
            RoomOp::Leave { reason: LeaveReason::Kicked, data: data() },
            wish(WantedOptions::Default),
            wish(WantedOptions::Whole(self.options())),
            RoomOp::Found { options: self.options(), permanent: self.yes },
            RoomOp::Publish { publication, echo: self.yes.then_some(false) },
            RoomOp::Members,
            RoomOp::History { since, limit: Some(self.small()) },
            RoomOp::Presence,
            RoomOp::State,
            RoomOp::Tell { to: vec![self.id(); 3], event: self.event_name(), data: data() },
            RoomOp::Kick { target: self.text.as_str().into(), message: None },
            RoomOp::Delete,
            RoomOp::Unseat,
            RoomOp::Drop,
            RoomOp::Resume,
            RoomOp::Reseat(Box::new(Reseat {
                life: self.room(),
                since,
                data: data(),
                dropped: self.yes,
            })),
        ];
        ops.extend(data().map(|patch| wish(WantedOptions::Patch(patch))));
        ops
    }

    fn answers(&self) -> Vec<Answer> {
        let (room, position) = (self.name(), self.position());
        let at = Position { epoch: Epoch::new(1), offset: self.number };
        let (events, truncated) = (vec![self.event(); 2], self.yes);
        let rooms = vec![RoomInfo { room: self.text.clone(), members: self.small() }];
        let (members, users) = (self.small(), 3);
        let state = RoomState {
            options: *self.options(),
            permanent: self.yes,
            creator: Some(self.id()),
            members,
            position: at,
        };
        let recovery = Some(Recovery::Trimmed);
        let replies = vec![
            ServerReply::Done,
            ServerReply::Answered(self.payload.clone()),
            ServerReply::Seated { is_new: self.yes },
            ServerReply::At(at),
            ServerReply::Created(self.yes),
            ServerReply::Reached(members),
            ServerReply::Members { members: vec![self.member()], truncated },
            ServerReply::Presence { members, users },
            ServerReply::State(Box::new(state)),
            ServerReply::History { position: at, recovery, events: events.clone() },
            ServerReply::Rooms { rooms: rooms.clone(), truncated },
            ServerReply::Seats(vec![self.text.clone()]),
            ServerReply::Refused(self.refusal()),
        ];
        let mut answers = vec![
            Answer::Ok { position, delivered: Some(users) },
            Answer::Left { room: room.clone() },
            Answer::Created { room: room.clone(), created: self.yes },
            Answer::Members { room: room.clone(), members: vec![self.member(); 2], truncated },
            Answer::History { room: room.clone(), position: at, recovery, events },
            Answer::Presence { room, members, users },
            Answer::Rooms { rooms, truncated },
            Answer::Refused(self.refusal()),
        ];
        answers.extend(replies.into_iter().map(Answer::Call));
        answers
    }

    fn deliveries(&self) -> Vec<Delivery> {
        let (event, except) = (self.event(), self.session());
        let (from, member) = (self.sender(), Arc::new(self.member()));
        let (reason, data) = (LeaveReason::Lost, self.payload.clone());
        vec![
            Delivery::Event { event: Arc::clone(&event), except: Some(except) },
            Delivery::Told { event, to: vec![except; 2].into() },
            Delivery::Joined { member, except },
            Delivery::Left { from: Arc::clone(&from), reason, data },
            Delivery::Dropped { from: Arc::clone(&from), except },
            Delivery::Resumed { from, except },
            Delivery::Counts { members: 4, users: self.small() },
        ]
    }

    fn surveys(&self) -> Vec<Survey> {
        let rule = Rule::new("battle-*", ["join", "publish"]).unwrap();
        let grants = Arc::new(Grants::new(RulesOf::Key, vec![rule]));
        vec![
            Survey::Rooms { namespace: 1, grants: Some(grants) },
            Survey::Revoke(Revoked::User(self.user())),
            Survey::Revoke(Revoked::Token(self.text.clone())),
            Survey::Revoke(Revoked::Session(self.id())),
            Survey::Broadcast { namespace: 0, message: self.message() },
        ]
    }

    fn acts(&self) -> Vec<Act> {
        let data = || self.payload.clone();
        let (event, key) = (self.event_name(), Some(self.text.as_str().into()));
        let (reliable, echo) = (self.yes, Some(self.yes));
        vec![
            Act::Create { options: data(), join: self.yes },
            Act::Join { data: data(), make: self.yes },
            Act::Leave { data: data() },
            Act::Publish { event, data: data(), reliable, echo, key },
        ]
    }

    fn joined(&self) -> Word {
        Word::Joined(Box::new(Joined {
            to: self.to(),
            session: self.session(),
            room: self.room(),
            name: self.name(),
            namespace: 1,
            slow: SlowRule::Latest,
            position: Position { epoch: Epoch::new(5), offset: 6 },
            members: self.small(),
            recovery: Some(Recovery::Recovered),
            missed: vec![self.event()],
            created: self.yes,
            is_new: !self.yes,
            durable: self.yes,
            told_bytes: self.number,
        }))
    }

    fn given(&self) -> Box<Given> {
        let data = self.payload.clone();
        let (name, room, invited) = (self.name(), self.room(), self.yes);
        Box::new(Given {
            dropped: self.yes,
            sender: self.sender(),
            secret: Secret(7),
            namespace: 1,
            admin: self.yes,
            grants: Some(Arc::new(Grants::new(RulesOf::Token, Vec::new()))),
            token_id: Some(self.text.as_str().into()),
            expires_ms: Some(self.number),
            of_hook: self.yes,
            seats: vec![GivenSeat { name, namespace: 1, room, invited, data }],
        })
    }

    fn parts(&self) -> Vec<Part> {
        let rooms = vec![RoomInfo { room: self.text.clone(), members: 1 }; 2];
        vec![
            Part::Rooms { rooms, truncated: self.yes },
            Part::Broadcast { delivered: self.small() },
            Part::Revoke { ended: self.small(), kept: self.yes },
        ]
    }

    /// At least one of each kind.
    fn words(&self) -> Vec<Word> {
        let (room, session, life) = (self.name(), self.session(), self.room());
        let (at, from, to, id) = (Partition(9), self.shard(), self.to(), self.id());
        let (query, shard, tries) = (self.small(), self.shard(), 3);
        let call = (self.event_name(), self.payload.clone());
        let namespace = 1;
        let ops = self.ops().into_iter();
        let mut words: Vec<_> = ops
            .map(|op| Word::Room { room: room.clone(), namespace, caller: self.caller(), op })
            .collect();
        let boxed = || {
            let (caller, op) = (self.caller(), RoomOp::Members);
            let word = Word::Room { room: room.clone(), namespace, caller, op };
            Box::new(Word::Within { life, word: Box::new(word) })
        };
        words.extend([
            Word::Homed(Homed { from, at, fence: self.number, tries, word: boxed() }),
            Word::NotHome { at, fence: self.number, tries, word: boxed() },
            Word::Echo { at, from },
            Word::Echoed { at, from },
            Word::TakeSession {
                session: id,
                secret: Secret(u128::from(self.number)),
                namespace,
                to: from,
                number: self.number,
            },
            Word::GivenSession { number: self.number, given: self.yes.then(|| self.given()) },
            Word::TellSeats { to: shard },
            Word::SeatsFollow { from },
            Word::SeatsTold { from },
            self.joined(),
            Word::JoinRefused { to, session, room: room.clone(), refusal: self.refusal() },
            Word::Left { to, session, room: life },
            Word::SeatClosed { session, room: life, reason: Some(ClosedReason::Failed) },
            Word::Deliver { room: life, members: 3, deliveries: Arc::new(self.deliveries()) },
            Word::Direct { to: id, caller: self.caller(), message: self.message() },
            Word::DirectToUser {
                user: self.user(),
                caller: self.caller(),
                message: self.message(),
            },
            Word::Message { session, message: self.message() },
            Word::UserSession { namespace: 0, user: self.user(), session, here: self.yes },
            Word::AskSession { session: id, call, timeout_ms: self.number, to },
            Word::Disconnect { session: id, to },
            Word::ListSeats { session: id, to },
        ]);
        words.extend(self.answers().into_iter().map(|answer| Word::Answer { to, answer }));
        words.extend(self.surveys().into_iter().map(|survey| Word::Survey { query, from, survey }));
        words.extend(self.parts().into_iter().map(|part| Word::Told { query, shard, part }));
        let life = Some(life);
        words.extend(self.acts().into_iter().map(|act| {
            let room = room.clone();
            Word::Act { session: id, room, namespace: 0, act, to, life }
        }));
        words
    }
}

fn stuff() -> impl Strategy<Value = Stuff> {
    let payload = prop_oneof![
        Just(None),
        "[a-z ]{0,40}".prop_map(|text| Some(Payload::text(&text))),
        "[a-z]{0,9}".prop_map(|text| {
            let json = format!("[1, {{\"a\": \"{text}\"}}]");
            let payload = Payload::new(Codec::Json, json.into()).unwrap();
            Some(payload.into_arguments())
        }),
    ];
    ("[a-zé部]{1,20}", any::<u64>(), any::<bool>(), payload)
        .prop_map(|(text, number, yes, payload)| Stuff { text, number, yes, payload })
}

fn encoded(word: Word) -> (String, Bytes) {
    let envelope = Envelope(word);
    let mut bytes = Vec::new();
    envelope.encode(&mut bytes);
    (format!("{envelope:?}"), bytes.into())
}

proptest! {
    #[test]
    fn every_word_reads_back(stuff in stuff()) {
        for word in stuff.words() {
            let (shown, bytes) = encoded(word);
            let decoded = Envelope::decode(&bytes).map(|word| format!("{word:?}"));
            prop_assert_eq!(decoded, Ok(shown));
        }
    }

    /// Whatever arrives is a word or an error; what is read can be written and read again.
    #[test]
    fn no_bytes_do_harm(
        stuff in stuff(),
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut words = stuff.words();
        let (_, bytes) = encoded(words.swap_remove(at.index(words.len())));
        let mut bytes = bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().min(1 + cut.index(2 * bytes.len())));
        if let Ok(Envelope(word)) = Envelope::decode(&bytes.into()) {
            let (shown, bytes) = encoded(word);
            let again = Envelope::decode(&bytes).map(|word| format!("{word:?}"));
            prop_assert_eq!(again, Ok(shown));
        }
    }

    #[test]
    fn noise_is_refused_or_read(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
        noise.insert(0, VERSION);
        _ = Envelope::decode(&noise.into());
    }
}

#[test]
fn nesting_is_bounded() {
    // A word in a word, 100,000 times: the stack would end without a bound.
    let homed = [2, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = [VERSION].into_iter().chain(homed.repeat(100_000)).collect();
    let decoded = Envelope::decode(&bytes.into()).map(|_| ());
    assert_eq!(decoded, Err(PackedError::Invalid("what is nested so deeply")));
}

#[test]
fn another_version_is_not_read() {
    let decoded = Envelope::decode(&vec![VERSION + 1, 6, 0, 0].into()).map(|_| ());
    assert_eq!(decoded, Err(PackedError::Invalid("a word of this version")));
    assert_eq!(Envelope::decode(&Bytes::new()).map(|_| ()), Err(PackedError::Short));
}
