//! Keeps the node's lease, reads the registry, writes this node's share of it, and tells the
//! server what has become of it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::kv::{Entry, Operation, Watch};
use async_nats::{Event, Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::super::incoming::Incoming;
use super::super::registry::{
    Change, ClusterRecord, Peer, Registry, Wish, home_key, incarnation_of,
};
use super::super::{Engine, Order, State, Table, Tell, Told};
use super::bucket::{Bucket, Outcome};
use super::carry::Live;
use super::connect::{Address, Purpose};
use super::lease::{Lease, Renewal};
use super::{Started, draw_incarnation};

/// How long `start` waits for all partitions to have a holder.
const STARTING: Duration = Duration::from_secs(3);

/// Between telling the own workers that a partition is given away and giving it: they must have
/// read it before its new holder begins. A turn of a worker takes 1 ms at most when all is well.
const GIVING: Duration = Duration::from_millis(50);

/// How long a node whose lease has begun anew leaves to the others what they held: if NATS was
/// away, they come back as well, within half a second when all is well.
const OTHERS_MS: u64 = 1_500;

/// After a write to the registry that failed, and after a watch that broke.
const RETRY: Duration = Duration::from_millis(250);

/// Longest pause.
const IDLE: Duration = Duration::from_secs(60);

/// How long the watch may take to show the node's own renewal.
const WATCH_LAG: Duration = Duration::from_secs(2);

/// What was done beside the driver and waits to be looked at.
const DOINGS: usize = 64;

/// What a driver begins with.
pub(super) struct Parts {
    pub(super) own: Peer,
    pub(super) address: Address,
    pub(super) cluster: ClusterRecord,
    pub(super) state: Arc<State>,
    pub(super) bucket: Bucket,
    pub(super) lease: Lease,
    pub(super) live: watch::Sender<Arc<Live>>,
    pub(super) tell: Tell,
    /// Whom to tell that the node is there.
    pub(super) starting: Option<(Engine, Started)>,
}

/// What a driver listens to.
pub(super) struct Heard {
    pub(super) events: Receiver<(Purpose, Event)>,
    pub(super) orders: Receiver<Order>,
    pub(super) incoming: Subscriber,
    /// Nodes for which words were dropped here.
    pub(super) disturbances: Receiver<u16>,
}

/// The registry's side of a node.
pub(super) struct Driver {
    parts: Parts,
    registry: Registry,
    /// The registry as it is read anew, until all of it is there.
    rereading: Option<Registry>,
    watch: Option<Watch>,
    /// When the watch is to be begun again; none: it is there.
    watch_due: Option<Instant>,
    /// A renewal that the watch has not shown yet, and since when.
    unseen: Option<(u64, Instant)>,
    /// The newest revision that the watch has shown.
    seen: u64,
    table: Option<Arc<Table>>,
    incoming: Incoming,
    done: Sender<Done>,
    doings: Receiver<Done>,
    /// The records have to be looked at again then.
    look: Option<Instant>,
    start_by: Instant,
    /// Something has changed since the table was last told: not for each message.
    changed: bool,
    /// The node must not be in this cluster.
    is_refused: bool,
    has_left: bool,
}

/// What was done beside the driver.
enum Done {
    Renewed(Renewal, Outcome),
    Looked(Renewal, Result<(u64, Option<bytes::Bytes>), String>),
    Wrote(Wish, Outcome),
    Watching(Result<Box<Watch>, String>),
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let mut registry = Registry::new(parts.own);
        if let Some(revision) = parts.lease.revision() {
            registry.lease_begins(revision);
        }
        let (done, doings) = mpsc::channel(DOINGS);
        let now = Instant::now();
        Self {
            parts,
            registry,
            rereading: None,
            watch: None,
            watch_due: Some(now),
            unseen: None,
            seen: 0,
            table: None,
            incoming: Incoming::default(),
            done,
            doings,
            look: None,
            start_by: now + STARTING,
            changed: true,
            is_refused: false,
            has_left: false,
        }
    }

    /// Runs until the node has left, or nobody holds the engine any more.
    pub(super) async fn run(mut self, mut heard: Heard) {
        (self.parts.tell)(Told::Lease(self.parts.lease.until()));
        while !self.has_left {
            let wake = self.next_wake();
            self.changed = true;
            tokio::select! {
                entry = next_entry(&mut self.watch) => self.take_entry(entry),
                message = heard.incoming.next() => match message {
                    Some(message) => {
                        self.changed = false;
                        self.take_message(message);
                    }
                    None => break,
                },
                Some(done) = self.doings.recv() => self.take_done(done).await,
                Some(node) = heard.disturbances.recv() => self.disturb(node),
                Some((purpose, event)) = heard.events.recv() => self.take_event(purpose, &event),
                order = heard.orders.recv() => match order {
                    Some(order) => self.take_order(order).await,
                    None => break,
                },
                () = sleep_until(wake.into()) => {}
            }
            if self.is_refused {
                return self.leave().await;
            }
            self.work();
        }
    }

    async fn leave(&mut self) {
        self.has_left = true;
        let (bucket, key) = (&self.parts.bucket, self.parts.lease.key());
        let Some(mut revision) = self.parts.lease.revision() else { return };
        // A renewal may have come in between. If all fails, the others wait for the lease to end.
        for _ in 0..3 {
            if bucket.end(&key, revision).await {
                return;
            }
            match bucket.get(&key).await {
                Ok((found, Some(record))) if self.parts.lease.is_own(&record) => revision = found,
                _ => return,
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let starting = self.parts.starting.is_some().then_some(self.start_by);
        let unseen = self.unseen.map(|(_, since)| since + WATCH_LAG);
        let all = [self.parts.lease.next(), self.watch_due, self.look, starting, unseen];
        let settles = self.registry.waits(unix_ms());
        let latest = Instant::now() + if settles { RETRY } else { IDLE };
        all.into_iter().flatten().min().map_or(latest, |next| next.min(latest))
    }

    /// All that is due.
    fn work(&mut self) {
        let now = Instant::now();
        if self.parts.lease.has_run_out(now) {
            self.lose_lease("it could not be renewed in time");
        }
        if self.parts.lease.is_due(now) {
            let renewal = self.parts.lease.renewal();
            let bucket = self.parts.bucket.clone();
            self.start(async move {
                let outcome = renewal.write(&bucket).await;
                Done::Renewed(renewal, outcome)
            });
        }
        if self.watch_due.is_some_and(|due| due <= now) {
            self.watch_due = None;
            let bucket = self.parts.bucket.clone();
            self.start(async move { Done::Watching(bucket.watch().await.map(Box::new)) });
        }
        if self.unseen.is_some_and(|(_, since)| now >= since + WATCH_LAG) {
            tracing::warn!("the registry's watch lags; it is begun anew");
            self.watch_again(now);
        }
        self.look = self.look.filter(|look| *look > now);
        if self.changed {
            self.write_wishes();
            self.tell_table();
        }
        if now >= self.start_by {
            self.started();
        }
    }

    fn start(&self, doing: impl Future<Output = Done> + Send + 'static) {
        let done = self.done.clone();
        tokio::spawn(async move { _ = done.send(doing.await).await });
    }

    fn write_wishes(&mut self) {
        // While the records are being read, what is known may be old.
        if self.rereading.is_some() || self.watch.is_none() || self.look.is_some() {
            return;
        }
        let now_ms = unix_ms();
        self.registry.settle(now_ms);
        let wishes = self.registry.wishes(now_ms);
        let gives = wishes.iter().any(|wish| wish.gives);
        if gives {
            self.tell_table();
        }
        for wish in wishes {
            let bucket = self.parts.bucket.clone();
            self.start(async move {
                if wish.gives {
                    tokio::time::sleep(GIVING).await;
                }
                let key = home_key(wish.partition);
                let outcome = bucket.put(&key, &wish.record, wish.replaces, None).await;
                Done::Wrote(wish, outcome)
            });
        }
    }

    /// Tells who is there and who holds what, if it has changed.
    fn tell_table(&mut self) {
        for node in self.registry.take_gone() {
            tracing::info!(node, "a node has gone");
            (self.parts.tell)(Told::Gone(node));
        }
        let table = self.registry.table();
        if self.table.as_deref() == Some(&table) {
            return;
        }
        let table = Arc::new(table);
        let nodes = table.nodes.iter().map(|node| (node.number, node.incarnation)).collect();
        // Words may be for a node from the moment on in which workers know of it.
        self.parts.live.send_replace(Arc::new(Live { own: self.parts.own, nodes }));
        (self.parts.tell)(Told::Table(Arc::clone(&table)));
        self.incoming.know(Instant::now(), &table, &mut self.parts.tell);
        let own = self.parts.own.node;
        let held = table.homes.iter().flatten().filter(|holder| holder.node == own).count();
        let counters = &self.parts.state.counters;
        counters.nodes.store(table.nodes.len() as u64, Ordering::Relaxed);
        counters.homes.store(held as u64, Ordering::Relaxed);
        let whole = table.homes.iter().all(Option::is_some);
        self.table = Some(table);
        if whole {
            self.started();
        }
    }

    fn started(&mut self) {
        let Some((engine, started)) = self.parts.starting.take() else { return };
        self.parts.state.set_unready(None);
        // Whoever started it waits for this.
        _ = started.send(Ok(engine));
    }

    fn take_entry(&mut self, entry: Result<Entry, String>) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(problem) => {
                tracing::warn!(problem, "the registry's watch broke; it is begun anew");
                return self.watch_again(Instant::now() + RETRY);
            }
        };
        let registry = self.rereading.as_mut().unwrap_or(&mut self.registry);
        let change = match entry.operation {
            Operation::Put => Change::Written(&entry.value),
            Operation::Delete | Operation::Purge => Change::Ended,
        };
        if let Err(error) = registry.apply(&entry.key, entry.revision, change) {
            tracing::error!(key = entry.key, %error, "a record of the cluster cannot be read");
        }
        self.seen = self.seen.max(entry.revision);
        self.unseen = self.unseen.filter(|(revision, _)| self.seen < *revision);
        if entry.seen_current
            && let Some(new) = self.rereading.take()
        {
            self.registry.replace(new, unix_ms());
            self.check_strangers();
        }
        let lease = &self.parts.lease;
        let about_own = entry.key == lease.key() && lease.revision() < Some(entry.revision);
        let stands = entry.operation == Operation::Put && lease.is_own(&entry.value);
        if about_own && lease.revision().is_some() && !stands {
            self.lose_lease("its record has ended");
        }
    }

    /// Nodes that would misunderstand each other do not work together.
    fn check_strangers(&mut self) {
        if self.parts.starting.is_none() {
            return;
        }
        let Some(other) = self.registry.stranger(self.parts.lease.digest()) else { return };
        let problem = format!(
            "node `{other}` of this cluster has other namespaces; give all nodes the same, or this \
             one another cluster.name"
        );
        if let Some((_, started)) = self.parts.starting.take() {
            _ = started.send(Err(self.parts.address.unusable(problem)));
        }
        self.is_refused = true;
    }

    fn take_message(&mut self, message: Message) {
        let (_, to) = message.subject.rsplit_once('.').unwrap_or_default();
        if incarnation_of(to) != self.parts.own.incarnation {
            // For what this process was before its lease ended.
            return;
        }
        let payload = message.payload;
        let counters = &self.parts.state.counters;
        counters.messages_received_total.fetch_add(1, Ordering::Relaxed);
        counters.bytes_received_total.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let tell = &mut self.parts.tell;
        self.incoming.take(Instant::now(), payload, &mut |told| {
            match &told {
                Told::Word { .. } => counters.words_received_total.fetch_add(1, Ordering::Relaxed),
                _ => counters.disturbed_total.fetch_add(1, Ordering::Relaxed),
            };
            tell(told);
        });
    }

    async fn take_done(&mut self, done: Done) {
        match done {
            Done::Renewed(renewal, outcome) => self.take_renewed(renewal, outcome).await,
            Done::Looked(renewal, found) => self.take_looked(&renewal, found),
            Done::Wrote(wish, outcome) => {
                let sure = matches!(outcome, Outcome::Written(_) | Outcome::Another);
                self.registry.written(wish.partition, sure);
                match outcome {
                    Outcome::Written(revision) => self.take_written(&wish, revision),
                    // The watch shows what the others have written, a little later.
                    _ => self.look = Some(Instant::now() + RETRY),
                }
            }
            Done::Watching(Ok(watch)) => {
                let counters = &self.parts.state.counters;
                counters.readings_total.fetch_add(1, Ordering::Relaxed);
                self.watch = Some(*watch);
                self.rereading = Some(Registry::new(self.parts.own));
            }
            Done::Watching(Err(problem)) => {
                tracing::warn!(problem, "the registry cannot be watched; it is tried again");
                self.watch_due = Some(Instant::now() + RETRY);
            }
        }
    }

    /// The watch says the same, but later.
    fn take_written(&mut self, wish: &Wish, revision: u64) {
        let counters = &self.parts.state.counters;
        counters.takeovers_total.fetch_add(u64::from(!wish.gives), Ordering::Relaxed);
        let Ok(record) = serde_json::to_vec(&wish.record) else { return };
        let written = Change::Written(&record);
        // What was written just now can be read.
        _ = self.registry.apply(&home_key(wish.partition), revision, written);
    }

    async fn take_renewed(&mut self, renewal: Renewal, outcome: Outcome) {
        let counters = &self.parts.state.counters;
        match outcome {
            Outcome::Written(revision) => self.renewed(&renewal, revision),
            Outcome::Another if renewal.is_first() => {
                tracing::error!(
                    node = self.parts.own.node,
                    "another node has this one's number since its lease ended; restart this one"
                );
                self.parts.lease.failed();
            }
            Outcome::Another => {
                let (bucket, key) = (self.parts.bucket.clone(), self.parts.lease.key());
                self.start(async move {
                    match bucket.is_replaced().await {
                        Ok(true) => Done::Renewed(renewal, Outcome::Missing),
                        Ok(false) => Done::Looked(renewal, bucket.get(&key).await),
                        Err(problem) => Done::Looked(renewal, Err(problem)),
                    }
                });
            }
            Outcome::Missing => {
                counters.renewals_failed_total.fetch_add(1, Ordering::Relaxed);
                self.make_again().await;
            }
            Outcome::Failed(problem) => {
                counters.renewals_failed_total.fetch_add(1, Ordering::Relaxed);
                let engine = self.parts.address.shown();
                tracing::warn!(engine, problem, "the lease was not renewed; it is tried again");
                self.parts.lease.failed();
            }
        }
    }

    fn renewed(&mut self, renewal: &Renewal, revision: u64) {
        self.parts.lease.renewed(revision, renewal.sent);
        // The watch may be quicker than the answer.
        self.unseen = (self.seen < revision).then(|| (revision, Instant::now()));
        if !self.registry.is_leased() {
            tracing::info!(node = self.parts.own.node, "the lease has begun anew");
            self.registry.lease_begins(revision);
            self.registry.be_patient(unix_ms() + OTHERS_MS);
            self.parts.state.set_unready(None);
        }
        (self.parts.tell)(Told::Lease(self.parts.lease.until()));
    }

    /// The record was not the one expected: an answer may have been lost.
    fn take_looked(
        &mut self,
        renewal: &Renewal,
        found: Result<(u64, Option<bytes::Bytes>), String>,
    ) {
        match found {
            Ok((revision, Some(record))) if renewal.is_own(&record) => {
                self.parts.lease.found(revision);
            }
            Ok(_) => {
                self.parts.lease.failed();
                self.lose_lease("its record is no longer there");
            }
            Err(_) => self.parts.lease.failed(),
        }
    }

    /// Nothing is accepted any more until the lease has begun anew.
    fn lose_lease(&mut self, why: &str) {
        // It had random bytes at the start.
        let incarnation = draw_incarnation().unwrap_or(self.parts.own.incarnation + 1);
        if !self.parts.lease.end(incarnation) {
            return;
        }
        self.parts.own.incarnation = incarnation;
        let engine = self.parts.address.shown();
        tracing::error!(
            engine,
            why,
            "the node's lease has ended; its rooms accept nothing until \
            NATS answers again"
        );
        self.parts.state.counters.leases_lost_total.fetch_add(1, Ordering::Relaxed);
        let reason = format!("the lease in the cluster has ended ({why}); NATS at {engine}");
        self.parts.state.set_unready(Some(reason));
        self.registry.lease_ends(incarnation);
        self.incoming.restart();
        (self.parts.tell)(Told::Lease(Instant::now()));
    }

    /// Somebody has deleted the bucket. It is made again, and what is still leased is written
    /// again; nobody takes what has no record before all leases of the old one have ended.
    async fn make_again(&mut self) {
        let bucket = self.parts.bucket.name().to_owned();
        tracing::error!(bucket, "the cluster's bucket was deleted; it is made again");
        self.parts.lease.failed();
        if let Err(problem) = self.parts.bucket.reopen().await {
            tracing::error!(bucket, problem, "the bucket cannot be made again; it is tried again");
            return;
        }
        let own = &self.parts.cluster;
        let settled_ms = unix_ms() + 2 * self.parts.lease.length.as_millis() as u64;
        let record = ClusterRecord { settled_ms, ..own.clone() };
        match self.parts.bucket.agree(&record).await {
            Ok(agreed) if agreed.home_seed == own.home_seed => {
                self.parts.lease.lose_record();
                self.registry.restart();
                self.watch_again(Instant::now());
            }
            Ok(_) => {
                self.lose_lease("a new cluster has begun in its place; restart this node");
                self.parts.lease.failed();
            }
            Err(problem) => tracing::error!(bucket, problem, "the cluster cannot be written"),
        }
    }

    fn take_event(&mut self, purpose: Purpose, event: &Event) {
        let engine = self.parts.address.shown();
        match (event, purpose) {
            (Event::Connected, Purpose::Control) => {
                tracing::info!(engine, "NATS answers");
                // What ended meanwhile may have been missed.
                self.watch_again(Instant::now());
                self.parts.lease.hurry();
            }
            (Event::Connected, Purpose::Words) => {
                self.parts.state.counters.reconnects_total.fetch_add(1, Ordering::Relaxed);
                self.disturb_all();
            }
            (Event::SlowConsumer(_), Purpose::Words) => self.disturb_all(),
            (Event::Disconnected, Purpose::Control) => {
                tracing::warn!(engine, "NATS does not answer; it is tried again");
            }
            (Event::ServerError(error), _) => tracing::warn!(engine, %error, "NATS says"),
            // One for each try to connect again.
            (Event::ClientError(error), _) => tracing::debug!(engine, %error, "NATS says"),
            _ => {}
        }
    }

    fn disturb_all(&mut self) {
        let Some(table) = self.table.clone() else { return };
        let own = self.parts.own.node;
        for node in table.nodes.iter().filter(|node| node.number != own) {
            self.disturb(node.number);
        }
    }

    fn disturb(&mut self, node: u16) {
        self.parts.state.counters.disturbed_total.fetch_add(1, Ordering::Relaxed);
        (self.parts.tell)(Told::Disturbed(node));
    }

    async fn take_order(&mut self, order: Order) {
        match order {
            Order::Drain => self.parts.lease.drain(),
            Order::Leave(done) => {
                self.leave().await;
                drop(done);
            }
        }
    }

    fn watch_again(&mut self, when: Instant) {
        self.watch = None;
        self.rereading = None;
        (self.unseen, self.seen) = (None, 0);
        self.watch_due = Some(when);
    }
}

async fn next_entry(watch: &mut Option<Watch>) -> Result<Entry, String> {
    let Some(watch) = watch else { return pending().await };
    match watch.next().await {
        Some(entry) => entry.map_err(|error| error.to_string()),
        None => Err("it has ended".to_owned()),
    }
}

/// Milliseconds since 1970, for fences: they must not go back when the records are lost.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
