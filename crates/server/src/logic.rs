//! What a room does beside relaying: see [`RoomLogic`] and `docs/room-logic.md`.

pub use roomcast_core::logic::{CALLS_MAX, EFFECTS_MAX, TIMERS_MAX};

/// Every callback there is, and what they are given:
/// ```
/// use std::any::Any;
///
/// use roomcast::logic::{LogicEvent, Relay, RoomCtx, RoomLogic, RoomSetup};
/// use roomcast::{ClosedReason, LeaveReason, MemberInfo, Refusal, RoomOptions, testing};
///
/// /// A table for a game of dice.
/// struct Table {
///     sides: u64,
/// }
///
/// impl Table {
///     fn new(setup: &RoomSetup<'_>) -> Self {
///         let sides = setup.config.and_then(|config| config["sides"].as_u64());
///         Self { sides: sides.unwrap_or(6) }
///     }
/// }
///
/// impl RoomLogic for Table {
///     fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
///         ctx.set_tick(1_000);
///     }
///
///     fn on_join(&mut self, ctx: &mut RoomCtx<'_>, who: &MemberInfo) -> Result<(), Refusal> {
///         if ctx.member_count() > 4 {
///             return Err(Refusal::refused("four can play"));
///         }
///         ctx.tell(who.sender.session, "rules", &self.sides);
///         Ok(())
///     }
///
///     fn on_event(
///         &mut self,
///         ctx: &mut RoomCtx<'_>,
///         event: &LogicEvent<'_>,
///     ) -> Result<Relay, Refusal> {
///         match event.name() {
///             Some("roll") => {
///                 let rolled = ctx.random_u64() % self.sides + 1;
///                 ctx.publish_from(event.from, "rolled", &rolled);
///                 Ok(Relay::Nothing)
///             }
///             Some("bet") if event.data::<u32>()? > 100 => Err(Refusal::refused("too much")),
///             Some("bet") => {
///                 let bet = event.data::<u32>()?;
///                 let _ = ctx.call(7, async move { bet * 2 }); // it would ask the bank
///                 Ok(Relay::AsIs)
///             }
///             _ => Ok(Relay::AsIs),
///         }
///     }
///
///     fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
///         if let (7, Ok(paid)) = (call, answer.downcast::<u32>()) {
///             ctx.publish("paid", &*paid);
///         }
///     }
///
///     fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, who: &MemberInfo) {
///         ctx.tell_except(who.sender.session, "waiting", ());
///         ctx.set_timer(1, 10_000);
///     }
///
///     fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, who: &MemberInfo) {
///         ctx.cancel_timer(1);
///         ctx.tell_others(&who.sender, "back", ());
///     }
///
///     fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, _timer: u64) {
///         for lost in ctx.members().iter().filter(|member| member.dropped) {
///             ctx.kick(lost.sender.session, "you were away too long");
///         }
///     }
///
///     fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, tick: u64) {
///         ctx.publish_unreliable("clock", &tick);
///     }
///
///     fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, _: &MemberInfo, reason: LeaveReason) {
///         if reason != LeaveReason::Kicked && ctx.last_word().is_some() {
///             ctx.publish("last_word", ctx.last_word().cloned());
///         }
///     }
///
///     fn on_close(&mut self, ctx: &mut RoomCtx<'_>, _reason: ClosedReason) {
///         ctx.publish("over", ());
///     }
/// }
///
/// let mut server =
///     testing::Server::start(roomcast::Server::builder().logic("dice", Table::new))?;
/// let options = RoomOptions {
///     logic: Some("dice".into()),
///     logic_config: Some(Box::new(serde_json::json!({ "sides": 1 }))),
///     ..RoomOptions::default()
/// };
/// server.run(server.handle().room("table").create(options))?;
/// let (mut anna, mut ben) = (server.client("Anna"), server.client("Ben"));
/// anna.join("table");
/// ben.join("table");
/// anna.publish("table", "roll", ());
/// assert_eq!(ben.expect_event("rolled")["data"], 1);
/// anna.publish("table", "bet", 20);
/// assert_eq!(ben.expect_event("paid")["data"], 40);
/// assert_eq!(server.take_faults(), [""; 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::logic::RoomLogic;
/// See [`RoomLogic`] for an example.
pub use roomcast_core::logic::{LogicEvent, Relay, RoomSetup};

