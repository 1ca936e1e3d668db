//! How quiet the machine was while something was measured.
//!
//! On each core in use a thread sleeps from one deadline to the next, a millisecond apart. It wakes
//! late for two reasons: another thread ran on its core, for which the kernel keeps its run-queue
//! wait, or the core itself was away: a virtual one that its host gave to others, or one stopped
//! below the kernel. The wait is taken off; what remains is the second. Rounds in which the machine
//! was away, or other programs ran in the server's place, say little about the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::target::{self, Schedule};

/// From one look to the next. A gap is found if it is longer, and a shorter one by chance.
const PERIOD: Duration = Duration::from_millis(1);

/// A timer and a wake-up may take so long on a machine that is not away.
const USUAL: Duration = Duration::from_micros(300);

/// What was seen of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// The longest time that a core was away.
    pub longest: Duration,
    /// Milliseconds of each second that the core that was away most was away.
    pub away_ms_per_s: f64,
    /// Milliseconds of each second that the server and the load were ready to run, and others of
    /// this machine ran.
    pub waited_ms_per_s: f64,
}

/// Looks at some cores until it is asked.
pub struct Probe {
    begin: Instant,
    stop: Arc<AtomicBool>,
    lookouts: Vec<JoinHandle<Away>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Away {
    longest: Duration,
    whole: Duration,
    /// What looking took of the core: who waited for that, did not wait for others.
    looking: Duration,
}

impl Probe {
    /// Looks at each of these cores by a thread of its own; a core that there is not is left out.
    pub fn start(cores: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lookout = |&core: &usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || match target::pin(&[core]) {
                Ok(()) => look(&stop),
                Err(_) => Away::default(),
            })
        };
        let lookouts = cores.iter().map(lookout).collect();
        Self { begin: Instant::now(), stop, lookouts }
    }

    /// What was seen; `waited`: how long the server and the load waited for a core meanwhile.
    pub fn finish(self, waited: Duration) -> Machine {
        let seconds = self.begin.elapsed().as_secs_f64().max(1e-3);
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has seen nothing.
        let seen = self.lookouts.into_iter().map(|one| one.join().unwrap_or_default());
        let (mut machine, mut waited) = (Machine::default(), waited);
        for away in seen {
            let each = away.whole.as_secs_f64() * 1e3 / seconds;
            machine.longest = machine.longest.max(away.longest);
            machine.away_ms_per_s = machine.away_ms_per_s.max(each);
            waited = waited.saturating_sub(away.looking);
        }
        machine.waited_ms_per_s = waited.as_secs_f64() * 1e3 / seconds;
        machine
    }
}

impl Machine {
    /// Whether a round can be taken for one of a quiet machine: no core was away for longer than
    /// two milliseconds, and others took less than a hundredth of the time.
    pub fn is_quiet(self) -> bool {
        self.longest <= Duration::from_millis(2) && self.waited_ms_per_s < 10.0
    }

    pub fn json(self) -> Value {
        json!({
            "longest_away_ms": self.longest.as_secs_f64() * 1e3,
            "away_ms_per_s": self.away_ms_per_s,
            "waited_ms_per_s": self.waited_ms_per_s,
        })
    }
}

fn look(stop: &AtomicBool) -> Away {
    let mut away = Away::default();
    let mut due = Instant::now() + PERIOD;
    let schedule = Schedule::of_this_thread();
    let (_, mut waited) = schedule.read();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        let (_, waited_now) = schedule.read();
        let late = away_for(now.saturating_duration_since(due), waited_now.saturating_sub(waited));
        away.longest = away.longest.max(late);
        away.whole += late;
        waited = waited_now;
        due = (due + PERIOD).max(now);
    }
    (away.looking, _) = schedule.read();
    away
}

/// How long the core was away, if its thread came so late and waited so long of that.
fn away_for(late: Duration, waited: Duration) -> Duration {
    let rest = late.saturating_sub(waited);
    if rest > USUAL { rest } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_what_no_other_thread_explains_counts() {
        assert_eq!(away_for(8 * MS, Duration::ZERO), 8 * MS);
        assert_eq!(away_for(8 * MS, 5 * MS), 3 * MS);
        assert_eq!(away_for(8 * MS, 8 * MS), Duration::ZERO);
        assert_eq!(away_for(MS / 10, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_probe_ends_and_waiting_is_told_by_the_second() {
        let probe = Probe::start(&[usize::MAX, 0]);
        std::thread::sleep(5 * MS);
        let machine = probe.finish(5 * MS);
        // Less what looking took.
        assert!(machine.waited_ms_per_s > 0.0 && machine.waited_ms_per_s < 1_000.0);
        assert!(machine.longest.as_secs_f64() >= 0.0);
    }
}
