//! What a room does beside relaying.
//!
//! A [`RoomLogic`] is a room's own code: it hears who comes, speaks and goes, may refuse, and acts
//! through its [`RoomCtx`]. It runs on the room's home, one callback at a time, and its state is
//! its own: no lock, no waiting. Every callback has a default, and the defaults make a room that
//! relays.
//!
//! A callback reads the room as it is and collects what it wants done; the shard does that when
//! the callback has returned. A callback that panics closes its room with
//! [`ClosedReason::Failed`], and what it had collected is dropped; no other room notices.
//!
//! | file | what |
//! |---|---|
//! | `context.rs` | [`RoomCtx`]: what a callback sees and may do |
//! | `registry.rs` | [`Logics`]: which logics there are |
//! | `running.rs` | a room's logic with its timers, ticks and calls |
//! | `latest.rs`, `msgio_demo.rs`, `script.rs`, `turns.rs` | the logics that come with the server |
//! | `task.rs` | [`Task`]: work that waits, done outside the hub |

mod context;
mod data;
mod latest;
mod msgio_demo;
mod registry;
pub(crate) mod running;
mod script;
mod settings;
mod task;
mod turns;

use std::any::Any;
use std::sync::Arc;

use serde_json::Value;

use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo, Sender};
use roomcast_wire::{ErrorCode, EventName, Payload, Refusal};
use serde::de::DeserializeOwned;

pub use self::context::{CALLS_MAX, EFFECTS_MAX, RoomCtx, TIMERS_MAX};
pub(crate) use self::context::{Effect, Said};
pub use self::data::{IntoData, IntoEvent};
pub use self::registry::{Factory, Logics, RoomSetup};
use self::settings::Settings;
pub use self::task::{RoomRef, Task};

/// Makes one of the logics that come with the server from its `logic_config`.
type Shipped = fn(Option<&Value>) -> Result<Box<dyn RoomLogic>, String>;

/// The logics that come with the server, sorted. Merging is no logic: `merge_ms` does it.
const SHIPPED: &[(&str, Shipped)] = &[
    ("latest", |config| Ok(Box::new(latest::Latest::new(config)?))),
    ("msgio-demo", |config| {
        Settings::new(config)?.finish()?;
        Ok(Box::new(msgio_demo::MsgioDemo))
    }),
    ("script", |config| Ok(Box::new(script::Script::new(config)?))),
    ("turns", |config| Ok(Box::new(turns::Turns::new(config)?))),
];

/// A room's own code. The defaults relay.
///
/// `on_join` and `on_event` may refuse: with [`Refusal::refused`] the client reads the
/// application's own words.
///
/// ```
/// use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
/// use roomcast_wire::Refusal;
///
/// /// Counts what is said, and has no patience with shouting.
/// #[derive(Default)]
/// struct Quiet {
///     said: u64,
/// }
///
/// impl RoomLogic for Quiet {
///     fn on_event(
///         &mut self,
///         ctx: &mut RoomCtx<'_>,
///         event: &LogicEvent<'_>,
///     ) -> Result<Relay, Refusal> {
///         if event.name() == Some("shout") {
///             return Err(Refusal::refused("not so loud"));
///         }
///         self.said += 1;
///         ctx.publish("said", &self.said);
///         Ok(Relay::AsIs)
///     }
/// }
/// ```
pub trait RoomLogic: Send {
    /// The room was made. Nobody is in it yet.
    fn on_create(&mut self, _ctx: &mut RoomCtx<'_>) {}

    /// Somebody asks for a seat, and is among [`RoomCtx::members`] already.
    ///
    /// # Errors
    /// The seat is taken back, what was collected is dropped, and nobody hears of it but who asked.
    fn on_join(&mut self, _ctx: &mut RoomCtx<'_>, _member: &MemberInfo) -> Result<(), Refusal> {
        Ok(())
    }

    /// Somebody published, and the room's options allow it. What is collected comes after the
    /// event itself.
    ///
    /// # Errors
    /// The event is not published, and who published it is told why.
    fn on_event(
        &mut self,
        _ctx: &mut RoomCtx<'_>,
        _event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        Ok(Relay::AsIs)
    }

    /// A member's link was lost. Its seat is kept for `resume_s`.
    fn on_drop(&mut self, _ctx: &mut RoomCtx<'_>, _member: &MemberInfo) {}

    /// A member is back and hears the room again: it joined on the seat that it had. That may come
    /// without [`RoomLogic::on_drop`]: a client may take up its session by a second link, or ask
    /// twice. What the room says because of it is charged to the session that asked, as of
    /// [`RoomLogic::on_join`].
    fn on_resume(&mut self, _ctx: &mut RoomCtx<'_>, _member: &MemberInfo) {}

    /// A member is gone for good, and no longer among [`RoomCtx::members`].
    fn on_leave(&mut self, _ctx: &mut RoomCtx<'_>, _member: &MemberInfo, _reason: LeaveReason) {}

    /// The room's clock (option `tick_ms`, or [`RoomCtx::set_tick`]). Ticks do not drift; those
    /// that a busy worker missed are skipped, which the number shows. The first has number 1.
    fn on_tick(&mut self, _ctx: &mut RoomCtx<'_>, _tick: u64) {}

    /// A timer set with [`RoomCtx::set_timer`] is due.
    fn on_timer(&mut self, _ctx: &mut RoomCtx<'_>, _timer: u64) {}

    /// What the future of [`RoomCtx::call`] came to.
    fn on_answer(&mut self, _ctx: &mut RoomCtx<'_>, _call: u64, _answer: Box<dyn Any + Send>) {}

    /// The room is about to end. Only what is said here is still done; members hear it before
    /// they hear `room_closed`.
    fn on_close(&mut self, _ctx: &mut RoomCtx<'_>, _reason: ClosedReason) {}
}

/// What somebody published.
#[derive(Debug, Clone, Copy)]
pub struct LogicEvent<'a> {
    /// Who; with `publish = "anyone"` not always a member.
    pub from: &'a Arc<Sender>,
    /// What it is called.
    pub name: &'a EventName,
    /// What it says. A logic that keeps it takes [`Payload::detached`], or it keeps the whole read
    /// buffer.
    pub payload: Option<&'a Payload>,
    /// `false`: may be dropped on its way.
    pub reliable: bool,
}

impl LogicEvent<'_> {
    /// The event's name, if it is a word.
    pub fn name(&self) -> Option<&str> {
        self.name.as_text()
    }

    /// What the event says, as a type of the application's. Without data: what `null` is read as.
    ///
    /// # Errors
    /// It is not of that type: [`ErrorCode::InvalidField`], in words for the client.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let read = match self.payload {
            Some(payload) => payload.read(),
            None => T::deserialize(Value::Null),
        };
        read.map_err(|error| {
            Refusal::new(ErrorCode::InvalidField, format!("`data` of `{}`: {error}", self.name))
        })
    }
}

/// What becomes of an event that the logic has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// All members hear it, as in a room without logic.
    AsIs,
    /// Nobody hears it. The sender is answered `ok` without a position.
    Nothing,
}
