//! Rooms' logics, and an eye on them. A logic that takes long holds up every room and link of its
//! worker, so each callback is measured: slow ones are counted and told of, and one that does not
//! return is named while it is still stuck, by a thread that only looks.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_core::{Logics, ShardId};
use roomcast_wire::Refusal;
use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo};

/// A callback that takes longer is slow.
const SLOW: Duration = Duration::from_millis(20);

/// A callback that takes longer is stuck.
const STUCK_MS: u64 = 1_000;

/// How often the watching thread looks.
const LOOK: Duration = Duration::from_millis(250);

/// The least time between two warnings of one logic, in milliseconds.
const WARN_MS: u64 = 1_000;

/// What is known of the logics of one server.
pub(crate) struct Watch {
    started: Instant,
    /// What each worker is at.
    workers: Vec<Arc<AtWork>>,
    seen: Mutex<BTreeMap<Box<str>, Arc<Seen>>>,
    thread: Once,
}

/// The callback that one worker is in.
#[derive(Default)]
pub(crate) struct AtWork {
    /// When it began, in milliseconds from 1; 0: in none.
    since: AtomicU64,
    callback: AtomicU8,
    room: ArcSwapOption<Watched>,
}

/// What was seen of one logic.
#[derive(Default)]
struct Seen {
    slow_total: AtomicU64,
    /// When it was last warned of, and how often it was slow by then.
    warned: Mutex<(u64, u64)>,
}

/// A room whose logic is watched.
struct Watched {
    room: Box<str>,
    logic: Box<str>,
}

thread_local! {
    /// The place of this thread's worker. A worker is the whole life of its thread.
    static AT_WORK: RefCell<Option<Arc<AtWork>>> = const { RefCell::new(None) };
}

/// For what waits until a worker has done something: on a worker's own thread that is for ever.
///
/// # Panics
/// On the thread of a worker.
pub(crate) fn must_not_be_a_worker() {
    let is_worker = AT_WORK.with(|at_work| at_work.borrow().is_some());
    assert!(!is_worker, "a hook, a handler or a room's logic must not wait for the server");
}

impl Watch {
    pub(crate) fn new(workers: u16) -> Self {
        let workers = (0..workers).map(|_| Arc::default()).collect();
        Self { started: Instant::now(), workers, seen: Mutex::default(), thread: Once::new() }
    }

    /// This thread is a worker's from now on.
    pub(crate) fn enter(&self, worker: ShardId) {
        let place = self.workers.get(usize::from(worker.worker)).cloned();
        AT_WORK.with(|at_work| *at_work.borrow_mut() = place);
    }

    /// The same logics, watched.
    pub(crate) fn around(self: &Arc<Self>, logics: Logics) -> Logics {
        let watch = Arc::clone(self);
        logics.decorated(move |name, setup, logic| {
            watch.start_thread();
            let mut all = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = Arc::clone(all.entry(name.into()).or_default());
            drop(all);
            let what = Arc::new(Watched { room: setup.room.into(), logic: name.into() });
            Box::new(Measured { logic, what, seen, watch: Arc::clone(&watch) })
        })
    }

