//! Memory that is no longer needed goes back to the system.
#![allow(unsafe_code)]

/// How often to look, in seconds.
pub const LOOK_S: u64 = 5;

/// Fewer connections and sessions than this do not matter.
const PEERS_MIN: usize = 256;

/// When memory is given back: when at least a quarter of the connections and sessions has gone.
///
/// The system's allocator keeps what small pieces were freed between others. Measured with 10,000
/// idle WebSocket links: 715 bytes each, all of it kept when they had gone. mimalloc gives memory
/// back while it is used, but took 2,097 bytes for each link (`roomcast bench idle --no-join`).
#[derive(Debug, Default)]
pub struct Trimming {
    peers_most: usize,
}

impl Trimming {
    /// Looks at how many connections and sessions there were since the last look, and how many
    /// there are; gives memory back if many have gone.
    pub fn look(&mut self, most: usize, peers: usize) {
        if self.is_time(most, peers) {
            give_back();
        }
    }

    fn is_time(&mut self, most: usize, peers: usize) -> bool {
        self.peers_most = self.peers_most.max(most).max(peers);
        let gone = self.peers_most - peers;
        if gone < PEERS_MIN || gone * 4 < self.peers_most {
            return false;
        }
        self.peers_most = peers;
        true
    }
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: `malloc_trim` of glibc takes a number and touches free memory only, under the
    // allocator's own locks; it may be called from any thread at any time (malloc_trim(3)).
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    let given = malloc_trim(0) == 1;
    tracing::debug!(given, "gave free memory back to the system");
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_many_have_gone() {
        let mut trimming = Trimming::default();
        assert!(!trimming.is_time(10_000, 10_000));
        assert!(!trimming.is_time(10_000, 9_900), "one in a hundred went");
        assert!(trimming.is_time(9_900, 7_000));
        assert!(!trimming.is_time(7_000, 6_900), "counted from the last time");
        assert!(trimming.is_time(6_900, 0));
        assert!(trimming.is_time(2_000, 0), "they came and went between two looks");
        assert!(!trimming.is_time(200, 0), "few do not matter");
    }
}
