//! The lobby: who is connected is in it, and asks here for a game.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use roomcast::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast::wire::options::{HistoryOptions, JoinRule, PresenceRule};
use roomcast::wire::push::MemberInfo;
use roomcast::wire::{Refusal, RoomOptions, SessionId};
use roomcast::{CallError, ServerHandle};
use serde_json::{Value, json};

use crate::Door;
use crate::game::{PLAYERS_DEFAULT, text_of};
use crate::pairing::Pairing;
use crate::room::BATTLE;

/// The name of the logic.
pub const LOBBY: &str = "words-lobby";

/// What rooms are called: short enough for a link that is read aloud.
const ROOM_CHARS_MAX: usize = 10;

/// Most people in a room, those who look on included.
const PEOPLE_MAX: u32 = 60;

/// Gives people their rooms.
pub struct Lobby {
    pairing: Arc<Pairing>,
    door: Door,
    calls: u64,
    /// Who waits for which call.
    waiting: BTreeMap<u64, SessionId>,
}

type Sent = Result<(), CallError>;

impl Lobby {
    /// A lobby. `door` is the way into the server, which starts after its lobby was made.
    pub fn new(pairing: Arc<Pairing>, door: Door) -> Self {
        Self { pairing, door, calls: 0, waiting: BTreeMap::new() }
    }

    fn join(&mut self, ctx: &mut RoomCtx<'_>, who: SessionId, body: &Value) -> Result<(), String> {
        let room = room_name(&text_of(body, "roomname"))?;
        let limit = text_of(body, "playerlimit").parse().unwrap_or(PLAYERS_DEFAULT as u64);
        let config = json!({ "mode": "friends", "limit": limit });
        self.send(ctx, who, move |server| seat(server, who, room, config))
    }

    /// A stranger proposes a name for its room, which is taken if it is free.
    fn join_random(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        who: SessionId,
        body: &Value,
    ) -> Result<(), String> {
        let made = made_name(ctx.random_u64());
        let proposed = room_name(&text_of(body, "roomname")).unwrap_or_else(|_| made.clone());
        let (room, is_new) = self.pairing.room_for(who.0, &proposed);
        let pairing = Arc::clone(&self.pairing);
        self.send(ctx, who, move |server| async move {
            let config = json!({ "mode": "random" });
            if is_new && !server.room(&room).create(options(config.clone())).await? {
                // The name is that of a game of friends.
                pairing.withdraw(&room);
                return seat(server, who, made, config).await;
            }
            seat(server, who, room, config).await
        })
    }

    fn send<F: Future<Output = Sent> + Send + 'static>(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        who: SessionId,
        seat: impl FnOnce(ServerHandle) -> F,
    ) -> Result<(), String> {
        let server = self.door.get().cloned().ok_or("the server is only just starting")?;
        self.calls += 1;
        self.waiting.insert(self.calls, who);
        if ctx.call(self.calls, seat(server)) {
            return Ok(());
        }
        self.waiting.remove(&self.calls);
        Err("too many ask for a room just now: try again in a moment".to_owned())
    }
}

/// Makes the room if it is not there, and gives a seat in it.
async fn seat(server: ServerHandle, who: SessionId, room: String, config: Value) -> Sent {
    let room = server.room(room);
    room.create(options(config)).await?;
    room.join(who, ()).await
}

/// A room with a game. Seats are given by the lobby only; presence is the game's own message.
pub fn options(config: Value) -> RoomOptions {
    RoomOptions {
        logic: Some(BATTLE.into()),
        logic_config: Some(Box::new(config)),
        join: JoinRule::Granted,
        presence: PresenceRule::Off,
        members_max: PEOPLE_MAX,
        history: HistoryOptions { size: 200, ..HistoryOptions::default() },
        ..RoomOptions::default()
    }
}

fn room_name(name: &str) -> Result<String, String> {
    let name = name.trim();
    let is_plain = name.chars().all(char::is_alphanumeric);
    if name.is_empty() || name.chars().count() > ROOM_CHARS_MAX || !is_plain {
        return Err(format!("a room's name has 1 to {ROOM_CHARS_MAX} letters and digits"));
    }
    Ok(name.to_owned())
}

fn made_name(chance: u64) -> String {
    const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..ROOM_CHARS_MAX)
        .map(|at| char::from(SIGNS[(chance >> (5 * at)) as usize % SIGNS.len()]))
        .collect()
}

impl RoomLogic for Lobby {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let body: Value = event.data().unwrap_or_default();
        let who = event.from.session;
        let sent = match event.name() {
            Some("join-room") => self.join(ctx, who, &body),
            Some("join-random-room") => self.join_random(ctx, who, &body),
            _ => return Err(Refusal::refused("in the lobby: join-room or join-random-room")),
        };
        if let Err(why) = sent {
            fail(ctx, who, &why);
        }
        Ok(Relay::Nothing)
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        let Some(who) = self.waiting.remove(&call) else { return };
        if let Some(Err(error)) = answer.downcast_ref::<Sent>() {
            fail(ctx, who, &error.to_string());
        }
    }

    fn on_leave(
        &mut self,
        _ctx: &mut RoomCtx<'_>,
        member: &MemberInfo,
        _reason: roomcast::wire::push::LeaveReason,
    ) {
        self.waiting.retain(|_, who| *who != member.sender.session);
    }
}

fn fail(ctx: &mut RoomCtx<'_>, who: SessionId, why: &str) {
    ctx.tell(who, "fail-join-room-notify", &json!({ "message": why }));
}
