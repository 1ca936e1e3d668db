//! Writes replies and pushes, each as the whole WebSocket frames of one packet.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::Receiver;
use super::super::native::{self, encode};
use super::convention::is_reserved;
use super::{ATTACHMENTS_MAX, CONNECT};
use crate::codec::write::{Json, Map, MsgPack, Writer, key};
use crate::codec::{json, msgpack, transcode_into};
use crate::framing::Framing;
use crate::name::DEFAULT_NAMESPACE;
use crate::push::{Event, Sender};
use crate::{
    CloseCode, Codec, ErrorCode, EventName, Next, Payload, Push, Reply, Secret, SessionId,
};

/// Writes a push.
pub(super) fn push(codec: Codec, to: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
    let mut list = List::new(codec);
    let (room, mut id) = (room_of(push), None);
    match push {
        Push::Event { room, event } if !is_reserved(&event.name) => list.event(room, event),
        Push::Message { event, data, from } if !is_reserved(event) => {
            list.message(event, *data, *from);
        }
        Push::Call { id: number, call, data } if !is_reserved(call) => {
            id = Some(*number);
            list.name(call);
            list.arguments(*data);
        }
        // Nothing can be said under such a name; it is answered by nobody, in time.
        Push::Call { .. } => return,
        Push::Goodbye { code, .. } => {
            if disconnects(*code) {
                Head { kind: '1', namespace: namespace(to, room), id }.write(codec, None, out);
            }
            return;
        }
        // All that the server tells in its own words, and what cannot be said under its own name.
        _ => {
            list.push(|out| word(codec, kind(push), out));
            list.push(|out| native::encode_push(codec, push, out));
        }
    }
    // Also of what may be dropped: whatever string stands last, clients take it for an offset. That
    // of a call they do not: its acknowledgement stands there.
    if let Some(offset) = to.offset.filter(|_| id.is_none()) {
        list.push(|out| word(codec, &offset.to_string(), out));
    }
    Head { kind: '2', namespace: namespace(to, room), id }.write(codec, Some(&list), out);
}

/// Writes a reply.
pub(super) fn reply(
    codec: Codec,
    to: &Receiver<'_>,
    reference: Option<u64>,
    reply: &Reply<'_>,
    out: &mut BytesMut,
) {
    let namespace = namespace(to, None);
    if let Reply::Welcome { session, resume, .. } = reply {
        let resume = to.offset.map(|_| *resume);
        return welcome(codec, namespace, *session, resume, out);
    }
    let id = match (reference, reply) {
        (Some(CONNECT), Reply::Error { code, message, .. }) => {
            return refuse_connect(codec, namespace, Some(*code), message, out);
        }
        (Some(id), _) => Some(id),
        // Nobody has to listen to an event, nor to an acknowledgement that came too late.
        (None, Reply::Error { code, .. }) if *code != ErrorCode::NoSuchCall => None,
        (None, _) => return,
    };
    let mut list = List::new(codec);
    match reply {
        Reply::Result { data } => list.arguments(*data),
        reply => {
            if id.is_none() {
                list.push(|out| word(codec, "error", out));
            }
            list.push(|out| native::encode_reply(codec, None, reply, out));
        }
    }
    let kind = if id.is_some() { '3' } else { '2' };
    Head { kind, namespace, id }.write(codec, Some(&list), out);
}

/// Writes that a namespace is not there, in the reference server's words.
pub(super) fn refuse_namespace(codec: Codec, namespace: &str, out: &mut BytesMut) {
    let namespace = namespace.strip_prefix('/').unwrap_or(namespace);
    refuse_connect(codec, namespace, None, "Invalid namespace", out);
}

/// `resume`: what the client shows when it comes back, if it may.
fn welcome(
    codec: Codec,
    namespace: &str,
    session: SessionId,
    resume: Option<Secret>,
    out: &mut BytesMut,
) {
    let mut data = List::new(codec);
    let sid = session.to_string();
    let pid = resume.map(|secret| format!("{sid}{secret}"));
    data.push(|out| match codec {
        Codec::Json => connected::<Json>(&sid, pid.as_deref(), out),
        Codec::MsgPack => connected::<MsgPack>(&sid, pid.as_deref(), out),
    });
    Head { kind: '0', namespace, id: None }.write_object(codec, &data, out);
}

fn connected<W: Writer>(sid: &str, pid: Option<&str>, out: &mut BytesMut) {
    Map::<W>::write(out, |map| {
        map.plain(key!("sid"), sid);
        if let Some(pid) = pid {
            map.plain(key!("pid"), pid);
        }
    });
}

fn refuse_connect(
    codec: Codec,
    namespace: &str,
    code: Option<ErrorCode>,
    message: &str,
    out: &mut BytesMut,
) {
    let mut data = List::new(codec);
    data.push(|out| match codec {
        Codec::Json => connect_error::<Json>(code, message, out),
        Codec::MsgPack => connect_error::<MsgPack>(code, message, out),
    });
    Head { kind: '4', namespace, id: None }.write_object(codec, &data, out);
}

