//! Payloads that are lists, put together and taken apart: the arguments of an event.

use bytes::{Bytes, BytesMut};

use crate::codec::value::Kind;
use crate::codec::{CodecError, msgpack};
use crate::{Codec, Payload};

impl Payload {
    /// A list of values: in JSON if all of them are, else in MessagePack, where binary data stay
    /// what they are.
    ///
    /// # Errors
    /// A value is nested so deeply that it cannot stand in a list.
    pub fn list(values: &[Self]) -> Result<Self, CodecError> {
        let mut out = BytesMut::with_capacity(values.iter().map(|it| it.bytes().len() + 2).sum());
        if values.iter().all(|value| value.codec() == Codec::Json) {
            out.extend_from_slice(b"[");
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b",");
                }
                out.extend_from_slice(value.bytes());
            }
            out.extend_from_slice(b"]");
            return Self::new(Codec::Json, out.freeze());
        }
        for value in values {
            out.extend_from_slice(value.to_codec(Codec::MsgPack).bytes());
        }
        msgpack::insert_header(&mut out, 0, false, values.len());
        Self::new(Codec::MsgPack, out.freeze())
    }

    /// The values of a list, which share its buffer; none if it is no list.
    pub fn items(&self) -> Option<Vec<Self>> {
        let list = self.codec().check(self.bytes()).ok()?;
        let mut items = Vec::new();
        if list.kind() != Kind::Array {
            return None;
        }
        let read = list.items(|value| {
            items.push(value.payload(self.bytes()));
            Ok(())
        });
        read.ok().map(|()| items)
    }

    /// Binary data, if it is such. They share the buffer.
    pub fn as_bin(&self) -> Option<Bytes> {
        let head = match (self.codec(), *self.bytes().first()?) {
            (Codec::MsgPack, 0xc4) => 2,
            (Codec::MsgPack, 0xc5) => 3,
            (Codec::MsgPack, 0xc6) => 5,
            _ => return None,
        };
        (head <= self.bytes().len()).then(|| self.bytes().slice(head..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_apart_as_they_were_put_together() {
        let text = Payload::json("hi").unwrap();
        let json = Payload::list(&[text.clone(), Payload::json(&[1, 2]).unwrap()]).unwrap();
        assert_eq!(json.bytes().as_ref(), br#"["hi",[1,2]]"#);
        assert_eq!(json.items().unwrap()[1].bytes().as_ref(), b"[1,2]");
        let mixed = Payload::list(&[text, Payload::bin(&[7; 300])]).unwrap();
        let items = mixed.items().unwrap();
        assert_eq!(items[0].read::<String>().unwrap(), "hi");
        assert_eq!(items[1].as_bin().unwrap().as_ref(), [7; 300]);
        assert_eq!(items[0].as_bin(), None);
        assert_eq!(Payload::list(&[]).unwrap().items().unwrap().len(), 0);
        assert_eq!(Payload::json("no list").unwrap().items(), None);
    }
}
