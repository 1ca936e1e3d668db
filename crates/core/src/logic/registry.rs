//! Which logics there are, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roomcast_wire::{Name, RoomOptions};
use serde_json::Value;

use super::{RoomLogic, SHIPPED, Shipped};

/// What makes a room's logic when the room is made.
pub type Factory = Arc<dyn Fn(&RoomSetup<'_>) -> Box<dyn RoomLogic> + Send + Sync>;

/// Says what is wrong with a `logic_config`.
type Check = Arc<dyn Fn(Option<&Value>) -> Result<(), String> + Send + Sync>;

/// The room that a logic is made for.
#[derive(Debug, Clone, Copy)]
pub struct RoomSetup<'a> {
    /// The room's full name.
    pub room: &'a str,
    /// Its options.
    pub options: &'a RoomOptions,
    /// What the options tell the logic (`logic_config`).
    pub config: Option<&'a Value>,
}

/// The logics that rooms may name. [`Logics::default`] has those that come with the server.
#[derive(Clone)]
pub struct Logics(BTreeMap<Box<str>, Entry>);

#[derive(Clone)]
struct Entry {
    make: Factory,
    check: Option<Check>,
}

impl Default for Logics {
    fn default() -> Self {
        let entry = |make: Shipped| Entry {
            // What cannot be told so was refused by `check` before.
            make: Arc::new(move |setup| make(setup.config).unwrap_or_else(|_| Box::new(Relaying))),
            check: Some(Arc::new(move |config| make(config).map(drop))),
        };
        Self(SHIPPED.iter().map(|&(name, make)| (name.into(), entry(make))).collect())
    }
}

/// What the defaults of a logic do.
struct Relaying;

impl RoomLogic for Relaying {}

/// The name of what a room without logic does.
const RELAY: &str = "relay";

impl Logics {
    /// Adds a logic, or puts it in the place of the one of that name.
    ///
    /// # Errors
    /// The name is no valid [`Name`], or it is `relay`: that one is no logic.
    pub fn insert<F>(&mut self, name: &str, make: F) -> Result<(), String>
    where
        F: Fn(&RoomSetup<'_>) -> Box<dyn RoomLogic> + Send + Sync + 'static,
    {
        Name::new(name).map_err(|error| format!("a logic called {name:?}: {error}"))?;
        if name == RELAY {
            return Err("`relay` is what a room without logic does".to_owned());
        }
        self.0.insert(name.into(), Entry { make: Arc::new(make), check: None });
        Ok(())
    }

    /// Every name a room may give, sorted; `relay` is among them.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().map(|name| &**name).chain([RELAY]).collect();
        names.sort_unstable();
        names
    }

    /// Puts something around every logic that is made from now on: the server measures there.
    #[must_use]
    pub fn decorated<D>(mut self, decorate: D) -> Self
    where
        D: Fn(&str, &RoomSetup<'_>, Box<dyn RoomLogic>) -> Box<dyn RoomLogic>,
        D: Clone + Send + Sync + 'static,
    {
        for (name, entry) in &mut self.0 {
            let (name, make, decorate) = (name.clone(), Arc::clone(&entry.make), decorate.clone());
            entry.make = Arc::new(move |setup| decorate(&name, setup, make(setup)));
        }
        self
    }

    /// Whether a room may have these options.
    ///
    /// # Errors
    /// In words: there is no such logic, or what is wrong with its configuration.
    pub fn check(&self, options: &RoomOptions) -> Result<(), String> {
        let config = options.logic_config.as_deref();
        match self.entry(options)? {
            Some(Entry { check: Some(check), .. }) => check(config),
            None if config.is_some() => {
                Err("`logic_config` is for a room with a `logic`".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What makes the logic of a room with these options; none: the room relays.
    pub(crate) fn factory(&self, options: &RoomOptions) -> Result<Option<Factory>, String> {
        self.check(options)?;
        Ok(self.entry(options)?.map(|entry| Arc::clone(&entry.make)))
    }

    fn entry(&self, options: &RoomOptions) -> Result<Option<&Entry>, String> {
        match options.logic.as_deref() {
            None | Some(RELAY) => Ok(None),
            Some(name) => self.0.get(name).map(Some).ok_or_else(|| {
                let known = self.names().join(", ");
                format!("`logic` is `{}`, but there is only {known}", name.escape_debug())
            }),
        }
    }
}

impl fmt::Debug for Logics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Logics").field(&self.names()).finish()
    }
}
