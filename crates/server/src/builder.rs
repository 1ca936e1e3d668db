//! What a server is to be, said before it starts.

use roomcast_core::HubConfig;

use crate::config::{Config, ConfigError};
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

    /// How many worker threads there are; 0: one for each core.
    pub fn workers(mut self, count: usize) -> Self {
        self.config.workers = count;
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
    pub(crate) fn hub_config(&self, seed: [u8; 32], shards: u16) -> Result<HubConfig, ConfigError> {
        let hub = self.config.hub_config(seed, shards)?;
        let (hooks, calls) = (self.hooks.mask(), self.hooks.wants_calls());
        Ok(HubConfig { hooks, calls, events: self.hooks.wants_events(), ..hub })
    }
}
