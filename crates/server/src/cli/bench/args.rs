//! The command line of `roomcast bench`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use roomcast::config::Scheme;

use super::bad_link::Quality;
use super::chaos::ChaosArgs;
use super::speech::{Framing, PAYLOAD_MIN, Speech};
use super::target::{Launch, Target};
use super::{crowd, flow, quality, target, ticks};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub scenario: Scenario,
}

#[derive(Debug, clap::Subcommand)]
pub enum Scenario {
    /// One room of 1,000 members: each event goes to all of them.
    Fanout(FlowArgs),
    /// 1,000 rooms of 5 members who take turns in publishing.
    Rooms(FlowArgs),
    /// Two members who answer each other: how long one event takes.
    Latency(FlowArgs),
    /// Links that come as fast as the server takes them: connect, hello, join.
    Storm(CrowdArgs),
    /// Links that do nothing: memory of each, CPU time, memory after they left.
    Idle(CrowdArgs),
    /// 1,000 rooms of 5 members whose logic ticks 20 times a second: how far from their grid
    /// members hear the ticks.
    Ticks(TickArgs),
    /// Members behind a bad link: what arrives, when and in what order, told apart by whether it
    /// had to arrive. Ends with 1 if anything reliable was lost, doubled or out of order.
    Link(LinkArgs),
    /// A cluster whose nodes and NATS are killed, paused and started again while members speak.
    /// Ends with 1 if anything was lost without a word, out of order, or a member is a ghost.
    Chaos(ChaosArgs),
    #[command(hide = true)]
    FloorServer,
    #[command(hide = true)]
    TickServer {
        #[arg(long)]
        period_ms: u32,
    },
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        cores: Cores,
        #[arg(last = true)]
        program: Vec<String>,
    },
}

/// What is measured, and how often.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Measure a server that runs already: ws://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT.
    /// Without it, one is started for the purpose.
    #[arg(long)]
    pub url: Option<String>,
    /// The process of that server, if it runs here: its CPU time and memory are read.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// How the server that is started is talked to.
    #[arg(long, default_value = "ws", value_parser = ["ws", "tcp", "udp"])]
    pub transport: String,
    /// What is spoken to a roomcast server. Ticks are measured in the native dialect.
    #[arg(long, value_enum, default_value_t = Dialect::Native)]
    pub dialect: Dialect,
    /// Measure the native dialect too, in turns, and print the ratios.
    #[arg(long, conflicts_with_all = ["floor", "url"])]
    pub vs_native: bool,
    /// Measure WebSocket too, in turns, and print the ratios.
    #[arg(long, conflicts_with_all = ["floor", "url", "vs_native"])]
    pub vs_ws: bool,
    /// Measure the bare loop that sends the same bytes, instead of a server.
    #[arg(long, conflicts_with_all = ["url", "vs_floor"])]
    pub floor: bool,
    /// Measure the bare loop too, in turns, and print the ratios.
    #[arg(long)]
    pub vs_floor: bool,
    /// Measure this peer too, in turns. May be given twice.
    #[arg(long, value_enum)]
    pub peer: Vec<Peer>,
    /// Where the peers are.
    #[arg(long, default_value = "bench/peers")]
    pub peers_dir: PathBuf,
    /// How often everything is measured: 3 times; fanout, rooms and latency 10 times, ticks 12.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: Option<u32>,
    /// How often all servers are started anew, with so many rounds each time (fanout, rooms,
    /// latency).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub starts: u32,
    /// How long each time, in seconds, after a quarter of a second to warm up (idle: how long they
    /// stay): 3; fanout, rooms, latency and ticks 1.
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Workers of the server that is started.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Configuration of the server that is started, as section.key=value. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Cores of what is started, as 0,1, or `any`. By itself the first core there is.
    #[arg(long)]
    pub server_cores: Option<Cores>,
    /// Cores of the load, as 0,1, or `any`. By itself the second core there is.
    #[arg(long)]
    pub load_cores: Option<Cores>,
    /// Print every round as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Dialects that the load can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// roomcast's own, JSON.
    Native,
    /// Socket.IO over WebSocket, JSON, with the events that stand for commands.
    #[value(name = "socketio")]
    SocketIo,
}

/// Others that do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// Bun's built-in WebSocket server with its publish and subscribe.
    Bun,
    /// Node with the package `ws`.
    Ws,
}

