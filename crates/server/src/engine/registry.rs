//! Who is there and who holds what, read from the records that all nodes share, and what this
//! node should write to them. Pure: records in, wishes out.
//!
//! Records are numbered by revisions that grow in the whole registry. Each write names the
//! revision that it replaces and fails if there is another, so of two that want the same only one
//! gets it. A node's record ends with its lease; the others stay.
//!
//! | key | value |
//! | --- | --- |
//! | `cluster` | [`ClusterRecord`]: what all nodes agree on |
//! | `node.{number}` | [`NodeRecord`]: who has the number, until its lease ends |
//! | `home.{partition}` | [`HomeRecord`]: who holds the partition |
//!
//! A node holds a partition if its record says so and was written since its lease began: what it
//! held before, another may have taken and given back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Holder, Node, PARTITIONS, Table};

/// Of the records and of words. Nodes of different versions don't share a cluster.
pub(super) const VERSION: u32 = 1;

/// What all nodes agree on, written by the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClusterRecord {
    pub(super) version: u32,
    /// 32 bytes in hexadecimal digits. Secret: with them session ids tell where they live.
    pub(super) home_seed: String,
    /// Before this (milliseconds since 1970) nobody takes a partition that has no record: the
    /// records were lost, and who held it may hold it still.
    pub(super) settled_ms: u64,
}

/// One node, until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeRecord {
    /// In hexadecimal digits.
    pub(super) incarnation: String,
    pub(super) name: String,
    pub(super) workers: u16,
    pub(super) draining: bool,
    /// Of what all nodes must have alike.
    pub(super) digest: String,
}

/// Who holds a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HomeRecord {
    pub(super) node: u16,
    /// In hexadecimal digits.
    pub(super) incarnation: String,
    pub(super) fence: u64,
}

/// One process with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) node: u16,
    pub(super) incarnation: u64,
}

/// What a record has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Written(&'a [u8]),
    /// Deleted, or its lease has ended.
    Ended,
}

/// What this node should write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) partition: usize,
    /// The revision that it replaces; 0: none.
    pub(super) replaces: u64,
    pub(super) record: HomeRecord,
    /// It is given away: nothing may be accepted any more when it is written.
    pub(super) gives: bool,
}

/// All records as far as they are known here.
#[derive(Debug)]
pub(super) struct Registry {
    own: Peer,
    /// The revision of the node's own record with which its lease began; none: it has none.
    leased_since: Option<u64>,
    pub(super) settled_ms: u64,
    /// Before this nobody takes what others held: they may come back as this node just has.
    patient_ms: u64,
    nodes: BTreeMap<u16, (u64, NodeRecord)>,
    homes: Vec<Home>,
    gone: Vec<u16>,
}

#[derive(Debug, Clone, Default)]
struct Home {
    revision: u64,
    record: Option<(Peer, u64)>,
    /// A write is on its way.
    writing: bool,
    /// Whether a write of this node has happened is not known: held again only by another.
    doubtful: bool,
}

impl Registry {
    pub(super) fn new(own: Peer) -> Self {
        Self {
            own,
            leased_since: None,
            settled_ms: 0,
            patient_ms: 0,
            nodes: BTreeMap::new(),
            homes: vec![Home::default(); PARTITIONS],
            gone: Vec::new(),
        }
    }

    /// The same records, read anew: whoever is missing now has gone meanwhile, unless the records
    /// were lost and are not settled yet. Fences are kept where they are lost.
    pub(super) fn replace(&mut self, mut new: Self, now_ms: u64) {
        (new.leased_since, new.patient_ms) = (self.leased_since, self.patient_ms);
        for (number, (_, record)) in std::mem::take(&mut self.nodes) {
            match new.nodes.get(&number) {
                Some((_, found)) if found.incarnation == record.incarnation => {}
                None if now_ms < new.settled_ms => _ = new.nodes.insert(number, (0, record)),
                _ if number == self.own.node => {}
                _ => self.gone.push(number),
            }
        }
        new.gone = std::mem::take(&mut self.gone);
        for (old, new) in self.homes.iter().zip(&mut new.homes) {
            new.writing = old.writing;
            new.doubtful = old.doubtful && (new.revision == 0 || old.revision == new.revision);
            if new.record.is_none() {
                new.record = old.record;
            }
        }
        *self = new;
    }

