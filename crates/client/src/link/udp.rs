//! Links on plain UDP.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use roomcast_wire::udp::greeting::{Greeted, Greeter, Greeting};
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Role, Session, Terms};
use roomcast_wire::{CloseCode, Codec};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::address::{self, Failed};
use super::{Ended, Link, LinkEvent, MESSAGE_BYTES_MAX};
use crate::error::Refused;
use crate::url::ServerUrl;
use crate::{Error, backoff};

/// The largest datagram that there is.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// What translates addresses on the way forgets silent ones after half a minute or more.
const PING: Duration = Duration::from_secs(15);

/// After so much silence the server is gone.
const SILENCE: Duration = Duration::from_secs(45);

pub(crate) struct UdpLink {
    socket: UdpSocket,
    server: SocketAddr,
    session: Session,
    id: u64,
    began: Instant,
    /// Messages that the session has no room for yet, and whether they have to arrive.
    out: VecDeque<(Bytes, bool)>,
    out_bytes: usize,
    /// Datagrams that the socket has no room for yet.
    unsent: VecDeque<Vec<u8>>,
    events: Vec<Event>,
    told: VecDeque<LinkEvent>,
    alarm: Pin<Box<Sleep>>,
    scratch: Vec<u8>,
    buffer: Box<[u8]>,
}

/// Opens a link.
pub(crate) async fn connect(url: &ServerUrl, codec: Codec) -> Result<Link, Error> {
    let link = address::first(url, |server| greet(server, codec)).await?;
    Ok(Link::udp(codec, link))
}

async fn greet(server: SocketAddr, codec: Codec) -> Result<UdpLink, Failed> {
    let socket = UdpSocket::bind(address::own_for(server)).await?;
    // From here on the kernel passes over what others send, and says if nobody listens there.
    socket.connect(server).await?;
    let began = Instant::now();
    let mut greeter = Greeter::new(backoff::random(), codec, Duration::ZERO);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice();
    loop {
        while let Some(hello) = greeter.transmit(began.elapsed()) {
            socket.send(&hello).await?;
        }
        let received = timeout_at(began + greeter.due(), socket.recv(&mut buffer)).await;
        let Ok(count) = received else { continue };
        match greeter.receive(began.elapsed(), buffer.get(..count?).unwrap_or_default()) {
            None => {}
            Some(Greeted::Refused { code, retry_ms }) => {
                return Err(Failed::Answered(Error::Refused(refused(code, retry_ms))));
            }
            Some(Greeted::Accepted { id, key }) => {
                let terms = Terms {
                    role: Role::Client,
                    message_bytes_max: MESSAGE_BYTES_MAX,
                    ping: PING,
                    silence: SILENCE,
                    // Clients ask nobody for an answer from another address.
                    secret: Key::new([0; 16]),
                };
                return Ok(UdpLink {
                    socket,
                    server,
                    session: Session::new(id, key, terms, server, began.elapsed()),
                    id,
                    began,
                    out: VecDeque::new(),
                    out_bytes: 0,
                    unsent: VecDeque::new(),
                    events: Vec::new(),
                    told: VecDeque::new(),
                    alarm: Box::pin(sleep_until(began)),
                    scratch: Vec::new(),
                    buffer,
                });
            }
        }
    }
}

fn refused(code: u16, retry_ms: u32) -> Refused {
    let reason = CloseCode::from_number(code).map_or("unknown", CloseCode::reason);
    Refused {
        code,
        reason: reason.to_owned(),
        message: "the server takes no more clients now".to_owned(),
        retry: true,
        retry_after: Some(Duration::from_millis(retry_ms.into())),
    }
}

impl UdpLink {
    pub(crate) fn queue(&mut self, message: Bytes, reliable: bool) {
        self.out_bytes += message.len();
        self.out.push_back((message, reliable));
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Gives the session what waits and the socket what the session has. Ready when all is given;
    /// that it has arrived is the session's to see to.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.began.elapsed();
        if self.session.due().is_some_and(|due| due <= now) {
            self.session.tick(now, &mut self.events);
            self.sort_events();
        }
        while let Some((message, reliable)) = self.out.front() {
            if !self.session.send(message, *reliable) {
                break;
            }
            self.out_bytes -= message.len();
            self.out.pop_front();
        }
        let unsent = &mut self.unsent;
        let mut sink = |_: SocketAddr, datagram: &[u8]| unsent.push_back(datagram.to_vec());
        self.session.transmit(now, &mut self.scratch, &mut sink);
        while let Some(datagram) = self.unsent.front() {
            ready!(self.socket.poll_send(cx, datagram))?;
            self.unsent.pop_front();
        }
        if let Some(due) = self.session.due() {
            self.alarm.as_mut().reset(self.began + due);
            if self.alarm.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        if self.out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Poll::Ready(event);
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let ended = match self.socket.poll_recv(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    let now = self.began.elapsed();
                    let datagram = buffer.filled();
                    let gone = Greeting::decode(datagram) == Some(Greeting::Gone { id: self.id });
                    // What is refused is none of the server's: passed over.
                    let _ = self.session.receive(now, self.server, datagram, &mut self.events);
                    self.sort_events();
                    if !gone {
                        continue;
                    }
                    Ended::broken("the server does not know the link any more")
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

    /// Ends the session; ready when the server has heard it, or answers no more.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.session.close(self.began.elapsed(), CloseCode::Normal.number(), "");
        loop {
            if self.session.is_over() {
                // The last datagrams, as far as the socket takes them.
                return self.poll_flush(cx).map(|_| ());
            }
            match ready!(self.poll_read(cx)) {
                LinkEvent::Ended(_) => return Poll::Ready(()),
                LinkEvent::Message(_) | LinkEvent::Alive => {}
            }
        }
    }

    fn sort_events(&mut self) {
        for event in self.events.drain(..) {
            self.told.push_back(match event {
                Event::Message(bytes) => LinkEvent::Message(bytes),
                Event::Alive | Event::Writable | Event::Moved => LinkEvent::Alive,
                Event::Closed { code, reason } => {
                    LinkEvent::Ended(Ended::closed(code, &reason, None))
                }
                Event::Lost => LinkEvent::Ended(Ended::broken("the server went silent")),
                Event::Fault(code) => {
                    LinkEvent::Ended(Ended::broken(format!("the server broke the rules: {code}")))
                }
            });
        }
    }
}
