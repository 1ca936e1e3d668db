//! Rooms that tick: how far from their grid members hear the ticks.
//!
//! The server is this program's own, with a logic that says the number of each tick, and by how
//! much it was late by the server's own clock. A member knows when it heard a tick, and where the
//! grid is from the earliest tick it heard: how much later than the grid a tick came is its jitter.
//!
//! When a tick was heard is when the kernel had it for the member (`SO_TIMESTAMPNS`): how late
//! the load itself is does not count, which has 100,000 messages a second to read.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roomcast::logic::{RoomCtx, RoomLogic};
use roomcast::{Config, Server};
use serde_json::json;

use super::histogram::Histogram;
use super::links::{Ear, Links};
use super::machine::{Machine, Probe};
use super::target::{Listening, Schedule, Usage};

/// From one look at all links to the next. Long enough that nobody has to be woken for each
/// message; short enough that the kernel has no delayed acknowledgements to send (40 ms), each of
/// which is a timer of the server's core.
const LOOK_PERIOD: Duration = Duration::from_millis(2);

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
    /// CPU time of the load.
    pub load: Duration,
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
    links.open_rooms(plan.links(), plan.members, &mut hall)?;
    links.stamp_arrivals()?;
    let listen = |links: &mut Links, hall: &mut Hall, until: Instant| -> Result<()> {
        while Instant::now() < until {
            links.turn(Some(Duration::ZERO), hall)?;
            std::thread::sleep(LOOK_PERIOD);
        }
        Ok(())
    };
    listen(&mut links, &mut hall, Instant::now() + plan.warmup)?;
    hall.record = true;
    let probe = Probe::start(&target.cores);
    let schedule = Schedule::of_this_thread();
    let (from, begin, spent) = (target.usage()?, Instant::now(), schedule.read());
    listen(&mut links, &mut hall, begin + plan.duration)?;
    let (to, seconds) = (target.usage()?, begin.elapsed().as_secs_f64());
    let used = from.zip(to).map(|(from, to)| to.since(from));
    let (cpu, waited) = schedule.read();
    let (load, waited) = (cpu.saturating_sub(spent.0), waited.saturating_sub(spent.1));
    let machine = probe.finish(waited + used.map_or(Duration::ZERO, |used| used.waited));
    links.close();
    Ok(Outcome { seconds, used, load, machine, ..hall.outcome()? })
}

/// Everybody who hears.
struct Hall {
    /// When what is read now arrived, since 1970.
    arrived: Option<Duration>,
    period: Duration,
    /// How many members a room has: their links follow each other.
    members_each: usize,
    record: bool,
    members: Vec<Member>,
    deliveries: u64,
    skipped: u64,
    late: Histogram,
    /// Where the last message had its numbers: those of one run look alike.
    number_at: usize,
    late_at: usize,
}

#[derive(Debug, Clone, Default)]
struct Member {
    /// The numbers of the first and the last tick.
    heard: Option<(u64, u64)>,
    /// The ticks before and after each that did not come.
    gaps: Vec<(u64, u64)>,
    /// When each tick came, less where the grid stands if it began at 0; in nanoseconds.
    offsets: Vec<i64>,
}

impl Hall {
    fn new(plan: &Plan) -> Self {
        Self {
            arrived: None,
            period: Duration::from_millis(plan.period_ms.into()),
            members_each: plan.members as usize,
            record: false,
            members: vec![Member::default(); plan.links()],
            deliveries: 0,
            skipped: 0,
            late: Histogram::default(),
            number_at: 0,
            late_at: 0,
        }
    }

    fn outcome(self) -> Result<Outcome> {
        let mut jitter = Histogram::default();
        for (room, members) in self.members.chunks(self.members_each).enumerate() {
            for (place, member) in members.iter().enumerate() {
                if !member.agrees(&members[0])? {
                    bail!("members 0 and {place} of room {room} heard different ticks");
                }
            }
        }
        for (id, member) in self.members.iter().enumerate() {
            let grid = member.offsets.iter().min().with_context(|| format!("link {id} is deaf"))?;
            for offset in &member.offsets {
                jitter.add((offset - grid) as u64);
            }
        }
        let Self { deliveries, skipped, late, .. } = self;
        let (seconds, used, load, machine) = (0.0, None, Duration::ZERO, Machine::default());
        Ok(Outcome { seconds, deliveries, skipped, jitter, late, used, load, machine })
    }
}

