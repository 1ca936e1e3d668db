//! The last words to connections that are not let in.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use roomcast_wire::CloseCode;

use super::admission::Refused;
use crate::transport::Transport;

/// How long a refused connection is kept so that its peer can read why. Closing at once would
/// answer its request with a reset, which takes the words away.
const KEPT: Duration = Duration::from_secs(1);

/// Most refused connections kept; beyond it the oldest goes early.
const KEPT_MAX: usize = 128;

/// Seconds after which a refused client should try again.
pub(crate) const RETRY_S: u32 = 10;

/// Refused connections whose peers still read why.
#[derive(Default)]
pub(super) struct Farewells {
    kept: VecDeque<(Instant, TcpStream)>,
}

impl Farewells {
    /// Says why a connection is not let in, in the way of its transport, without waiting.
    pub(super) fn refuse(
        &mut self,
        mut stream: TcpStream,
        transport: &Transport,
        refused: Refused,
    ) {
        // Behind TLS nothing can be said before a handshake, which is what is to be saved.
        if transport.secure || stream.set_nonblocking(true).is_err() {
            return;
        }
        let words = words(transport.http, refused);
        // Whatever fails here, the connection is gone: that is what was wanted.
        _ = stream.write(words.as_bytes());
        _ = stream.shutdown(Shutdown::Write);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((Instant::now() + KEPT, stream));
    }

    /// Drops those whose time is over.
    pub(super) fn let_go(&mut self) {
        let now = Instant::now();
        while let Some((until, _)) = self.kept.front()
            && *until <= now
        {
            if let Some((_, mut stream)) = self.kept.pop_front() {
                // What was read is not answered with a reset.
                _ = stream.read(&mut [0; 4096]);
            }
        }
    }

    /// Until the next one goes.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.kept.front().map(|(until, _)| until.saturating_duration_since(Instant::now()))
    }
}

fn words(http: bool, refused: Refused) -> String {
    let code = CloseCode::TooManyConnections;
    let message = match refused {
        Refused::Total => "the server has as many connections as it may have",
        Refused::Address => "your address has as many connections as it may have",
    };
    if http {
        let body = format!("{{\"error\":\"{}\",\"message\":\"{message}\"}}\n", code.reason());
        let len = body.len();
        return format!(
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_S}\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\
             Connection: close\r\n\r\n{body}"
        );
    }
    format!(
        "{{\"type\":\"goodbye\",\"code\":{},\"reason\":\"{}\",\"message\":\"{message}\",\
         \"retry_ms\":{}}}\n",
        code.number(),
        code.reason(),
        RETRY_S * 1000
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::listener::Scheme;
    use crate::transport;

    fn refused(scheme: Scheme) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut farewells = Farewells::default();
        let (stream, _) = listener.accept().unwrap();
        farewells.refuse(stream, transport::of(scheme), Refused::Address);
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(farewells.time_left().is_some_and(|left| left <= KEPT));
        said
    }

    #[test]
    fn http_is_answered_with_503_and_a_delay() {
        let said = refused(Scheme::Ws);
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nRetry-After: 10\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    }

    #[test]
    fn tcp_is_answered_with_a_goodbye() {
        let said = refused(Scheme::Tcp);
        let goodbye: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap();
        assert_eq!(goodbye["code"], 4810);
        assert_eq!(goodbye["reason"], "too_many_connections");
    }
}
