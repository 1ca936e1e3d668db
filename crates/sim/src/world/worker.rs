//! What a worker does with its shard: the turn.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use roomcast_core::logic::{RoomRef, Task};
use roomcast_core::{
    Directory, Envelope, Input, LinkId, LinkLoss, Now, Output, ServerCall, Shard, ShardId,
};

use super::wire::{Down, Place, Up};
use super::{CLOSE_MS, Due, Happened, InFlight, TOO_LARGE, TURNS_AT_ONCE_MAX, WireId, World};

/// A shard and what waits for its next turn.
pub(super) struct Worker {
    pub shard: Shard,
    /// When its next turn is set for.
    pub turn_at: Option<u64>,
    /// From each shard of the own node, from each node, and from the engine, with the time of
    /// arrival.
    pub inbox: Vec<VecDeque<InFlight>>,
    /// The process runs.
    pub runs: bool,
    /// The cluster as the shard knows it.
    pub directory: Arc<Directory>,
    links: Vec<Option<WireId>>,
    pub opened: VecDeque<WireId>,
    pub readable: Vec<WireId>,
    pub calls: VecDeque<(u64, ServerCall)>,
    tasks: Vec<Waiting>,
    /// What the application has decided or answered.
    pub decided: VecDeque<Input>,
    /// What the log has said.
    pub news: VecDeque<Input>,
    pub drain: Option<u64>,
}

/// Longest time a task takes until it is looked at, in milliseconds.
const TASK_MS_MAX: u64 = 400;

/// What waits in a worker's inbox.
pub(super) enum Mail {
    /// Word from another shard of the node.
    Word(ShardId, Envelope),
    /// Word from another node, as bytes, with the incarnation that sent it.
    Abroad(ShardId, u64, Bytes),
    /// What the engine tells.
    Told(Input),
}

/// A task of a room's logic, and when it is looked at next.
struct Waiting {
    at: u64,
    room: RoomRef,
    call: u64,
    task: Task,
}

/// A link that takes so many unread bytes is a steady one: no write to it is short.
const STEADY_BYTES: usize = 1 << 22;

/// One thing that a turn hands to the shard.
enum Work {
    Open(WireId),
    Envelopes(usize),
    Read(WireId),
    Call(u64, ServerCall),
    Task(Waiting),
    Decided(Input),
    News(VecDeque<Input>),
    Drain(u64),
}

impl Worker {
    pub fn new(shard: Shard, lanes: u16) -> Self {
        Self {
            shard,
            turn_at: None,
            inbox: (0..lanes).map(|_| VecDeque::new()).collect(),
            runs: true,
            directory: Arc::default(),
            links: Vec::new(),
            opened: VecDeque::new(),
            readable: Vec::new(),
            calls: VecDeque::new(),
            tasks: Vec::new(),
            decided: VecDeque::new(),
            news: VecDeque::new(),
            drain: None,
        }
    }

    /// The lowest free number, so that numbers are used again as soon as can be.
    fn free_link(&mut self, wire: WireId) -> LinkId {
        let free = self.links.iter().position(Option::is_none);
        let at = free.unwrap_or(self.links.len());
        if at == self.links.len() {
            self.links.push(None);
        }
        self.links[at] = Some(wire);
        LinkId(at as u32)
    }
}

impl World {
    pub(super) fn turn(&mut self, shard: u16) {
        let now = self.now;
        let worker = &mut self.workers[usize::from(shard)];
        if worker.turn_at.is_none_or(|at| at > now) {
            return;
        }
        worker.turn_at = None;
        if !worker.runs {
            return;
        }
        if let Some(until) = self.paused_until(shard) {
            return self.set_turn(shard, until);
        }
        self.turns_now += 1;
        if self.turns_now > TURNS_AT_ONCE_MAX {
            if self.turns_now == TURNS_AT_ONCE_MAX + 1 {
                self.happened.push_back(Happened::Stuck);
            }
            return;
        }
        let mut work = self.gather(shard);
        self.chance.shuffle(&mut work);
        for one in work {
            self.carry_out(shard, one);
        }
        let due = self.workers[usize::from(shard)].shard.next_deadline();
        if due.is_some_and(|due| due.0 <= now) {
            self.handle(shard, Input::Tick);
        }
        self.workers[usize::from(shard)].shard.end_turn(Now(now));
        self.drain_outputs(shard);
        while let Some(link) = self.workers[usize::from(shard)].shard.take_dirty() {
            if let Some(wire) = self.wire_at(shard, link) {
                self.write(wire);
            }
        }
        if let Some(due) = self.workers[usize::from(shard)].shard.next_deadline() {
            self.set_turn(shard, due.0);
        }
    }

