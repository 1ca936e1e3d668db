//! The engine `nats://`: leases and records in a key-value bucket of JetStream, words as messages
//! to each node's own subject.
//!
//! Two connections, so that many words never delay the lease: `control` for the records, `words`
//! for the words. All runs on one thread of its own.

mod bucket;
mod carry;
mod connect;
mod driver;
mod lease;

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use async_nats::Client;
use tokio::sync::{mpsc as queue, watch};

use self::bucket::{Bucket, Outcome};
use self::connect::{Address, Purpose};
use self::driver::{Driver, Heard, Parts};
use self::lease::Lease;
use super::registry::{CLUSTER_KEY, ClusterRecord, NodeRecord, Peer, VERSION, hex};
use super::{Engine, EngineError, Member, Membership, Order, Parcel, QUEUE_PARCELS, State, Tell};
use crate::config::ClusterConfig;
use crate::worker::abort_on_panic;

/// Numbers that nodes can have.
const NUMBERS: u16 = 1024;

/// Numbers that are tried before the cluster counts as full.
const TRIES: u16 = 64;

/// What may wait between the parts of an engine, each of which goes on waiting then.
const QUEUE: usize = 64;

/// Starts the thread and waits until the node has joined.
pub(super) fn start(
    config: &ClusterConfig,
    member: Member,
    tell: Tell,
) -> Result<Engine, EngineError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| EngineError::System("epoll"))?;
    let incarnation = draw_incarnation().ok_or(EngineError::System("random bytes"))?;
    let (started, wait) = mpsc::channel();
    let config = config.clone();
    let body = move || {
        runtime.block_on(async move {
            match join(&config, member, incarnation).await {
                Ok((joined, engine)) => joined.run(engine, tell, started).await,
                Err(error) => _ = started.send(Err(error)),
            }
        });
    };
    let thread = std::thread::Builder::new().name("roomcast-engine".into());
    let spawned = thread.spawn(move || abort_on_panic("engine", body));
    spawned.map_err(|_| EngineError::System("thread"))?;
    // The thread always answers before it ends.
    wait.recv().unwrap_or(Err(EngineError::System("thread")))
}

/// Which process has a number; none: the system has no random bytes.
fn draw_incarnation() -> Option<u64> {
    crate::system::random().map(|bytes| u64::from_be_bytes(bytes).max(1))
}

/// Tells `start` how it went.
type Started = mpsc::Sender<Result<Engine, EngineError>>;

/// A node that has its number.
struct Joined {
    own: Peer,
    address: Address,
    cluster: ClusterRecord,
    bucket: Bucket,
    lease: Lease,
    words: Client,
    events: queue::Receiver<(Purpose, async_nats::Event)>,
    orders: queue::Receiver<Order>,
    parcels: queue::Receiver<Parcel>,
    state: Arc<State>,
}

async fn join(
    config: &ClusterConfig,
    member: Member,
    incarnation: u64,
) -> Result<(Joined, Engine), EngineError> {
    let address = Address::new(config);
    let (event, events) = queue::channel(QUEUE);
    let control = connect::connect(config, &address, Purpose::Control, event.clone()).await?;
    let words = connect::connect(config, &address, Purpose::Words, event).await?;
    let bucket = Bucket::open(&control, config, &address).await?;
    let cluster = agree(&bucket, &address).await?;
    let home_seed = cluster.seed().ok_or_else(|| {
        address.unusable(format!("the record `{CLUSTER_KEY}` has no seed that can be read"))
    })?;
    let (node, lease) = register(config, &member, incarnation, &bucket, &address).await?;
    let own = Peer { node, incarnation };
    let state = Arc::new(State::default());
    state.set_unready(Some("joining the cluster".to_owned()));
    let (orders_in, orders) = queue::channel(QUEUE);
    let (parcels_in, parcels) = queue::channel(QUEUE_PARCELS);
    let membership = Membership { node, home_seed };
    let engine =
        Engine { membership, state: Arc::clone(&state), orders: orders_in, parcels: parcels_in };
    let joined =
        Joined { own, address, cluster, bucket, lease, words, events, orders, parcels, state };
    Ok((joined, engine))
}

impl Joined {
    /// Runs until the server leaves, or has dropped its engine.
    async fn run(self, engine: Engine, tell: Tell, started: Started) {
        let subject = self.address.subjects(self.own.node);
        let incoming = match self.words.subscribe(subject).await {
            Ok(incoming) => incoming,
            Err(error) => {
                let error = self.address.unusable(format!("cannot subscribe: {error}"));
                _ = started.send(Err(error));
                return;
            }
        };
        // Whoever sees the node in the registry may send at once: it must be subscribed by then.
        _ = self.words.flush().await;
        let nobody = carry::Live { own: self.own, nodes: BTreeMap::new() };
        let (live, live_now) = watch::channel(Arc::new(nobody));
        let (disturbed, disturbances) = queue::channel(QUEUE);
        let carry = carry::Carry {
            address: self.address.clone(),
            client: self.words,
            parcels: self.parcels,
            live: live_now,
            disturbed,
            state: Arc::clone(&self.state),
        };
        let carrying = tokio::spawn(carry.run());
        let driver = Driver::new(Parts {
            own: self.own,
            address: self.address,
            cluster: self.cluster,
            state: self.state,
            bucket: self.bucket,
            lease: self.lease,
            live,
            tell,
            starting: Some((engine, started)),
        });
        let heard = Heard { events: self.events, orders: self.orders, incoming, disturbances };
        driver.run(heard).await;
        carrying.abort();
    }
}

/// What all nodes agree on: read, or written if this is the first node.
async fn agree(bucket: &Bucket, address: &Address) -> Result<ClusterRecord, EngineError> {
    let seed = crate::system::random().ok_or(EngineError::System("random bytes"))?;
    let own = ClusterRecord::new(seed);
    let agreed = bucket.agree(&own).await.map_err(|problem| address.unusable(problem))?;
    if agreed.version != VERSION {
        return Err(address.unusable(format!(
            "the cluster is of version {}, this program of version {VERSION}: stop all nodes of \
             the other before the first of this, or give this one another cluster.name",
            agreed.version
        )));
    }
    Ok(agreed)
}

/// Takes a number that nobody has. Where to begin is drawn, so that a node that was cut off for a
/// while most probably finds its own still free.
async fn register(
    config: &ClusterConfig,
    member: &Member,
    incarnation: u64,
    bucket: &Bucket,
    address: &Address,
) -> Result<(u16, Lease), EngineError> {
    let first = (incarnation % u64::from(NUMBERS)) as u16;
    for step in 0..TRIES {
        let number = (first + step) % NUMBERS;
        let record = NodeRecord {
            incarnation: hex(incarnation),
            name: config.display_name(),
            workers: member.workers,
            draining: false,
            digest: member.digest.clone(),
        };
        let mut lease = Lease::new(number, config.lease(), record);
        match lease.begin(bucket).await {
            Outcome::Written(revision) => {
                lease.begun(revision);
                return Ok((number, lease));
            }
            Outcome::Another => {}
            Outcome::Missing => {
                return Err(address.unusable("the bucket was deleted just now; try again".into()));
            }
            Outcome::Failed(problem) => {
                return Err(address.unusable(format!("the node cannot be written: {problem}")));
            }
        }
    }
    Err(address.unusable(format!("{TRIES} numbers of nodes in a row are taken")))
}
