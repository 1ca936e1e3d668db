//! A server of several shards, its links and its clock, in a box. Time is virtual: it jumps to the
//! next thing that is due. Everything a real worker does with a shard stands in `worker.rs`.

mod engine;
mod reader;
mod store;
mod wire;
mod worker;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::hook::Call;
use roomcast_core::{
    CallTicket, Counters, HubConfig, Input, LinkLoss, NodeId, Now, Question, ServerCall,
    ServerReply, Shard, ShardId, Ticket, Verdict,
};
use roomcast_wire::{CloseCode, Format, Payload, Refusal};

use crate::chance::Chance;
use engine::Engine;
use reader::{Piece, Reader};
use store::Store;
use wire::{Down, Place, Up, Wire};
use worker::{Mail, Worker};

/// How long a worker waits for a peer that does not read its last bytes, in milliseconds.
const CLOSE_MS: u64 = 5_000;
/// When the kernel gives up on a TCP peer that is gone without a word, in milliseconds.
const KERNEL_MS: u64 = 20_000;
/// Turns at one moment after which the shards are thought to go round in circles.
const TURNS_AT_ONCE_MAX: u32 = 10_000;

/// Which link, of all that there ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireId(pub usize);

/// How bad the weather is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dials {
    /// Longest time that something is on its way between client and worker, in milliseconds.
    pub delay_ms: u64,
    /// Shortest time that an envelope, or a link handed over, is on its way.
    pub envelope_delay_ms_min: u64,
    /// Longest time that an envelope, or a link handed over, is on its way between workers.
    pub envelope_delay_ms: u64,
    /// How many unread bytes a link takes at least.
    pub window_bytes_min: usize,
    /// How many unread bytes a link takes at most.
    pub window_bytes_max: usize,
    /// How many of 100 writes take less than there was room for.
    pub short_writes: u64,
    /// Longest time that an entry is on its way to the log, and until the disk has it.
    pub log_delay_ms: u64,
}

impl Dials {
    /// Everything arrives at once.
    pub const CALM: Self = Self {
        delay_ms: 0,
        envelope_delay_ms_min: 0,
        envelope_delay_ms: 0,
        window_bytes_min: 1 << 20,
        window_bytes_max: 1 << 20,
        short_writes: 0,
        log_delay_ms: 0,
    };
}

/// What somebody outside the server notices.
#[derive(Debug)]
pub enum Happened {
    /// A client read a message.
    Message {
        /// On which link.
        wire: WireId,
        /// The message, without its framing.
        bytes: Bytes,
    },
    /// A client noticed that its link has ended.
    Ended {
        /// Which link.
        wire: WireId,
        /// The close code, if the server closed it in good order.
        code: Option<u16>,
    },
    /// A client read what no server may send.
    Nonsense {
        /// On which link.
        wire: WireId,
        /// What it was.
        text: String,
    },
    /// A shard wants nothing read from a link for a while.
    Paused {
        /// Which link.
        wire: WireId,
        /// How long, in milliseconds.
        ms: u64,
    },
    /// A call of the server's own code is answered.
    Called {
        /// Its number.
        id: u64,
        /// The answer.
        reply: ServerReply,
    },
    /// A command waits for the application; [`World::decide`] answers.
    Asked {
        /// On which shard.
        shard: ShardId,
        /// What the verdict names.
        ticket: Ticket,
        /// The command.
        question: Question,
    },
    /// A client asks the application for something; [`World::answer`] answers.
    CalledBy {
        /// On which shard.
        shard: ShardId,
        /// What the answer names.
        ticket: CallTicket,
        /// What is asked.
        call: Box<Call>,
    },
    /// The process at the server's end of a link is no more.
    Killed {
        /// Which link.
        wire: WireId,
    },
    /// The shards go round in circles at one moment.
    Stuck,
}

/// A server of several shards, its links and its clock.
pub struct World {
    /// Draws delays and orders.
    pub chance: Chance,
    /// How bad the weather is.
    pub dials: Dials,
    now: u64,
    /// Of all nodes, one node's after the other's.
    workers: Vec<Worker>,
    /// How many of them each node has.
    workers_each: u16,
    /// What carries words between nodes; none: there is one, and it is alone.
    engine: Option<Engine>,
    wires: Vec<Wire>,
    due: BinaryHeap<Reverse<(u64, u8, u64, Due)>>,
    count: u64,
    happened: VecDeque<Happened>,
    calls: u64,
    turns_now: u32,
    store: Store,
}

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Up(WireId),
    Down(WireId),
    /// The wire is to be opened at a worker.
    Opened(WireId, u16),
    Envelope(u16),
    /// A task of a room's logic may be done.
    Task(u16),
    /// The engine has something to do.
    Engine(engine::Job),
    Writable(WireId),
    CloseOver(WireId),
    KernelGivesUp(WireId),
    /// Something may be done about the log.
    Log,
    Turn(u16),
}

