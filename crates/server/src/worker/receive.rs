//! From sockets to the shard.

use std::io;
use std::sync::Arc;

use roomcast_core::{Input, LinkId, LinkLoss};
use roomcast_wire::{CloseCode, Format};

use super::link::Stage;
use super::socket::Taken;
use super::{ARENA_BYTES, Timer, Worker, queue};
use crate::transport::{Fault, Received};

/// Messages taken from one link in a turn.
const MESSAGES_PER_TURN: usize = 1024;

/// How long a link is kept after its peer has ended its side.
const ENDED_MS: u64 = 200;

/// Whether a link may be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    /// It is gone, or is not to be read any more.
    Stop,
}

impl Worker {
    /// Reads every link that is ready, once.
    pub(super) fn read_links(&mut self) {
        if self.ready.is_empty() || self.is_congested() {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            if let Some(link) = self.links.get_mut(key as usize) {
                link.flags.queued = false;
                self.read_link(key);
            }
        }
        // The list keeps its memory; those that are ready again already stand in the new one.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    fn read_link(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if let Stage::Closing(_) = link.stage {
            return self.read_closing(key);
        }
        if link.is_held() {
            return;
        }
        if link.flags.unprocessed {
            link.flags.unprocessed = false;
            if self.process(key) == Go::Stop {
                return;
            }
        }
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if link.is_held() || link.flags.unprocessed || !link.flags.readable {
            return;
        }
        let taken = link.socket.receive(&mut self.scratch);
        self.io.reads_total += 1;
        match taken {
            Ok(Taken::Bytes { count, more }) => {
                self.io.read_bytes_total += count as u64;
                link.flags.readable = more || link.flags.read_closed;
                // From its beginning again if nobody holds a part of it: that is in the cache, what
                // follows may be not.
                if !self.arena.try_reclaim(ARENA_BYTES) {
                    self.arena.reserve(count.max(ARENA_BYTES / 8));
                }
                link.take_in(self.scratch.get(..count).unwrap_or_default(), &mut self.arena);
                if link.flags.readable {
                    queue(link, key, &mut self.ready);
                }
                self.process(key);
            }
            Ok(Taken::Nothing) => link.flags.readable = false,
            Ok(Taken::End) => self.peer_ended(key),
            Err(error) => self.broke(key, &error),
        }
    }

    /// Takes messages off what was read until it is used up or the link is held.
    fn process(&mut self, key: u32) -> Go {
        let mut messages = 0;
        loop {
            let Some(link) = self.links.get_mut(key as usize) else { return Go::Stop };
            if link.is_held() || messages == MESSAGES_PER_TURN {
                link.flags.unprocessed = true;
                link.settle();
                if !link.is_held() {
                    queue(link, key, &mut self.ready);
                }
                return Go::On;
            }
            messages += 1;
            let generation = link.generation;
            let bytes_max = match &link.stage {
                Stage::Open(_) => self.shard.message_bytes_max(LinkId(key)),
                Stage::Carrying(carrier) => carrier.bytes_max(&self.shard, &self.shared),
                _ => self.shared.limits.message_bytes_unknown_peer,
            };
            let go = match link.protocol.read(&mut link.unread, bytes_max) {
                Ok(Some(received)) => self.received(key, received),
                Ok(None) => {
                    link.settle();
                    self.time_attachments(key);
                    return Go::On;
                }
                Err(mut fault) => {
                    if fault.code == CloseCode::TooLarge
                        && bytes_max < self.shared.limits.message_bytes
                    {
                        fault.message.push_str(" before the session begins");
                    }
                    self.fault(key, &fault);
                    Go::Stop
                }
            };
            let same =
                self.links.get(key as usize).is_some_and(|link| link.generation == generation);
            if go == Go::Stop || !same {
                return Go::Stop;
            }
        }
    }

    fn received(&mut self, key: u32, received: Received) -> Go {
        match received {
            Received::Message(bytes) => {
                self.io.messages_total += 1;
                self.tell(Input::Message { link: LinkId(key), bytes });
                self.stall_if_behind(key);
                Go::On
            }
            Received::Speaks(format) => {
                if let Some(link) = self.links.get_mut(key as usize) {
                    link.stage = Stage::Open(format);
                }
                self.tell(Input::Speaks { link: LinkId(key), format });
                Go::On
            }
            Received::Alive => {
                self.tell(Input::Alive { link: LinkId(key) });
                if let Some(link) = self.links.get_mut(key as usize)
                    && link.protocol.owes_answer()
                {
                    link.flags.owes_answer = true;
                    super::mark_dirty(link, key, &mut self.dirty);
                }
                Go::On
            }
            Received::Carried { format, bytes } => {
                self.io.messages_total += 1;
                self.carried(key, format, bytes);
                Go::On
            }
            Received::Carries(response) => {
                if self.open_carrier(key, response) {
                    return Go::On;
                }
                self.remove(key);
                Go::Stop
            }
            Received::Pong => {
                self.ponged(key);
                Go::On
            }
            Received::Upgrade => {
                self.exchange(key);
                Go::On
            }
            Received::Opened { format, response, namespace } => {
                self.opened(key, format, &response, namespace)
            }
            Received::Closed(code) => {
                self.peer_closed(key, code);
                Go::Stop
            }
            Received::Request => {
                self.hand_over(key);
                Go::Stop
            }
        }
    }

    fn opened(
        &mut self,
        key: u32,
        format: Format,
        response: &[u8],
        namespace: Option<Arc<str>>,
    ) -> Go {
        if !response.is_empty() && self.write_now(key, response).is_err() {
            self.remove(key);
            return Go::Stop;
        }
        let listener = self.links.get(key as usize).map_or(0, |link| link.listener);
        self.open(key, listener, format, namespace);
        Go::On
    }

    /// A link that asks for more than it reads is not read until it has caught up.
    fn stall_if_behind(&mut self, key: u32) {
        let Some(outbox) = self.shard.outbox(LinkId(key)) else { return };
        if outbox.bytes() > self.shared.limits.outbox_bytes / 2
            && let Some(link) = self.links.get_mut(key as usize)
        {
            link.flags.stalled = true;
        }
    }

    /// The peer sends nothing more. Where that is how links end, what it has asked is still
    /// answered: `printf … | nc` would otherwise miss what another worker says.
    fn peer_ended(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        link.flags.readable = false;
        if link.format().is_some()
            && let Some(bytes) = link.protocol.rest(&mut link.unread)
        {
            self.received(key, Received::Message(bytes));
        }
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if matches!(link.stage, Stage::Carrying(_)) {
            self.begin_closing(key, None, LinkLoss::Broken);
        } else if link.format().is_none() {
            self.remove(key);
        } else if link.unread.is_empty() && link.protocol.may_end_anywhere() {
            link.flags.ended = true;
            self.set_timer(key, ENDED_MS, Timer::Ended);
        } else {
            self.begin_closing(key, None, LinkLoss::Broken);
        }
    }

    pub(super) fn broke(&mut self, key: u32, error: &io::Error) {
        let Some(link) = self.links.get(key as usize) else { return };
        tracing::debug!(worker = self.id.worker, link = key, %error, "link broke");
        if link.format().is_some() {
            self.lose(key, LinkLoss::Broken);
        }
        // What its lines still had to say has nowhere to go.
        _ = self.end_lines(key, LinkLoss::Broken);
        self.remove(key);
    }

    pub(super) fn give_up_handshake(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if !matches!(link.stage, Stage::Handshake) {
            return;
        }
        let limits = &self.shared.limits;
        let waits_for_message = self
            .shared
            .listeners
            .get(usize::from(link.listener))
            .is_some_and(|l| !l.transport.http);
        // Behind TLS the first byte has its own time, as on plain TCP.
        if waits_for_message
            && link.socket.tls.is_some()
            && !link.socket.is_handshaking()
            && !std::mem::replace(&mut link.flags.patient, true)
        {
            let rest_ms = limits.first_message_ms.saturating_sub(limits.handshake_ms);
            return self.set_timer(key, rest_ms, Timer::Handshake);
        }
        self.io.handshake_timeouts_total += 1;
        tracing::debug!(worker = self.id.worker, link = key, "no handshake within the deadline");
        self.remove(key);
    }

    pub(super) fn fault(&mut self, key: u32, fault: &Fault) {
        self.io.faults_total += 1;
        let code = fault.code;
        let message = fault.message.as_str();
        let worker = self.id.worker;
        tracing::debug!(worker, link = key, %code, message, "link closed for a fault");
        self.begin_fault(key, fault);
    }
}
