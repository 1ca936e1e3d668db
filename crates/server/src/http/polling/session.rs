//! One session of long-polling: what its polls and posts do with the socket pair.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roomcast_core::Now;
use roomcast_wire::CloseCode;
use roomcast_wire::engineio::{self, Packet, PacketError, Packets};
use roomcast_wire::ws::frame::{Frame, Opcode, Reader, write_masked};
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::sync::{MutexGuard, Notify};

use crate::acceptor::admission::Admission;
use crate::worker::Exchange;

/// What an answer to a poll may hold before the rest waits for the next, in bytes.
const PAYLOAD_BYTES: usize = 1 << 20;

/// What is written to the worker in one go, in bytes.
const WRITE_BYTES: usize = 16 << 10;

/// How long a poll waits for packets while another transport is about to take over.
const PROBED: Duration = Duration::from_millis(100);

/// Frames of a client have to be masked; this mask changes nothing.
const MASK: [u8; 4] = [0; 4];

/// What a poll returns when there is nothing more to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Word {
    /// The session is over.
    Close = b'1',
    /// Nothing: the client knows itself that it goes, or goes on with another transport.
    Noop = b'6',
}

/// It goes on.
const OPEN: u8 = 0;
/// A WebSocket has been probed.
const PROBED_STATE: u8 = 1;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sid: u128,
    pub(super) listener: u16,
    pair: UnixStream,
    /// Held by the poll that waits.
    incoming: tokio::sync::Mutex<Incoming>,
    /// Held by the post that is being read.
    outgoing: tokio::sync::Mutex<()>,
    /// [`OPEN`], [`PROBED_STATE`], or the [`Word`] with which polls end.
    state: AtomicU8,
    changed: Notify,
    /// When the last request ended, in milliseconds of the server's clock.
    used_ms: AtomicU64,
    /// Until when the client is to have answered a ping, in milliseconds of the server's clock.
    silent_ms: AtomicU64,
    upgrading: AtomicBool,
    pub(super) exchange: Arc<Exchange>,
    /// Counts towards the limits, until it goes over to a WebSocket or is dropped.
    admission: Mutex<Option<Admission>>,
}

/// What the worker has said and no poll has taken.
#[derive(Debug)]
pub(super) struct Incoming {
    reader: Reader,
    buffer: BytesMut,
}

/// What a poll brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Packets.
    Payload(Vec<u8>),
    /// The last packets: the session is over.
    Last(Vec<u8>),
    /// It was over before the poll.
    Gone,
}

/// What could be read at once.
enum Taken {
    Payload(Vec<u8>),
    /// The worker has closed. Whether because the client had gone silent.
    Ended {
        silent: bool,
        payload: Vec<u8>,
    },
    Nothing,
}

impl Session {
    pub(super) fn new(
        sid: u128,
        listener: u16,
        pair: UnixStream,
        exchange: Arc<Exchange>,
        admission: Admission,
        (now, silent_at): (Now, Now),
    ) -> Self {
        let incoming = Incoming { reader: Reader::for_client(false), buffer: BytesMut::new() };
        Self {
            sid,
            listener,
            pair,
            incoming: tokio::sync::Mutex::new(incoming),
            outgoing: tokio::sync::Mutex::new(()),
            state: AtomicU8::new(OPEN),
            changed: Notify::new(),
            used_ms: AtomicU64::new(now.0),
            silent_ms: AtomicU64::new(silent_at.0),
            upgrading: AtomicBool::new(false),
            exchange,
            admission: Mutex::new(Some(admission)),
        }
    }

    pub(super) fn use_at(&self, now: Now) {
        self.used_ms.store(now.0, Ordering::Relaxed);
    }

    /// Whether no request is being served, nor was since then.
    pub(super) fn is_unused_since(&self, since_ms: u64) -> bool {
        let waits = self.incoming.try_lock().is_err() || self.outgoing.try_lock().is_err();
        !waits && self.used_ms.load(Ordering::Relaxed) < since_ms
    }

