//! Words on their way in: messages of other nodes are checked, put in order and taken apart.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::words::{FIRST, HEAD, Kind, LAST, PIECE_HEAD, VERSION, number16, number32, number64};
use super::{Table, Told};

/// Largest word that is put together from pieces: four times the largest message of a client.
const WORD_BYTES_MAX: usize = 64 << 20;

/// How long the first words of a node wait until the table names it: the two come different ways.
const STRANGER: Duration = Duration::from_secs(2);

/// Bytes of such words that wait.
const STRANGER_BYTES: usize = 4 << 20;

/// What comes from the other nodes.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    peers: BTreeMap<u16, Peer>,
    /// The live nodes and which process has each number.
    live: BTreeMap<u16, u64>,
    /// Messages of nodes that are not in the table yet.
    strangers: VecDeque<(Instant, Bytes)>,
    strangers_bytes: usize,
}

/// What comes from one incarnation of a node.
#[derive(Debug)]
struct Peer {
    incarnation: u64,
    /// The last number.
    number: u64,
    /// A word whose end is missing still.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    to_worker: u16,
    from_worker: u16,
    bytes: Vec<u8>,
}

impl Incoming {
    /// Takes a message apart; what is no message of ours is passed over.
    pub(super) fn take(&mut self, now: Instant, message: Bytes, tell: &mut dyn FnMut(Told)) {
        let Some(head) = Head::read(&message) else {
            tracing::warn!(bytes = message.len(), "a message that no node of this version sends");
            return;
        };
        if self.live.get(&head.from) != Some(&head.incarnation) {
            return self.keep(now, message, head.from, tell);
        }
        self.take_live(&head, &message, tell);
    }

    /// This node is another incarnation: numbers begin anew.
    pub(super) fn restart(&mut self) {
        self.peers.clear();
        self.strangers.clear();
        self.strangers_bytes = 0;
    }

    /// The nodes that are live from now on. What waited for one of them is taken.
    pub(super) fn know(&mut self, now: Instant, table: &Table, tell: &mut dyn FnMut(Told)) {
        self.live = table.nodes.iter().map(|node| (node.number, node.incarnation)).collect();
        let live = &self.live;
        self.peers.retain(|node, peer| live.get(node) == Some(&peer.incarnation));
        self.strangers_bytes = 0;
        for (since, message) in std::mem::take(&mut self.strangers) {
            let Some(head) = Head::read(&message) else { continue };
            if self.live.get(&head.from) == Some(&head.incarnation) {
                self.take_live(&head, &message, tell);
            } else if now.duration_since(since) < STRANGER {
                self.strangers_bytes += message.len();
                self.strangers.push_back((since, message));
            }
        }
    }

    /// A node that has died goes on sending at times; a new one is about to be in the table.
    fn keep(&mut self, now: Instant, message: Bytes, from: u16, tell: &mut dyn FnMut(Told)) {
        while let Some((since, first)) = self.strangers.front()
            && (now.duration_since(*since) >= STRANGER
                || self.strangers_bytes + message.len() > STRANGER_BYTES)
        {
            self.strangers_bytes -= first.len();
            self.strangers.pop_front();
        }
        if message.len() > STRANGER_BYTES {
            return tell(Told::Disturbed(from));
        }
        self.strangers_bytes += message.len();
        self.strangers.push_back((now, message));
    }

    fn take_live(&mut self, head: &Head, message: &Bytes, tell: &mut dyn FnMut(Told)) {
        let fresh = Peer { incarnation: head.incarnation, number: 0, begun: None };
        let peer = self.peers.entry(head.from).or_insert(fresh);
        if peer.incarnation != head.incarnation {
            *peer = Peer { incarnation: head.incarnation, number: 0, begun: None };
        }
        let expected = peer.number + u64::from(head.kind == Kind::Words);
        if head.number != expected {
            peer.begun = None;
            // A beat overtakes nothing, and one that is repeated says nothing new.
            let repeated = head.number < expected;
            if !(repeated && head.kind == Kind::Beat) {
                tell(Told::Disturbed(head.from));
            }
            if repeated {
                return;
            }
        }
        peer.number = head.number;
        if head.kind == Kind::Words && !peer.read(head.from, message, tell) {
            peer.begun = None;
            tell(Told::Disturbed(head.from));
        }
    }
}

