//! nimMsgIo's stream cut anywhere: the messages are the same, and each is read or refused.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::Format;
use roomcast_wire::dialect::{Cut, Dialect, Standing};

const BYTES_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    let stream = [b"msgio", stream].concat();
    let whole = read_all(&stream, stream.len());
    assert_eq!(read_all(&stream, usize::from(step) + 1), whole);
    let (format, messages, _) = whole;
    for message in &messages {
        let _ = format.unwrap_or(Format::MSGIO_JSON).decode(message, &Standing::default());
    }
});

/// How a stream that comes in parts is spoken, its messages, and whether it ended in an error.
fn read_all(stream: &[u8], step: usize) -> (Option<Format>, Vec<Bytes>, bool) {
    let (mut format, mut messages) = (None, Vec::new());
    let Some(mut cutter) = Dialect::MsgIo.grammar().stream() else {
        return (format, messages, true);
    };
    let mut buffer = BytesMut::new();
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            match cutter.cut(&mut buffer, BYTES_MAX) {
                Ok(Some(Cut::Message(message))) => messages.push(message),
                Ok(Some(Cut::Begins(begins))) => format = Some(begins),
                Ok(None) => break,
                Err(_) => return (format, messages, true),
            }
        }
    }
    (format, messages, false)
}
