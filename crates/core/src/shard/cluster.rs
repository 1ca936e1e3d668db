//! What the cluster is like, and what follows for the rooms, users and sessions of this shard.

use std::sync::Arc;

use super::Shard;
use crate::directory::{Directory, NodeId};
use crate::io::Now;

/// What a shard of a cluster's node knows of the others.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    directory: Arc<Directory>,
    /// Until when another node cannot have taken the place of this one; none: it never could not.
    lease: Option<Now>,
}

impl Shard {
    pub(super) fn on_directory(&mut self, directory: Arc<Directory>) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.directory = directory;
    }

    pub(super) fn on_lease(&mut self, until: Now) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.lease = Some(until);
    }

    pub(super) fn on_node_gone(&mut self, _node: NodeId) {}

    pub(super) fn on_disturbed(&mut self, _node: NodeId) {}
}
