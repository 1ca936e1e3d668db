//! HTTP/3 as far as one WebTransport session goes (draft-ietf-webtrans-http3).
//!
//! The peer opens a control stream and streams for the dynamic table, which stay empty; it asks
//! for a session with CONNECT, on a stream that stands as long as the session; and the first
//! stream that it opens in the session carries its messages.

use bytes::{Buf as _, BytesMut};
use quinn_proto::{Connection, Dir, StreamId, VarInt};
use roomcast_wire::Codec;
use roomcast_wire::h3::connect::{Connect, refusal};
use roomcast_wire::h3::records::Records;
use roomcast_wire::h3::{
    CLOSE_SESSION, FRAME_BYTES_MAX, H3Error, close_session, control_stream, frame, stream_type,
    varint,
};
use roomcast_wire::ws::handshake::SitePolicy;

use super::flow::{Taken, refuse, take};

/// Bytes taken off a stream at a time.
const READ_BYTES: usize = 4 << 10;

/// A stream of a session that is not there (draft-ietf-webtrans-http3 section 9.5).
const BUFFERED_STREAM_REJECTED: u32 = 0x3994_bd84;

/// The HTTP/3 of one connection.
pub(super) struct WebTransport {
    /// Streams of the peer, as many as it may have open.
    streams: Vec<Stream>,
    session: Option<Session>,
    /// Whether the stream of the messages is there.
    begun: bool,
    control: bool,
}

/// One stream of the peer.
struct Stream {
    id: StreamId,
    kind: Kind,
    unread: BytesMut,
}

