//! Engine.IO, protocol revision 4: the layer below Socket.IO. A session sends packets over a
//! WebSocket, a frame each, or over HTTP long-polling, several in one payload. Nothing here opens
//! a connection: it reads and writes what stands in frames and payloads.

mod packet;
mod payload;
mod query;

pub use packet::{Handshake, PING, Packet, PacketError};
pub use payload::{Packets, append};
pub use query::{Query, Transport};