fn connect_error<W: Writer>(code: Option<ErrorCode>, message: &str, out: &mut BytesMut) {
    Map::<W>::write(out, |map| {
        map.text(key!("message"), message);
        if let Some(code) = code {
            map.map(key!("data"), |map| {
                map.uint(key!("code"), code.number().into());
                map.plain(key!("reason"), code.reason());
            });
        }
    });
}

/// Whether a client is told that its session is over. One that may come back does so by itself
/// when the connection ends, but not after DISCONNECT. Codes of the framing end the connection,
/// and who has said DISCONNECT itself is not told it.
fn disconnects(code: CloseCode) -> bool {
    code.next() == Next::Stop && code.number() >= 4_000
}

/// The server's own word for a push.
fn kind(push: &Push<'_>) -> &'static str {
    match push {
        Push::Event { .. } => "event",
        Push::MemberJoined { .. } => "member_joined",
        Push::MemberLeft { .. } => "member_left",
        Push::MemberDropped { .. } => "member_dropped",
        Push::MemberResumed { .. } => "member_resumed",
        Push::Presence { .. } => "presence",
        Push::RoomClosed { .. } => "room_closed",
        Push::Message { .. } => "message",
        Push::Call { .. } => "call",
        Push::Goodbye { .. } => "goodbye",
    }
}

fn room_of<'a>(push: &Push<'a>) -> Option<&'a str> {
    match push {
        Push::Event { room, .. }
        | Push::MemberJoined { room, .. }
        | Push::MemberLeft { room, .. }
        | Push::MemberDropped { room, .. }
        | Push::MemberResumed { room, .. }
        | Push::Presence { room, .. }
        | Push::RoomClosed { room, .. } => Some(room),
        Push::Message { .. } | Push::Call { .. } | Push::Goodbye { .. } => None,
    }
}

/// The Socket.IO namespace of a packet without its `/`: the receiver's, or where nobody in
/// particular is written for, the room's.
fn namespace<'a>(to: &Receiver<'a>, room: Option<&'a str>) -> &'a str {
    let of_room = room.and_then(|room| room.split_once('/')).map(|(namespace, _)| namespace);
    match to.namespace {
        "" => of_room.unwrap_or_default(),
        DEFAULT_NAMESPACE => "",
        namespace => namespace,
    }
}

fn word(codec: Codec, word: &str, out: &mut BytesMut) {
    match codec {
        Codec::Json => Json::plain(out, word.as_bytes()),
        Codec::MsgPack => MsgPack::plain(out, word.as_bytes()),
    }
}

/// The elements of a packet's list as they are gathered.
struct List {
    codec: Codec,
    elements: BytesMut,
    count: usize,
    attachments: Vec<Bytes>,
}

impl List {
    fn new(codec: Codec) -> Self {
        Self { codec, elements: BytesMut::new(), count: 0, attachments: Vec::new() }
    }

    /// Adds the one element that `write` appends.
    fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if self.codec == Codec::Json && self.count > 0 {
            self.elements.put_u8(b',');
        }
        write(&mut self.elements);
        self.count += 1;
    }

    fn event(&mut self, room: &str, event: &Event) {
        self.name(&event.name);
        match &event.payload {
            Some(arguments) if arguments.is_arguments() => self.arguments(Some(arguments)),
            payload => {
                self.data(payload.as_ref());
                let codec = self.codec;
                self.push(|out| match codec {
                    Codec::Json => encode::event_circumstances::<Json>(room, event, out),
                    Codec::MsgPack => encode::event_circumstances::<MsgPack>(room, event, out),
                });
            }
        }
    }

    fn message(&mut self, event: &EventName, data: Option<&Payload>, from: Option<&Sender>) {
        self.name(event);
        let Some(from) = from.filter(|_| !data.is_some_and(Payload::is_arguments)) else {
            return self.arguments(data);
        };
        self.data(data);
        let codec = self.codec;
        self.push(|out| match codec {
            Codec::Json => encode::sender_only::<Json>(from, out),
            Codec::MsgPack => encode::sender_only::<MsgPack>(from, out),
        });
    }

    fn name(&mut self, name: &EventName) {
        let codec = self.codec;
        self.push(|out| match (name, codec) {
            (EventName::Text(name), Codec::Json) => Json::text(out, name),
            (EventName::Text(name), Codec::MsgPack) => MsgPack::text(out, name),
            (EventName::Number(number), Codec::Json) => Json::uint(out, *number),
            (EventName::Number(number), Codec::MsgPack) => MsgPack::uint(out, *number),
        });
    }

    /// One element, `null` if there are no data: what stands after it keeps its place.
    fn data(&mut self, data: Option<&Payload>) {
        match data {
            Some(data) => self.written(data, false),
            None => {
                let codec = self.codec;
                self.push(|out| match codec {
                    Codec::Json => out.put_slice(b"null"),
                    Codec::MsgPack => out.put_u8(0xc0),
                });
            }
        }
    }

    /// The elements of a list of arguments, any other payload as one; none without data.
    fn arguments(&mut self, data: Option<&Payload>) {
        if let Some(data) = data {
            self.written(data, data.is_arguments());
        }
    }

    /// A payload in this codec; `spread`: its elements.
    fn written(&mut self, payload: &Payload, spread: bool) {
        let mut other = BytesMut::new();
        let bytes = if payload.codec() == self.codec {
            payload.bytes()
        } else {
            self.transcode(payload, &mut other);
            &other[..]
        };
        let (bytes, count) = match (spread, self.codec) {
            (false, _) => (bytes, 1),
            (true, Codec::MsgPack) => msgpack::elements(bytes),
            (true, Codec::Json) => {
                let inner = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
                // How many there are does not matter, but whether there are any.
                (inner, usize::from(!inner.trim_ascii().is_empty()))
            }
        };
        if count > 0 {
            self.push(|out| out.put_slice(bytes));
            self.count += count - 1;
        }
    }

    fn transcode(&mut self, payload: &Payload, out: &mut BytesMut) {
        if self.codec == Codec::Json {
            let mut found = Vec::new();
            msgpack::to_json_with(payload.bytes(), out, &mut |out, data| {
                write_placeholder(found.len(), out);
                found.push(Bytes::copy_from_slice(data));
            });
            // A map that says to be a placeholder but is none makes clients close the connection
            // where there are attachments; so does one attachment too many. Base64 then.
            let count = found.len();
            if count == 0 || count <= ATTACHMENTS_MAX && !mentions_placeholder(payload.bytes()) {
                self.attachments = found;
                return;
            }
            out.clear();
        }
        transcode_into(payload.codec(), payload.bytes(), out);
    }
}

