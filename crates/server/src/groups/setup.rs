//! What is said about groups before the server starts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roomcast_core::HubConfig;
use roomcast_wire::options::{JoinRule, PresenceRule, PublishRule};
use roomcast_wire::{RoomOptions, SessionId};

use super::error::InvalidGroupId;
use super::logic::{GroupLogic, Messages};
use super::{ID_CHARS, NAMESPACE, Notice, interval_ms};
use crate::config::{Config, ConfigError, Problem};

/// The name of what groups do, as rooms name it in `logic`.
const LOGIC: &str = "group";

/// Groups for [`Builder::groups`](crate::Builder::groups). By default clients cannot make, join or
/// speak in groups by themselves, nobody is told of lost users, and there are no static groups. See
/// [`Groups`](super::Groups) for an example.
#[derive(Clone, Default)]
pub struct GroupSetup {
    exposed: bool,
    statics: BTreeMap<String, u32>,
    messages: Messages,
}

/// Somebody who was lost, or is back. See [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost<'a> {
    /// In which group.
    pub group: &'a str,
    /// Who, if the token says so.
    pub user: Option<&'a str>,
    /// Which session.
    pub session: SessionId,
}

impl GroupSetup {
    /// Whether clients may make, join and speak in groups by their own commands (`create`, `join`,
    /// `publish` in the namespace `groups`). Leaving is always theirs.
    #[must_use]
    pub fn expose_commands(mut self, exposed: bool) -> Self {
        self.exposed = exposed;
        self
    }

    /// Adds a group that is there from the start, never ends and cannot be made at run time.
    /// Intervals below 100 ms are 0.
    ///
    /// # Errors
    /// The id has not exactly 52 characters.
    pub fn static_group(mut self, id: &str, interval: u32) -> Result<Self, InvalidGroupId> {
        check_id(id)?;
        self.statics.insert(id.to_owned(), interval_ms(interval));
        Ok(self)
    }

    /// What the others of a group are told when a user is lost: its link broke without a leave.
    /// None: nothing.
    #[must_use]
    pub fn set_on_discard_message<F>(mut self, message: F) -> Self
    where
        F: Fn(&Lost<'_>) -> Option<Notice> + Send + Sync + 'static,
    {
        self.messages.discard = Some(Arc::new(message));
        self
    }

    /// What the others of a group are told when a lost user is back on the seat that it had.
    /// None: nothing.
    #[must_use]
    pub fn set_on_rejoin_message<F>(mut self, message: F) -> Self
    where
        F: Fn(&Lost<'_>) -> Option<Notice> + Send + Sync + 'static,
    {
        self.messages.rejoin = Some(Arc::new(message));
        self
    }

    /// The configuration with the namespace of the groups, so that what it says of other
    /// namespaces (who may connect, options, static rooms) is checked and holds for them, too.
    pub(crate) fn configure(&self, config: &mut Config) {
        let section = config.namespaces.entry(NAMESPACE.to_owned()).or_default();
        for (id, interval) in &self.statics {
            let mut options = toml::Table::new();
            options.insert("merge_ms".to_owned(), i64::from(*interval).into());
            section.r#static.insert(id.clone(), options);
        }
    }

    /// Makes the rooms of the namespace groups.
    ///
    /// # Errors
    /// A static group of the configuration has no id of 52 characters.
    pub(crate) fn install(&self, hub: &mut HubConfig) -> Result<(), ConfigError> {
        let messages = self.messages.clone();
        let known = hub
            .logics
            .insert(LOGIC, move |setup| Box::new(GroupLogic::new(setup, messages.clone())));
        known.map_err(|text| Problem::new(LOGIC, text))?;
        let Some(policy) = hub.namespaces.get_mut(NAMESPACE) else { return Ok(()) };
        policy.create = self.exposed;
        self.make_group(&mut policy.options);
        for (id, options) in &mut policy.static_rooms {
            let place = format!("namespaces.{NAMESPACE}.static.{id}");
            check_id(id).map_err(|error| Problem::new(place, error.to_string()))?;
            self.make_group(options);
        }
        Ok(())
    }

    fn make_group(&self, options: &mut RoomOptions) {
        let (join, publish) = match self.exposed {
            true => (JoinRule::Open, PublishRule::Members),
            false => (JoinRule::Granted, PublishRule::Server),
        };
        options.join = join;
        options.publish = publish;
        options.merge_ms = interval_ms(options.merge_ms);
        // Who comes and goes says so by itself, or not at all.
        options.presence = PresenceRule::Off;
        options.logic = Some(LOGIC.into());
        options.logic_config = None;
    }
}

impl fmt::Debug for GroupSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSetup")
            .field("exposed", &self.exposed)
            .field("statics", &self.statics)
            .finish_non_exhaustive()
    }
}

fn check_id(id: &str) -> Result<(), InvalidGroupId> {
    let len = id.chars().count();
    match len == ID_CHARS {
        true => Ok(()),
        false => Err(InvalidGroupId { id: id.to_owned(), len }),
    }
}
