//! The game as a room's logic: callbacks go into [`Game`], what it tells goes out.

use std::sync::Arc;

use roomcast::{
    LeaveReason, LogicEvent, MemberInfo, Name, Refusal, Relay, RoomCtx, RoomLogic, RoomSetup,
    Sender, SessionId,
};
use roomcast_wire::dialect::mesh::slug;
use serde_json::{Value, json};

use crate::game::{Game, Mode, PLAYERS_DEFAULT, Phase};
use crate::pairing::Pairing;
use crate::tell::{From, Told};
use crate::words::Words;

/// The name of the logic.
pub const BATTLE: &str = "words-battle";

/// Asks to be told [`Game::state`], now and after every change.
pub const STATE: &str = "game-state";

/// Who tells the list of players in the original.
const KEEPER: &str = "Gawd";

/// The one timer.
const NEXT: u64 = 0;

/// A room with a game in it.
pub struct Battle {
    game: Game,
    room: String,
    mode: Mode,
    pairing: Arc<Pairing>,
    /// Those that are told the state. Clients of the original do not ask, and hear only what they
    /// know.
    watchers: Vec<SessionId>,
    shown: u64,
    keeper: Arc<Sender>,
}

impl Battle {
    /// A game for a room that was made as [`friends`](crate::lobby::friends) or
    /// [`strangers`](crate::lobby::strangers).
    pub fn new(
        setup: &RoomSetup<'_>,
        words: Arc<Words>,
        pairing: Arc<Pairing>,
        second_ms: u64,
    ) -> Self {
        let config = |key: &str| setup.config.and_then(|config| config.get(key));
        let is_random = config("mode").and_then(Value::as_str) == Some("random");
        let mode = if is_random { Mode::Random } else { Mode::Friends };
        let limit = config("limit").and_then(Value::as_u64).and_then(|limit| limit.try_into().ok());
        let room = setup.room.rsplit('/').next().unwrap_or_default().to_owned();
        let game = Game::new(&room, mode, limit.unwrap_or(PLAYERS_DEFAULT), words, second_ms);
        let name = Name::new(KEEPER).ok();
        let keeper = Arc::new(Sender { session: SessionId(0), user: None, name, metadata: None });
        Self { game, room, mode, pairing, watchers: Vec::new(), shown: 0, keeper }
    }

    /// Says what there is to say and sets the timer for what comes next.
    fn go_on(&mut self, ctx: &mut RoomCtx<'_>) {
        for told in self.game.take_told() {
            self.tell(ctx, &told);
        }
        if self.shown != self.game.version() {
            self.shown = self.game.version();
            if !self.watchers.is_empty() {
                let state = self.game.state(ctx.now().0);
                ctx.tell_some(&self.watchers, STATE, &state);
            }
        }
        match self.game.deadline() {
            Some(due) => ctx.set_timer(NEXT, due.saturating_sub(ctx.now().0)),
            None => ctx.cancel_timer(NEXT),
        }
    }

    fn tell(&self, ctx: &mut RoomCtx<'_>, told: &Told) {
        let Told { to, from, action, body } = told;
        if let Some(who) = to {
            return ctx.tell(SessionId(*who), *action, body);
        }
        let sender = match from {
            From::Bot => None,
            From::Keeper => Some(Arc::clone(&self.keeper)),
            From::Person(who) => ctx.member(SessionId(*who)).map(|member| member.sender),
        };
        match sender {
            Some(sender) => ctx.publish_from(&sender, *action, body),
            None => ctx.publish(*action, body),
        }
    }

    /// Tells the lobby whether a stranger may be sent here.
    fn pair(&self, ctx: &RoomCtx<'_>) {
        if self.mode != Mode::Random {
            return;
        }
        match &ctx.members()[..] {
            [alone] if self.game.phase() == Phase::Waiting => {
                self.pairing.offer(&self.room, alone.sender.session.0);
            }
            _ => self.pairing.withdraw(&self.room),
        }
    }

    fn show(&mut self, ctx: &mut RoomCtx<'_>, session: SessionId) {
        if !self.watchers.contains(&session) {
            self.watchers.push(session);
        }
        let mut state = self.game.state(ctx.now().0);
        state["you"] = json!(slug(session));
        ctx.tell(session, STATE, state);
    }
}

impl RoomLogic for Battle {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        let session = member.sender.session;
        self.game.enter(session.0, &slug(session));
        self.pair(ctx);
        self.go_on(ctx);
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let session = event.from.session;
        if ctx.member(session).is_none() {
            return Err(Refusal::refused("you are not in this room"));
        }
        match event.name() {
            Some("leave-room") => ctx.kick(session, ""),
            Some(STATE) => self.show(ctx, session),
            name => {
                let body: Value = event.data().unwrap_or_default();
                let (now, chance) = (ctx.now().0, ctx.random_u64());
                let action = name.unwrap_or_default();
                self.game
                    .act(now, session.0, action, &body, chance)
                    .map_err(|no| Refusal::refused(no.0))?;
            }
        }
        self.go_on(ctx);
        Ok(Relay::Nothing)
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.game.set_away(member.sender.session.0, true);
        self.go_on(ctx);
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.game.set_away(member.sender.session.0, false);
        self.go_on(ctx);
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, _reason: LeaveReason) {
        let session = member.sender.session;
        self.watchers.retain(|watcher| *watcher != session);
        self.game.leave(ctx.now().0, session.0);
        self.pair(ctx);
        self.go_on(ctx);
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, _timer: u64) {
        self.game.pass_time(ctx.now().0);
        self.go_on(ctx);
    }
}