    fn gather(&mut self, shard: u16) -> Vec<Work> {
        let now = self.now;
        let worker = &mut self.workers[usize::from(shard)];
        let mut work: Vec<_> = worker.opened.drain(..).map(Work::Open).collect();
        work.extend((0..worker.inbox.len()).map(Work::Envelopes));
        work.extend(worker.readable.drain(..).map(Work::Read));
        work.extend(worker.calls.drain(..).map(|(id, call)| Work::Call(id, call)));
        let due = worker.tasks.extract_if(.., |task| task.at <= now);
        work.extend(due.map(Work::Task));
        work.extend(worker.decided.drain(..).map(Work::Decided));
        // In its order, whatever else comes between.
        if !worker.news.is_empty() {
            work.push(Work::News(std::mem::take(&mut worker.news)));
        }
        work.extend(worker.drain.take().map(Work::Drain));
        work
    }

    fn carry_out(&mut self, shard: u16, work: Work) {
        match work {
            Work::Open(wire) => self.open(shard, wire),
            Work::Envelopes(from) => {
                let now = self.now;
                loop {
                    let inbox = &mut self.workers[usize::from(shard)].inbox[from];
                    if inbox.front().is_none_or(|&(at, ..)| at > now) {
                        return;
                    }
                    let Some((_, mail)) = inbox.pop_front() else { return };
                    self.take(shard, mail);
                }
            }
            Work::Read(wire) => self.read(shard, wire),
            Work::Call(id, call) => self.handle(shard, Input::Call { id, call }),
            Work::Task(task) => self.poll(shard, task),
            Work::Decided(input) => self.handle(shard, input),
            Work::News(news) => news.into_iter().for_each(|news| self.handle(shard, news)),
            Work::Drain(retry_ms_max) => self.handle(shard, Input::Drain { retry_ms_max }),
        }
    }

    fn open(&mut self, shard: u16, wire: WireId) {
        let entry = &mut self.wires[wire.0];
        let Place::Moving { message } = &mut entry.place else { return };
        let message = message.take();
        let (format, namespace) = (entry.format, entry.namespace.clone());
        let link = self.workers[usize::from(shard)].free_link(wire);
        self.wires[wire.0].place = Place::At { shard, link };
        self.handle(shard, Input::Opened { link, format, namespace });
        if let Some(bytes) = message {
            self.handle(shard, Input::Message { link, bytes });
        }
        self.read(shard, wire);
    }

    /// Reads what has arrived, as long as the link is here and may be read.
    fn read(&mut self, shard: u16, wire: WireId) {
        loop {
            let entry = &mut self.wires[wire.0];
            let Place::At { shard: at, link } = entry.place else { return };
            let Some(&(arrives, ref up)) = entry.up.front() else { return };
            let is_end = matches!(up, Up::End(_));
            if at != shard || arrives > self.now {
                return;
            }
            let lost = is_end && (entry.half_open || entry.cut || entry.closing.is_some());
            if entry.paused_until > self.now && !lost {
                let until = entry.paused_until;
                self.set(until, Due::Up(wire));
                return;
            }
            if entry.asking && !lost && entry.closing.is_none() {
                return;
            }
            let Some((_, up)) = entry.up.pop_front() else { return };
            if entry.closing.is_some() && !is_end {
                continue;
            }
            match up {
                Up::Message(bytes) => self.read_message(shard, (wire, link), bytes),
                Up::Alive => self.handle(shard, Input::Alive { link }),
                Up::End(loss) => return self.closed(shard, (wire, link), loss),
            }
        }
    }

