//! Words to homes that may be anywhere in the cluster, and may move while words are on their way.
//!
//! A word to a partition's home bears the fence that its sender believes in. A home with another
//! one does nothing and sends it back; one that has not heard of the fence yet keeps it until it
//! has. When a partition moves, a shard sends nothing to its new home before the old one has sent
//! back everything (`Word::Echo`): so what one sender says keeps its order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Shard;
use super::awaited::{Awaited, unavailable};
use super::given::Travels;
use crate::directory::{Directory, NodeId, Partition, ShardId};
use crate::envelope::{Caller, Homed, RoomOp, Word};
use crate::homes::Homes;
use crate::io::Now;
use crate::key::{FullName, RoomKey, SessionKey};
use crate::waiting::Waiting;

/// How long a word waits for a partition to have a home, or for news of its fence, in milliseconds.
const WAIT_MS: u64 = 5_000;

/// Most words of one shard that wait so.
const WAITING_MAX: usize = 16_384;

/// How often a word is sent back to be sent again before it is given up.
const TRIES_MAX: u8 = 16;

/// What a shard of a cluster's node knows of the others.
#[derive(Debug)]
pub(super) struct Cluster {
    pub homes: Homes,
    pub directory: Arc<Directory>,
    /// Until when no other node can have taken the place of this one; none: one always could.
    pub lease: Option<Now>,
    /// The greatest fence heard of, for each partition.
    pub fences: Vec<u64>,
    /// Answers that other nodes owe.
    pub awaited: Waiting<NodeId, Awaited>,
    /// Words that wait for a home, by partition, in the order they go in.
    waiting: BTreeMap<Partition, Line>,
    /// Words whose fence is not known here yet.
    early: VecDeque<Kept<Homed>>,
    /// Partitions whose seats and users are to be told again at the end of the turn.
    pub moved: Vec<Partition>,
    /// Sessions on their way to here, and away.
    pub travels: Travels,
    /// Seats of other shards that those have not named since they began to tell theirs anew.
    pub unnamed: BTreeMap<ShardId, BTreeSet<(RoomKey, SessionKey)>>,
}

/// Words that wait for one partition's home.
#[derive(Debug, Default)]
struct Line {
    /// The home before, until it has sent back what it did not take.
    before: Option<ShardId>,
    /// How many of the words came back, and so go before the others.
    came_back: usize,
    words: VecDeque<Kept<(u8, Word)>>,
}

#[derive(Debug)]
struct Kept<T> {
    /// Until when it waits.
    until: Now,
    what: T,
}

/// Where something is at home.
#[derive(Debug, Clone, Copy)]
pub(super) enum Home {
    /// Alone: at this shard.
    Shard(ShardId),
    /// In a cluster: wherever this partition is.
    Partition(Partition),
}

impl Cluster {
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            homes: Homes::new(seed),
            directory: Arc::default(),
            lease: None,
            fences: vec![0; Partition::COUNT],
            awaited: Waiting::default(),
            waiting: BTreeMap::new(),
            early: VecDeque::new(),
            moved: Vec::new(),
            travels: Travels::default(),
            unnamed: BTreeMap::new(),
        }
    }

    /// Whether words to a partition must wait.
    pub fn is_blocked(&self, at: Partition) -> bool {
        self.waiting.get(&at).is_some_and(|line| line.before.is_some()) || self.moved.contains(&at)
    }

    /// Nothing goes to a partition before its home up to now has sent back what it did not take.
    /// `false`: it waits for an earlier home already, so that this one was sent nothing.
    pub fn block(&mut self, at: Partition, before: ShardId) -> bool {
        let line = self.waiting.entry(at).or_default();
        let is_first = line.before.is_none();
        line.before.get_or_insert(before);
        is_first
    }

    /// The home before has sent back everything, or never will.
    pub fn unblock(&mut self, at: Partition, before: ShardId) {
        if let Some(line) = self.waiting.get_mut(&at).filter(|line| line.before == Some(before)) {
            line.before = None;
            self.moved.push(at);
        }
    }

    /// Which partitions wait for an earlier home on this node.
    pub fn blocked_by(&self, node: NodeId) -> Vec<(Partition, ShardId)> {
        let lines = self.waiting.iter().filter_map(|(at, line)| Some((*at, line.before?)));
        lines.filter(|(_, before)| before.node == node).collect()
    }

    pub fn next_deadline(&self) -> Option<Now> {
        let waiting = self.waiting.values().flat_map(|line| &line.words);
        let waiting = waiting.map(|kept| kept.until).min();
        let early = self.early.front().map(|kept| kept.until);
        let owed = [self.awaited.next_deadline(), self.travels.next_deadline()];
        owed.into_iter().chain([waiting, early]).flatten().min()
    }

    fn count(&self) -> usize {
        self.early.len() + self.waiting.values().map(|line| line.words.len()).sum::<usize>()
    }
}

