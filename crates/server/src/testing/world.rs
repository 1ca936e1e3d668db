//! The shards of the tested server, their links and the clock.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use roomcast_core::{
    Counters, HubConfig, Input, LinkId, LinkLoss, LogNews, Note, Now, Output, ServerCall,
    ServerReply, Shard, ShardId,
};
use roomcast_wire::Format;
use serde_json::Value;
use tokio::sync::oneshot;

use super::tasks::Tasks;
use crate::handle::{Code, Hub, ServerHandle};
use crate::hooks::{Events, Hooks, Voice};
use crate::metrics::{self, IoCounters, WorkerCounters};
use crate::server::StartError;
use crate::socketio::Sockets;

/// Rounds of work at one moment before it is taken for an endless circle.
const ROUNDS_MAX: usize = 100_000;

/// The step of the clock while futures wait: what tokio's timers can tell apart.
const STEP_MS: u64 = 1;

/// A way from the test to a client's link; numbers are never used again.
pub(super) type LinkNumber = usize;

/// The shards, their links and the clock.
pub(super) struct World {
    now: Now,
    shards: Vec<Shard>,
    /// Shards that have to end their turn.
    turned: Vec<bool>,
    inputs: VecDeque<(usize, Input)>,
    links: Vec<Link>,
    tasks: Tasks,
    hooks: Arc<Hooks>,
    voice: Voice,
    calls: mpsc::Receiver<Call>,
    codes: mpsc::Receiver<Code>,
    /// The calls that the shards are about, by the number they were given.
    asked: Vec<Option<oneshot::Sender<ServerReply>>>,
    counters: Arc<[Arc<WorkerCounters>]>,
    faults: Vec<String>,
}

/// One connection of a client.
struct Link {
    shard: usize,
    /// The number at its shard.
    id: LinkId,
    /// Whether the shard knows it.
    is_open: bool,
    /// What the client has said and the shard has not heard yet.
    said: VecDeque<Bytes>,
    /// What the client has not read yet.
    heard: VecDeque<Value>,
    /// The hooks are asked: nothing more is read.
    asking: bool,
    /// It talked too fast: nothing more is read until then.
    paused_until: Now,
}

/// A handle asks.
type Call = (ServerCall, oneshot::Sender<ServerReply>);

/// What the handles of a tested server speak to.
struct Line {
    calls: mpsc::Sender<Call>,
    codes: mpsc::Sender<Code>,
    counters: Arc<[Arc<WorkerCounters>]>,
    hooks: Arc<Hooks>,
}

impl Hub for Line {
    fn call(&self, call: ServerCall, reply: oneshot::Sender<ServerReply>) {
        // If the server has gone, the way back is dropped, which says so.
        _ = self.calls.send((call, reply));
    }

    fn counters(&self) -> Counters {
        metrics::sum(&self.counters)
    }

    fn events(&self) -> Option<Events> {
        self.hooks.listen()
    }

    fn sockets(&self) -> Option<Arc<Sockets>> {
        self.hooks.sockets()
    }

    fn run(&self, code: Code) {
        // If the server has gone, nothing is carried out any more.
        _ = self.codes.send(code);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.hooks.close();
    }
}

