//! Connections that carry several lines: Engine.IO, with one line for each namespace of Socket.IO.
//! The shard sees each line as a link of its own; the connection has the socket, its pings, and
//! the bytes that are on their way.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roomcast_core::{Input, LinkId, LinkLoss, Now, Outbox, Shard, ShardId};
use roomcast_wire::dialect::socketio;
use roomcast_wire::engineio;
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{CloseCode, Format, Next};

use super::exchange::Exchange;
use super::lines::{Carried, Lines};
use super::link::{Link, Stage};
use super::{Timer, Worker, mark_dirty, queue};
use crate::server::Shared;
use crate::transport::{self, Fault};

/// A frame that asks for a sign of life.
const PING: Bytes = Bytes::from_static(engineio::PING);

/// Most namespaces of one connection at a time.
const NAMESPACES_MAX: usize = 64;

/// How long a connection is not read that has opened as many before and opens another: each has
/// rates of its own, so that leaving and coming again would be a way around them.
const REOPEN_MS: u64 = 1_000;

/// A line that is to be opened.
#[derive(Clone, Copy, Default)]
struct Line<'a> {
    /// Its namespace as the peer writes it.
    namespace: &'a str,
    /// The namespace of the server; none: the listener's.
    hub: Option<&'a str>,
}

fn fault(message: &str) -> Fault {
    Fault { code: CloseCode::Protocol, message: message.to_owned(), answer: Vec::new() }
}

/// What a connection needs that carries lines.
pub(super) struct Carrier {
    /// What is on its way to the peer, of all lines.
    pub(super) outbox: Outbox,
    /// The lines, by their numbers.
    pub(super) lines: Vec<u32>,
    /// How many lines there were.
    opened: usize,
    /// The line whose last message waits for the application.
    pub(super) asking: Option<u32>,
    /// Until when the peer is to answer the ping, if it was pinged.
    pong_due: Option<Now>,
    /// When it is to carry something, if it carries nothing.
    connect_due: Now,
    /// Until when the packet that has begun is to be whole, if one has.
    attachments_due: Option<Now>,
    /// Whether a timer runs for that: one is enough, however many packets there are.
    has_attachments_timer: bool,
    /// Where a socket comes from that takes the place of this connection's.
    pub(super) exchange: Option<Arc<Exchange>>,
}

impl Carrier {
    fn new(connect_due: Now, exchange: Option<Arc<Exchange>>) -> Box<Self> {
        Box::new(Self {
            outbox: Outbox::default(),
            lines: Vec::new(),
            opened: 0,
            asking: None,
            pong_due: None,
            connect_due,
            attachments_due: None,
            has_attachments_timer: false,
            exchange,
        })
    }

    /// The largest message that may come now: smaller before any line has a session.
    pub(super) fn bytes_max(&self, shard: &Shard, shared: &Shared) -> usize {
        let most = shared.socketio.max_payload;
        if self.lines.iter().any(|line| shard.has_session(LinkId(*line))) {
            most
        } else {
            most.min(shared.limits.message_bytes_unknown_peer)
        }
    }
}

/// What a link carries, if it carries lines.
pub(super) fn carrier(lines: &mut Lines, key: u32) -> Option<&mut Carrier> {
    match &mut lines.get_mut(key as usize)?.stage {
        Stage::Carrying(carrier) => Some(carrier),
        _ => None,
    }
}

impl Worker {
    /// A WebSocket begins a session of its own. Returns whether it could.
    pub(super) fn open_carrier(&mut self, key: u32, mut response: Vec<u8>) -> bool {
        let Some(sid) = crate::system::random() else { return false };
        let open = self.shared.socketio.handshake(u128::from_be_bytes(sid), false);
        let mut frame = BytesMut::new();
        open.write_frame(&mut frame);
        response.extend_from_slice(&frame);
        if self.write_now(key, &response).is_err() {
            return false;
        }
        let packet_bytes_max = self.shared.socketio.max_payload;
        if let Some(link) = self.links.get_mut(key as usize)
            && let Some(listening) = self.shared.listeners.get(usize::from(link.listener))
        {
            link.protocol = transport::engineio(listening.site.dialect, packet_bytes_max);
        }
        self.carry(key, None);
        true
    }