/// What a stream is for.
enum Kind {
    /// Its first number has not come.
    Unknown,
    Control {
        frames: Records,
        settings: bool,
    },
    /// Nothing of it matters.
    Passed,
    Request {
        frames: Records,
    },
    /// The request of the session, which goes on with capsules.
    Session {
        frames: Records,
        capsules: Records,
        capsule: BytesMut,
    },
    /// The stream of the messages, before the session stands.
    Messages {
        session: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Session {
    stream: StreamId,
    codec: Codec,
}

/// What followed from what came.
pub(super) enum Step {
    /// Nothing yet.
    None,
    /// The messages begin.
    Begins {
        /// The stream of the messages.
        stream: StreamId,
        /// That of the session.
        session: StreamId,
        /// How they are written.
        codec: Codec,
        /// What of them came already.
        unread: BytesMut,
    },
    /// The peer has ended the session.
    Ended,
    /// A stream that nobody needs was refused.
    Refused,
}

impl WebTransport {
    /// Says what this side can do.
    pub(super) fn begin(quic: &mut Connection) -> Result<Self, H3Error> {
        let control = quic.streams().open(Dir::Uni).ok_or(H3Error::StreamCreation)?;
        write(quic, control, &control_stream())?;
        Ok(Self { streams: Vec::new(), session: None, begun: false, control: false })
    }

    /// The peer has opened a stream.
    pub(super) fn opened(&mut self, id: StreamId) {
        self.streams.push(Stream { id, kind: Kind::Unknown, unread: BytesMut::new() });
    }

    /// Reads what one of the peer's streams has.
    ///
    /// # Errors
    /// The peer broke the rules of HTTP/3: the connection ends with this.
    pub(super) fn read(
        &mut self,
        quic: &mut Connection,
        policy: &SitePolicy,
        id: StreamId,
    ) -> Result<Step, H3Error> {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else {
            return Ok(Step::None);
        };
        let mut stream = self.streams.swap_remove(at);
        loop {
            let step = self.advance(quic, policy, &mut stream)?;
            match step {
                Advance::Done(step) => return Ok(step),
                Advance::Keep(step) => {
                    self.streams.push(stream);
                    return Ok(step);
                }
                Advance::More => {}
            }
            match take(quic, id, READ_BYTES) {
                Taken::Bytes(_) if matches!(stream.kind, Kind::Passed) => {}
                Taken::Bytes(bytes) => stream.unread.extend_from_slice(&bytes),
                Taken::Nothing => {
                    self.streams.push(stream);
                    return Ok(Step::None);
                }
                Taken::End | Taken::Reset => return self.ended(quic, &stream),
            }
        }
    }

    /// Goes on with a stream as far as its bytes reach.
    fn advance(
        &mut self,
        quic: &mut Connection,
        policy: &SitePolicy,
        stream: &mut Stream,
    ) -> Result<Advance, H3Error> {
        if matches!(stream.kind, Kind::Unknown) {
            let Some(kind) = self.kind_of(stream)? else { return Ok(Advance::More) };
            stream.kind = kind;
        }
        match &mut stream.kind {
            Kind::Unknown | Kind::Passed => Ok(Advance::More),
            Kind::Control { frames, settings } => {
                // RFC 9114 section 6.2.1: SETTINGS are the first frame. What they say changes
                // nothing here: who asks for WebTransport has it.
                while let Some((kind, _)) = frames
                    .next(&mut stream.unread, &[frame::DATA, frame::HEADERS, frame::SETTINGS])?
                {
                    if kind != frame::SETTINGS || std::mem::replace(settings, true) {
                        return Err(H3Error::FrameUnexpected);
                    }
                }
                Ok(Advance::More)
            }
            Kind::Request { frames } => {
                let Some((kind, fields)) =
                    frames.next(&mut stream.unread, &[frame::DATA, frame::HEADERS])?
                else {
                    return Ok(Advance::More);
                };
                if kind != frame::HEADERS {
                    return Err(H3Error::FrameUnexpected);
                }
                self.request(quic, policy, stream, &fields)
            }
            Kind::Session { frames, capsules, capsule } => {
                while let Some((_, data)) = frames.next(&mut stream.unread, &[frame::DATA])? {
                    capsule.extend_from_slice(&data);
                    if capsules.next(capsule, &[CLOSE_SESSION])?.is_some() {
                        return Ok(Advance::Done(Step::Ended));
                    }
                    if capsule.len() > FRAME_BYTES_MAX {
                        return Err(H3Error::ExcessiveLoad);
                    }
                }
                Ok(Advance::More)
            }
            Kind::Messages { session } => {
                let session = *session;
                self.messages(quic, stream, session)
            }
        }
    }

    /// What the first number of a stream says; `None`: it has not come.
    fn kind_of(&mut self, stream: &mut Stream) -> Result<Option<Kind>, H3Error> {
        let Some((number, len)) = varint::read(&stream.unread) else { return Ok(None) };
        if stream.id.dir() == Dir::Uni {
            stream.unread.advance(len);
            return Ok(Some(match number {
                stream_type::CONTROL if std::mem::replace(&mut self.control, true) => {
                    return Err(H3Error::StreamCreation);
                }
                stream_type::CONTROL => {
                    Kind::Control { frames: Records::default(), settings: false }
                }
                // Only servers push.
                stream_type::PUSH => return Err(H3Error::StreamCreation),
                _ => {
                    stream.unread.clear();
                    Kind::Passed
                }
            }));
        }
        if number != frame::WEBTRANSPORT_STREAM {
            return Ok(Some(Kind::Request { frames: Records::default() }));
        }
        let behind = stream.unread.get(len..).unwrap_or_default();
        let Some((session, more)) = varint::read(behind) else { return Ok(None) };
        stream.unread.advance(len + more);
        Ok(Some(Kind::Messages { session }))
    }

    fn request(
        &mut self,
        quic: &mut Connection,
        policy: &SitePolicy,
        stream: &mut Stream,
        fields: &[u8],
    ) -> Result<Advance, H3Error> {
        if self.session.is_some() {
            // One session is what the settings allow.
            refuse(quic, stream.id, H3Error::RequestRejected.number());
            return Ok(Advance::Done(Step::Refused));
        }
        let accepted = match Connect::read(fields)?.accept(policy) {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "WebTransport refused");
                write(quic, stream.id, &refusal(&error))?;
                finish(quic, stream.id);
                _ = quic.recv_stream(stream.id).stop(code(H3Error::NoError));
                return Ok(Advance::Done(Step::Refused));
            }
        };
        write(quic, stream.id, &accepted.response)?;
        self.session = Some(Session { stream: stream.id, codec: accepted.codec });
        let (frames, capsules) = (Records::default(), Records::default());
        stream.kind = Kind::Session { frames, capsules, capsule: BytesMut::new() };
        // The stream of the messages may have come before.
        let waiting = self.streams.iter().position(|s| matches!(s.kind, Kind::Messages { .. }));
        let Some(waiting) = waiting else { return Ok(Advance::More) };
        let mut messages = self.streams.swap_remove(waiting);
        let Kind::Messages { session } = messages.kind else { return Ok(Advance::More) };
        match self.messages(quic, &mut messages, session)? {
            Advance::Done(step) | Advance::Keep(step) => Ok(Advance::Keep(step)),
            Advance::More => Ok(Advance::More),
        }
    }

