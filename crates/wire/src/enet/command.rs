//! The commands that datagrams consist of. All numbers are big-endian.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The peer wants an acknowledgement.
const FLAG_ACKNOWLEDGE: u8 = 0x80;
/// Set on what has no sequence number of a channel.
const FLAG_UNSEQUENCED: u8 = 0x40;
const KIND_MASK: u8 = 0x0f;

const ACKNOWLEDGE: u8 = 1;
const CONNECT: u8 = 2;
const VERIFY_CONNECT: u8 = 3;
const DISCONNECT: u8 = 4;
const PING: u8 = 5;
const SEND_RELIABLE: u8 = 6;
const SEND_UNRELIABLE: u8 = 7;
const SEND_FRAGMENT: u8 = 8;
const SEND_UNSEQUENCED: u8 = 9;
const BANDWIDTH_LIMIT: u8 = 10;
const THROTTLE_CONFIGURE: u8 = 11;
const SEND_UNRELIABLE_FRAGMENT: u8 = 12;

/// Bytes of each command before its data, by its number; 0: there is none.
const SIZES: [usize; 16] = [0, 8, 48, 44, 8, 4, 6, 8, 24, 8, 12, 16, 24, 0, 0, 0];

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Which channel it belongs to; 255: none.
    pub channel: u8,
    /// Its place in the order of reliable commands, or behind which one it stands.
    pub sequence: u16,
    /// Whether the peer wants an acknowledgement.
    pub wants_ack: bool,
    /// What it says.
    pub body: Body,
}

/// What a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A command came.
    Acknowledge {
        /// Which one.
        sequence: u16,
        /// The time that stood in the header of its datagram.
        sent: u16,
    },
    /// A connection is asked for.
    Connect(Connect),
    /// It is granted.
    Verify(Terms),
    /// The connection ends, with a number of the application.
    Disconnect(u32),
    /// Asks for a sign of life.
    Ping,
    /// A message that must arrive.
    Reliable(Bytes),
    /// A message that need not, with its place behind the reliable one.
    Unreliable(u16, Bytes),
    /// A message that need not and has no place; its number tells repetitions.
    Unsequenced(u16, Bytes),
    /// A piece of a message that must arrive.
    Fragment(Fragment),
    /// A piece of one that need not.
    UnreliableFragment(Fragment),
    /// What the peer can take and give, in bytes a second; 0: any.
    Bandwidth {
        /// What it takes.
        incoming: u32,
        /// What it gives.
        outgoing: u32,
    },
    /// How unreliable messages are to be dropped when the link gets slower.
    Throttle(Throttle),
}

/// Asks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect {
    /// What the asking side proposes.
    pub terms: Terms,
    /// A number of the application.
    pub data: u32,
}

/// What is proposed for a connection, or granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The number that the sender of this gives to its peer.
    pub peer: u16,
    /// What the asking side finds in headers from then on, 0 to 3: it counts the connections
    /// between two places. 255: no wish.
    pub incoming_session: u8,
    /// What it writes there.
    pub outgoing_session: u8,
    /// Largest datagram, in bytes.
    pub mtu: u32,
    /// Most bytes on their way, unacknowledged.
    pub window_bytes: u32,
    /// How many channels.
    pub channels: u32,
    /// What the sender of this takes, in bytes a second; 0: any.
    pub incoming_bandwidth: u32,
    /// What it gives.
    pub outgoing_bandwidth: u32,
    /// How unreliable messages are dropped; granted as it was proposed.
    pub throttle: Throttle,
    /// Drawn by the asking side; part of each checksum from then on. Never seen as a number.
    pub id: [u8; 4],
}

