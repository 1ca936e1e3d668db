//! The lobby: who is connected is in it, and asks here for a game. Rooms are made and seats given
//! by the server, through its handle: the original's clients have no command for either.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use roomcast::{
    CallError, LeaveReason, LogicEvent, MemberInfo, Refusal, Relay, RoomCtx, RoomLogic,
    RoomOptions, ServerHandle, SessionId,
};
use roomcast_wire::options::{HistoryOptions, PresenceRule};
use serde_json::{Value, json};

use crate::game::{PLAYERS_DEFAULT, text_of};
use crate::pairing::Pairing;
use crate::room::BATTLE;

/// The name of the logic.
pub const LOBBY: &str = "words-lobby";

/// What rooms are called: short enough for a link that is read aloud.
const ROOM_CHARS_MAX: usize = 10;

/// Most people in a room, those who look on included.
const PEOPLE_MAX: u32 = 60;

/// How long a client waits between two wishes, in milliseconds: a room lives for a while even if
/// nobody comes, and nobody shall fill the server with them.
const WISH_MS: u64 = 500;

/// The way into the server, which starts after its lobby was made.
pub type Door = Arc<OnceLock<ServerHandle>>;

/// Gives people their rooms.
pub struct Lobby {
    pairing: Arc<Pairing>,
    door: Door,
    calls: u64,
    /// Who waits for which call.
    waiting: BTreeMap<u64, SessionId>,
    /// When each may wish again.
    wished: BTreeMap<SessionId, u64>,
}

type Outcome = Result<(), CallError>;

impl Lobby {
    /// A lobby.
    pub fn new(pairing: Arc<Pairing>, door: Door) -> Self {
        Self { pairing, door, calls: 0, waiting: BTreeMap::new(), wished: BTreeMap::new() }
    }

    fn join(&mut self, ctx: &mut RoomCtx<'_>, who: SessionId, body: &Value) -> Result<(), String> {
        let room = room_name(&text_of(body, "roomname"))?;
        self.wish(ctx, who)?;
        let limit = text_of(body, "playerlimit").parse().unwrap_or(PLAYERS_DEFAULT as u64);
        self.ask(ctx, who, move |server| async move {
            let room = server.room(room);
            room.create(friends(limit)).await?;
            room.join(who, ()).await.map(|_| ())
        })
    }

    /// A stranger proposes a name for its room, which is taken if it is free.
    fn join_random(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        who: SessionId,
        body: &Value,
    ) -> Result<(), String> {
        self.wish(ctx, who)?;
        let other = made_name(ctx.random_u64());
        let proposed = room_name(&text_of(body, "roomname")).unwrap_or_else(|_| other.clone());
        let (room, is_new) = self.pairing.room_for(who.0, &proposed);
        let pairing = Arc::clone(&self.pairing);
        self.ask(ctx, who, move |server| async move {
            let was_made = server.room(&room).create(strangers()).await?;
            let room = if is_new && !was_made {
                // The name is that of a game of friends.
                pairing.withdraw(&room);
                server.room(&other).create(strangers()).await?;
                other
            } else {
                room
            };
            // Done when it is on its way, so that it comes before all that the room says.
            let found = json!({ "roomname": room });
            server.session(who).send("found-random-room-notify", found).await?;
            server.room(room).join(who, ()).await.map(|_| ())
        })
    }

    fn wish(&mut self, ctx: &RoomCtx<'_>, who: SessionId) -> Result<(), String> {
        let now = ctx.now().0;
        if self.wished.get(&who).is_some_and(|&until| now < until) {
            return Err("one room at a time: try again in a moment".to_owned());
        }
        self.wished.insert(who, now + WISH_MS);
        Ok(())
    }

    fn ask<F: Future<Output = Outcome> + Send + 'static>(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        who: SessionId,
        task: impl FnOnce(ServerHandle) -> F,
    ) -> Result<(), String> {
        let server = self.door.get().cloned().ok_or("the server is only just starting")?;
        self.calls += 1;
        if !ctx.call(self.calls, task(server)) {
            return Err("too many ask for a room just now: try again in a moment".to_owned());
        }
        self.waiting.insert(self.calls, who);
        Ok(())
    }
}

impl RoomLogic for Lobby {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let body: Value = event.data().unwrap_or_default();
        let who = event.from.session;
        let asked = match event.name() {
            Some("join-room") => self.join(ctx, who, &body),
            Some("join-random-room") => self.join_random(ctx, who, &body),
            // The seat in the lobby is kept.
            Some("leave-room") => Ok(()),
            _ => return Err(Refusal::refused("in the lobby: join-room or join-random-room")),
        };
        if let Err(why) = asked {
            fail(ctx, who, &why);
        }
        Ok(Relay::Nothing)
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        let Some(who) = self.waiting.remove(&call) else { return };
        if let Some(Err(error)) = answer.downcast_ref::<Outcome>() {
            fail(ctx, who, &error.to_string());
        }
    }

    fn on_leave(&mut self, _ctx: &mut RoomCtx<'_>, member: &MemberInfo, _reason: LeaveReason) {
        self.waiting.retain(|_, who| *who != member.sender.session);
        self.wished.remove(&member.sender.session);
    }
}

/// What a room for friends is made with.
pub fn friends(limit: u64) -> RoomOptions {
    options(json!({ "mode": "friends", "limit": limit }))
}

/// What a room for two strangers is made with.
pub fn strangers() -> RoomOptions {
    options(json!({ "mode": "random" }))
}

/// Who comes and goes is told by the game's own messages.
fn options(config: Value) -> RoomOptions {
    RoomOptions {
        logic: Some(BATTLE.into()),
        logic_config: Some(Box::new(config)),
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
    let sign = |at: usize| SIGNS[(chance >> (5 * at)) as usize % SIGNS.len()];
    (0..ROOM_CHARS_MAX).map(|at| char::from(sign(at))).collect()
}

fn fail(ctx: &mut RoomCtx<'_>, who: SessionId, why: &str) {
    ctx.tell(who, "fail-join-room-notify", json!({ "message": why }));
}
