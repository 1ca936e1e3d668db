//! What carries words between nodes and keeps their leases, in a box: it delays, loses its
//! connections, notices losses late, and takes partitions from whoever does not renew.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::{
    Directory, Envelope, Holder, HubConfig, Input, NodeId, NodeInfo, NodeState, Now, Partition,
    Shard, ShardId,
};

use super::worker::{Mail, Worker};
use super::{Due, WireId, World};

/// How long a node is taken for alive after its last sign of life, in milliseconds.
pub const LEASE_MS: u64 = 10_000;
/// How often a node shows that it is alive, in milliseconds.
const RENEW_MS: u64 = 3_000;
/// How much sooner a node itself thinks that its lease is over, in milliseconds.
const MARGIN_MS: u64 = 1_000;
/// How often ends of leases and gaps between words are looked for, in milliseconds.
const LOOK_MS: u64 = 500;
/// How long a partition that moves is nobody's, in milliseconds.
const NOBODY_MS: u64 = 50;

/// What is known of all nodes.
pub(super) struct Engine {
    config: HubConfig,
    /// The truth, as the registry has it.
    registry: Directory,
    fence: u64,
    nodes: Vec<Node>,
    /// Words from one node to another were lost, and the receiver does not know yet.
    gaps: BTreeSet<(u16, u16)>,
}

/// One node.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    incarnation: u64,
    /// When the registry heard of it last.
    heard_at: u64,
    /// Nothing passes between it and all others, the registry included.
    is_cut: bool,
    paused_until: u64,
}

/// What the engine does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// A node shows that it is alive.
    Renew(u16, u64),
    /// Leases that are over, gaps that were noticed.
    Look,
    /// A partition that moves has a new holder.
    Hold(u8, u16),
}

impl World {
    /// A cluster of so many nodes with this configuration, at time 0. What is between nodes takes
    /// as long as what is between workers.
    pub fn cluster(
        config: HubConfig,
        nodes: u16,
        dials: super::Dials,
        chance: crate::chance::Chance,
    ) -> Self {
        let mut world = Self::new(config.clone(), dials, chance);
        world.start_cluster(config, nodes, 0);
        world.set(0, Due::Engine(Job::Look));
        world
    }

    /// All nodes start anew; fences go on.
    pub(super) fn start_cluster(&mut self, config: HubConfig, nodes: u16, fence: u64) {
        self.workers.clear();
        self.engine = Some(Engine {
            config,
            registry: Directory::default(),
            fence,
            nodes: vec![Node::default(); usize::from(nodes)],
            gaps: BTreeSet::new(),
        });
        for node in 0..nodes {
            self.start_node(node);
        }
        if let Some(engine) = &mut self.engine {
            Partition::all().for_each(|at| engine.registry.set_holder(at, None));
        }
        self.share_out();
    }

    /// The same nodes with another configuration, all of them started anew.
    pub(super) fn restart_cluster(&mut self, config: HubConfig) {
        let (nodes, fence) = (self.node_count(), self.engine.as_ref().map_or(0, |it| it.fence));
        self.start_cluster(config, nodes, fence);
    }

    /// How many nodes there are, those that do not run included.
    pub fn node_count(&self) -> u16 {
        self.engine.as_ref().map_or(1, |engine| engine.nodes.len() as u16)
    }

    /// Whether the node's process runs.
    pub fn runs(&self, node: u16) -> bool {
        self.workers.get(usize::from(node * self.workers_each)).is_some_and(|one| one.runs)
    }

    /// The node of a link's other end, if it has one.
    pub fn node_of(&self, wire: WireId) -> Option<u16> {
        match self.wires[wire.0].place {
            super::Place::At { shard, .. } => Some(shard / self.workers_each),
            _ => None,
        }
    }

