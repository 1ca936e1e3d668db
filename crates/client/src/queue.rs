//! What waits to be read by the application: bounded, with the oldest dropped and counted, or the
//! socket left unread, when it is full.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tokio::sync::Notify;

/// A stream of what happened, in order. It ends when the room was left or closed, or the client
/// has ended. Clones of a handle share one stream: each thing goes to one reader.
#[derive(Debug)]
pub struct Events<T>(pub(crate) Arc<Queue<T>>);

impl<T: FromMissed> Stream for Events<T> {
    type Item = T;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_take(cx)
    }
}

impl<T: FromMissed> Events<T> {
    /// The next thing that happened, or none at the end. Cancel-safe.
    ///
    /// ```no_run
    /// # async fn run(room: roomcast_client::Room) {
    /// let mut events = room.events();
    /// while let Some(event) = events.next().await {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<T> {
        self.0.take().await
    }
}

/// Says in the stream itself that something was dropped from it.
pub trait FromMissed {
    /// What stands in place of `missed` things.
    fn from_missed(missed: u64) -> Self;
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    // Held for a push or a pop only, never across a wait: reader and task are different threads
    // in a multi-threaded runtime.
    state: Mutex<State<T>>,
    room: Notify,
    bound: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    missed: u64,
    closed: bool,
    readers: Vec<Waker>,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        let state = State { items: VecDeque::new(), missed: 0, closed: false, readers: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), room: Notify::new(), bound: bound.max(1) })
    }

    /// Appends, and drops the oldest above the bound.
    pub(crate) fn push(&self, item: T) {
        self.append(item, self.bound);
    }

    /// Appends without dropping. The caller asks [`is_full`](Self::is_full) before it reads more
    /// from the socket; one frame can go above the bound by two things at most.
    pub(crate) fn push_all(&self, item: T) {
        self.append(item, usize::MAX);
    }

    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        state.items.len() >= self.bound && !state.closed
    }

    /// Waits until a full queue is no longer full.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let notified = self.room.notified();
            if !self.is_full() {
                return;
            }
            notified.await;
        }
    }

    /// No more will come; what waits can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
        self.room.notify_one();
    }

    fn append(&self, item: T, bound: usize) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        while state.items.len() >= bound {
            state.items.pop_front();
            state.missed += 1;
        }
        state.items.push_back(item);
        wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of the application runs under the lock, so the state is whole even if a thread
        // panicked while it held it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: FromMissed> Queue<T> {
    pub(crate) async fn take(&self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_take(cx)).await
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        if state.missed > 0 {
            let missed = std::mem::take(&mut state.missed);
            return Poll::Ready(Some(T::from_missed(missed)));
        }
        if let Some(item) = state.items.pop_front() {
            drop(state);
            self.room.notify_one();
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        if !state.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            state.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let readers = std::mem::take(&mut state.readers);
    drop(state);
    readers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Item {
        Value(u32),
        Missed(u64),
    }

    impl FromMissed for Item {
        fn from_missed(missed: u64) -> Self {
            Self::Missed(missed)
        }
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_are_counted() {
        let queue = Queue::new(2);
        for n in 1..=5 {
            queue.push(Item::Value(n));
        }
        queue.close();
        queue.push(Item::Value(6));
        assert_eq!(queue.take().await, Some(Item::Missed(3)));
        assert_eq!(queue.take().await, Some(Item::Value(4)));
        assert_eq!(queue.take().await, Some(Item::Value(5)));
        assert_eq!(queue.take().await, None);
    }

    #[tokio::test]
    async fn a_full_queue_tells_when_there_is_room_again() {
        let queue = Queue::new(1);
        queue.push_all(Item::Value(1));
        assert!(queue.is_full());
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.wait_for_room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(queue.take().await, Some(Item::Value(1)));
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let queue = Queue::new(1);
        let reader = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.take().await }
        });
        tokio::task::yield_now().await;
        queue.push(Item::Value(7));
        assert_eq!(reader.await.unwrap(), Some(Item::Value(7)));
    }
}
