//! Random schedules: one seed, one world, every promise checked.

mod act;
mod finish;
mod hooks;
mod nodes;
mod plan;
mod player;
mod sabotage;
pub(crate) mod wild;

use std::collections::VecDeque;

use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};

use crate::chance::Chance;
use crate::oracle::{Counts, Guarantee, Oracle, Sight, Verdict, Violation, broken};
use crate::world::{Happened, WireId, World};

pub(crate) use hooks::CHANGED;
pub use plan::{Faults, Plan};
pub use sabotage::Sabotage;

use hooks::Late;
use player::Player;
use sabotage::Saboteur;

/// How to run a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Take only so many steps.
    pub steps: Option<u32>,
    /// Keep a trace.
    pub verbose: bool,
    /// Falsify what clients read, to see that it is noticed.
    pub sabotage: Option<Sabotage>,
    /// Several nodes, which fail.
    pub cluster: bool,
}

/// What a seed came to.
#[derive(Debug)]
pub struct Outcome {
    /// The promise that was broken, if any.
    pub violation: Option<Violation>,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
    /// How much was checked.
    pub counts: Counts,
    /// Whether there was an occasion for the sabotage.
    pub sabotaged: bool,
    /// The plan.
    pub plan: Plan,
}

/// Runs a seed to its end, or to the first broken promise.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut chance = Chance::new(seed);
    let mut plan = Plan::draw(&mut chance);
    if options.cluster {
        plan.spread(&mut chance);
    }
    if let Some(steps) = options.steps {
        plan.steps = steps;
    }
    let mut sim = Sim::new(plan, chance, options);
    let violation = sim.play().err();
    Outcome {
        violation,
        trace: sim.trace,
        counts: sim.oracle.counts,
        sabotaged: sim.saboteur.is_some_and(|saboteur| saboteur.done),
        plan: sim.plan,
    }
}

struct Sim {
    plan: Plan,
    chance: Chance,
    world: World,
    oracle: Oracle,
    players: Vec<Player>,
    trace: Vec<String>,
    verbose: bool,
    saboteur: Option<Saboteur>,
    /// Faults have ceased.
    finishing: bool,
    /// The final lists are read.
    listing: bool,
    /// The server is stopping: no links are opened until then.
    down_until: u64,
    restart_at: Option<u64>,
    /// What hooks have decided and say later.
    late: Vec<Late>,
    /// Nodes that come back at a time.
    mends: Vec<nodes::Mend>,
}

impl Sim {
    fn new(plan: Plan, mut chance: Chance, options: &Options) -> Self {
        let weather = Chance::new(chance.number());
        let world = match plan.nodes {
            1 => World::new(plan.config.clone(), plan.dials, weather),
            nodes => World::cluster(plan.config.clone(), nodes, plan.dials, weather),
        };
        let players = (0..plan.players).map(|at| Player::draw(at, &plan, &mut chance)).collect();
        Self {
            oracle: Oracle::new(plan.clone()),
            world,
            players,
            trace: Vec::new(),
            verbose: options.verbose,
            saboteur: options.sabotage.map(Saboteur::new),
            finishing: false,
            listing: false,
            down_until: 0,
            restart_at: None,
            late: Vec::new(),
            mends: Vec::new(),
            plan,
            chance,
        }
    }

    fn play(&mut self) -> Verdict {
        for player in 0..self.players.len() {
            self.connect(player);
        }
        for _ in 0..self.plan.steps {
            self.act();
            let until = self.world.now() + self.chance.up_to(self.plan.step_ms);
            self.run_until(until)?;
        }
        self.finish()
    }

    /// Lets time pass.
    fn run_until(&mut self, until: u64) -> Verdict {
        loop {
            let next = self.players.iter().filter_map(Player::reconnects_at).min();
            let next = next.map(|at| at.max(self.down_until));
            let next = [next, self.restart_at, self.next_verdict()].into_iter().flatten().min();
            let stop = next.map_or(until, |at| at.min(until)).max(self.world.now());
            while !self.decides_before(stop) && self.world.step(stop) {
                self.take_happened()?;
            }
            self.take_happened()?;
            if self.decides_before(stop) {
                continue;
            }
            self.decide_due();
            if self.restart_at.is_some_and(|at| at <= stop) {
                self.restart();
                continue;
            }
            let due = |player: &Player| player.reconnects_at().is_some_and(|at| at <= stop);
            let due: Vec<_> =
                (0..self.players.len()).filter(|&at| due(&self.players[at])).collect();
            if stop >= self.down_until {
                for player in due {
                    self.connect(player);
                }
            }
            if stop >= until {
                return Ok(());
            }
        }
    }

