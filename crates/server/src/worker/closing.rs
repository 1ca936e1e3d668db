//! How links end. The shard forgets a link at once; the link stays until its last bytes are out
//! and the peer has had its time to close, so that a reset does not take the last words away.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use bytes::{Bytes, BytesMut};
use roomcast_core::{LinkId, LinkLoss, Outbox};
use roomcast_wire::dialect::Receiver;
use roomcast_wire::{CloseCode, Push};
use rustls::ServerConnection;

use super::link::{Closing, Link, Stage};
use super::socket::Taken;
use super::{Timer, Worker, mark_dirty, queue};
use crate::http::Handed;
use crate::transport::{Fault, Received};

/// How long the last bytes may take to go out.
const FLUSH_MS: u64 = 5_000;

/// How long the peer may take to close its side after that.
const PEER_MS: u64 = 1_000;

/// The answer to an HTTP request that finds no place in the queue.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

impl Worker {
    /// Closes the links that the shard wants closed.
    pub(super) fn close_links(&mut self) {
        while let Some(key) = self.closes.pop() {
            if let Some(link) = self.links.get_mut(key as usize) {
                if let Some(code) = link.flags.close.take() {
                    self.begin_closing(key, Some(code), LinkLoss::Broken);
                }
            } else if let Some(line) = self.links.carried_mut(key)
                && let Some(code) = line.close.take()
            {
                self.close_line(key, code);
            } else if let Some(peer) = self.links.peer_mut(key)
                && let Some(code) = peer.close.take()
            {
                self.close_peer(key, code);
            }
        }
    }

    /// The shard forgets the link; what waits goes out, with the transport's closing behind it.
    /// Without a code the peer has closed already and is not waited for.
    pub(super) fn begin_closing(&mut self, key: u32, code: Option<CloseCode>, loss: LinkLoss) {
        let reason = code.map_or("", CloseCode::reason);
        self.close_with(key, code.map(CloseCode::number), reason, loss, code.is_some());
    }

    /// The peer has said that it closes: the same is said back.
    pub(super) fn peer_closed(&mut self, key: u32, code: Option<u16>) {
        self.close_with(key, code, "", LinkLoss::Closed, false);
    }

