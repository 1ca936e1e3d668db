//! The way into a running server for the program that embeds it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roomcast_core::{Counters, ServerCall, ServerReply};
use roomcast_wire::{ErrorCode, Refusal};
use tokio::sync::oneshot;

use crate::metrics;
use crate::server::Shared;
use crate::worker::{Address, Mail};

/// The way into a running server for the program that embeds it. Cheap to clone.
#[derive(Clone)]
pub struct ServerHandle {
    workers: Arc<[Address]>,
    shared: Arc<Shared>,
    next: Arc<AtomicUsize>,
}

impl ServerHandle {
    pub(crate) fn new(workers: Arc<[Address]>, shared: Arc<Shared>) -> Self {
        Self { workers, shared, next: Arc::default() }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Address> {
        self.workers.iter()
    }

    /// Asks for something and waits for what becomes of it.
    pub async fn call(&self, call: ServerCall) -> ServerReply {
        self.ask(call).await.unwrap_or_else(|_| stopped())
    }

    /// The same, for a thread that may block.
    pub fn call_blocking(&self, call: ServerCall) -> ServerReply {
        self.ask(call).blocking_recv().unwrap_or_else(|_| stopped())
    }

    /// What the hub has counted, over all workers. Each worker publishes its counters at the end
    /// of a turn.
    pub fn counters(&self) -> Counters {
        metrics::sum(&self.shared.counters)
    }

    /// How many connections count towards the limit.
    pub fn connections(&self) -> usize {
        self.shared.admissions.total()
    }

    /// The most connections there were at a time since this was last asked, by anybody.
    pub fn take_connections_most(&self) -> usize {
        self.shared.admissions.take_most()
    }

    fn ask(&self, call: ServerCall) -> oneshot::Receiver<ServerReply> {
        let (reply, answer) = oneshot::channel();
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
        if let Some(worker) = self.workers.get(turn) {
            // If the worker has ended, the way back is dropped, which says so.
            worker.send(Mail::Call { call, reply });
        }
        answer
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// What a call gets if the server ends before it was done.
fn stopped() -> ServerReply {
    ServerReply::Refused(Refusal::new(ErrorCode::Draining, "the server has stopped"))
}
