//! Packets in and out, for the tests of Socket.IO.
#![allow(clippy::unwrap_used, dead_code)]

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::socketio::{AssembleError, Assembler};
use roomcast_wire::dialect::{DecodeError, Receiver, Standing};
use roomcast_wire::limits::MESSAGE_BYTES_DEFAULT;
use roomcast_wire::reply::SessionLimits;
use roomcast_wire::ws::frame::{Frame, Reader};
use roomcast_wire::{Codec, Command, Format, Payload, Push, Reply, Request, Secret, SessionId};

pub const JSON: Format = Format::SOCKETIO_JSON;
pub const MSGPACK: Format = Format::SOCKETIO_MSGPACK;

/// A socket in the default namespace.
pub fn standing() -> Standing<'static> {
    Standing {
        session: Some(SessionId(1)),
        namespace: "default",
        convention: true,
        ..Standing::default()
    }
}

pub fn read(text: &str, standing: &Standing<'static>) -> Result<Request<'static>, DecodeError> {
    // The tests read what they have read for as long as they run.
    let message: &'static Bytes = Box::leak(Box::new(Bytes::copy_from_slice(text.as_bytes())));
    JSON.decode(message, standing)
}

pub fn ok(text: &str) -> (Option<u64>, Command<'static>) {
    let request = read(text, &standing()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    (request.reference, request.command)
}

pub fn refused(text: &str) -> DecodeError {
    read(text, &standing()).expect_err(text)
}

/// What a text and its attachments make.
pub fn assembled(text: &str, parts: &[&[u8]]) -> Result<Bytes, AssembleError> {
    let mut assembler = Assembler::new(MESSAGE_BYTES_DEFAULT);
    let mut whole = assembler.text(Bytes::copy_from_slice(text.as_bytes()))?;
    for part in parts {
        assert_eq!(whole, None, "whole too early");
        whole = assembler.binary(Bytes::copy_from_slice(part))?;
    }
    Ok(whole.expect("not whole"))
}

pub fn arguments(json: &str) -> Payload {
    Payload::new(Codec::Json, Bytes::copy_from_slice(json.as_bytes())).unwrap().into_arguments()
}

pub fn as_json(payload: &Payload) -> String {
    String::from_utf8(payload.to_codec(Codec::Json).bytes().to_vec()).unwrap()
}

pub fn welcome(session: SessionId) -> Reply<'static> {
    Reply::Welcome {
        session,
        user: None,
        resume: Secret(1),
        resumed: false,
        rooms: &[],
        ping_ms: 1,
        limits: SessionLimits { message_bytes: 1, rooms: 1, resume_ms: 1 },
    }
}

/// The frames of a push: whether each is text, and what it holds.
pub fn frames(format: Format, namespace: &str, push: &Push<'_>) -> Vec<(bool, Vec<u8>)> {
    let mut out = BytesMut::new();
    format.encode_push(&Receiver { namespace, ..Receiver::default() }, push, &mut out);
    cut(out)
}

/// The one text frame of a push; nothing if there is none.
pub fn pushed(namespace: &str, push: &Push<'_>) -> String {
    one(frames(JSON, namespace, push))
}

pub fn replied(namespace: &str, reference: Option<u64>, reply: &Reply<'_>) -> String {
    let mut out = BytesMut::new();
    JSON.encode_reply(&Receiver { namespace, ..Receiver::default() }, reference, reply, &mut out);
    one(cut(out))
}

fn one(frames: Vec<(bool, Vec<u8>)>) -> String {
    assert!(frames.len() <= 1, "{frames:?}");
    frames.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect()
}

fn cut(mut bytes: BytesMut) -> Vec<(bool, Vec<u8>)> {
    let mut reader = Reader::for_client(false);
    let mut frames = Vec::new();
    while let Some(frame) = reader.read(&mut bytes, MESSAGE_BYTES_DEFAULT).unwrap() {
        frames.push(match frame {
            Frame::Text(text) => (true, text.to_vec()),
            Frame::Binary(data) => (false, data.to_vec()),
            other => panic!("{other:?}"),
        });
    }
    assert!(bytes.is_empty(), "half a frame");
    frames
}
