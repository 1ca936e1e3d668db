//! A whole server on a virtual clock, with fake clients: a room's logic is tested in milliseconds,
//! without sockets, without sleeps, and always with the same outcome.
//!
//! It needs the feature `testing` of this crate (`[dev-dependencies] roomcast = { …, features =
//! ["testing"] }`). The hub is the real one, with several shards; hooks, tokens, logics and
//! handles work as they do in a running server. What stands in for the world is the clock, the
//! chance (drawn from a seed) and the connections.
//!
//! ```
//! use std::time::Duration;
//!
//! use roomcast::{MemberInfo, Refusal, RoomCtx, RoomLogic, RoomOptions, testing};
//!
//! /// Begins when two are there, and has turns of ten seconds.
//! struct Battle;
//!
//! impl RoomLogic for Battle {
//!     fn on_join(&mut self, ctx: &mut RoomCtx<'_>, _: &MemberInfo) -> Result<(), Refusal> {
//!         if ctx.member_count() == 2 {
//!             ctx.set_timer(1, 10_000);
//!         }
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, turn: u64) {
//!         ctx.publish("turn", &turn);
//!         ctx.set_timer(turn + 1, 10_000);
//!     }
//! }
//!
//! let builder = roomcast::Server::builder().logic("battle", |_| Battle);
//! let mut server = testing::Server::start(builder)?;
//! let options = RoomOptions { logic: Some("battle".into()), ..RoomOptions::default() };
//! server.run(server.handle().room("arena").create(options))?;
//!
//! let mut anna = server.client("Anna");
//! let mut ben = server.client("Ben");
//! anna.join("arena");
//! ben.join("arena");
//! server.advance(Duration::from_secs(25));
//! assert_eq!(anna.expect_event("turn")["data"], 1);
//! assert_eq!(anna.expect_event("turn")["data"], 2);
//! ben.expect_event("turn");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what |
//! |---|---|
//! | `client.rs` | [`Client`] |
//! | `tasks.rs` | hooks and calls that wait |
//! | `world.rs` | the shards, their links and the clock |

mod client;
mod tasks;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

pub use self::client::{Client, Denied};
use self::world::World;
use crate::builder::Builder;
use crate::handle::ServerHandle;
use crate::server::StartError;

/// Shards, where the builder does not say how many workers there are: enough for words to cross.
const SHARDS: u16 = 2;

/// A server on a virtual clock. Time passes only in [`Server::advance`]; all else happens at once.
///
/// It is not `Send`, and not to be used inside of a tokio runtime: write a plain `#[test]`.
pub struct Server {
    world: Rc<RefCell<World>>,
    handle: ServerHandle,
}

impl Server {
    /// Starts the server that a builder describes. Its listeners are not opened.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn start(builder: Builder) -> Result<Self, StartError> {
        Self::start_with_seed(builder, 0)
    }

    /// The same with another chance: the same seed gives the same run.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn start_with_seed(mut builder: Builder, seed: u64) -> Result<Self, StartError> {
        let shards = match u16::try_from(builder.config.workers) {
            Ok(0) | Err(_) => SHARDS,
            Ok(count) => count,
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        // Durable rooms have a log that nothing goes wrong with, wherever it would be.
        let hub = roomcast_core::HubConfig { log: true, ..builder.hub_config(bytes, shards)? };
        let (world, handle) = World::new(hub, builder.hooks, &builder.running)?;
        Ok(Self { world: Rc::new(RefCell::new(world)), handle })
    }

    /// A client with a display name, whose session can be resumed.
    ///
    /// # Panics
    /// The server does not let it in.
    pub fn client(&self, name: &str) -> Client {
        self.client_with(name, json!({ "name": name }))
    }

    /// A client that says `hello` with these fields (`token`, `name`); `label` is what it is
    /// called when a test fails.
    ///
    /// # Panics
    /// The server does not let it in: [`Server::try_client_with`] expects that.
    pub fn client_with(&self, label: &str, hello: Value) -> Client {
        self.try_client_with(label, hello).unwrap_or_else(|denied| panic!("{denied}"))
    }

    /// The same where the server may refuse.
    ///
    /// # Errors
    /// It did.
    pub fn try_client_with(&self, label: &str, hello: Value) -> Result<Client, Denied> {
        Client::open(Rc::clone(&self.world), label, hello)
    }

    /// Lets time pass: timers, ticks, pings, deadlines and timeouts come in their order.
    ///
    /// # Panics
    /// Something goes round in circles without time passing.
    pub fn advance(&self, by: Duration) {
        self.world.borrow_mut().advance(by);
    }

    /// How much time has passed since the start.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.world.borrow().now().0)
    }

    /// The way in for the embedding program, as in a running server; what it gives is waited for
    /// with [`Server::run`].
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Waits for a future, letting the server work meanwhile, but no time pass.
    ///
    /// # Panics
    /// It waits for something that does not happen at this moment.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.world.borrow_mut().run(future)
    }

    /// The faults of room logics since this was last asked, as `room (logic): what it said`. Each
    /// has closed its room.
    pub fn take_faults(&self) -> Vec<String> {
        self.world.borrow_mut().take_faults()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("now", &self.now()).finish_non_exhaustive()
    }
}