    /// The peer broke the rules: it is told, then the link is closed.
    pub(super) fn begin_fault(&mut self, key: u32, fault: &Fault) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if let Stage::Carrying(_) = link.stage {
            return self.close_for_fault(key, fault);
        }
        let Some(format) = link.format() else {
            let mut outbox = Outbox::default();
            if !fault.answer.is_empty() {
                outbox.push_control(Bytes::copy_from_slice(&fault.answer));
            }
            return self.start_closing(key, outbox, true, true);
        };
        let mut goodbye = BytesMut::new();
        let push = Push::Goodbye { code: fault.code, message: &fault.message, retry_ms: None };
        format.encode_push(&Receiver::default(), &push, &mut goodbye);
        if let Some(outbox) = self.shard.outbox(LinkId(key)) {
            outbox.push_control(goodbye.freeze());
        }
        self.close_for_fault(key, fault);
    }

    fn close_for_fault(&mut self, key: u32, fault: &Fault) {
        let number = Some(fault.code.number());
        self.close_with(key, number, &fault.message, LinkLoss::Ended(fault.code), true);
        if let Some(Link { stage: Stage::Closing(closing), .. }) = self.links.get_mut(key as usize)
        {
            closing.deaf = true;
        }
    }

    fn close_with(
        &mut self,
        key: u32,
        code: Option<u16>,
        reason: &str,
        loss: LinkLoss,
        await_peer: bool,
    ) {
        let carried = self.end_lines(key, loss);
        let Some(link) = self.links.get_mut(key as usize) else { return };
        let is_carrier = carried.is_some();
        if link.format().is_none() && !is_carrier {
            return;
        }
        let waiting = carried.or_else(|| self.shard.outbox(LinkId(key)).map(std::mem::take));
        let mut outbox = waiting.unwrap_or_default();
        if let Some(frame) = link.protocol.closing(code, reason) {
            outbox.push_control(frame);
        }
        self.start_closing(key, outbox, await_peer, false);
        if !is_carrier {
            self.lose(key, loss);
        }
    }

    fn start_closing(&mut self, key: u32, outbox: Outbox, await_peer: bool, deaf: bool) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        let until = self.now.plus(FLUSH_MS);
        let closing = Closing { outbox, await_peer, deaf, finished: false, until };
        link.stage = Stage::Closing(Box::new(closing));
        mark_dirty(link, key, &mut self.dirty);
        self.again = true;
        self.set_timer(key, FLUSH_MS, Timer::Close);
    }

    /// Everything is out: nothing more will be said.
    pub(super) fn finish_closing(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        let Stage::Closing(closing) = &mut link.stage else { return };
        closing.finished = true;
        let awaited = closing.await_peer && !link.flags.read_closed;
        closing.until = self.now.plus(PEER_MS);
        if link.socket.finish().is_err() || !awaited {
            self.remove(key);
            return;
        }
        link.flags.readable = true;
        queue(link, key, &mut self.ready);
        self.again = true;
        self.set_timer(key, PEER_MS, Timer::Close);
    }

    /// Reads on so that the peer's close is seen; what it says no longer counts.
    pub(super) fn read_closing(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if !link.flags.readable {
            return;
        }
        match link.socket.receive(&mut self.scratch) {
            Ok(Taken::Bytes { count, .. }) => {
                queue(link, key, &mut self.ready);
                let Stage::Closing(closing) = &mut link.stage else { return };
                if closing.deaf {
                    return;
                }
                let finished = closing.finished;
                link.take_in(self.scratch.get(..count).unwrap_or_default(), &mut self.arena);
                let closed = has_closed(link, self.shared.limits.message_bytes);
                link.settle();
                if closed && finished {
                    self.remove(key);
                }
            }
            Ok(Taken::Nothing) => link.flags.readable = false,
            Ok(Taken::End) | Err(_) => {
                self.remove(key);
            }
        }
    }

    pub(super) fn give_up_closing(&mut self, key: u32) {
        let Some(link) = self.links.get(key as usize) else { return };
        if let Stage::Closing(closing) = &link.stage
            && closing.until <= self.now
        {
            self.remove(key);
        }
    }

    /// An HTTP request that asks for no WebSocket: somebody else serves it.
    pub(super) fn hand_over(&mut self, key: u32) {
        let Some(link) = self.remove(key) else { return };
        let handed = Handed {
            stream: link.socket.stream.into(),
            tls: link.socket.tls,
            read: link.unread.as_ref().into(),
            listener: link.listener,
            admission: link.admission,
        };
        // A queue that is full means more requests than can be served.
        if let Err(refused) = self.shared.http.try_send(handed) {
            self.io.faults_total += 1;
            let mut handed = refused.into_inner();
            // Whatever fails here, the connection is gone: that is what was wanted.
            _ = turn_away(&mut handed.stream, handed.tls.as_deref_mut());
            tracing::debug!(worker = self.id.worker, "an HTTP request found no place in the queue");
        }
    }
}

/// Says that the server is busy, as much of it as the socket takes at once.
fn turn_away(stream: &mut TcpStream, tls: Option<&mut ServerConnection>) -> io::Result<()> {
    match tls {
        None => stream.write_all(BUSY)?,
        Some(tls) => {
            tls.writer().write_all(BUSY)?;
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(stream)?;
            }
        }
    }
    stream.shutdown(Shutdown::Write)
}

/// Whether the peer has closed its side in the transport's way.
fn has_closed(link: &mut Link, message_bytes_max: usize) -> bool {
    let Stage::Closing(closing) = &mut link.stage else { return false };
    loop {
        match link.protocol.read(&mut link.unread, message_bytes_max) {
            Ok(Some(Received::Closed(_))) => {
                closing.await_peer = false;
                return true;
            }
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => {
                closing.deaf = true;
                link.unread = BytesMut::new();
                return false;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_request_without_a_place_is_told_to_come_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        turn_away(&mut stream, None).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        assert!(said.contains("\r\nRetry-After: 1\r\n") && said.ends_with("\r\n\r\n"));
    }
}
