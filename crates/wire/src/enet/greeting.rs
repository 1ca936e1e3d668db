//! The first words of who is asked for a connection. ENet has no cookie: anybody can ask in the
//! name of any address. So nothing is sent again here, never more bytes leave than came, and what
//! is kept until the other end has shown that it receives is one [`Greeting`] of fixed size, which
//! may be dropped at any time: who asks in earnest asks again.
//!
//! What shows it: 12 bits of the number given to the peer, 2 of its session and the 16 of the time
//! in the answer's header, all drawn at random, come back with the acknowledgement.

use bytes::{Bytes, BytesMut};

use super::command::{Body, Command, Connect, Terms};
use super::connection::{Connection, Settings, grant};
use super::datagram::{Datagram, Header, seal};
use super::{CHANNEL_NONE, CHANNELS_MAX, PEER_NONE};

/// How often the answer is sent again to who seems to have it, and how long after the last.
const REPEATS_MAX: u8 = 8;
const REPEAT_MS: u64 = 200;

/// A connection that was asked for and not yet taken up.
#[derive(Debug, Clone)]
pub struct Greeting {
    connect: Connect,
    granted: Terms,
    nonce: u16,
    /// Bytes that came and were not answered yet.
    credit_bytes: usize,
    sent_at: u64,
    repeats: u8,
}

/// The chance that an answer needs. To be drawn anew for each.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    /// The number to be given to the peer, below 4,095 and free at its address.
    pub peer: u16,
    /// The two sessions and the time in the header.
    pub bits: u32,
}

/// What a datagram to nobody asks for, if it asks for a connection. It may come compressed, and
/// with a checksum.
pub fn asks(datagram: &Datagram) -> Option<Connect> {
    if datagram.header.peer != PEER_NONE || !datagram.is_intact([0; 4]) {
        return None;
    }
    let mut rest: Bytes = datagram.commands.clone();
    match Command::read(&mut rest)?.body {
        Body::Connect(connect) => {
            let Terms { peer, channels, .. } = connect.terms;
            let is_possible = peer < PEER_NONE && (1..=CHANNELS_MAX).contains(&channels);
            is_possible.then_some(connect)
        }
        _ => None,
    }
}

impl Greeting {
    /// Somebody asks for a connection and is to have at most `channels` channels.
    pub fn new(connect: Connect, chance: Chance, channels: u8) -> Self {
        let [a, b, c, d] = chance.bits.to_be_bytes();
        let granted = grant(&connect.terms, chance.peer & PEER_NONE, [a, b], channels);
        Self {
            connect,
            granted,
            nonce: u16::from_be_bytes([c, d]),
            credit_bytes: 0,
            sent_at: 0,
            repeats: 0,
        }
    }

    /// Whether it was asked for with the same words: they came again, or their answer was lost.
    pub fn is_for(&self, connect: &Connect) -> bool {
        self.connect == *connect
    }

    /// The number given to the peer.
    pub fn peer(&self) -> u16 {
        self.granted.peer
    }

    /// A question of so many bytes came. Writes the answer, or the answer again, if it has no
    /// more.
    pub fn answer(
        &mut self,
        now: u64,
        came: usize,
        settings: &Settings,
        out: &mut BytesMut,
    ) -> bool {
        self.credit_bytes = self.credit_bytes.saturating_add(came);
        let before = out.len();
        self.write(settings, out);
        let bytes = out.len() - before;
        if bytes > self.credit_bytes {
            out.truncate(before);
            return false;
        }
        self.credit_bytes -= bytes;
        self.sent_at = now;
        true
    }

    /// The other end has the answer, but its acknowledgement was lost. Writes the answer again,
    /// seldom and some times only: 14 random bits came back, so who asks in the name of another
    /// address needs 8,192 datagrams for each of these.
    pub fn answer_again(&mut self, now: u64, settings: &Settings, out: &mut BytesMut) -> bool {
        if self.repeats >= REPEATS_MAX || now.saturating_sub(self.sent_at) < REPEAT_MS {
            return false;
        }
        self.repeats += 1;
        self.sent_at = now;
        self.write(settings, out);
        true
    }

    fn write(&self, settings: &Settings, out: &mut BytesMut) {
        let mut page = BytesMut::new();
        let body = Body::Verify(self.granted);
        Command { channel: CHANNEL_NONE, sequence: 1, wants_ack: true, body }.write(&mut page);
        let header = Header {
            peer: self.connect.terms.peer,
            session: self.granted.incoming_session,
            sent: Some(self.nonce),
        };
        seal(header, &page, self.granted.id, settings.options, out);
    }

    /// Whether a datagram is one of the connection that this is to become. If it also shows that
    /// the other end receives, the connection is made; the datagram is then to be given to it.
    pub fn take_up(&self, now: u64, datagram: &Datagram, settings: Settings) -> TakenUp {
        let is_its = datagram.header.peer == self.granted.peer
            && datagram.header.session == self.granted.outgoing_session
            && datagram.is_intact(self.granted.id);
        if !is_its {
            return TakenUp::Foreign;
        }
        let shown = Body::Acknowledge { sequence: 1, sent: self.nonce };
        let mut rest = datagram.commands.clone();
        while let Some(command) = Command::read(&mut rest) {
            if command.channel == CHANNEL_NONE && command.body == shown {
                let rtt_ms = now.saturating_sub(self.sent_at).min(u64::from(u16::MAX)) as u32;
                let (asked, granted) = (&self.connect.terms, &self.granted);
                let connection = Connection::accept(now, settings, asked, granted, rtt_ms);
                return TakenUp::Open(Box::new(connection));
            }
        }
        TakenUp::Unproved
    }
}

/// Writes that the asked side has no place: `data` says why. To be sent instead of taking up a
/// greeting; smaller than everything that takes one up.
pub fn refuse(greeting: &Greeting, data: u32, settings: &Settings, out: &mut BytesMut) {
    let mut page = BytesMut::new();
    let body = Body::Disconnect(data);
    Command { channel: CHANNEL_NONE, sequence: 0, wants_ack: false, body }.write(&mut page);
    let session = greeting.granted.incoming_session;
    let header = Header { peer: greeting.connect.terms.peer, session, sent: None };
    seal(header, &page, greeting.granted.id, settings.options, out);
}

/// What a datagram says about a [`Greeting`].
pub enum TakenUp {
    /// Nothing.
    Foreign,
    /// The other end seems to have the answer, but its acknowledgement was lost: answer again.
    Unproved,
    /// The connection stands.
    Open(Box<Connection>),
}
