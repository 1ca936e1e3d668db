//! A connection of any kind, joined to the socket of a worker.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::time::timeout;

/// How long the peer is given to close its side after the worker has closed its own: as long as
/// the worker itself gives a peer, and a little.
const LINGER: Duration = Duration::from_millis(1_500);

/// Bytes on their way to the peer.
const BUFFER_BYTES: usize = 8 << 10;

/// Carries bytes both ways until both sides have ended, or one is broken. Each way holds one
/// buffer, and reads no more before it is written. A peer that takes nothing for `patience` is
/// given up: the worker, which has dropped it long ago, could not tell.
///
/// # Errors
/// The connection broke.
pub(super) async fn join<I>(
    io: I,
    worker: std::os::unix::net::UnixStream,
    patience: Duration,
) -> io::Result<()>
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
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = from_worker.read(&mut buffer).await?;
            let mut rest = buffer.get(..count).unwrap_or_default();
            if rest.is_empty() {
                return timeout(patience, to_peer.shutdown()).await?;
            }
            while !rest.is_empty() {
                match timeout(patience, to_peer.write(rest)).await?? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    taken => rest = rest.get(taken..).unwrap_or_default(),
                }
            }
            timeout(patience, to_peer.flush()).await??;
        }
    };
    tokio::pin!(inward, outward);
    tokio::select! {
        ended = &mut outward => {
            ended?;
            // What the peer still says counts no more, but a connection that is cut while it
            // says it may lose the last words that are on their way to it.
            _ = timeout(LINGER, inward).await;
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
