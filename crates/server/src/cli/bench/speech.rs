//! What the generator says and how it reads what it hears: as little as counting and checking
//! deliveries needs.

use anyhow::{Context, Result, bail};

use super::frames::{self, TEXT};
use super::socketio;

/// The smallest payload: a JSON string with the stamp in it.
pub const PAYLOAD_MIN: usize = Stamp::LEN + 2;

/// To whom the generator talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// roomcast's native dialect, JSON.
    Native,
    /// Socket.IO, whose event `publish` is the native command.
    SocketIo,
    /// The floor and the peers: `{"join":"ROOM"}` is answered with any message, everything else
    /// goes to the members of the room as it came.
    Bare,
}

/// How messages are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// WebSocket text frames.
    WebSocket,
    /// Lines of TCP.
    Lines,
    /// One each in UDP; within the load, lines.
    Datagrams,
}

/// What makes each event unique, carried in its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub room: u32,
    /// The number of the event in its room, from 0, as the generator sent them.
    pub number: u32,
    /// When it was due, in nanoseconds since the generator's start.
    pub due_ns: u64,
}

impl Stamp {
    /// Its length as text: 32 hexadecimal digits.
    pub const LEN: usize = 32;

    fn write(self) -> [u8; Self::LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let value =
            u128::from(self.room) << 96 | u128::from(self.number) << 64 | u128::from(self.due_ns);
        std::array::from_fn(|i| DIGITS[(value >> (124 - 4 * i)) as usize & 15])
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = text.first_chunk::<{ Self::LEN }>()?;
        let mut value = 0_u128;
        let mut wrong = false;
        for &digit in text {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => {
                    wrong = true;
                    0
                }
            };
            value = value << 4 | u128::from(nibble);
        }
        if wrong {
            return None;
        }
        Some(Self {
            room: (value >> 96) as u32,
            number: (value >> 64) as u32,
            due_ns: value as u64,
        })
    }
}

/// One event, as a member heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub stamp: Stamp,
    /// Its place in the room's order, where the server tells it.
    pub offset: Option<u64>,
}

pub fn room_name(room: u32) -> String {
    format!("bench-{room:05}")
}

impl Speech {
    /// The masking key of every frame. A server has to unmask; the key of zeros spares the floor
    /// what it is not to be measured with.
    pub fn key(self) -> [u8; 4] {
        match self {
            Self::Native | Self::SocketIo => [0x37, 0xfa, 0x21, 0x3d],
            Self::Bare => [0; 4],
        }
    }

    /// Where it is spoken, if the URL does not say.
    pub fn path(self) -> &'static str {
        match self {
            Self::Native | Self::Bare => "/ws",
            Self::SocketIo => socketio::PATH,
        }
    }

    /// The first message on a new link, answered before anything else is said.
    pub fn hello(self) -> Option<&'static str> {
        match self {
            Self::Native => Some(r#"{"type":"hello","ref":1}"#),
            Self::SocketIo => Some(socketio::CONNECT),
            Self::Bare => None,
        }
    }

    pub fn join(self, room: u32) -> String {
        match self {
            Self::Native => format!(r#"{{"type":"join","ref":2,"room":"{}"}}"#, room_name(room)),
            Self::SocketIo => socketio::join(room),
            Self::Bare => format!(r#"{{"join":"{}"}}"#, room_name(room)),
        }
    }

    /// What is to be answered to this message, whenever it comes.
    pub fn answer(self, message: &[u8]) -> Option<&'static str> {
        match self {
            Self::SocketIo => socketio::answer(message),
            Self::Native | Self::Bare => None,
        }
    }

    /// Whether `message` answers the hello.
    pub fn is_welcome(self, message: &[u8]) -> Result<bool> {
        let mark: &[u8] = match self {
            Self::SocketIo => socketio::CONNECTED,
            Self::Native | Self::Bare => b"\"type\":\"welcome\"",
        };
        self.is_reply(message, mark)
    }

    /// Whether `message` answers the join; if so, the offset the room stands at.
    pub fn is_joined(self, message: &[u8]) -> Result<Option<u64>> {
        if !self.is_reply(message, b"\"type\":\"joined\"")? {
            return Ok(None);
        }
        Ok(Some(find(message, b"\"offset\":").map_or(0, |at| number_at(message, at))))
    }

    fn is_reply(self, message: &[u8], mark: &[u8]) -> Result<bool> {
        if self != Self::Bare {
            refused(message)?;
        }
        Ok(self == Self::Bare || find(message, mark).is_some())
    }
}

/// The prebuilt publish of one room.
#[derive(Debug)]
pub struct Publish {
    frame: Vec<u8>,
    stamp_at: usize,
    key: [u8; 4],
}

