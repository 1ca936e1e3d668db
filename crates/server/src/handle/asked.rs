//! The answer to what was asked, while it is on its way.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use roomcast_core::{ServerCall, ServerReply};
use roomcast_wire::{ErrorCode, Next, Refusal};
use tokio::sync::oneshot;

use super::Hub;
use crate::watch::must_not_be_a_worker;

/// What was asked, and its answer when it has come. The asking is done already: who drops this
/// only does not hear what became of it.
///
/// Await it, or [`wait`](Asked::wait) for it on a thread that may block.
///
/// ```
/// # let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
/// let lobby = server.handle().room("lobby");
/// lobby.create(roomcast::RoomOptions::default()).wait()?;
/// assert_eq!(lobby.publish("news", "hi").wait()?.offset, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "only the answer tells whether it was done"]
pub struct Asked<T> {
    answer: Result<oneshot::Receiver<ServerReply>, Option<Refusal>>,
    read: fn(ServerReply) -> Option<T>,
}

/// What was asked was not done. Variants by what the caller does next.
///
/// ```
/// use roomcast::{CallError, RoomHandle, RoomOptions, Server, testing};
///
/// /// Says something in a room, making it first if it is not there.
/// async fn say(room: &RoomHandle, text: &str) -> Result<(), CallError> {
///     match room.publish("news", text).await {
///         Err(CallError::Absent(_)) => {
///             room.create(RoomOptions::default()).await?;
///             room.publish("news", text).await.map(drop)
///         }
///         other => other.map(drop),
///     }
/// }
///
/// let server = testing::Server::start(Server::builder())?;
/// server.run(say(&server.handle().room("lobby"), "we are open"))?;
/// let invalid = server.run(say(&server.handle().room("a/b/c"), "hi"));
/// assert!(matches!(invalid, Err(CallError::Invalid(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The room, session, user or namespace is not there, or not any more.
    #[error("{0}")]
    Absent(Refusal),
    /// The same may succeed later: see [`Refusal::retry_ms`].
    #[error("{0}")]
    Busy(Refusal),
    /// A name, an option or a payload cannot be used: change it.
    #[error("{0}")]
    Invalid(Refusal),
    /// The room says no: it is full, static, or its logic refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The server has stopped, or is about to.
    #[error("the server has stopped")]
    Stopped,
}

impl CallError {
    pub(crate) fn invalid(message: String) -> Refusal {
        Refusal::new(ErrorCode::InvalidField, message)
    }

    /// The arguments or the name of an event cannot be written.
    pub(crate) fn unsayable(message: String) -> Self {
        Self::of(Self::invalid(message))
    }

    fn of(refusal: Refusal) -> Self {
        match refusal.code {
            ErrorCode::NoSuchTarget | ErrorCode::UnknownNamespace | ErrorCode::NotAMember => {
                Self::Absent(refusal)
            }
            ErrorCode::InvalidField
            | ErrorCode::InvalidName
            | ErrorCode::InvalidOption
            | ErrorCode::PayloadTooLarge => Self::Invalid(refusal),
            ErrorCode::Draining => Self::Stopped,
            code if code.next() == Next::Retry => Self::Busy(refusal),
            _ => Self::Refused(refusal),
        }
    }
}

impl<T> Asked<T> {
    /// Asks. `read` finds the answer in what the hub replies; none: it is another's reply.
    pub(super) fn new(
        hub: &dyn Hub,
        call: Result<ServerCall, Refusal>,
        read: fn(ServerReply) -> Option<T>,
    ) -> Self {
        let answer = call.map_err(Some).map(|call| {
            let (reply, answer) = oneshot::channel();
            hub.call(call, reply);
            answer
        });
        Self { answer, read }
    }

    /// Whoever asked does not want to know what becomes of it.
    ///
    /// # Errors
    /// It is not even tried.
    pub(crate) fn let_go(self) -> Result<(), CallError> {
        match self.answer.map(|mut answer| answer.try_recv()) {
            Ok(Ok(ServerReply::Refused(refusal))) if refusal.code.next() == Next::Retry => {
                Err(CallError::of(refusal))
            }
            Ok(_) => Ok(()),
            Err(refusal) => finish(refusal.map(ServerReply::Refused), |_| Some(())),
        }
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// It was not done.
    ///
    /// # Panics
    /// In an asynchronous task, which must not block: await it there. In a closure that the server
    /// calls (a hook, a handler, a room's logic): it runs on the thread that would have to answer.
    pub fn wait(self) -> Result<T, CallError> {
        must_not_be_a_worker();
        match self.answer {
            Ok(answer) => finish(answer.blocking_recv().ok(), self.read),
            Err(refusal) => finish(refusal.map(ServerReply::Refused), self.read),
        }
    }
}

impl<T> Future for Asked<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.read;
        match &mut self.answer {
            Ok(answer) => Pin::new(answer).poll(context).map(|reply| finish(reply.ok(), read)),
            Err(refusal) => Poll::Ready(finish(refusal.take().map(ServerReply::Refused), read)),
        }
    }
}

impl<T> fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// No reply: whoever should have sent it has ended.
fn finish<T>(
    reply: Option<ServerReply>,
    read: fn(ServerReply) -> Option<T>,
) -> Result<T, CallError> {
    match reply {
        None => Err(CallError::Stopped),
        Some(ServerReply::Refused(refusal)) => Err(CallError::of(refusal)),
        Some(reply) => read(reply).ok_or_else(|| {
            let text = "the hub gave another command's reply";
            CallError::Refused(Refusal::new(ErrorCode::Internal, text))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_by_what_to_do_next() {
        let of = |code| CallError::of(Refusal::new(code, "why"));
        assert!(matches!(of(ErrorCode::NoSuchTarget), CallError::Absent(_)));
        assert!(matches!(of(ErrorCode::RateLimited), CallError::Busy(_)));
        assert!(matches!(of(ErrorCode::InvalidName), CallError::Invalid(_)));
        assert!(matches!(of(ErrorCode::Forbidden), CallError::Refused(_)));
        assert_eq!(of(ErrorCode::Draining), CallError::Stopped);
        assert_eq!(finish::<()>(None, |_| Some(())), Err(CallError::Stopped));
        assert!(finish::<()>(Some(ServerReply::Done), |_| None).is_err());
    }
}