    /// A process starts under the node's number, if none runs and the registry has forgotten the
    /// one before.
    pub fn start_node(&mut self, node: u16) {
        let (each, nodes) = (self.workers_each, self.node_count());
        let is_new = usize::from(node * each) >= self.workers.len();
        let seed = self.chance.seed();
        let Some(engine) = &mut self.engine else { return };
        let Some(number) = NodeId::new(node) else { return };
        if !is_new
            && (self.workers[usize::from(node * each)].runs
                || engine.registry.node(number).is_some())
        {
            return;
        }
        let config = Arc::new(HubConfig { seed, ..engine.config.clone() });
        let lanes = each + nodes + 1;
        let workers = (0..each).map(|worker| {
            let id = ShardId { node: number, worker };
            Worker::new(Shard::new(Arc::clone(&config), id), lanes)
        });
        let workers: Vec<_> = workers.collect();
        for (worker, one) in workers.into_iter().enumerate() {
            let at = usize::from(node * each) + worker;
            match at < self.workers.len() {
                true => self.workers[at] = one,
                false => self.workers.push(one),
            }
        }
        engine.nodes[usize::from(node)] = Node::default();
        self.register(node);
        let incarnation = self.incarnation(node);
        self.set(self.now, Due::Engine(Job::Renew(node, incarnation)));
        for worker in 0..each {
            self.set_turn(node * each + worker, self.now);
        }
    }

    /// The process ends at once, and says nothing any more.
    pub fn kill(&mut self, node: u16) {
        for worker in 0..self.workers_each {
            let at = usize::from(node * self.workers_each + worker);
            self.workers[at].runs = false;
            for wire in std::mem::take(&mut self.workers[at].opened) {
                self.break_off(wire);
            }
            self.workers[at].inbox.iter_mut().for_each(std::collections::VecDeque::clear);
        }
        for wire in 0..self.wires.len() {
            let wire = WireId(wire);
            if self.node_of(wire) == Some(node) {
                self.break_off(wire);
            }
        }
    }

    /// The process stands still for a while, and does not know.
    pub fn pause(&mut self, node: u16, ms: u64) {
        let until = self.now + ms;
        if let Some(one) = self.engine_node(node) {
            one.paused_until = until;
        }
    }

    /// Nothing passes between the node and the others, or everything does again.
    pub fn set_cut(&mut self, node: u16, is_cut: bool) {
        let Some(one) = self.engine_node(node) else { return };
        let was_cut = std::mem::replace(&mut one.is_cut, is_cut);
        if was_cut && !is_cut && self.runs(node) {
            self.reconnected(node);
        }
    }

    /// A partition gets another holder, or has none for a moment first.
    pub fn move_partition(&mut self, at: Partition, to: u16) {
        let Some(engine) = &mut self.engine else { return };
        engine.registry.set_holder(at, None);
        self.tell_all();
        self.set(self.now + NOBODY_MS, Due::Engine(Job::Hold(at.0, to)));
    }

    /// Some words between two nodes are lost from here on, until the receiver notices.
    pub fn lose_words(&mut self, from: u16, to: u16) {
        if let Some(engine) = &mut self.engine {
            engine.gaps.insert((from, to));
        }
    }

    /// Everything passes, nobody stands still, and whoever is dead stays so.
    pub fn calm_engine(&mut self) {
        for node in 0..self.node_count() {
            if let Some(one) = self.engine_node(node) {
                one.paused_until = 0;
            }
            self.set_cut(node, false);
        }
    }

    /// Until when a worker's process stands still, if it does.
    pub(super) fn paused_until(&self, worker: u16) -> Option<u64> {
        let engine = self.engine.as_ref()?;
        let node = engine.nodes.get(usize::from(worker / self.workers_each))?;
        (node.paused_until > self.now).then_some(node.paused_until)
    }

    fn engine_node(&mut self, node: u16) -> Option<&mut Node> {
        self.engine.as_mut()?.nodes.get_mut(usize::from(node))
    }

    fn incarnation(&self, node: u16) -> u64 {
        let engine = self.engine.as_ref();
        engine.map_or(0, |engine| engine.nodes[usize::from(node)].incarnation)
    }

