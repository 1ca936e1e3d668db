//! What the shard asks for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use roomcast_core::io::Note;
use roomcast_core::{Input, LinkId, Now, Output, ShardId};
use roomcast_wire::CloseCode;

use super::lines::Carried;
use super::link::Flags;
use super::{Mail, Timer, Worker};
use crate::hooks::Running;
use crate::store::Job;
use crate::tasks;

impl Worker {
    /// Does all that the shard asks for.
    pub(super) fn drain_outputs(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Close { link, code } => {
                if let Some(found) = self.links.get_mut(link.0 as usize) {
                    // Not before the end of the turn: what was said in it still goes out.
                    found.flags.close.get_or_insert(code);
                    self.closes.push(link.0);
                } else if let Some(line) = self.links.carried_mut(link.0) {
                    line.close.get_or_insert(code);
                    self.closes.push(link.0);
                } else if let Some(peer) = self.links.peer_mut(link.0) {
                    peer.close.get_or_insert(code);
                    self.closes.push(link.0);
                }
            }
            Output::Pause { link, until } => self.pause(self.line_of(link.0), until),
            Output::Move { link, to, message } if to.node != self.id.node => {
                self.keep(link.0, message);
            }
            Output::Move { link, message, .. } if self.links.peer(link.0).is_some() => {
                self.keep_peer(link.0, message);
            }
            Output::Move { link, to, message } if self.links.carried(link.0).is_some() => {
                self.move_line(link.0, to, message);
            }
            Output::Move { link, to, message } => self.move_away(link.0, to, message, None),
            Output::Envelope { to, envelope } if to.node != self.id.node => {
                let (node, worker) = (to.node.number(), self.id.worker);
                self.sending.add(node, to.worker, worker, |bytes| envelope.encode(bytes));
            }
            Output::Envelope { to, envelope } => {
                let Some(address) = self.addresses.get(usize::from(to.worker)) else { return };
                address.post(Mail::Envelope { from: self.id, envelope });
                if let Some(wake) = self.to_wake.get_mut(usize::from(to.worker)) {
                    *wake = true;
                }
            }
            Output::CallDone { id, reply } => {
                if let Some(waiting) = self.calls.remove(&id) {
                    // Who asked may have gone.
                    _ = waiting.send(reply);
                }
            }
            Output::Task { room, call, task } => {
                let Some(address) = self.addresses.get(usize::from(self.id.worker)) else { return };
                tasks::start(&self.shared.tasks, address.clone(), room, call, task);
            }
            Output::Ask { ticket, link, question } => {
                self.hold(link.0);
                let deciding = self.shared.hooks.ask(question);
                let longest_ms = self.shared.limits.hook_ms;
                self.run_code(deciding, longest_ms, move |verdict| Input::Verdict {
                    ticket,
                    verdict,
                });
            }
            Output::Release { link } => self.release(link.0),
            Output::Called { ticket, call } => {
                let answering = self.shared.hooks.answer(*call);
                let longest_ms = self.shared.limits.call_ms;
                self.run_code(answering, longest_ms, move |answer| Input::Answered {
                    ticket,
                    answer,
                });
            }
            Output::Log(entry) => self.log_entries.push(*entry),
            Output::Event(event) => self.voice.tell(*event),
            Output::Note(note) => log(self.id, &note),
        }
    }

    /// What the turn has for the log goes there together, before anything is written to sockets:
    /// the disk is what takes long.
    pub(super) fn hand_to_log(&mut self) {
        if self.log_entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.log_entries);
        if let Some(log) = &self.shared.log {
            // Its thread ends after the workers.
            _ = log.send(Job::Entries { shard: self.id.worker.into(), entries });
        }
    }

    /// A link that talks too fast is not read for a while.
    pub(super) fn pause(&mut self, key: u32, until: Now) {
        let paused_until = if let Some(peer) = self.links.peer_mut(key) {
            peer.flags.paused = true;
            &mut peer.paused_until
        } else if let Some(link) = self.links.get_mut(key as usize) {
            link.flags.paused = true;
            &mut link.paused_until
        } else {
            return;
        };
        *paused_until = until.max(*paused_until);
        let after_ms = paused_until.0.saturating_sub(self.now.0);
        self.set_timer(key, after_ms, Timer::Resume);
    }

    /// Runs the application's code. What does not know at once goes on beside the workers.
    fn run_code<T: Send + 'static>(
        &mut self,
        mut running: Running<T>,
        longest_ms: u64,
        decided: impl FnOnce(T) -> Input + Send + 'static,
    ) {
        // A future may want to know at its first poll where it will be run.
        let inside = self.shared.tasks.enter();
        let polled = Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop()));
        drop(inside);
        if let Poll::Ready(outcome) = polled {
            return self.decided.push_back(decided(outcome));
        }
        let Some(address) = self.addresses.get(usize::from(self.id.worker)).cloned() else {
            return;
        };
        let longest = Duration::from_millis(longest_ms);
        self.shared.tasks.spawn(async move {
            // The shard has given up by then, and nobody waits for the outcome.
            if let Ok(outcome) = tokio::time::timeout(longest, running).await {
                address.send(Mail::Decided(decided(outcome)));
            }
        });
    }

    /// The session of a link lives on another node, where no socket can be handed to.
    fn keep(&mut self, key: u32, message: Bytes) {
        if self.links.peer(key).is_some() {
            return self.keep_peer(key, message);
        }
        let (format, namespace) = if let Some(line) = self.links.carried(key) {
            (line.format, line.hub.clone())
        } else if let Some(link) = self.links.get(key as usize)
            && let Some(format) = link.format()
        {
            let listening = self.shared.listeners.get(usize::from(link.listener));
            (format, listening.and_then(|listening| listening.namespace.clone()))
        } else {
            return;
        };
        let link = LinkId(key);
        self.decided.push_back(Input::Stays { link, format, namespace, message });
    }

    /// Hands a link over. The shard has forgotten it, or all of the lines that it carries.
    pub(super) fn move_away(
        &mut self,
        link: u32,
        to: ShardId,
        message: Bytes,
        line: Option<Box<Carried>>,
    ) {
        let Some(mut moved) = self.remove(link) else { return };
        moved.settle();
        moved.flags = Flags { read_closed: moved.flags.read_closed, ..Flags::default() };
        let Some(address) = self.addresses.get(usize::from(to.worker)) else { return };
        address.post(Mail::Moved { link: Box::new(moved), message, line });
        if let Some(wake) = self.to_wake.get_mut(usize::from(to.worker)) {
            *wake = true;
        }
    }
}

