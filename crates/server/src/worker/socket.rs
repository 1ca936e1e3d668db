//! One connected socket, plain or inside TLS. It never blocks.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use mio::net::TcpStream;
use roomcast_core::Outbox;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::ServerConnection;

use crate::metrics::IoCounters;

/// Most pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// One connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) tls: Option<Box<ServerConnection>>,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many bytes.
    Bytes {
        /// How many.
        count: usize,
        /// Whether more may be there already.
        more: bool,
    },
    /// Nothing is there now.
    Nothing,
    /// The peer sends nothing more.
    End,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Nothing waits any more.
    All,
    /// The socket takes no more for now.
    Blocked,
}

impl Socket {
    /// Reads once into `scratch`.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<Taken> {
        match &mut self.tls {
            None => receive_plain(&self.stream, scratch),
            Some(tls) => receive_tls(&self.stream, tls, scratch),
        }
    }

    /// Writes what waits: one system call, more only while the socket takes all it is given.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&mut self, outbox: &mut Outbox, io: &mut IoCounters) -> io::Result<Sent> {
        match &mut self.tls {
            None => send_plain(&self.stream, outbox, io),
            Some(tls) => send_tls(&self.stream, tls, outbox, io),
        }
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            write_tls(&self.stream, tls)?;
        }
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Whether TLS is still being agreed on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// How many bytes TLS still has to write.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }
}

/// By the system call itself: in a process of several threads, the C library's `recv` and `send`
/// make every call a point where its thread could be cancelled, and take that back after it.
fn receive_plain(stream: &TcpStream, scratch: &mut [u8]) -> io::Result<Taken> {
    loop {
        return match rustix::net::recv(stream, &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => Ok(Taken::End),
            // A short read has emptied the socket (epoll(7), question 9).
            Ok((count, _)) => Ok(Taken::Bytes { count, more: count == scratch.len() }),
            Err(Errno::WOULDBLOCK) => Ok(Taken::Nothing),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

fn receive_tls(
    stream: &TcpStream,
    tls: &mut ServerConnection,
    scratch: &mut [u8],
) -> io::Result<Taken> {
    loop {
        match tls.reader().read(scratch) {
            Ok(0) => return Ok(Taken::End),
            Ok(count) => return Ok(Taken::Bytes { count, more: true }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The peer went without saying so: its last message may be cut, but whole ones stand.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Taken::End),
            Err(error) => return Err(error),
        }
        let mut source = stream;
        match tls.read_tls(&mut source) {
            Ok(0) if tls.is_handshaking() => return Ok(Taken::End),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Taken::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let processed = tls.process_new_packets();
        // Answers of the handshake, and alerts.
        write_tls(stream, tls)?;
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
}

fn send_plain(stream: &TcpStream, outbox: &mut Outbox, io: &mut IoCounters) -> io::Result<Sent> {
    while !outbox.is_empty() {
        let first = outbox.first();
        let (wanted, sent) = if first.len() == outbox.bytes() {
            (first.len(), rustix::net::send(stream, first, SendFlags::NOSIGNAL))
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = outbox.slices(&mut slices);
            let slices = &slices[..count];
            (slices.iter().map(|slice| slice.len()).sum(), rustix::io::writev(stream, slices))
        };
        io.writes_total += 1;
        match sent {
            Ok(count) => {
                outbox.consume(count);
                io.written_bytes_total += count as u64;
                if count < wanted {
                    return Ok(Sent::Blocked);
                }
            }
            Err(Errno::WOULDBLOCK) => return Ok(Sent::Blocked),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sent::All)
}

fn send_tls(
    stream: &TcpStream,
    tls: &mut ServerConnection,
    outbox: &mut Outbox,
    io: &mut IoCounters,
) -> io::Result<Sent> {
    loop {
        // Plaintext goes in as long as rustls takes it: its buffer is bounded (see `tls.rs`).
        while !outbox.is_empty() {
            let count = tls.writer().write(outbox.first())?;
            if count == 0 {
                break;
            }
            outbox.consume(count);
            io.written_bytes_total += count as u64;
        }
        io.writes_total += 1;
        if write_tls(stream, tls)? == Sent::Blocked {
            return Ok(Sent::Blocked);
        }
        if outbox.is_empty() {
            return Ok(Sent::All);
        }
    }
}

fn write_tls(stream: &TcpStream, tls: &mut ServerConnection) -> io::Result<Sent> {
    let mut sink = stream;
    while tls.wants_write() {
        match tls.write_tls(&mut sink) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent::Blocked),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Sent::All)
}
