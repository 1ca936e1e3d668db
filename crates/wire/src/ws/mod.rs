//! WebSocket (RFC 6455) without I/O: the opening handshake and the reading and writing of frames.
//!
//! A server's way: [`handshake::read_head`] until there is a head, [`handshake::accept`], then
//! [`frame::Reader::read`] in a loop over one read buffer. A client's way: [`client::request`],
//! [`client::check_response`], then a [`frame::Reader::for_client`].

pub mod client;
mod deflate;
pub mod frame;
pub mod handshake;
mod header;
mod mask;
mod negotiation;
mod site;
mod write;