impl World {
    /// A server with this configuration, at time 0.
    pub fn new(config: HubConfig, dials: Dials, chance: Chance) -> Self {
        let mut world = Self {
            chance,
            dials,
            now: 0,
            workers: Vec::new(),
            workers_each: 1,
            engine: None,
            wires: Vec::new(),
            due: BinaryHeap::new(),
            count: 0,
            happened: VecDeque::new(),
            calls: 0,
            turns_now: 0,
            store: Store::default(),
        };
        world.start(config);
        world
    }

    /// The server ends in good order, all links break, and a new one takes its place.
    pub fn restart(&mut self, config: HubConfig) {
        self.store.end(self.now);
        self.crash(config);
    }

    /// The whole server is killed: what was on its way to the log is lost, all links break, and a
    /// new one takes its place.
    pub fn crash(&mut self, config: HubConfig) {
        for wire in 0..self.wires.len() {
            let wire = WireId(wire);
            if self.wires[wire.0].place != Place::Gone {
                self.break_off(wire);
            }
        }
        match self.engine {
            None => self.start(config),
            Some(_) => self.restart_cluster(config),
        }
    }

    fn start(&mut self, config: HubConfig) {
        let shards = config.shards.max(1);
        self.workers_each = shards;
        let config = Arc::new(config);
        let restored = self.store.begin(shards, self.now);
        let begin = |id| {
            let (id, now) = (ShardId::alone(id), Now(self.now));
            Worker::new(Shard::restored(Arc::clone(&config), id, now, &restored), shards)
        };
        self.workers = (0..shards).map(begin).collect();
        for shard in 0..shards {
            self.set_turn(shard, self.now);
        }
    }

    /// A client connects to a worker.
    pub fn connect(&mut self, format: Format, namespace: Option<&str>, shard: u16) -> WireId {
        let (low, high) = (self.dials.window_bytes_min, self.dials.window_bytes_max);
        let wire = WireId(self.wires.len());
        self.wires.push(Wire {
            format,
            namespace: namespace.map(Arc::from),
            place: Place::Moving { message: None },
            up: VecDeque::new(),
            down: VecDeque::new(),
            delay_ms: self.dials.delay_ms,
            window: self.chance.between(low as u64, high as u64) as usize,
            unread: 0,
            reader: Reader::new(format.framing()),
            reads: true,
            pongs: true,
            half_open: false,
            cut: false,
            ended: false,
            blocked: false,
            was_blocked: false,
            paused_until: 0,
            asking: false,
            closing: None,
            finished: false,
            outbox_most: 0,
        });
        let at = self.now + self.chance.up_to(self.dials.delay_ms);
        let count = self.workers.len() as u16;
        let shards = (0..count).map(|next| (shard + next) % count);
        let runs = |&shard: &u16| self.workers[usize::from(shard)].runs;
        let shard = shards.clone().find(runs).unwrap_or(shard % count);
        self.set(at, Due::Opened(wire, shard));
        wire
    }

    /// A client sends a message.
    pub fn send(&mut self, wire: WireId, message: Bytes) {
        self.push_up(wire, Up::Message(message));
    }

    /// A client closes in good order, after what it has sent.
    pub fn close(&mut self, wire: WireId) {
        self.push_up(wire, Up::End(LinkLoss::Closed));
        self.end_at_client(wire, None);
    }

    /// A link breaks: of what is on its way, any part from the front still arrives.
    pub fn cut(&mut self, wire: WireId) {
        let entry = &mut self.wires[wire.0];
        if entry.ended || entry.cut {
            return;
        }
        let arrive = self.chance.index(entry.up.len() + 1);
        entry.up.truncate(arrive);
        let arrive = self.chance.index(entry.down.len() + 1);
        entry.down.truncate(arrive);
        if let Some((_, Down::Bytes(bytes))) = entry.down.back_mut() {
            let part = self.chance.index(bytes.len() + 1);
            bytes.truncate(part);
        }
        if std::mem::take(&mut entry.half_open) {
            entry.down.clear();
        }
        entry.reads = true;
        self.push_up(wire, Up::End(LinkLoss::Broken));
        self.wires[wire.0].cut = true;
        let at = self.now + self.chance.up_to(self.dials.delay_ms);
        let at = self.wires[wire.0].push_down(at, Down::End(None));
        self.set(at, Due::Down(wire));
    }

