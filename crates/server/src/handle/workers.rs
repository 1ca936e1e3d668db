//! The workers of a server as handles see them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use roomcast_core::{Counters, ServerCall, ServerReply};
use tokio::sync::oneshot;

use super::Hub;
use crate::hooks::Events;
use crate::metrics;
use crate::server::Shared;
use crate::worker::{Address, Mail};

/// The workers of a server.
pub(crate) struct Workers {
    pub(crate) addresses: Arc<[Address]>,
    pub(crate) shared: Arc<Shared>,
}

impl Hub for Workers {
    fn call(&self, call: ServerCall, reply: oneshot::Sender<ServerReply>) {
        // What is asked of one room or session goes one way, so that it stays in order.
        let mut hasher = DefaultHasher::new();
        call.subject().hash(&mut hasher);
        let turn = hasher.finish() as usize % self.addresses.len().max(1);
        if let Some(worker) = self.addresses.get(turn) {
            // If the worker has ended, the way back is dropped, which says so.
            worker.send(Mail::Call { call, reply });
        }
    }

    fn counters(&self) -> Counters {
        metrics::sum(&self.shared.counters)
    }

    fn events(&self) -> Option<Events> {
        self.shared.hooks.listen()
    }
}
