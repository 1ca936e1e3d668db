//! What is measured: a server that runs already, or a child process on cores of its own, with its
//! CPU time and memory as the kernel counts them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::ToSocketAddrs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use super::links::Endpoint;
use super::speech::{Framing, Speech};

/// How long a child may take until it says where it listens.
const START_MAX: Duration = Duration::from_secs(15);

/// What this binary's own server is called.
pub const ROOMCAST: &str = "roomcast";
/// The same, spoken to in Socket.IO.
pub const SOCKETIO: &str = "socketio";
/// The same, by UDP.
pub const UDP: &str = "udp";

/// What can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server that runs already: its URL, and its process if that may be looked at.
    Running { url: String, pid: Option<u32>, speech: Speech },
    /// This binary's own server, as a child.
    Roomcast { framing: Framing, speech: Speech },
    /// This binary's own server with rooms that tick, as a child.
    Ticker { framing: Framing, period_ms: u32 },
    /// The bare loop.
    Floor,
    /// Bun's built-in WebSocket server.
    Bun,
    /// Node with the package `ws`.
    Ws,
}

/// How children are started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub server_cores: Vec<usize>,
    /// Where the load runs meanwhile.
    pub load_cores: Vec<usize>,
    pub workers: usize,
    /// Configuration of roomcast beyond that of every benchmark, as `section.key=value`.
    pub set: Vec<String>,
    pub peers_dir: PathBuf,
}

/// One that listens. A child ends with it.
pub struct Listening {
    pub endpoint: Endpoint,
    /// Where it and the load run, as far as that is known.
    pub cores: Vec<usize>,
    pid: Option<u32>,
    child: Option<Child>,
}

/// What a process used up so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub cpu: Duration,
    /// How long its threads were ready to run and did not.
    pub waited: Duration,
    pub rss_kib: u64,
}

impl Usage {
    /// What was used since `before`; of memory what there is now.
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
            rss_kib: self.rss_kib,
        }
    }
}

impl Target {
    pub fn name(&self) -> &str {
        match self {
            Self::Running { url, .. } => url,
            Self::Roomcast { speech: Speech::SocketIo, .. } => SOCKETIO,
            Self::Roomcast { framing: Framing::Datagrams, .. } => UDP,
            Self::Roomcast { .. } | Self::Ticker { .. } => ROOMCAST,
            Self::Floor => "floor",
            Self::Bun => "bun",
            Self::Ws => "ws",
        }
    }

    pub fn speech(&self) -> Speech {
        match self {
            Self::Running { speech, .. } | Self::Roomcast { speech, .. } => *speech,
            Self::Ticker { .. } => Speech::Native,
            Self::Floor | Self::Bun | Self::Ws => Speech::Bare,
        }
    }

    pub fn start(&self, launch: &Launch) -> Result<Listening> {
        if let Self::Running { url, pid, .. } = self {
            return Ok(Listening {
                endpoint: parse_url(url, self.speech())?,
                cores: launch.load_cores.clone(),
                pid: *pid,
                child: None,
            });
        }
        let mut child = self
            .command(launch)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        let pid = Some(child.id());
        let url = match wait_for_url(&mut child, self.scheme()) {
            Ok(url) => url,
            Err(error) => {
                end(&mut child);
                return Err(error.context(format!("{} did not start", self.name())));
            }
        };
        // From here on the child ends with its owner, whatever goes wrong.
        let unknown = parse_url("ws://127.0.0.1:1/", self.speech())?;
        let cores = [&launch.server_cores[..], &launch.load_cores].concat();
        let mut listening = Listening { endpoint: unknown, cores, pid, child: Some(child) };
        listening.endpoint = parse_url(&url, self.speech())?;
        Ok(listening)
    }

