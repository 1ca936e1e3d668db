//! Of several addresses, the first that answers: what links on UDP share.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::lookup_host;
use tokio::time::{Duration, timeout};

use crate::Error;
use crate::url::ServerUrl;

/// How long one of several addresses may take to answer before the next is tried: a datagram to
/// where nobody is may be answered by nothing. The last has all the time that is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why nothing was opened at an address.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody answers there: the next address may do.
    Silent(io::Error),
    /// Somebody answered, and this is what came of it.
    Answered(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Silent(error)
    }
}

/// Opens something at the first address of the server that answers.
pub(super) async fn first<T, F>(url: &ServerUrl, open: impl Fn(SocketAddr) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failed>>,
{
    let opened = match lookup_host((url.host.as_str(), url.port)).await {
        Ok(addresses) => first_of(addresses, open).await,
        Err(error) => Err(Failed::Silent(error)),
    };
    opened.map_err(|failed| match failed {
        Failed::Answered(error) => error,
        Failed::Silent(error) => Error::Unreachable {
            address: url.to_string(),
            reason: error.to_string(),
            kind: error.kind(),
        },
    })
}

async fn first_of<T, F>(
    addresses: impl Iterator<Item = SocketAddr>,
    open: impl Fn(SocketAddr) -> F,
) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut addresses = addresses.peekable();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.next() {
        let opened = if addresses.peek().is_none() {
            open(address).await
        } else {
            let silent = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer").into());
            timeout(PATIENCE, open(address)).await.unwrap_or_else(silent)
        };
        match opened {
            Err(Failed::Silent(error)) => last = error,
            done => return done,
        }
    }
    Err(Failed::Silent(last))
}

/// Any own address from which `server` can be reached.
pub(super) fn own_for(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn addresses() -> impl Iterator<Item = SocketAddr> {
        ["[::1]:7", "127.0.0.1:7", "127.0.0.2:7"].map(|text| text.parse().unwrap()).into_iter()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_answers_nothing_is_given_up_for_the_next() {
        let began = tokio::time::Instant::now();
        let opened = first_of(addresses(), async |address| match address {
            SocketAddr::V6(_) => std::future::pending().await,
            SocketAddr::V4(address) => Ok(address.to_string()),
        });
        assert_eq!(opened.await.unwrap(), "127.0.0.1:7");
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_is_the_answer_and_the_last_has_its_time() {
        let refused = first_of(addresses(), async |_| {
            Err::<(), _>(Failed::Answered(Error::Invalid("no".to_owned())))
        });
        assert!(matches!(refused.await, Err(Failed::Answered(Error::Invalid(_)))));
        let slow = first_of(addresses(), async |address| match address {
            last if last.to_string() == "127.0.0.2:7" => {
                tokio::time::sleep(PATIENCE * 3).await;
                Ok(())
            }
            _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        });
        assert!(slow.await.is_ok());
        let nobody = first_of(std::iter::empty(), async |_| Ok(()));
        assert!(matches!(nobody.await, Err(Failed::Silent(_))));
    }
}