#[derive(Debug, clap::Args)]
pub struct FlowArgs {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: Option<u32>,
    /// Members of each room.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    members: Option<u32>,
    /// How many members of each room take turns in publishing.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    publishers: Option<u32>,
    /// Bytes of each event's data, quotes included.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Events that may be lost (`reliable: false`). That none was is still looked at.
    #[arg(long)]
    unreliable: bool,
    /// Events that a room gets at once; the next come when all members have heard all of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub burst: u32,
    /// Events a second in all rooms together, whether or not the server keeps up; `half`: half of
    /// what the first target does when it is never left waiting.
    #[arg(long, conflicts_with = "burst")]
    pub rate: Option<Rate>,
}

#[derive(Debug, clap::Args)]
pub struct TickArgs {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    members: u32,
    /// Milliseconds from tick to tick.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    period_ms: u32,
}

#[derive(Debug, clap::Args)]
pub struct CrowdArgs {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Members of a room.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    members: u32,
    /// Do not join rooms: only hello.
    #[arg(long)]
    no_join: bool,
    /// Links on their way at the same time.
    #[arg(long, default_value_t = 100)]
    opening: usize,
}

#[derive(Debug, clap::Args)]
pub struct LinkArgs {
    /// How members are connected: a scheme that servers listen to, as in ws://
    #[arg(long, default_value = "ws", value_parser = plain_scheme)]
    transport: String,
    /// What the link does, in each direction. Jitter is what a packet may take longer at most;
    /// a stream loses nothing, but waits a round trip for each lost segment. Also: rate=50000
    /// (bytes a second) and queue=200ms, what a datagram waits for that before it is lost
    #[arg(
        long,
        value_name = "LIST",
        default_value = "loss=5%,delay=50ms,jitter=10ms,reorder=1%,seed=7"
    )]
    link: Quality,
    /// A worse link, for some time in the middle: how long events take until they are as fast as
    /// before
    #[arg(long, value_name = "LIST")]
    worse: Option<Quality>,
    /// For how long, in seconds
    #[arg(long, default_value = "10", value_parser = seconds, requires = "worse")]
    worse_seconds: f64,
    /// Members, each behind a link of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    members: u32,
    /// Events a second, of the reliable ones and of the others each
    #[arg(long, default_value = "60", value_parser = per_second)]
    rate: f64,
    /// Bytes of each event's data beside its number
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// How long, in seconds; with --worse: before and after that each
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: f64,
    /// Then put another program behind the same link and print its table, too: a program and its
    /// first arguments, like the one of bench/enet/library.c, which says what is asked of it
    #[arg(long, value_name = "PROGRAM")]
    pub beside: Option<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// How fast events are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    PerSecond(f64),
    Half,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "half" => Ok(Self::Half),
            Ok(rate) if (0.01..=1e7).contains(&rate) => Ok(Self::PerSecond(rate)),
            _ => Err("write events per second, or `half`".to_owned()),
        }
    }
}

/// Cores to run on; none: wherever it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self(Vec::new()));
        }
        let numbers = text.split(',').map(str::parse).collect::<Result<_, _>>();
        numbers.map(Self).map_err(|_| "write numbers like 0,1, or `any`".to_owned())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("0.1 to 3600".to_owned()),
    }
}

fn per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=1_000.0).contains(&rate) => Ok(rate),
        _ => Err("0.1 to 1000".to_owned()),
    }
}

/// The schemes that need no certificate; QUIC makes its own on loopback.
fn plain_scheme(text: &str) -> Result<String, String> {
    let is_plain = |scheme: &&Scheme| !scheme.is_tls() || **scheme == Scheme::Quic;
    let schemes = Scheme::all().iter().filter(is_plain);
    let names: Vec<_> = schemes.map(|scheme| scheme.as_str()).collect();
    match names.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("one of {}", names.join(", "))),
    }
}

/// Rounds, if the command line does not say.
pub const ROUNDS: u32 = 3;
/// Rounds of events: many short ones in turns, as the machine changes from second to second.
pub const ROUNDS_OF_FLOWS: u32 = 10;
/// Rounds of ticks: many short ones, so that some are without a gap of the machine.
pub const ROUNDS_OF_TICKS: u32 = 12;