    /// The link carries lines from now on.
    pub(super) fn carry(&mut self, key: u32, exchange: Option<Arc<Exchange>>) {
        let settings = &self.shared.socketio;
        let (interval_ms, connect_ms) = (settings.ping_interval, settings.connect_timeout);
        let connect_due = self.now.plus(connect_ms);
        let Some(link) = self.links.get_mut(key as usize) else { return };
        link.stage = Stage::Carrying(Carrier::new(connect_due, exchange));
        let alone = link.protocol.carries_alone();
        self.set_timer(key, interval_ms, Timer::Ping);
        self.set_timer(key, connect_ms, Timer::Connect);
        if let Some(format) = alone {
            self.open_line(key, Line::default(), format);
        }
    }

    /// A line more on a connection.
    fn open_line(&mut self, by: u32, line: Line<'_>, format: Format) -> Option<u32> {
        let link = self.links.get(by as usize)?;
        let listening = self.shared.listeners.get(usize::from(link.listener))?;
        let blocked = link.flags.told_blocked;
        let hub = match line.hub {
            Some(name) => Some(Arc::from(name)),
            None => listening.namespace.clone(),
        };
        let namespace = Box::from(line.namespace);
        let line = Carried { by, close: None, namespace, hub, format };
        self.add_line(line, blocked)
    }

    fn add_line(&mut self, line: Carried, blocked: bool) -> Option<u32> {
        let (by, format, namespace) = (line.by, line.format, line.hub.clone());
        let key = self.links.insert_carried(line);
        let carrier = carrier(&mut self.links, by)?;
        carrier.lines.push(key);
        carrier.opened += 1;
        let is_again = carrier.opened > NAMESPACES_MAX;
        self.tell(Input::Opened { link: LinkId(key), format, namespace });
        if blocked {
            self.shard.set_blocked(LinkId(key), true);
        }
        if is_again {
            self.pause(by, self.now.plus(REOPEN_MS));
        }
        Some(key)
    }

    /// A whole message of one of the lines.
    pub(super) fn carried(&mut self, by: u32, format: Format, bytes: Bytes) {
        let Some(link) = self.links.get_mut(by as usize) else { return };
        if let Stage::Carrying(carrier) = &mut link.stage {
            carrier.attachments_due = None;
        }
        let key = if link.protocol.carries_alone().is_some() {
            let Stage::Carrying(carrier) = &link.stage else { return };
            carrier.lines.first().copied()
        } else {
            match self.line_for(by, format, &bytes) {
                Ok(key) => key,
                Err(fault) => return self.fault(by, &fault),
            }
        };
        let outbox = key.and_then(|key| {
            self.tell(Input::Message { link: LinkId(key), bytes });
            self.shard.outbox(LinkId(key))
        });
        let waiting = outbox.map_or(0, |outbox| outbox.bytes());
        let Some(link) = self.links.get_mut(by as usize) else { return };
        let Stage::Carrying(carrier) = &link.stage else { return };
        if waiting + carrier.outbox.bytes() > self.shared.limits.outbox_bytes / 2 {
            link.flags.stalled = true;
        }
    }

    /// The line of the packet's namespace, opened if the packet asks for it; none: the client was
    /// told that there is no such namespace, or has left it.
    fn line_for(&mut self, by: u32, format: Format, packet: &Bytes) -> Result<Option<u32>, Fault> {
        let Some(namespace) = socketio::namespace_of(packet) else {
            return Err(fault("a packet without a type, or without an end of its namespace"));
        };
        let Some(link) = self.links.get(by as usize) else { return Ok(None) };
        let Stage::Carrying(carrier) = &link.stage else { return Ok(None) };
        let is_its =
            |key: &u32| self.links.carried(*key).is_some_and(|line| &*line.namespace == namespace);
        if let Some(key) = carrier.lines.iter().copied().find(is_its) {
            let ended = self.links.carried_mut(key).and_then(|line| line.close.take());
            let Some(code) = ended else { return Ok(Some(key)) };
            // Before the turn ends, as its peer may come again at once: that is another line.
            self.close_line(key, code);
        }
        let Some(carrier) = self::carrier(&mut self.links, by) else { return Ok(None) };
        if !socketio::opens(packet) {
            // What was on its way when the namespace was closed means nothing any more.
            return match carrier.opened {
                0 => Err(fault("the first packet has to connect to a namespace")),
                _ => Ok(None),
            };
        }
        if carrier.lines.len() >= NAMESPACES_MAX {
            return Err(fault("more namespaces than one connection may have"));
        }
        let hub = socketio::hub_namespace(namespace);
        let hub = hub.filter(|name| self.shared.entrances.has(name));
        let Some(hub) = hub else {
            let mut refusal = BytesMut::new();
            socketio::refuse_namespace(format.codec(), namespace, &mut refusal);
            let Some(link) = self.links.get_mut(by as usize) else { return Ok(None) };
            if let Stage::Carrying(carrier) = &mut link.stage {
                carrier.outbox.push_control(refusal.freeze());
            }
            mark_dirty(link, by, &mut self.dirty);
            self.again = true;
            return Ok(None);
        };
        // `/` is the namespace of the listener, if it has one.
        let hub = if hub == DEFAULT_NAMESPACE { None } else { Some(hub) };
        let format = socketio::format_in(format, namespace);
        Ok(self.open_line(by, Line { namespace, hub }, format))
    }

