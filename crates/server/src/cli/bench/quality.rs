//! `roomcast bench link`: what arrives over a bad link, when, and in what order, told apart by
//! whether it had to arrive.
//!
//! One member publishes over a good link; the others hear it over a bad one each. Server, link and
//! members share this process and its clock, so a latency is the time from `publish` to the
//! receiving application, the path's delay included.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use roomcast::{Config, Server};
use roomcast_client::{Client, PublishOptions, Room, RoomEvent, payload_of};
use serde::{Deserialize, Serialize};

use super::bad_link::{BadLink, Passed, Quality};
use super::histogram::Histogram;

/// What has to arrive, and what need not.
pub const CLASSES: usize = 2;
/// The room.
const ROOM: &str = "link";
/// How long everything under way gets to arrive at the end: several times what a reliable event
/// may take that is lost again and again.
const SETTLE: Duration = Duration::from_secs(20);
/// A class counts as well again when events need no longer than this more than before.
const WELL_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Clone)]
pub struct Plan {
    /// The word before `://`.
    pub scheme: String,
    pub members: u32,
    /// Events a second of each class.
    pub rate: f64,
    pub payload: usize,
    pub duration: Duration,
    pub quality: Quality,
    /// A worse link after that, and for how long; then as long as before again.
    pub worse: Option<(Quality, Duration)>,
}

impl Plan {
    /// How long events are said altogether.
    pub fn whole(&self) -> Duration {
        self.worse.map_or(self.duration, |(_, worse)| self.duration * 2 + worse)
    }
}

/// What an event says.
#[derive(Serialize, Deserialize)]
struct Said {
    n: u64,
    pad: String,
}

/// One class of events, as all members together heard it.
#[derive(Debug, Clone, Default)]
pub struct Class {
    /// Deliveries that there should be.
    pub wanted: u64,
    pub heard: u64,
    /// Heard after a later one, or twice.
    pub disordered: u64,
    /// In nanoseconds.
    pub latency: Histogram,
    /// How long after the worse time events were as fast as before it; none: never.
    pub well_again: Option<Duration>,
}

#[derive(Debug)]
pub struct Outcome {
    pub reliable: Class,
    pub unreliable: Class,
    /// How often a member lost its link, or something of the room.
    pub links_lost: u64,
    /// What the link carried, both directions.
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    /// Those of `packets` that the server sent.
    pub back: u64,
    /// How long the link kept what it handed on to members, in nanoseconds.
    pub kept: Histogram,
}

impl Outcome {
    /// `times`: when each event of a class was said, by its number. `worse`: from when to when the
    /// link was worse. `before`: what the link had carried when that began ([`watch`]).
    pub fn new(
        ears: &[impl Deref<Target = Ear>],
        times: &[impl Deref<Target = Vec<Instant>>; CLASSES],
        worse: Option<(Instant, Instant)>,
        before: Carried,
        passed: &Passed,
    ) -> Self {
        let after = carried(passed);
        Self {
            reliable: class_of(ears, 0, &times[0], worse),
            unreliable: class_of(ears, 1, &times[1], worse),
            links_lost: ears.iter().map(|ear| ear.links_lost).sum(),
            packets: after[0] - before[0],
            bytes: after[1] - before[1],
            lost: after[2] - before[2],
            back: after[3] - before[3],
            kept: lock(&passed.kept).clone(),
        }
    }

    /// Whether what was promised of reliable events held.
    pub fn is_kept(&self) -> bool {
        self.reliable.heard == self.reliable.wanted && self.reliable.disordered == 0
    }
}

/// When each event of a class was said, by its number.
type Times = Arc<Mutex<Vec<Instant>>>;

/// What a member heard.
#[derive(Default)]
pub struct Ear {
    /// Number, time, for each class.
    pub heard: [Vec<(u64, Instant)>; CLASSES],
    links_lost: u64,
}

/// # Errors
/// The server or a client cannot start, or a client is refused.
pub fn run(plan: &Plan) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(plan))
}

