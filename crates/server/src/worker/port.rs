//! One UDP socket with the protocol of its peers. It belongs to one worker: a kernel that spread
//! datagrams over several would not know whose they are.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use mio::net::UdpSocket;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::inbox::Inbox;
use crate::metrics::IoCounters;
use crate::server::Shared;
use crate::transport::Open;
use crate::transport::datagrams::{self, Counts, Datagrams, Peer, Told};

/// Datagrams of one system call. 1,000 members and 64 bytes: one `sendto` each costs 1.9 to 3.8 µs
/// a datagram, 64 together 1.5 to 2.1.
const TOGETHER: usize = 64;

/// Bytes that are gathered before they are sent, whatever else there is.
const BATCH_BYTES: usize = 256 << 10;

/// Bytes that are cut into datagrams by the system: below what an IP packet takes.
const RUN_BYTES: usize = 60_000;

/// No line has this number.
const NO_LINE: u32 = u32::MAX;

/// One UDP socket and what is spoken on it.
pub(crate) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) datagrams: Box<dyn Datagrams>,
    /// Its place among the listeners.
    pub(super) listener: u16,
    /// The lines of its peers, by their numbers.
    lines: Vec<u32>,
    /// The socket may have something to read.
    pub(super) readable: bool,
    /// The socket took no more at the last write.
    pub(super) blocked: bool,
    batch: Batch,
}

/// Datagrams that are to be sent, one behind the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// To whom, and where each ends.
    entries: Vec<(SocketAddr, usize)>,
    /// How many of them are sent.
    sent: usize,
    lacks: Lacks,
}

/// What the system turned out not to have.
#[derive(Debug, Clone, Copy, Default)]
struct Lacks {
    /// Cutting one piece into datagrams (UDP GSO: Linux 4.18 and a network that can).
    segments: bool,
    /// One call for many datagrams: some sandboxes.
    many: bool,
}

impl Port {
    /// Opens the protocol of a bound socket.
    ///
    /// # Errors
    /// The transport cannot begin.
    pub(crate) fn open(socket: UdpSocket, listener: u16, shared: &Shared) -> io::Result<Self> {
        let listening = shared.listeners.get(usize::from(listener));
        let Some((listening, Open::Datagrams(open))) = listening.map(|l| (l, l.transport.open))
        else {
            return Err(ErrorKind::Unsupported.into());
        };
        let datagrams = open(datagrams::Port {
            site: listening.site.clone(),
            admissions: shared.admissions.clone(),
            limits: shared.limits.clone(),
            tls: listening.tls.clone(),
            quic: shared.quic.clone(),
        })?;
        let (lines, batch) = (Vec::new(), Batch::default());
        Ok(Self { socket, datagrams, listener, lines, readable: true, blocked: false, batch })
    }

    /// The line of a peer, if it has one.
    pub(super) fn line(&self, peer: Peer) -> Option<u32> {
        self.lines.get(peer.0 as usize).copied().filter(|line| *line != NO_LINE)
    }

    pub(super) fn set_line(&mut self, peer: Peer, line: u32) {
        let at = peer.0 as usize;
        if self.lines.len() <= at {
            self.lines.resize(at + 1, NO_LINE);
        }
        self.lines[at] = line;
    }

    /// The peer is gone, or nothing of it is to be heard any more.
    pub(super) fn forget(&mut self, peer: Peer) {
        if let Some(line) = self.lines.get_mut(peer.0 as usize) {
            *line = NO_LINE;
        }
        while self.lines.last() == Some(&NO_LINE) {
            self.lines.pop();
        }
        if self.lines.capacity() > 4 * self.lines.len() + 1_024 {
            self.lines.shrink_to(2 * self.lines.len());
        }
    }

    pub(super) fn send(
        &mut self,
        now: Duration,
        peer: Peer,
        chunk: &Bytes,
        reliable: bool,
    ) -> bool {
        self.datagrams.send(now, peer, chunk, reliable)
    }

