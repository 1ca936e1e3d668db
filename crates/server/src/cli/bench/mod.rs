//! `roomcast bench`: puts load on a server and measures what it costs.
//!
//! One thread drives thousands of sockets and checks every delivery: each event must reach each
//! member once and in order, otherwise the exit code is 1. The server is by itself a child on a
//! core of its own; beside it, in the same rounds, the floor (a bare loop that sends the same
//! bytes) and peers may be measured.

mod args;
mod bad_link;
mod beside;
mod chaos;
mod crowd;
mod floor;
mod flow;
mod frames;
mod histogram;
mod links;
mod machine;
mod peer;
mod quality;
mod report;
mod socketio;
mod speech;
mod target;
mod ticks;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use args::Args;
use args::{
    Common, CrowdArgs, FlowArgs, LinkArgs, ROUNDS, ROUNDS_OF_FLOWS, ROUNDS_OF_TICKS, Scenario,
    TickArgs,
};
use report::Rounds;
use target::{Launch, Listening, Target};

/// Nobody reads the links of those whose turn it is not: a longer one would leave pings unanswered.
const TURN_MAX: Duration = Duration::from_secs(5);

pub fn run(args: Args) -> Result<ExitCode> {
    match args.scenario {
        Scenario::Fanout(args) => run_flow("fanout", &args, args.plan(1, 1_000, 1)?),
        Scenario::Rooms(args) => run_flow("rooms", &args, args.plan(1_000, 5, 5)?),
        Scenario::Latency(args) => run_flow("latency", &args, args.plan(1, 2, 2)?),
        Scenario::Storm(args) => run_crowd("storm", &args, &args.storm()),
        Scenario::Idle(args) => run_crowd("idle", &args, &args.idle()),
        Scenario::Ticks(args) => run_ticks(&args),
        Scenario::Link(args) => run_link(&args),
        Scenario::Chaos(args) => chaos::run(&args),
        Scenario::FloorServer => floor::run(),
        Scenario::TickServer { period_ms } => ticks::serve(period_ms),
        Scenario::Hold { cores, program } => target::hold(&cores.0, &program),
    }
}