impl Publish {
    /// `unreliable`: the event need not arrive (native dialect). `payload` is the length of the
    /// JSON string that is published; `event` the length of the whole message that members get
    /// where the receiver passes messages on as they are.
    pub fn new(
        (speech, framing): (Speech, Framing),
        room: u32,
        unreliable: bool,
        payload: usize,
        event: usize,
    ) -> Self {
        let fill = |len: usize| "x".repeat(len.saturating_sub(Stamp::LEN));
        let (before, after) = match speech {
            Speech::Native => {
                let room = room_name(room);
                let flag = if unreliable { r#""reliable":false,"# } else { "" };
                let before =
                    format!(r#"{{"type":"publish",{flag}"room":"{room}","event":"b","data":""#);
                (before, format!("{}\"}}", fill(payload - 2)))
            }
            Speech::SocketIo => {
                let (before, after) = socketio::publish(room);
                (before, fill(payload - 2) + after)
            }
            Speech::Bare => (String::new(), fill(event)),
        };
        let message = format!("{before}{}{after}", "0".repeat(Stamp::LEN));
        let mut frame = Vec::new();
        let key = speech.key();
        let (stamp_at, key) = match framing {
            Framing::WebSocket => {
                frames::write_frame(&mut frame, TEXT, Some(key), message.as_bytes());
                (frame.len() - message.len() + before.len(), key)
            }
            Framing::Lines | Framing::Datagrams => {
                frame.extend_from_slice(message.as_bytes());
                frame.push(b'\n');
                (before.len(), [0; 4])
            }
        };
        // So that the key's turn at the stamp is the key's first byte.
        let mut turned = key;
        turned.rotate_left(before.len() % 4);
        Self { frame, stamp_at, key: turned }
    }

    /// Appends the publish with this stamp.
    pub fn write(&self, out: &mut Vec<u8>, stamp: Stamp) {
        let start = out.len() + self.stamp_at;
        out.extend_from_slice(&self.frame);
        let target = &mut out[start..start + Stamp::LEN];
        for ((target, digit), key) in
            target.iter_mut().zip(stamp.write()).zip(self.key.iter().cycle())
        {
            *target = digit ^ key;
        }
    }
}

/// Reads events. Those of one run look alike, so it remembers where it found things.
#[derive(Debug)]
pub struct EventReader {
    speech: Speech,
    data_at: usize,
}

const DATA: &[u8] = b"\"data\":\"";
const OFFSET: &[u8] = b"\"offset\":";

impl EventReader {
    pub fn new(speech: Speech) -> Self {
        Self { speech, data_at: 0 }
    }

    /// Reads a message; `None` if it is not an event.
    pub fn read(&mut self, message: &[u8]) -> Result<Option<Heard>> {
        match self.speech {
            Speech::Bare => Ok(Stamp::read(message).map(|stamp| Heard { stamp, offset: None })),
            Speech::Native => self.read_native(message),
            Speech::SocketIo => read_socketio(message),
        }
    }

    fn read_native(&mut self, message: &[u8]) -> Result<Option<Heard>> {
        if !message.starts_with(b"{\"type\":\"event\"") {
            refused(message)?;
            if find(message, b"\"type\":\"event\"").is_none() {
                return Ok(None);
            }
        }
        let hinted = message.get(self.data_at..).is_some_and(|rest| rest.starts_with(DATA));
        if !hinted {
            self.data_at = find(message, DATA).context("an event has no data")? - DATA.len();
        }
        let stamp = Stamp::read(&message[self.data_at + DATA.len()..])
            .context("an event's data is not what was published")?;
        let at = offset_at_end(message, b"}}").or_else(|| find(message, OFFSET));
        Ok(Some(Heard { stamp, offset: at.map(|at| number_at(message, at)) }))
    }
}

fn read_socketio(message: &[u8]) -> Result<Option<Heard>> {
    let Some(data) = message.strip_prefix(socketio::EVENT) else {
        refused(message)?;
        return Ok(None);
    };
    let stamp = Stamp::read(data).context("an event's data is not what was published")?;
    let at = offset_at_end(message, socketio::EVENT_END).context("an event has no offset")?;
    Ok(Some(Heard { stamp, offset: Some(number_at(message, at)) }))
}

/// # Errors
/// The message is a refusal.
fn refused(message: &[u8]) -> Result<()> {
    if find(message, b"\"type\":\"error\"").is_some() || message.starts_with(b"44{") {
        bail!("the server refused: {}", String::from_utf8_lossy(message));
    }
    Ok(())
}

/// Where the offset's digits begin, if the message ends in `"offset":42` and `end`.
fn offset_at_end(message: &[u8], end: &[u8]) -> Option<usize> {
    let body = message.strip_suffix(end)?;
    let digits = body.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let at = body.len() - digits;
    body[..at].ends_with(OFFSET).then_some(at)
}

/// The place behind the first `needle`.
fn find(message: &[u8], needle: &[u8]) -> Option<usize> {
    message.windows(needle.len()).position(|window| window == needle).map(|at| at + needle.len())
}

fn number_at(message: &[u8], at: usize) -> u64 {
    let digits = message[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

/// The length of the message that a member of roomcast gets for a payload of this length.
pub fn native_event_len(payload: usize) -> usize {
    let frame = concat!(
        r#"{"type":"event","room":"bench-00000","event":"b","data":,"from":{"session":""},"#,
        r#""at":{"epoch":"","offset":12345}}"#
    );
    frame.len() + payload + roomcast_wire::SessionId::TEXT_LEN + roomcast_wire::Epoch::TEXT_LEN
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { room: 7, number: 0xdead_beef, due_ns: 1_234_567_890_123 };

    #[test]
    fn a_stamp_survives_every_way_of_publishing() {
        assert_eq!(Stamp::read(&STAMP.write()), Some(STAMP));
        for speech in [Speech::Native, Speech::SocketIo, Speech::Bare] {
            for framing in [Framing::WebSocket, Framing::Lines, Framing::Datagrams] {
                let publish = Publish::new((speech, framing), 7, false, 64, 180);
                let mut out = b"before".to_vec();
                publish.write(&mut out, STAMP);
                let body = match framing {
                    Framing::Lines | Framing::Datagrams => {
                        out[6..].strip_suffix(b"\n").unwrap().to_vec()
                    }
                    Framing::WebSocket => {
                        let frame = frames::read_frame(&out[6..]).unwrap().unwrap();
                        let masked = &out[6 + frame.start..6 + frame.end];
                        let key = frame.key.unwrap();
                        masked.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect()
                    }
                };
                match speech {
                    Speech::Bare => {
                        assert_eq!(body.len(), 180);
                        assert_eq!(Stamp::read(&body), Some(STAMP));
                    }
                    Speech::Native | Speech::SocketIo => {
                        let packet = body.strip_prefix(b"42[\"publish\",").unwrap_or(&body);
                        let body = packet.strip_suffix(b"]").unwrap_or(packet);
                        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
                        assert_eq!(body["data"].to_string().len(), 64);
                        assert_eq!(
                            Stamp::read(body["data"].as_str().unwrap().as_bytes()),
                            Some(STAMP)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_event_is_read_wherever_its_parts_stand() {
        let data = String::from_utf8(STAMP.write().to_vec()).unwrap() + "xx";
        let mut reader = EventReader::new(Speech::Native);
        for text in [
            format!(
                r#"{{"type":"event","room":"a","event":"b","data":"{data}","at":{at}}}"#,
                at = r#"{"epoch":"abcdefgh","offset":42}"#,
            ),
            format!(r#"{{"at":{{"offset":42}},"data":"{data}","type":"event"}}"#),
        ] {
            let heard = reader.read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(heard, Heard { stamp: STAMP, offset: Some(42) });
        }
        assert_eq!(reader.read(br#"{"type":"ok","ref":3}"#).unwrap(), None);
        assert!(reader.read(br#"{"type":"error","code":4030}"#).is_err());
    }

    #[test]
    fn socket_io_is_read_as_strictly() {
        let data = String::from_utf8(STAMP.write().to_vec()).unwrap() + "xx";
        let mut reader = EventReader::new(Speech::SocketIo);
        let at = r#""at":{"epoch":"abcdefgh","offset":42}"#;
        let event = format!(r#"42["b","{data}",{{"room":"a",{at}}}]"#);
        let heard = reader.read(event.as_bytes()).unwrap();
        assert_eq!(heard, Some(Heard { stamp: STAMP, offset: Some(42) }));
        assert_eq!(reader.read(b"2").unwrap(), None);
        assert!(reader.read(format!(r#"42["b","{data}"]"#).as_bytes()).is_err());
        assert!(reader.read(br#"42["error",{"type":"error","code":4030}]"#).is_err());
        let speech = Speech::SocketIo;
        assert_eq!((speech.answer(b"2"), speech.answer(b"2[]")), (Some("3"), None));
        assert!(speech.is_welcome(br#"40{"sid":"x"}"#).unwrap());
        assert!(!speech.is_welcome(br#"0{"sid":"x"}"#).unwrap());
        assert!(speech.is_welcome(br#"44{"message":"no"}"#).is_err());
        let joined = br#"430[{"type":"joined","position":{"epoch":"abcdefgh","offset":9}}]"#;
        assert_eq!(speech.is_joined(joined).unwrap(), Some(9));
    }

    #[test]
    fn a_joined_tells_where_the_room_stands() {
        let joined = br#"{"type":"joined","ref":2,"position":{"epoch":"abcdefgh","offset":9}}"#;
        assert_eq!(Speech::Native.is_joined(joined).unwrap(), Some(9));
        assert_eq!(Speech::Native.is_joined(br#"{"type":"presence"}"#).unwrap(), None);
        assert_eq!(Speech::Bare.is_joined(b"anything").unwrap(), Some(0));
        assert!(Speech::Native.is_joined(br#"{"type":"error"}"#).is_err());
    }
}
