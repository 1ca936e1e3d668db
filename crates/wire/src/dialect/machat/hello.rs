//! The object a client begins with: `{"name":"Mina","room":"devroom"}`.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::speech;
use super::ERROR;
use crate::{ErrorCode, Refusal, RoomPath, name};

/// The room of a client that names none; the original's client does the same.
const ROOM: &str = "lounge";

/// Who comes, and where to.
pub(super) struct Hello<'a> {
    /// None: it is shown by its session.
    pub name: Option<Cow<'a, str>>,
    pub room: RoomPath<'a>,
}

/// Reads one JSON object. Keys count in any case, as in Go; of one that stands there twice the last
/// counts; others are passed over.
pub(super) fn read(message: &Bytes) -> Result<Hello<'static>, Refusal> {
    let map: Map<String, Value> = serde_json::from_slice(message).map_err(|error| {
        let text = format!("begin with {{\"name\":\"Mina\",\"room\":\"lounge\"}}; {error}");
        Refusal::new(ErrorCode::Malformed, text)
    })?;
    let (mut name, mut room) = (None, None);
    for (key, value) in map {
        let slot = match key.as_str() {
            key if key.eq_ignore_ascii_case("name") => &mut name,
            key if key.eq_ignore_ascii_case("room") => &mut room,
            _ => continue,
        };
        *slot = match value {
            Value::String(text) => Some(text),
            Value::Null => None,
            _ => {
                let text = format!("`{key}` is no text");
                return Err(Refusal::new(ErrorCode::InvalidField, text));
            }
        };
    }
    let name = name.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        check_name(name)?;
    }
    let room = room.filter(|room| !room.is_empty()).unwrap_or_else(|| ROOM.to_owned());
    let room = RoomPath::parse(room)
        .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("`room`: {error}")))?;
    Ok(Hello { name: name.map(Cow::Owned), room })
}

/// A name must not look like another one or like an error when it stands before a colon.
fn check_name(name: &str) -> Result<(), Refusal> {
    let invalid = |text: String| Refusal::new(ErrorCode::InvalidName, text);
    name::check_name(name).map_err(|error| invalid(format!("`name`: {error}")))?;
    if name.contains(':') {
        return Err(invalid("`name`: a name may not hold `:`".to_owned()));
    }
    if is_error(name) || speech::is_servers(name) {
        return Err(invalid(format!("`name`: `{name}` is the server's own")));
    }
    Ok(())
}

/// Whether people would take lines with this name for errors.
pub(super) fn is_error(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(ERROR)
}
