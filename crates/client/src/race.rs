//! Of several ways to a server, the first that opens.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use crate::builder::Settings;
use crate::link::{Link, dial};
use crate::url::ServerUrl;

/// How long a better way has before the next is tried beside it: two round trips to the other side
/// of the world, which is what QUIC and UDP need. RFC 8305 has 250 ms for one.
pub(crate) const HEAD_START: Duration = Duration::from_millis(500);

/// How long the way that was good last goes first. After that those that are better by the
/// application's own order are tried first again, when the next link is made.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Which of the ways was good, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) way: usize,
    since: Instant,
}

impl Taken {
    /// A link by this way. One that was good before keeps its time: who is lost every few minutes
    /// comes back to the better ways, too.
    pub(crate) fn now(way: usize, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.way == way && !before.is_old());
        before.unwrap_or_else(|| Self { way, since: Instant::now() })
    }

    fn is_old(&self) -> bool {
        self.since.elapsed() >= REMEMBERED
    }
}

/// In which order to try so many ways.
fn order(ways: usize, taken: Option<Taken>) -> VecDeque<usize> {
    let first = taken.filter(|taken| !taken.is_old()).map(|taken| taken.way);
    first.into_iter().chain((0..ways).filter(|way| Some(*way) != first)).collect()
}

type Opened = (usize, Result<Link, Error>);

/// Links that are being opened side by side, those that began later each [`HEAD_START`] behind.
/// What is not taken is dropped with it, before anything was said on it.
pub(crate) struct Race {
    settings: Arc<Settings>,
    waiting: VecDeque<usize>,
    running: JoinSet<Opened>,
    /// When the next begins.
    next: Instant,
    failed: Vec<Error>,
}

impl Race {
    pub(crate) fn new(settings: &Arc<Settings>, taken: Option<Taken>) -> Self {
        let waiting = order(settings.urls.len(), taken);
        let (running, next) = (JoinSet::new(), Instant::now());
        Self { settings: Arc::clone(settings), waiting, running, next, failed: Vec::new() }
    }

    /// The next way that opens, and its link; none: there are no more.
    pub(crate) async fn next(&mut self) -> Option<(usize, Link)> {
        loop {
            if self.running.is_empty() {
                self.next = Instant::now();
            }
            tokio::select! {
                biased;
                Some(done) = self.running.join_next() => match done {
                    Ok((way, Ok(link))) => return Some((way, link)),
                    Ok((_, Err(error))) => self.fail(error),
                    Err(broken) => std::panic::resume_unwind(broken.into_panic()),
                },
                () = sleep_until(self.next), if !self.waiting.is_empty() => self.begin(),
                else => return None,
            }
        }
    }

    fn begin(&mut self) {
        let Some(way) = self.waiting.pop_front() else { return };
        let settings = Arc::clone(&self.settings);
        self.running.spawn(async move {
            let Some(url) = settings.urls.get(way) else { return (way, Err(no_way())) };
            let (codec, dialer) = (settings.codec, settings.dialer.as_ref());
            (way, dial(url, codec, &settings.trust, dialer).await)
        });
        self.next = Instant::now() + HEAD_START;
    }

    /// One has failed: the next need not wait.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.push(error);
        self.next = Instant::now();
    }

    /// Whether there are other ways than those that have failed and the one that was taken.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty() || !self.running.is_empty()
    }

    /// Why none is left: what a server said, or else all that was tried.
    pub(crate) fn error(mut self) -> Error {
        if let Some(at) = self.failed.iter().position(|error| !is_missing(error)) {
            return self.failed.swap_remove(at);
        }
        match self.failed.len() {
            0 => no_way(),
            1 => self.failed.swap_remove(0),
            _ => Error::Unreachable {
                address: listed(&self.settings.urls),
                reason: self.failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                kind: self.failed.iter().find_map(kind_of).unwrap_or(ErrorKind::Other),
            },
        }
    }
}

/// Whether nobody who could be asked is there: another way may do.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. } | Error::Handshake { .. })
}

fn kind_of(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Unreachable { kind, .. } => Some(*kind),
        _ => None,
    }
}

fn no_way() -> Error {
    Error::Invalid("there is no URL".to_owned())
}

/// All URLs, for a person.
pub(crate) fn listed(urls: &[ServerUrl]) -> String {
    urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_good_last_goes_first_for_ten_minutes() {
        assert_eq!(order(3, None), [0, 1, 2]);
        let taken = Taken::now(2, None);
        assert_eq!(order(3, Some(taken)), [2, 0, 1]);
        tokio::time::advance(REMEMBERED - Duration::from_secs(1)).await;
        // Its link was lost and made again meanwhile: that is no news.
        let again = Taken::now(2, Some(taken));
        assert_eq!(order(3, Some(again)), [2, 0, 1]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(order(3, Some(again)), [0, 1, 2]);
        // It was tried first, and another had to do again.
        assert_eq!(order(3, Some(Taken::now(2, Some(again)))), [2, 0, 1]);
        assert_eq!(order(3, Some(Taken::now(1, Some(taken)))), [1, 0, 2]);
    }
}
