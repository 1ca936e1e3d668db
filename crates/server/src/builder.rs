//! What a server is to be, said before it starts.

use roomcast_core::HubConfig;

use crate::config::{Config, ConfigError};
use crate::groups::GroupSetup;
use crate::hooks::Hooks;
use crate::server::{Server, StartError};

/// What a server is to be. [`Server::builder`] begins one, [`Builder::start`] ends it.
///
/// ```
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
/// println!("connect to {}", server.listeners()[0].url);
/// server.drain_and_stop();
/// # Ok::<(), roomcast::StartError>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    pub(crate) config: Config,
    /// Whether `listen` was called: the first call replaces the listeners of the configuration.
    pub(crate) listens: bool,
    /// The groups, if there are to be any.
    groups: Option<GroupSetup>,
    pub(crate) hooks: Hooks,
}

impl Builder {
    /// Takes a whole configuration, in place of what was said before about listeners and workers.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.listens = false;
        self
    }

    /// Adds a listener, `ws://127.0.0.1:7400?namespace=game` for example; port 0 takes a free one,
    /// which [`Server::listeners`] tells. The first call replaces the listeners of the
    /// configuration. What is wrong with the URL is told by [`Builder::start`].
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        if !self.listens {
            self.listens = true;
            self.config.listen.clear();
        }
        self.config.listen.push(url.into());
        self
    }

    /// Listens nowhere: clients come in by [`Server::entrance`] only.
    pub fn without_listeners(mut self) -> Self {
        self.listens = true;
        self.config.listen.clear();
        self
    }

    /// How many worker threads there are; 0: one for each core.
    pub fn workers(mut self, count: usize) -> Self {
        self.config.workers = count;
        self
    }

    /// Adds the namespace `groups`, whose rooms are groups as users of Diarkis know them;
    /// [`Groups`](crate::groups::Groups) works with them.
    pub fn groups(mut self, groups: GroupSetup) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Starts the server. It runs on threads of its own; no runtime is needed.
    ///
    /// # Errors
    /// Says what to do about it.
    pub fn start(self) -> Result<Server, StartError> {
        Server::start(self)
    }

    /// What the hub is told: the configuration, and what only code can say.
    pub(crate) fn hub_config(
        &mut self,
        seed: [u8; 32],
        shards: u16,
    ) -> Result<HubConfig, ConfigError> {
        if let Some(groups) = &self.groups {
            groups.configure(&mut self.config);
        }
        let mut hub = self.config.hub_config(seed, shards)?;
        if let Some(groups) = &self.groups {
            groups.install(&mut hub)?;
        }
        Ok(HubConfig { hooks: self.hooks.mask(), events: self.hooks.wants_events(), ..hub })
    }
}
