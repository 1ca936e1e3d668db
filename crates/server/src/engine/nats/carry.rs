//! Words on their way to other nodes: numbered, cut, sent, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State as Connection;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;

use super::super::registry::Peer;
use super::super::words::Outgoing;
use super::super::{Parcel, State};
use super::connect::Address;

/// How often the last number is said, where something was sent: as long may the loss of the last
/// message go unnoticed.
const BEAT: Duration = Duration::from_millis(500);

/// Who is live.
#[derive(Debug)]
pub(super) struct Live {
    /// This node.
    pub(super) own: Peer,
    /// All by number, and which process has each.
    pub(super) nodes: BTreeMap<u16, u64>,
}

/// Sends what workers hand over.
pub(super) struct Carry {
    pub(super) address: Address,
    pub(super) client: Client,
    pub(super) parcels: Receiver<Parcel>,
    pub(super) live: watch::Receiver<Arc<Live>>,
    /// Nodes for which words were dropped here.
    pub(super) disturbed: Sender<u16>,
    pub(super) state: Arc<State>,
}

/// The way to one incarnation of a node.
struct Way {
    from: Peer,
    incarnation: u64,
    subject: String,
    outgoing: Outgoing,
}

impl Carry {
    /// Runs until the engine ends.
    pub(super) async fn run(mut self) {
        let mut ways: BTreeMap<u16, Way> = BTreeMap::new();
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                parcel = self.parcels.recv() => match parcel {
                    Some(parcel) => self.send(&mut ways, parcel).await,
                    None => return,
                },
                _ = beats.tick() => self.beat(&mut ways).await,
            }
        }
    }

    async fn send(&mut self, ways: &mut BTreeMap<u16, Way>, parcel: Parcel) {
        let bytes = parcel.bytes.len();
        self.send_counted(ways, parcel).await;
        self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.state.overflowed.swap(false, Ordering::AcqRel) {
            self.update(ways);
            for (node, way) in ways.iter_mut() {
                way.outgoing.skip();
                _ = self.disturbed.send(*node).await;
            }
        }
    }

    async fn send_counted(&mut self, ways: &mut BTreeMap<u16, Way>, parcel: Parcel) {
        self.update(ways);
        let to = parcel.to;
        // Nobody misses what is for a node that has gone.
        let Some(way) = ways.get_mut(&to) else { return };
        let counters = &self.state.counters;
        // What is said to nobody now is not kept for later: the other side is told of the gap.
        if self.client.connection_state() != Connection::Connected {
            way.outgoing.skip();
            counters.dropped_total.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let messages = way.outgoing.messages(parcel, self.client.max_payload());
        for message in messages {
            counters.messages_sent_total.fetch_add(1, Ordering::Relaxed);
            counters.bytes_sent_total.fetch_add(message.len() as u64, Ordering::Relaxed);
            if let Err(error) = self.client.publish(way.subject.clone(), message.into()).await {
                tracing::warn!(node = to, %error, "words for a node were not sent");
                counters.dropped_total.fetch_add(1, Ordering::Relaxed);
                _ = self.disturbed.send(to).await;
            }
        }
    }

    async fn beat(&mut self, ways: &mut BTreeMap<u16, Way>) {
        self.update(ways);
        if self.client.connection_state() != Connection::Connected {
            return;
        }
        for way in ways.values_mut() {
            let Some(beat) = way.outgoing.beat() else { continue };
            // If it fails, the next message tells as well.
            _ = self.client.publish(way.subject.clone(), beat.into()).await;
        }
    }

    fn update(&mut self, ways: &mut BTreeMap<u16, Way>) {
        if !self.live.has_changed().unwrap_or(false) {
            return;
        }
        let live = Arc::clone(&self.live.borrow_and_update());
        let own = live.own;
        ways.retain(|node, way| way.from == own && live.nodes.get(node) == Some(&way.incarnation));
        for (node, incarnation) in live.nodes.iter().filter(|(node, _)| **node != own.node) {
            ways.entry(*node).or_insert_with(|| Way {
                from: own,
                incarnation: *incarnation,
                subject: self.address.subject(*node, *incarnation),
                outgoing: Outgoing::new(own.node, own.incarnation),
            });
        }
    }
}