    fn read_message(&mut self, shard: u16, (wire, link): (WireId, LinkId), bytes: Bytes) {
        let most = self.workers[usize::from(shard)].shard.message_bytes_max(link);
        if bytes.len() <= most {
            return self.handle(shard, Input::Message { link, bytes });
        }
        let entry = &mut self.wires[wire.0];
        let at = self.now + self.chance.up_to(entry.delay_ms);
        let at = entry.push_down(at, Down::End(Some(TOO_LARGE.number())));
        self.set(at, Due::Down(wire));
        self.closed(shard, (wire, link), LinkLoss::Broken);
    }

    fn closed(&mut self, shard: u16, (wire, link): (WireId, LinkId), loss: LinkLoss) {
        self.wires[wire.0].place = Place::Gone;
        self.handle(shard, Input::Closed { link, loss });
        self.workers[usize::from(shard)].links[link.0 as usize] = None;
    }

    pub(super) fn handle(&mut self, shard: u16, input: Input) {
        let now = Now(self.now);
        self.workers[usize::from(shard)].shard.handle(now, input);
        self.drain_outputs(shard);
    }

    fn drain_outputs(&mut self, shard: u16) {
        while let Some(output) = self.workers[usize::from(shard)].shard.poll_output() {
            match output {
                Output::Envelope { to, envelope } => self.post(shard, to, envelope),
                Output::Close { link, code } => {
                    if let Some(wire) = self.wire_at(shard, link) {
                        self.wires[wire.0].closing = Some(code.number());
                        self.set(self.now + CLOSE_MS, Due::CloseOver(wire));
                        self.set(self.now, Due::Writable(wire));
                    }
                }
                Output::Pause { link, until } => {
                    if let Some(wire) = self.wire_at(shard, link) {
                        let ms = until.0.saturating_sub(self.now);
                        self.wires[wire.0].paused_until = until.0;
                        self.set(until.0, Due::Up(wire));
                        self.happened.push_back(Happened::Paused { wire, ms });
                    }
                }
                Output::Move { link, to, message } => {
                    let to = self.index_of(to);
                    self.hand_over(shard, link, to, message);
                }
                Output::CallDone { id, reply } => {
                    self.happened.push_back(Happened::Called { id, reply });
                }
                Output::Task { room, call, task } => {
                    self.wait_for(shard, Waiting { at: 0, room, call, task });
                }
                Output::Ask { ticket, link, question } => {
                    if let Some(wire) = self.wire_at(shard, link) {
                        self.wires[wire.0].asking = true;
                    }
                    let shard = self.shard_at(shard);
                    self.happened.push_back(Happened::Asked { shard, ticket, question });
                }
                Output::Release { link } => {
                    if let Some(wire) = self.wire_at(shard, link) {
                        self.wires[wire.0].asking = false;
                        self.set(self.now, Due::Up(wire));
                    }
                }
                Output::Called { ticket, call } => {
                    let shard = self.shard_at(shard);
                    self.happened.push_back(Happened::CalledBy { shard, ticket, call });
                }
                Output::Log(entry) => self.hand_to_store(shard, *entry),
                Output::Event(_) | Output::Note(_) => {}
            }
        }
    }

    /// A task is looked at some time later, and then again until it is done.
    fn wait_for(&mut self, shard: u16, mut waiting: Waiting) {
        waiting.at = self.now + 1 + self.chance.between(0, TASK_MS_MAX);
        self.set(waiting.at, Due::Task(shard));
        self.workers[usize::from(shard)].tasks.push(waiting);
    }

    fn poll(&mut self, shard: u16, mut waiting: Waiting) {
        let mut context = Context::from_waker(Waker::noop());
        let polled =
            catch_unwind(AssertUnwindSafe(|| Pin::new(&mut waiting.task).poll(&mut context)));
        let answer = match polled {
            Ok(Poll::Pending) => return self.wait_for(shard, waiting),
            Ok(Poll::Ready(answer)) => Some(answer),
            Err(_) => None,
        };
        let Waiting { room, call, .. } = waiting;
        self.handle(shard, Input::TaskDone { room, call, answer });
    }