    /// The node's lease has begun with this revision of its record.
    pub(super) fn lease_begins(&mut self, revision: u64) {
        self.leased_since = Some(revision);
    }

    /// The lease had ended, and so have those of others perhaps: until then they may come back.
    pub(super) fn be_patient(&mut self, until_ms: u64) {
        self.patient_ms = until_ms;
    }

    /// Whether something is put off that is to be looked at again.
    pub(super) fn waits(&self, now_ms: u64) -> bool {
        now_ms < self.settled_ms.max(self.patient_ms)
    }

    /// The node's lease has ended: it holds nothing, and comes back as another.
    pub(super) fn lease_ends(&mut self, incarnation: u64) {
        self.leased_since = None;
        self.own.incarnation = incarnation;
    }

    /// Forgets who has not come back since the records were lost.
    pub(super) fn settle(&mut self, now_ms: u64) {
        if now_ms < self.settled_ms {
            return;
        }
        let own = self.own.node;
        let missing = |number: &u16, revision: u64| revision == 0 && *number != own;
        self.gone.extend(self.nodes.iter().filter(|(n, (r, _))| missing(n, *r)).map(|(n, _)| n));
        self.nodes.retain(|number, (revision, _)| !missing(number, *revision));
    }

    /// A live node that differs from this one in what all must have alike.
    pub(super) fn stranger(&self, digest: &str) -> Option<&str> {
        let mut records = self.nodes.values().map(|(_, record)| record);
        records.find(|record| record.digest != digest).map(|record| record.name.as_str())
    }

    /// The records are lost, the lease is not: what is held is held on once it stands there again.
    pub(super) fn restart(&mut self) {
        self.leased_since = None;
    }

    pub(super) fn is_leased(&self) -> bool {
        self.leased_since.is_some()
    }

    /// Takes over what has changed. Unknown keys are passed over.
    ///
    /// # Errors
    /// The record cannot be read; it counts as none.
    pub(super) fn apply(
        &mut self,
        key: &str,
        revision: u64,
        change: Change<'_>,
    ) -> Result<(), serde_json::Error> {
        if let Some(number) = number_of(key, "node.") {
            return self.apply_node(number, revision, change);
        }
        if let Some(partition) = number_of(key, "home.") {
            return self.apply_home(usize::from(partition), revision, change);
        }
        if let (CLUSTER_KEY, Change::Written(bytes)) = (key, change) {
            self.settled_ms = serde_json::from_slice::<ClusterRecord>(bytes)?.settled_ms;
        }
        Ok(())
    }

    fn apply_node(
        &mut self,
        number: u16,
        revision: u64,
        change: Change<'_>,
    ) -> Result<(), serde_json::Error> {
        let record: Option<NodeRecord> = read(change)?;
        let new = record.as_ref().map(|record| record.incarnation.as_str());
        if let Some((_, old)) = self.nodes.get(&number)
            && new != Some(old.incarnation.as_str())
            && number != self.own.node
        {
            self.gone.push(number);
        }
        match record {
            Some(record) => self.nodes.insert(number, (revision, record)),
            None => self.nodes.remove(&number),
        };
        Ok(())
    }

    fn apply_home(
        &mut self,
        partition: usize,
        revision: u64,
        change: Change<'_>,
    ) -> Result<(), serde_json::Error> {
        let Some(home) = self.homes.get_mut(partition) else { return Ok(()) };
        (home.revision, home.doubtful) = (revision, false);
        let record: Option<HomeRecord> = read(change)?;
        if let Some(record) = record {
            let incarnation = incarnation_of(&record.incarnation);
            home.record = Some((Peer { node: record.node, incarnation }, record.fence));
        }
        Ok(())
    }