fn serve(plan: &Plan) -> Result<(Server, String, SocketAddr)> {
    let mut config = Config::load(None, std::env::vars_os())?;
    config.log.level = "warn".into();
    let server = Server::builder()
        .config(config)
        .listen("ws://127.0.0.1:0")
        .listen(format!("{}://127.0.0.1:0", plan.scheme))
        .start()?;
    let [good, bad] = server.listeners() else { bail!("two listeners were to be open") };
    let (good, bad) = (good.url.to_string(), bad.address);
    Ok((server, good, bad))
}

async fn measure(plan: &Plan) -> Result<Outcome> {
    let (server, good, bad) = serve(plan)?;
    let datagrams = !matches!(plan.scheme.as_str(), "ws" | "wss" | "tcp" | "tls");
    // While members come the link is good: how they come is not what is measured.
    let link = BadLink::open(bad, datagrams, Quality::default()).await?;
    let publisher = Client::connect(&good).await.context("the publisher cannot connect")?;
    let stage = publisher.join(ROOM).await?;
    let url = format!("{}://{}", plan.scheme, link.address);
    let mut members = Vec::new();
    for _ in 0..plan.members {
        let builder = Client::builder(&url).trust_anybody().room_queue(1 << 20);
        let client = builder.connect().await.with_context(|| format!("cannot connect to {url}"))?;
        let room = client.join(ROOM).await?;
        let ear = Arc::<Mutex<Ear>>::default();
        tokio::spawn(listen(room, Arc::clone(&ear)));
        members.push((client, ear));
    }
    link.set(plan.quality);
    let before = watch(&link.passed);
    let times = [Times::default(), Times::default()];
    speak(&stage, plan, plan.duration, &times).await?;
    let mut worse = None;
    if let Some((quality, duration)) = plan.worse {
        let from = Instant::now();
        link.set(quality);
        speak(&stage, plan, duration, &times).await?;
        link.set(plan.quality);
        worse = Some((from, Instant::now()));
        speak(&stage, plan, plan.duration, &times).await?;
    }
    settle(&members, &times[0]).await;
    let ears: Vec<_> = members.iter().map(|(_, ear)| lock(ear)).collect();
    let times = [lock(&times[0]), lock(&times[1])];
    let outcome = Outcome::new(&ears, &times, worse, before, &link.passed);
    drop(ears);
    for (client, _) in &members {
        client.close().await;
    }
    publisher.close().await;
    server.stop();
    Ok(outcome)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a link has carried: packets, bytes, lost packets, and packets of the server.
pub type Carried = [u64; 4];

fn carried(passed: &Passed) -> Carried {
    let Passed { packets, bytes, lost, back, .. } = passed;
    [packets, bytes, lost, back].map(|count| count.load(Ordering::Relaxed))
}

/// What the link has carried so far. How long it keeps what it hands on is noted from here on.
pub fn watch(passed: &Passed) -> Carried {
    *lock(&passed.kept) = Histogram::default();
    carried(passed)
}

async fn listen(room: Room, ear: Arc<Mutex<Ear>>) {
    while let Some(happened) = room.next_event().await {
        let now = Instant::now();
        match happened {
            RoomEvent::Event(event) => {
                let Ok(said) = event.data::<Said>() else { continue };
                let class = usize::from(event.is("unreliable"));
                lock(&ear).heard[class].push((said.n, now));
            }
            RoomEvent::Recovered | RoomEvent::Lost(_) | RoomEvent::Closed { .. } => {
                lock(&ear).links_lost += 1;
            }
            _ => {}
        }
    }
}

/// Says one event of each class at each beat.
async fn speak(
    room: &Room,
    plan: &Plan,
    duration: Duration,
    times: &[Times; CLASSES],
) -> Result<()> {
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / plan.rate));
    let until = Instant::now() + duration;
    while Instant::now() < until {
        beat.tick().await;
        for (at, name) in ["reliable", "unreliable"].into_iter().enumerate() {
            let n = {
                let mut times = lock(&times[at]);
                times.push(Instant::now());
                times.len() as u64 - 1
            };
            let said = Said { n, pad: "x".repeat(plan.payload) };
            let data = payload_of(room.client().codec(), &said)?;
            let options = PublishOptions::default().without_key().without_answer();
            let options = if at == 0 { options } else { options.unreliable() };
            room.publish_with(name, Some(data), options).await?;
        }
    }
    Ok(())
}

