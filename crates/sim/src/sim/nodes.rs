//! What happens to nodes, and what ends again.

use roomcast_core::Partition;

use super::Sim;

/// Longest time that a node is cut off, or stands still, in milliseconds: longer than a lease.
const AWAY_MS_MAX: u64 = 25_000;

/// Something that ends at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mend {
    at: u64,
    node: u16,
    /// A killed node starts anew; else one that is cut off is reached again.
    starts: bool,
}

impl Sim {
    /// Lets something happen to a node, or between two.
    pub(super) fn node_fault(&mut self) {
        let node = self.chance.up_to(u64::from(self.plan.nodes) - 1) as u16;
        let other = self.chance.up_to(u64::from(self.plan.nodes) - 1) as u16;
        let away = self.chance.pick(&[300, 5_000, AWAY_MS_MAX]).unwrap_or(300);
        let away = 1 + self.chance.up_to(away);
        let at = self.world.now() + away;
        match self.chance.up_to(9) {
            0 | 1 => self.kill(node, at),
            2 => {
                self.note(|| format!("node {node} stands still for {away} ms"));
                self.world.pause(node, away);
            }
            3 | 4 => {
                self.note(|| format!("node {node} is cut off for {away} ms"));
                self.world.set_cut(node, true);
                self.mends.push(Mend { at, node, starts: false });
            }
            5 | 6 if node != other => {
                self.note(|| format!("words from node {node} to {other} are lost"));
                self.world.lose_words(node, other);
            }
            _ => {
                self.note(|| format!("partitions move to node {node}"));
                for _ in 0..self.chance.between(1, 40) {
                    let partition = Partition(self.chance.number() as u8);
                    self.world.move_partition(partition, node);
                }
            }
        }
    }

    fn kill(&mut self, node: u16, at: u64) {
        let running = (0..self.plan.nodes).filter(|&node| self.world.runs(node)).count();
        if !self.world.runs(node) || running < 2 {
            return;
        }
        self.note(|| format!("node {node} is killed"));
        self.world.kill(node);
        self.mends.push(Mend { at, node, starts: true });
    }

    /// What is to end by now ends.
    pub(super) fn mend_due(&mut self) {
        let now = self.world.now();
        let due: Vec<_> = self.mends.extract_if(.., |mend| mend.at <= now).collect();
        for Mend { node, starts, .. } in due {
            match starts {
                true => {
                    self.note(|| format!("node {node} may start"));
                    self.world.start_node(node);
                    if !self.world.runs(node) {
                        // The registry has not forgotten the process before.
                        self.mends.push(Mend { at: now + 1_000, node, starts });
                    }
                }
                false => {
                    self.note(|| format!("node {node} is reached again"));
                    self.world.set_cut(node, false);
                }
            }
        }
    }

    /// All nodes that run are reached and move; those that are dead stay so.
    pub(super) fn mend_all(&mut self) {
        self.mends.clear();
        self.world.calm_engine();
    }
}
