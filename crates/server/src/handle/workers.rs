//! The workers of a server as handles see them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Waker};

use roomcast_core::{Counters, ServerCall, ServerReply};
use roomcast_wire::{ErrorCode, Refusal};
use tokio::sync::oneshot;

use super::{Code, Hub};
use crate::hooks::Events;
use crate::metrics;
use crate::server::Shared;
use crate::socketio::Sockets;
use crate::worker::{Address, CALLS_MAX, Mail};

/// When who asks faster than a worker answers may ask again, in milliseconds.
const RETRY_MS: u64 = 100;

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
            if worker.is_full_of_calls() {
                // Who asked may have gone.
                _ = reply.send(ServerReply::Refused(too_many()));
                return;
            }
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

    fn sockets(&self) -> Option<Arc<Sockets>> {
        self.shared.hooks.sockets()
    }

    fn run(&self, mut code: Code) {
        let inside = self.shared.tasks.enter();
        let polled = code.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(inside);
        if polled.is_pending() {
            self.shared.tasks.spawn(code);
        }
    }
}

fn too_many() -> Refusal {
    Refusal {
        code: ErrorCode::RateLimited,
        message: format!("{CALLS_MAX} calls of the program wait for a worker").into(),
        retry_ms: Some(RETRY_MS),
    }
}
