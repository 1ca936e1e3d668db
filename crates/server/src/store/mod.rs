//! The store: keeps the logs of durable rooms on this node.
//!
//! | file | what |
//! |---|---|
//! | `folder.rs` | the folder: one server at a time, one version |
//! | `disk.rs` | its files, behind a small interface |
//! | `frame.rs` | how a file is written |
//! | `log.rs` | the log: append, sync, begin again after a failure, let go of what is not needed |
//! | `index.rs` | what is still needed |
//! | `writer.rs` | the thread that writes, in groups |

mod disk;
mod folder;
mod frame;
mod index;
mod log;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use roomcast_core::Restored;

use self::disk::Folder;
use self::folder::DataDir;
use self::log::{Log, Opening};
pub(crate) use self::writer::Job;
use self::writer::Tell;
use crate::server::StartError;
use crate::worker::{Address, Mail, abort_on_panic};

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The files cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What stands in a file is not what was written there.
    #[error("{file} is damaged at byte {at}: {why}; bring the folder back from a copy")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// Another process works in the folder.
    #[error("{}: in use by {holder}; one server works in a data_dir at a time", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who says to hold it.
        holder: String,
    },
    /// Something else is in the folder.
    #[error("{}: is not empty, and no data_dir of roomcast; name an empty folder", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// Another version wrote the folder.
    #[error(
        "{}: holds `{found}`, this program knows `{known}`; use the program that wrote it",
        path.display()
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this program writes.
        known: String,
    },
}

/// Opens the log of durable rooms, if there is to be one, and has it written; what it kept is for
/// the workers.
pub(crate) fn open(
    data_dir: Option<&Path>,
    addresses: &Arc<[Address]>,
) -> Result<(Option<Store>, Arc<Restored>), StartError> {
    let Some(path) = data_dir else { return Ok((None, Arc::default())) };
    let mut opened = Opened::open(path).map_err(|error| StartError::DataDir(error.to_string()))?;
    let restored = Arc::new(std::mem::take(&mut opened.restored));
    let to_workers = Arc::clone(addresses);
    let tell: Tell = Box::new(move |shard, news| {
        if let Some(worker) = to_workers.get(shard) {
            worker.send(Mail::Log(news));
        }
    });
    let store = opened.start(addresses.len(), tell);
    let store = store.map_err(|source| StartError::System { what: "thread", source })?;
    Ok((Some(store), restored))
}

/// A log that was opened, and is not written yet.
pub(crate) struct Opened {
    log: Log,
    folder: DataDir,
    /// What it kept.
    pub restored: Restored,
}

impl Opened {
    /// Opens the log of a folder; makes the folder if it is not there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let folder = DataDir::take(path)?;
        let disk = Box::new(Folder(folder.path().to_owned()));
        let boot = boot_id();
        let mut random = || crate::system::random().map_or(writer::now_ms(), u64::from_le_bytes);
        let mut opening = Opening {
            now_ms: writer::now_ms(),
            boot: boot.as_bytes(),
            random: &mut random,
            file_bytes: None,
        };
        let (log, restored, found) = Log::open(disk, &mut opening)?;
        tracing::info!(
            path = %folder.path().display(),
            files = found.files, bytes = found.bytes, torn_bytes = found.torn_bytes,
            rooms = restored.rooms.len(), sessions = restored.sessions.len(),
            "the log of durable rooms is open"
        );
        Ok(Self { log, folder, restored })
    }

    /// Starts the thread that writes it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, shards: usize, tell: Tell) -> io::Result<Store> {
        let (jobs, queue) = mpsc::channel();
        let writer = writer::Writer::new(self.log, shards, tell);
        let folder = self.folder;
        let thread = std::thread::Builder::new().name("roomcast-log".into()).spawn(move || {
            abort_on_panic("log", move || writer.run(&queue));
            drop(folder);
        })?;
        Ok(Store { jobs, thread: Some(thread) })
    }
}

/// A log that is written by a thread of its own.
pub(crate) struct Store {
    /// The way to it.
    pub jobs: Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Writes what was handed over, and ends in good order. The workers have ended.
    pub fn stop(&mut self) {
        // Its thread cannot have ended before, but by a panic, which ends the process.
        _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// Names the life of the machine: another one after its power was cut. Unknown, every start counts
/// as one after a power cut, which is safe.
fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("unknown {}", writer::now_ms()),
    }
}
