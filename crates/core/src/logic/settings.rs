//! Reads a `logic_config`, so that whoever wrote it hears which field is wrong.

use roomcast_wire::{EventName, Payload};
use serde_json::{Map, Value};

/// The fields of one map. Each is asked for once; what was not asked for is unknown.
pub(super) struct Settings<'a> {
    place: String,
    fields: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
}

impl<'a> Settings<'a> {
    /// # Errors
    /// It is no map.
    pub fn new(config: Option<&'a Value>) -> Result<Self, String> {
        Self::at("logic_config".to_owned(), config)
    }

    fn at(place: String, config: Option<&'a Value>) -> Result<Self, String> {
        let fields = match config {
            None => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(_) => return Err(format!("`{place}` must be a map")),
        };
        Ok(Self { place, fields, known: Vec::new() })
    }

    fn field(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.fields?.get(name)
    }

    fn wrong<T>(&self, name: &str, must: &str) -> Result<T, String> {
        Err(format!("`{}.{name}` must be {must}", self.place))
    }

    pub fn number(
        &mut self,
        name: &'static str,
        (low, high): (u64, u64),
    ) -> Result<Option<u64>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => self.wrong(name, &format!("a number from {low} to {high}")),
        }
    }

    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        value.as_bool().map_or_else(|| self.wrong(name, "true or false"), |is| Ok(Some(is)))
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        value.as_str().map_or_else(|| self.wrong(name, "a text"), |text| Ok(Some(text)))
    }

    pub fn event(&mut self, name: &'static str) -> Result<Option<EventName>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match EventName::text(text) {
            Ok(event) => Ok(Some(event)),
            Err(_) => self.wrong(name, "the name of an event"),
        }
    }

    pub fn events(&mut self, name: &'static str) -> Result<Vec<EventName>, String> {
        let Some(value) = self.field(name) else { return Ok(Vec::new()) };
        let names = value.as_array().and_then(|values| {
            let names = values.iter().map(|value| EventName::text(value.as_str()?).ok());
            names.collect::<Option<Vec<_>>>()
        });
        names.map_or_else(|| self.wrong(name, "a list of names of events"), Ok)
    }

    pub fn data(&mut self, name: &'static str) -> Result<Option<Payload>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        match Payload::json(value) {
            Ok(payload) => Ok(Some(payload)),
            Err(_) => self.wrong(name, "data of an event"),
        }
    }

    /// A list of maps, each with settings of its own.
    pub fn list(&mut self, name: &'static str, most: usize) -> Result<Vec<Self>, String> {
        let values = self.field(name).map_or(Some(&[][..]), |value| {
            value.as_array().map(Vec::as_slice).filter(|values| values.len() <= most)
        });
        let Some(values) = values else {
            return self.wrong(name, &format!("a list of at most {most}"));
        };
        let one = |(at, value)| Self::at(format!("{}.{name}[{at}]", self.place), Some(value));
        values.iter().enumerate().map(one).collect()
    }

    /// # Errors
    /// There is a field that nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        let unknown = |key: &&String| !self.known.contains(&key.as_str());
        let Some(unknown) = self.fields.and_then(|fields| fields.keys().find(unknown)) else {
            return Ok(());
        };
        let known = self.known.join(", ");
        Err(format!("`{}.{}` is not known; there is {known}", self.place, unknown.escape_debug()))
    }
}