impl World {
    pub(super) fn new(
        hub: HubConfig,
        hooks: Hooks,
        running: &OnceLock<ServerHandle>,
    ) -> Result<(Self, ServerHandle), StartError> {
        let no_runtime = |source: io::Error| StartError::System { what: "epoll", source };
        let tasks = Tasks::new().map_err(no_runtime)?;
        let hub = Arc::new(hub);
        let shards: Vec<_> = (0..hub.shards.max(1)).map(ShardId::alone).collect();
        let (sender, calls) = mpsc::channel();
        let (code_sender, codes) = mpsc::channel();
        let counters: Arc<[Arc<WorkerCounters>]> = shards.iter().map(|_| Arc::default()).collect();
        let hooks = Arc::new(hooks);
        let line = Line {
            calls: sender,
            codes: code_sender,
            counters: Arc::clone(&counters),
            hooks: Arc::clone(&hooks),
        };
        let handle = ServerHandle::new(Arc::new(line));
        _ = running.set(handle.clone());
        hooks.open(&handle, hub.recovery.is_some());
        let mut world = Self {
            now: Now::default(),
            turned: vec![true; shards.len()],
            shards: shards.into_iter().map(|id| Shard::new(Arc::clone(&hub), id)).collect(),
            inputs: VecDeque::new(),
            links: Vec::new(),
            tasks,
            voice: hooks.voice(),
            hooks,
            calls,
            codes,
            asked: Vec::new(),
            counters,
            faults: Vec::new(),
        };
        for at in 0..world.shards.len() {
            world.drain(at);
        }
        world.settle();
        Ok((world, handle))
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// A new connection, to the shards in turn.
    pub(super) fn connect(&mut self) -> LinkNumber {
        let number = self.links.len();
        self.open(number % self.shards.len(), VecDeque::new());
        number
    }

    pub(super) fn is_open(&self, link: LinkNumber) -> bool {
        self.links.get(link).is_some_and(|link| link.is_open)
    }

    /// The client says something.
    pub(super) fn say(&mut self, link: LinkNumber, frame: Vec<u8>) {
        if let Some(link) = self.links.get_mut(link) {
            link.said.push_back(frame.into());
        }
        self.settle();
    }

    /// The connection is lost, or closed in good order.
    pub(super) fn cut(&mut self, link: LinkNumber, loss: LinkLoss) {
        self.close(link, loss);
        self.settle();
    }

    /// What the client has not read yet.
    pub(super) fn heard(&mut self, link: LinkNumber) -> Option<&mut VecDeque<Value>> {
        self.links.get_mut(link).map(|link| &mut link.heard)
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.now.plus(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
        self.settle();
        while self.now < until {
            let deadlines = self.shards.iter().filter_map(Shard::next_deadline);
            let pauses = self.links.iter().map(|link| link.paused_until);
            let next = deadlines.chain(pauses.filter(|&until| until > self.now)).min();
            let mut to = next.map_or(until, |next| next.max(self.now.plus(1)).min(until));
            if !self.tasks.is_empty() {
                to = to.min(self.now.plus(STEP_MS));
            }
            self.tasks.advance(Duration::from_millis(to.0 - self.now.0));
            self.now = to;
            for at in 0..self.shards.len() {
                if self.shards[at].next_deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.inputs.push_back((at, Input::Tick));
                }
            }
            self.settle();
        }
    }

    pub(super) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        for _ in 0..ROUNDS_MAX {
            if let Some(output) = self.tasks.poll_once(future.as_mut()) {
                self.settle();
                return output;
            }
            if !self.settle() {
                panic!(
                    "the future waits for something that does not happen at {} ms: advance the \
                     clock, or let a client act",
                    self.now.0
                );
            }
        }
        panic!("the future went round in circles {ROUNDS_MAX} times at one moment");
    }

    /// Does all that is to be done at this moment. Returns whether there was anything.
    fn settle(&mut self) -> bool {
        for round in 0..ROUNDS_MAX {
            if !self.work() {
                for (shard, counters) in self.shards.iter().zip(&*self.counters) {
                    counters.publish(shard.counters(), &IoCounters::default());
                }
                return round > 0;
            }
        }
        panic!(
            "the server went round in circles {ROUNDS_MAX} times at {} ms: a hook, a logic or a \
             future acts for ever without waiting",
            self.now.0
        );
    }

    /// One step; `false` if nothing is left to do.
    fn work(&mut self) -> bool {
        if let Some((at, input)) = self.inputs.pop_front() {
            self.tell(at, input);
            return true;
        }
        if let Ok((call, reply)) = self.calls.try_recv() {
            self.asked.push(Some(reply));
            let id = self.asked.len() as u64 - 1;
            self.tell(0, Input::Call { id, call });
            return true;
        }
        if let Ok(code) = self.codes.try_recv() {
            let code = async move {
                code.await;
                None
            };
            self.tasks.add(0, code, None);
            return true;
        }
        if self.read_links() || self.end_turns() {
            return true;
        }
        let (done, moved) = self.tasks.poll();
        self.inputs.extend(done);
        moved
    }

    fn read_links(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.links.len() {
            let now = self.now;
            let link = &mut self.links[number];
            if !link.is_open || link.asking || link.paused_until > now {
                continue;
            }
            let Some(bytes) = link.said.pop_front() else { continue };
            let (at, id) = (link.shard, link.id);
            self.tell(at, Input::Message { link: id, bytes });
            any = true;
        }
        any
    }

    /// Ends the turns of the shards that had any, and brings what they say to the clients.
    fn end_turns(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.shards.len() {
            if !std::mem::take(&mut self.turned[at]) {
                continue;
            }
            any = true;
            self.shards[at].end_turn(self.now);
            self.drain(at);
            while let Some(id) = self.shards[at].take_dirty() {
                self.flush(at, id);
            }
        }
        any
    }