impl Shard {
    pub(super) fn on_lease(&mut self, until: Now) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.lease = cluster.lease.max(Some(until));
    }

    /// Whether homes here must accept nothing, because others may be homes to the same by now.
    pub(super) fn lease_is_over(&self) -> bool {
        let Some(cluster) = &self.cluster else { return false };
        cluster.lease.is_none_or(|until| self.now > until)
    }

    pub(super) fn send_to_room(
        &mut self,
        namespace: u16,
        room: FullName,
        caller: Caller,
        op: RoomOp,
    ) {
        let home = self.home_of_room(&room);
        self.send_home(home, Word::Room { room, namespace, caller, op });
    }

    pub(super) fn send_home(&mut self, home: Home, word: Word) {
        match home {
            Home::Shard(shard) => self.send(shard, word),
            Home::Partition(at) => self.send_to_partition(at, 0, word),
        }
    }

    fn send_to_partition(&mut self, at: Partition, tries: u8, word: Word) {
        let Some(cluster) = &mut self.cluster else { return };
        let home = cluster.directory.home(at).filter(|_| !cluster.is_blocked(at));
        match home {
            None => self.wait_for_home(at, tries, word),
            Some((shard, _)) if shard == self.id => match self.may_take(&word) {
                true => self.own.push_back(word),
                false => self.refuse_word(word, lease_over()),
            },
            Some((shard, fence)) => {
                let (from, word) = (self.id, Box::new(word));
                self.send(shard, Word::Homed(Homed { from, at, fence, tries, word }));
            }
        }
    }

    fn wait_for_home(&mut self, at: Partition, tries: u8, word: Word) {
        let until = self.now.plus(WAIT_MS);
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.count() >= WAITING_MAX {
            return self.refuse_word(word, no_home());
        }
        let line = cluster.waiting.entry(at).or_default();
        line.words.push_back(Kept { until, what: (tries, word) });
    }

    /// Whether the home here may do this: after its lease only what takes seats away or tells who
    /// has one.
    fn may_take(&self, word: &Word) -> bool {
        !word.needs_lease() || !self.lease_is_over()
    }

    pub(super) fn on_homed(&mut self, homed: Homed) {
        let may_take = self.may_take(&homed.word);
        let Some(cluster) = &mut self.cluster else { return };
        let Homed { from, at, fence, .. } = homed;
        let home = cluster.directory.home(at);
        let is_home = home == Some((self.id, fence));
        let known = cluster.fences[usize::from(at.0)];
        if is_home && may_take {
            self.on_word(*homed.word);
        } else if is_home {
            self.refuse_word(*homed.word, lease_over());
        } else if fence > known || (fence == known && home.is_none()) {
            // Nobody's for a while, a partition may come back to whom it had.
            // Seats that are told again are as many as there are.
            if !homed.word.is_reseat() && cluster.count() >= WAITING_MAX {
                return self.refuse_word(*homed.word, no_home());
            }
            cluster.early.push_back(Kept { until: self.now.plus(WAIT_MS), what: homed });
        } else {
            let Homed { tries, word, .. } = homed;
            self.send(from, Word::NotHome { at, fence, tries, word });
        }
    }

    /// Words that came before the news of their fence.
    pub(super) fn look_at_early(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        for kept in std::mem::take(&mut cluster.early) {
            self.on_homed(kept.what);
        }
    }

    /// A home has not taken a word: it goes again, before what waits and was not sent yet.
    pub(super) fn on_not_home(&mut self, at: Partition, fence: u64, tries: u8, mut word: Word) {
        if word.is_reseat() || !self.recall(&mut word) {
            // Seats are told again by themselves as soon as there is another home.
            return;
        }
        if tries >= TRIES_MAX {
            return self.refuse_word(word, no_home());
        }
        let until = self.now.plus(WAIT_MS);
        let Some(cluster) = &mut self.cluster else { return };
        let known = cluster.directory.home(at).map(|(_, fence)| fence);
        let line = cluster.waiting.entry(at).or_default();
        let kept = Kept { until, what: (tries + 1, word) };
        line.words.insert(line.came_back.min(line.words.len()), kept);
        line.came_back += 1;
        let is_free = line.before.is_none() && known.is_some_and(|known| known > fence);
        if is_free && !cluster.moved.contains(&at) {
            self.send_waiting(at);
        }
    }

    /// Sends what waits for a partition, if it can go.
    pub(super) fn send_waiting(&mut self, at: Partition) {
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.is_blocked(at) || cluster.directory.home(at).is_none() {
            return;
        }
        let Some(line) = cluster.waiting.remove(&at) else { return };
        for Kept { what: (tries, word), .. } in line.words {
            self.send_to_partition(at, tries, word);
        }
    }

    /// Gives up on words that have waited for too long.
    pub(super) fn give_up_waiting(&mut self) {
        let now = self.now;
        let Some(cluster) = &mut self.cluster else { return };
        let is_due = |until: Now| until <= now;
        let mut late = Vec::new();
        for line in cluster.waiting.values_mut() {
            let came_back = line.words.iter().take(line.came_back);
            let gone = came_back.filter(|kept| is_due(kept.until)).count();
            line.came_back -= gone;
            for kept in std::mem::take(&mut line.words) {
                match is_due(kept.until) {
                    true => late.push(kept.what.1),
                    false => line.words.push_back(kept),
                }
            }
        }
        cluster.waiting.retain(|_, line| line.before.is_some() || !line.words.is_empty());
        for kept in std::mem::take(&mut cluster.early) {
            match is_due(kept.until) {
                true => late.push(*kept.what.word),
                false => cluster.early.push_back(kept),
            }
        }
        for word in late {
            self.refuse_word(word, no_home());
        }
    }
}

impl Word {
    fn is_reseat(&self) -> bool {
        matches!(self, Self::Room { op: RoomOp::Reseat(_), .. })
    }

    fn needs_lease(&self) -> bool {
        match self {
            Self::UserSession { .. } => false,
            Self::Within { word, .. } => word.needs_lease(),
            Self::Room { op, .. } => !matches!(
                op,
                RoomOp::Leave { .. }
                    | RoomOp::Unseat
                    | RoomOp::Drop
                    | RoomOp::Resume
                    | RoomOp::Reseat(_)
            ),
            _ => true,
        }
    }
}

fn no_home() -> roomcast_wire::Refusal {
    unavailable("no node of the cluster is home to this at the moment: try again")
}

fn lease_over() -> roomcast_wire::Refusal {
    unavailable("this node has lost touch with the cluster and accepts nothing: try again")
}
