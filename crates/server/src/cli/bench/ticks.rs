//! Rooms that tick: how far from their grid members hear the ticks.
//!
//! The server is this program's own, with a logic that says the number of each tick, and by how
//! much it was late by the server's own clock. A member knows when it heard a tick, and where the
//! grid is from the earliest tick it heard: how much later than the grid a tick came is its jitter.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roomcast::logic::{RoomCtx, RoomLogic};
use roomcast::{Config, Server};
use serde_json::json;

use super::histogram::Histogram;
use super::links::{Ear, Links};
use super::machine::{Machine, Probe};
use super::target::{self, Listening, Usage};

/// How long links may take to be ready.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Links that are opened at the same time; listeners queue at least 128.
const OPENING_MAX: usize = 100;

#[derive(Debug, Clone)]
pub struct Plan {
    pub rooms: u32,
    pub members: u32,
    pub period_ms: u32,
    pub warmup: Duration,
    pub duration: Duration,
}

/// What one run showed.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seconds: f64,
    pub deliveries: u64,
    /// Ticks that the server was too late for, by their numbers.
    pub skipped: u64,
    /// How much later than their grid members heard ticks, in nanoseconds.
    pub jitter: Histogram,
    /// How late ticks were by the server's clock, in nanoseconds (it counts milliseconds).
    pub late: Histogram,
    pub used: Option<Usage>,
    /// How quiet the machine was.
    pub machine: Machine,
}

impl Plan {
    pub fn links(&self) -> usize {
        self.rooms as usize * self.members as usize
    }
}

/// Runs the plan against one that listens.
pub fn run(plan: &Plan, target: &Listening) -> Result<Outcome> {
    let mut links = Links::new(target.endpoint.clone())?;
    let mut hall = Hall::new(plan);
    let until = Instant::now() + OPEN_MAX;
    while links.len() < plan.links() || links.opening() > 0 {
        while links.len() < plan.links() && links.opening() < OPENING_MAX {
            links.open(Some(links.len() as u32 / plan.members))?;
        }
        links.turn(Some(Duration::from_millis(100)), &mut hall)?;
        if Instant::now() > until {
            bail!("{} of {} links are not ready after a minute", links.opening(), plan.links());
        }
    }
    let listen = |links: &mut Links, hall: &mut Hall, until: Instant| -> Result<()> {
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            links.turn(Some(left), hall)?;
        }
        Ok(())
    };
    listen(&mut links, &mut hall, Instant::now() + plan.warmup)?;
    hall.record = true;
    let probe = Probe::start(&target.cores);
    let (from, begin, waited) = (target.usage()?, Instant::now(), target::waited_here());
    listen(&mut links, &mut hall, begin + plan.duration)?;
    let (to, seconds) = (target.usage()?, begin.elapsed().as_secs_f64());
    let used = from.zip(to).map(|(from, to)| to.since(from));
    let waited = target::waited_here().saturating_sub(waited);
    let machine = probe.finish(waited + used.map_or(Duration::ZERO, |used| used.waited));
    links.close();
    Ok(Outcome { seconds, used, machine, ..hall.outcome()? })
}

/// Everybody who hears.
struct Hall {
    start: Instant,
    period: Duration,
    record: bool,
    members: Vec<Member>,
    skipped: u64,
    late: Histogram,
    /// Where the last message had its numbers: those of one run look alike.
    number_at: usize,
    late_at: usize,
}

#[derive(Debug, Clone, Default)]
struct Member {
    /// The number of the last tick.
    last: Option<u64>,
    /// When each tick came, less where the grid stands if it began at 0; in nanoseconds.
    offsets: Vec<i64>,
}

impl Hall {
    fn new(plan: &Plan) -> Self {
        Self {
            start: Instant::now(),
            period: Duration::from_millis(plan.period_ms.into()),
            record: false,
            members: vec![Member::default(); plan.links()],
            skipped: 0,
            late: Histogram::default(),
            number_at: 0,
            late_at: 0,
        }
    }

