//! What a logic may give as an event's name and data.

use roomcast_wire::{EventName, Payload};
use serde::Serialize;
use serde_json::Value;

/// What may name an event: a word, or a number.
pub trait IntoEvent {
    /// The name.
    ///
    /// # Errors
    /// What is wrong with it.
    fn into_event(self) -> Result<EventName, String>;
}

impl IntoEvent for &str {
    fn into_event(self) -> Result<EventName, String> {
        EventName::text(self).map_err(|error| format!("an event called {self:?}: {error}"))
    }
}

impl IntoEvent for u32 {
    fn into_event(self) -> Result<EventName, String> {
        Ok(EventName::Number(self.into()))
    }
}

impl IntoEvent for EventName {
    fn into_event(self) -> Result<EventName, String> {
        Ok(self)
    }
}

impl IntoEvent for &EventName {
    fn into_event(self) -> Result<EventName, String> {
        Ok(self.clone())
    }
}

/// What an event may say: anything serde can write, by reference; a JSON value; a payload as it
/// came; nothing (`()`).
pub trait IntoData {
    /// The payload.
    ///
    /// # Errors
    /// It cannot be written.
    fn into_data(self) -> Result<Option<Payload>, String>;
}

impl<T: Serialize + ?Sized> IntoData for &T {
    fn into_data(self) -> Result<Option<Payload>, String> {
        Payload::json(self).map(Some).map_err(|error| format!("data of an event: {error}"))
    }
}

impl IntoData for Value {
    fn into_data(self) -> Result<Option<Payload>, String> {
        (&self).into_data()
    }
}

impl IntoData for () {
    fn into_data(self) -> Result<Option<Payload>, String> {
        Ok(None)
    }
}

impl IntoData for Payload {
    fn into_data(self) -> Result<Option<Payload>, String> {
        Ok(Some(self))
    }
}

impl IntoData for Option<Payload> {
    fn into_data(self) -> Result<Option<Payload>, String> {
        Ok(self)
    }
}

impl IntoData for Option<&Payload> {
    fn into_data(self) -> Result<Option<Payload>, String> {
        Ok(self.cloned())
    }
}
