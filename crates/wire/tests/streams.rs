//! MaChat's and nimMsgIo's streams: wherever they are cut the same messages come out, each is read
//! or refused, and what is written is one message that says what was meant.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use roomcast_wire::dialect::{Cut, Cutter, Dialect, Receiver, Standing};
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{CloseCode, Codec, Command, EventName, Format, Name, Payload, Push, SessionId};

const BYTES_MAX: usize = 64;

/// What a stream was cut into: how it is spoken, its messages, and what it is closed with.
type Whole = (Option<Format>, Vec<Bytes>, Option<CloseCode>);

fn read_all(mut cutter: Box<dyn Cutter>, stream: &[u8], step: usize) -> Whole {
    let (mut format, mut messages) = (None, Vec::new());
    let mut buffer = BytesMut::new();
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            match cutter.cut(&mut buffer, BYTES_MAX) {
                Ok(Some(Cut::Message(message))) => messages.push(message),
                Ok(Some(Cut::Begins(begins))) => {
                    assert!(format.is_none() && messages.is_empty(), "once, before all messages");
                    format = Some(begins);
                }
                Ok(None) => break,
                Err(error) => return (format, messages, Some(error.code)),
            }
        }
        // What is not whole is bounded: a line's end may be two bytes behind it.
        assert!(buffer.len() <= BYTES_MAX + 6, "{} bytes wait", buffer.len());
    }
    messages.extend(cutter.rest(&mut buffer));
    (format, messages, None)
}

/// All that the dialects cut a stream with, and the format where none is named.
fn cutters() -> Vec<(Format, Box<dyn Cutter>)> {
    let (machat, msgio) = (Dialect::MaChat.grammar(), Dialect::MsgIo.grammar());
    vec![
        (Format::MACHAT_LINE, machat.stream().unwrap()),
        (Format::MACHAT_WS, machat.ws_stream().unwrap()),
        (Format::MSGIO_JSON, msgio.stream().unwrap()),
        (Format::MSGIO_JSON, msgio.stream_in(Codec::Json).unwrap()),
        (Format::MSGIO_MSGPACK, msgio.stream_in(Codec::MsgPack).unwrap()),
    ]
}

/// Reads a stream with everything, whole and in parts.
fn read_with_all(stream: &[u8], step: usize) {
    for ((usual, one), (_, other)) in cutters().into_iter().zip(cutters()) {
        let whole = read_all(one, stream, stream.len().max(1));
        assert_eq!(read_all(other, stream, step), whole, "{usual:?}");
        let (format, messages, _) = whole;
        let format = format.unwrap_or(usual);
        assert_eq!(format.dialect(), usual.dialect());
        for message in &messages {
            assert!(message.len() <= BYTES_MAX);
            read(format, message);
        }
    }
}

/// Reads a message at every stage that its sender may be at.
fn read(format: Format, message: &Bytes) {
    let hello = Standing { namespace: "default", ..Standing::default() };
    let entered = Standing { session: Some(SessionId(1)), room: Some("r"), ..hello };
    let begins = Standing { goes_on: true, ..entered };
    let to_lobby = Standing { lobby: Some("lobby"), ..entered };
    for place in [hello, entered, begins, to_lobby] {
        if let Err(error) = format.decode(message, &place) {
            assert_eq!(error.close, None, "answered in words");
        }
    }
}

fn sent(name: &str, payload: &Payload, author: Option<&str>, format: Format) -> Bytes {
    let sender = Sender {
        session: SessionId(7),
        user: None,
        name: author.map(|name| Name::new(name).unwrap()),
        metadata: None,
    };
    let event = Event {
        name: EventName::text(name).unwrap(),
        payload: Some(payload.clone()),
        from: Some(Arc::new(sender)),
        position: None,
        reliable: true,
        unreliable: 0,
    };
    let mut out = BytesMut::new();
    format.encode_push(&Receiver::default(), &Push::Event { room: "r", event: &event }, &mut out);
    out.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200), step in 1..20_usize) {
        read_with_all(&bytes, step);
        read_with_all(&[b"msgio", &bytes[..]].concat(), step);
    }

    #[test]
    fn mutated_streams_do_no_harm(
        text in "[ -~\r\né]{0,70}",
        at in any::<Index>(),
        byte in any::<u8>(),
        removed in any::<bool>(),
        step in 1..20_usize,
    ) {
        let json = serde_json::json!({"namespace": "", "event": "e", "payload": text}).to_string();
        let behind_len = |body: &[u8]| [&(body.len() as u32).to_le_bytes()[..], body].concat();
        let json = behind_len(json.as_bytes());
        let first = &text.as_bytes()[..text.len().min(1)];
        let packed = behind_len(&[b"\x93\xa0\xa1e\xa1", first].concat());
        for stream in [
            format!("{{\"name\":\"Mina\",\"room\":\"r\"}}{text}\n{text}\r\n{text}").into_bytes(),
            [b"msgio", &json[..], &json].concat(),
            [b"msgio", &packed[..], &packed].concat(),
        ] {
            read_with_all(&stream, step);
            let mut stream = stream;
            let at = at.index(stream.len());
            stream[at] = byte;
            read_with_all(&stream, step);
            if removed {
                stream.remove(at);
                read_with_all(&stream, step);
            }
        }
    }

    /// What is heard in MaChat is one line, whatever is said and by whom; and what its clients say
    /// others read as it was said.
    #[test]
    fn a_line_is_one_line(
        said in any::<String>(),
        author in "[ -~é]{1,20}| {0,2}(server|SERVER|error|Error) {0,2}",
    ) {
        let payload = Payload::text(&said);
        let line = sent("chat", &payload, Some(&author), Format::MACHAT_LINE);
        let line = std::str::from_utf8(&line).unwrap();
        let (name, text) = line.strip_suffix('\n').unwrap().split_once(':').unwrap();
        prop_assert!(!line[..line.len() - 1].contains(|c: char| c.is_control() && c != '\t'));
        let author = author.replace(':', "_");
        prop_assert!(name == author || name == format!("{author}_"), "{}", name);
        prop_assert!(!["error", "server"].contains(&name.trim().to_lowercase().as_str()));
        let shown: String = said.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        prop_assert_eq!(text, shown);
        let place = Standing {
            session: Some(SessionId(1)),
            namespace: "default",
            room: Some("r"),
            ..Standing::default()
        };
        let message = Bytes::from(said.clone());
        let request = Format::MACHAT_LINE.decode(&message, &place).unwrap();
        let Command::Publish { data, .. } = request.command else { panic!() };
        let data: serde_json::Value = data.unwrap().read().unwrap();
        prop_assert_eq!(&data["text"], &said);
    }

    /// nimMsgIo's messages say the same in both codecs, and are read as they are written.
    #[test]
    fn a_message_is_read_as_it_was_written(said in any::<String>(), name in "[ -~é]{1,20}") {
        for format in [Format::MSGIO_JSON, Format::MSGIO_MSGPACK] {
            let message = sent(&name, &Payload::text(&said), None, format);
            let (len, body) = message.split_first_chunk().unwrap();
            prop_assert_eq!(u32::from_le_bytes(*len) as usize, body.len());
            let body = message.slice(4..);
            let request = format.decode(&body, &Standing::default()).unwrap();
            let Command::Call { call, data, .. } = request.command else { panic!() };
            prop_assert_eq!(call.as_text(), Some(&*name));
            prop_assert_eq!(data.unwrap().read::<String>().unwrap(), said.clone());
        }
    }
}