    /// The write of a wish has ended. `sure`: it is known whether it happened, and what it wrote
    /// comes by [`Registry::apply`].
    pub(super) fn written(&mut self, partition: usize, sure: bool) {
        if let Some(home) = self.homes.get_mut(partition) {
            home.writing = false;
            home.doubtful |= !sure;
        }
    }

    /// Nodes that have gone since this was last asked.
    pub(super) fn take_gone(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.gone)
    }

    /// What should be written now; each is on its way from now on.
    pub(super) fn wishes(&mut self, now_ms: u64) -> Vec<Wish> {
        let Some(leased_since) = self.leased_since else { return Vec::new() };
        let candidates: Vec<Peer> = self.candidates();
        let mut wishes = Vec::new();
        for partition in 0..self.homes.len() {
            let Some(to) = desired(partition, &candidates) else { break };
            let home = &self.homes[partition];
            if home.writing {
                continue;
            }
            let held = self.is_held(home, leased_since);
            let live = home.record.is_some_and(|(peer, _)| peer != self.own && self.is_live(peer));
            let others = home.record.is_some_and(|(peer, _)| peer.node != self.own.node);
            let waits = others && now_ms < self.patient_ms;
            let take = to == self.own && !held && !live && !waits;
            let keep = !held && home.record.is_some_and(|(peer, _)| peer == self.own);
            let settled = home.revision > 0 || now_ms >= self.settled_ms || keep;
            if !((take || keep) && settled || held && to != self.own) {
                continue;
            }
            let old = home.record.map_or(0, |(_, fence)| fence);
            let to = if held { to } else { self.own };
            // What was never given up goes on when its record is lost.
            let goes_on = keep && home.revision == 0 && !home.doubtful;
            wishes.push(Wish {
                partition,
                replaces: home.revision,
                record: HomeRecord {
                    node: to.node,
                    incarnation: hex(to.incarnation),
                    // Not below what was ever given, even if the records are lost.
                    fence: if goes_on { old } else { now_ms.max(old + 1) },
                },
                gives: held,
            });
        }
        for wish in &wishes {
            self.homes[wish.partition].writing = true;
        }
        wishes
    }

    /// Who is there, and who holds what.
    pub(super) fn table(&self) -> Table {
        let holders = self.homes.iter().map(|home| {
            let (peer, fence) = home.record?;
            let holds = match self.leased_since {
                // Without contact nobody knows who holds what.
                None => false,
                Some(since) if peer == self.own => self.is_held(home, since) && !home.writing,
                Some(_) => self.is_live(peer),
            };
            holds.then_some(Holder { node: peer.node, fence })
        });
        let nodes = self.nodes.iter().map(|(number, (_, record))| Node {
            number: *number,
            incarnation: incarnation_of(&record.incarnation),
            workers: record.workers,
            draining: record.draining,
            name: record.name.clone(),
        });
        Table { nodes: nodes.collect(), homes: holders.collect() }
    }

    fn candidates(&self) -> Vec<Peer> {
        let staying = self.nodes.iter().filter(|(_, (_, record))| !record.draining);
        let peers = staying.map(|(number, (_, record))| Peer {
            node: *number,
            incarnation: incarnation_of(&record.incarnation),
        });
        peers.collect()
    }

    fn is_held(&self, home: &Home, leased_since: u64) -> bool {
        home.record.is_some_and(|(peer, _)| peer == self.own)
            && home.revision > leased_since
            && !home.doubtful
    }

    fn is_live(&self, peer: Peer) -> bool {
        let record = self.nodes.get(&peer.node);
        record.is_some_and(|(_, record)| incarnation_of(&record.incarnation) == peer.incarnation)
    }
}

pub(super) const CLUSTER_KEY: &str = "cluster";

pub(super) fn node_key(number: u16) -> String {
    format!("node.{number}")
}

pub(super) fn home_key(partition: usize) -> String {
    format!("home.{partition}")
}