    /// The session that a line asks for lives with another worker. The whole connection goes there,
    /// with what is on its way; but not if a session of this worker is on it, too: all sessions of
    /// a connection begin with one worker, so that only happens to clients who take up sessions of
    /// two connections on one. They begin anew.
    pub(super) fn move_line(&mut self, key: u32, to: ShardId, message: Bytes) {
        let Some(line) = self.links.carried(key) else { return };
        let (by, format, namespace) = (line.by, line.format, line.hub.clone());
        let Some(carrier) = carrier(&mut self.links, by) else { return };
        let others = carrier.lines.iter().filter(|other| **other != key);
        if others.clone().any(|other| self.shard.has_session(LinkId(*other))) {
            let link = LinkId(key);
            return self.decided.push_back(Input::Stays { link, format, namespace, message });
        }
        // Those were refused; their clients ask again, if at all.
        let refused: Vec<_> = others.copied().collect();
        carrier.lines.clear();
        for other in refused {
            let (link, loss) = (LinkId(other), LinkLoss::Broken);
            self.decided.push_back(Input::Closed { link, loss });
            self.links.remove_carried(other);
        }
        let line = self.links.remove_carried(key).map(Box::new);
        self.move_away(by, to, message, line);
    }

    /// A connection from another worker: the session of one of its lines lives here.
    pub(super) fn take_over_carrier(&mut self, mut link: Link, line: Carried, message: Bytes) {
        self.renew(&mut link);
        let Stage::Carrying(carrier) = &mut link.stage else { return self.mailbox.link_gone() };
        let (pong_due, connect_due) = (carrier.pong_due, carrier.connect_due);
        carrier.has_attachments_timer = false;
        let Some(by) = self.add(link) else { return };
        let settings = &self.shared.socketio;
        let (after_ms, timer) = match pong_due {
            Some(due) => (due.0.saturating_sub(self.now.0), Timer::Pong),
            None => (settings.ping_interval, Timer::Ping),
        };
        self.set_timer(by, after_ms, timer);
        self.set_timer(by, connect_due.0.saturating_sub(self.now.0), Timer::Connect);
        if let Some(key) = self.add_line(Carried { by, ..line }, false) {
            self.tell(Input::Message { link: LinkId(key), bytes: message });
        }
        if let Some(link) = self.links.get_mut(by as usize) {
            mark_dirty(link, by, &mut self.dirty);
            queue(link, by, &mut self.ready);
        }
    }

    /// What waits for a line goes over to its connection, in whole frames, and is written. Behind
    /// a connection that takes nothing it stays with the shard, whose rules for slow readers hold.
    pub(super) fn flush_line(&mut self, key: u32) {
        let Some(by) = self.links.carried(key).map(|line| line.by) else { return };
        let Some(link) = self.links.get_mut(by as usize) else { return };
        let Stage::Carrying(carrier) = &mut link.stage else { return };
        if link.flags.blocked {
            self.shard.set_blocked(LinkId(key), true);
            return;
        }
        // Before its peer can hear that it is let in.
        if let Some(exchange) = &carrier.exchange
            && self.shard.has_session(LinkId(key))
        {
            exchange.set_known();
        }
        if let Some(outbox) = self.shard.outbox(LinkId(key)) {
            carrier.outbox.append(std::mem::take(outbox));
        }
        if let [_] = carrier.lines[..] {
            return self.flush(by);
        }
        // The others of its lines may have something, too: one write for all.
        mark_dirty(link, by, &mut self.dirty);
    }

