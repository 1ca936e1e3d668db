//! Peers of ports: what came from them, and what goes to them. The shard sees each as a link.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use roomcast_core::{Input, LinkId, LinkLoss, Now};
use roomcast_wire::CloseCode;

use super::lines::{PeerFlags, PeerLine};
use super::timers::Due;
use super::{Port, Worker};
use crate::transport::datagrams::{Counts, Peer, PeerLoss, Told};

/// Datagrams taken from one port in a turn, and those of one system call more.
const DATAGRAMS_PER_TURN: usize = 1_024;

impl Worker {
    /// A port begins.
    pub(super) fn take_port(&mut self, mut port: Port) {
        let number = self.ports.len() as u16;
        if let Err(error) = self.readiness.add_port(&mut port.socket, number) {
            tracing::error!(%error, "a UDP socket cannot be watched");
            return;
        }
        self.ports.push(port);
    }

    pub(super) fn time_to_ports(&self) -> Option<Duration> {
        let due = self.ports.iter().filter_map(|port| port.datagrams.due()).min()?;
        Some(due.saturating_sub(self.shared.elapsed()))
    }

    /// Reads every port that has something, and those who wanted to be called.
    pub(super) fn read_ports(&mut self) {
        self.go_on_with_freed();
        let now = self.shared.elapsed();
        let reads = !self.is_congested();
        for at in 0..self.ports.len() {
            self.tick_port(at, now);
            let mut left = DATAGRAMS_PER_TURN;
            while reads
                && left > 0
                && let Some(count) = self.read_port(at, now)
            {
                // One that brought only bad news counts, too.
                left = left.saturating_sub(count.max(1));
            }
            self.again |= reads && left == 0;
        }
    }

    fn tick_port(&mut self, at: usize, now: Duration) {
        let Some(port) = self.ports.get_mut(at) else { return };
        if port.datagrams.due().is_some_and(|due| due <= now) {
            let mut told = std::mem::take(&mut self.told);
            port.datagrams.tick(now, &mut told);
            self.listen(at, told);
        }
    }

    /// Takes what one system call brings. None: there is nothing.
    fn read_port(&mut self, at: usize, now: Duration) -> Option<usize> {
        let count = self.ports.get_mut(at)?.fill(&mut self.inbox, &mut self.io)?;
        for place in 0..count {
            let datagram = self.inbox.get(place)?;
            self.ports.get_mut(at)?.receive(now, datagram, &mut self.io, &mut self.told);
            if !self.told.is_empty() {
                let told = std::mem::take(&mut self.told);
                self.listen(at, told);
            }
        }
        Some(count)
    }

    fn listen(&mut self, at: usize, mut told: Vec<Told>) {
        for told in told.drain(..) {
            self.hear(at, told);
        }
        self.told = told;
    }

    fn hear(&mut self, at: usize, told: Told) {
        let Some(port) = self.ports.get_mut(at) else { return };
        match told {
            Told::Opened { peer, format, namespace } => {
                let listening = self.shared.listeners.get(usize::from(port.listener));
                let namespace = namespace.or_else(|| listening.and_then(|l| l.namespace.clone()));
                self.generation = self.generation.wrapping_add(1);
                let line = PeerLine {
                    port: at as u16,
                    peer,
                    format,
                    close: None,
                    paused_until: Now::default(),
                    flags: PeerFlags::default(),
                    generation: self.generation,
                    waiting: VecDeque::new(),
                };
                let key = self.links.insert_peer(line);
                port.set_line(peer, key);
                self.mailbox.link_came();
                self.tell(Input::Opened { link: LinkId(key), format, namespace });
            }
            Told::Message { peer, bytes } => {
                let Some(key) = port.line(peer) else { return };
                self.io.messages_total += 1;
                self.receive_message(key, bytes);
                self.hold_peer(key);
            }
            Told::Alive { peer } => {
                if let Some(key) = port.line(peer) {
                    self.tell(Input::Alive { link: LinkId(key) });
                }
            }
            Told::Writable { peer } => {
                let Some(key) = port.line(peer) else { return };
                if let Some(line) = self.links.peer_mut(key) {
                    line.flags.blocked = false;
                }
                self.shard.set_blocked(LinkId(key), false);
            }
            Told::Closed { peer, loss } => {
                let Some(key) = port.line(peer) else { return };
                self.io.faults_total += u64::from(matches!(loss, PeerLoss::Ended(_)));
                let loss = match loss {
                    PeerLoss::Closed => LinkLoss::Closed,
                    PeerLoss::Broken => LinkLoss::Broken,
                    PeerLoss::Ended(code) => LinkLoss::Ended(code),
                };
                self.forget_peer(key, loss);
            }
        }
    }

    fn receive_message(&mut self, key: u32, bytes: Bytes) {
        let Some(line) = self.links.peer_mut(key) else { return };
        if line.is_held() || !line.waiting.is_empty() {
            return line.waiting.push_back(bytes);
        }
        self.tell(Input::Message { link: LinkId(key), bytes });
        let Some(outbox) = self.shard.outbox(LinkId(key)) else { return };
        let behind = outbox.bytes() > self.shared.limits.outbox_bytes / 2;
        if let Some(line) = self.links.peer_mut(key) {
            line.flags.stalled |= behind;
        }
    }