    fn post(&mut self, from: u16, to: ShardId, envelope: Envelope) {
        let from = self.shard_at(from);
        if from.node != to.node {
            return self.post_abroad(from, to, &envelope);
        }
        let at = self.now + self.envelope_delay();
        let mail = Mail::Word(from, envelope);
        self.put_in(self.index_of(to), usize::from(from.worker), at, mail);
    }

    /// Puts something in a worker's inbox, after what is there from the same source.
    pub(super) fn put_in(&mut self, to: u16, lane: usize, at: u64, mail: Mail) {
        let worker = &mut self.workers[usize::from(to)];
        if !worker.runs {
            return;
        }
        let inbox = &mut worker.inbox[lane];
        let at = inbox.back().map_or(at, |&(last, ..)| last.max(at));
        inbox.push_back((at, mail));
        self.set(at, Due::Envelope(to));
    }

    fn hand_over(&mut self, shard: u16, link: LinkId, to: u16, message: Bytes) {
        let Some(wire) = self.wire_at(shard, link) else { return };
        self.workers[usize::from(shard)].links[link.0 as usize] = None;
        self.wires[wire.0].place = Place::Moving { message: Some(message) };
        let at = self.now + self.envelope_delay();
        self.set(at, Due::Opened(wire, to));
    }

    pub(super) fn envelope_delay(&mut self) -> u64 {
        self.chance.between(self.dials.envelope_delay_ms_min, self.dials.envelope_delay_ms)
    }

    fn wire_at(&self, shard: u16, link: LinkId) -> Option<WireId> {
        self.workers[usize::from(shard)].links.get(link.0 as usize).copied().flatten()
    }

    pub(super) fn write_again(&mut self, wire: WireId) {
        if self.wires[wire.0].blocked || self.wires[wire.0].closing.is_some() {
            self.write(wire);
        }
    }

    /// One write of what waits, as much as the link takes.
    fn write(&mut self, wire: WireId) {
        let Place::At { shard, link } = self.wires[wire.0].place else { return };
        let entry = &mut self.wires[wire.0];
        let mut room = entry.window.saturating_sub(entry.unread);
        if entry.window < STEADY_BYTES && self.chance.percent(self.dials.short_writes) {
            room = self.chance.index(room + 1);
        }
        let short_once = room < entry.window.saturating_sub(entry.unread);
        let Some(outbox) = self.workers[usize::from(shard)].shard.outbox(link) else { return };
        let waits = outbox.bytes();
        let mut bytes = BytesMut::new();
        while room > 0 && !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = outbox.slices(&mut slices);
            let before = bytes.len();
            for slice in &slices[..count] {
                let part = &slice[..slice.len().min(room)];
                bytes.extend_from_slice(part);
                room -= part.len();
            }
            let written = bytes.len() - before;
            outbox.consume(written);
        }
        let left = waits - bytes.len();
        let entry = &mut self.wires[wire.0];
        entry.outbox_most = entry.outbox_most.max(left);
        if entry.blocked != (left > 0) {
            entry.blocked = left > 0;
            entry.was_blocked |= left > 0;
            self.workers[usize::from(shard)].shard.set_blocked(link, left > 0);
        }
        if left > 0 && short_once {
            self.set(self.now + 1, Due::Writable(wire));
        }
        if !bytes.is_empty() {
            self.push_down(wire, Down::Bytes(bytes.freeze()));
        }
        self.finish_closing(wire, left);
    }

    fn push_down(&mut self, wire: WireId, down: Down) {
        let at = self.now + self.chance.up_to(self.wires[wire.0].delay_ms);
        let at = self.wires[wire.0].push_down(at, down);
        self.set(at, Due::Down(wire));
    }

    /// The last bytes are written: the end follows them, and the peer's own end some time later.
    fn finish_closing(&mut self, wire: WireId, left: usize) {
        let entry = &mut self.wires[wire.0];
        let Some(code) = entry.closing.filter(|_| left == 0 && !entry.finished) else { return };
        entry.finished = true;
        self.push_down(wire, Down::End(Some(code)));
        let at = self.now + 2 * self.chance.up_to(self.dials.delay_ms);
        let at = self.wires[wire.0].push_up(at, Up::End(LinkLoss::Closed));
        self.set(at, Due::Up(wire));
    }
}
