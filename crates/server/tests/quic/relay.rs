//! A bad way between client and server: datagrams that never come.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;

/// Forwards datagrams both ways, and drops each `nth` in either direction once it is told to.
pub struct Relay {
    pub address: SocketAddr,
    pub dropped: Arc<AtomicU64>,
}

pub async fn lay(server: SocketAddr, nth: u64) -> Relay {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    far.connect(server).await.unwrap();
    let address = near.local_addr().unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&dropped);
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let (mut client, mut seen) = (None, 0_u64);
        loop {
            let forward = tokio::select! {
                Ok((len, from)) = near.recv_from(&mut there) => {
                    client = Some(from);
                    (true, len)
                }
                Ok(len) = far.recv(&mut here) => (false, len),
                else => return,
            };
            seen += 1;
            if seen.is_multiple_of(nth) {
                count.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // What the kernel refuses is one more datagram that is lost.
            _ = match (forward, client) {
                ((true, len), _) => far.send(&there[..len]).await,
                ((false, len), Some(client)) => near.send_to(&here[..len], client).await,
                ((false, _), None) => Ok(0),
            };
        }
    });
    Relay { address, dropped }
}
