//! Tokens that do not last as long as the client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;

/// How long to wait before a token is asked for again that could not be had, or lasts no longer.
const AGAIN: Duration = Duration::from_secs(5);

/// What proves who the user is, from [`Builder::token_with`](crate::Builder::token_with).
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    lasts: Option<Duration>,
}

impl Token {
    /// A key or token as the server takes it.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), lasts: None }
    }

    /// How long it is good from now on. The client asks for another one when four fifths of that
    /// have passed, but not sooner than after 5 seconds, and gives it to the server on the living
    /// link.
    #[must_use]
    pub fn lasting(mut self, lasts: Duration) -> Self {
        self.lasts = Some(lasts);
        self
    }
}

impl<T: Into<String>> From<T> for Token {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Token {
    /// Without the text: it must not come to stand in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Token, String>> + Send>>;

/// Where tokens come from.
#[derive(Clone)]
pub(crate) struct Provider(pub(crate) Arc<dyn Fn() -> Asking + Send + Sync>);

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

/// The token of a client, and when the next one is due.
#[derive(Default)]
pub(crate) struct Renewal {
    provider: Option<Provider>,
    due: Option<Instant>,
    asking: Option<Asking>,
}

impl Renewal {
    pub(crate) fn new(provider: Option<Provider>) -> Self {
        Self { provider, ..Self::default() }
    }

    /// The token for a new link; `fixed` if nobody is to be asked.
    pub(crate) async fn token(
        &mut self,
        fixed: Option<String>,
        within: Duration,
    ) -> Result<Option<String>, Error> {
        let Some(provider) = &self.provider else { return Ok(fixed) };
        (self.asking, self.due) = (None, None);
        let asked = timeout(within, (provider.0)()).await;
        let token = asked.unwrap_or_else(|_| Err(format!("none within {within:?}")));
        Ok(Some(self.take(token.map_err(Error::Token)?)))
    }

    /// The token that comes after the present one, when it is due. Cancel-safe.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let (Some(provider), Some(due)) = (&self.provider, self.due) else {
                return std::future::pending().await;
            };
            sleep_until(due).await;
            let asking = self.asking.get_or_insert_with(|| (provider.0)());
            let token = asking.await;
            self.asking = None;
            match token {
                Ok(token) => return self.take(token),
                Err(error) => {
                    tracing::warn!(%error, "no new token");
                    self.due = Some(Instant::now() + AGAIN);
                }
            }
        }
    }

    fn take(&mut self, token: Token) -> String {
        // One that lasts beyond what the clock can say is not replaced.
        self.due =
            token.lasts.and_then(|lasts| Instant::now().checked_add(lasts.mul_f64(0.8).max(AGAIN)));
        token.text
    }
}
