//! The native dialect: one map a message, its kind in `type`. `docs/protocol.md` is its reference.

pub(super) mod decode;
pub(super) mod encode;
mod incoming;
mod plain;
mod stream;

use bytes::{Bytes, BytesMut};

use super::{Cutter, DecodeError, Format, Grammar, Receiver, Standing};
use crate::codec::CodecError;
use crate::codec::write::{Json, MsgPack};
use crate::incoming::Incoming;
use crate::{Codec, Push, Reply, Request};

/// The native dialect.
pub(super) struct Native;

impl Grammar for Native {
    fn decode<'a>(
        &self,
        format: Format,
        message: &'a Bytes,
        _: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        decode(format.codec(), message)
    }

    fn encode_push(&self, format: Format, _: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        let codec = format.codec();
        format.framing().frame(out, |body| encode_push(codec, push, body));
    }

    fn encode_reply(
        &self,
        format: Format,
        _: &Receiver<'_>,
        reference: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        let codec = format.codec();
        format.framing().frame(out, |body| encode_reply(codec, reference, reply, body));
    }

    fn stream(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::<stream::FirstByte>::default())
    }
}

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