    /// The process at the server's end is no more.
    fn break_off(&mut self, wire: WireId) {
        self.happened.push_back(Happened::Killed { wire });
        self.cut(wire);
        self.wires[wire.0].place = Place::Gone;
        self.wires[wire.0].up.clear();
    }

    /// Nothing passes any more in either direction, and neither end is told.
    pub fn half_open(&mut self, wire: WireId) {
        let entry = &mut self.wires[wire.0];
        entry.half_open = true;
        entry.up.clear();
        entry.down.clear();
        if entry.format.framing().ping().is_none() {
            self.set(self.now + KERNEL_MS, Due::KernelGivesUp(wire));
        }
    }

    /// The client thinks no more of a link: it has opened another.
    pub fn forget(&mut self, wire: WireId) {
        self.wires[wire.0].ended = true;
    }

    /// Whether the client reads what comes.
    pub fn set_reads(&mut self, wire: WireId, reads: bool) {
        self.wires[wire.0].reads = reads;
        self.set(self.now, Due::Down(wire));
    }

    /// How many unread bytes the link takes.
    pub fn set_window(&mut self, wire: WireId, bytes: usize) {
        self.wires[wire.0].window = bytes;
    }

    /// Whether the client answers pings of the transport.
    pub fn set_pongs(&mut self, wire: WireId, pongs: bool) {
        self.wires[wire.0].pongs = pongs;
    }

    /// The server's own code asks a shard for something; comes back as [`Happened::Called`].
    pub fn call(&mut self, shard: u16, call: ServerCall) -> u64 {
        self.calls += 1;
        let id = self.calls;
        let shard = shard % self.workers.len() as u16;
        self.workers[usize::from(shard)].calls.push_back((id, call));
        self.set_turn(shard, self.now);
        id
    }

    /// The application has decided what becomes of a command.
    pub fn decide(&mut self, shard: ShardId, ticket: Ticket, verdict: Verdict) {
        // A server that was restarted knows nothing of what the one before asked.
        let at = self.index_of(shard);
        let Some(worker) = self.workers.get_mut(usize::from(at)) else { return };
        worker.decided.push_back(Input::Verdict { ticket, verdict });
        self.set_turn(at, self.now);
    }

    /// The application has answered a client's call.
    pub fn answer(
        &mut self,
        shard: ShardId,
        ticket: CallTicket,
        answer: Result<Option<Payload>, Refusal>,
    ) {
        let at = self.index_of(shard);
        let Some(worker) = self.workers.get_mut(usize::from(at)) else { return };
        worker.decided.push_back(Input::Answered { ticket, answer });
        self.set_turn(at, self.now);
    }

    /// The server is about to stop.
    pub fn drain(&mut self, retry_ms_max: u64) {
        for shard in 0..self.workers.len() as u16 {
            self.workers[usize::from(shard)].drain = Some(retry_ms_max);
            self.set_turn(shard, self.now);
        }
    }

