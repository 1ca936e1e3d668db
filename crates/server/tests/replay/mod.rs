//! Replays what was captured between another system's server and its own clients: the clients'
//! bytes are sent as they were, and the server's have to come as they were.
//!
//! A line is `A > bytes` (a client sends) or `A < bytes` (it hears exactly that); a client connects
//! with its first line. Bytes are hexadecimal, or, for a dialect of text, a string of JSON. `#`
//! begins a line of comment.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::peer::connect;

/// Replays all lines over TCP. At the end every client has heard nothing else, and each one's end
/// is answered with the server's.
pub fn replay(address: SocketAddr, transcript: &str) {
    let mut clients: BTreeMap<&str, TcpStream> = BTreeMap::new();
    for (number, line) in transcript.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let [who, direction, bytes] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("line {}: {line}", number + 1);
        };
        let client = clients.entry(who).or_insert_with(|| connect(address));
        let bytes = read_bytes(bytes);
        if direction == ">" {
            client.write_all(&bytes).unwrap();
            continue;
        }
        let mut heard = vec![0; bytes.len()];
        client
            .read_exact(&mut heard)
            .unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        assert!(heard == bytes, "line {}:\n{}\n{}", number + 1, show(&bytes), show(&heard));
    }
    for (who, mut client) in clients {
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{who} heard more: {}", show(&rest));
    }
}

fn read_bytes(text: &str) -> Vec<u8> {
    if text.starts_with('"') {
        return serde_json::from_str::<String>(text).unwrap().into_bytes();
    }
    let digits = |at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
