//! Values of the application in the session's codec.

use bytes::Bytes;
use roomcast_wire::{Codec, EventName, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Writes `value` as a payload in `codec`: what [`Room::publish`](crate::Room::publish) does. Maps
/// and structures are written with their field names in both codecs.
///
/// # Errors
/// [`Error::Payload`] if the value has no form in the codec.
pub fn payload_of<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<Payload, Error> {
    let bytes = match codec {
        Codec::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        Codec::MsgPack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
    };
    let bytes = bytes.map_err(Error::Payload)?;
    Payload::new(codec, Bytes::from(bytes)).map_err(|error| Error::Payload(error.to_string()))
}

/// Reads a payload; an absent one is read as `null`.
pub(crate) fn value_of<T: DeserializeOwned>(payload: Option<&Payload>) -> Result<T, Error> {
    let Some(payload) = payload else {
        return serde_json::from_slice(b"null").map_err(|error| Error::Payload(error.to_string()));
    };
    match payload.codec() {
        Codec::Json => serde_json::from_slice(payload.bytes()).map_err(|error| error.to_string()),
        Codec::MsgPack => rmp_serde::from_slice(payload.bytes()).map_err(|error| error.to_string()),
    }
    .map_err(Error::Payload)
}

/// A payload as JSON text; an absent one is `null`.
pub(crate) fn json_of(payload: Option<&Payload>) -> String {
    payload.map_or_else(
        || "null".to_owned(),
        |payload| String::from_utf8_lossy(payload.to_codec(Codec::Json).bytes()).into_owned(),
    )
}

/// What an event may be called: a word or a number.
pub trait IntoEventName {
    /// Checks the name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no name.
    fn into_event_name(self) -> Result<EventName, Error>;
}

impl IntoEventName for EventName {
    fn into_event_name(self) -> Result<EventName, Error> {
        Ok(self)
    }
}

impl IntoEventName for &str {
    fn into_event_name(self) -> Result<EventName, Error> {
        EventName::text(self).map_err(|error| Error::Invalid(format!("event name: {error}")))
    }
}

impl IntoEventName for &String {
    fn into_event_name(self) -> Result<EventName, Error> {
        self.as_str().into_event_name()
    }
}

impl IntoEventName for u32 {
    fn into_event_name(self) -> Result<EventName, Error> {
        Ok(EventName::Number(self.into()))
    }
}