    fn scheme(&self) -> &'static str {
        match self {
            Self::Roomcast { framing: Framing::Lines, .. }
            | Self::Ticker { framing: Framing::Lines, .. } => "tcp://",
            Self::Roomcast { framing: Framing::Datagrams, .. } => "udp://",
            _ => "ws://",
        }
    }

    fn command(&self, launch: &Launch) -> Result<Command> {
        let this = std::env::current_exe()?;
        let cores = match launch.server_cores.as_slice() {
            [] => "any".to_owned(),
            cores => cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        let mut command = Command::new(&this);
        command.args(["bench", "hold", "--cores", &cores, "--"]);
        let peer = |file: &str| launch.peers_dir.join(file);
        match self {
            Self::Running { .. } => {}
            Self::Roomcast { .. } => {
                command.arg(&this).args([
                    "serve",
                    "--listen",
                    &format!("{}127.0.0.1:0", self.scheme()),
                ]);
                command.envs(settings(launch)?);
            }
            Self::Ticker { period_ms, .. } => {
                let period_ms = period_ms.to_string();
                command.arg(&this).args(["bench", "tick-server", "--period-ms", &period_ms]);
                command.env("ROOMCAST_LISTEN", format!("{}127.0.0.1:0", self.scheme()));
                command.envs(settings(launch)?);
            }
            Self::Floor => {
                command.arg(&this).args(["bench", "floor-server"]);
            }
            Self::Bun => {
                command.args([peer("node_modules/.bin/bun"), peer("bun.mjs")]);
            }
            Self::Ws => {
                command.arg("node").arg(peer("ws.mjs"));
            }
        }
        if matches!(self, Self::Bun | Self::Ws) && !peer("node_modules").is_dir() {
            bail!("run `npm ci` in {} first", launch.peers_dir.display());
        }
        Ok(command)
    }
}

/// A server for benchmarks keeps no history, tells of no presence and bounds no rates: those have
/// their own costs, which a benchmark adds back one by one with `--set`.
fn settings(launch: &Launch) -> Result<Vec<(String, String)>> {
    let mut settings = vec![
        ("ROOMCAST_WORKERS".to_owned(), launch.workers.to_string()),
        ("ROOMCAST_LOG__LEVEL".to_owned(), "warn".to_owned()),
        ("ROOMCAST_ROOMS__HISTORY__SIZE".to_owned(), "0".to_owned()),
        ("ROOMCAST_ROOMS__PRESENCE".to_owned(), "off".to_owned()),
        ("ROOMCAST_ROOMS__RESUME_S".to_owned(), "0".to_owned()),
        ("ROOMCAST_LIMITS__RESUME_MS".to_owned(), "0".to_owned()),
        ("ROOMCAST_LIMITS__COMMANDS_PER_S".to_owned(), "0".to_owned()),
        ("ROOMCAST_LIMITS__FANOUT_BYTES_PER_S".to_owned(), "0".to_owned()),
    ];
    for set in &launch.set {
        let (key, value) =
            set.split_once('=').with_context(|| format!("`--set {set}`: write key=value"))?;
        let key = key.to_uppercase().replace('.', "__");
        settings.push((format!("ROOMCAST_{key}"), value.to_owned()));
    }
    Ok(settings)
}

impl Listening {
    /// CPU time and memory up to now; `None` if the process is not known.
    pub fn usage(&self) -> Result<Option<Usage>> {
        self.pid.map(usage).transpose()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // A child that has ended by itself is what was wanted.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a child is started through: puts the process on its cores, ties its life to that of the
/// benchmark, and becomes the program.
pub fn hold(cores: &[usize], program: &[String]) -> Result<ExitCode> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    pin(cores)?;
    let (name, args) = program.split_first().context("which program?")?;
    Err(Command::new(name).args(args).exec()).with_context(|| format!("cannot run {name}"))
}

/// The cores this process may run on.
pub fn cores_here() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Puts this process on these cores; no cores: wherever it likes.
pub fn pin(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &core in cores {
        if core >= CpuSet::MAX_CPU {
            bail!("there is no core {core}");
        }
        set.set(core);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("cannot run on cores {cores:?}"))
}

/// Lifts the limit of open files as far as it goes, for this process and its children.
pub fn reserve_files(links: usize) -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    let needed = links as u64 + 64;
    match limit.maximum {
        Some(allowed) if allowed < needed => bail!(
            "{links} links need {needed} open files, but the hard limit (`ulimit -Hn`) is {allowed}"
        ),
        _ => Ok(()),
    }
}

