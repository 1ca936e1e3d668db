//! Work that waits, done outside the hub: the hub itself never waits.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::contained::discard;
use crate::key::RoomKey;

/// A future that a room's logic asked for. The worker gives it to an executor and brings what it
/// comes to back with `Input::TaskDone`.
pub struct Task(Option<Soon>);

type Soon = Pin<Box<dyn Future<Output = Box<dyn Any + Send>> + Send>>;

/// The room that asked. It may be gone when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomRef(pub(crate) RoomKey);

impl Task {
    pub(crate) fn new<F>(future: F) -> Self
    where
        F: Future<Output: Any + Send> + Send + 'static,
    {
        Self(Some(Box::pin(Answering(Box::pin(future)))))
    }
}

impl Drop for Task {
    /// One that is not carried out is dropped by the shard, among all its other rooms.
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

impl Future for Task {
    type Output = Box<dyn Any + Send>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // It is there until this is dropped.
        self.0.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(context))
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

/// A future whose output goes into a box.
struct Answering<F>(Pin<Box<F>>);

impl<F: Future<Output: Any + Send>> Future for Answering<F> {
    type Output = Box<dyn Any + Send>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context).map(|answer| Box::new(answer) as Box<dyn Any + Send>)
    }
}