    /// The registry gets to know a node, or knows it again.
    fn register(&mut self, node: u16) {
        let (now, workers) = (self.now, self.workers_each);
        let Some(engine) = &mut self.engine else { return };
        let Some(number) = NodeId::new(node) else { return };
        engine.fence += 1;
        let incarnation = engine.fence;
        let one = &mut engine.nodes[usize::from(node)];
        (one.incarnation, one.heard_at) = (incarnation, now);
        let info = NodeInfo { incarnation, workers, state: NodeState::Live };
        engine.registry.set_node(number, info);
        self.share_out();
    }

    /// Partitions without a holder get one.
    fn share_out(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let nodes: Vec<_> = engine.registry.nodes().map(|(node, _)| node).collect();
        for at in Partition::all() {
            if engine.registry.holder(at).is_some() || nodes.is_empty() {
                continue;
            }
            engine.fence += 1;
            let node = nodes[self.chance.index(nodes.len())];
            let fence = engine.fence;
            engine.registry.set_holder(at, Some(Holder { node, fence }));
        }
        self.tell_all();
    }

    /// Each node that can be reached hears of the registry as it is now, some time later.
    fn tell_all(&mut self) {
        for node in 0..self.node_count() {
            let Some(engine) = &self.engine else { return };
            let is_cut = engine.nodes[usize::from(node)].is_cut;
            if self.runs(node) && !is_cut {
                self.tell_directory(node);
            }
        }
    }

    fn tell_directory(&mut self, node: u16) {
        let Some(engine) = &self.engine else { return };
        let directory = Arc::new(engine.registry.clone());
        self.tell(node, |_| Input::Directory(Arc::clone(&directory)));
    }

    /// Tells all shards of a node something, at one time.
    fn tell(&mut self, node: u16, mut input: impl FnMut(u16) -> Input) {
        let at = self.now + self.envelope_delay();
        let lane = usize::from(self.workers_each + self.node_count());
        for worker in 0..self.workers_each {
            let to = node * self.workers_each + worker;
            self.put_in(to, lane, at, Mail::Told(input(worker)));
        }
    }

    pub(super) fn engine_works(&mut self, job: Job) {
        match job {
            Job::Renew(node, incarnation) => self.renew(node, incarnation),
            Job::Look => {
                self.end_leases();
                self.notice_gaps();
                self.set(self.now + LOOK_MS, Due::Engine(Job::Look));
            }
            Job::Hold(at, to) => {
                let Some(engine) = &mut self.engine else { return };
                engine.fence += 1;
                let fence = engine.fence;
                let holder = NodeId::new(to).filter(|&to| engine.registry.node(to).is_some());
                let holder = holder.map(|node| Holder { node, fence });
                engine.registry.set_holder(Partition(at), holder);
                self.share_out();
            }
        }
    }

    fn renew(&mut self, node: u16, incarnation: u64) {
        let now = self.now;
        if !self.runs(node) || self.incarnation(node) != incarnation {
            return;
        }
        let Some(one) = self.engine_node(node) else { return };
        let next = (now + RENEW_MS).max(one.paused_until);
        let waits = one.paused_until > now;
        if !one.is_cut && !waits {
            one.heard_at = now;
            let until = Now(now + LEASE_MS - MARGIN_MS);
            self.tell(node, |_| Input::Lease { until });
        }
        let reaches = self.engine_node(node).is_some_and(|one| !one.is_cut);
        if reaches && !waits && self.is_forgotten(node) {
            // It goes on renewing under its new incarnation.
            return self.reconnected(node);
        }
        self.set(next, Due::Engine(Job::Renew(node, incarnation)));
    }

    fn is_forgotten(&self, node: u16) -> bool {
        let Some(number) = NodeId::new(node) else { return false };
        self.engine.as_ref().is_some_and(|engine| engine.registry.node(number).is_none())
    }

    /// A node reaches the registry again.
    fn reconnected(&mut self, node: u16) {
        if self.is_forgotten(node) {
            self.register(node);
            let incarnation = self.incarnation(node);
            self.set(self.now, Due::Engine(Job::Renew(node, incarnation)));
        } else {
            self.tell_directory(node);
        }
        for other in (0..self.node_count()).filter(|other| *other != node) {
            self.disturb(node, other);
            self.lose_words(node, other);
        }
    }