    /// A stream of the session.
    fn messages(
        &mut self,
        quic: &mut Connection,
        stream: &mut Stream,
        of: u64,
    ) -> Result<Advance, H3Error> {
        let Some(session) = self.session else {
            // One may come before its session stands; it is not read further, so it is bounded.
            let another = self.streams.iter().any(|s| matches!(s.kind, Kind::Messages { .. }));
            if another {
                refuse(quic, stream.id, BUFFERED_STREAM_REJECTED);
                return Ok(Advance::Done(Step::Refused));
            }
            return Ok(Advance::Keep(Step::None));
        };
        if self.begun || of != VarInt::from(session.stream).into_inner() {
            refuse(quic, stream.id, BUFFERED_STREAM_REJECTED);
            return Ok(Advance::Done(Step::Refused));
        }
        self.begun = true;
        let unread = std::mem::take(&mut stream.unread);
        let Session { stream: session, codec } = session;
        Ok(Advance::Done(Step::Begins { stream: stream.id, session, codec, unread }))
    }

    /// The peer says nothing more on a stream.
    fn ended(&mut self, quic: &mut Connection, stream: &Stream) -> Result<Step, H3Error> {
        match &stream.kind {
            Kind::Control { .. } => Err(H3Error::ClosedCriticalStream),
            Kind::Session { .. } => Ok(Step::Ended),
            Kind::Request { .. } | Kind::Messages { .. } => {
                refuse(quic, stream.id, H3Error::RequestRejected.number());
                Ok(Step::Refused)
            }
            Kind::Unknown | Kind::Passed => Ok(Step::Refused),
        }
    }

    /// Ends the session, behind what its stream has. Returns its stream.
    pub(super) fn close(
        &mut self,
        quic: &mut Connection,
        code: u16,
        reason: &str,
    ) -> Option<StreamId> {
        let session = self.session.take()?;
        // It fails if the peer has given the stream up, and then nobody waits for it.
        write(quic, session.stream, &close_session(u32::from(code), reason)).ok()?;
        finish(quic, session.stream);
        Some(session.stream)
    }
}

/// How far a stream got.
enum Advance {
    /// More bytes are needed.
    More,
    /// It is kept as it is.
    Keep(Step),
    /// It is no longer looked at here.
    Done(Step),
}

/// Writes something short, for which a fresh stream has place.
fn write(quic: &mut Connection, id: StreamId, bytes: &[u8]) -> Result<(), H3Error> {
    match quic.send_stream(id).write(bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        _ => Err(H3Error::General),
    }
}

fn finish(quic: &mut Connection, id: StreamId) {
    // It fails if the peer wants nothing more of the stream.
    _ = quic.send_stream(id).finish();
}

fn code(error: H3Error) -> VarInt {
    VarInt::from_u32(error.number())
}
