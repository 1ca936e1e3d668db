//! One UDP socket with the protocol of its peers. It belongs to one worker: a kernel that spread
//! datagrams over several would not know whose they are.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mio::net::UdpSocket;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::metrics::IoCounters;
use crate::server::Shared;
use crate::transport::Open;
use crate::transport::datagrams::{self, Counts, Datagrams, Peer, Told};

/// Datagrams of one system call. 1,000 members and 64 bytes: one `sendto` each costs 1.9 to 3.8 µs
/// a datagram, 64 together 1.5 to 2.1.
const TOGETHER: usize = 64;

/// Bytes that are gathered before they are sent, whatever else there is.
const BATCH_BYTES: usize = 256 << 10;

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
        let (admissions, limits) = (shared.admissions.clone(), shared.limits.clone());
        let site = listening.site.clone();
        let datagrams = open(datagrams::Port { site, admissions, limits })?;
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

    /// Takes one datagram off the socket and says what follows from it. `false`: there is none.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        scratch: &mut [u8],
        io: &mut IoCounters,
        told: &mut Vec<Told>,
    ) -> bool {
        io.reads_total += 1;
        match self.socket.recv_from(scratch) {
            Ok((count, from)) => {
                io.datagrams_read_total += 1;
                io.read_bytes_total += count as u64;
                let datagram = scratch.get(..count).unwrap_or_default();
                self.datagrams.receive(now, from, datagram, told);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                false
            }
            // Of one datagram: an answer to an earlier one that found nobody.
            Err(_) => true,
        }
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
            match self.send_some(socket) {
                Ok((count, bytes)) => {
                    self.sent += count;
                    io.datagrams_written_total += count as u64;
                    io.written_bytes_total += bytes as u64;
                }
                Err(rustix::io::Errno::AGAIN) => {
                    io.blocked_total += 1;
                    *blocked = true;
                    return;
                }
                Err(rustix::io::Errno::INTR) => {}
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

    /// One system call. Returns how many datagrams it took, and of how many bytes.
    fn send_some(&self, socket: &UdpSocket) -> rustix::io::Result<(usize, usize)> {
        let start = |at: usize| at.checked_sub(1).map_or(0, |before| self.entries[before].1);
        let last = self.entries.len().min(self.sent + TOGETHER);
        let chosen = &self.entries[self.sent..last];
        let addresses: Vec<_> = chosen.iter().map(|(to, _)| to.as_any()).collect();
        let mut slices = [[IoSlice::new(&[])]; TOGETHER];
        for (at, slice) in slices.iter_mut().enumerate().take(chosen.len()) {
            slice[0] = IoSlice::new(&self.bytes[start(self.sent + at)..chosen[at].1]);
        }
        let mut controls: [_; TOGETHER] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let together = addresses.iter().zip(&slices).zip(&mut controls);
        let together = together.map(|((to, slice), none)| MMsgHdr::new_with_addr(to, slice, none));
        let mut together: Vec<_> = together.collect();
        let count = sendmmsg(socket, &mut together, SendFlags::empty())?;
        Ok((count, start(self.sent + count) - start(self.sent)))
    }
}