impl Peer {
    /// Whether all pieces could be read.
    fn read(&mut self, from: u16, message: &Bytes, tell: &mut dyn FnMut(Told)) -> bool {
        let mut rest = message.slice(HEAD..);
        while !rest.is_empty() {
            if rest.len() < PIECE_HEAD {
                return false;
            }
            let head = rest.split_to(PIECE_HEAD);
            let length = number32(&head[5..9]);
            if length > rest.len() {
                return false;
            }
            let piece = rest.split_to(length);
            let (to_worker, from_worker) = (number16(&head[1..3]), number16(&head[3..5]));
            if head[0] & FIRST != 0 {
                let bytes = Vec::new();
                self.begun = Some(Begun { to_worker, from_worker, bytes });
            }
            // The rest of a word whose beginning was lost.
            let Some(begun) = &mut self.begun else { continue };
            let is_whole = head[0] & FIRST != 0 && head[0] & LAST != 0;
            if !is_whole {
                if begun.bytes.len() + piece.len() > WORD_BYTES_MAX {
                    return false;
                }
                begun.bytes.extend_from_slice(&piece);
            }
            if head[0] & LAST != 0
                && let Some(Begun { to_worker, from_worker, bytes }) = self.begun.take()
            {
                let bytes = if is_whole { piece } else { bytes.into() };
                tell(Told::Word { from, from_worker, to_worker, bytes });
            }
        }
        true
    }
}

struct Head {
    kind: Kind,
    from: u16,
    incarnation: u64,
    number: u64,
}

