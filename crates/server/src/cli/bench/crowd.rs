//! Many links that come, stay and go: connection storms, and what an idle link costs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::histogram::Histogram;
use super::links::{Ear, Links};
use super::target::{Listening, Usage};

/// How long all links together may take to be ready.
const OPEN_MAX: Duration = Duration::from_secs(120);

/// How many come, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    pub connections: usize,
    /// Members of a room; `None`: nobody joins one.
    pub members: Option<u32>,
    /// Links on their way at the same time.
    pub opening: usize,
    /// How long they stay, idle.
    pub stay: Duration,
    /// How long after they left memory is read.
    pub after: Duration,
}

/// What the crowd cost.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub connections: usize,
    /// From the first connect to the last seat.
    pub seconds: f64,
    /// From a link's connect to its seat.
    pub latency: Histogram,
    pub cost: Option<Cost>,
}

/// What it cost the server.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub opening_cpu: Duration,
    pub idle_cpu: Duration,
    pub idle_seconds: f64,
    pub before_kib: u64,
    pub with_kib: u64,
    pub after_kib: u64,
}

impl Cost {
    pub fn bytes_each(&self, connections: usize) -> f64 {
        (self.with_kib as f64 - self.before_kib as f64) * 1024.0 / connections as f64
    }
}

/// Runs the plan against one that listens.
pub fn run(plan: &Plan, target: &Listening) -> Result<Outcome> {
    // One link first, so that what is made once for all is not counted to the many.
    let mut first = Links::new(target.endpoint.clone())?;
    let mut crowd = Crowd::new(1);
    crowd.gather(&mut first, 1, plan)?;
    let before = target.usage()?;

    let mut links = Links::new(target.endpoint.clone())?;
    let mut crowd = Crowd::new(plan.connections);
    let seconds = crowd.gather(&mut links, plan.connections, plan)?;
    let with = target.usage()?;
    let idle = stay(&mut links, plan, target)?;
    links.close();
    std::thread::sleep(plan.after);
    let after = target.usage()?;
    first.close();
    let cost = || {
        let (before, with, (idle, idle_seconds), after) = (before?, with?, idle?, after?);
        Some(Cost {
            opening_cpu: with.cpu.saturating_sub(before.cpu),
            idle_cpu: idle,
            idle_seconds,
            before_kib: before.rss_kib,
            with_kib: with.rss_kib,
            after_kib: after.rss_kib,
        })
    };
    Ok(Outcome { connections: plan.connections, seconds, cost: cost(), latency: crowd.latency })
}

/// CPU time of the server while all stay and nobody speaks.
fn stay(links: &mut Links, plan: &Plan, target: &Listening) -> Result<Option<(Duration, f64)>> {
    if plan.stay.is_zero() {
        return Ok(target.usage()?.map(|_| (Duration::ZERO, 0.0)));
    }
    // What opening left to do is not idling.
    quiet(links, Duration::from_secs(1))?;
    let from: Option<Usage> = target.usage()?;
    let begin = Instant::now();
    quiet(links, plan.stay)?;
    let seconds = begin.elapsed().as_secs_f64();
    let to = target.usage()?;
    Ok(from.zip(to).map(|(from, to)| (to.cpu.saturating_sub(from.cpu), seconds)))
}

fn quiet(links: &mut Links, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // Pings are answered on the way.
        links.turn(Some(left), &mut Crowd::new(0))?;
    }
}

struct Crowd {
    begun: Vec<Instant>,
    latency: Histogram,
}

impl Crowd {
    fn new(count: usize) -> Self {
        Self { begun: Vec::with_capacity(count), latency: Histogram::default() }
    }

    fn gather(&mut self, links: &mut Links, count: usize, plan: &Plan) -> Result<f64> {
        let begin = Instant::now();
        while links.len() < count || links.opening() > 0 {
            while links.len() < count && links.opening() < plan.opening {
                let room = plan.members.map(|members| links.len() as u32 / members);
                self.begun.push(Instant::now());
                links.open(room)?;
            }
            links.turn(Some(Duration::from_millis(100)), self)?;
            if begin.elapsed() > OPEN_MAX {
                bail!("{} of {count} links are not ready", links.opening() + count - links.len());
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

impl Ear for Crowd {
    fn ready(&mut self, id: usize, _offset: u64) {
        self.latency.add(self.begun[id].elapsed().as_nanos() as u64);
    }

    fn message(&mut self, _id: usize, _message: &[u8]) -> Result<()> {
        Ok(())
    }
}
