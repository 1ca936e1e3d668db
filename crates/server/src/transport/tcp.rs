//! Messages on a plain byte stream, cut as the listener's dialect says.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::{Cut, CutError, Cutter};

use super::{Fault, Protocol, Received, Site};

pub(super) fn open(site: &Arc<Site>) -> Box<dyn Protocol> {
    let grammar = site.dialect.grammar();
    Box::new(Tcp(match site.codec {
        Some(codec) => grammar.stream_in(codec),
        None => grammar.stream(),
    }))
}

/// None: the dialect is spoken on WebSockets only. The configuration allows no such listener.
struct Tcp(Option<Box<dyn Cutter>>);

impl Protocol for Tcp {
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Received>, Fault> {
        let Some(cutter) = &mut self.0 else { return Ok(None) };
        Ok(cutter.cut(buffer, message_bytes_max)?.map(|cut| match cut {
            Cut::Begins(format) => {
                Received::Opened { format, response: Vec::new(), namespace: None }
            }
            Cut::Message(bytes) => Received::Message(bytes),
        }))
    }

    fn rest(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        self.0.as_mut()?.rest(buffer)
    }

    fn may_end_anywhere(&self) -> bool {
        true
    }
}

impl From<CutError> for Fault {
    fn from(error: CutError) -> Self {
        let CutError { code, message, answer } = error;
        Self { code, message, answer: answer.into() }
    }
}