impl Head {
    fn read(message: &[u8]) -> Option<Self> {
        let head = message.get(..HEAD)?;
        let kind = match (head[0], head[1]) {
            (VERSION, 1) => Kind::Words,
            (VERSION, 2) => Kind::Beat,
            _ => return None,
        };
        let (from, incarnation) = (number16(&head[2..4]), number64(&head[4..12]));
        Some(Self { kind, from, incarnation, number: number64(&head[12..HEAD]) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::words::{Outgoing, Sending};
    use super::super::{Node, Parcel};
    use super::*;

    const FROM: u16 = 7;

    fn table(incarnation: u64) -> Table {
        let name = String::new();
        let node = Node { number: FROM, incarnation, workers: 1, draining: false, name };
        Table { nodes: vec![node], homes: Box::default() }
    }

    /// What the receiver is told, in short.
    fn told(incoming: &mut Incoming, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
        let mut all = Vec::new();
        for message in messages {
            incoming.take(Instant::now(), message.into(), &mut |told| all.push(short(told)));
        }
        all
    }

    fn short(told: Told) -> String {
        match told {
            Told::Word { from_worker, to_worker, bytes, .. } => {
                format!("{from_worker}>{to_worker} {}", String::from_utf8_lossy(&bytes))
            }
            Told::Disturbed(_) => "disturbed".into(),
            other => format!("{other:?}"),
        }
    }

    fn known() -> Incoming {
        let mut incoming = Incoming::default();
        incoming.know(Instant::now(), &table(1), &mut |_| {});
        incoming
    }

    fn message(outgoing: &mut Outgoing, words: &[&str]) -> Vec<u8> {
        let mut sending = Sending::default();
        for word in words {
            sending.add(2, 3, 4, |to| to.extend_from_slice(word.as_bytes()));
        }
        let (to, bytes) = sending.take().next().unwrap();
        outgoing.messages(Parcel { to, bytes }, 1 << 20).remove(0)
    }

    #[test]
    fn words_of_a_turn_share_a_message_and_keep_their_order() {
        let (mut incoming, mut outgoing) = (known(), Outgoing::new(FROM, 1));
        let first = message(&mut outgoing, &["a", "", "b"]);
        let second = message(&mut outgoing, &["c"]);
        assert_eq!(told(&mut incoming, [first, second]), ["4>3 a", "4>3 ", "4>3 b", "4>3 c"]);
    }

    #[test]
    fn a_gap_a_repetition_and_a_lost_end_are_told() {
        let (mut incoming, mut outgoing) = (known(), Outgoing::new(FROM, 1));
        let [first, lost, third, last] =
            ["a", "b", "c", "d"].map(|word| message(&mut outgoing, &[word]));
        assert_eq!(told(&mut incoming, [first.clone()]), ["4>3 a"]);
        assert_eq!(told(&mut incoming, [third]), ["disturbed", "4>3 c"]);
        assert_eq!(told(&mut incoming, [lost, first]), ["disturbed", "disturbed"]);
        // The last message is lost: only the beat tells.
        drop(last);
        let beat = outgoing.beat().unwrap();
        assert_eq!(outgoing.beat(), None);
        assert_eq!(told(&mut incoming, [beat.clone(), beat]), ["disturbed"]);
        let next = message(&mut outgoing, &["e"]);
        assert_eq!(told(&mut incoming, [next]), ["4>3 e"]);
    }

    #[test]
    fn the_first_words_of_a_node_wait_for_the_table_and_those_of_the_dead_are_dropped() {
        let mut incoming = Incoming::default();
        let (mut old, mut new) = (Outgoing::new(FROM, 1), Outgoing::new(FROM, 2));
        let (of_old, of_new) = (message(&mut old, &["old"]), message(&mut new, &["new"]));
        assert!(told(&mut incoming, [of_new, of_old]).is_empty());
        let mut all = Vec::new();
        incoming.know(Instant::now(), &table(2), &mut |told| all.push(short(told)));
        assert_eq!(all, ["4>3 new"]);
    }

    #[test]
    fn a_word_larger_than_a_message_comes_in_pieces() {
        let (mut incoming, mut outgoing) = (known(), Outgoing::new(FROM, 1));
        let mut sending = Sending::default();
        let large = "x".repeat(5_000);
        for word in ["before", &large, "after"] {
            sending.add(2, 3, 4, |to| to.extend_from_slice(word.as_bytes()));
        }
        let (to, bytes) = sending.take().next().unwrap();
        let messages = outgoing.messages(Parcel { to, bytes }, 600);
        assert!(messages.len() >= 9 && messages.iter().all(|message| message.len() <= 600));
        let whole = [String::from("4>3 before"), format!("4>3 {large}"), "4>3 after".into()];
        assert_eq!(told(&mut incoming, messages.clone()), whole);
        // Without one in the middle there is no word made of what is left.
        let mut incoming = known();
        let without = messages.into_iter().enumerate().filter(|(at, _)| *at != 3);
        let heard = told(&mut incoming, without.map(|(_, message)| message));
        assert_eq!(heard, ["4>3 before", "disturbed", "4>3 after"]);
    }

    proptest! {
        #[test]
        fn any_message_is_taken_or_passed_over(
            kind in 0u8..4, number in 0u64..4, body in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let mut message = vec![VERSION, kind, 0, FROM as u8, 0, 0, 0, 0, 0, 0, 0, 1];
            message.extend_from_slice(&number.to_be_bytes());
            message.extend_from_slice(&body);
            told(&mut known(), [message, body]);
        }

        #[test]
        fn whatever_the_sizes_all_words_arrive(
            sizes in proptest::collection::vec(0usize..900, 1..30), bytes_max in 40usize..1_000
        ) {
            let mut sending = Sending::default();
            for size in &sizes {
                sending.add(2, 0, 0, |to| to.resize(to.len() + size, b'w'));
            }
            let mut outgoing = Outgoing::new(FROM, 1);
            let parcels = sending.take().map(|(to, bytes)| Parcel { to, bytes });
            let messages: Vec<_> =
                parcels.flat_map(|parcel| outgoing.messages(parcel, bytes_max)).collect();
            prop_assert!(messages.iter().all(|message| message.len() <= bytes_max));
            let arrived = told(&mut known(), messages).into_iter().map(|word| word.len() - 4);
            prop_assert_eq!(arrived.collect::<Vec<_>>(), sizes);
        }
    }
}