/// Not every reader of JSON keeps 64 bits.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

impl ClusterRecord {
    pub(super) fn new(home_seed: [u8; 32]) -> Self {
        let home_seed = home_seed.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { version: VERSION, home_seed, settled_ms: 0 }
    }

    /// None: it is not 64 hexadecimal digits.
    pub(super) fn seed(&self) -> Option<[u8; 32]> {
        let mut seed = [0; 32];
        if self.home_seed.len() != 64 {
            return None;
        }
        for (at, byte) in seed.iter_mut().enumerate() {
            let digits = self.home_seed.get(2 * at..2 * at + 2)?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(seed)
    }
}

/// 0 for what is none: no process draws it.
pub(super) fn incarnation_of(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or(0)
}

fn number_of(key: &str, prefix: &str) -> Option<u16> {
    key.strip_prefix(prefix)?.parse().ok()
}

fn read<T: for<'a> Deserialize<'a>>(change: Change<'_>) -> Result<Option<T>, serde_json::Error> {
    match change {
        Change::Written(bytes) => serde_json::from_slice(bytes).map(Some),
        Change::Ended => Ok(None),
    }
}

/// Who should hold a partition: each number has a score for it, and the highest has it. So only
/// what a node held moves when it goes, a new one takes its share from all, and what comes back
/// after a loss of the registry gets what it had.
pub(super) fn desired(partition: usize, candidates: &[Peer]) -> Option<Peer> {
    let score = |peer: &Peer| mix(mix(u64::from(peer.node) + 1) ^ mix(partition as u64 + 1));
    candidates.iter().copied().max_by_key(|peer| (score(peer), peer.node))
}

/// SplitMix64's finalizer: each bit of the input changes half of those of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: Peer = Peer { node: 1, incarnation: 0xa };
    const B: Peer = Peer { node: 2, incarnation: 0xb };

    fn node(registry: &mut Registry, revision: u64, peer: Peer, draining: bool) {
        let record = NodeRecord {
            incarnation: hex(peer.incarnation),
            name: String::new(),
            workers: 1,
            draining,
            digest: String::new(),
        };
        let bytes = serde_json::to_vec(&record).unwrap();
        registry.apply(&node_key(peer.node), revision, Change::Written(&bytes)).unwrap();
    }

    fn write(registry: &mut Registry, revision: u64, wish: &Wish) {
        let bytes = serde_json::to_vec(&wish.record).unwrap();
        let key = home_key(wish.partition);
        registry.apply(&key, revision, Change::Written(&bytes)).unwrap();
    }

    /// A holds everything; the revisions go up to 1,000.
    fn alone() -> Registry {
        let mut registry = Registry::new(A);
        node(&mut registry, 1, A, false);
        registry.lease_begins(1);
        let wishes = registry.wishes(5_000);
        assert_eq!(wishes.len(), PARTITIONS);
        for wish in &wishes {
            assert!(!wish.gives && wish.replaces == 0 && wish.record.fence == 5_000);
            registry.written(wish.partition, true);
            write(&mut registry, 100 + wish.partition as u64, wish);
        }
        assert!(registry.wishes(5_000).is_empty());
        registry
    }

    fn held(registry: &Registry, peer: Peer) -> usize {
        let table = registry.table();
        table.homes.iter().flatten().filter(|holder| holder.node == peer.node).count()
    }

    #[test]
    fn a_new_node_is_given_its_share_and_what_is_given_is_not_held() {
        let mut registry = alone();
        node(&mut registry, 500, B, false);
        let wishes = registry.wishes(6_000);
        assert!(wishes.iter().all(|wish| wish.gives && wish.record.node == B.node));
        assert!((90..166).contains(&wishes.len()), "{}", wishes.len());
        assert_eq!(held(&registry, A), PARTITIONS - wishes.len());
        // A write whose outcome nobody knows leaves the partition to whoever the records name.
        registry.written(wishes[0].partition, false);
        assert_eq!(held(&registry, A), PARTITIONS - wishes.len());
        assert!(registry.wishes(6_000).iter().all(|wish| wish.partition == wishes[0].partition));
    }

