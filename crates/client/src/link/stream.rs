//! The framings of plain byte streams: JSON by lines, MessagePack by lengths.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use roomcast_wire::Codec;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{BoxIo, Ended, LinkEvent, MESSAGE_BYTES_MAX};

/// One read takes at most so much.
const READ_BYTES: usize = 16 << 10;

pub(crate) struct StreamLink {
    io: BoxIo,
    codec: Codec,
    out: BytesMut,
    /// Whether bytes were written that are not yet flushed (TLS gathers them).
    dirty: bool,
    input: BytesMut,
    /// So many bytes of `input` hold no end of line.
    searched: usize,
}

impl StreamLink {
    pub(crate) fn new(codec: Codec, io: BoxIo) -> Self {
        let (out, input) = (BytesMut::new(), BytesMut::new());
        Self { io, codec, out, dirty: false, input, searched: 0 }
    }

    pub(crate) fn queue(&mut self, message: &Bytes) {
        match self.codec {
            Codec::Json => {
                // A line feed in JSON can only be blank space (inside strings it is escaped), and
                // would end the message here.
                let line = message.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte });
                self.out.extend(line);
                self.out.put_u8(b'\n');
            }
            Codec::MsgPack => {
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                self.out.put_u32(length);
                self.out.extend_from_slice(message);
            }
        }
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
            self.dirty = true;
        }
        if self.dirty {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            match self.cut() {
                Ok(Some(message)) => return Poll::Ready(LinkEvent::Message(message)),
                Ok(None) => {}
                Err(ended) => return Poll::Ready(LinkEvent::Ended(ended)),
            }
            self.input.reserve(READ_BYTES);
            let mut buffer = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut buffer);
            let ended = match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => Ended::broken("the server ended the link"),
                Ok(()) => {
                    self.input.extend_from_slice(buffer.filled());
                    continue;
                }
                Err(error) => Ended::broken(error.to_string()),
            };
            return Poll::Ready(LinkEvent::Ended(ended));
        }
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.io).poll_shutdown(cx).map(|_| ())
    }

    /// Cuts one message from the front of the input.
    fn cut(&mut self) -> Result<Option<Bytes>, Ended> {
        match self.codec {
            Codec::Json => self.cut_line(),
            Codec::MsgPack => self.cut_length(),
        }
    }

    fn cut_line(&mut self) -> Result<Option<Bytes>, Ended> {
        loop {
            let unsearched = self.input.get(self.searched..).unwrap_or_default();
            let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.input.len();
                return if self.searched > MESSAGE_BYTES_MAX { Err(too_large()) } else { Ok(None) };
            };
            let line = self.input.split_to(self.searched + at + 1).freeze();
            self.searched = 0;
            let line = line.slice(..line.len() - 1);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    fn cut_length(&mut self) -> Result<Option<Bytes>, Ended> {
        let Some(head) = self.input.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(too_large());
        }
        if self.input.len() < 4 + length {
            return Ok(None);
        }
        self.input.advance(4);
        Ok(Some(self.input.split_to(length).freeze()))
    }
}

fn too_large() -> Ended {
    Ended::broken(format!("the server sent a message above {MESSAGE_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::Link;
    use super::*;

    async fn cut_all(codec: Codec, bytes: &[u8]) -> Vec<Bytes> {
        let (near, mut far) = tokio::io::duplex(7);
        let mut link = Link::stream(codec, Box::new(near));
        let mut messages = Vec::new();
        let write = async {
            let _ = far.write_all(bytes).await;
            drop(far);
        };
        let read = async {
            while let LinkEvent::Message(message) = link.next(true).await {
                messages.push(message);
            }
        };
        tokio::join!(write, read);
        messages
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_reads_end() {
        let messages = cut_all(Codec::Json, b"{\"a\":1}\r\n\n  \n{\"bbbbbbbbbb\":2}\nrest").await;
        assert_eq!(messages, [&b"{\"a\":1}\r"[..], b"{\"bbbbbbbbbb\":2}"]);
    }

    #[tokio::test]
    async fn lengths_are_cut_wherever_reads_end() {
        let bytes = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x0c123456789012\0\0\0\x09short";
        let messages = cut_all(Codec::MsgPack, bytes).await;
        assert_eq!(messages, [&b"ab"[..], b"", b"123456789012"]);
    }

    #[tokio::test]
    async fn a_message_above_the_bound_ends_the_link_before_it_is_stored() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut link = Link::stream(Codec::MsgPack, Box::new(near));
        let _ = far.write_all(&[0xff; 4]).await;
        assert_eq!(link.next(true).await, LinkEvent::Ended(too_large()));
    }

    #[tokio::test]
    async fn a_pretty_payload_stays_on_one_line() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut link = Link::stream(Codec::Json, Box::new(near));
        link.queue(Bytes::from_static(b"{\n \"a\":\n1}"));
        link.finish().await;
        let mut text = String::new();
        let _ = far.read_to_string(&mut text).await;
        assert_eq!(text, "{  \"a\": 1}\n");
    }
}
