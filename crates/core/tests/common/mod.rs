//! One shard and clients that speak JSON lines to it.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::hook::Call;
use roomcast_core::io::Note;
use roomcast_core::logic::RoomRef;
use roomcast_core::{
    CallTicket, HubConfig, HubEvent, Input, LinkId, LinkLoss, Now, Output, Question, ServerReply,
    Shard, ShardId, Ticket, Verdict,
};
use roomcast_wire::{CloseCode, Format};
use serde_json::Value;

pub struct Hub {
    pub shard: Shard,
    pub now: Now,
    pub closed: BTreeMap<u32, CloseCode>,
    pub paused: BTreeMap<u32, Now>,
    /// Room, logic and fault of each that failed.
    pub faults: Vec<[Box<str>; 3]>,
    /// The futures that logics asked for; here nobody carries them out.
    pub tasks: Vec<(RoomRef, u64)>,
    /// What hooks are asked, oldest first.
    pub asked: VecDeque<(u32, Ticket, Question)>,
    /// Links that were released, oldest first.
    pub released: Vec<u32>,
    pub events: Vec<HubEvent>,
    /// What clients ask of the application.
    pub called: Vec<(CallTicket, Box<Call>)>,
    /// What became of calls of the server's own code.
    pub done: Vec<(u64, ServerReply)>,
}

impl Hub {
    pub fn new(config: HubConfig) -> Self {
        let shard = Shard::new(Arc::new(config), ShardId::alone(0));
        Self {
            shard,
            now: Now(0),
            closed: BTreeMap::new(),
            paused: BTreeMap::new(),
            faults: Vec::new(),
            tasks: Vec::new(),
            asked: VecDeque::new(),
            released: Vec::new(),
            events: Vec::new(),
            called: Vec::new(),
            done: Vec::new(),
        }
    }

    pub fn open(&mut self, link: u32) {
        self.open_as(link, Format::JSON_LINE);
    }

    pub fn open_as(&mut self, link: u32, format: Format) {
        self.input(Input::Opened { link: LinkId(link), format, namespace: None });
    }

    pub fn cut(&mut self, link: u32) {
        self.input(Input::Closed { link: LinkId(link), loss: LinkLoss::Broken });
    }

    /// Says one message; returns what this link is told in the same turn.
    pub fn say(&mut self, link: u32, text: impl Into<String>) -> Vec<Value> {
        let bytes = Bytes::from(text.into());
        self.input(Input::Message { link: LinkId(link), bytes });
        self.end_turn();
        self.heard(link)
    }

    /// Says one message, and returns the one answer.
    pub fn ask(&mut self, link: u32, text: impl Into<String>) -> Value {
        let mut heard = self.say(link, text);
        assert!(!heard.is_empty(), "no answer");
        heard.remove(0)
    }

    /// The oldest question that has no verdict yet, with what is needed to give one.
    pub fn question(&mut self) -> (Ticket, Question) {
        let (_, ticket, question) = self.asked.pop_front().expect("nothing is asked");
        (ticket, question)
    }

    /// Gives a verdict; returns what the link is told in the same turn.
    pub fn decide(&mut self, link: u32, ticket: Ticket, verdict: Verdict) -> Vec<Value> {
        self.input(Input::Verdict { ticket, verdict });
        self.end_turn();
        self.heard(link)
    }

    pub fn input(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        self.drain();
    }

    pub fn advance(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        while let Some(at) = self.shard.next_deadline().filter(|&at| at <= end) {
            self.now = at;
            self.input(Input::Tick);
            self.end_turn();
        }
        self.now = end;
    }

    pub fn end_turn(&mut self) {
        self.shard.end_turn(self.now);
        self.drain();
        while self.shard.take_dirty().is_some() {}
    }

    /// Everything a link was told since it was last asked.
    pub fn heard(&mut self, link: u32) -> Vec<Value> {
        let Some(outbox) = self.shard.outbox(LinkId(link)) else { return Vec::new() };
        let mut bytes = Vec::new();
        while !outbox.is_empty() {
            let piece = outbox.first().to_vec();
            outbox.consume(piece.len());
            bytes.extend(piece);
        }
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn drain(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Close { link, code } => {
                    self.closed.insert(link.0, code);
                }
                Output::Pause { link, until } => {
                    self.paused.insert(link.0, until);
                }
                Output::Ask { ticket, link, question } => {
                    self.asked.push_back((link.0, ticket, question));
                }
                Output::Release { link } => self.released.push(link.0),
                Output::Called { ticket, call } => self.called.push((ticket, call)),
                Output::CallDone { id, reply } => self.done.push((id, reply)),
                Output::Event(event) => self.events.push(*event),
                Output::Note(Note::LogicFailed { room, logic, fault }) => {
                    self.faults.push([room, logic, fault]);
                }
                Output::Task { room, call, .. } => self.tasks.push((room, call)),
                _ => {}
            }
        }
    }
}

/// CPU time of this thread so far, to a few milliseconds: a stopwatch that stands still while other
/// programs have the core.
#[allow(clippy::disallowed_methods)]
pub fn cpu_time() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    std::time::Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
