//! Random schedules: hundreds of seeds hold every promise, and a world that cheats is found out.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use roomcast_sim::oracle::{Counts, Guarantee};
use roomcast_sim::sim::{self, Options, Outcome, Sabotage};

const SEEDS: u64 = 400;
const THREADS: usize = 2;

/// Runs the seeds on a few threads; what `look` makes of each outcome.
fn run_all<T: Send>(
    seeds: u64,
    options: &Options,
    look: impl Fn(u64, Outcome) -> T + Sync,
) -> Vec<T> {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let run = || {
            let mut found = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return found;
                }
                found.push(look(seed, sim::run(seed, options)));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_seed_holds_every_promise() {
    let outcomes = run_all(SEEDS, &Options::default(), |seed, outcome| {
        let broken = outcome.violation.map(|violation| {
            format!("seed {seed}: {violation}\n  replay: cargo run -p roomcast-sim -- {seed} -v")
        });
        (broken, outcome.counts)
    });
    let broken: Vec<_> = outcomes.iter().filter_map(|(broken, _)| broken.clone()).collect();
    assert!(broken.is_empty(), "{} of {SEEDS}:\n{}", broken.len(), broken.join("\n"));
    let mut sum = Counts::default();
    for (_, counts) in &outcomes {
        sum.asked += counts.asked;
        sum.events += counts.events;
        sum.resumed += counts.resumed;
        sum.recovered += counts.recovered;
        sum.unrecovered += counts.unrecovered;
        sum.slow += counts.slow;
        sum.gaps += counts.gaps;
        sum.by_logics += counts.by_logics;
        sum.told += counts.told;
        sum.failed += counts.failed;
    }
    // Schedules in which nothing happens would hold every promise, too.
    assert!(sum.events > 20 * SEEDS && sum.resumed > SEEDS, "{sum:?}");
    assert!(sum.recovered > SEEDS && sum.unrecovered > SEEDS / 2, "{sum:?}");
    assert!(sum.slow > SEEDS / 40 && sum.gaps > SEEDS, "{sum:?}");
    assert!(sum.by_logics > 10 * SEEDS && sum.told > SEEDS && sum.failed > SEEDS / 4, "{sum:?}");
}

/// Nodes are killed, stand still, are cut off; words are lost, partitions move.
#[test]
fn every_seed_of_a_cluster_holds_every_promise() {
    const SEEDS: u64 = 60;
    let options = Options { cluster: true, ..Options::default() };
    let outcomes = run_all(SEEDS, &options, |seed, outcome| {
        let broken = outcome.violation.map(|violation| {
            let replay = format!("cargo run -p roomcast-sim -- {seed} -v --cluster");
            format!("seed {seed}: {violation}\n  replay: {replay}")
        });
        (broken, outcome.counts)
    });
    let broken: Vec<_> = outcomes.iter().filter_map(|(broken, _)| broken.clone()).collect();
    assert!(broken.is_empty(), "{} of {SEEDS}:\n{}", broken.len(), broken.join("\n"));
    let sum = |of: fn(&Counts) -> u64| outcomes.iter().map(|(_, counts)| of(counts)).sum::<u64>();
    let events = sum(|counts| counts.events);
    let (seated_again, recovered) = (sum(|it| it.seated_again), sum(|it| it.recovered));
    assert!(events > 20 * SEEDS && seated_again > SEEDS, "{events} {seated_again}");
    assert!(recovered > SEEDS / 2, "{recovered}");
}

#[test]
fn a_seed_is_the_whole_story() {
    let options = Options { verbose: true, ..Options::default() };
    let (first, again) = (sim::run(7, &options), sim::run(7, &options));
    assert!(first.trace.len() > 100);
    assert_eq!(first.trace, again.trace);
    let short = sim::run(7, &Options { steps: Some(3), ..options });
    assert!(short.trace.len() < first.trace.len());
    let options = Options { cluster: true, ..options };
    let (first, again) = (sim::run(8, &options), sim::run(8, &options));
    assert!(first.trace.len() > 100);
    assert_eq!(first.trace, again.trace);
}

/// Which promise each kind of cheating breaks. A cheat may hit another promise first.
fn broken_by(sabotage: Sabotage) -> &'static [Guarantee] {
    match sabotage {
        Sabotage::DropEvent => &[Guarantee::Order, Guarantee::Recovery],
        Sabotage::RepeatEvent | Sabotage::SwapEvents => &[Guarantee::Order],
        Sabotage::ForgeSender | Sabotage::MisplaceEvent => &[Guarantee::Isolation],
        Sabotage::LieAboutRecovery => &[Guarantee::Recovery],
        Sabotage::DropReply | Sabotage::RepeatReply => &[Guarantee::Publish],
        Sabotage::ForgeMember | Sabotage::HideMember => &[Guarantee::Presence],
    }
}

#[test]
fn cheating_is_found_out() {
    for &sabotage in Sabotage::ALL {
        let options = Options { sabotage: Some(sabotage), ..Options::default() };
        let outcomes = run_all(60, &options, |seed, outcome| {
            let broken = outcome.violation.map(|violation| violation.guarantee);
            (seed, outcome.sabotaged, broken)
        });
        let tried = outcomes.iter().filter(|(_, tried, _)| *tried).count();
        assert!(tried >= 10, "{sabotage:?} had {tried} occasions");
        let missed: BTreeSet<_> = outcomes
            .iter()
            .filter(|(_, tried, broken)| *tried && broken.is_none())
            .map(|(seed, ..)| seed)
            .collect();
        // An event that is lost just before its link is cannot be told from one that was cut off.
        let most = if sabotage == Sabotage::DropEvent { tried / 3 } else { 0 };
        assert!(missed.len() <= most, "{sabotage:?} went through in {missed:?} of {tried}");
        let wrong: Vec<_> = outcomes
            .iter()
            .filter_map(|(seed, _, broken)| Some((seed, (*broken)?)))
            .filter(|(_, broken)| !broken_by(sabotage).contains(broken))
            .collect();
        assert!(wrong.is_empty(), "{sabotage:?} is called {wrong:?}");
    }
}