fn wait_for_url(child: &mut Child, scheme: &'static str) -> Result<String> {
    let (lines, heard) = channel();
    if let Some(stdout) = child.stdout.take() {
        listen(stdout, lines.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        listen(stderr, lines);
    }
    let until = Instant::now() + START_MAX;
    let mut said = String::new();
    loop {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(at) = line.find(scheme) {
                    let url = line[at..].split(|c: char| c.is_whitespace() || c == '"').next();
                    return Ok(url.unwrap_or_default().to_owned());
                }
                said.push_str(&line);
                said.push('\n');
            }
            Err(_) => bail!("it named no {scheme} address; it said: {}", said.trim_end()),
        }
    }
}

/// Passes lines on, and goes on reading so that the child never waits for its output to be read.
fn listen(stream: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line.clone()).is_err() {
                eprintln!("  | {line}");
            }
        }
    });
}

fn parse_url(url: &str, speech: Speech) -> Result<Endpoint> {
    let (scheme, rest) = url.split_once("://").with_context(|| format!("`{url}` is no URL"))?;
    let framing = match scheme {
        "ws" => Framing::WebSocket,
        "tcp" => Framing::Lines,
        "udp" => Framing::Datagrams,
        _ => bail!("`{url}`: bench speaks ws://, tcp:// and udp://"),
    };
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    let address = host
        .to_socket_addrs()
        .with_context(|| format!("`{url}`: host and port are needed"))?
        .next()
        .with_context(|| format!("`{host}` has no address"))?;
    if speech == Speech::SocketIo && framing != Framing::WebSocket {
        bail!("Socket.IO is spoken over WebSocket: ws://{host}");
    }
    let path = if path.len() > 1 { path } else { speech.path() };
    Ok(Endpoint { address, host: host.to_owned(), path: path.to_owned(), framing, speech })
}

fn usage(pid: u32) -> Result<Usage> {
    let gone = || format!("the server (process {pid}) is gone");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
    let rss_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(gone)?;
    let (cpu, waited) = match schedule(pid) {
        Some(fine) => fine,
        None => (coarse_cpu(pid).with_context(gone)?, Duration::ZERO),
    };
    Ok(Usage { cpu, waited, rss_kib })
}

/// What the kernel counts of the thread that opened it.
pub struct Schedule(Option<File>);

impl Schedule {
    pub fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// How long it ran, and how long it was ready to and did not; zero where the kernel does not
    /// tell. Two microseconds, where opening the file each time took ten.
    pub fn read(&self) -> (Duration, Duration) {
        let mut text = [0; 80];
        let len = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = std::str::from_utf8(&text[..len.unwrap_or(0)]).unwrap_or_default();
        read_schedstat(text).unwrap_or_default()
    }
}

/// Time on a core, time in wait for one.
fn read_schedstat(text: &str) -> Option<(Duration, Duration)> {
    let mut fields = text.split_whitespace().map(|field| field.parse().ok());
    let mut next = || fields.next().flatten().map(Duration::from_nanos);
    Some((next()?, next()?))
}

/// Of all threads, where the kernel keeps the threads' schedstat.
fn schedule(pid: u32) -> Option<(Duration, Duration)> {
    let zero = (Duration::ZERO, Duration::ZERO);
    std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.try_fold(zero, |(cpu, waited), task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let of_thread = read_schedstat(&text)?;
        Some((cpu + of_thread.0, waited + of_thread.1))
    })
}

/// utime + stime of /proc/PID/stat, in steps of 10 ms.
fn coarse_cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let a_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / a_second as f64))
}
