//! `roomcast bench chaos`: a cluster whose nodes and NATS are killed, paused and started again on
//! a schedule drawn from a seed, while members speak; what came, once and in order, is counted.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roomcast_client::{Client, Member, PublishOptions, Reconnect, Room, RoomEvent, payload_of};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take until it answers.
const START: Duration = Duration::from_secs(15);

/// Between two tries of a publish.
const RETRY: Duration = Duration::from_millis(20);

/// What is started and what befalls it.
#[derive(Debug, clap::Args)]
pub struct ChaosArgs {
    /// The nats-server to start, 2.12 or newer.
    #[arg(long, value_name = "PATH", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes: u16,
    /// Rooms; a member at each node is in all of them.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=120))]
    rooms: u16,
    /// Publishes a second in all rooms together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    seconds: u64,
    /// How long a node's lease is, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(2..=60))]
    lease_s: u64,
    /// What befalls whom and when is drawn from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it and prints what was counted.
pub fn run(args: &ChaosArgs) -> Result<ExitCode> {
    let directory = std::env::temp_dir().join(format!("roomcast-chaos-{}", std::process::id()));
    std::fs::create_dir_all(&directory).context("a directory for the files of NATS")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counted = runtime.block_on(play(args, &directory));
    // What is left of it is in a directory for what is left.
    _ = std::fs::remove_dir_all(&directory);
    let counted = counted?;
    counted.print();
    Ok(if counted.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(args: &ChaosArgs, directory: &Path) -> Result<Counted> {
    let mut cluster = Cluster::start(args, directory).await?;
    let clients = cluster.clients().await?;
    let mut ears = Vec::new();
    let mut speakers = Vec::new();
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let pause = Duration::from_secs_f64(f64::from(args.rooms) / f64::from(args.rate));
    for number in 0..args.rooms {
        let mut rooms = Vec::new();
        for client in &clients {
            let room = join(client, &format!("room-{number}")).await?;
            ears.push((usize::from(number), Ear::of(&room)));
            rooms.push(room);
        }
        let speaker = rooms.swap_remove(usize::from(number) % rooms.len());
        speakers.push(tokio::spawn(speak(speaker, pause, end)));
    }
    let faults = cluster.torment(args, end).await?;
    let mut spoken = Vec::new();
    for speaker in speakers {
        spoken.push(speaker.await?);
    }
    // Until the last lease that may have ended has, and everybody is told.
    tokio::time::sleep(3 * Duration::from_secs(args.lease_s) + Duration::from_secs(2)).await;
    let mut counted = Counted { faults, ..Counted::default() };
    for (room, ear) in &ears {
        counted.add(spoken.get(*room), &ear.heard());
    }
    counted.ghosts = ghosts(&clients, args.rooms).await?;
    counted.published = spoken.iter().map(|spoken| spoken.taken.len()).sum();
    counted.longest = spoken.iter().map(|spoken| spoken.longest).max().unwrap_or_default();
    Ok(counted)
}

async fn join(client: &Client, name: &str) -> Result<Room> {
    client.join(name).await.with_context(|| format!("cannot join {name}"))
}

/// What one speaker said.
#[derive(Debug, Default)]
struct Spoken {
    /// The numbers that the room has taken.
    taken: BTreeSet<u64>,
    /// The longest time between two that it took.
    longest: Duration,
}

/// Says numbers, each until it is taken.
async fn speak(room: Room, pause: Duration, end: Instant) -> Spoken {
    let mut spoken = Spoken::default();
    let mut last = Instant::now();
    for number in 0.. {
        if Instant::now() >= end {
            break;
        }
        let key = format!("{}-{number}", room.name());
        while Instant::now() < end + START {
            let Ok(data) = payload_of(room.client().codec(), &number) else { break };
            let options = PublishOptions::default().key(key.clone());
            if room.publish_with("number", Some(data), options).await.is_ok() {
                spoken.taken.insert(number);
                spoken.longest = spoken.longest.max(last.elapsed());
                last = Instant::now();
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
        tokio::time::sleep(pause).await;
    }
    spoken
}

/// What one member heard, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Number(u64),
    /// It was told that something is missing.
    Lost,
}

#[derive(Debug, Clone)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn of(room: &Room) -> Self {
        let ear = Self(Arc::default());
        let (heard, room) = (Arc::clone(&ear.0), room.clone());
        tokio::spawn(async move {
            while let Some(event) = room.next_event().await {
                let what = match event {
                    RoomEvent::Event(event) => event.data().ok().map(Heard::Number),
                    RoomEvent::Lost(_) => Some(Heard::Lost),
                    _ => None,
                };
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend(what);
            }
        });
        ear
    }

    fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What became of all that was said.
#[derive(Debug, Default)]
struct Counted {
    faults: Vec<String>,
    published: usize,
    heard: u64,
    /// Missing at a member that was not told so.
    lost: u64,
    /// Missing at a member that was told that something is missing.
    told: u64,
    repeated: u64,
    reordered: u64,
    ghosts: usize,
    longest: Duration,
}

impl Counted {
    fn add(&mut self, spoken: Option<&Spoken>, heard: &[Heard]) {
        let mut seen = BTreeSet::new();
        let (mut last, mut was_told) = (None, false);
        let mut told_after = BTreeSet::new();
        for what in heard {
            match what {
                Heard::Lost => was_told = true,
                Heard::Number(number) => {
                    self.heard += 1;
                    if !seen.insert(*number) {
                        self.repeated += 1;
                    } else if last.is_some_and(|last| *number < last) {
                        self.reordered += 1;
                    }
                    if std::mem::take(&mut was_told) {
                        let from = last.map_or(0, |last| last + 1);
                        told_after.extend(from..*number);
                    }
                    last = last.max(Some(*number));
                }
            }
        }
        let end = last.map_or(0, |last| last + 1);
        for missing in spoken.iter().flat_map(|spoken| spoken.taken.difference(&seen)) {
            let is_told = told_after.contains(missing) || (was_told && *missing >= end);
            *(if is_told { &mut self.told } else { &mut self.lost }) += 1;
        }
    }

    fn is_good(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.ghosts == 0
    }

    fn print(&self) {
        for fault in &self.faults {
            println!("{fault}");
        }
        println!("published      {:>8}", self.published);
        println!("heard          {:>8}", self.heard);
        println!("lost           {:>8}   missing at a member that was not told", self.lost);
        println!("told           {:>8}   missing at a member that was told so", self.told);
        println!(
            "repeated       {:>8}   published again when nobody knew of the first",
            self.repeated
        );
        println!("reordered      {:>8}", self.reordered);
        println!("ghosts         {:>8}   members that nobody is", self.ghosts);
        let longest = self.longest.as_secs_f64();
        println!("longest pause  {longest:>8.2} s in which a room took nothing");
    }
}

/// Members that are none of the clients.
async fn ghosts(clients: &[Client], rooms: u16) -> Result<usize> {
    let sessions: Vec<_> = clients.iter().map(Client::session).collect();
    let asked = clients.first().context("there are no clients")?;
    let mut ghosts = 0;
    for number in 0..rooms {
        let members = asked.members(&format!("room-{number}")).await?.members;
        let is_ghost = |member: &&Member| !sessions.contains(&member.sender().session);
        ghosts += members.iter().filter(is_ghost).count();
    }
    Ok(ghosts)
}

/// The processes.
struct Cluster {
    nats: Process,
    nodes: Vec<Process>,
}

impl Cluster {
    async fn start(args: &ChaosArgs, directory: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(&args.nats_server);
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(directory);
        let nats = Process::start(command, port).await.context("nats-server")?;
        let mut nodes = Vec::new();
        for _ in 0..args.nodes {
            let port = free_port()?;
            let mut command = Command::new(std::env::current_exe()?);
            let listen = format!("tcp://127.0.0.1:{port}");
            command.args(["serve", "--workers", "1", "--listen", &listen]);
            let engine = format!("nats://127.0.0.1:{}", nats.port);
            command.env("ROOMCAST_CLUSTER__ENGINE", engine);
            command.env("ROOMCAST_CLUSTER__LEASE_S", args.lease_s.to_string());
            command.env("ROOMCAST_LOG__LEVEL", "off").current_dir(directory);
            nodes.push(Process::start(command, port).await.context("a node")?);
        }
        Ok(Self { nats, nodes })
    }

    /// One at each node, that goes to the others when it has gone.
    async fn clients(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for first in 0..self.nodes.len() {
            let url = |node: &Process| format!("tcp://127.0.0.1:{}", node.port);
            let mut urls = self.nodes.iter().cycle().skip(first).take(self.nodes.len()).map(url);
            let mut builder = Client::builder(&urls.next().unwrap_or_default());
            for url in urls {
                builder = builder.fall_back_to(url);
            }
            let (base, cap) = (Duration::from_millis(50), Duration::from_millis(500));
            let reconnect = Reconnect { base, cap, attempts_max: None };
            clients.push(builder.reconnect(reconnect).connect().await?);
        }
        Ok(clients)
    }

    /// One thing after the other, with time to recover in between.
    async fn torment(&mut self, args: &ChaosArgs, end: Instant) -> Result<Vec<String>> {
        let lease = Duration::from_secs(args.lease_s);
        let (start, mut chance) = (Instant::now(), args.seed);
        let mut faults = Vec::new();
        loop {
            tokio::time::sleep(lease + Duration::from_millis(1_000 + draw(&mut chance) % 2_000))
                .await;
            if Instant::now() + 2 * lease >= end {
                return Ok(faults);
            }
            let second = start.elapsed().as_secs_f64();
            let count = self.nodes.len();
            let which = draw(&mut chance) as usize % count;
            let Some(node) = self.nodes.get_mut(which) else { continue };
            let what = match draw(&mut chance) % 4 {
                0 | 1 => {
                    node.kill();
                    tokio::time::sleep(lease).await;
                    node.run().await?;
                    format!("node {which} killed, started again")
                }
                2 => {
                    node.signal(Signal::STOP);
                    tokio::time::sleep(lease + Duration::from_secs(1)).await;
                    node.signal(Signal::CONT);
                    format!("node {which} paused")
                }
                _ => {
                    self.nats.kill();
                    tokio::time::sleep(lease).await;
                    self.nats.run().await?;
                    "NATS killed, started again".to_owned()
                }
            };
            faults.push(format!("{second:>6.1} s  {what}"));
        }
    }
}

/// One process with a port of its own, started again as often as wanted.
struct Process {
    command: Command,
    port: u16,
    child: Option<Child>,
}

impl Process {
    async fn start(mut command: Command, port: u16) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Self { command, port, child: None };
        process.run().await?;
        Ok(process)
    }

    async fn run(&mut self) -> Result<()> {
        let program = self.command.get_program().to_owned();
        let child = self.command.spawn();
        self.child = Some(child.with_context(|| format!("cannot start {}", program.display()))?);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if start.elapsed() > START {
                bail!("{} does not answer", program.display());
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It is gone already, then.
            _ = child.kill();
            _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// SplitMix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(taken: &[u64], heard: &[Heard]) -> Counted {
        let mut counted = Counted::default();
        let spoken = Spoken { taken: taken.iter().copied().collect(), ..Spoken::default() };
        counted.add(Some(&spoken), heard);
        counted
    }

    #[test]
    fn what_is_missing_repeated_or_out_of_order_is_counted() {
        use Heard::{Lost, Number};
        let all = [Number(0), Number(1), Number(2)];
        assert!(counted(&[0, 1, 2], &all).is_good());
        assert_eq!(counted(&[0, 1, 2], &[Number(0), Number(2)]).lost, 1);
        let told = counted(&[0, 1, 2, 3], &[Number(0), Lost, Number(2), Lost]);
        assert_eq!((told.lost, told.told), (0, 2));
        // Told before it was lost is not told.
        assert_eq!(counted(&[0, 1, 2], &[Lost, Number(0), Number(2)]).lost, 1);
        let wild = counted(&[0, 1, 2], &[Number(0), Number(2), Number(1), Number(1)]);
        assert_eq!((wild.reordered, wild.repeated, wild.lost), (1, 1, 0));
    }
}
