//! One request is one message: the stream of its `Action` and, but for the list of rooms, the
//! stream of what it is about.

use bytes::BytesMut;

use super::super::{Cut, CutError, Cutter, Format};
use super::decode::{Action, action};
use super::gob::{GobError, Reader, head};
use crate::CloseCode;
use crate::framing::TooLarge;

#[derive(Debug, Default)]
pub(super) struct Requests {
    began: bool,
    /// How much of the request was looked at: whole messages of gob, each once.
    scanned: usize,
    /// Whether a definition came since the last value: a stream begins with one.
    defined: bool,
    /// What is asked, once the first value has come.
    action: Option<Action>,
}

impl Cutter for Requests {
    fn cut(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Cut>, CutError> {
        if buffer.is_empty() {
            return Ok(None);
        }
        if !std::mem::replace(&mut self.began, true) {
            return Ok(Some(Cut::Begins(Format::SIMPLE_CHAT)));
        }
        while let Some(found) = head(buffer.get(self.scanned..).unwrap_or_default())? {
            let size = self.scanned.saturating_add(found.size);
            if size > bytes_max {
                return Err(TooLarge::Length { size, limit: bytes_max }.into());
            }
            if found.defines == Some(false) && !self.defined {
                return Err(
                    GobError("a stream does not begin with the definition of a type").into()
                );
            }
            if size > buffer.len() {
                return Ok(None);
            }
            self.scanned = size;
            self.defined = found.defines == Some(true);
            if !self.defined && self.is_whole(buffer)? {
                let message = buffer.split_to(size).freeze();
                *self = Self { began: true, ..Self::default() };
                return Ok(Some(Cut::Message(message)));
            }
        }
        Ok(None)
    }
}

impl Requests {
    /// Whether the value that has come is the last of its request.
    fn is_whole(&mut self, buffer: &BytesMut) -> Result<bool, CutError> {
        if self.action.is_some() {
            return Ok(true);
        }
        let action = action(&mut Reader(buffer.get(..self.scanned).unwrap_or_default()))?;
        self.action = Some(action);
        Ok(action == Action::GetRooms)
    }
}

impl From<GobError> for CutError {
    fn from(error: GobError) -> Self {
        let message = format!("this is no request of simple-chat-server: {error}");
        Self { code: CloseCode::Protocol, message, answer: b"" }
    }
}
