//! One chain of hooks, and how it is run.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use roomcast_core::contained::contained;
use roomcast_core::{Question, Verdict};
use roomcast_wire::{ErrorCode, Refusal};

use super::Hooks;

type Soon<Q> = Pin<Box<dyn Future<Output = Result<Q, Refusal>> + Send>>;

type AtOnce<Q> = dyn Fn(&mut Q) -> Result<(), Refusal> + Send + Sync;
type InTime<Q> = dyn Fn(Q) -> Soon<Q> + Send + Sync;

/// One hook: of the application's code.
pub(super) enum Hook<Q> {
    Sync(Box<AtOnce<Q>>),
    Async(Box<InTime<Q>>),
}

/// The application's code on its way to an outcome.
pub(crate) struct Running<T> {
    code: Pin<Box<dyn Future<Output = T> + Send>>,
    refuse: fn(Refusal) -> T,
}

impl<T> Running<T> {
    pub(crate) fn new(
        code: impl Future<Output = T> + Send + 'static,
        refuse: fn(Refusal) -> T,
    ) -> Self {
        Self { code: Box::pin(code), refuse }
    }
}

impl<T> Future for Running<T> {
    type Output = T;

    /// A panic in it refuses its command, and nothing else: it is the application's code.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let polled = contained(|| self.code.as_mut().poll(context));
        polled.unwrap_or_else(|_| {
            tracing::error!("a hook or handler panicked (see above); its command is refused");
            let text = "the server's own code failed; its log has the reason";
            Poll::Ready((self.refuse)(Refusal::new(ErrorCode::Internal, text)))
        })
    }
}

/// Asks the hooks of a question's chain.
pub(super) async fn decide(hooks: Arc<Hooks>, question: Question) -> Verdict {
    let decided = match question {
        Question::Connect(asked) => run(&hooks.connect, asked).await.map(Question::Connect),
        Question::Create(asked) => run(&hooks.create, asked).await.map(Question::Create),
        Question::Join(asked) => run(&hooks.join, asked).await.map(Question::Join),
        Question::Leave(asked) => run(&hooks.leave, asked).await.map(Question::Leave),
        Question::Publish(asked) => run(&hooks.publish, asked).await.map(Question::Publish),
        Question::Refresh(asked) => run(&hooks.refresh, asked).await.map(Question::Refresh),
    };
    match decided {
        Ok(question) => Verdict::Go(question),
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// Each hook sees what the one before it made of the command; the first refusal is the last word.
async fn run<Q>(chain: &[Hook<Q>], mut asked: Box<Q>) -> Result<Box<Q>, Refusal> {
    for hook in chain {
        match hook {
            Hook::Sync(hook) => hook(&mut asked)?,
            Hook::Async(hook) => asked = Box::new(hook(*asked).await?),
        }
    }
    Ok(asked)
}