fn log(worker: ShardId, note: &Note) {
    let (session, code) = match note {
        Note::LinkEnded { session, code } => (session, code),
        Note::LogicFailed { room, logic, fault } => {
            // It may quote a client.
            let fault = fault.escape_debug();
            tracing::error!(worker = worker.worker, %room, %logic, %fault, "a room's logic failed");
            return;
        }
        Note::LogicDropped { room } => {
            let worker = worker.worker;
            tracing::warn!(
                worker, %room,
                "what the logic of a durable room says is dropped until the log can be written"
            );
            return;
        }
        Note::NotRestored { room, reason } => {
            let worker = worker.worker;
            tracing::warn!(worker, %room, %reason, "a room stays in the log, but is not there");
            return;
        }
    };
    let session = session.map(|session| session.to_string());
    match (code, &session) {
        // Whoever says `bye` is answered so: nothing is the matter.
        (Some(CloseCode::Normal), Some(_)) => {
            tracing::debug!(worker = worker.worker, session, "link closed in good order");
        }
        (Some(code), Some(_)) => {
            tracing::info!(worker = worker.worker, session, %code, "link closed by the server");
        }
        // Who has no session yet can be anybody, as often as they like: no line at `info`.
        (Some(code), None) => {
            tracing::debug!(worker = worker.worker, %code, "link closed by the server");
        }
        (None, _) => tracing::debug!(worker = worker.worker, session, "link ended"),
    }
}
