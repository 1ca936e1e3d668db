//! The messages of one peer: one stream of both directions, and datagrams beside it.

use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, ReadError, SendDatagramError, StreamId, VarInt};
use roomcast_wire::framing::{self, TooLarge};
use roomcast_wire::h3::varint;
use roomcast_wire::{Codec, Format};

/// Bytes taken off a stream at a time.
const READ_BYTES: usize = 16 << 10;

/// Messages told of one peer at a time: what follows waits its turn.
const MESSAGES: usize = 64;

/// One peer's messages, both ways.
pub(super) struct Flow {
    pub(super) stream: StreamId,
    pub(super) format: Format,
    /// What stands before each datagram: the number of a WebTransport session.
    prefix: Vec<u8>,
    /// What came and is no whole message yet.
    unread: BytesMut,
    /// How much of an unfinished line was looked at.
    scanned: usize,
    bytes_max: usize,
    /// The rest of the last chunk, which the stream had no place for.
    rest: Bytes,
    /// A chunk was turned away.
    pub(super) refused: bool,
    /// Nothing is told of the peer.
    pub(super) held: bool,
}

/// How reading has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All was read that came.
    All,
    /// There is more, for another time.
    More,
    /// The peer says nothing more.
    Finished,
    /// The peer has given up the stream.
    Reset,
    /// A message above the limit.
    TooLarge,
}

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// It waits to be sent.
    Taken,
    /// There is no place for it now.
    Full,
    /// It is larger than the path takes, or the peer takes no datagrams.
    TooLarge,
}

impl Flow {
    pub(super) fn new(
        stream: StreamId,
        codec: Codec,
        session: Option<StreamId>,
        unread: BytesMut,
        bytes_max: usize,
    ) -> Self {
        let mut prefix = Vec::new();
        if let Some(session) = session {
            // RFC 9297 section 2.1: a quarter of the stream's number, which is its index.
            varint::write(&mut prefix, session.index());
        }
        let format = match codec {
            Codec::Json => Format::JSON_LINE,
            Codec::MsgPack => Format::MSGPACK_LENGTH,
        };
        Self {
            stream,
            format,
            prefix,
            unread,
            scanned: 0,
            bytes_max,
            rest: Bytes::new(),
            refused: false,
            held: false,
        }
    }

    pub(super) fn trust(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Takes whole messages off the stream, until there are none or [`MESSAGES`] were taken.
    pub(super) fn read(&mut self, quic: &mut Connection, mut tell: impl FnMut(Bytes)) -> Reading {
        let mut left = MESSAGES;
        loop {
            loop {
                match self.cut() {
                    Ok(Some(message)) => tell(message),
                    Ok(None) => break,
                    Err(_) => return Reading::TooLarge,
                }
                left -= 1;
                if left == 0 {
                    return Reading::More;
                }
            }
            match take(quic, self.stream, READ_BYTES) {
                Taken::Bytes(bytes) => self.unread.extend_from_slice(&bytes),
                Taken::Nothing => return Reading::All,
                Taken::End => return Reading::Finished,
                Taken::Reset => return Reading::Reset,
            }
        }
    }

    /// One whole message. It has its own memory: what is kept of it keeps nothing else.
    fn cut(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let message = match self.format {
            Format::MSGPACK_LENGTH => framing::read_length(&mut self.unread, self.bytes_max)?,
            _ => framing::read_line(&mut self.unread, &mut self.scanned, self.bytes_max)?,
        };
        Ok(message.map(|message| Bytes::copy_from_slice(&message)))
    }

    /// Takes up to [`MESSAGES`] messages that came as datagrams.
    pub(super) fn read_datagrams(
        &mut self,
        quic: &mut Connection,
        mut tell: impl FnMut(Bytes),
    ) -> Reading {
        for _ in 0..MESSAGES {
            let Some(datagram) = quic.datagrams().recv() else { return Reading::All };
            // Of another session, or of none: dropped, as RFC 9297 section 2.1 allows.
            let Some(message) = datagram.strip_prefix(&self.prefix[..]) else { continue };
            if message.len() > self.bytes_max {
                return Reading::TooLarge;
            }
            tell(Bytes::copy_from_slice(message));
        }
        Reading::More
    }

    /// Gives one frame to the path as a datagram.
    pub(super) fn send_datagram(&mut self, quic: &mut Connection, frame: &Bytes) -> Sending {
        let message = match self.format {
            Format::MSGPACK_LENGTH => frame.get(4..),
            _ => frame.get(..frame.len().saturating_sub(1)),
        };
        let message = message.unwrap_or_default();
        let datagram = if self.prefix.is_empty() {
            frame.slice_ref(message)
        } else {
            Bytes::from([&self.prefix[..], message].concat())
        };
        match quic.datagrams().send(datagram, false) {
            Ok(()) => Sending::Taken,
            Err(SendDatagramError::Blocked(_)) => {
                self.refused = true;
                Sending::Full
            }
            Err(_) => Sending::TooLarge,
        }
    }

    /// Gives a chunk to the stream. `false`: a part of an earlier one waits still.
    pub(super) fn send(&mut self, quic: &mut Connection, chunk: &Bytes) -> bool {
        if !self.rest.is_empty() {
            self.refused = true;
            return false;
        }
        self.rest = chunk.clone();
        self.flush(quic);
        true
    }

    /// Writes the rest of the last chunk. Returns whether there is place for another.
    pub(super) fn flush(&mut self, quic: &mut Connection) -> bool {
        while !self.rest.is_empty() {
            let mut rest = [std::mem::take(&mut self.rest)];
            match quic.send_stream(self.stream).write_chunks(&mut rest) {
                Ok(_) => {
                    let [rest] = rest;
                    self.rest = rest;
                }
                Err(quinn_proto::WriteError::Blocked) => {
                    let [rest] = rest;
                    self.rest = rest;
                    return false;
                }
                // The peer reads no more; its end is told by another way.
                Err(_) => return true,
            }
        }
        true
    }

    /// Whether all was given to the stream.
    pub(super) fn is_flushed(&self) -> bool {
        self.rest.is_empty()
    }
}

/// What a stream has to be read.
pub(super) enum Taken {
    Bytes(Bytes),
    Nothing,
    End,
    Reset,
}

/// Takes at most `bytes_max` bytes off a stream.
pub(super) fn take(quic: &mut Connection, id: StreamId, bytes_max: usize) -> Taken {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Taken::End };
    let taken = match chunks.next(bytes_max) {
        Ok(Some(chunk)) => Taken::Bytes(chunk.bytes),
        Ok(None) => Taken::End,
        Err(ReadError::Blocked) => Taken::Nothing,
        Err(ReadError::Reset(_)) => Taken::Reset,
    };
    // What is to be told to the peer goes out with the next datagram to it: each connection that
    // something came from is asked for one.
    _ = chunks.finalize();
    taken
}

/// Refuses a stream: nothing is read of it, and nothing said on it.
pub(super) fn refuse(quic: &mut Connection, id: StreamId, code: u32) {
    let code = VarInt::from_u32(code);
    // It fails if the stream is gone already, which is what is wanted.
    _ = quic.recv_stream(id).stop(code);
    if id.dir() == quinn_proto::Dir::Bi {
        _ = quic.send_stream(id).reset(code);
    }
}
