//! A connection that a worker has begun to read, for use with tokio.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a stream is made of.
pub(super) type Parts = (std::net::TcpStream, Option<Box<ServerConnection>>, Box<[u8]>);

/// The bytes that were read, then those of the socket, plain or inside TLS.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    read: Box<[u8]>,
    /// How many of `read` were given on.
    given: usize,
}

impl Stream {
    pub(super) fn new(
        socket: TcpStream,
        tls: Option<Box<ServerConnection>>,
        read: Box<[u8]>,
    ) -> Self {
        Self { socket, tls, read, given: 0 }
    }

    /// The socket, its TLS, and what was read of it and not given on.
    ///
    /// # Errors
    /// The socket cannot be taken from the runtime.
    pub(super) fn into_parts(self) -> io::Result<Parts> {
        let read = self.read.get(self.given..).unwrap_or_default().into();
        Ok((self.socket.into_std()?, self.tls, read))
    }

    fn flush_tls(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        while tls.wants_write() {
            ready!(self.socket.poll_write_ready(context))?;
            match tls.write_tls(&mut Socket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read_tls(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
            match tls.reader().read(out.initialize_unfilled()) {
                Ok(count) => {
                    out.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.socket.poll_read_ready(context))?;
            match tls.read_tls(&mut Socket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let processed = tls.process_new_packets();
            // An alert that cannot be written now goes out with the next write, or not at all.
            let _ = self.flush_tls(context)?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = this.read.get(this.given..).unwrap_or_default();
        if !rest.is_empty() {
            let count = rest.len().min(out.remaining());
            out.put_slice(rest.get(..count).unwrap_or_default());
            this.given += count;
            if this.given == this.read.len() {
                this.read = Box::default();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if this.tls.is_some() {
            return this.read_tls(context, out);
        }
        Pin::new(&mut this.socket).poll_read(context, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let Some(tls) = &mut this.tls else {
                return Pin::new(&mut this.socket).poll_write(context, bytes);
            };
            let count = tls.writer().write(bytes)?;
            if count > 0 || bytes.is_empty() {
                // What is not taken by the socket now waits for the flush.
                let _ = this.flush_tls(context)?;
                return Poll::Ready(Ok(count));
            }
            ready!(this.flush_tls(context))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flush_tls(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(tls) = &mut this.tls {
            tls.send_close_notify();
        }
        ready!(this.flush_tls(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

/// The socket as rustls reads and writes it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