    /// Whether the worker has closed it: what it said last may still be taken by a poll.
    pub(super) fn is_closed(&self) -> bool {
        // The worker's half is gone, with the connection that had it.
        Arc::strong_count(&self.exchange) == 1
    }

    /// Whether the client has let a ping go unanswered. Its worker ends the session, too, but at a
    /// time that the client cannot know exactly.
    pub(super) fn is_silent_at(&self, now: Now) -> bool {
        self.silent_ms.load(Ordering::Relaxed) <= now.0
    }

    /// None: another poll waits.
    pub(super) fn begin_poll(&self) -> Option<MutexGuard<'_, Incoming>> {
        self.incoming.try_lock().ok()
    }

    /// None: another post is being read.
    pub(super) fn begin_post(&self) -> Option<MutexGuard<'_, ()>> {
        self.outgoing.try_lock().ok()
    }

    /// A poll that waits returns with `word`, and the worker sees the end of the connection.
    pub(super) fn end(&self, word: Word) {
        self.change(word as u8);
        // It fails only if the worker has closed already.
        _ = SockRef::from(&self.pair).shutdown(Shutdown::Both);
    }

    fn change(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits for packets.
    pub(super) async fn poll(&self, incoming: &mut Incoming) -> Polled {
        let mut has_waited = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match incoming.take(&self.pair) {
                Taken::Payload(payload) => return Polled::Payload(payload),
                Taken::Ended { silent, .. } if silent && !has_waited => return Polled::Gone,
                Taken::Ended { mut payload, .. } => {
                    let state = self.state.load(Ordering::Acquire);
                    let word = if state == Word::Noop as u8 { Word::Noop } else { Word::Close };
                    engineio::append(
                        &mut payload,
                        &Frame::Text(Bytes::copy_from_slice(&[word as u8])),
                    );
                    return Polled::Last(payload);
                }
                Taken::Nothing => {}
            }
            let patience = match self.state.load(Ordering::Acquire) {
                OPEN => None,
                PROBED_STATE if !has_waited => Some(PROBED),
                PROBED_STATE => return Polled::Payload(vec![Word::Noop as u8]),
                word => return Polled::Last(vec![word]),
            };
            tokio::select! {
                () = &mut changed => {}
                _ = self.pair.readable() => {}
                () = rest(patience) => {}
            }
            has_waited = true;
        }
    }

    /// Sends the packets of a request to the worker. Returns whether the session goes on. If one
    /// of them answers a ping, the next is to be answered until `silent_at`.
    ///
    /// # Errors
    /// What was sent is no payload, or the worker has closed.
    pub(super) async fn post(&self, body: Bytes, silent_at: Now) -> Result<bool, PostError> {
        let mut out = BytesMut::new();
        for packet in Packets::read(body)? {
            let goes_on = match packet? {
                Packet::Text(text) => {
                    let mut payload = BytesMut::with_capacity(1 + text.len());
                    payload.extend_from_slice(b"4");
                    payload.extend_from_slice(&text);
                    write_masked(&mut out, Opcode::Text, MASK, &payload);
                    true
                }
                Packet::Binary(bytes) => {
                    write_masked(&mut out, Opcode::Binary, MASK, &bytes);
                    true
                }
                Packet::Pong(_) => {
                    self.silent_ms.store(silent_at.0, Ordering::Relaxed);
                    write_masked(&mut out, Opcode::Text, MASK, b"3");
                    true
                }
                Packet::Noop | Packet::Upgrade => true,
                Packet::Close => {
                    write_masked(&mut out, Opcode::Text, MASK, b"1");
                    false
                }
                Packet::Open(_) | Packet::Ping(_) => return Err(PostError::Direction),
            };
            if out.len() >= WRITE_BYTES || !goes_on {
                self.send(&out).await?;
                out.clear();
            }
            if !goes_on {
                return Ok(false);
            }
        }
        self.send(&out).await?;
        Ok(true)
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.pair.writable().await?;
            match self.pair.try_write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether no other WebSocket is about to take over.
    pub(super) fn begin_upgrade(&self) -> bool {
        !self.upgrading.swap(true, Ordering::AcqRel)
    }

    /// A WebSocket was probed: polls return early.
    pub(super) fn probe(&self) {
        // Not if it has ended in between.
        let open =
            self.state.compare_exchange(OPEN, PROBED_STATE, Ordering::AcqRel, Ordering::Acquire);
        if open.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// The WebSocket did not take over: everything is as before.
    pub(super) fn give_up_upgrade(&self) {
        // Not if it has ended in between.
        _ = self.state.compare_exchange(PROBED_STATE, OPEN, Ordering::AcqRel, Ordering::Acquire);
        self.upgrading.store(false, Ordering::Release);
    }

    /// No request finds the session any more. Waits for those that are being served; then nobody
    /// else has the pair. What no poll has taken comes back, with the pair's descriptor.
    ///
    /// # Errors
    /// The session has ended, or the system gives no descriptor.
    pub(super) async fn take_over(&self) -> io::Result<TakenOver> {
        let probed = self.state.compare_exchange(
            PROBED_STATE,
            Word::Noop as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if probed.is_err() {
            return Err(ErrorKind::NotConnected.into());
        }
        self.changed.notify_waiters();
        let mut incoming = self.incoming.lock().await;
        let _outgoing = self.outgoing.lock().await;
        let is_over = incoming.read_all(&self.pair);
        let pair = self.pair.as_fd().try_clone_to_owned()?.into();
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner).take();
        let admission = admission.ok_or(ErrorKind::NotConnected)?;
        Ok(TakenOver { pair, admission, unsent: incoming.buffer.split().freeze(), is_over })
    }

    /// Tells the worker that the other socket is there, behind all that was posted.
    pub(super) async fn hand_over(&self) -> io::Result<()> {
        let mut out = BytesMut::new();
        write_masked(&mut out, Opcode::Text, MASK, b"5");
        self.send(&out).await
    }
}

/// What a WebSocket gets from the session that it takes over.
pub(super) struct TakenOver {
    pub(super) pair: std::os::unix::net::UnixStream,
    pub(super) admission: Admission,
    /// In frames, as the worker has written them.
    pub(super) unsent: Bytes,
    /// Whether the worker has closed: `unsent` is all there is.
    pub(super) is_over: bool,
}

/// Why a post was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("only the server opens and pings")]
    Direction,
    #[error(transparent)]
    Broken(#[from] io::Error),
}

impl Incoming {
    /// What is there, without waiting.
    fn take(&mut self, pair: &UnixStream) -> Taken {
        let mut payload = Vec::new();
        loop {
            // The worker is trusted: its frames have no bound but that of its outboxes.
            match self.reader.read(&mut self.buffer, usize::MAX) {
                Ok(Some(Frame::Close(code))) => {
                    let silent = code == Some(CloseCode::NoPong.number());
                    return Taken::Ended { silent, payload };
                }
                Ok(Some(frame)) => {
                    engineio::append(&mut payload, &frame);
                    if payload.len() >= PAYLOAD_BYTES {
                        return Taken::Payload(payload);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(_) => return Taken::Ended { silent: false, payload },
            }
            self.buffer.reserve(WRITE_BYTES);
            match pair.try_read_buf(&mut self.buffer) {
                Ok(0) => return Taken::Ended { silent: false, payload },
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Taken::Ended { silent: false, payload },
            }
        }
        if self.buffer.is_empty() {
            // One that waits holds no memory.
            self.buffer = BytesMut::new();
        }
        if payload.is_empty() { Taken::Nothing } else { Taken::Payload(payload) }
    }

    /// Reads what is there, which the buffer of a socket pair bounds. Returns whether that was the
    /// last.
    fn read_all(&mut self, pair: &UnixStream) -> bool {
        loop {
            self.buffer.reserve(WRITE_BYTES);
            match pair.try_read_buf(&mut self.buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Ok(0) | Err(_) => return true,
            }
        }
    }
}

async fn rest(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}
