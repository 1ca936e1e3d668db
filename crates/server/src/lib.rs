//! A room server and library: clients on any transport join rooms and hear one order.
//!
//! ```
//! let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
//! for listener in server.listeners() {
//!     println!("{}", listener.url); // with the port that was free
//! }
//! server.drain_and_stop(); // goodbye to everybody, then the end
//! # Ok::<(), roomcast::StartError>(())
//! ```

mod acceptor;
pub mod auth;
mod builder;
mod cluster;
pub mod config;
mod engine;
mod entrance;
pub mod event;
pub mod groups;
mod handle;
pub mod hook;
mod hooks;
mod http;
pub mod logic;
mod metrics;
mod room_task;
mod server;
pub mod socketio;
mod store;
mod system;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod transport;
mod watch;
mod worker;

pub use builder::Builder;
pub use config::Config;
pub use engine::EngineError;
pub use entrance::{Entrance, EntranceError, Speaks};
pub use event::HubEvent;
pub use handle::{
    Asked, CallError, History, Members, NamespaceHandle, Presence, RoomHandle, Rooms, ServerHandle,
    SessionHandle, UserHandle,
};
pub use hooks::{Answer, Events, Heard};
pub use logic::{IntoData, IntoEvent, LogicEvent, Logics, Relay, RoomCtx, RoomLogic, RoomSetup};
pub use room_task::{RoomEvent, RoomTask, Said};
/// A server that asks its own users' directory:
/// ```
/// use roomcast::{Authenticate, ErrorCode, Grants, Identity, Name, Now, Refusal, Right, Rule};
/// use roomcast::{Revoked, RulesOf, Server, testing};
///
/// /// Knows one guest, for one minute, in one room.
/// struct Directory;
///
/// impl Authenticate for Directory {
///     fn authenticate(&self, now: Now, _: &str, token: &str) -> Result<Identity, Refusal> {
///         let known = token.strip_prefix("guest-").and_then(|name| Name::new(name).ok());
///         let user = known.ok_or_else(|| Refusal::new(ErrorCode::InvalidToken, "unknown"))?;
///         let rule = Rule::new("lounge", ["join", "create"]).map_err(Refusal::refused)?;
///         let grants = Grants::new(RulesOf::Token, vec![rule]);
///         let expires = Some(now.plus(60_000));
///         let grants = Some(grants.into());
///         Ok(Identity { user: Some(user), expires, grants, ..Identity::default() })
///     }
/// }
///
/// let server = testing::Server::start(Server::builder().authenticate(Directory))?;
/// let mut mina = server.client_with("Mina", serde_json::json!({ "token": "guest-mina" }));
/// mina.join("lounge");
/// assert!(mina.try_join("office").is_err_and(|denied| denied.reason() == "forbidden"));
/// server.run(server.handle().revoke(Revoked::User(Name::new("mina")?)))?;
/// assert!(!mina.is_connected());
///
/// // What rules say can be asked without a server.
/// let grants = Grants::new(RulesOf::Key, vec![Rule::new("arena/battle-*", ["join"])?]);
/// assert!(grants.check(Right::Join, "arena", Some("battle-7")).is_ok());
/// let decision = grants.decide(Right::Publish, "arena", Some("battle-7"));
/// assert!(!decision.allowed);
/// println!("{}: {}", Right::Publish.as_str(), grants.explain(Right::Publish, decision));
/// assert!(grants.rules()[0].can().has(Right::Join) && grants.rules()[0].namespace() == "arena");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::Authenticate;
/// See [`RoomState`] for an example.
pub use roomcast_core::Counters;
/// What handles tell of a room and of the server:
/// ```
/// use roomcast::{Counters, Recovery, RoomInfo, RoomOptions, RoomState, Server, testing};
///
/// let server = testing::Server::start(Server::builder())?;
/// let lobby = server.handle().room("lobby");
/// server.run(lobby.create_permanent(RoomOptions::default()))?;
/// let (mut anna, mut ben) = (server.client("Anna"), server.client("Ben"));
/// anna.join("lobby");
/// ben.join("lobby");
/// ben.publish("lobby", "chat", "hi");
///
/// let state: RoomState = server.run(lobby.state())?;
/// assert!(state.permanent && state.creator.is_none() && state.position.offset == 1);
/// assert_eq!(server.run(lobby.presence())?.members, 2);
/// let members = server.run(lobby.members())?.members;
/// assert_eq!(members[0].sender.session, anna.session());
/// let history = server.run(lobby.history(Some(state.position), 10))?;
/// assert_eq!((history.recovery, history.events.len()), (Some(Recovery::Recovered), 0));
/// assert_eq!(Recovery::Recovered.reason(), None); // else why not
/// let rooms: Vec<RoomInfo> = server.run(server.handle().rooms())?.rooms;
/// assert_eq!((rooms[0].room.as_str(), rooms[0].members), ("lobby", 2));
/// let counted: Counters = server.handle().counters();
/// assert_eq!((counted.sessions, counted.rooms), (2, 1));
///
/// server.run(lobby.publish_unreliable("cursor", &[3, 4]))?;
/// server.run(lobby.kick(anna.session()))?;
/// assert_eq!(anna.expect("room_closed")["reason"], "kicked");
/// server.run(lobby.leave(ben.session(), "for now".to_owned().as_str()))?;
/// ben.expect("room_closed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_core::RoomState;
/// See [`Authenticate`] for an example.
pub use roomcast_core::{Grants, Identity, Now, Revoked, Right, Rule, RulesOf};
/// ```
/// use roomcast::{Codec, Epoch, ErrorCode, EventName, Name, Payload, Position, Refusal, SessionId};
///
/// let name = Name::new("Mina")?;
/// assert_eq!((name.as_str(), Name::default_namespace().as_str()), ("Mina", "default"));
/// let event = EventName::text("chat")?;
/// assert_eq!((event.as_text(), EventName::Number(65_537).as_text()), (Some("chat"), None));
///
/// let said = Payload::json(&serde_json::json!({ "text": "hi", "to": [1, 2] }))?;
/// let to = said.field("to").ok_or("nobody")?;
/// assert_eq!(to.read::<Vec<u8>>()?, [1, 2]);
/// assert_eq!((to.codec(), &to.bytes()[..]), (Codec::Json, &b"[1,2]"[..]));
/// assert_eq!(&to.to_codec(Codec::MsgPack).bytes()[..], [0x92, 1, 2]);
/// assert_eq!(Payload::text("hi").detached().read::<String>()?, "hi");
/// assert_eq!(Payload::bin(b"hi").read::<String>()?, "aGk=");
/// assert!(Payload::json(&[1, 2])?.into_arguments().is_arguments());
/// # let same = Payload::new(Codec::Json, "[1, 2]".into())?;
///
/// let position = Position { epoch: Epoch::new(7), offset: 41 };
/// assert_eq!(position.epoch.bits(), 7);
/// assert_eq!(position.epoch.write(&mut [0; 8]), position.epoch.to_string());
/// let session: SessionId = "AAAAAAAAAAAAAAAAAAAAAQ".parse()?;
/// assert_eq!(session, SessionId(1));
///
/// let no = Refusal::refused("not so loud");
/// assert_eq!((no.code, no.code.number()), (ErrorCode::Refused, 4034));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use roomcast_wire::Payload;
/// ```
/// use roomcast::{Payload, RoomOptions};
///
/// let defaults = RoomOptions { members_max: 8, ..RoomOptions::default() };
/// defaults.check()?;
/// assert!(RoomOptions { tick_ms: 3, ..defaults.clone() }.check().is_err());
///
/// // What a client gives with `create` is laid over them, within its bounds.
/// let wish = Payload::json(&serde_json::json!({ "history": { "size": 0 } }))
///     .map_err(|error| error.to_string())?;
/// let options = defaults.patched(&wish)?;
/// options.check_client(&defaults)?;
/// assert_eq!((options.members_max, options.history.size), (8, 0));
/// # Ok::<(), String>(())
/// ```
pub use roomcast_wire::RoomOptions;
/// What members are to each other, and why something has ended:
/// ```
/// use roomcast::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
///
/// fn told(event: &Event) -> String {
///     let who = event.from.as_deref().map_or("the room".to_owned(), name);
///     format!("{who}: {} {:?}", event.name, event.payload)
/// }
///
/// fn name(sender: &Sender) -> String {
///     let name = sender.name.as_ref().or(sender.user.as_ref());
///     name.map_or_else(|| sender.session.to_string(), ToString::to_string)
/// }
///
/// fn listed(member: &MemberInfo) -> String {
///     let mark = if member.dropped { " (away)" } else { "" };
///     name(&member.sender) + mark
/// }
///
/// let anna = Sender {
///     session: roomcast::SessionId(7),
///     user: None,
///     name: roomcast::Name::new("Anna").ok(),
///     metadata: None,
/// };
/// let anna = MemberInfo { sender: anna.into(), data: None, dropped: true };
/// assert_eq!(listed(&anna), "Anna (away)");
/// assert_eq!(LeaveReason::Lost.as_str(), "lost");
/// assert_eq!(ClosedReason::Ended.as_str(), "ended");
/// ```
pub use roomcast_wire::push::MemberInfo;
/// See [`MemberInfo`] for an example.
pub use roomcast_wire::push::{ClosedReason, Event, LeaveReason, Sender};
/// See [`RoomState`] for an example.
pub use roomcast_wire::reply::{Recovery, RoomInfo};
/// See [`Payload`] for an example.
pub use roomcast_wire::{Codec, Epoch, ErrorCode, EventName, Name, Position, Refusal, SessionId};
pub use server::{Listener, Server, StartError};
pub use tls::CertificateError;

/// The page's program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/coming-from-socketio.md")]
struct ComingFromSocketIoPage;

/// The page's program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/hooks.md")]
struct HooksPage;

/// The page's program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/room-logic.md")]
struct RoomLogicPage;