    /// What time it is, in milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// What happened, oldest first.
    pub fn poll_happened(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    /// Whether the link was ever so slow that a write was short.
    pub fn was_blocked(&self, wire: WireId) -> bool {
        self.wires[wire.0].was_blocked
    }

    /// Whether writes to the link are short now.
    pub fn is_blocked(&self, wire: WireId) -> bool {
        self.wires[wire.0].blocked
    }

    /// Most bytes that waited for a link at the end of any turn.
    pub fn outbox_most(&self, wire: WireId) -> usize {
        self.wires[wire.0].outbox_most
    }

    /// The counters of all shards.
    pub fn counters(&self) -> Vec<Counters> {
        let running = self.workers.iter().filter(|worker| worker.runs);
        running.map(|worker| *worker.shard.counters()).collect()
    }

    /// Carries out the next thing due at or before `until`; `false` if there is none, and then it
    /// is `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(Reverse((at, ..))) = self.due.peek() else {
            self.now = self.now.max(until);
            return false;
        };
        if *at > until {
            self.now = self.now.max(until);
            return false;
        }
        let Some(Reverse((at, _, _, due))) = self.due.pop() else { return false };
        if at > self.now {
            self.turns_now = 0;
        }
        self.now = at.max(self.now);
        match due {
            Due::Up(wire) => self.wake_reader_of(wire),
            Due::Down(wire) => self.client_reads(wire),
            Due::Opened(wire, shard) if !self.workers[usize::from(shard)].runs => {
                self.break_off(wire);
            }
            Due::Opened(wire, shard) => {
                self.workers[usize::from(shard)].opened.push_back(wire);
                self.set_turn(shard, self.now);
            }
            Due::Envelope(shard) | Due::Task(shard) => self.set_turn(shard, self.now),
            Due::Engine(job) => self.engine_works(job),
            Due::Writable(wire) => self.write_again(wire),
            Due::Log => self.work_on_log(),
            Due::CloseOver(wire) => self.lose(wire),
            Due::KernelGivesUp(wire) => {
                if self.wires[wire.0].half_open {
                    self.lose(wire);
                }
            }
            Due::Turn(shard) => self.turn(shard),
        }
        true
    }

    /// Where a shard stands among all workers.
    fn index_of(&self, shard: ShardId) -> u16 {
        shard.node.number() * self.workers_each + shard.worker
    }

    /// Which shard stands there.
    fn shard_at(&self, index: u16) -> ShardId {
        let node = NodeId::new(index / self.workers_each).unwrap_or_default();
        ShardId { node, worker: index % self.workers_each }
    }

    fn set(&mut self, at: u64, due: Due) {
        self.count += 1;
        // Turns come after everything else of their moment, so that one turn takes all of it.
        let class = u8::from(matches!(due, Due::Turn(_)));
        self.due.push(Reverse((at.max(self.now), class, self.count, due)));
    }

    fn set_turn(&mut self, shard: u16, at: u64) {
        let worker = &mut self.workers[usize::from(shard)];
        if worker.turn_at.is_none_or(|set| at < set) {
            worker.turn_at = Some(at);
            self.set(at, Due::Turn(shard));
        }
    }

    fn push_up(&mut self, wire: WireId, up: Up) {
        let entry = &self.wires[wire.0];
        if entry.half_open || entry.cut || entry.ended || entry.place == Place::Gone {
            return;
        }
        let at = self.now + self.chance.up_to(entry.delay_ms);
        let at = self.wires[wire.0].push_up(at, up);
        self.set(at, Due::Up(wire));
    }

    fn wake_reader_of(&mut self, wire: WireId) {
        if let Place::At { shard, .. } = self.wires[wire.0].place {
            let worker = &mut self.workers[usize::from(shard)];
            if !worker.readable.contains(&wire) {
                worker.readable.push(wire);
            }
            let at = self.now.max(self.wires[wire.0].paused_until);
            self.set_turn(shard, at);
        }
    }

    /// The client takes what has arrived, if it reads.
    fn client_reads(&mut self, wire: WireId) {
        let entry = &mut self.wires[wire.0];
        if entry.half_open || !entry.reads || entry.ended {
            return;
        }
        let mut end = None;
        while entry.down.front().is_some_and(|&(at, _)| at <= self.now) {
            match entry.down.pop_front() {
                Some((_, Down::Bytes(bytes))) => {
                    entry.unread = entry.unread.saturating_sub(bytes.len());
                    entry.reader.push(&bytes);
                }
                Some((_, Down::End(code))) => end = Some(code),
                None => break,
            }
        }
        if entry.blocked {
            self.set(self.now, Due::Writable(wire));
        }
        self.take_pieces(wire);
        if let Some(code) = end {
            self.end_at_client(wire, code);
        }
    }

    fn take_pieces(&mut self, wire: WireId) {
        while let Some(piece) = self.wires[wire.0].reader.next_piece() {
            match piece {
                Piece::Message(bytes) => self.happened.push_back(Happened::Message { wire, bytes }),
                Piece::Ping if self.wires[wire.0].pongs => self.push_up(wire, Up::Alive),
                Piece::Ping => {}
                Piece::Broken(text) => {
                    self.happened.push_back(Happened::Nonsense { wire, text });
                    self.wires[wire.0].reads = false;
                    return;
                }
            }
        }
    }

    fn end_at_client(&mut self, wire: WireId, code: Option<u16>) {
        if !std::mem::replace(&mut self.wires[wire.0].ended, true) {
            self.happened.push_back(Happened::Ended { wire, code });
        }
    }

    /// The worker gives a link up without the client's help.
    fn lose(&mut self, wire: WireId) {
        if self.wires[wire.0].place == Place::Gone {
            return;
        }
        self.wires[wire.0].up.clear();
        self.wires[wire.0].paused_until = 0;
        let at = self.wires[wire.0].push_up(self.now, Up::End(LinkLoss::Broken));
        self.set(at, Due::Up(wire));
        if !self.wires[wire.0].half_open {
            self.wires[wire.0].reads = true;
            let at = self.now + self.chance.up_to(self.dials.delay_ms);
            let at = self.wires[wire.0].push_down(at, Down::End(None));
            self.set(at, Due::Down(wire));
        }
    }
}

/// Something on its way to a worker.
type InFlight = (u64, Mail);

/// The code of a message above the limit, which the worker itself closes for.
const TOO_LARGE: CloseCode = CloseCode::TooLarge;
