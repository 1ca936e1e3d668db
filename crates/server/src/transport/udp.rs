//! Plain UDP.

use std::io;

use super::datagrams::{Datagrams, Port};

pub(super) fn open(_: Port) -> io::Result<Box<dyn Datagrams>> {
    Err(io::ErrorKind::Unsupported.into())
}
