//! Words Battle: a word game as room logic and lobby logic of roomcast.
//!
//! | file | what |
//! |---|---|
//! | `game.rs`, `terms.rs` | the rules: a machine without clock, chance or network |
//! | `tell.rs` | the messages of the game |
//! | `words.rs` | the words that count |
//! | `room.rs` | the game as a room's logic |
//! | `lobby.rs`, `pairing.rs` | who gets which room |
//! | `site.rs` | the page |
//! | `bots.rs` | players without a person |

pub mod bots;
pub mod game;
pub mod lobby;
pub mod pairing;
pub mod room;
pub mod site;
pub mod tell;
pub mod terms;
pub mod words;

use std::sync::Arc;

use roomcast::{Builder, Config, Server, ServerHandle, StartError};

use crate::lobby::{Door, LOBBY, Lobby};
use crate::pairing::Pairing;
use crate::room::{BATTLE, Battle};
use crate::words::Words;

/// What the server is told: everybody begins in the lobby, and rooms are the lobby's to make.
const CONFIG: &str = r#"
[rooms]
presence = "off"

[namespaces.default]
create = false
list_rooms = false
lobby = "mesh-global"

[namespaces.default.static.mesh-global]
logic = "words-lobby"
history.size = 0
"#;

/// What a server of the game is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where clients of the original game connect, for example
    /// `ws://127.0.0.1:8080?dialect=mesh`; players with a page come in by [`site::app`].
    pub listen: Vec<String>,
    /// Host names under which the page is known, beside localhost.
    pub hosts: Vec<String>,
    /// How long a second of the game lasts, in milliseconds: 1,000, or less in tests.
    pub second_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self { listen: Vec::new(), hosts: Vec::new(), second_ms: 1_000 }
    }
}

/// Starts a server of the game.
///
/// # Errors
/// It cannot listen where it should.
pub fn start(setup: Setup) -> Result<Server, StartError> {
    let (builder, door) = builder(setup)?;
    let server = builder.start()?;
    open(&door, server.handle());
    Ok(server)
}

/// A server of the game before its start, and the lobby's way into it: to be [`open`]ed after it.
///
/// # Errors
/// The configuration cannot be used.
pub fn builder(setup: Setup) -> Result<(Builder, Door), StartError> {
    let mut config = Config::from_toml(CONFIG, "words-battle")?;
    config.http.hosts = setup.hosts;
    config.listen = setup.listen;
    let words = Arc::new(Words::english());
    let (pairing, door) = (Arc::<Pairing>::default(), Door::default());
    let (rooms, way) = (Arc::clone(&pairing), Arc::clone(&door));
    let builder = Server::builder()
        .config(config)
        .logic(LOBBY, move |_| Lobby::new(Arc::clone(&pairing), Arc::clone(&way)))
        .logic(BATTLE, move |room| {
            Battle::new(room, Arc::clone(&words), Arc::clone(&rooms), setup.second_ms)
        });
    Ok((builder, door))
}

/// Lets the lobby make rooms, now that there is a server to make them.
pub fn open(door: &Door, server: ServerHandle) {
    // It was not open before: it is made with the builder, and only this opens it.
    _ = door.set(server);
}
