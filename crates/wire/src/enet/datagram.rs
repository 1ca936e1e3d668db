//! What stands around the commands of a datagram: whom it is for, when it was sent, its checksum,
//! and whether the commands are compressed.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::checksum::checksum;
use super::range::RangeCoder;
use super::{DATAGRAM_BYTES_MAX, PEER_NONE};

const FLAG_SENT: u16 = 0x8000;
const FLAG_COMPRESSED: u16 = 0x4000;
const SESSION_SHIFT: u16 = 12;

/// What both ends must have agreed on beforehand: ENet says nothing about it on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Each datagram has a CRC-32.
    pub checksum: bool,
    /// Commands are compressed by ENet's range coder where that makes them smaller.
    pub compression: bool,
}

/// Whom a datagram is for and when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number that the receiver has given to the sender.
    pub peer: u16,
    /// Which of their connections, 0 to 3.
    pub session: u8,
    /// The low bits of the sender's clock in milliseconds, to be sent back with acknowledgements.
    pub sent: Option<u16>,
}

impl Header {
    fn bytes(self, compressed: bool) -> ([u8; 4], usize) {
        // Who has no number has no session either.
        let session = if self.peer < PEER_NONE { u16::from(self.session & 3) } else { 0 };
        let mut first = self.peer & PEER_NONE | session << SESSION_SHIFT;
        first |= if compressed { FLAG_COMPRESSED } else { 0 };
        first |= if self.sent.is_some() { FLAG_SENT } else { 0 };
        let [a, b] = first.to_be_bytes();
        let [c, d] = self.sent.unwrap_or_default().to_be_bytes();
        ([a, b, c, d], if self.sent.is_some() { 4 } else { 2 })
    }
}

/// A datagram that came.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Whom it is for.
    pub header: Header,
    /// Its commands, decompressed.
    pub commands: Bytes,
    sum: Option<[u8; 4]>,
    compressed: bool,
}

impl Datagram {
    /// Whom a datagram is for, before anything else of it is looked at.
    pub fn addressee(datagram: &[u8]) -> Option<u16> {
        let first = u16::from_be_bytes(*datagram.first_chunk::<2>()?);
        Some(first & PEER_NONE)
    }

    /// Reads a datagram; `None`: it is none of ENet's, or not in accordance with the options.
    pub fn read(datagram: &[u8], options: Options) -> Option<Self> {
        let (first, rest) = datagram.split_first_chunk::<2>()?;
        let first = u16::from_be_bytes(*first);
        let (sent, rest) = if first & FLAG_SENT == 0 {
            (None, rest)
        } else {
            let (sent, rest) = rest.split_first_chunk::<2>()?;
            (Some(u16::from_be_bytes(*sent)), rest)
        };
        let (sum, rest) = if options.checksum {
            let (sum, rest) = rest.split_first_chunk::<4>()?;
            (Some(*sum), rest)
        } else {
            (None, rest)
        };
        let header =
            Header { peer: first & PEER_NONE, session: (first >> SESSION_SHIFT & 3) as u8, sent };
        let compressed = first & FLAG_COMPRESSED != 0;
        let commands = match compressed {
            false if datagram.len() > DATAGRAM_BYTES_MAX => return None,
            false => Bytes::copy_from_slice(rest),
            true if !options.compression => return None,
            true => RangeCoder::decompress(rest, DATAGRAM_BYTES_MAX)?,
        };
        Some(Self { header, commands, sum, compressed })
    }

    /// Whether the checksum, if there is one, is that of this datagram on the connection `id`;
    /// zeros for one that is for nobody yet.
    pub fn is_intact(&self, id: [u8; 4]) -> bool {
        let Some(sum) = self.sum else { return true };
        let (header, length) = self.header.bytes(self.compressed);
        checksum(&[header.get(..length).unwrap_or_default(), &id, &self.commands]) == sum
    }
}

/// Writes a datagram around `commands`. The checksum covers what was not compressed.
pub(super) fn seal(
    header: Header,
    commands: &[u8],
    id: [u8; 4],
    options: Options,
    out: &mut BytesMut,
) {
    let smaller = if options.compression {
        // Smaller by at least a byte, or not at all.
        RangeCoder::compress(commands, commands.len().saturating_sub(1))
    } else {
        None
    };
    let (head, length) = header.bytes(smaller.is_some());
    let head = head.get(..length).unwrap_or_default();
    out.put_slice(head);
    if options.checksum {
        let id = if header.peer < PEER_NONE { id } else { [0; 4] };
        out.put_slice(&checksum(&[head, &id, commands]));
    }
    out.put_slice(smaller.as_deref().unwrap_or(commands));
}

/// Bytes around the commands of a datagram at most.
pub(super) fn overhead(options: Options) -> usize {
    4 + if options.checksum { 4 } else { 0 }
}
