//! The folder of a server's data: one server at a time, one version of what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::frame::VERSION;

/// Says which program the folder belongs to, and with which version of its files.
const FORMAT: &str = "FORMAT";

/// Held by the server that works here; says which process that is.
const LOCK: &str = "LOCK";

/// A folder that nobody else works in.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked until it is closed, however the process ends.
    _lock: File,
}

impl DataDir {
    /// Takes the folder; makes it, for its owner only, if it is not there.
    pub fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |what: &str| {
            let what = format!("{}: cannot {what}", path.display());
            move |source| OpenError::Io { what, source }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(failed("make the folder"))?;
        let lock = lock(path)?;
        let format = path.join(FORMAT);
        match fs::read_to_string(&format) {
            Ok(text) => check_format(path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if is_used(path).map_err(failed("look into the folder"))? {
                    return Err(OpenError::NotOurs { path: path.to_owned() });
                }
                let write = || {
                    let mut file = private().create_new(true).open(&format)?;
                    writeln!(file, "{}", format_line())?;
                    file.sync_all()?;
                    File::open(path)?.sync_all()
                };
                write().map_err(failed("write FORMAT"))?;
            }
            Err(error) => return Err(failed("read FORMAT")(error)),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io {
        what: format!("{}: cannot lock the folder", path.display()),
        source,
    };
    let mut file = private().read(true).create(true).open(path.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            _ = file.read_to_string(&mut holder);
            let holder = holder.trim().escape_debug().to_string();
            return Err(OpenError::Held { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // A full disk is no reason not to start: then nobody knows who holds it.
    _ = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
    Ok(file)
}

fn check_format(path: &Path, text: &str) -> Result<(), OpenError> {
    if text.trim() == format_line() {
        return Ok(());
    }
    let found = text.trim().escape_debug().to_string();
    Err(OpenError::Version { path: path.to_owned(), found, known: format_line() })
}

fn format_line() -> String {
    format!("roomcast data, version {VERSION}")
}

/// Whether something is in the folder beside the lock.
fn is_used(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != LOCK {
            return Ok(true);
        }
    }
    Ok(false)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}
