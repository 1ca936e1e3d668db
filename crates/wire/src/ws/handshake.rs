//! The opening handshake, server side (RFC 6455 section 4.2), and the head of any HTTP/1 request.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha1::{Digest, Sha1};

use super::negotiation;
use crate::Format;

pub use super::site::SitePolicy;

/// Largest request head, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers.
pub const HEADERS_MAX: usize = 64;

/// The head of an HTTP/1 request, borrowed from the read buffer.
#[derive(Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The request target: path and query.
    pub target: &'a str,
    /// The minor version of HTTP/1: 0 or 1.
    pub minor_version: u8,
    /// The headers, in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// How many bytes the head takes, the empty line included.
    pub len: usize,
}

/// A head that is refused: answered with this status, then the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct HeadError {
    /// The HTTP status.
    pub status: u16,
    /// For the person who reads it.
    pub message: String,
}

/// A handshake that succeeded.
#[derive(Debug)]
pub struct Accepted {
    /// The headers of the `101` response.
    pub headers: Vec<(&'static str, String)>,
    /// What subprotocol and compression were agreed on.
    pub format: Format,
}

/// Reads the head of a request; `None` if it is not complete yet.
///
/// It may be called again whenever bytes arrived: nothing is parsed before the head is complete,
/// and looking for its end takes about a microsecond at the most.
///
/// # Errors
/// The response to refuse it with.
pub fn read_head(bytes: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
    let Some(end) = head_end(bytes)? else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes.get(..end).unwrap_or_default()) {
        Ok(httparse::Status::Complete(len)) if len == end => {}
        Ok(_) => return Err(HeadError::new(400, "the request head is malformed")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many_headers()),
        Err(error) => return Err(HeadError::new(400, format!("malformed request: {error}"))),
    }
    let head = Head {
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        minor_version: request.version.unwrap_or_default(),
        headers: request.headers.iter().map(|header| (header.name, header.value)).collect(),
        len: end,
    };
    head.check()?;
    Ok(Some(head))
}

/// Carries out the handshake, [`Head::check_host`] included. With a `fixed` format nothing is
/// negotiated: neither a subprotocol nor compression.
///
/// # Errors
/// The response to refuse it with.
pub fn accept(
    head: &Head<'_>,
    policy: &SitePolicy,
    deflate: bool,
    fixed: Option<Format>,
) -> Result<Accepted, HeadError> {
    head.check_host(policy)?;
    head.check_upgrade()?;
    let key = head.key()?;
    head.check_origin(policy)?;
    let mut headers = vec![
        ("Upgrade", "websocket".to_owned()),
        ("Connection", "Upgrade".to_owned()),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ];
    if let Some(format) = fixed {
        return Ok(Accepted { headers, format });
    }
    let subprotocol = negotiation::subprotocol(head)?;
    let extension = negotiation::compression(head)?.filter(|_| deflate);
    headers.extend(subprotocol.map(|one| ("Sec-WebSocket-Protocol", one.name.to_owned())));
    headers.extend(extension.map(|one| ("Sec-WebSocket-Extensions", one.to_owned())));
    let subprotocol = subprotocol.unwrap_or(negotiation::DEFAULT);
    let format = if extension.is_some() { subprotocol.deflate } else { subprotocol.plain };
    Ok(Accepted { headers, format })
}

impl Accepted {
    /// The whole `101` response.
    pub fn response(&self) -> Vec<u8> {
        let mut response = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        for (name, value) in &self.headers {
            response.extend([name, ": ", value, "\r\n"]);
        }
        response.push_str("\r\n");
        response.into_bytes()
    }
}

/// The whole response for a refused head.
pub fn refusal(error: &HeadError) -> Vec<u8> {
    let (reason, fields) = match error.status {
        400 => ("Bad Request", ""),
        403 => ("Forbidden", ""),
        404 => ("Not Found", ""),
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        408 => ("Request Timeout", ""),
        421 => ("Misdirected Request", ""),
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        429 => ("Too Many Requests", ""),
        431 => ("Request Header Fields Too Large", ""),
        503 => ("Service Unavailable", ""),
        _ => ("Refused", ""),
    };
    let (status, message) = (error.status, &error.message);
    format!(
        "HTTP/1.1 {status} {reason}\r\n\
         {fields}\
         Connection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         \r\n\
         {message}\n",
        message.len() + 1
    )
    .into_bytes()
}