    fn take_happened(&mut self) -> Verdict {
        while let Some(happened) = self.world.poll_happened() {
            match happened {
                Happened::Message { wire, bytes } => {
                    let Some(player) = self.player_of(wire) else { continue };
                    let codec = self.players[player].format.codec();
                    match native::decode_incoming(codec, &bytes) {
                        Ok(incoming) => self.read_tampered(wire, player, incoming)?,
                        Err(error) => {
                            let text = format!("a client cannot read {bytes:?}: {error}");
                            return broken(Guarantee::Bounds, text);
                        }
                    }
                }
                Happened::Ended { wire, code } => self.ended(wire, code)?,
                Happened::Nonsense { text, .. } => return broken(Guarantee::Bounds, text),
                Happened::Killed { wire } => self.oracle.killed(wire),
                Happened::Stuck => return broken(Guarantee::Progress, "shards go in circles"),
                Happened::Asked { shard, ticket, question } => {
                    self.on_asked(shard, ticket, question);
                }
                Happened::CalledBy { shard, ticket, call } => {
                    self.world.answer(shard, ticket, Ok(call.data));
                }
                Happened::Paused { .. } | Happened::Called { .. } => {}
            }
        }
        Ok(())
    }

    fn read_tampered(&mut self, wire: WireId, player: usize, incoming: Incoming) -> Verdict {
        let mut queue = VecDeque::from([incoming]);
        if let Some(saboteur) = &mut self.saboteur {
            let behind = self.world.was_blocked(wire);
            saboteur.tamper(wire, behind, self.listing, &mut queue);
        }
        queue.into_iter().try_for_each(|incoming| self.read(wire, player, &incoming))
    }

    fn read(&mut self, wire: WireId, player: usize, incoming: &Incoming) -> Verdict {
        self.note(|| format!("p{player} < {}", brief(incoming)));
        if let Body::Welcome { session, user, .. } = &incoming.body {
            self.meet(player, *session, user.clone());
        }
        let was_behind = self.world.was_blocked(wire);
        let sight = Sight { now: self.world.now(), was_behind };
        self.oracle.read(wire, incoming, sight)?;
        if self.listing && incoming.reference.is_some() {
            self.oracle.final_list(wire, &incoming.body)?;
        }
        self.react(player, incoming);
        Ok(())
    }

    fn ended(&mut self, wire: WireId, code: Option<u16>) -> Verdict {
        let outbox = self.world.outbox_most(wire);
        self.oracle.check_outbox(wire, outbox)?;
        self.oracle.ended(wire, code)?;
        let Some(player) = self.player_of(wire) else { return Ok(()) };
        self.note(|| format!("p{player} (closed {code:?})"));
        let longest = self.chance.pick(&[0, 500, 5_000, 70_000]).unwrap_or(0);
        let wait = match self.finishing || self.players[player].calm {
            true => 0,
            false => self.chance.up_to(longest),
        };
        self.players[player].lost(self.world.now() + wait);
        Ok(())
    }

    fn player_of(&self, wire: WireId) -> Option<usize> {
        self.players.iter().position(|player| player.wire == Some(wire))
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.verbose {
            self.trace.push(format!("{:>8} {}", self.world.now(), line()));
        }
    }
}

/// A frame in few words, for the trace.
fn brief(incoming: &Incoming) -> String {
    let text = match &incoming.body {
        Body::Event { room, event } => {
            let at = event.position.map(|at| (at.offset, at.epoch));
            format!("event {room} {at:?} {:?}", event.payload)
        }
        Body::Joined { room, position, members, recovery } => {
            let (offset, epoch) = (position.offset, position.epoch);
            format!("joined {room} {offset}@{epoch} members={members} {recovery:?}")
        }
        Body::Welcome { session, resumed, rooms, .. } => {
            format!("welcome {session} resumed={resumed} {rooms:?}")
        }
        Body::Members { room, members, .. } => {
            let members: Vec<_> =
                members.iter().map(|one| (one.sender.session, one.dropped)).collect();
            format!("members {room} {members:?}")
        }
        body => format!("{body:?}"),
    };
    let mut text = text;
    if let Some((at, _)) = text.char_indices().nth(200) {
        text.truncate(at);
    }
    match incoming.reference {
        Some(reference) => format!("#{reference} {text}"),
        None => text,
    }
}
