//! What to do when the process has no descriptor left.
//!
//! A connection that cannot be accepted stays in the queue, and its readiness is not told again:
//! without a way out nobody would be accepted any more. So one descriptor is kept in reserve. It
//! is given up for a moment, the connection is accepted and closed, and the reserve taken back.

use std::fs::File;
use std::io;

use mio::net::TcpListener;
use rustix::io::Errno;

/// One descriptor in reserve.
pub(super) struct Reserve {
    file: Option<File>,
    exhausted: bool,
}

/// Whether `accept` failed because the process or the system has no descriptor left.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

impl Reserve {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: Some(open()?), exhausted: false })
    }

    /// Accepts and drops one connection. Returns whether it is worth going on at once.
    pub(super) fn shed(&mut self, listener: &TcpListener, error: &io::Error) -> bool {
        if !std::mem::replace(&mut self.exhausted, true) {
            tracing::warn!(
                %error,
                "no file descriptor left: new connections are closed until some are free; \
                 raise the limit (ulimit -n, LimitNOFILE) or lower limits.connections"
            );
        }
        if self.file.take().is_none() {
            self.file = open().ok();
            return self.file.is_some();
        }
        let shed = listener.accept().is_ok();
        self.file = open().ok();
        shed && self.file.is_some()
    }

    /// A connection was accepted: the next exhaustion is news again.
    pub(super) fn has_recovered(&mut self) {
        if std::mem::take(&mut self.exhausted) {
            tracing::info!("connections are accepted again");
        }
        if self.file.is_none() {
            self.file = open().ok();
        }
    }
}

fn open() -> io::Result<File> {
    File::open("/dev/null")
}
