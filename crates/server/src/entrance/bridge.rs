//! A connection of any kind, joined to the socket of a worker.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};

/// How long the peer is given to close its side after the worker has closed its own: as long as
/// the worker itself gives a peer, and a little.
const LINGER: Duration = Duration::from_millis(1_500);

/// Carries bytes both ways until both sides have ended, or one is broken. Each way holds one
/// buffer, and reads no more before it is written.
///
/// # Errors
/// The connection broke.
pub(super) async fn join<I>(io: I, worker: std::os::unix::net::UnixStream) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_worker, mut to_worker) = tokio::net::UnixStream::from_std(worker)?.into_split();
    let (mut from_peer, mut to_peer) = split(io);
    let inward = async {
        let ended = copy(&mut from_peer, &mut to_worker).await;
        _ = to_worker.shutdown().await;
        ended.map(drop)
    };
    let outward = async {
        copy(&mut from_worker, &mut to_peer).await?;
        to_peer.shutdown().await
    };
    tokio::pin!(inward, outward);
    tokio::select! {
        ended = &mut outward => {
            ended?;
            // What the peer still says counts no more, but a connection that is cut while it
            // says it may lose the last words that are on their way to it.
            _ = tokio::time::timeout(LINGER, inward).await;
            Ok(())
        }
        ended = &mut inward => match ended {
            Ok(()) => outward.await,
            // The worker has closed for good, which `outward` is about to see.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => outward.await,
            Err(error) => Err(error),
        },
    }
}
