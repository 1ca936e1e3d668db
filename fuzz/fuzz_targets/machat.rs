//! MaChat's stream cut anywhere: the messages are the same, and each is read or refused.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::dialect::{Cut, Dialect, Standing};
use roomcast_wire::{Format, SessionId};

const BYTES_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = read_all(stream, stream.len().max(1));
    assert_eq!(read_all(stream, usize::from(step) + 1), whole);
    for message in &whole.0 {
        let hello = Standing::default();
        let _ = Format::MACHAT_LINE.decode(message, &hello);
        let line = Standing { session: Some(SessionId(1)), room: Some("r"), ..hello };
        assert!(Format::MACHAT_LINE.decode(message, &line).is_ok());
    }
});

/// All messages of a stream that comes in parts, and whether it ended in an error.
fn read_all(stream: &[u8], step: usize) -> (Vec<Bytes>, bool) {
    let Some(mut cutter) = Dialect::MaChat.grammar().stream() else { return (Vec::new(), true) };
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            match cutter.cut(&mut buffer, BYTES_MAX) {
                Ok(Some(Cut::Message(message))) => messages.push(message),
                Ok(Some(Cut::Begins(_))) => {}
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    messages.extend(cutter.rest(&mut buffer));
    (messages, false)
}