/// Waits until everybody has heard all that has to arrive, for as long as that may take.
async fn settle(members: &[(Client, Arc<Mutex<Ear>>)], times: &Times) {
    let until = Instant::now() + SETTLE;
    let wanted = lock(times).len();
    while Instant::now() < until && members.iter().any(|(_, ear)| lock(ear).heard[0].len() < wanted)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn class_of(
    ears: &[impl Deref<Target = Ear>],
    at: usize,
    times: &[Instant],
    worse: Option<(Instant, Instant)>,
) -> Class {
    let mut class = Class { wanted: (times.len() * ears.len()) as u64, ..Class::default() };
    let mut before = Histogram::default();
    let mut after = Vec::new();
    for ear in ears {
        let mut next = 0;
        let mut seen = HashMap::new();
        for &(n, heard) in &ear.heard[at] {
            let Some(&said) = times.get(n as usize) else { continue };
            let again = seen.insert(n, ()).is_some();
            class.heard += u64::from(!again);
            class.disordered += u64::from(again || n < next);
            next = next.max(n + 1);
            let latency = heard.saturating_duration_since(said);
            class.latency.add(latency.as_nanos() as u64);
            match worse {
                Some((from, _)) if said < from => before.add(latency.as_nanos() as u64),
                Some((_, to)) if said >= to => after.push((said - to, latency)),
                _ => {}
            }
        }
    }
    let usual = Duration::from_nanos(before.quantile(0.99)) + WELL_AGAIN;
    class.well_again = well_again(&after, usual);
    class
}

/// The beginning of the first second in which 99 of 100 events needed no longer than `usual`, if
/// there is one. `after` has the time of each event since the link is better, and what it took.
fn well_again(after: &[(Duration, Duration)], usual: Duration) -> Option<Duration> {
    const SECOND: Duration = Duration::from_secs(1);
    let end = after.iter().map(|(said, _)| *said).max()?;
    let mut from = Duration::ZERO;
    while from + SECOND <= end + Duration::from_millis(100) {
        let said = after.iter().filter(|(said, _)| (from..from + SECOND).contains(said));
        let (mut all, mut slow) = (0, 0);
        for (_, latency) in said {
            all += 1;
            slow += u32::from(*latency > usual);
        }
        if all > 0 && slow * 100 <= all {
            return Some(from);
        }
        from += Duration::from_millis(100);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_well_again_when_a_second_is_as_fast_as_before() {
        let ms = Duration::from_millis;
        let event = |at: u64| (ms(at), if at < 1_450 { ms(400) } else { ms(60) });
        let after: Vec<_> = (0..4_000).step_by(10).map(event).collect();
        assert_eq!(well_again(&after, ms(80)), Some(ms(1_500)));
        assert_eq!(well_again(&after, ms(50)), None);
        assert_eq!(well_again(&[], ms(50)), None);
    }

    #[test]
    fn what_is_heard_late_twice_or_not_is_counted() {
        let start = Instant::now();
        let times: Vec<_> = (0..4).map(|n| start + Duration::from_millis(10) * n).collect();
        let heard = |n: usize, ms| (n as u64, times[n] + Duration::from_millis(ms));
        let events = vec![heard(0, 5), heard(2, 5), heard(1, 30), heard(2, 9)];
        let ear = Mutex::new(Ear { heard: [events, Vec::new()], links_lost: 0 });
        let class = class_of(&[lock(&ear)], 0, &times, None);
        assert_eq!((class.wanted, class.heard, class.disordered), (4, 3, 2));
        assert_eq!(class.latency.max(), 30_000_000);
    }
}
