//! What the server's own code asks of this client, and who answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use roomcast_wire::{Command, EventName, Payload};
use tokio::sync::mpsc;

use crate::event::Message;
use crate::ledger::Op;

/// Most calls that are answered at the same time; more are refused.
const RUNNING_MAX: usize = 256;

/// Longest error that the server takes, in bytes.
const ERROR_BYTES_MAX: usize = 255;

type Answering = Pin<Box<dyn Future<Output = Result<Payload, String>> + Send>>;
pub(crate) type Handler = dyn Fn(Message) -> Answering + Send + Sync;

/// The handlers of one client.
pub(crate) struct Calls {
    // Held to look a handler up or to put one in; no code of the application runs under it.
    handlers: Mutex<Vec<(EventName, Arc<Handler>)>>,
    running: AtomicUsize,
    /// Counts links: nobody waits for an answer to what was asked on an earlier one.
    links: AtomicU64,
    /// Weak: a client whose handles are gone ends, whoever still answers.
    ops: mpsc::WeakSender<Op>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Calls {
    pub(crate) fn new(ops: &mpsc::Sender<Op>) -> Arc<Self> {
        let (handlers, running, links) = Default::default();
        Arc::new(Self { handlers, running, links, ops: ops.downgrade() })
    }

    /// The latest handler of a name counts.
    pub(crate) fn set(&self, name: EventName, handler: Arc<Handler>) {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.retain(|(known, _)| *known != name);
        handlers.push((name, handler));
    }

    pub(crate) fn link_lost(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    /// Has a call answered by a task of its own.
    pub(crate) fn answer(self: &Arc<Self>, id: u64, call: Message) {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let handler = handlers.iter().find(|(name, _)| name == call.name());
        let handler = handler.map(|(_, handler)| Arc::clone(handler));
        drop(handlers);
        let calls = Arc::clone(self);
        let link = self.links.load(Ordering::Relaxed);
        let has_room = self.running.fetch_add(1, Ordering::Relaxed) < RUNNING_MAX;
        tokio::spawn(async move {
            let answer = match handler {
                None => Err("this client answers no calls of this name".to_owned()),
                Some(_) if !has_room => Err("this client answers too many calls".to_owned()),
                // Of a task of its own again, so that a panic in it is answered too.
                Some(handler) => tokio::spawn(async move { handler(call).await })
                    .await
                    .unwrap_or_else(|_| Err("the client's own code failed".to_owned())),
            };
            calls.running.fetch_sub(1, Ordering::Relaxed);
            if calls.links.load(Ordering::Relaxed) != link {
                return;
            }
            let (data, error) = match answer {
                Ok(data) => (Some(data), None),
                Err(text) => (None, Some(speakable(&text).into())),
            };
            let Some(ops) = calls.ops.upgrade() else { return };
            let command = Command::Result { id, data, error };
            // It fails only if the client has ended meanwhile.
            _ = ops.send(Op { command, answer: None }).await;
        });
    }
}

/// A text that the server takes: neither empty, nor too long, nor with control characters.
fn speakable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if shown.len() + character.len_utf8() > ERROR_BYTES_MAX {
            break;
        }
        shown.push(character);
    }
    match roomcast_wire::name::check_name(&shown) {
        Ok(()) => shown,
        Err(_) => "no reason was given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_made_speakable() {
        assert_eq!(speakable("two\nlines"), "two lines");
        assert_eq!(speakable(""), "no reason was given");
        assert_eq!(speakable("a\u{202e}b"), "no reason was given");
        assert_eq!(speakable(&"é".repeat(200)).len(), 254);
    }
}
