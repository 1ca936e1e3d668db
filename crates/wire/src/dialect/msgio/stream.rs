//! The byte stream: five magic bytes, then messages behind their length.

use bytes::{Buf, BytesMut};

use super::super::{Cut, CutError, Cutter, Format};
use crate::framing::read_length_le;
use crate::{CloseCode, Codec};

/// What every client begins with.
pub const MAGIC: &[u8; 5] = b"msgio";

#[derive(Default)]
pub(super) struct MagicThenLengths {
    /// What is spoken here; none: the first message shows it.
    codec: Option<Codec>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Magic,
    /// How the client speaks is not known.
    First,
    Messages,
}

impl Cutter for MagicThenLengths {
    fn cut(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Cut>, CutError> {
        if let Stage::Magic = self.stage {
            let seen = buffer.len().min(MAGIC.len());
            if buffer.get(..seen) != MAGIC.get(..seen) {
                return Err(broken("the connection does not begin with `msgio`"));
            }
            if seen < MAGIC.len() {
                return Ok(None);
            }
            buffer.advance(MAGIC.len());
            self.stage = Stage::First;
        }
        if let Stage::First = self.stage {
            let codec = match self.codec {
                Some(codec) => codec,
                None => match buffer.get(4) {
                    None => return Ok(None),
                    Some(b'{') => Codec::Json,
                    Some(0x93) => Codec::MsgPack,
                    Some(_) => return Err(broken("neither JSON nor MessagePack")),
                },
            };
            self.stage = Stage::Messages;
            return Ok(Some(Cut::Begins(match codec {
                Codec::Json => Format::MSGIO_JSON,
                Codec::MsgPack => Format::MSGIO_MSGPACK,
            })));
        }
        if buffer.starts_with(&[0; 4]) {
            return Err(broken("a message of no bytes"));
        }
        Ok(read_length_le(buffer, bytes_max)?.map(Cut::Message))
    }
}

impl MagicThenLengths {
    pub(super) fn speaking(codec: Codec) -> Self {
        Self { codec: Some(codec), stage: Stage::Magic }
    }
}

fn broken(message: &str) -> CutError {
    CutError { code: CloseCode::Protocol, message: message.to_owned(), answer: b"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream that comes in pieces is cut into, and what is wrong with it.
    fn cut(codec: Option<Codec>, stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<CloseCode>) {
        let mut cutter = MagicThenLengths { codec, stage: Stage::Magic };
        let mut buffer = BytesMut::new();
        let mut all = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match cutter.cut(&mut buffer, 20) {
                    Ok(Some(Cut::Begins(format))) => all.push(vec![format.codec() as u8]),
                    Ok(Some(Cut::Message(bytes))) => all.push(bytes.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error.code)),
                }
            }
        }
        (all, None)
    }

    #[test]
    fn the_first_message_says_how_it_is_spoken_unless_the_listener_does() {
        let (json, packed) = (vec![Codec::Json as u8], vec![Codec::MsgPack as u8]);
        let begins = |begins: &[u8], rest: &[u8]| [MAGIC.as_slice(), begins, rest].concat();
        let one = |first: u8| vec![first, b'x'];
        let table = [
            (None, begins(b"", b""), vec![], None),
            (
                None,
                begins(b"\x02\0\0\0{x", b"\x01\0\0\0y"),
                vec![json.clone(), one(b'{'), vec![b'y']],
                None,
            ),
            (None, begins(b"\x02\0\0\0\x93x", b""), vec![packed.clone(), one(0x93)], None),
            (Some(Codec::Json), begins(b"", b""), vec![json.clone()], None),
            (Some(Codec::MsgPack), begins(b"\x01\0", b""), vec![packed.clone()], None),
            (None, begins(b"\x02\0\0\0hi", b""), vec![], Some(CloseCode::Protocol)),
            (None, b"msgiX".to_vec(), vec![], Some(CloseCode::Protocol)),
            (None, b"{".to_vec(), vec![], Some(CloseCode::Protocol)),
            (None, begins(b"\x15\0\0\0{", b""), vec![json.clone()], Some(CloseCode::TooLarge)),
            (
                Some(Codec::Json),
                begins(b"\0\0\0\0", b""),
                vec![json.clone()],
                Some(CloseCode::Protocol),
            ),
            (
                Some(Codec::Json),
                begins(b"\xff\xff\xff\xff", b""),
                vec![json],
                Some(CloseCode::TooLarge),
            ),
        ];
        for (codec, stream, messages, error) in table {
            for step in 1..=stream.len() {
                assert_eq!(cut(codec, &stream, step), (messages.clone(), error), "{stream:?}");
            }
        }
    }
}