    /// Nodes that have not renewed are gone, and what they held is others'.
    fn end_leases(&mut self) {
        let now = self.now;
        let Some(engine) = &mut self.engine else { return };
        let known: Vec<_> = engine.registry.nodes().map(|(node, _)| node).collect();
        let is_over =
            |node: &NodeId| engine.nodes[usize::from(node.number())].heard_at + LEASE_MS < now;
        let gone: Vec<_> = known.into_iter().filter(is_over).collect();
        for &node in &gone {
            engine.registry.remove_node(node);
        }
        for &node in &gone {
            for other in 0..self.node_count() {
                let is_cut = self.engine_node(other).is_some_and(|other| other.is_cut);
                if other != node.number() && self.runs(other) && !is_cut {
                    self.tell(other, |_| Input::NodeGone { node });
                }
            }
        }
        if !gone.is_empty() {
            self.share_out();
        }
    }

    /// Receivers notice that words are missing.
    fn notice_gaps(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let open = |node: u16| !engine.nodes[usize::from(node)].is_cut;
        let noticed = |&&(from, to): &&(u16, u16)| open(from) && open(to);
        let noticed: Vec<_> = engine.gaps.iter().filter(noticed).copied().collect();
        for (from, to) in noticed {
            if self.chance.percent(50) {
                if let Some(engine) = &mut self.engine {
                    engine.gaps.remove(&(from, to));
                }
                self.disturb(to, from);
            }
        }
    }

    /// A node's shards hear that words to or from another may be lost: after what came before.
    fn disturb(&mut self, node: u16, other: u16) {
        let Some(number) = NodeId::new(other) else { return };
        if !self.runs(node) {
            return;
        }
        let at = self.now + self.envelope_delay();
        let lane = usize::from(self.workers_each + other);
        for worker in 0..self.workers_each {
            let to = node * self.workers_each + worker;
            self.put_in(to, lane, at, Mail::Told(Input::Disturbed { node: number }));
        }
    }

    /// A word for another node: as bytes, if there is a way.
    pub(super) fn post_abroad(&mut self, from: ShardId, to: ShardId, envelope: &Envelope) {
        let (source, target) = (from.node.number(), to.node.number());
        let at = self.now + self.envelope_delay();
        let Some(engine) = &mut self.engine else { return };
        let open = |node: u16| !engine.nodes[usize::from(node)].is_cut;
        let is_lost = !open(source) || !open(target) || engine.gaps.contains(&(source, target));
        if is_lost {
            engine.gaps.insert((source, target));
            return;
        }
        let incarnation = engine.nodes[usize::from(source)].incarnation;
        let mut bytes = Vec::new();
        envelope.encode(&mut bytes);
        let lane = usize::from(self.workers_each + source);
        let mail = Mail::Abroad(from, incarnation, Bytes::from(bytes));
        self.put_in(self.index_of(to), lane, at, mail);
    }

    /// A worker takes something out of its inbox.
    pub(super) fn take(&mut self, worker: u16, mail: Mail) {
        match mail {
            Mail::Word(from, envelope) => self.handle(worker, Input::Envelope { from, envelope }),
            Mail::Abroad(from, incarnation, bytes) => {
                let directory = &self.workers[usize::from(worker)].directory;
                let known = directory.node(from.node).map(|info| info.incarnation);
                let decoded = Envelope::decode(&bytes);
                let (Some(_), Ok(envelope)) = (known.filter(|&it| it == incarnation), decoded)
                else {
                    // Too early or too late: it counts as lost.
                    return self.lose_words(from.node.number(), worker / self.workers_each);
                };
                self.handle(worker, Input::Envelope { from, envelope });
            }
            Mail::Told(input) => {
                if let Input::Directory(directory) = &input {
                    self.workers[usize::from(worker)].directory = Arc::clone(directory);
                }
                self.handle(worker, input);
            }
        }
    }
}
