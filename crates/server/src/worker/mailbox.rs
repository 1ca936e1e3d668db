//! What other threads tell a worker.

use std::any::Any;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use mio::Waker;
use roomcast_core::logic::RoomRef;
use roomcast_core::{Envelope, Input, LogNews, ServerCall, ServerReply, ShardId};
use roomcast_wire::Format;
use tokio::sync::oneshot;

use super::exchange::Exchange;
use super::lines::Carried;
use super::link::Link;
use super::port::Port;
use crate::acceptor::admission::Admission;

/// Envelopes that may wait in a mailbox before those who send stop reading from their links.
const ENVELOPES_MAX: usize = 64 << 10;

/// Calls of the embedding program that may wait in a mailbox before more are refused.
pub(crate) const CALLS_MAX: usize = 64 << 10;

/// One word to a worker.
pub(crate) enum Mail {
    /// A new connection.
    Accepted { stream: TcpStream, listener: u16, admission: Admission },
    /// A connection that has become a WebSocket elsewhere.
    Upgraded { stream: TcpStream, listener: u16, admission: Admission, format: Format },
    /// A session that began with HTTP long-polling: one end of a socket pair on which it speaks
    /// as on a WebSocket.
    Polled { stream: TcpStream, listener: u16, admission: Admission, exchange: Arc<Exchange> },
    /// A UDP socket that this worker serves from now on.
    Port(Box<Port>),
    /// Word from another shard.
    Envelope { from: ShardId, envelope: Envelope },
    /// A link whose session lives here, with its first message; `line`: of which of the lines
    /// that the link carries.
    Moved { link: Box<Link>, message: Bytes, line: Option<Box<Carried>> },
    /// The embedding program asks for something.
    Call { call: ServerCall, reply: oneshot::Sender<ServerReply> },
    /// What a task of a room's logic came to.
    TaskDone { room: RoomRef, call: u64, answer: Option<Box<dyn Any + Send>> },
    /// What a hook or handler has decided.
    Decided(Input),
    /// What the log of durable rooms has to say.
    Log(LogNews),
    /// What has become of the cluster.
    Cluster(Input),
    /// Send everybody away. Dropped when nobody is left.
    Drain { retry_ms_max: u64, left: Sender<()> },
    /// End at once.
    Stop,
}

/// The way to one worker. A queue without a lock: whoever sends never waits.
#[derive(Clone)]
pub(crate) struct Address {
    sender: Sender<Mail>,
    state: Arc<State>,
}

struct State {
    waker: Waker,
    /// Somebody has used the waker since the worker last looked.
    woken: AtomicBool,
    /// Envelopes that wait.
    envelopes: AtomicUsize,
    /// Calls that wait.
    calls: AtomicUsize,
    /// Links, with those on their way.
    links: AtomicUsize,
}

/// What a worker reads.
pub(super) struct Mailbox {
    receiver: Receiver<Mail>,
    state: Arc<State>,
}

/// A mailbox and the way to it.
pub(super) fn mailbox(waker: Waker) -> (Address, Mailbox) {
    let (sender, receiver) = mpsc::channel();
    let woken = AtomicBool::new(false);
    let [envelopes, calls, links] = [const { AtomicUsize::new(0) }; 3];
    let state = Arc::new(State { waker, woken, envelopes, calls, links });
    (Address { sender, state: Arc::clone(&state) }, Mailbox { receiver, state })
}

impl Address {
    /// Sends and wakes the worker. If it has ended, so has its server: the word is dropped.
    pub(crate) fn send(&self, mail: Mail) {
        self.post(mail);
        self.wake();
    }

    /// Sends without waking the worker: many words, then one [`Address::wake`].
    pub(super) fn post(&self, mail: Mail) {
        match &mail {
            Mail::Envelope { .. } => _ = self.state.envelopes.fetch_add(1, Ordering::Relaxed),
            Mail::Call { .. } => _ = self.state.calls.fetch_add(1, Ordering::Relaxed),
            Mail::Accepted { .. }
            | Mail::Upgraded { .. }
            | Mail::Polled { .. }
            | Mail::Moved { .. } => {
                self.state.links.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        _ = self.sender.send(mail);
    }

    /// Wakes the worker, with one system call however many use it at once.
    pub(super) fn wake(&self) {
        if !self.state.woken.swap(true, Ordering::AcqRel) {
            // It fails only if the worker's epoll is gone, and then nobody listens.
            _ = self.state.waker.wake();
        }
    }

    /// Whether so much waits that no more should be read from links.
    pub(super) fn is_congested(&self) -> bool {
        self.state.envelopes.load(Ordering::Relaxed) > ENVELOPES_MAX
    }

    /// Whether as many calls wait as may.
    pub(crate) fn is_full_of_calls(&self) -> bool {
        self.state.calls.load(Ordering::Relaxed) >= CALLS_MAX
    }

    /// How many links the worker has or is about to have.
    pub(crate) fn links(&self) -> usize {
        self.state.links.load(Ordering::Relaxed)
    }
}

impl Mailbox {
    /// To be called before the mailbox is read: what is sent after it wakes the worker again.
    /// A swap and no store: it sees what was sent before the flag it takes down was raised.
    pub(super) fn open(&self) {
        self.state.woken.swap(false, Ordering::AcqRel);
    }

    pub(super) fn take(&self) -> Option<Mail> {
        let mail = self.receiver.try_recv().ok()?;
        match mail {
            Mail::Envelope { .. } => _ = self.state.envelopes.fetch_sub(1, Ordering::Relaxed),
            Mail::Call { .. } => _ = self.state.calls.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        Some(mail)
    }

    /// A link has begun here.
    pub(super) fn link_came(&self) {
        self.state.links.fetch_add(1, Ordering::Relaxed);
    }

    /// A link is gone, or moved away.
    pub(super) fn link_gone(&self) {
        self.state.links.fetch_sub(1, Ordering::Relaxed);
    }
}
