//! Which nodes there are, and which of them is home to what.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::homes::Homes;

/// The number of a node: leased in the cluster's registry while the node runs. Alone a server is
/// [`NodeId::ALONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NodeId(u16);

impl NodeId {
    /// The only node of a server that is no part of a cluster.
    pub const ALONE: Self = Self(0);

    /// How many numbers there are: 10 bits of a session's id.
    pub const COUNT: u16 = 1_024;

    /// None: not below [`NodeId::COUNT`].
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// One shard of all there are: a worker of a node.
#[derive(Debug, Clone, Copy, Eq, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct ShardId {
    /// Which node.
    pub node: NodeId,
    /// Which of its workers: below their number.
    pub worker: u16,
}

impl ShardId {
    /// Most workers of a node: 10 bits of a session's id.
    pub const WORKERS_MAX: u16 = 1_024;

    /// A worker of a server that is no part of a cluster.
    pub const fn alone(worker: u16) -> Self {
        Self { node: NodeId::ALONE, worker }
    }

    const fn bits(self) -> u32 {
        (self.worker as u32) << 16 | self.node.0 as u32
    }
}

/// As one number: shards are compared for every receiver of a delivery.
impl PartialEq for ShardId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Hash for ShardId {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.bits());
    }
}

/// One of the parts into which all rooms and users are divided by a hash of their names, the same
/// on all nodes. A part has its home at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u8);

impl Partition {
    /// How many there are.
    pub const COUNT: usize = 256;

    /// The one that a room of this full name belongs to, in the cluster with this seed
    /// ([`HubConfig::home_seed`](crate::HubConfig::home_seed)).
    pub fn of_room(home_seed: [u8; 32], room: &str) -> Self {
        Homes::new(home_seed).of_room(room)
    }

    /// All of them, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

/// Who is home to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// Grows whenever another node becomes the holder, and whenever the same one does anew.
    pub fence: u64,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo {
    /// Tells one process from a later one with the same number.
    pub incarnation: u64,
    /// How many shards it has: at least 1, at most [`ShardId::WORKERS_MAX`].
    pub workers: u16,
    /// What it does.
    pub state: NodeState,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It takes part.
    Live,
    /// It is about to stop: it gives its partitions away and takes no new sessions.
    Draining,
}

/// The cluster as one node sees it: a table of at most [`NodeId::COUNT`] nodes and of
/// [`Partition::COUNT`] partitions. Each change is told to all shards of the node as a whole new
/// table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    holders: Vec<Option<Holder>>,
    nodes: BTreeMap<NodeId, NodeInfo>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { holders: vec![None; Partition::COUNT], nodes: BTreeMap::new() }
    }
}

impl Directory {
    /// Sets what is known of a node. Its number of workers is brought within its bounds.
    pub fn set_node(&mut self, node: NodeId, info: NodeInfo) {
        let workers = info.workers.clamp(1, ShardId::WORKERS_MAX);
        self.nodes.insert(node, NodeInfo { workers, ..info });
    }

    /// Takes a node out. What it holds has no home until somebody else holds it.
    pub fn remove_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// Sets who holds a partition.
    pub fn set_holder(&mut self, partition: Partition, holder: Option<Holder>) {
        if let Some(known) = self.holders.get_mut(usize::from(partition.0)) {
            *known = holder;
        }
    }

    /// What is known of a node; none: it is not there.
    pub fn node(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&node)
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeInfo)> {
        self.nodes.iter().map(|(node, info)| (*node, info))
    }

    /// All shards of all nodes.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.nodes()
            .flat_map(|(node, info)| (0..info.workers).map(move |worker| ShardId { node, worker }))
    }

    /// Who holds a partition; none: nobody, or a node that is not there.
    pub fn holder(&self, partition: Partition) -> Option<Holder> {
        let holder = self.holders.get(usize::from(partition.0)).copied().flatten()?;
        self.nodes.contains_key(&holder.node).then_some(holder)
    }

    /// The shard that is home to a partition, and the fence with which it is.
    pub fn home(&self, partition: Partition) -> Option<(ShardId, u64)> {
        let Holder { node, fence } = self.holder(partition)?;
        let worker = u16::from(partition.0) % self.node(node)?.workers;
        Some((ShardId { node, worker }, fence))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_at_home_with_a_worker_of_a_node_that_is_there() {
        let mut directory = Directory::default();
        let node = NodeId::new(1_023).unwrap();
        assert_eq!(NodeId::new(1_024), None);
        directory.set_holder(Partition(5), Some(Holder { node, fence: 7 }));
        assert_eq!(directory.home(Partition(5)), None);
        let info = NodeInfo { incarnation: 1, workers: 0, state: NodeState::Live };
        directory.set_node(node, info);
        assert_eq!(directory.home(Partition(5)), Some((ShardId { node, worker: 0 }, 7)));
        directory.set_node(node, NodeInfo { workers: 3, ..info });
        assert_eq!(directory.home(Partition(5)), Some((ShardId { node, worker: 2 }, 7)));
        assert_eq!(directory.home(Partition(6)), None);
        assert_eq!(directory.shards().count(), 3);
        directory.remove_node(node);
        assert_eq!(directory.holder(Partition(5)), None);
    }
}
