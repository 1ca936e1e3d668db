//! What a request says: the fields of one command, read by the table's word for each.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use roomcast_wire::limits::KEY_BYTES_MAX;
use roomcast_wire::name::EVENT_NUMBER_MAX;
use roomcast_wire::{Codec, ErrorCode, EventName, Name, Payload, Position, Refusal, SessionId};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::verbs::{Verb, invalid};
use crate::config::suggest::hint;

/// Most fields of one verb.
pub(super) const FIELDS_MAX: usize = 8;

/// Most keys that are read of one map.
const KEYS_MAX: usize = 16;

/// One field of a verb.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

impl Field {
    pub(super) const fn required(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, required: true, about }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, required: false, about }
    }
}

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    Data,
    Event,
    Flag,
    Key,
    Name,
    Options,
    Position,
    Room,
    Session,
}

impl Kind {
    /// What is wanted, with an example.
    fn wanted(self) -> &'static str {
        match self {
            Self::Count => "a whole number from 0 to 4294967295",
            Self::Data => "any JSON value",
            Self::Event => "a string of 1 to 255 bytes, or a whole number from 0 to 2^53 - 1",
            Self::Flag => "true or false",
            Self::Key => "a string of 1 to 128 bytes, for example \"order-17\"",
            Self::Name => "a string of 1 to 255 bytes",
            Self::Options => "a map of room options, for example {\"members_max\":8}",
            Self::Position => {
                "a position as events and replies have it: {\"epoch\":\"q83vEjRW\",\"offset\":41}, \
                 in a query q83vEjRW:41"
            }
            Self::Room => "a string: \"room\" or \"namespace/room\"",
            Self::Session => "the 22 characters of a session's identity",
        }
    }
}

