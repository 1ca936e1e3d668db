//! The words of roomcast and how they are written.
//!
//! This crate is pure: it opens no socket, reads no clock, holds no lock and draws no chance. It
//! knows what may be said ([`Command`], [`Reply`], [`Push`]), how each is written in a
//! [`Codec`], how a client's grammar is read ([`dialect`]) and how frames are
//! delimited on a byte stream ([`framing`], [`ws`]).
//!
//! A payload is never parsed on its way: a [`Payload`] is a slice of the buffer it arrived in.

pub mod codec;
pub mod command;
pub mod dialect;
pub mod enet;
pub mod engineio;
pub mod error;
pub mod framing;
pub mod id;
pub mod incoming;
pub mod limits;
mod list;
pub mod name;
pub mod options;
pub mod payload;
pub mod push;
pub mod reply;
pub mod udp;
pub mod ws;

pub use codec::Codec;
pub use command::{Command, Request, Resume, Target};
pub use dialect::{Format, Receiver, Standing};
pub use error::{CloseCode, ErrorCode, Next, Refusal};
pub use id::{Epoch, Offset, Position, Secret, SessionId};
pub use name::{EventName, Name, RoomPath};
pub use options::RoomOptions;
pub use payload::Payload;
pub use push::Push;
pub use reply::Reply;
