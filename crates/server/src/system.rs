//! What the operating system gives: cores, random bytes, descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many worker threads there are to be; 0: one for each core.
pub(crate) fn worker_count(configured: usize) -> u16 {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let count = if configured == 0 { cores() } else { configured };
    u16::try_from(count).unwrap_or(u16::MAX).max(1)
}

/// What work that waits is done on, by the one thread that drives it.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Random bytes that nobody can guess, from the operating system, through the TLS library; none if
/// it has none.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).ok().map(|()| bytes)
}

/// The soft limit of most systems (1,024) is there for programs that use select(2), which this one
/// does not. Fails only where the hard limit forbids it, and then the soft one stands.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
