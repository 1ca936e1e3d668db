//! The opening handshake, client side (RFC 6455 section 4.1): for load generators and tests, which
//! write and read frames themselves.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::handshake::{self, HEADERS_MAX, HeadError};

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How many bytes the head takes; frames follow.
    pub len: usize,
    /// The subprotocol it chose.
    pub subprotocol: Option<String>,
}

/// The request that opens a WebSocket. `key` is drawn at random.
pub fn request(host: &str, path: &str, subprotocol: &str, key: [u8; 16]) -> Vec<u8> {
    let key = BASE64_STANDARD.encode(key);
    format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {host}\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\
         \r\n"
    )
    .into_bytes()
}

/// Reads the answer to [`request`]; `None` if it is not complete yet.
///
/// # Errors
/// It is no `101` for this key; the status is the server's, if it gave one, else 502.
pub fn check_response(bytes: &[u8], key: [u8; 16]) -> Result<Option<Answer>, HeadError> {
    let Some(len) = handshake::head_end(bytes)? else { return Ok(None) };
    let (head, body) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    if let Err(error) = response.parse(head) {
        return Err(HeadError::new(502, format!("malformed answer: {error}")));
    }
    let status = response.code.unwrap_or(502);
    if status != 101 {
        return Err(HeadError::new(status, String::from_utf8_lossy(body).trim_end()));
    }
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let expected = handshake::accept_key(&BASE64_STANDARD.encode(key));
    if value("sec-websocket-accept") != Some(expected.as_str()) {
        return Err(HeadError::new(502, "Sec-WebSocket-Accept does not fit the key"));
    }
    Ok(Some(Answer { len, subprotocol: value("sec-websocket-protocol").map(str::to_owned) }))
}
