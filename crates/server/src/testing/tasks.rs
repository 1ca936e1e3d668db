//! Hooks and calls that wait: futures on the virtual clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use roomcast_core::Input;
use roomcast_core::contained::contained;
use tokio::runtime::Runtime;

/// The futures that wait. Their timers are tokio's, whose clock stands still between advances.
pub(super) struct Tasks {
    runtime: Runtime,
    waiting: Vec<Waiting>,
}

/// One future, and the shard that what it comes to is for.
struct Waiting {
    shard: usize,
    future: Pin<Box<dyn Future<Output = Option<Input>>>>,
    /// What the shard is told if the future panics.
    if_panics: Option<Input>,
    flag: Arc<Flag>,
}

/// Raised when a future may go on.
#[derive(Debug)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Flag {
    fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Tasks {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build()?;
        Ok(Self { runtime, waiting: Vec::new() })
    }

    pub(super) fn add(
        &mut self,
        shard: usize,
        future: impl Future<Output = Option<Input>> + 'static,
        if_panics: Option<Input>,
    ) {
        let (future, flag) = (Box::pin(future), Flag::raised());
        self.waiting.push(Waiting { shard, future, if_panics, flag });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Polls whatever may go on, once each. Returns what is done, and whether anything was polled.
    pub(super) fn poll(&mut self) -> (Vec<(usize, Input)>, bool) {
        if self.waiting.is_empty() {
            return (Vec::new(), false);
        }
        // What the futures have spawned goes on, too.
        self.runtime.block_on(tokio::task::yield_now());
        let inside = self.runtime.enter();
        let (mut done, mut moved) = (Vec::new(), false);
        let mut at = 0;
        while let Some(one) = self.waiting.get_mut(at) {
            at += 1;
            if !one.flag.take() {
                continue;
            }
            moved = true;
            let waker = Waker::from(Arc::clone(&one.flag));
            let mut context = Context::from_waker(&waker);
            let polled = contained(|| one.future.as_mut().poll(&mut context));
            let input = match polled {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(input)) => input,
                Err(_) => one.if_panics.take(),
            };
            at -= 1;
            let shard = self.waiting.remove(at).shard;
            done.extend(input.map(|input| (shard, input)));
        }
        drop(inside);
        (done, moved)
    }

    /// Polls a future of the test itself, once.
    pub(super) fn poll_once<F: Future>(&self, future: Pin<&mut F>) -> Option<F::Output> {
        let _inside = self.runtime.enter();
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    pub(super) fn advance(&self, by: Duration) {
        self.runtime.block_on(tokio::time::advance(by));
    }
}