/// How unreliable messages are dropped when the link gets slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// How often the round trip is judged, in milliseconds.
    pub interval_ms: u32,
    /// By how much more is let through at a good one, in 32nds.
    pub acceleration: u32,
    /// By how much less at a bad one, in 32nds.
    pub deceleration: u32,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The number of its first piece.
    pub start: u16,
    /// How many pieces the message has.
    pub count: u32,
    /// Which one this is, from 0.
    pub number: u32,
    /// Bytes of the whole message.
    pub total: u32,
    /// Where the piece belongs.
    pub offset: u32,
    /// The piece.
    pub data: Bytes,
}

impl Command {
    /// Takes the next command off a datagram; `None`: there is none that could be understood, and
    /// what stands behind cannot be either.
    pub fn read(rest: &mut Bytes) -> Option<Self> {
        let kind = *rest.first()?;
        let size = *SIZES.get(usize::from(kind & KIND_MASK))?;
        if size == 0 || rest.len() < size {
            return None;
        }
        let mut fields = rest.split_to(size);
        fields.advance(1);
        let channel = fields.get_u8();
        let sequence = fields.get_u16();
        let body = read_body(kind & KIND_MASK, &mut fields, rest)?;
        Some(Self { channel, sequence, wants_ack: kind & FLAG_ACKNOWLEDGE != 0, body })
    }

    /// How many bytes [`write`](Self::write) adds.
    pub fn size(&self) -> usize {
        SIZES[usize::from(self.body.kind())] + self.body.data_bytes()
    }

    /// Adds the command to a datagram.
    pub fn write(&self, out: &mut BytesMut) {
        let acknowledge = if self.wants_ack { FLAG_ACKNOWLEDGE } else { 0 };
        let loose = matches!(self.body, Body::Unsequenced(..))
            || (matches!(self.body, Body::Disconnect(_)) && !self.wants_ack);
        let unsequenced = if loose { FLAG_UNSEQUENCED } else { 0 };
        out.put_u8(self.body.kind() | acknowledge | unsequenced);
        out.put_u8(self.channel);
        out.put_u16(self.sequence);
        self.body.write(out);
    }
}

fn read_body(kind: u8, fields: &mut Bytes, rest: &mut Bytes) -> Option<Body> {
    Some(match kind {
        ACKNOWLEDGE => Body::Acknowledge { sequence: fields.get_u16(), sent: fields.get_u16() },
        CONNECT => Body::Connect(Connect { terms: read_terms(fields), data: fields.get_u32() }),
        VERIFY_CONNECT => Body::Verify(read_terms(fields)),
        DISCONNECT => Body::Disconnect(fields.get_u32()),
        PING => Body::Ping,
        SEND_RELIABLE => Body::Reliable(read_data(fields, rest)?),
        SEND_UNRELIABLE => Body::Unreliable(fields.get_u16(), read_data(fields, rest)?),
        SEND_UNSEQUENCED => Body::Unsequenced(fields.get_u16(), read_data(fields, rest)?),
        SEND_FRAGMENT => Body::Fragment(read_fragment(fields, rest)?),
        SEND_UNRELIABLE_FRAGMENT => Body::UnreliableFragment(read_fragment(fields, rest)?),
        BANDWIDTH_LIMIT => {
            Body::Bandwidth { incoming: fields.get_u32(), outgoing: fields.get_u32() }
        }
        THROTTLE_CONFIGURE => Body::Throttle(read_throttle(fields)),
        _ => return None,
    })
}

fn read_terms(fields: &mut Bytes) -> Terms {
    Terms {
        peer: fields.get_u16(),
        incoming_session: fields.get_u8(),
        outgoing_session: fields.get_u8(),
        mtu: fields.get_u32(),
        window_bytes: fields.get_u32(),
        channels: fields.get_u32(),
        incoming_bandwidth: fields.get_u32(),
        outgoing_bandwidth: fields.get_u32(),
        throttle: read_throttle(fields),
        id: fields.get_u32().to_be_bytes(),
    }
}

fn read_throttle(fields: &mut Bytes) -> Throttle {
    Throttle {
        interval_ms: fields.get_u32(),
        acceleration: fields.get_u32(),
        deceleration: fields.get_u32(),
    }
}

