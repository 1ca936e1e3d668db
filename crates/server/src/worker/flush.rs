//! From outboxes to sockets.

use std::hint::black_box;
use std::io;

use bytes::Bytes;
use roomcast_core::{LinkId, Outbox};

use super::link::Stage;
use super::socket::Sent;
use super::{Worker, queue};

/// Links that are loaded together before they are written to.
const PREFETCHED: usize = 8;

/// What became of one link's flush.
enum Flushed {
    /// Go on with the next link.
    Done,
    /// A link that is being closed has nothing left to write.
    Finished,
    Broken(io::Error),
}

impl Worker {
    /// Writes what waits for each link that has something new: one system call each.
    pub(super) fn flush_links(&mut self) {
        self.flush_dirty();
        self.flush_named();
        // What several lines of one connection had goes out in one write.
        if !self.dirty.is_empty() {
            self.flush_dirty();
        }
    }

    /// Those with something to write that the shard does not know of.
    fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(link) = self.links.get_mut(key as usize) {
                link.flags.dirty = false;
                self.flush(key);
            }
        }
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        self.again |= !self.dirty.is_empty();
    }

    /// Those that the shard names.
    fn flush_named(&mut self) {
        loop {
            // Their cache misses are waited for together, and not one after the other.
            for link in self.shard.next_dirty(PREFETCHED) {
                black_box(self.links.get(link.0 as usize).map(|link| link.generation));
            }
            for _ in 0..PREFETCHED {
                let Some(link) = self.shard.take_dirty() else { return };
                self.flush(link.0);
            }
        }
    }

    pub(super) fn flush(&mut self, key: u32) {
        match self.write(key) {
            Flushed::Done => {}
            Flushed::Finished => self.finish_closing(key),
            Flushed::Broken(error) => self.broke(key, &error),
        }
    }

    fn write(&mut self, key: u32) -> Flushed {
        let Some(link) = self.links.get_mut(key as usize) else {
            if self.links.peer(key).is_some() {
                self.flush_peer(key);
            } else {
                self.flush_line(key);
            }
            return Flushed::Done;
        };
        if link.flags.blocked {
            return Flushed::Done;
        }
        let mut none = Outbox::default();
        let (outbox, known) = match &mut link.stage {
            Stage::Open(_) => match self.shard.outbox(LinkId(key)) {
                Some(outbox) => (outbox, true),
                None => return Flushed::Done,
            },
            Stage::Carrying(carrier) => (&mut carrier.outbox, true),
            Stage::Closing(closing) => (&mut closing.outbox, false),
            Stage::Handshake => (&mut none, false),
        };
        loop {
            if outbox.is_empty()
                && known
                && std::mem::take(&mut link.flags.owes_answer)
                && let Some(answer) = link.protocol.answer()
            {
                outbox.push_control(answer);
            }
            match link.socket.send(outbox, &mut self.io) {
                Ok(Sent::All) if known && link.flags.owes_answer => {}
                Ok(sent) => {
                    let behind = outbox.bytes() > self.shared.limits.outbox_bytes / 2;
                    if link.flags.stalled && !behind {
                        link.flags.stalled = false;
                        queue(link, key, &mut self.ready);
                    }
                    return self.written(key, sent, known);
                }
                Err(error) => return Flushed::Broken(error),
            }
        }
    }

    fn written(&mut self, key: u32, sent: Sent, known: bool) -> Flushed {
        let Some(link) = self.links.get_mut(key as usize) else { return Flushed::Done };
        let blocked = sent == Sent::Blocked;
        link.flags.blocked = blocked;
        self.io.blocked_total += u64::from(blocked);
        match &link.stage {
            Stage::Closing(closing) if !blocked && !closing.finished => Flushed::Finished,
            stage => {
                let carries = matches!(stage, Stage::Carrying(_));
                if known && std::mem::replace(&mut link.flags.told_blocked, blocked) != blocked {
                    if carries {
                        self.set_lines_blocked(key, blocked);
                    } else {
                        self.shard.set_blocked(LinkId(key), blocked);
                    }
                }
                Flushed::Done
            }
        }
    }

    /// Writes before anything else can wait for the link: a fresh socket takes some hundred bytes.
    ///
    /// # Errors
    /// It did not.
    pub(super) fn write_now(&mut self, key: u32, bytes: &[u8]) -> io::Result<()> {
        let Some(link) = self.links.get_mut(key as usize) else { return Ok(()) };
        let mut outbox = Outbox::default();
        outbox.push_control(Bytes::copy_from_slice(bytes));
        match link.socket.send(&mut outbox, &mut self.io)? {
            Sent::All => Ok(()),
            Sent::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