    /// The socket took no more, or does again.
    pub(super) fn set_lines_blocked(&mut self, by: u32, blocked: bool) {
        let Some(carrier) = carrier(&mut self.links, by) else { return };
        for line in &carrier.lines {
            self.shard.set_blocked(LinkId(*line), blocked);
        }
    }

    /// The peer has answered the ping: the next is due an interval later.
    pub(super) fn ponged(&mut self, key: u32) {
        let Some(carrier) = carrier(&mut self.links, key) else { return };
        if carrier.pong_due.take().is_some() {
            self.set_timer(key, self.shared.socketio.ping_interval, Timer::Ping);
        }
    }

    /// All that came was read. If a packet has begun with it, its attachments have their time from
    /// now on; those that come do not lengthen it (threat S19).
    pub(super) fn time_attachments(&mut self, key: u32) {
        let timeout_ms = self.shared.socketio.attachments_timeout;
        let now = self.now;
        let Some(link) = self.links.get_mut(key as usize) else { return };
        if !link.protocol.awaits_rest() {
            return;
        }
        let Stage::Carrying(carrier) = &mut link.stage else { return };
        carrier.attachments_due.get_or_insert(now.plus(timeout_ms));
        if !std::mem::replace(&mut carrier.has_attachments_timer, true) {
            self.set_timer(key, timeout_ms, Timer::Attachments);
        }
    }

    fn miss_attachments(&mut self, key: u32) {
        let now = self.now;
        let Some(link) = self.links.get_mut(key as usize) else { return };
        let unread = link.is_held() || link.flags.unprocessed || link.flags.readable;
        let Stage::Carrying(carrier) = &mut link.stage else { return };
        carrier.has_attachments_timer = false;
        match carrier.attachments_due {
            // They may stand where they were not read yet.
            Some(due) if due <= now && unread => {
                carrier.attachments_due = None;
                self.time_attachments(key);
            }
            Some(due) if due > now => {
                carrier.has_attachments_timer = true;
                self.set_timer(key, due.0.saturating_sub(now.0), Timer::Attachments);
            }
            Some(_) => self.fault(
                key,
                &Fault {
                    code: CloseCode::Silent,
                    message: "the attachments of a packet have not come in time".to_owned(),
                    answer: Vec::new(),
                },
            ),
            None => {}
        }
    }

    pub(super) fn run_carrier_timer(&mut self, key: u32, timer: Timer) {
        let now = self.now;
        let timeout_ms = self.shared.socketio.ping_timeout;
        let Some(link) = self.links.get_mut(key as usize) else { return };
        // By its own doing, if it does not read what it asked for: then it counts as silent.
        let held = (link.is_held() || link.flags.unprocessed) && !link.flags.stalled;
        let Stage::Carrying(carrier) = &mut link.stage else { return };
        match timer {
            Timer::Pong if carrier.pong_due.is_none_or(|due| due > now) => {}
            // One that is not read is pinged again, as its peer listens for pings, too; whether
            // it is alive shows when it is read.
            Timer::Ping | Timer::Pong if timer == Timer::Ping || held => {
                carrier.pong_due = Some(now.plus(timeout_ms));
                carrier.outbox.push_control(PING);
                mark_dirty(link, key, &mut self.dirty);
                self.again = true;
                self.set_timer(key, timeout_ms, Timer::Pong);
            }
            Timer::Pong => {
                let code = CloseCode::NoPong;
                self.begin_closing(key, Some(code), LinkLoss::Ended(code));
            }
            Timer::Connect if carrier.lines.is_empty() && carrier.connect_due <= now => {
                self.io.handshake_timeouts_total += 1;
                self.begin_closing(key, Some(CloseCode::Silent), LinkLoss::Broken);
            }
            Timer::Attachments => self.miss_attachments(key),
            _ => {}
        }
    }