    /// Takes datagrams off the socket with one system call. Returns how many; none: there are no
    /// more.
    pub(super) fn fill(&mut self, inbox: &mut Inbox, io: &mut IoCounters) -> Option<usize> {
        if !self.readable {
            return None;
        }
        io.reads_total += 1;
        match inbox.fill(&self.socket) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            // Of one datagram: an answer to an earlier one that found nobody.
            Err(_) => Some(0),
        }
    }

    /// Says what follows from one datagram.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        (from, datagram): (SocketAddr, &[u8]),
        io: &mut IoCounters,
        told: &mut Vec<Told>,
    ) {
        io.datagrams_read_total += 1;
        io.read_bytes_total += datagram.len() as u64;
        self.datagrams.receive(now, from, datagram, told);
    }

    /// Sends what there is to send.
    pub(super) fn transmit(&mut self, now: Duration, io: &mut IoCounters) {
        self.batch.send(&self.socket, &mut self.blocked, io);
        if self.blocked {
            return;
        }
        let Self { socket, datagrams, blocked, batch, .. } = self;
        datagrams.transmit(now, &mut |to, datagram| {
            batch.push(to, datagram);
            if batch.bytes.len() >= BATCH_BYTES && !*blocked {
                batch.send(socket, blocked, io);
            }
        });
        self.batch.send(&self.socket, &mut self.blocked, io);
    }

    /// Whether nothing is under way to anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.batch.entries.is_empty() && self.datagrams.is_idle()
    }

    pub(super) fn counts(&self) -> Counts {
        self.datagrams.counts()
    }
}