impl Member {
    /// Whether both heard the same of what they were both there for.
    fn agrees(&self, other: &Self) -> Result<bool> {
        let (mine, theirs) = self.heard.zip(other.heard).context("a member is deaf")?;
        let (from, to) = (mine.0.max(theirs.0), mine.1.min(theirs.1));
        let among = |gap: &&(u64, u64)| gap.1 > from && gap.0 < to;
        Ok(self.gaps.iter().filter(among).eq(other.gaps.iter().filter(among)))
    }
}

impl Ear for Hall {
    fn ready(&mut self, _id: usize, _offset: u64) {}

    fn arrived(&mut self, at: Duration) {
        self.arrived = Some(at);
    }

    fn message(&mut self, id: usize, message: &[u8]) -> Result<()> {
        let Some(number) = number_after(message, b"\"n\":", &mut self.number_at) else {
            return Ok(());
        };
        let member = &mut self.members[id];
        let (first, last) = member.heard.unwrap_or((number, number.saturating_sub(1)));
        if number <= last {
            bail!("tick {number} came after {last}");
        }
        member.heard = Some((first, number));
        if number > last + 1 {
            member.gaps.push((last, number));
        }
        if self.record {
            self.deliveries += 1;
            self.skipped += number - last - 1;
            let at = self.arrived.context("the kernel does not tell when messages arrive")?;
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

    const PLAN: Plan = Plan {
        rooms: 1,
        members: 1,
        period_ms: 50,
        warmup: Duration::ZERO,
        duration: Duration::ZERO,
    };

    fn tick(n: u64) -> String {
        format!(r#"{{"type":"event","data":{{"n":{n},"late":3}}}}"#)
    }

    #[test]
    fn a_late_tick_is_as_late_as_it_was_behind_the_earliest() {
        let mut hall = Hall::new(&PLAN);
        hall.record = true;
        for (n, ms) in [(7, 1_000), (8, 1_052), (10, 1_150)] {
            hall.arrived(Duration::from_millis(ms));
            hall.message(0, tick(n).as_bytes()).unwrap();
        }
        assert!(hall.message(0, tick(10).as_bytes()).is_err());
        let outcome = hall.outcome().unwrap();
        assert_eq!((outcome.deliveries, outcome.skipped), (3, 1));
        assert_eq!((outcome.jitter.max(), outcome.late.max()), (2_000_000, 3_000_000));
    }

    #[test]
    fn members_of_a_room_must_hear_the_same() {
        let outcome = |heard: [&[u64]; 2]| {
            let mut hall = Hall::new(&Plan { members: 2, ..PLAN });
            hall.record = true;
            for (id, numbers) in heard.into_iter().enumerate() {
                for &n in numbers {
                    hall.arrived(Duration::from_millis(50 * n));
                    hall.message(id, tick(n).as_bytes()).unwrap();
                }
            }
            hall.outcome()
        };
        // One came earlier, the other stayed longer, and the server skipped 4.
        assert_eq!(outcome([&[1, 2, 3, 5], &[3, 5, 6, 9]]).unwrap().deliveries, 8);
        let (all, some): (&[u64], &[u64]) = (&[1, 2, 3, 4], &[1, 2, 4]);
        for differ in [[all, some], [some, all]] {
            let error = outcome(differ).unwrap_err().to_string();
            assert_eq!(error, "members 0 and 1 of room 0 heard different ticks");
        }
        assert!(outcome([&[1, 4], &[3, 4]]).is_err());
        assert_eq!(outcome([&[1, 2], &[]]).unwrap_err().to_string(), "a member is deaf");
    }
}
