//! What of HTTP/3 a WebTransport session needs (RFC 9114, RFC 9204, RFC 9220, RFC 9297,
//! draft-ietf-webtrans-http3): settings, one CONNECT request, datagrams, the capsule that ends a
//! session. No dynamic table, no push, no body of a request but capsules.

pub mod connect;
mod huffman;
pub mod qpack;
pub mod records;
mod table;
pub mod varint;

/// The first bytes of the stream on which this side controls: its type, then the SETTINGS frame.
///
/// Browsers of several years are to find what they look for, so three drafts are served: each
/// named its setting anew.
pub fn control_stream() -> Vec<u8> {
    const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
    const H3_DATAGRAM: u64 = 0x33;
    /// Draft 2; Chromium still looks for it.
    const ENABLE_WEBTRANSPORT: u64 = 0x2b60_3742;
    /// Draft 7.
    const WEBTRANSPORT_MAX_SESSIONS: u64 = 0xc671_706a;
    /// Draft 13. One session: so no flow control of sessions is asked for.
    const WT_MAX_SESSIONS: u64 = 0x14e9_cd29;
    let mut settings = Vec::new();
    for setting in [
        ENABLE_CONNECT_PROTOCOL,
        H3_DATAGRAM,
        ENABLE_WEBTRANSPORT,
        WEBTRANSPORT_MAX_SESSIONS,
        WT_MAX_SESSIONS,
    ] {
        varint::write(&mut settings, setting);
        varint::write(&mut settings, 1);
    }
    let mut stream = Vec::new();
    varint::write(&mut stream, stream_type::CONTROL);
    records::write(&mut stream, frame::SETTINGS, &settings);
    stream
}

/// What the first number of a unidirectional stream says (RFC 9114 section 6.2).
pub mod stream_type {
    /// Frames about the connection; once for each side.
    pub const CONTROL: u64 = 0x00;
    /// Only servers push.
    pub const PUSH: u64 = 0x01;
    /// Additions to the dynamic table.
    pub const QPACK_ENCODER: u64 = 0x02;
    /// Acknowledgements of those.
    pub const QPACK_DECODER: u64 = 0x03;
}

/// Frames (RFC 9114 section 7.2), and what stands where one would begin.
pub mod frame {
    /// A part of a body.
    pub const DATA: u64 = 0x00;
    /// A field section.
    pub const HEADERS: u64 = 0x01;
    /// The first frame of each control stream.
    pub const SETTINGS: u64 = 0x04;
    /// The rest of this bidirectional stream belongs to the session whose number follows
    /// (draft-ietf-webtrans-http3 section 4.3).
    pub const WEBTRANSPORT_STREAM: u64 = 0x41;
}

/// The capsule that ends a session: a code of 32 bits, then up to 1,024 bytes of text.
pub const CLOSE_SESSION: u64 = 0x2843;

/// Most bytes of the reason in [`CLOSE_SESSION`].
const REASON_BYTES_MAX: usize = 1_024;

/// Largest frame that is taken, a request's fields as well as SETTINGS, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 10;

/// The frame with the capsule that ends a session.
pub fn close_session(code: u32, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut value = code.to_be_bytes().to_vec();
    value.extend_from_slice(reason.as_bytes().get(..end).unwrap_or_default());
    let mut capsule = Vec::new();
    records::write(&mut capsule, CLOSE_SESSION, &value);
    let mut out = Vec::new();
    records::write(&mut out, frame::DATA, &capsule);
    out
}

/// Why a connection is ended, by the number that HTTP/3 has for it (RFC 9114 section 8.1,
/// RFC 9204 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H3Error {
    /// All is well.
    #[error("no error")]
    NoError = 0x0100,
    /// The peer broke a rule that has no number of its own.
    #[error("general protocol error")]
    General = 0x0101,
    /// A stream of a kind that the peer may not open, or not again.
    #[error("stream creation error")]
    StreamCreation = 0x0103,
    /// A stream that stands as long as the connection was closed.
    #[error("a critical stream was closed")]
    ClosedCriticalStream = 0x0104,
    /// A frame where it may not be.
    #[error("frame unexpected")]
    FrameUnexpected = 0x0105,
    /// A frame that is too short for what it says, or too long.
    #[error("frame error")]
    FrameError = 0x0106,
    /// More than this side takes.
    #[error("excessive load")]
    ExcessiveLoad = 0x0107,
    /// The control stream does not begin with SETTINGS.
    #[error("missing settings")]
    MissingSettings = 0x010a,
    /// The request was not looked at.
    #[error("request rejected")]
    RequestRejected = 0x010b,
    /// The request is malformed.
    #[error("message error")]
    Message = 0x010e,
    /// The field section cannot be read: it needs a dynamic table, or is malformed.
    #[error("QPACK decompression failed")]
    Decompression = 0x0200,
}

impl H3Error {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_stream_begins_with_its_type_and_settings() {
        let stream = control_stream();
        assert_eq!(stream[..2], [0x00, 0x04]);
        assert_eq!(usize::from(stream[2]), stream.len() - 3);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close_session(4802, &"é".repeat(800));
        let mut buffer = bytes::BytesMut::from(&frame[..]);
        let data = records::Records::default().next(&mut buffer, &[frame::DATA]);
        let (kind, data) = data.unwrap_or_default().unwrap_or_default();
        assert_eq!(kind, frame::DATA);
        let mut buffer = bytes::BytesMut::from(&data[..]);
        let capsule = records::Records::default().next(&mut buffer, &[CLOSE_SESSION]);
        let (_, value) = capsule.unwrap_or_default().unwrap_or_default();
        assert_eq!(value[..4], 4802_u32.to_be_bytes());
        assert_eq!(value.len(), 4 + 1_024);
        assert!(std::str::from_utf8(&value[4..]).is_ok());
    }
}
