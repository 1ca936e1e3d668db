//! Reads what clients send.

use std::borrow::Cow;

use bytes::Bytes;

use super::super::{DecodeError, Standing};
use super::packet::{self, Kind, Packet};
use super::{CONNECT, RESERVED, convention};
use crate::codec::CodecError;
use crate::codec::value::{Kind as ValueKind, Value};
use crate::limits::TOKEN_BYTES_MAX;
use crate::{CloseCode, Command, ErrorCode, EventName, Refusal, Request, Resume, SessionId};

/// How many of an event's arguments a command is made of, its name counted.
const LOOKED_AT: usize = 3;

pub(super) fn request<'a>(
    message: &'a Bytes,
    standing: &Standing<'a>,
) -> Result<Request<'a>, DecodeError> {
    let packet = packet::read(message)?;
    match (packet.kind, standing.session) {
        (Kind::Connect, None) => connect(message, &packet),
        (Kind::Disconnect, Some(_)) if packet.data.is_none() => {
            Ok(Request { reference: None, command: Command::Bye })
        }
        (Kind::Event, Some(_)) => event(message, &packet, standing),
        (Kind::Ack, Some(_)) => {
            let id = packet.id.ok_or_else(|| broken("an acknowledgement of nothing"))?;
            let data = Some(packet.arguments(0)?);
            let command = Command::Result { id, data, error: None };
            Ok(Request { reference: None, command })
        }
        // As the reference server has it: CONNECT first, once, and nothing that only servers say.
        _ => Err(broken("a packet that has no place here")),
    }
}

/// What a client says of itself is the application's to read; `token` and `name`, if they are
/// strings, are the server's too.
fn connect<'a>(message: &'a Bytes, packet: &Packet<'a>) -> Result<Request<'a>, DecodeError> {
    let mut own = [None; 4];
    if let Some(auth) = packet.data {
        if auth.kind() != ValueKind::Map {
            return Err(broken("the data of CONNECT are no object"));
        }
        own = auth.fields(&["token", "name", "pid", "offset"])?;
    }
    let own: [Option<Cow<'_, str>>; 4] = own.map(|value| value.and_then(Value::text));
    let [token, name, pid, offset] = own;
    if token.as_ref().is_some_and(|token| token.len() > TOKEN_BYTES_MAX) {
        let text = format!("`token` has more than {TOKEN_BYTES_MAX} bytes");
        return Err(refused(Some(CONNECT), Refusal::new(ErrorCode::InvalidField, text)));
    }
    let data = packet.data.map(|auth| auth.payload(message));
    let command =
        Command::Hello { token, name, resume: resume(pid.as_deref(), offset.as_deref()), data };
    Ok(Request { reference: Some(CONNECT), command })
}

/// What a client of connection state recovery comes back with. What the server has not written is
/// as good as nothing: the client begins anew, and is told so.
fn resume(pid: Option<&str>, offset: Option<&str>) -> Option<Resume> {
    let (session, secret) = pid?.split_at_checked(SessionId::TEXT_LEN)?;
    let (session, secret) = (session.parse().ok()?, secret.parse().ok()?);
    let offset = offset.map(str::parse).transpose().ok()?;
    Some(Resume { session, secret, offset })
}

fn event<'a>(
    message: &'a Bytes,
    packet: &Packet<'a>,
    standing: &Standing<'a>,
) -> Result<Request<'a>, DecodeError> {
    let list = packet.data.ok_or_else(|| broken("an event without a name"))?;
    let (mut values, mut count) = ([None; LOOKED_AT], 0);
    list.items(|value| {
        if let Some(slot) = values.get_mut(count) {
            *slot = Some(value);
        }
        count += 1;
        Ok(())
    })?;
    let [name, arguments @ ..] = values;
    let name = event_name(name)?;
    let reference = packet.id;
    let call = name.map_err(|refusal| refused(reference, refusal))?;
    if standing.convention
        && let Some(word) = call.as_text()
        && let Some(command) = convention::command(message, word, arguments, packet)
    {
        let command = command.map_err(|refusal| refused(reference, refusal))?;
        return Ok(Request { reference, command });
    }
    let command = Command::Call { call, room: None, data: Some(packet.arguments(1)?) };
    Ok(Request { reference, command })
}

/// What an event is called. Inner error: the protocol allows it, the server does not.
///
/// # Errors
/// The protocol has no such name.
pub(super) fn event_name(
    name: Option<Value<'_>>,
) -> Result<Result<EventName, Refusal>, DecodeError> {
    let name = name.ok_or_else(|| broken("an event without a name"))?;
    if let Some(text) = name.text() {
        if RESERVED.contains(&text.as_ref()) {
            return Err(broken("an event with a reserved name"));
        }
        return Ok(EventName::text(&text)
            .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("the event: {error}"))));
    }
    if name.kind() != ValueKind::Number {
        return Err(broken("the name of an event is a string or a number"));
    }
    Ok(name.uint().map(EventName::Number).ok_or_else(|| {
        let text = "the name of an event is a string or a number from 0 to 9007199254740991";
        Refusal::new(ErrorCode::InvalidName, text)
    }))
}

fn refused(reference: Option<u64>, refusal: Refusal) -> DecodeError {
    DecodeError { reference, refusal, close: None }
}

/// What the reference server calls a parse error: the connection is closed.
#[cold]
fn broken(what: &str) -> DecodeError {
    let refusal = Refusal::new(ErrorCode::Malformed, format!("parse error: {what}"));
    DecodeError { reference: None, refusal, close: Some(CloseCode::Protocol) }
}

impl From<CodecError> for DecodeError {
    fn from(error: CodecError) -> Self {
        broken(&error.0)
    }
}