/// A map whose values are not read yet.
pub(super) struct Fields<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(FIELDS_MAX);
                while let Some(key) = map.next_key::<String>()? {
                    if fields.len() == KEYS_MAX {
                        return Err(serde::de::Error::custom("a map of too many keys"));
                    }
                    fields.push((key, map.next_value::<&RawValue>()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// One value.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// Of the body.
    Json(&'a str),
    /// Of the query, or a header.
    Text(&'a str),
}

/// The fields of one command.
pub(super) struct Given<'a> {
    verb: &'static Verb,
    /// What values of the body are slices of.
    body: &'a Bytes,
    /// In the order of the verb's fields.
    values: [Option<Value<'a>>; FIELDS_MAX],
}

impl<'a> Given<'a> {
    /// Fields of a body.
    ///
    /// # Errors
    /// One is unknown, missing, or stands there twice.
    pub(super) fn of_body(
        verb: &'static Verb,
        body: &'a Bytes,
        fields: &Fields<'a>,
    ) -> Result<Self, Refusal> {
        let pairs = fields.0.iter().map(|(key, raw)| (key.as_str(), Value::Json(raw.get())));
        let mut given = Self { verb, body, values: [None; FIELDS_MAX] };
        given.fill(pairs)?;
        given.expect_required()?;
        Ok(given)
    }

    /// Parameters of a query.
    ///
    /// # Errors
    /// As of a body.
    pub(super) fn of_query(
        verb: &'static Verb,
        body: &'a Bytes,
        pairs: &'a [(String, String)],
    ) -> Result<Self, Refusal> {
        let mut given = Self { verb, body, values: [None; FIELDS_MAX] };
        given.fill(pairs.iter().map(|(key, value)| (key.as_str(), Value::Text(value))))?;
        given.expect_required()?;
        Ok(given)
    }

    fn fill<'k>(
        &mut self,
        pairs: impl Iterator<Item = (&'k str, Value<'a>)>,
    ) -> Result<(), Refusal> {
        for (key, value) in pairs {
            let Some(at) = self.position_of(key) else {
                return Err(self.unknown(key));
            };
            // As in the native dialect, `null` is the same as leaving the key out.
            let value = Some(value).filter(|value| !matches!(value, Value::Json("null")));
            let Some(slot) = self.values.get_mut(at) else { continue };
            if slot.is_some() {
                let text = format!("the field `{key}` stands there twice");
                return Err(Refusal::new(ErrorCode::Malformed, text));
            }
            *slot = value;
        }
        Ok(())
    }

    /// The key of the header `Idempotency-Key`, as if it stood among the fields.
    ///
    /// # Errors
    /// The verb takes none, or another stands there.
    pub(super) fn set_key(&mut self, key: &'a str) -> Result<(), Refusal> {
        let Some(at) = self.position_of("key") else {
            let text = format!(
                "`Idempotency-Key` is for publish and announce: {} takes none",
                self.verb.name
            );
            return Err(invalid(text));
        };
        if self.key()?.is_some_and(|other| *other != *key) {
            return Err(invalid("`key` and the header `Idempotency-Key` differ: give one"));
        }
        if let Some(slot) = self.values.get_mut(at) {
            *slot = Some(Value::Text(key));
        }
        Ok(())
    }

    fn position_of(&self, name: &str) -> Option<usize> {
        self.verb.fields.iter().position(|field| field.name == name)
    }

    #[cold]
    fn unknown(&self, key: &str) -> Refusal {
        let names = self.verb.fields.iter().map(|field| field.name);
        let meant = hint(key, names.clone());
        let known: Vec<_> = names.collect();
        let key: String = key.chars().take(64).collect();
        let (key, verb) = (key.escape_debug(), self.verb.name);
        let known = match known.is_empty() {
            true => format!("{verb} has no fields"),
            false => format!("{verb} has {}", known.join(", ")),
        };
        invalid(format!("unknown field `{key}`{meant}; {known}"))
    }

    fn expect_required(&self) -> Result<(), Refusal> {
        let fields = self.verb.fields.iter().zip(&self.values);
        match fields.into_iter().find(|(field, value)| field.required && value.is_none()) {
            None => Ok(()),
            Some((field, _)) => {
                let wanted = field.kind.wanted();
                Err(invalid(format!("`{}` is missing: {wanted}", field.name)))
            }
        }
    }

    /// Refuses all but one of some optional fields.
    ///
    /// # Errors
    /// None is there, or several are.
    pub(super) fn exactly_one(&self, names: &[&str]) -> Result<(), Refusal> {
        if names.iter().filter(|name| self.has(name)).count() == 1 {
            return Ok(());
        }
        Err(invalid(format!("exactly one of {} is wanted", names.join(", "))))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<Value<'a>> {
        *self.values.get(self.position_of(name)?)?
    }

    #[cold]
    fn wrong(&self, name: &str) -> Refusal {
        let field = self.verb.fields.iter().find(|field| field.name == name);
        let wanted = field.map_or("another value", |field| field.kind.wanted());
        invalid(format!("`{name}` must be {wanted}"))
    }

    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Json(json)) => {
                let text: String = serde_json::from_str(json).map_err(|_| self.wrong(name))?;
                Ok(Some(Cow::Owned(text)))
            }
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let (Some(Value::Json(json)) | Some(Value::Text(json))) = self.value(name) else {
            return Ok(None);
        };
        serde_json::from_str(json).map(Some).map_err(|_| self.wrong(name))
    }

    pub(super) fn room(&self) -> Result<String, Refusal> {
        let room = self.text("room")?.ok_or_else(|| self.wrong("room"))?;
        Ok(room.into_owned())
    }

    pub(super) fn session(&self) -> Result<SessionId, Refusal> {
        let session = self.text("session")?.and_then(|text| text.parse().ok());
        session.ok_or_else(|| self.wrong("session"))
    }

    /// A name, if it is there.
    pub(super) fn name(&self, name: &str) -> Result<Option<Name>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let checked = Name::new(&text);
        let wrong = |error| Refusal::new(ErrorCode::InvalidName, format!("`{name}`: {error}"));
        checked.map(Some).map_err(wrong)
    }

    pub(super) fn event(&self) -> Result<EventName, Refusal> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Event {
            Number(u64),
            Text(String),
        }
        match self.json("event")? {
            Some(Event::Number(number)) if number <= EVENT_NUMBER_MAX => {
                Ok(EventName::Number(number))
            }
            Some(Event::Text(text)) => EventName::text(&text)
                .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("`event`: {error}"))),
            _ => Err(self.wrong("event")),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.json(name)
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, Refusal> {
        self.json(name)
    }

    pub(super) fn position(&self, name: &str) -> Result<Option<Position>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            epoch: String,
            offset: u64,
        }
        let given = match self.value(name) {
            Some(Value::Text(text)) => {
                let (epoch, offset) = text.split_once(':').ok_or_else(|| self.wrong(name))?;
                let offset = offset.parse().map_err(|_| self.wrong(name))?;
                Some(Given { epoch: epoch.to_owned(), offset })
            }
            _ => self.json(name)?,
        };
        let Some(Given { epoch, offset }) = given else { return Ok(None) };
        let epoch = epoch.parse().map_err(|_| self.wrong(name))?;
        Ok(Some(Position { epoch, offset }))
    }

    /// The idempotency key.
    pub(super) fn key(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(key) = self.text("key")? else { return Ok(None) };
        match key.len() {
            1..=KEY_BYTES_MAX => Ok(Some(key.into())),
            _ => Err(self.wrong("key")),
        }
    }

    /// An application's value: a slice of the body, of which only the form is looked at.
    pub(super) fn data(&self, name: &str) -> Result<Option<Payload>, Refusal> {
        let Some(Value::Json(json)) = self.value(name) else { return Ok(None) };
        let payload = Payload::new(Codec::Json, self.body.slice_ref(json.as_bytes()));
        payload.map(Some).map_err(|error| invalid(format!("`{name}`: {error}")))
    }

    /// The same with a bound of its own, in bytes.
    pub(super) fn data_of(&self, name: &str, most: usize) -> Result<Option<Payload>, Refusal> {
        let data = self.data(name)?;
        match data.as_ref().map(|data| data.bytes().len()) {
            Some(len) if len > most => {
                let text = format!("`{name}` has {len} bytes, but may have {most}");
                Err(Refusal::new(ErrorCode::PayloadTooLarge, text))
            }
            _ => Ok(data),
        }
    }

    pub(super) fn options(&self) -> Result<Payload, Refusal> {
        match self.value("options") {
            Some(Value::Json(json)) if !json.starts_with('{') => Err(self.wrong("options")),
            Some(_) => self.data("options")?.ok_or_else(|| self.wrong("options")),
            None => Payload::new(Codec::Json, Bytes::from_static(b"{}"))
                .map_err(|_| self.wrong("options")),
        }
    }
}
