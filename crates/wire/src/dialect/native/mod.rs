//! The native dialect: one map a message, its kind in `type`. `docs/protocol.md` is its reference.

mod decode;
mod encode;
mod incoming;

use bytes::{Bytes, BytesMut};

use super::DecodeError;
use crate::codec::CodecError;
use crate::codec::write::{Json, MsgPack};
use crate::incoming::Incoming;
use crate::{Codec, Push, Reply, Request};

/// Reads a command.
///
/// # Errors
/// The refusal to answer with.
pub fn decode(codec: Codec, message: &Bytes) -> Result<Request<'_>, DecodeError> {
    decode::request(codec, message)
}

/// Writes a push.
pub fn encode_push(codec: Codec, push: &Push<'_>, out: &mut BytesMut) {
    match codec {
        Codec::Json => encode::push::<Json>(push, out),
        Codec::MsgPack => encode::push::<MsgPack>(push, out),
    }
}

/// Writes a reply.
pub fn encode_reply(codec: Codec, reference: Option<u64>, reply: &Reply<'_>, out: &mut BytesMut) {
    match codec {
        Codec::Json => encode::reply::<Json>(reference, reply, out),
        Codec::MsgPack => encode::reply::<MsgPack>(reference, reply, out),
    }
}

/// Writes a command: what clients do.
pub fn encode_request(codec: Codec, request: &Request<'_>, out: &mut BytesMut) {
    match codec {
        Codec::Json => encode::request::<Json>(request, out),
        Codec::MsgPack => encode::request::<MsgPack>(request, out),
    }
}

/// Reads a reply or push: what clients do.
///
/// # Errors
/// What is not well-formed.
pub fn decode_incoming(codec: Codec, message: &Bytes) -> Result<Incoming, CodecError> {
    incoming::incoming(codec, message)
}