    #[test]
    fn what_the_dead_held_is_taken_under_a_greater_fence() {
        let mut registry = alone();
        node(&mut registry, 500, B, false);
        let given = registry.wishes(6_000);
        for wish in &given {
            registry.written(wish.partition, true);
            write(&mut registry, 600 + wish.partition as u64, wish);
        }
        assert_eq!(held(&registry, B), given.len());
        registry.apply(&node_key(B.node), 900, Change::Ended).unwrap();
        assert_eq!((registry.take_gone(), held(&registry, B)), (vec![B.node], 0));
        // The clock went back meanwhile: fences do not.
        let taken = registry.wishes(10);
        assert_eq!(taken.len(), given.len());
        assert!(taken.iter().all(|wish| wish.record.fence > 6_000 && wish.replaces > 0));
    }

    #[test]
    fn a_node_whose_lease_ended_holds_nothing_and_waits_for_others_like_it() {
        let mut registry = alone();
        node(&mut registry, 500, B, false);
        for wish in registry.wishes(6_000) {
            registry.written(wish.partition, true);
            write(&mut registry, 600 + wish.partition as u64, &wish);
        }
        registry.lease_ends(0xaa);
        assert_eq!((held(&registry, A), held(&registry, B)), (0, 0));
        let again = Peer { incarnation: 0xaa, ..A };
        node(&mut registry, 950, again, false);
        registry.apply(&node_key(B.node), 951, Change::Ended).unwrap();
        registry.lease_begins(950);
        registry.be_patient(8_000);
        let own = registry.wishes(7_999);
        let of_own = |wish: &Wish| (600..=999).contains(&wish.replaces);
        assert!(!own.is_empty() && !own.iter().any(of_own), "what B held is left alone");
        assert!(registry.waits(7_999) && !registry.waits(8_000));
        assert!(registry.wishes(8_000).iter().all(of_own));
    }

    #[test]
    fn lost_records_are_written_again_as_they_were_and_nobody_takes_what_is_not_settled() {
        let mut registry = alone();
        node(&mut registry, 500, B, false);
        registry.restart();
        let mut new = Registry::new(A);
        new.settled_ms = 20_000;
        node(&mut new, 2, A, false);
        registry.replace(new, 10_000);
        registry.lease_begins(2);
        let table = registry.table();
        assert!(table.nodes.iter().any(|node| node.number == B.node), "B may come back");
        let wishes = registry.wishes(10_000);
        assert_eq!(wishes.len(), PARTITIONS);
        assert!(wishes.iter().all(|wish| wish.record.fence == 5_000 && wish.replaces == 0));
        registry.settle(20_000);
        assert_eq!(registry.take_gone(), [B.node]);
    }

    #[test]
    fn who_drains_gives_everything_away_unless_there_is_nobody() {
        let mut registry = alone();
        node(&mut registry, 500, A, true);
        assert!(registry.wishes(6_000).is_empty());
        node(&mut registry, 501, B, false);
        let wishes = registry.wishes(6_000);
        assert!(wishes.len() == PARTITIONS && wishes.iter().all(|wish| wish.gives));
    }

    #[test]
    fn a_record_that_nobody_can_read_is_an_error_and_changes_nothing() {
        let mut registry = alone();
        for key in ["node.3", "home.7", CLUSTER_KEY] {
            assert!(registry.apply(key, 990, Change::Written(b"{")).is_err());
        }
        for key in ["node.99999", "home.", "home.300", "other", ""] {
            _ = registry.apply(key, 991, Change::Ended);
        }
        assert_eq!(ClusterRecord::new([7; 32]).seed(), Some([7; 32]));
        let broken = ClusterRecord { home_seed: "é".repeat(32), ..ClusterRecord::new([7; 32]) };
        assert_eq!(broken.seed(), None);
    }
}