impl Batch {
    fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.entries.push((to, self.bytes.len()));
    }

    /// Sends until everything is sent or the socket takes no more.
    fn send(&mut self, socket: &UdpSocket, blocked: &mut bool, io: &mut IoCounters) {
        while self.sent < self.entries.len() {
            let run = if self.lacks.segments { 1 } else { self.run(self.sent) };
            let outcome = match run {
                _ if self.lacks.many => self.send_one(socket),
                1 => self.send_many(socket),
                _ => self.send_run(socket, run),
            };
            match outcome {
                Ok(count) => {
                    io.datagrams_written_total += count as u64;
                    let bytes = self.start(self.sent + count) - self.start(self.sent);
                    io.written_bytes_total += bytes as u64;
                    self.sent += count;
                }
                Err(Errno::AGAIN) => {
                    io.blocked_total += 1;
                    *blocked = true;
                    return;
                }
                Err(Errno::INTR) => {}
                // What a network or a system that cannot cut says.
                Err(Errno::IO | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOPROTOOPT)
                    if run > 1 && !self.lacks.many =>
                {
                    self.lacks.segments = true;
                }
                Err(Errno::NOSYS) if !self.lacks.many => self.lacks.many = true,
                // No way to this one: it is lost, as datagrams are, and the others go on.
                Err(_) => self.sent += 1,
            }
            io.writes_total += 1;
        }
        self.bytes.clear();
        self.entries.clear();
        self.sent = 0;
        *blocked = false;
        // What one large turn needed is not kept for ever.
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }

    /// Where the bytes of a datagram begin.
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |(_, end)| *end)
    }

    /// How many datagrams from here on the system can cut from one piece: for one address, of one
    /// size, of which the last may be smaller.
    fn run(&self, from: usize) -> usize {
        let Some(&(to, first)) = self.entries.get(from) else { return 1 };
        let start = self.start(from);
        let (size, mut end) = (first - start, first);
        let mut count = 1;
        for &(other, next) in self.entries.iter().skip(from + 1).take(TOGETHER - 1) {
            // An empty one cannot be cut.
            let fits = (1..=size).contains(&(next - end)) && next - start <= RUN_BYTES;
            if other != to || !fits {
                break;
            }
            count += 1;
            if next - end < size {
                break;
            }
            end = next;
        }
        count
    }

    /// Several to one peer: the system takes them as one and cuts them as late as it can.
    fn send_run(&self, socket: &UdpSocket, count: usize) -> rustix::io::Result<usize> {
        let Some(&(to, first)) = self.entries.get(self.sent) else { return Ok(count) };
        let start = self.start(self.sent);
        let size = (first - start) as u16;
        let bytes = [IoSlice::new(&self.bytes[start..self.start(self.sent + count)])];
        let cut = [ControlMessage::UdpGsoSegments(&size)];
        let (fd, to) = (socket.as_raw_fd(), SockaddrStorage::from(to));
        let sent = sendmsg(fd, &bytes, &cut, MsgFlags::MSG_DONTWAIT, Some(&to));
        sent.map(|_| count).map_err(|error| Errno::from_raw_os_error(error as i32))
    }

    /// One each to several peers. Returns how many were taken.
    fn send_many(&self, socket: &UdpSocket) -> rustix::io::Result<usize> {
        let last = self.entries.len().min(self.sent + TOGETHER);
        let last = (self.sent + 1..last).find(|at| self.begins_run(*at)).unwrap_or(last);
        let chosen = &self.entries[self.sent..last];
        let addresses: Vec<_> = chosen.iter().map(|(to, _)| to.as_any()).collect();
        let mut slices = [[IoSlice::new(&[])]; TOGETHER];
        for (at, slice) in slices.iter_mut().enumerate().take(chosen.len()) {
            slice[0] = IoSlice::new(&self.bytes[self.start(self.sent + at)..chosen[at].1]);
        }
        let mut controls: [_; TOGETHER] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let together = addresses.iter().zip(&slices).zip(&mut controls);
        let together = together.map(|((to, slice), none)| MMsgHdr::new_with_addr(to, slice, none));
        let mut together: Vec<_> = together.collect();
        sendmmsg(socket, &mut together, SendFlags::empty())
    }

    fn begins_run(&self, at: usize) -> bool {
        !self.lacks.segments && self.run(at) > 1
    }

    fn send_one(&self, socket: &UdpSocket) -> rustix::io::Result<usize> {
        let Some(&(to, end)) = self.entries.get(self.sent) else { return Ok(1) };
        let bytes = &self.bytes[self.start(self.sent)..end];
        rustix::net::sendto(socket, bytes, SendFlags::empty(), &to).map(|_| 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bound() -> UdpSocket {
        UdpSocket::bind(([127, 0, 0, 1], 0).into()).unwrap()
    }

    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_000];
        let next = || socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec());
        std::iter::from_fn(next).collect()
    }

    /// Gives both peers what `turn` says, by peer and size, and returns the system calls it took.
    fn sent(turn: &[(usize, usize)], lacks: Lacks) -> (u64, Lacks) {
        let (socket, peers) = (bound(), [bound(), bound()]);
        let mut batch = Batch { lacks, ..Batch::default() };
        let mut wanted = [Vec::new(), Vec::new()];
        for (number, &(peer, size)) in turn.iter().enumerate() {
            let datagram = vec![number as u8; size];
            batch.push(peers[peer].local_addr().unwrap(), &datagram);
            wanted[peer].push(datagram);
        }
        let mut io = IoCounters::default();
        batch.send(&socket, &mut false, &mut io);
        assert!(peers.each_ref().map(received) == wanted, "{turn:?}, {lacks:?}");
        assert_eq!(io.datagrams_written_total, turn.len() as u64);
        assert_eq!(io.written_bytes_total, turn.iter().map(|(_, size)| *size as u64).sum::<u64>());
        (io.writes_total, batch.lacks)
    }

    #[test]
    fn what_follows_each_other_to_one_peer_goes_in_one_piece_and_the_rest_together() {
        let many = Lacks { segments: true, many: false };
        let one = Lacks { segments: true, many: true };
        let to_one: Vec<_> = (0..70).map(|at| (0, if at == 69 { 300 } else { 1_000 })).collect();
        let mixed = [(0, 90), (1, 90), (0, 50), (1, 70), (1, 70), (1, 20), (1, 60), (0, 1), (0, 0)];
        for (turn, cut) in [(&to_one[..], 2), (&mixed, 3)] {
            let (calls, lacks) = sent(turn, Lacks::default());
            // Where the system cannot cut, that is found out by one call.
            let wanted = if lacks.segments { 1 + turn.len().div_ceil(TOGETHER) } else { cut };
            assert_eq!(calls, wanted as u64, "{turn:?}");
            assert_eq!(sent(turn, many).0, turn.len().div_ceil(TOGETHER) as u64);
            assert_eq!(sent(turn, one).0, turn.len() as u64);
        }
    }
}
