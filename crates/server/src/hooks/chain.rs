//! One chain of hooks, and how it is run.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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

/// A question on its way through its chain.
pub(crate) struct Deciding(Pin<Box<dyn Future<Output = Verdict> + Send>>);

impl Deciding {
    pub(super) fn new(hooks: Arc<Hooks>, question: Question) -> Self {
        Self(Box::pin(decide(hooks, question)))
    }
}

impl Future for Deciding {
    type Output = Verdict;

    /// A hook that panics refuses the command, and nothing else: it is the application's code.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!("a hook panicked (see above); its command is refused");
            let text = "the server's own code failed; its log has the reason";
            Poll::Ready(Verdict::Refuse(Refusal::new(ErrorCode::Internal, text)))
        })
    }
}

async fn decide(hooks: Arc<Hooks>, question: Question) -> Verdict {
    let decided = match question {
        Question::Connect(asked) => run(&hooks.connect, asked).await.map(Question::Connect),
        Question::Create(asked) => run(&hooks.create, asked).await.map(Question::Create),
        Question::Join(asked) => run(&hooks.join, asked).await.map(Question::Join),
        Question::Leave(asked) => run(&hooks.leave, asked).await.map(Question::Leave),
        Question::Publish(asked) => run(&hooks.publish, asked).await.map(Question::Publish),
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
