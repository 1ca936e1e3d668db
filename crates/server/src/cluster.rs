//! Between the engine and the workers: what the engine tells becomes word to every worker.

use std::sync::Arc;
use std::time::Instant;

use roomcast_core::{
    Directory, Envelope, Holder, HubConfig, Input, NodeId, NodeInfo, NodeState, Now, Partition,
    ShardId,
};

use crate::config::ClusterConfig;
use crate::engine::{Engine, EngineError, Member, Table, Tell, Told};
use crate::worker::{Address, Mail};

/// Joins the configured cluster; none: this server is alone. Workers that start later find what
/// they need in their mailboxes.
///
/// # Errors
/// The cluster cannot be joined.
pub(crate) fn join(
    config: &ClusterConfig,
    workers: &Arc<[Address]>,
    started: Instant,
    hub: &mut HubConfig,
) -> Result<Option<Engine>, EngineError> {
    let count = u16::try_from(workers.len()).unwrap_or(u16::MAX);
    let digest = format!("{:016x}", hub.namespaces_digest());
    let member = Member { workers: count, digest };
    let to_workers = ToWorkers { workers: Arc::clone(workers), started };
    let tell: Tell = Box::new(move |told| to_workers.tell(told));
    let engine = Engine::start(config, member, tell)?;
    if let Some(engine) = &engine {
        hub.home_seed = Some(engine.membership.home_seed);
        hub.in_cluster = true;
    }
    Ok(engine)
}

struct ToWorkers {
    workers: Arc<[Address]>,
    /// When the server's clock began.
    started: Instant,
}

impl ToWorkers {
    fn tell(&self, told: Told) {
        match told {
            Told::Table(table) => {
                let directory = Arc::new(directory(&table));
                self.tell_all(|| Input::Directory(Arc::clone(&directory)));
            }
            Told::Lease(until) => {
                let until = until.saturating_duration_since(self.started);
                let until = Now(until.as_millis() as u64);
                self.tell_all(|| Input::Lease { until });
            }
            Told::Disturbed(node) => {
                let Some(node) = NodeId::new(node) else { return };
                self.tell_all(|| Input::Disturbed { node });
            }
            Told::Gone(node) => {
                let Some(node) = NodeId::new(node) else { return };
                self.tell_all(|| Input::NodeGone { node });
            }
            Told::Word { from, from_worker, to_worker, bytes } => {
                let Some(node) = NodeId::new(from) else { return };
                let Some(worker) = self.workers.get(usize::from(to_worker)) else { return };
                match Envelope::decode(&bytes) {
                    Ok(envelope) => {
                        let from = ShardId { node, worker: from_worker };
                        worker.send(Mail::Envelope { from, envelope });
                    }
                    Err(error) => {
                        tracing::error!(node = from, %error, "a word of a node cannot be read");
                        self.tell_all(|| Input::Disturbed { node });
                    }
                }
            }
        }
    }

    fn tell_all(&self, input: impl Fn() -> Input) {
        for worker in self.workers.iter() {
            worker.send(Mail::Cluster(input()));
        }
    }
}

fn directory(table: &Table) -> Directory {
    let mut directory = Directory::default();
    for node in &table.nodes {
        let Some(number) = NodeId::new(node.number) else { continue };
        let state = if node.draining { NodeState::Draining } else { NodeState::Live };
        let (incarnation, workers) = (node.incarnation, node.workers);
        directory.set_node(number, NodeInfo { incarnation, workers, state });
    }
    for (partition, holder) in Partition::all().zip(&table.homes) {
        let holder = holder.and_then(|holder| {
            Some(Holder { node: NodeId::new(holder.node)?, fence: holder.fence })
        });
        directory.set_holder(partition, holder);
    }
    directory
}
