//! The Rust client of roomcast: rooms as handles, what is said in them as streams, automatic
//! reconnect, resume and recovery.
//!
//! ```no_run
//! use roomcast_client::{Client, RoomEvent};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Chat {
//!     text: String,
//! }
//!
//! # async fn run() -> Result<(), roomcast_client::Error> {
//! let client = Client::builder("ws://127.0.0.1:7400").name("Mina").connect().await?;
//! let lobby = client.join("lobby").await?;
//! lobby.publish("chat", &Chat { text: "hi".into() }).await?;
//! while let Some(happened) = lobby.next_event().await {
//!     if let RoomEvent::Event(event) = happened {
//!         println!("{}: {}", event.sender_name(), event.data::<Chat>()?.text);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What happens when the link is lost
//! The client connects again by itself, after a random delay that grows (full jitter), or after
//! the delay that the server asked for. It resumes its session, takes its seats again and asks for
//! everything since the last event it saw. Each room's stream then tells [`RoomEvent::Recovered`]
//! or [`RoomEvent::Lost`], and goes on. No event comes twice. The client's own
//! [stream](Client::events) tells what happens to the link. A publish that was under way is
//! repeated with the same idempotency key, so that the room hears it once; any other command that
//! was under way ends with [`Error::Disconnected`]. Where tokens end while clients live, give
//! them by [`Builder::token_with`]: it is asked again for every link.
//!
//! # Several ways to a server
//! Not every network lets every transport through. With [`Builder::fall_back_to`] a client takes
//! the best that works, tells which ([`Client::transport`], [`ClientEvent::Reconnected`]), and
//! comes back to a better one.
//!
//! # Bounds
//! Each room's stream holds at most [`Builder::room_queue`] things that nobody took yet; what
//! happens then is the choice [`Overflow`]. At most 256 commands wait to be written (then their
//! callers wait), at most 1,024 wait for an answer, and at most 256 [`ClientEvent`]s are kept (the
//! oldest go first).

mod backoff;
mod builder;
mod calls;
mod client;
pub mod congestion;
mod driver;
mod error;
mod event;
mod ledger;
mod link;
mod payload;
mod queue;
mod race;
mod room;
mod token;
mod url;

pub use builder::{Builder, Overflow, Reconnect};
pub use client::{Client, Created, RoomList, To};
pub use error::{Error, Refused};
pub use event::{ClientEvent, Event, LostReason, Member, Message, Missed, RoomEvent};
pub use link::Io;
pub use payload::{IntoEventName, payload_of};
pub use queue::Events;
pub use room::{Given, History, JoinOptions, MemberList, Presence, PublishOptions, Room};
pub use roomcast_wire as wire;
pub use roomcast_wire::push::{ClosedReason, LeaveReason, Sender};
pub use roomcast_wire::reply::{Recovery, RoomInfo, SessionLimits};
pub use roomcast_wire::{
    CloseCode, Codec, Epoch, ErrorCode, EventName, Next, Payload, Position, RoomOptions, SessionId,
};
pub use token::Token;
pub use url::Transport;
