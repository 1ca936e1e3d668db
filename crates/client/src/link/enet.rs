//! Links on ENet.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use roomcast_wire::enet::{
    Closed, Connection, DATAGRAM_BYTES_MAX, Datagram, Heard, Mode, Settings,
};
use roomcast_wire::{CloseCode, Codec};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use super::address::{self, Failed};
use super::{Ended, Link, LinkEvent, MESSAGE_BYTES_MAX};
use crate::url::ServerUrl;
use crate::{Error, backoff};

/// What must arrive, and what need not.
const RELIABLE: u8 = 0;
const UNRELIABLE: u8 = 1;
const CHANNELS: u8 = 2;

/// As ENet's own clients: a link that is dead is found within seconds.
const PING_MS: u64 = 500;

/// Given to the connection and not known to have arrived, at most; the rest waits here.
const WINDOW_BYTES: usize = 128 << 10;

pub(crate) struct EnetLink {
    socket: UdpSocket,
    settings: Settings,
    connection: Connection,
    began: Instant,
    /// Messages that the connection has no room for yet, and whether they have to arrive.
    out: VecDeque<(Bytes, bool)>,
    out_bytes: usize,
    /// The datagram that the socket has no room for yet.
    unsent: BytesMut,
    heard: Vec<Heard>,
    told: VecDeque<LinkEvent>,
    is_connected: bool,
    alarm: Pin<Box<Sleep>>,
    buffer: Box<[u8]>,
}

/// Opens a link.
pub(crate) async fn connect(url: &ServerUrl, codec: Codec) -> Result<Link, Error> {
    let link = address::first(url, |server| greet(url, server)).await?;
    Ok(Link::enet(codec, link))
}

async fn greet(url: &ServerUrl, server: SocketAddr) -> Result<EnetLink, Failed> {
    let socket = UdpSocket::bind(address::own_for(server)).await?;
    // From here on the kernel passes over what others send, and says if nobody listens there.
    socket.connect(server).await?;
    let settings = Settings {
        options: url.enet_options(),
        message_bytes_max: MESSAGE_BYTES_MAX,
        waiting_bytes_max: MESSAGE_BYTES_MAX,
        ping_ms: PING_MS,
    };
    let id = (backoff::random() as u32).to_be_bytes();
    let began = Instant::now();
    let mut link = EnetLink {
        socket,
        settings,
        connection: Connection::connect(0, settings, CHANNELS, id, 0),
        began,
        out: VecDeque::new(),
        out_bytes: 0,
        unsent: BytesMut::new(),
        heard: Vec::new(),
        told: VecDeque::new(),
        is_connected: false,
        alarm: Box::pin(sleep_until(began)),
        buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
    };
    match std::future::poll_fn(|cx| link.poll_connected(cx)).await {
        LinkEvent::Ended(ended) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, ended.reason).into())
        }
        _ => Ok(link),
    }
}

impl EnetLink {
    pub(crate) fn queue(&mut self, message: Bytes, reliable: bool) {
        self.out_bytes += message.len();
        self.out.push_back((message, reliable));
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.out_bytes
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Ready when the server has agreed to the connection, or nobody answers.
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            let event = self.poll_read(cx);
            if self.is_connected {
                return Poll::Ready(LinkEvent::Alive);
            }
            if let LinkEvent::Ended(ended) = ready!(event) {
                return Poll::Ready(LinkEvent::Ended(ended));
            }
        }
    }

    /// Gives the connection what waits and the socket what the connection has. Ready when all is
    /// given; that it has arrived is the connection's to see to.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.now();
        if self.connection.due().is_some_and(|due| due <= now) {
            self.connection.tick(now, &mut self.heard);
            self.sort_heard();
        }
        while self.connection.queued_bytes() < WINDOW_BYTES
            && let Some((message, reliable)) = self.out.pop_front()
        {
            self.out_bytes -= message.len();
            let (channel, mode) =
                if reliable { (RELIABLE, Mode::Reliable) } else { (UNRELIABLE, Mode::Unreliable) };
            self.connection.send(channel, message, mode).map_err(io::Error::other)?;
        }
        while !self.unsent.is_empty() || self.connection.transmit(now, &mut self.unsent) {
            ready!(self.socket.poll_send(cx, &self.unsent))?;
            self.unsent.clear();
        }
        if let Some(due) = self.connection.due() {
            self.alarm.as_mut().reset(self.began + Duration::from_millis(due));
            if self.alarm.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        if self.out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            if let Some(event) = self.told.pop_front() {
                if let LinkEvent::Ended(_) = event {
                    // That the farewell was heard; lost or not, the server waits for it 2 s.
                    let _ = self.poll_flush(cx);
                }
                return Poll::Ready(event);
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let ended = match self.socket.poll_recv(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    // What is no datagram of ENet's is passed over.
                    if let Some(read) = Datagram::read(buffer.filled(), self.settings.options) {
                        let now = self.began.elapsed().as_millis() as u64;
                        self.connection.receive(now, &read, &mut self.heard);
                        self.sort_heard();
                    }
                    continue;
                }
                Poll::Ready(Err(error)) => Ended::broken(error.to_string()),
                // What came is acknowledged before the wait.
                Poll::Pending => match self.poll_flush(cx) {
                    Poll::Ready(Err(error)) => Ended::broken(error.to_string()),
                    _ if self.told.is_empty() => return Poll::Pending,
                    _ => continue,
                },
            };
            return Poll::Ready(LinkEvent::Ended(ended));
        }
    }

    /// Leaves; ready when the server has heard it, or answers no more.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        self.connection.disconnect(now, u32::from(CloseCode::Normal.number()));
        loop {
            if self.connection.due().is_none() {
                return Poll::Ready(());
            }
            if let LinkEvent::Ended(_) = ready!(self.poll_read(cx)) {
                // The last acknowledgement, as far as the socket takes it.
                return self.poll_flush(cx).map(|_| ());
            }
        }
    }

    fn sort_heard(&mut self) {
        for heard in self.heard.drain(..) {
            self.told.push_back(match heard {
                Heard::Connected => {
                    self.is_connected = true;
                    LinkEvent::Alive
                }
                Heard::Message { bytes, .. } => LinkEvent::Message(bytes),
                Heard::Closed(how) => LinkEvent::Ended(ended(how)),
            });
        }
    }
}

fn ended(how: Closed) -> Ended {
    match how {
        // Codes of the protocol; anything else is the library's, or a proxy's.
        Closed::Left(data) => match u16::try_from(data) {
            Ok(code @ 1000..) => Ended::closed(code, "", None),
            _ => Ended::broken("the server ended the link"),
        },
        Closed::Done => Ended::broken("the link was left"),
        Closed::TimedOut => Ended::broken("the server does not answer"),
        Closed::Garbled => Ended::broken("the server sent what is not ENet's"),
        Closed::TooLarge => {
            Ended::broken(format!("the server sent a message above {MESSAGE_BYTES_MAX} bytes"))
        }
    }
}