    /// The slow callbacks of each logic that a room ever had.
    pub(crate) fn slow(&self) -> Vec<(Box<str>, u64)> {
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(n, seen)| (n.clone(), seen.slow_total.load(Ordering::Relaxed))).collect()
    }

    /// How many workers are stuck in a callback.
    pub(crate) fn stuck(&self) -> u64 {
        let now = self.now();
        self.workers.iter().filter(|worker| worker.stuck(now).is_some()).count() as u64
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    fn start_thread(self: &Arc<Self>) {
        self.thread.call_once(|| {
            let watch = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("roomcast-watch".to_owned());
            if let Err(error) = thread.spawn(move || look(&watch)) {
                tracing::warn!(%error, "no thread to watch the logics of rooms");
            }
        });
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// Looks at the workers until their server is gone.
fn look(watch: &Weak<Watch>) {
    // What was told of each worker: the beginning of the callback.
    let mut told = Vec::new();
    loop {
        std::thread::sleep(LOOK);
        let Some(watch) = watch.upgrade() else { return };
        told.resize(watch.workers.len(), 0);
        for (worker, (at_work, told)) in watch.workers.iter().zip(&mut told).enumerate() {
            let Some((since, ms)) = at_work.stuck(watch.now()).filter(|(since, _)| since != told)
            else {
                continue;
            };
            *told = since;
            let callback = name_of(at_work.callback.load(Ordering::Relaxed));
            if let Some(what) = at_work.room.load_full() {
                let (room, logic) = (&what.room, &what.logic);
                tracing::error!(worker, %room, %logic, callback, ms, "a room's logic is stuck");
            }
        }
    }
}

impl AtWork {
    /// When the callback began that should have returned long ago, and how long it lasts.
    fn stuck(&self, now: u64) -> Option<(u64, u64)> {
        let since = self.since.load(Ordering::Acquire);
        let ms = now.saturating_sub(since);
        (since > 0 && ms >= STUCK_MS).then_some((since, ms))
    }
}

/// The callbacks, by the number that [`AtWork`] holds.
const CALLBACKS: [&str; 10] = [
    "on_create",
    "on_join",
    "on_event",
    "on_drop",
    "on_resume",
    "on_leave",
    "on_tick",
    "on_timer",
    "on_answer",
    "on_close",
];

fn name_of(callback: u8) -> &'static str {
    CALLBACKS.get(usize::from(callback)).copied().unwrap_or_default()
}

/// A logic whose callbacks are measured.
struct Measured {
    logic: Box<dyn RoomLogic>,
    what: Arc<Watched>,
    seen: Arc<Seen>,
    watch: Arc<Watch>,
}

impl Measured {
    fn measure<T>(&mut self, callback: u8, body: impl FnOnce(&mut dyn RoomLogic) -> T) -> T {
        let _running = Running::new(self, callback);
        body(&mut *self.logic)
    }
}

/// A callback that runs. It ends when this is dropped, by a panic too.
struct Running {
    what: Arc<Watched>,
    seen: Arc<Seen>,
    watch: Arc<Watch>,
    callback: u8,
    began: Instant,
    at_work: Option<Arc<AtWork>>,
}

impl Running {
    fn new(measured: &Measured, callback: u8) -> Self {
        let at_work = AT_WORK.with(|at_work| at_work.borrow().clone());
        let Measured { what, seen, watch, .. } = measured;
        if let Some(at_work) = &at_work {
            at_work.room.store(Some(Arc::clone(what)));
            at_work.callback.store(callback, Ordering::Relaxed);
            at_work.since.store(watch.now(), Ordering::Release);
        }
        let (what, seen, watch) = (Arc::clone(what), Arc::clone(seen), Arc::clone(watch));
        Self { what, seen, watch, callback, began: Instant::now(), at_work }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(at_work) = &self.at_work {
            at_work.since.store(0, Ordering::Release);
        }
        let took = self.began.elapsed();
        if took > SLOW {
            self.seen.slow(self, took);
        }
    }
}

impl Seen {
    fn slow(&self, running: &Running, took: Duration) {
        let total = self.slow_total.fetch_add(1, Ordering::Relaxed) + 1;
        let now = running.watch.now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = *warned;
        if at > 0 && now < at + WARN_MS {
            return;
        }
        *warned = (now, total);
        drop(warned);
        let Watched { room, logic } = &*running.what;
        let (callback, ms) = (name_of(running.callback), took.as_millis() as u64);
        let times = total - before;
        tracing::warn!(%room, %logic, callback, ms, times, "a room's logic is slow");
    }
}

impl RoomLogic for Measured {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        self.measure(0, |logic| logic.on_create(ctx));
    }

    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        self.measure(1, |logic| logic.on_join(ctx, member))
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        self.measure(2, |logic| logic.on_event(ctx, event))
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.measure(3, |logic| logic.on_drop(ctx, member));
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.measure(4, |logic| logic.on_resume(ctx, member));
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, reason: LeaveReason) {
        self.measure(5, |logic| logic.on_leave(ctx, member, reason));
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, tick: u64) {
        self.measure(6, |logic| logic.on_tick(ctx, tick));
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, timer: u64) {
        self.measure(7, |logic| logic.on_timer(ctx, timer));
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        self.measure(8, |logic| logic.on_answer(ctx, call, answer));
    }

    fn on_close(&mut self, ctx: &mut RoomCtx<'_>, reason: ClosedReason) {
        self.measure(9, |logic| logic.on_close(ctx, reason));
    }
}
