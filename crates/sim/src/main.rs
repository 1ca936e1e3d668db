//! Replays random schedules: `roomcast-sim SEED [--verbose] [--steps N] [--cluster]` one, with what
//! it came to; `roomcast-sim --seeds A..B [--cluster]` many, each in one line if a promise was
//! broken. `--cluster`: of several nodes, which fail.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use roomcast_sim::sim::{self, Options, Outcome};

const USAGE: &str = "usage: roomcast-sim SEED [--verbose] [--steps N] [--cluster]
       roomcast-sim --seeds A..B [--cluster]";

fn main() -> anyhow::Result<ExitCode> {
    let mut options = Options::default();
    let (mut first, mut last) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--verbose" | "-v" => options.verbose = true,
            "--cluster" => options.cluster = true,
            "--steps" => {
                let steps = words.next().context(USAGE)?;
                options.steps = Some(steps.parse().context("--steps wants a number")?);
            }
            "--seeds" => {
                let range = words.next().context(USAGE)?;
                let (from, to) = range.split_once("..").context("--seeds wants A..B")?;
                first = Some(from.parse().context("--seeds wants A..B")?);
                last = Some(to.parse().context("--seeds wants A..B")?);
            }
            seed if first.is_none() => first = Some(seed.parse().context(USAGE)?),
            _ => bail!(USAGE),
        }
    }
    let first: u64 = first.context(USAGE)?;
    match last {
        None => Ok(replay(first, &options)),
        Some(last) => Ok(run_many(first, last, &options)),
    }
}

fn replay(seed: u64, options: &Options) -> ExitCode {
    let outcome = sim::run(seed, options);
    let Outcome { plan, trace, counts, violation, .. } = &outcome;
    for line in trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} nodes, {} shards each, {} clients ({} calm), {} steps, {:?}, {:?}",
        plan.nodes,
        plan.config.shards,
        plan.players,
        plan.calm,
        plan.steps,
        plan.dials,
        plan.faults
    );
    println!("{counts:?}");
    match violation {
        None => {
            println!("every promise held");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("BROKEN {violation}");
            ExitCode::FAILURE
        }
    }
}

fn run_many(first: u64, last: u64, options: &Options) -> ExitCode {
    let mut failed = 0;
    for seed in first..last {
        if let Some(violation) = sim::run(seed, options).violation {
            println!("seed {seed}: BROKEN {violation}");
            failed += 1;
        }
    }
    println!("{failed} of {} seeds broke a promise", last.saturating_sub(first));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
