//! Datagrams off a UDP socket, many with one system call.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

/// Datagrams of one system call.
const TOGETHER: usize = 32;

/// The largest datagram there is. What is never written to takes no memory: 32 small datagrams
/// touch 32 pages.
const DATAGRAM_BYTES: usize = 64 << 10;

/// What one system call brought. A worker has one for all its ports.
///
/// UDP GRO, which joins datagrams of one sender, is left off: those of a server come from
/// thousands of senders, each a few dozen a second, and none would be joined.
pub(super) struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    bytes: Box<[u8]>,
    /// From whom, and how long; the bytes of each stand at its place.
    came: Vec<(SocketAddr, usize)>,
    /// The system has no call for many.
    alone: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(TOGETHER, None),
            bytes: vec![0; TOGETHER * DATAGRAM_BYTES].into_boxed_slice(),
            came: Vec::with_capacity(TOGETHER),
            alone: false,
        }
    }
}

impl Inbox {
    /// Takes what there is off the socket, in place of what was taken before. Returns how many,
    /// at least one.
    ///
    /// # Errors
    /// There are none (`WouldBlock`), or an answer to a datagram of before says that nobody got
    /// it: ask again.
    pub(super) fn fill(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.came.clear();
        if !self.alone {
            match self.take_many(socket) {
                Err(Errno::ENOSYS) => self.alone = true,
                outcome => return Ok(outcome?),
            }
        }
        let (len, from) = socket.recv_from(&mut self.bytes)?;
        self.came.push((from, len));
        Ok(1)
    }

    fn take_many(&mut self, socket: &UdpSocket) -> Result<usize, Errno> {
        let Self { headers, bytes, came, .. } = self;
        let places = bytes.chunks_exact_mut(DATAGRAM_BYTES);
        let mut places: Vec<_> = places.map(|place| [IoSliceMut::new(place)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let taken = recvmmsg(socket.as_raw_fd(), headers, &mut places, flags, None)?;
        // One whose sender cannot be answered keeps its place and is no datagram of any protocol.
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        came.extend(
            taken.map(|one| (one.address.and_then(address_of).unwrap_or(nobody), one.bytes)),
        );
        Ok(came.len())
    }

    /// From whom the datagram at this place came, and its bytes.
    pub(super) fn get(&self, at: usize) -> Option<(SocketAddr, &[u8])> {
        let &(from, len) = self.came.get(at)?;
        let start = at * DATAGRAM_BYTES;
        Some((from, self.bytes.get(start..start + len)?))
    }
}

fn address_of(storage: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn fill(inbox: &mut Inbox, socket: &UdpSocket) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            match inbox.fill(socket) {
                Ok(count) => all.extend((0..count).map(|at| {
                    let (from, bytes) = inbox.get(at).unwrap();
                    (from, bytes.to_vec())
                })),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(inbox.get(0).is_none());
                    return all;
                }
            }
        }
    }

    #[test]
    fn datagrams_of_all_sizes_and_senders_come_whole_and_in_order() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(here.parse().unwrap()) else {
                assert!(here.starts_with('['), "this machine has no {here}");
                continue;
            };
            let to = socket.local_addr().unwrap();
            for alone in [false, true] {
                let mut inbox = Inbox { alone, ..Inbox::default() };
                assert!(fill(&mut inbox, &socket).is_empty());
                let mut sent = Vec::new();
                let senders: Vec<_> =
                    (0..3).map(|_| std::net::UdpSocket::bind(here).unwrap()).collect();
                for n in 0..70_usize {
                    let sender = &senders[n % 3];
                    let len = if n == 40 { 60_000 } else { n * 7 };
                    let datagram = vec![n as u8; len];
                    sender.send_to(&datagram, to).unwrap();
                    sent.push((sender.local_addr().unwrap(), datagram));
                }
                assert!(fill(&mut inbox, &socket) == sent, "{here}, alone: {alone}");
            }
        }
    }
}