/// The data behind a command, whose length stands last in its fields.
fn read_data(fields: &mut Bytes, rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(fields.get_u16());
    if length > rest.len() { None } else { Some(rest.split_to(length)) }
}

fn read_fragment(fields: &mut Bytes, rest: &mut Bytes) -> Option<Fragment> {
    let start = fields.get_u16();
    let length = usize::from(fields.get_u16());
    if length > rest.len() {
        return None;
    }
    Some(Fragment {
        start,
        count: fields.get_u32(),
        number: fields.get_u32(),
        total: fields.get_u32(),
        offset: fields.get_u32(),
        data: rest.split_to(length),
    })
}

impl Body {
    /// Bytes of a message, or of a piece of one.
    pub(super) fn data_bytes(&self) -> usize {
        match self {
            Self::Reliable(data) | Self::Unreliable(_, data) | Self::Unsequenced(_, data) => {
                data.len()
            }
            Self::Fragment(fragment) | Self::UnreliableFragment(fragment) => fragment.data.len(),
            _ => 0,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Acknowledge { .. } => ACKNOWLEDGE,
            Self::Connect(_) => CONNECT,
            Self::Verify(_) => VERIFY_CONNECT,
            Self::Disconnect(_) => DISCONNECT,
            Self::Ping => PING,
            Self::Reliable(_) => SEND_RELIABLE,
            Self::Unreliable(..) => SEND_UNRELIABLE,
            Self::Unsequenced(..) => SEND_UNSEQUENCED,
            Self::Fragment(_) => SEND_FRAGMENT,
            Self::UnreliableFragment(_) => SEND_UNRELIABLE_FRAGMENT,
            Self::Bandwidth { .. } => BANDWIDTH_LIMIT,
            Self::Throttle(_) => THROTTLE_CONFIGURE,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Acknowledge { sequence, sent } => {
                out.put_u16(*sequence);
                out.put_u16(*sent);
            }
            Self::Connect(connect) => {
                connect.terms.write(out);
                out.put_u32(connect.data);
            }
            Self::Verify(verify) => verify.write(out),
            Self::Disconnect(data) => out.put_u32(*data),
            Self::Ping => {}
            Self::Reliable(data) => write_data(data, out),
            Self::Unreliable(number, data) | Self::Unsequenced(number, data) => {
                out.put_u16(*number);
                write_data(data, out);
            }
            Self::Fragment(fragment) | Self::UnreliableFragment(fragment) => fragment.write(out),
            Self::Bandwidth { incoming, outgoing } => {
                out.put_u32(*incoming);
                out.put_u32(*outgoing);
            }
            Self::Throttle(throttle) => throttle.write(out),
        }
    }
}

/// Data never exceeds the datagram it stands in, so that its length fits.
fn write_data(data: &Bytes, out: &mut BytesMut) {
    out.put_u16(data.len() as u16);
    out.extend_from_slice(data);
}

impl Terms {
    fn write(&self, out: &mut BytesMut) {
        out.put_u16(self.peer);
        out.put_u8(self.incoming_session);
        out.put_u8(self.outgoing_session);
        out.put_u32(self.mtu);
        out.put_u32(self.window_bytes);
        out.put_u32(self.channels);
        out.put_u32(self.incoming_bandwidth);
        out.put_u32(self.outgoing_bandwidth);
        self.throttle.write(out);
        out.extend_from_slice(&self.id);
    }
}

impl Throttle {
    fn write(&self, out: &mut BytesMut) {
        out.put_u32(self.interval_ms);
        out.put_u32(self.acceleration);
        out.put_u32(self.deceleration);
    }
}

impl Fragment {
    fn write(&self, out: &mut BytesMut) {
        out.put_u16(self.start);
        out.put_u16(self.data.len() as u16);
        out.put_u32(self.count);
        out.put_u32(self.number);
        out.put_u32(self.total);
        out.put_u32(self.offset);
        out.extend_from_slice(&self.data);
    }
}
