//! What a server is to be, said before it starts.

use std::sync::{Arc, OnceLock};

use roomcast_core::logic::{Logics, RoomLogic, RoomSetup};
use roomcast_core::{Authenticate, HubConfig};

use crate::auth::Tokens;
use crate::config::{Config, ConfigError, Problem, none_of};
use crate::groups::GroupSetup;
use crate::handle::ServerHandle;
use crate::hooks::Hooks;
use crate::server::{Server, StartError};

/// What a server is to be. [`Server::builder`] begins one, [`Builder::start`] ends it.
///
/// ```
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").workers(1).start()?;
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
    /// Namespaces that handlers are for: they are there; and whether events of Socket.IO clients
    /// stand for commands in them.
    pub(crate) namespaces: Vec<(String, bool)>,
    pub(crate) hooks: Hooks,
    pub(crate) logics: Logics,
    /// Who knows tokens, in place of the configuration's.
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    /// The configuration's, once they are read.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// The way into the server for the tasks of its rooms: set before the first room is made.
    pub(crate) running: Arc<OnceLock<ServerHandle>>,
    /// What is wrong with what was said, for the start to tell.
    pub(crate) problems: Vec<Problem>,
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

    /// Adds a room logic: what rooms do whose options name it (`logic = "battle"`). `make` is
    /// called for each such room when it is made, on the thread that is its home. A name that is
    /// given twice means the later one. What is wrong with the name is told by [`Builder::start`].
    ///
    /// ```
    /// use roomcast::{LogicEvent, Refusal, Relay, RoomCtx, RoomLogic};
    ///
    /// struct Quiet;
    ///
    /// impl RoomLogic for Quiet {
    ///     fn on_event(
    ///         &mut self,
    ///         ctx: &mut RoomCtx<'_>,
    ///         event: &LogicEvent<'_>,
    ///     ) -> Result<Relay, Refusal> {
    ///         ctx.tell(event.from.session, "hush", ());
    ///         Ok(Relay::Nothing)
    ///     }
    /// }
    ///
    /// let server = roomcast::Server::builder()
    ///     .listen("ws://127.0.0.1:0")
    ///     .logic("quiet", |_| Quiet)
    ///     .start()?;
    /// let options = roomcast::RoomOptions { logic: Some("quiet".into()), ..Default::default() };
    /// server.handle().room("library").create(options).wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logic<F, L>(mut self, name: &str, make: F) -> Self
    where
        F: Fn(&RoomSetup<'_>) -> L + Send + Sync + 'static,
        L: RoomLogic + 'static,
    {
        let make = move |setup: &RoomSetup<'_>| Box::new(make(setup)) as Box<dyn RoomLogic>;
        if let Err(message) = self.logics.insert(name, make) {
            self.problems.push(Problem::new("logic", message));
        }
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
        for (namespace, convention) in &self.namespaces {
            let section = self.config.namespaces.entry(namespace.clone()).or_default();
            if !convention {
                // Clients of handlers hear what handlers say, unless the configuration wants more.
                section.rooms.entry("presence").or_insert_with(|| "off".into());
            }
        }
        none_of(std::mem::take(&mut self.problems))?;
        self.tokens = Tokens::load(&self.config)?.map(Arc::new);
        let mut hub = self.config.hub_config(seed, shards, self.logics.clone())?;
        for (namespace, convention) in &self.namespaces {
            if let Some(policy) = hub.namespaces.get_mut(namespace) {
                policy.convention = *convention;
            }
        }
        hub.authenticate = match (&self.authenticate, &self.tokens) {
            (None, Some(tokens)) => Some(Arc::<Tokens>::clone(tokens)),
            (known, _) => known.clone(),
        };
        if let Some(groups) = &self.groups {
            groups.install(&mut hub)?;
        }
        let (hooks, calls) = (self.hooks.mask(), self.hooks.wants_calls());
        Ok(HubConfig { hooks, calls, events: self.hooks.wants_events(), ..hub })
    }
}
