//! Socket.IO's words (protocol 5 on Engine.IO 4) where they are not those of the native dialect:
//! `join` and `publish` are events, what is heard is an event of the same name, and the server's
//! pings are messages.

use super::speech::room_name;

/// Where a connection begins as WebSocket.
pub const PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// CONNECT to the namespace `/`.
pub const CONNECT: &str = "40";

/// What the answer to CONNECT begins with.
pub const CONNECTED: &[u8] = b"40{";

/// What an event of the generator begins with; its data come next.
pub const EVENT: &[u8] = b"42[\"b\",\"";

/// What stands behind the offset at the end of an event.
pub const EVENT_END: &[u8] = b"}}]";

/// An acknowledgement is asked for: it tells where the room stands.
pub fn join(room: u32) -> String {
    format!(r#"420["join",{{"room":"{}"}}]"#, room_name(room))
}

/// What stands before and behind the published string.
pub fn publish(room: u32) -> (String, &'static str) {
    (format!(r#"42["publish",{{"room":"{}","event":"b","data":""#, room_name(room)), "\"}]")
}

/// What is to be said at once: a ping is to be answered.
pub fn answer(message: &[u8]) -> Option<&'static str> {
    (message == b"2").then_some("3")
}