impl Common {
    fn duration(&self, usual: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(usual))
    }

    fn framing(&self) -> Framing {
        match self.transport.as_str() {
            "tcp" => Framing::Lines,
            "udp" => Framing::Datagrams,
            _ => Framing::WebSocket,
        }
    }

    pub fn targets(&self) -> Vec<Target> {
        let framing = self.framing();
        let speech = match self.dialect {
            Dialect::Native => Speech::Native,
            Dialect::SocketIo => Speech::SocketIo,
        };
        let mut targets = match &self.url {
            _ if self.floor => vec![Target::Floor],
            Some(url) => vec![Target::Running { url: url.clone(), pid: self.pid, speech }],
            None => vec![Target::Roomcast { framing, speech }],
        };
        if self.vs_native && speech != Speech::Native {
            targets.push(Target::Roomcast { framing, speech: Speech::Native });
        }
        if self.vs_ws && framing != Framing::WebSocket {
            targets.push(Target::Roomcast { framing: Framing::WebSocket, speech });
        }
        if self.vs_floor {
            targets.push(Target::Floor);
        }
        targets.extend(self.peer.iter().map(|peer| match peer {
            Peer::Bun => Target::Bun,
            Peer::Ws => Target::Ws,
        }));
        targets
    }

    /// Where the load runs: not where the server does, if there are two cores.
    fn load_cores(&self) -> Result<Vec<usize>> {
        match &self.load_cores {
            Some(cores) => Ok(cores.0.clone()),
            None if self.url.is_some() => Ok(Vec::new()),
            None => Ok(target::cores_here()?.get(1).copied().into_iter().collect()),
        }
    }

    pub fn launch(&self) -> Result<Launch> {
        let server_cores = match (&self.server_cores, target::cores_here()?.as_slice()) {
            (Some(cores), _) => cores.0.clone(),
            (None, [first, _, ..]) => vec![*first],
            (None, _) => Vec::new(),
        };
        Ok(Launch {
            server_cores,
            load_cores: self.load_cores()?,
            workers: self.workers,
            set: self.set.clone(),
            peers_dir: self.peers_dir.clone(),
        })
    }
}

impl FlowArgs {
    /// The plan, with these numbers where the command line has none.
    pub fn plan(&self, rooms: u32, members: u32, publishers: u32) -> Result<flow::Plan> {
        let members = self.members.unwrap_or(members);
        let publishers = self.publishers.unwrap_or(publishers.min(members));
        if publishers > members {
            bail!("{publishers} of {members} members cannot publish");
        }
        if self.payload < PAYLOAD_MIN || self.payload > 1 << 20 {
            bail!("--payload is {PAYLOAD_MIN} to {} bytes", 1 << 20);
        }
        Ok(flow::Plan {
            rooms: self.rooms.unwrap_or(rooms),
            members,
            publishers,
            payload: self.payload,
            unreliable: self.unreliable,
            pace: match self.rate {
                Some(Rate::PerSecond(rate)) => flow::Pace::Rate(rate),
                _ => flow::Pace::Closed { burst: self.burst },
            },
            warmup: Duration::from_millis(250),
            duration: self.common.duration(1.0),
            event_len: None,
        })
    }
}

impl TickArgs {
    /// Only this program's own server has rooms that tick so.
    ///
    /// # Errors
    /// The load is to speak another dialect than the native one.
    pub fn targets(&self) -> Result<Vec<Target>> {
        if self.common.dialect != Dialect::Native {
            bail!("ticks are measured in the native dialect");
        }
        let framing = self.common.framing();
        if framing == Framing::Datagrams {
            bail!("ticks are measured over ws and tcp");
        }
        Ok(vec![Target::Ticker { framing, period_ms: self.period_ms }])
    }

    pub fn plan(&self) -> ticks::Plan {
        ticks::Plan {
            rooms: self.rooms,
            members: self.members,
            period_ms: self.period_ms,
            warmup: Duration::from_millis(500),
            duration: self.common.duration(1.0),
        }
    }
}

impl LinkArgs {
    pub fn plan(&self) -> quality::Plan {
        quality::Plan {
            scheme: self.transport.clone(),
            members: self.members,
            rate: self.rate,
            payload: self.payload,
            duration: Duration::from_secs_f64(self.seconds),
            quality: self.link,
            worse: self.worse.map(|worse| (worse, Duration::from_secs_f64(self.worse_seconds))),
        }
    }
}

impl CrowdArgs {
    pub fn storm(&self) -> crowd::Plan {
        crowd::Plan { stay: Duration::ZERO, after: Duration::ZERO, ..self.idle() }
    }

    pub fn idle(&self) -> crowd::Plan {
        crowd::Plan {
            connections: self.connections,
            members: (!self.no_join).then_some(self.members),
            opening: self.opening.max(1),
            stay: self.common.duration(3.0),
            // roomcast looks every five seconds whether a crowd has left.
            after: Duration::from_secs(7),
        }
    }
}
