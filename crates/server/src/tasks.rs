//! Work that waits, asked for by rooms' logics: carried out beside the workers.

use roomcast_core::logic::{RoomRef, Task};

use crate::worker::{Address, Mail};

/// Carries a task out; what it comes to goes to the worker that asked. A task that panics, or that
/// the end of the server cuts off, comes to nothing.
pub(crate) fn start(
    runtime: &tokio::runtime::Handle,
    worker: Address,
    room: RoomRef,
    call: u64,
    task: Task,
) {
    let running = runtime.spawn(task);
    runtime.spawn(async move {
        let answer = running.await.ok();
        worker.send(Mail::TaskDone { room, call, answer });
    });
}