    /// The shard wants a line closed. The connection goes on, but where its peer has broken the
    /// protocol, as with the reference server, or is to come again and nothing else is carried.
    pub(super) fn close_line(&mut self, key: u32, code: CloseCode) {
        let Some(by) = self.links.carried(key).map(|line| line.by) else { return };
        let Some(link) = self.links.get_mut(by as usize) else { return };
        let alone = link.protocol.carries_alone().is_some();
        let Stage::Carrying(carrier) = &mut link.stage else { return };
        let stays = matches!(
            code,
            CloseCode::Normal
                | CloseCode::Disconnected
                | CloseCode::Unauthorized
                | CloseCode::Replaced
        ) && !alone;
        let is_last = carrier.lines.len() == 1 && (!stays || code.next() == Next::Resume);
        if is_last || code == CloseCode::Protocol {
            return self.begin_closing(by, Some(code), LinkLoss::Ended(code));
        }
        let connect_ms = self.shared.socketio.connect_timeout;
        carrier.lines.retain(|line| *line != key);
        let is_empty = carrier.lines.is_empty();
        carrier.connect_due = self.now.plus(connect_ms);
        if let Some(outbox) = self.shard.outbox(LinkId(key)) {
            carrier.outbox.append(std::mem::take(outbox));
        }
        self.forget_line(by, key, LinkLoss::Broken);
        if let Some(link) = self.links.get_mut(by as usize) {
            mark_dirty(link, by, &mut self.dirty);
            self.again = true;
        }
        if is_empty {
            self.set_timer(by, connect_ms, Timer::Connect);
        }
    }

    /// Connections that carry nothing are not waited for when the server is about to stop.
    pub(super) fn close_idle_carriers(&mut self) {
        let carries_nothing = |link: &Link| match &link.stage {
            Stage::Carrying(carrier) => carrier.lines.is_empty(),
            _ => false,
        };
        let idle = self.links.links().filter(|(_, link)| carries_nothing(link));
        let idle: Vec<_> = idle.map(|(key, _)| key).collect();
        for key in idle {
            self.begin_closing(key, Some(CloseCode::Drain), LinkLoss::Broken);
        }
    }

    /// All lines of a connection end; what waits for their peer.
    pub(super) fn end_lines(&mut self, by: u32, loss: LinkLoss) -> Option<Outbox> {
        let carrier = carrier(&mut self.links, by)?;
        let mut outbox = std::mem::take(&mut carrier.outbox);
        let lines = std::mem::take(&mut carrier.lines);
        for line in lines {
            if let Some(waiting) = self.shard.outbox(LinkId(line)) {
                outbox.append(std::mem::take(waiting));
            }
            self.forget_line(by, line, loss);
        }
        Some(outbox)
    }

    fn forget_line(&mut self, by: u32, key: u32, loss: LinkLoss) {
        if let Some(carrier) = carrier(&mut self.links, by)
            && carrier.asking == Some(key)
        {
            self.release(key);
            self.again = true;
        }
        self.lose(key, loss);
        self.links.remove_carried(key);
    }

    /// A message waits for the application: nothing more is read from its link, or from the one
    /// that carries its line.
    pub(super) fn hold(&mut self, key: u32) {
        let by = self.line_of(key);
        if let Some(peer) = self.links.peer_mut(key) {
            peer.flags.asking = true;
        }
        let Some(link) = self.links.get_mut(by as usize) else { return };
        link.flags.asking = true;
        if let Stage::Carrying(carrier) = &mut link.stage {
            carrier.asking = Some(key);
        }
    }

    /// The link that stands for a number of the shard's: its own, or the one that carries it.
    pub(super) fn line_of(&self, key: u32) -> u32 {
        self.links.carried(key).map_or(key, |line| line.by)
    }

    /// It waits no longer, or its line is gone.
    pub(super) fn release(&mut self, key: u32) {
        let by = self.line_of(key);
        if let Some(peer) = self.links.peer_mut(key) {
            peer.flags.asking = false;
            return self.free_peer(key);
        }
        let Some(link) = self.links.get_mut(by as usize) else { return };
        link.flags.asking = false;
        if let Stage::Carrying(carrier) = &mut link.stage {
            carrier.asking = None;
        }
        queue(link, by, &mut self.ready);
    }
}
