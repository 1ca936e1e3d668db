//! Where rooms, users and sessions of a cluster are at home: the same on all nodes, whatever their
//! versions, and known to nobody without the cluster's seed.

use std::fmt;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use roomcast_wire::SessionId;

use crate::directory::{NodeId, Partition, ShardId};

/// The bits of a session's id that say where it lives: 10 for the node, 10 for the worker.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u128 = (1 << PLACE_BITS) - 1;

/// The Mersenne prime 2⁶¹ − 1, modulo which names are hashed.
const PRIME: u128 = (1 << 61) - 1;

/// What the cluster's seed says.
pub(crate) struct Homes {
    /// Where the polynomial that has a name's bytes as coefficients is looked at. Without it nobody
    /// can choose names that fall together (threat S23).
    point: u64,
    spread: u64,
    /// What hides the place in a session's id.
    mask: ChaCha12Rng,
}

impl Homes {
    pub fn new(seed: [u8; 32]) -> Self {
        let mut keys = ChaCha12Rng::from_seed(seed);
        let point = keys.next_u64() >> 4 | 1;
        let spread = keys.next_u64() | 1;
        let mut mask_key = [0; 32];
        keys.fill_bytes(&mut mask_key);
        Self { point, spread, mask: ChaCha12Rng::from_seed(mask_key) }
    }

    /// Of a room, by its full name.
    pub fn of_room(&self, name: &str) -> Partition {
        self.partition(name.bytes())
    }

    pub fn of_user(&self, namespace: &str, user: &str) -> Partition {
        // No name holds a line break.
        self.partition(namespace.bytes().chain([b'\n']).chain(user.bytes()))
    }

    fn partition(&self, name: impl Iterator<Item = u8>) -> Partition {
        let point = u128::from(self.point);
        let hash = name.fold(1, |hash: u128, byte| (hash * point + u128::from(byte)) % PRIME);
        Partition(((hash as u64).wrapping_mul(self.spread) >> 56) as u8)
    }

    /// The id with its lowest bits replaced by what says where the session lives. Who does not know
    /// the seed sees 128 random bits (threat S29).
    pub fn mark(&self, random: SessionId, shard: ShardId) -> SessionId {
        let rest = random.0 & !PLACE_MASK;
        let place = u128::from(shard.node.number()) << 10 | u128::from(shard.worker);
        SessionId(rest | (place ^ self.mask_of(rest)))
    }

    /// Where a session lives, if there is one of this id.
    pub fn of_session(&self, id: SessionId) -> ShardId {
        let place = (id.0 ^ self.mask_of(id.0)) & PLACE_MASK;
        let node = NodeId::new((place >> 10) as u16).unwrap_or_default();
        ShardId { node, worker: (place & 0x3ff) as u16 }
    }

    /// 20 bits that look random to who does not have the key: those of the block of the key stream
    /// that the rest of the id names.
    fn mask_of(&self, id: u128) -> u128 {
        const WORDS_A_BLOCK: u128 = 16;
        let rest = id >> PLACE_BITS;
        let mut stream = self.mask.clone();
        stream.set_stream(rest as u64);
        stream.set_word_pos((rest >> 64) * WORDS_A_BLOCK);
        u128::from(stream.next_u32()) & PLACE_MASK
    }
}

impl fmt::Debug for Homes {
    /// Without the keys: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Homes")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn partitions_are_the_same_in_every_version() {
        let homes = Homes::new([7; 32]);
        let rooms = ["lobby", "team/lobby", "部屋"].map(|room| homes.of_room(room).0);
        assert_eq!((rooms, homes.of_user("default", "mina").0), ([174, 217, 188], 204));
        // No name of a user is taken for another's in another namespace.
        assert_ne!(homes.of_user("a", "ba"), homes.of_user("ab", "a"));
    }

    #[test]
    fn names_spread_evenly_over_the_partitions() {
        let homes = Homes::new([3; 32]);
        let mut counts = [0_u32; Partition::COUNT];
        for number in 0..25_600 {
            counts[usize::from(homes.of_room(&format!("room-{number}")).0)] += 1;
        }
        assert!(counts.iter().all(|&count| (50..170).contains(&count)), "{counts:?}");
    }

    /// Threat S29: neither the node nor the worker shows in a million ids, in no bit and in no pair
    /// of ids that follow each other; each is found again by who has the seed.
    #[test]
    fn ids_tell_where_they_live_to_the_cluster_only() {
        let homes = Homes::new([9; 32]);
        let shard = ShardId { node: NodeId::new(5).unwrap(), worker: 3 };
        let mut random = ChaCha12Rng::from_seed([1; 32]);
        let mut ones = [0_u32; 128];
        let mut changes = [0_u32; 128];
        let mut seen = BTreeSet::new();
        let mut last = 0;
        const IDS: u32 = 1_000_000;
        for number in 0..IDS {
            let id = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
            let id = homes.mark(SessionId(id), shard);
            if number < 1_000 {
                assert_eq!(homes.of_session(id), shard);
                assert_ne!(Homes::new([8; 32]).of_session(id), shard);
            }
            for bit in 0..PLACE_BITS as usize {
                ones[bit] += (id.0 >> bit & 1) as u32;
                changes[bit] += ((id.0 ^ last) >> bit & 1) as u32;
            }
            seen.insert((id.0 & PLACE_MASK) as u32);
            last = id.0;
        }
        // Five standard deviations of a fair coin.
        let fair = IDS / 2 - 2_500..IDS / 2 + 2_500;
        let bits = 0..PLACE_BITS as usize;
        assert!(bits.clone().all(|bit| fair.contains(&ones[bit])), "{ones:?}");
        assert!(bits.clone().all(|bit| fair.contains(&changes[bit])), "{changes:?}");
        // Of 2^20 values 61.5 % come up among so many.
        assert!((635_000..655_000).contains(&seen.len()), "{}", seen.len());
    }
}