fn run_flow(name: &str, args: &FlowArgs, mut plan: flow::Plan) -> Result<ExitCode> {
    let targets = args.common.targets();
    if targets.len() > 1 && plan.duration > TURN_MAX {
        bail!("several targets take turns of at most {} s: more --rounds", TURN_MAX.as_secs());
    }
    let links = plan.links() * targets.len();
    let bench = Bench::new(&args.common, links, targets, ROUNDS_OF_FLOWS)?;
    if args.rate.is_some_and(|rate| rate == args::Rate::Half) {
        let full = flow::Plan { pace: flow::Pace::Closed { burst: args.burst }, ..plan.clone() };
        let target = bench.targets.first().context("nothing to measure")?;
        let outcome = bench.once(target, "saturation", |target| {
            let mut flow = flow::Flow::open(&full, target)?;
            let outcome = flow.slice()?;
            flow.finish()?;
            Ok(outcome)
        })?;
        let rate = outcome.events as f64 / outcome.seconds / 2.0;
        eprintln!("half of saturation: {rate:.0} events/s");
        plan.pace = flow::Pace::Rate(rate);
    }
    let rounds = bench.flows(&plan)?;
    if args.common.json {
        println!("{:#}", report::flow_json(name, &rounds));
    } else {
        print!("{}", report::flow_table(&rounds));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_crowd(name: &str, args: &CrowdArgs, plan: &crowd::Plan) -> Result<ExitCode> {
    let bench = Bench::new(&args.common, plan.connections + 1, args.common.targets(), ROUNDS)?;
    let rounds = bench.rounds(|_, listening| crowd::run(plan, listening))?;
    if args.common.json {
        println!("{:#}", report::crowd_json(name, &rounds));
    } else if name == "storm" {
        print!("{}", report::storm_table(&rounds));
    } else {
        print!("{}", report::idle_table(&rounds));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_ticks(args: &TickArgs) -> Result<ExitCode> {
    let plan = args.plan();
    let bench = Bench::new(&args.common, plan.links(), args.targets()?, ROUNDS_OF_TICKS)?;
    let rounds = bench.rounds(|_, listening| ticks::run(&plan, listening))?;
    if args.common.json {
        println!("{:#}", report::ticks_json(&rounds));
    } else {
        print!("{}", report::ticks_table(&rounds));
    }
    Ok(ExitCode::SUCCESS)
}

fn run_link(args: &LinkArgs) -> Result<ExitCode> {
    let plan = args.plan();
    eprintln!("{}, {:.0} seconds", plan.scheme, plan.whole().as_secs_f64());
    let outcome = quality::run(&plan)?;
    let beside = match &args.beside {
        Some(program) => {
            eprintln!("{program}, {:.0} seconds", plan.whole().as_secs_f64());
            Some((program.as_str(), beside::run(&plan, program)?))
        }
        None => None,
    };
    if args.json {
        println!("{:#}", report::link_json(&plan, &outcome, beside));
    } else {
        print!("{}", report::link_table(&outcome));
        if let Some((program, beside)) = &beside {
            print!("\n{program}\n{}", report::link_table(beside));
            println!("{}", report::beside_line(&outcome, beside));
        }
    }
    Ok(ExitCode::from(u8::from(!outcome.is_kept())))
}

/// Who is measured, and how often.
struct Bench {
    targets: Vec<Target>,
    launch: Launch,
    rounds: u32,
    starts: u32,
}

impl Bench {
    fn new(common: &Common, links: usize, targets: Vec<Target>, usual: u32) -> Result<Self> {
        target::reserve_files(links)?;
        // Read before this process gives up all cores but its own.
        let launch = common.launch()?;
        target::pin(&launch.load_cores)?;
        Ok(Self { targets, launch, rounds: common.rounds.unwrap_or(usual), starts: common.starts })
    }

    /// All targets at the same time, with all their links open; in each round the load goes to one
    /// after the other. All processes are fresh a few times: where their memory lies is chance.
    fn flows(&self, plan: &flow::Plan) -> Result<Vec<Rounds<flow::Outcome>>> {
        let rounds = |target: &Target| Rounds { name: target.name().to_owned(), outcomes: vec![] };
        let mut all: Vec<_> = self.targets.iter().map(rounds).collect();
        for start in 1..=self.starts {
            eprintln!("start {start} of {}", self.starts);
            self.flows_once(plan, &mut all)?;
        }
        Ok(all)
    }

    fn flows_once(&self, plan: &flow::Plan, all: &mut [Rounds<flow::Outcome>]) -> Result<()> {
        let started: Result<Vec<_>> =
            self.targets.iter().map(|target| target.start(&self.launch)).collect();
        let started = started?;
        let mut plans = vec![plan.clone(); started.len()];
        // Where roomcast goes first, the others send messages as long as its were.
        let mut flows: Vec<flow::Flow<'_>> = Vec::new();
        let mut event_len = None;
        for ((target, listening), plan) in self.targets.iter().zip(&started).zip(&mut plans) {
            plan.event_len = event_len;
            let mut flow = flow::Flow::open(plan, listening)?;
            let outcome = flow.slice()?;
            if target.speech() != speech::Speech::Bare {
                event_len = Some(outcome.event_len.round() as usize);
            }
            flows.push(flow);
        }
        for round in 1..=self.rounds {
            // Every other round in reverse, so that nobody always follows the same one.
            let mut order: Vec<_> = flows.iter_mut().zip(all.iter_mut()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for (flow, rounds) in order {
                let outcome = flow.slice().with_context(|| rounds.name.clone())?;
                rounds.outcomes.push(outcome);
            }
        }
        flows.into_iter().try_for_each(flow::Flow::finish)
    }

    /// Every target once in each round, one after the other, each time in a fresh process.
    fn rounds<T>(
        &self,
        mut run: impl FnMut(&Target, &Listening) -> Result<T>,
    ) -> Result<Vec<Rounds<T>>> {
        let rounds = |target: &Target| Rounds { name: target.name().to_owned(), outcomes: vec![] };
        let mut all: Vec<_> = self.targets.iter().map(rounds).collect();
        for round in 1..=self.rounds {
            // Every other round in reverse, so that nobody always follows the same one.
            let mut order: Vec<_> = self.targets.iter().zip(&mut all).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for (target, rounds) in order {
                let label = format!("round {round} of {}", self.rounds);
                let outcome = self.once(target, &label, |listening| run(target, listening))?;
                rounds.outcomes.push(outcome);
            }
        }
        Ok(all)
    }

    fn once<T>(
        &self,
        target: &Target,
        label: &str,
        run: impl FnOnce(&Listening) -> Result<T>,
    ) -> Result<T> {
        eprintln!("{label}: {}", target.name());
        let listening = target.start(&self.launch)?;
        let outcome = run(&listening).with_context(|| format!("{}, {label}", target.name()));
        drop(listening);
        // The kernel takes thousands of sockets down after the process is gone.
        std::thread::sleep(Duration::from_millis(200));
        outcome
    }
}
