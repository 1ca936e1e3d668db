//! One connection and what the port knows of it.

use std::net::SocketAddr;

use bytes::Bytes;
use roomcast_wire::enet::{Connection, Mode};
use roomcast_wire::{Codec, Format};

use super::super::datagrams::{Peer, Told};
use crate::acceptor::admission::Admission;

/// What must arrive, and what need not.
const RELIABLE: u8 = 0;
const UNRELIABLE: u8 = 1;

/// Signs of life are told this often at most, in milliseconds.
const LIFE_MS: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Has said nothing yet.
    Silent,
    /// The worker knows of it.
    Open(Format),
    /// The worker has closed it or knows that it is gone.
    Over,
}

pub(super) struct EnetPeer {
    pub(super) connection: Connection,
    pub(super) address: SocketAddr,
    /// What it writes in its headers.
    pub(super) number: u16,
    pub(super) stage: Stage,
    /// Until when it is to have a session.
    pub(super) session_until: Option<u64>,
    /// When it was noted that it wants to be called; `u64::MAX`: it was not.
    pub(super) noted_due: u64,
    pub(super) is_dirty: bool,
    pub(super) is_held: bool,
    /// Nothing more is given to it for now.
    pub(super) is_blocked: bool,
    life_told_at: u64,
    /// It counts for its address as long as it is here.
    _admission: Admission,
}

impl EnetPeer {
    pub(super) fn new(
        connection: Connection,
        address: SocketAddr,
        number: u16,
        admission: Admission,
        session_until: u64,
    ) -> Self {
        Self {
            connection,
            address,
            number,
            stage: Stage::Silent,
            session_until: Some(session_until),
            noted_due: u64::MAX,
            is_dirty: false,
            is_held: false,
            is_blocked: false,
            life_told_at: 0,
            _admission: admission,
        }
    }

    /// When it wants to be called.
    pub(super) fn due(&self) -> Option<u64> {
        let due = self.connection.due()?;
        Some(due.min(self.session_until.unwrap_or(u64::MAX)))
    }

    /// Whether it should have had a session by now. One whose words wait for the application is
    /// given the time that takes.
    pub(super) fn is_late(&mut self, now: u64) -> bool {
        match self.session_until {
            Some(until) if until <= now && self.is_held => {
                self.session_until = Some(now + LIFE_MS);
                false
            }
            Some(until) => until <= now,
            None => false,
        }
    }

    /// A message came in a datagram whose commands have so many bytes.
    pub(super) fn hear(
        &mut self,
        key: usize,
        bytes: Bytes,
        commands_bytes: usize,
        told: &mut Vec<Told>,
    ) {
        let peer = Peer(key as u32);
        if self.stage == Stage::Silent {
            let format = format_of(&bytes);
            self.stage = Stage::Open(format);
            told.push(Told::Opened { peer, format, namespace: None });
        }
        if let Stage::Open(_) = self.stage {
            let is_slice = bytes.len() < commands_bytes / 2;
            let bytes = if is_slice { Bytes::copy_from_slice(&bytes) } else { bytes };
            told.push(Told::Message { peer, bytes });
        }
    }

    /// It has left: its last message, for which ENet has a command of its own.
    pub(super) fn take_leave(&self, key: usize, told: &mut Vec<Told>) {
        if let Stage::Open(format) = self.stage {
            let bytes = Bytes::from_static(match format.codec() {
                Codec::Json => br#"{"type":"bye"}"#,
                Codec::MsgPack => b"\x81\xa4type\xa3bye",
            });
            told.push(Told::Message { peer: Peer(key as u32), bytes });
        }
    }

    /// Something came from it.
    pub(super) fn show_life(&mut self, key: usize, now: u64, told: &mut Vec<Told>) {
        if matches!(self.stage, Stage::Open(_)) && now >= self.life_told_at + LIFE_MS {
            self.life_told_at = now;
            told.push(Told::Alive { peer: Peer(key as u32) });
        }
    }

    /// Whether there is place again, after there was none.
    pub(super) fn is_writable_again(&mut self, window_bytes: usize) -> bool {
        let has_place = self.connection.queued_bytes() < window_bytes / 2;
        has_place && std::mem::replace(&mut self.is_blocked, false)
    }

    /// Gives it the messages of a chunk, each as a packet of its own.
    pub(super) fn send(&mut self, chunk: &Bytes, reliable: bool) {
        let Stage::Open(format) = self.stage else { return };
        let (channel, mode) =
            if reliable { (RELIABLE, Mode::Reliable) } else { (UNRELIABLE, Mode::Unreliable) };
        let mut rest = chunk.clone();
        while let Some(message) = cut(&mut rest, format.codec()) {
            // 20,480 pieces are more than the largest message that may be configured has.
            let _ = self.connection.send(channel, message, mode);
        }
    }
}

/// A map of MessagePack begins with a byte from 0x80 on, an object of JSON with one below.
fn format_of(message: &[u8]) -> Format {
    match message.first() {
        Some(0x80..) => Format::MSGPACK_LENGTH,
        _ => Format::JSON_LINE,
    }
}

/// Takes the next message out of a chunk, without what frames it on streams.
fn cut(rest: &mut Bytes, codec: Codec) -> Option<Bytes> {
    let (message, taken) = match codec {
        Codec::Json => {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            (rest.slice(..end), end + 1)
        }
        Codec::MsgPack => {
            let length = u32::from_be_bytes(*rest.first_chunk::<4>()?) as usize;
            let end = 4_usize.checked_add(length).filter(|end| *end <= rest.len())?;
            (rest.slice(4..end), end)
        }
    };
    let _ = rest.split_to(taken);
    Some(message)
}