impl HeadError {
    #[cold]
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl<'a> Head<'a> {
    /// The path of the target, without its query.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// Whether the client asks for a WebSocket.
    pub fn wants_websocket(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }

    /// The values of the headers of that name, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The value of a header that stands once or not at all.
    pub(super) fn single(&self, name: &str) -> Result<Option<&'a str>, HeadError> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(HeadError::new(400, format!("more than one {name} header")));
        }
        match std::str::from_utf8(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(HeadError::new(400, format!("the {name} header is not text"))),
        }
    }

    /// Whether a comma-separated header names `token`, in any case.
    fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// What would let two servers in a row disagree about where a request ends or whom it is for.
    fn check(&self) -> Result<(), HeadError> {
        if !self.target.starts_with('/') {
            return Err(HeadError::new(400, "the request target must begin with '/'"));
        }
        if self.single("host")?.is_none() && self.minor_version > 0 {
            return Err(HeadError::new(400, "HTTP/1.1 needs a Host header"));
        }
        let length = self.single("content-length")?;
        if self.values("transfer-encoding").next().is_some() {
            if length.is_some() {
                return Err(HeadError::new(400, "both Transfer-Encoding and Content-Length"));
            }
            if self.minor_version == 0 {
                return Err(HeadError::new(400, "HTTP/1.0 has no Transfer-Encoding"));
            }
        }
        Ok(())
    }

    fn check_upgrade(&self) -> Result<(), HeadError> {
        if self.method != "GET" {
            return Err(HeadError::new(405, "a WebSocket is opened with GET"));
        }
        if self.minor_version == 0 {
            return Err(HeadError::new(400, "a WebSocket is opened with HTTP/1.1"));
        }
        if self.values("transfer-encoding").next().is_some()
            || self.single("content-length")?.is_some_and(|length| length != "0")
        {
            return Err(HeadError::new(400, "a WebSocket is opened by a request without a body"));
        }
        if !self.wants_websocket() {
            return Err(HeadError::new(426, "this is a WebSocket: send Upgrade: websocket"));
        }
        if !self.has_token("connection", "upgrade") {
            return Err(HeadError::new(400, "the Connection header does not name Upgrade"));
        }
        match self.single("sec-websocket-version")? {
            Some("13") => Ok(()),
            _ => Err(HeadError::new(426, "Sec-WebSocket-Version must be 13")),
        }
    }

    fn key(&self) -> Result<&'a str, HeadError> {
        let key = self.single("sec-websocket-key")?.unwrap_or_default();
        let mut bytes = [0; 18];
        match BASE64_KEY.decode_slice(key, &mut bytes) {
            Ok(16) => Ok(key),
            _ => Err(HeadError::new(400, "Sec-WebSocket-Key must be 16 bytes in base64")),
        }
    }
}

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub(super) fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finalize())
}

/// Some clients draw 22 characters at random, so that the last 4 bits, which say nothing, are set.
const BASE64_KEY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Where the head ends, if its empty line is there. Lines must end with CR LF: a server in front
/// of this one might not take a bare LF for an end of line, and see other headers.
pub(super) fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let bytes_seen = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut line = 0;
    let mut lines = 0;
    // `contains` looks at 16 bytes at a time, so that the search costs about a nanosecond for
    // each 16 bytes of long lines; only chunks with an LF are looked at bytewise.
    for (index, chunk) in bytes_seen.chunks(64).enumerate() {
        if !chunk.contains(&b'\n') {
            continue;
        }
        let ends = chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for end in ends.map(|(offset, _)| index * 64 + offset) {
            match bytes_seen.get(line..end) {
                Some([.., b'\r']) => {}
                _ => return Err(HeadError::new(400, "a line does not end with CR LF")),
            }
            if end == line + 1 {
                if lines == 0 {
                    return Err(HeadError::new(400, "an empty line before the request"));
                }
                return Ok(Some(end + 1));
            }
            lines += 1;
            if lines > HEADERS_MAX + 1 {
                return Err(too_many_headers());
            }
            line = end + 1;
        }
    }
    if bytes.len() >= HEAD_BYTES_MAX {
        return Err(HeadError::new(
            431,
            format!("the request head is larger than {HEAD_BYTES_MAX} bytes"),
        ));
    }
    Ok(None)
}

#[cold]
fn too_many_headers() -> HeadError {
    HeadError::new(431, format!("more than {HEADERS_MAX} headers"))
}