const PLACEHOLDER: &[u8] = b"_placeholder";

fn mentions_placeholder(bytes: &[u8]) -> bool {
    bytes.windows(PLACEHOLDER.len()).any(|window| window == PLACEHOLDER)
}

fn write_placeholder(number: usize, out: &mut BytesMut) {
    out.put_slice(b"{\"_placeholder\":true,\"num\":");
    json::write_uint(out, number as u64);
    out.put_u8(b'}');
}

/// What stands before the data of a packet.
struct Head<'a> {
    /// The digit of the packet's type, without attachments.
    kind: char,
    /// Without its `/`.
    namespace: &'a str,
    id: Option<u64>,
}

impl Head<'_> {
    /// Appends the packet with a list, or without data.
    fn write(&self, codec: Codec, list: Option<&List>, out: &mut BytesMut) {
        self.frame(codec, list, out, |list, out| match codec {
            Codec::Json => {
                out.put_u8(b'[');
                out.put_slice(&list.elements);
                out.put_u8(b']');
            }
            Codec::MsgPack => {
                msgpack::write_array(out, list.count);
                out.put_slice(&list.elements);
            }
        });
    }

    /// Appends the packet with one object as its data.
    fn write_object(&self, codec: Codec, data: &List, out: &mut BytesMut) {
        self.frame(codec, Some(data), out, |data, out| out.put_slice(&data.elements));
    }

    fn frame(
        &self,
        codec: Codec,
        list: Option<&List>,
        out: &mut BytesMut,
        write: impl FnOnce(&List, &mut BytesMut),
    ) {
        match codec {
            Codec::Json => {
                let attachments = list.map_or(&[][..], |list| &list.attachments);
                Framing::WsText.frame(out, |out| {
                    self.text(attachments.len(), out);
                    if let Some(list) = list {
                        write(list, out);
                    }
                });
                for data in attachments {
                    Framing::WsBinary.frame(out, |out| out.put_slice(data));
                }
            }
            Codec::MsgPack => Framing::WsBinary.frame(out, |out| {
                Map::<MsgPack>::write(out, |map| {
                    map.uint(key!("type"), u64::from(self.kind.to_digit(10).unwrap_or_default()));
                    if let Some(list) = list {
                        map.value(key!("data"), |out| write(list, out));
                    }
                    map.text(key!("nsp"), &format!("/{}", self.namespace));
                    if let Some(id) = self.id {
                        map.uint(key!("id"), id);
                    }
                });
            }),
        }
    }

    fn text(&self, attachments: usize, out: &mut BytesMut) {
        // Engine.IO's type of a message.
        out.put_u8(b'4');
        match (self.kind, attachments) {
            (kind, 0) => out.put_u8(kind as u8),
            (kind, count) => {
                out.put_u8(kind as u8 + 3);
                json::write_uint(out, count as u64);
                out.put_u8(b'-');
            }
        }
        if !self.namespace.is_empty() {
            out.put_u8(b'/');
            out.put_slice(self.namespace.as_bytes());
            out.put_u8(b',');
        }
        if let Some(id) = self.id {
            json::write_uint(out, id);
        }
    }
}
