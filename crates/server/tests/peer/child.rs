//! The real binary in a process of its own, so that its memory, CPU time, descriptors and signals
//! are its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

pub struct Child {
    process: std::process::Child,
    addresses: Vec<SocketAddr>,
    /// Where it runs: no configuration file stands there.
    _directory: tempfile::TempDir,
}

/// What stands before `ROOMCAST_` in the environment is set, listeners are in order.
pub struct Setup<'a> {
    pub listen: &'a [&'a str],
    pub settings: &'a [(&'a str, &'a str)],
    /// Most descriptors, if not as many as there may be.
    pub descriptors: Option<u32>,
    /// A line of shell before the server, in a mount namespace of its own: it may mount what
    /// nobody else sees.
    pub mounting: Option<&'a str>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { listen: &["ws://127.0.0.1:0"], settings: &[], descriptors: None, mounting: None }
    }
}

impl Child {
    pub fn start(setup: &Setup<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limit = setup.descriptors.map_or("unlimited".to_owned(), |limit| limit.to_string());
        let limit =
            if limit == "unlimited" { String::new() } else { format!("ulimit -n {limit};") };
        let mut command = Command::new(if setup.mounting.is_some() { "unshare" } else { "sh" });
        if setup.mounting.is_some() {
            command.args(["--map-root-user", "--mount", "sh"]);
        }
        let mounting = setup.mounting.map_or(String::new(), |script| format!("{script} &&"));
        command.arg("-c").arg(format!("{limit} {mounting} exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_roomcast")).args(["serve", "--workers", "1"]);
        for url in setup.listen {
            command.args(["--listen", url]);
        }
        for (key, value) in setup.settings {
            command.env(format!("ROOMCAST_{key}"), value);
        }
        command.env("ROOMCAST_LOG__LEVEL", "warn").current_dir(directory.path());
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let addresses = lines.take(setup.listen.len()).map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("://").unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        });
        let addresses = addresses.collect();
        Self { process, addresses, _directory: directory }
    }

    pub fn address(&self, listener: usize) -> SocketAddr {
        self.addresses[listener]
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> i64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// CPU time so far, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
        fields[11] + fields[12]
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::yield_now();
        }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