/// What it can tell, and do beside speaking to all:
/// ```
/// use roomcast::{LogicEvent, Refusal, Relay, RoomCtx, RoomLogic, RoomOptions, testing};
///
/// /// Who made the room is its host.
/// struct Hosted;
///
/// impl RoomLogic for Hosted {
///     fn on_event(
///         &mut self,
///         ctx: &mut RoomCtx<'_>,
///         event: &LogicEvent<'_>,
///     ) -> Result<Relay, Refusal> {
///         if ctx.creator() != Some(event.from.session) {
///             return Err(Refusal::refused("the host speaks"));
///         }
///         let all = ctx.members();
///         let sessions: Vec<_> = all.iter().map(|member| member.sender.session).collect();
///         match event.name() {
///             Some("lock") => {
///                 let options = ctx.options().clone();
///                 ctx.set_options(RoomOptions { members_max: ctx.member_count(), ..options });
///             }
///             Some("last") => match sessions.last() {
///                 Some(&last) if ctx.member(last).is_some() => {
///                     ctx.tell_from(event.from, last, "you", &ctx.now().0);
///                 }
///                 _ => {}
///             },
///             Some("pair") => ctx.tell_some(&sessions[..sessions.len().min(2)], "pair", ()),
///             Some("end") => ctx.close(),
///             _ => return Ok(Relay::AsIs),
///         }
///         Ok(Relay::Nothing)
///     }
/// }
///
/// let toml = "[rooms]\nlogic = 'hosted'\n";
/// let config = roomcast::Config::from_toml(toml, "example")?;
/// let builder = roomcast::Server::builder().config(config).logic("hosted", |_| Hosted);
/// let server = testing::Server::start(builder)?;
/// let (mut anna, mut ben) = (server.client("Anna"), server.client("Ben"));
/// anna.join("hall");
/// ben.join("hall");
/// anna.publish("hall", "last", ());
/// ben.expect_event("you");
/// assert!(ben.try_publish("hall", "end", ()).is_err());
/// anna.publish("hall", "lock", ());
/// assert!(server.client("Carl").try_join("hall").is_err_and(|no| no.reason() == "room_full"));
/// anna.publish("hall", "end", ());
/// assert_eq!(ben.expect("room_closed")["reason"], "ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::logic::RoomCtx;

/// ```
/// use roomcast::logic::{Logics, RoomLogic};
/// use roomcast::{Config, RoomOptions};
///
/// struct Quiet;
/// impl RoomLogic for Quiet {}
///
/// let mut logics = Logics::default();
/// logics.insert("quiet", |_| Box::new(Quiet))?;
/// assert!(logics.names().iter().any(|name| *name == "quiet"));
///
/// let of = |logic: &str| RoomOptions { logic: Some(logic.into()), ..RoomOptions::default() };
/// assert!(logics.check(&of("quiet")).is_ok());
/// assert!(logics.check(&of("loud")).is_err());
/// Config::from_toml("[rooms]\nlogic = 'quiet'\n", "example")?.check_for(&logics)?;
///
/// let known = logics.names().len();
/// let logics = logics.decorated(|name, setup, logic| {
///     println!("{} gets the logic {name}", setup.room);
///     logic
/// });
/// assert_eq!(logics.names().len(), known);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::logic::Logics;

/// ```
/// use roomcast::logic::{IntoData, IntoEvent};
/// use serde_json::json;
///
/// /// A function that takes what handles take.
/// fn written(event: impl IntoEvent, data: impl IntoData) -> Result<String, String> {
///     let (event, data) = (event.into_event()?, data.into_data()?);
///     let data = data.map(|data| String::from_utf8_lossy(data.bytes()).into_owned());
///     Ok(format!("{event} {}", data.unwrap_or_default()))
/// }
///
/// assert_eq!(written("chat", json!({ "text": "hi" }))?, r#"chat {"text":"hi"}"#);
/// assert_eq!(written(65_537, &[1, 2])?, "65537 [1,2]");
/// assert_eq!(written("bell", ())?, "bell ");
/// assert!(written("", ()).is_err());
/// # Ok::<(), String>(())
/// ```
pub use roomcast_core::logic::IntoData;
/// See [`IntoData`] for an example.
pub use roomcast_core::logic::IntoEvent;
