//! The body of an answer that goes on: what a worker says on a line, as server-sent events (HTML
//! standard, section 9.2) or as lines.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep, sleep};

use super::follow::{Following, kind_of};
use super::{Line, OpenStream};

/// What is read from the worker in one go, in bytes.
const READ_BYTES: usize = 16 << 10;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// `text/event-stream`
    Sse,
    /// `application/x-ndjson`: one JSON object a line.
    Ndjson,
}

impl Form {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What says nothing, so that proxies keep the connection and each end finds out about it.
    fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Sse => b":\n\n",
            Self::Ndjson => b"\n",
        }
    }
}

/// The body.
pub(super) struct Down {
    line: Arc<Line>,
    form: Form,
    /// Where who follows rooms stands; none: the peer speaks for itself.
    following: Option<Following>,
    /// What the worker has said of a line that is not whole.
    read: BytesMut,
    /// What is ready to go out.
    out: BytesMut,
    heartbeat: Pin<Box<Sleep>>,
    heartbeat_every: Duration,
    ended: bool,
    _open: OpenStream,
}

impl Down {
    pub(super) fn new(
        line: Arc<Line>,
        form: Form,
        following: Option<Following>,
        heartbeat_every: Duration,
        open: OpenStream,
    ) -> Self {
        Self {
            line,
            form,
            following,
            read: BytesMut::new(),
            out: BytesMut::new(),
            heartbeat: Box::pin(sleep(heartbeat_every)),
            heartbeat_every,
            ended: false,
            _open: open,
        }
    }

    /// Appends one line of the worker.
    pub(super) fn push(&mut self, line: &[u8]) {
        let is_sse = self.form == Form::Sse;
        if let Some(following) = &mut self.following {
            following.hear(line);
            self.ended |= following.is_over();
            if is_sse {
                following.write_head(line, &mut self.out);
            }
        }
        if is_sse {
            self.out.extend_from_slice(b"data: ");
        }
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(if is_sse { b"\n\n" } else { b"\n" });
    }

    /// Appends the whole lines of what the worker has said.
    pub(super) fn take_lines(&mut self) {
        let mut said = std::mem::take(&mut self.read);
        // A blank line of the worker says nothing.
        while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            let line = said.split_to(end + 1);
            let line = line.get(..end).unwrap_or_default();
            if kind_of(line).is_some() {
                self.push(line);
            }
        }
        // One that waits holds no memory.
        self.read = if said.is_empty() { BytesMut::new() } else { said };
    }

    /// Waits for the worker; `Ok(false)`: it has closed.
    fn poll_worker(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            ready!(self.line.pair.poll_read_ready(context))?;
            self.read.reserve(READ_BYTES);
            match self.line.pair.try_read_buf(&mut self.read) {
                Ok(count) => return Poll::Ready(Ok(count > 0)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = io::Error;

    /// Called only while the connection has room: what a slow peer does not take stays with the
    /// worker, whose rule for slow members acts.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if !self.out.is_empty() {
                let next = Instant::now() + self.heartbeat_every;
                self.heartbeat.as_mut().reset(next);
                let out = std::mem::take(&mut self.out).freeze();
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.poll_worker(context) {
                Poll::Ready(Ok(true)) => self.take_lines(),
                Poll::Ready(Ok(false) | Err(_)) => self.ended = true,
                Poll::Pending => {
                    ready!(self.heartbeat.as_mut().poll(context));
                    let heartbeat = self.form.heartbeat();
                    self.out.extend_from_slice(heartbeat);
                }
            }
        }
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if self.following.is_some() {
            // Nobody comes back to the session of who only follows: without this word its seats
            // would be kept for one who was lost. If the worker does not take it now, they are.
            _ = self.line.pair.try_write(b"{\"type\":\"bye\"}\n");
        }
    }
}

/// Reads one line, with what was read before.
pub(super) async fn read_line(pair: &UnixStream, read: &mut BytesMut) -> io::Result<BytesMut> {
    let mut looked_at = 0;
    loop {
        let rest = read.get(looked_at..).unwrap_or_default();
        if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let mut line = read.split_to(looked_at + end + 1);
            line.truncate(looked_at + end);
            return Ok(line);
        }
        looked_at = read.len();
        pair.readable().await?;
        read.reserve(READ_BYTES);
        match pair.try_read_buf(read) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

impl Down {
    /// What was read and is not given on yet.
    pub(super) fn unread(&mut self) -> &mut BytesMut {
        &mut self.read
    }
}