    fn flush(&mut self, at: usize, id: LinkId) {
        let mut bytes = Vec::new();
        if let Some(outbox) = self.shards[at].outbox(id) {
            while !outbox.is_empty() {
                let first = outbox.first();
                let count = first.len();
                bytes.extend_from_slice(first);
                outbox.consume(count);
            }
        }
        let Some(number) = self.link_of(at, id) else { return };
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let values = lines.map(|line| serde_json::from_slice(line).unwrap_or_default());
        self.links[number].heard.extend(values);
    }

    /// The only place that drives a shard; a full drain of its outputs follows.
    fn tell(&mut self, at: usize, input: Input) {
        self.shards[at].handle(self.now, input);
        self.turned[at] = true;
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.shards[at].poll_output() {
            self.carry_out(at, output);
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Close { link, .. } => {
                self.flush(at, link);
                if let Some(number) = self.link_of(at, link) {
                    self.close(number, LinkLoss::Broken);
                }
            }
            Output::Pause { link, until } => {
                if let Some(number) = self.link_of(at, link) {
                    let link = &mut self.links[number];
                    link.paused_until = link.paused_until.max(until);
                }
            }
            Output::Move { link, to, message } => self.move_link(at, link, to, message),
            Output::Envelope { to, envelope } => {
                let from = ShardId::alone(at as u16);
                self.inputs.push_back((to.worker.into(), Input::Envelope { from, envelope }));
            }
            Output::CallDone { id, reply } => {
                if let Some(waiting) = self.asked.get_mut(id as usize).and_then(Option::take) {
                    // Who asked may have gone.
                    _ = waiting.send(reply);
                }
            }
            Output::Task { room, call, task } => {
                let done =
                    async move { Some(Input::TaskDone { room, call, answer: Some(task.await) }) };
                let if_panics = Some(Input::TaskDone { room, call, answer: None });
                self.tasks.add(at, done, if_panics);
            }
            Output::Ask { ticket, link, question } => {
                self.set_asking(at, link, true);
                let deciding = self.hooks.ask(question);
                let decided =
                    async move { Some(Input::Verdict { ticket, verdict: deciding.await }) };
                self.tasks.add(at, decided, None);
            }
            Output::Called { ticket, call } => {
                let answering = self.hooks.answer(*call);
                let answered =
                    async move { Some(Input::Answered { ticket, answer: answering.await }) };
                self.tasks.add(at, answered, None);
            }
            Output::Release { link } => self.set_asking(at, link, false),
            Output::Log(entry) => {
                // A log that nothing goes wrong with, and that ends with the test.
                let (written, synced) = (entry.number, entry.number);
                self.inputs.push_back((at, Input::Log(LogNews::Stands { written, synced })));
            }
            Output::Event(event) => self.voice.tell(*event),
            Output::Note(Note::LogicFailed { room, logic, fault }) => {
                self.faults.push(format!("{room} ({logic}): {fault}"));
            }
            Output::Note(_) => {}
        }
    }

    fn set_asking(&mut self, at: usize, link: LinkId, asking: bool) {
        if let Some(number) = self.link_of(at, link) {
            self.links[number].asking = asking;
        }
    }

    fn open(&mut self, shard: usize, heard: VecDeque<Value>) {
        // One count for all shards, so that a link of one is never taken for one of another.
        let id = LinkId(self.links.len() as u32);
        let paused_until = Now::default();
        let (is_open, asking, said) = (true, false, VecDeque::new());
        self.links.push(Link { shard, id, is_open, said, heard, asking, paused_until });
        let format = Format::JSON_LINE;
        self.inputs.push_back((shard, Input::Opened { link: id, format, namespace: None }));
    }

    /// The client's number stays; the shard that its session lives on knows it from now on.
    fn move_link(&mut self, at: usize, link: LinkId, to: ShardId, message: Bytes) {
        let Some(number) = self.link_of(at, link) else { return };
        let shard = usize::from(to.worker);
        self.links[number].shard = shard;
        let format = Format::JSON_LINE;
        self.inputs.push_back((shard, Input::Opened { link, format, namespace: None }));
        self.inputs.push_back((shard, Input::Message { link, bytes: message }));
    }

    fn close(&mut self, number: LinkNumber, loss: LinkLoss) {
        let link = &mut self.links[number];
        if std::mem::take(&mut link.is_open) {
            let (at, id) = (link.shard, link.id);
            self.inputs.push_back((at, Input::Closed { link: id, loss }));
        }
    }

    fn link_of(&self, at: usize, id: LinkId) -> Option<LinkNumber> {
        let number = id.0 as usize;
        self.links.get(number).filter(|link| link.shard == at).map(|_| number)
    }
}