    fn outcome(self) -> Result<Outcome> {
        let mut jitter = Histogram::default();
        let mut deliveries = 0;
        for (id, member) in self.members.iter().enumerate() {
            let grid = member.offsets.iter().min().with_context(|| format!("link {id} is deaf"))?;
            deliveries += member.offsets.len() as u64;
            for offset in &member.offsets {
                jitter.add((offset - grid) as u64);
            }
        }
        let Self { skipped, late, .. } = self;
        let (seconds, used, machine) = (0.0, None, Machine::default());
        Ok(Outcome { seconds, deliveries, skipped, jitter, late, used, machine })
    }
}

impl Ear for Hall {
    fn ready(&mut self, _id: usize, _offset: u64) {}

    fn message(&mut self, id: usize, message: &[u8]) -> Result<()> {
        let at = self.start.elapsed();
        self.heard(id, message, at)
    }
}

impl Hall {
    fn heard(&mut self, id: usize, message: &[u8], at: Duration) -> Result<()> {
        let Some(number) = number_after(message, b"\"n\":", &mut self.number_at) else {
            return Ok(());
        };
        let member = &mut self.members[id];
        let before = member.last.replace(number);
        if before.is_some_and(|before| number <= before) {
            bail!("tick {number} came after {before:?}");
        }
        if self.record {
            self.skipped += before.map_or(0, |before| number - before - 1);
            let grid = number as i64 * self.period.as_nanos() as i64;
            member.offsets.push(at.as_nanos() as i64 - grid);
            let late = number_after(message, b"\"late\":", &mut self.late_at);
            let late = late.context("how late was it?")?;
            self.late.add(late * 1_000_000);
        }
        Ok(())
    }
}

/// The number that stands behind a key, which was found at `hint` the last time.
fn number_after(message: &[u8], key: &[u8], hint: &mut usize) -> Option<u64> {
    if !message.get(*hint..).is_some_and(|rest| rest.starts_with(key)) {
        *hint = message.windows(key.len()).position(|window| window == key)?;
    }
    let digits = message[*hint + key.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|digit| u64::from(digit - b'0')).reduce(|number, digit| number * 10 + digit)
}

/// Says the number of each tick.
#[derive(Default)]
struct Ticker {
    /// The number of the first tick and its time.
    first: Option<(u64, u64)>,
    tick_ms: u64,
}

impl RoomLogic for Ticker {
    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, tick: u64) {
        let now = ctx.now().0;
        let (number, at) = *self.first.get_or_insert((tick, now));
        // If the first was late itself, others seem early: they are on time.
        let late = now.saturating_sub(at + (tick - number) * self.tick_ms);
        ctx.publish("tick", json!({"n": tick, "late": late}));
    }
}

/// Serves rooms that tick until it is killed, at the latest when its parent ends.
pub fn serve(period_ms: u32) -> Result<ExitCode> {
    let mut config = Config::load(None, std::env::vars_os())?;
    config.rooms.logic = Some("ticker".into());
    config.rooms.tick_ms = period_ms;
    let tick_ms = period_ms.into();
    let server = Server::builder()
        .config(config)
        .logic("ticker", move |_| Ticker { first: None, tick_ms })
        .start()?;
    for listener in server.listeners() {
        println!("listening on {}", listener.url);
    }
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_is_as_late_as_it_was_behind_the_earliest() {
        let plan = Plan {
            rooms: 1,
            members: 1,
            period_ms: 50,
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
        };
        let mut hall = Hall::new(&plan);
        hall.record = true;
        let tick = |n: u64| format!(r#"{{"type":"event","data":{{"n":{n},"late":3}}}}"#);
        for (n, ms) in [(7, 1_000), (8, 1_052), (10, 1_150)] {
            hall.heard(0, tick(n).as_bytes(), Duration::from_millis(ms)).unwrap();
        }
        assert!(hall.message(0, tick(10).as_bytes()).is_err());
        let outcome = hall.outcome().unwrap();
        assert_eq!((outcome.deliveries, outcome.skipped), (3, 1));
        assert_eq!((outcome.jitter.max(), outcome.late.max()), (2_000_000, 3_000_000));
    }
}
