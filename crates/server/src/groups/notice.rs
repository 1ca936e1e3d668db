//! What the others of a group are told when somebody comes or goes.

use bytes::{BufMut, Bytes, BytesMut};
use roomcast_core::logic::IntoData;
use roomcast_wire::{Codec, EventName, Payload};

/// The event that a command of a game is: `ver << 16 | cmd`. See
/// [`Groups`](super::Groups) for an example.
pub fn event(ver: u8, cmd: u16) -> EventName {
    EventName::Number(u64::from(ver) << 16 | u64::from(cmd))
}

/// Something the others hear: as `data` of `join` or `leave` it is `{"event": …, "data": …}`. See
/// [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub(super) event: EventName,
    pub(super) data: Payload,
}

impl Notice {
    /// A message under `(ver, cmd)`; none if it is empty: nothing, `null`, a text or bytes without
    /// length. A message that cannot be written is empty, too.
    pub fn new(ver: u8, cmd: u16, message: impl IntoData) -> Option<Self> {
        let data = message.into_data().ok().flatten().filter(|data| !is_empty(data))?;
        Some(Self { event: event(ver, cmd), data })
    }

    /// Reads the `data` of `join` or `leave`; none if it holds no notice.
    pub(super) fn read(data: Option<&Payload>) -> Option<Self> {
        let name = data?.field("event")?;
        let event = match name.read::<u32>() {
            Ok(number) => EventName::Number(number.into()),
            Err(_) => EventName::text(&name.read::<String>().ok()?).ok()?,
        };
        let data = data?.field("data").filter(|data| !is_empty(data))?;
        Some(Self { event, data })
    }

    /// As `data` of `join` or `leave`. In the codec of the message, so that bytes stay bytes.
    pub(super) fn write(&self) -> Option<Payload> {
        let EventName::Number(event) = self.event else { return None };
        let message = self.data.bytes();
        let codec = self.data.codec();
        let bytes: Bytes = match codec {
            Codec::Json => {
                let text = format!("{{\"event\":{event},\"data\":");
                [text.as_bytes(), message, b"}"].concat().into()
            }
            Codec::MsgPack => {
                let mut out = BytesMut::with_capacity(message.len() + 17);
                out.put_slice(b"\x82\xa5event\xcf");
                out.put_u64(event);
                out.put_slice(b"\xa4data");
                out.put_slice(message);
                out.freeze()
            }
        };
        Payload::new(codec, bytes).ok()
    }
}

fn is_empty(data: &Payload) -> bool {
    matches!(&data.bytes()[..], b"null" | b"\"\"" | [0xa0 | 0xc0] | [0xc4, 0])
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_comes_back_as_it_went() {
        let written = |message: &dyn Fn() -> Option<Notice>| message().unwrap().write().unwrap();
        let text = || Notice::new(2, 10, "hi");
        assert_eq!(written(&text).bytes(), r#"{"event":131082,"data":"hi"}"#);
        let bytes = || Notice::new(2, 10, Payload::bin(&[0, 255]));
        for notice in [text(), bytes(), Notice::new(255, 65_535, &[1, 2])] {
            let data = notice.as_ref().unwrap().write().unwrap();
            assert_eq!(Notice::read(Some(&data)), notice);
        }
        let word = Payload::new(Codec::Json, r#"{"data":1,"event":"came"}"#.into()).unwrap();
        assert_eq!(Notice::read(Some(&word)).unwrap().event, EventName::text("came").unwrap());
    }

    #[test]
    fn an_empty_message_is_no_notice() {
        assert_eq!(Notice::new(2, 10, ()), None);
        assert_eq!(Notice::new(2, 10, ""), None);
        assert_eq!(Notice::new(2, 10, serde_json::Value::Null), None);
        assert_eq!(Notice::new(2, 10, Payload::bin(&[])), None);
        assert_eq!(Notice::new(2, 10, Payload::text("")), None);
        for data in ["{}", "[]", "7", r#"{"event":1}"#, r#"{"event":-1,"data":1}"#, r#"{"data":1}"#]
        {
            let data = Payload::new(Codec::Json, data.into()).unwrap();
            assert_eq!(Notice::read(Some(&data)), None);
        }
        assert_eq!(Notice::read(None), None);
    }
}