    /// Tells the port if the peer is held from now on.
    fn hold_peer(&mut self, key: u32) {
        let Some(line) = self.links.peer_mut(key) else { return };
        if !line.is_held() || std::mem::replace(&mut line.flags.told_held, true) {
            return;
        }
        if let Some(port) = self.ports.get_mut(usize::from(line.port)) {
            // Nothing is told of one who is held.
            port.datagrams.hold(self.shared.elapsed(), line.peer, true, &mut self.told);
        }
    }

    /// Something that held a peer has ended. Not gone on with at once: the shard may be at work.
    pub(super) fn free_peer(&mut self, key: u32) {
        self.freed.push(key);
        self.again = true;
    }

    /// The end of a pause, unless a longer one was asked for since: that has a timer of its own.
    pub(super) fn resume_peer(&mut self, due: Due) {
        let now = self.now;
        let Some(line) = self.links.peer_mut(due.link) else { return };
        if line.generation == due.generation && line.paused_until <= now {
            line.flags.paused = false;
            self.free_peer(due.link);
        }
    }

    fn go_on_with_freed(&mut self) {
        for key in std::mem::take(&mut self.freed) {
            while let Some(line) = self.links.peer_mut(key)
                && !line.is_held()
                && let Some(bytes) = line.waiting.pop_front()
            {
                let rest = std::mem::take(&mut line.waiting);
                self.receive_message(key, bytes);
                if let Some(line) = self.links.peer_mut(key) {
                    line.waiting = rest;
                }
            }
            let Some(line) = self.links.peer_mut(key) else { continue };
            if line.is_held() || !std::mem::take(&mut line.flags.told_held) {
                continue;
            }
            let (at, peer) = (usize::from(line.port), line.peer);
            let Some(port) = self.ports.get_mut(at) else { continue };
            let mut told = std::mem::take(&mut self.told);
            port.datagrams.hold(self.shared.elapsed(), peer, false, &mut told);
            self.listen(at, told);
        }
    }

    /// Gives what waits for a peer to its port, chunk by chunk, until its window is full. Then the
    /// rest stays with the shard, whose rules for slow readers hold.
    pub(super) fn flush_peer(&mut self, key: u32) {
        let Some(line) = self.links.peer_mut(key) else { return };
        let Some(port) = self.ports.get_mut(usize::from(line.port)) else { return };
        if !line.flags.trusted && self.shard.has_session(LinkId(key)) {
            line.flags.trusted = true;
            port.datagrams.trust(line.peer);
        }
        let Some(outbox) = self.shard.outbox(LinkId(key)) else { return };
        while !line.flags.blocked
            && let Some((chunk, reliable)) = outbox.front()
        {
            if port.send(self.moment, line.peer, chunk, reliable) {
                let len = chunk.len();
                outbox.consume(len);
            } else {
                line.flags.blocked = true;
            }
        }
        let behind = outbox.bytes() > self.shared.limits.outbox_bytes / 2;
        let freed = line.flags.stalled && !behind;
        line.flags.stalled &= behind;
        if line.flags.blocked {
            self.io.blocked_total += 1;
            self.shard.set_blocked(LinkId(key), true);
        }
        if freed {
            self.free_peer(key);
        }
    }

    /// Sends what the ports have, and publishes what they have counted.
    pub(super) fn flush_ports(&mut self) {
        let mut all = Counts::default();
        for port in &mut self.ports {
            port.transmit(self.shared.elapsed(), &mut self.io);
            let counts = port.counts();
            all.refused_total += counts.refused_total;
            all.replayed_total += counts.replayed_total;
            all.repeated_total += counts.repeated_total;
            all.too_large_total += counts.too_large_total;
            all.turned_away_total += counts.turned_away_total;
        }
        self.io.datagrams_refused_total = all.refused_total;
        self.io.datagrams_replayed_total = all.replayed_total;
        self.io.datagrams_repeated_total = all.repeated_total;
        self.io.datagrams_too_large_total = all.too_large_total;
        self.io.peers_turned_away_total = all.turned_away_total;
    }

    /// The shard wants a peer closed: what it has said last goes out before the end.
    pub(super) fn close_peer(&mut self, key: u32, code: CloseCode) {
        self.flush_peer(key);
        let Some(line) = self.links.peer(key) else { return };
        if let Some(port) = self.ports.get_mut(usize::from(line.port)) {
            port.datagrams.close(self.shared.elapsed(), line.peer, code, code.reason());
        }
        self.forget_peer(key, LinkLoss::Broken);
    }

    fn forget_peer(&mut self, key: u32, loss: LinkLoss) {
        let Some(line) = self.links.peer(key) else { return };
        let (at, peer): (usize, Peer) = (usize::from(line.port), line.peer);
        if let Some(port) = self.ports.get_mut(at) {
            port.forget(peer);
        }
        self.lose(key, loss);
        self.links.remove_peer(key);
        self.mailbox.link_gone();
    }

    /// The session that a peer wants to resume lives with another worker, where its socket is not:
    /// it is told to begin anew; the positions that it knows still bring what it missed.
    pub(super) fn keep_peer(&mut self, key: u32, hello: Bytes) {
        let Some(line) = self.links.peer(key) else { return };
        let (link, format) = (LinkId(key), line.format);
        let port = self.ports.get(usize::from(line.port));
        let listening = port.and_then(|port| self.shared.listeners.get(usize::from(port.listener)));
        let namespace = listening.and_then(|listening| listening.namespace.clone());
        self.decided.push_back(Input::Stays { link, format, namespace, message: hello });
    }
}
