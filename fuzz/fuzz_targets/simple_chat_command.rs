//! A byte stream of simple-chat-server's clients: wherever it is cut, the same requests come out,
//! and each is read or refused.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::Format;
use roomcast_wire::dialect::{Cut, Dialect, Standing};

const BYTES_MAX: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = read_all(stream, stream.len().max(1));
    assert_eq!(read_all(stream, usize::from(step) + 1), whole);
    for message in &whole.0 {
        let _ = Format::SIMPLE_CHAT.decode(message, &Standing::default());
    }
    let _ = Format::SIMPLE_CHAT.decode(&Bytes::copy_from_slice(stream), &Standing::default());
});

/// All requests of a stream that comes in parts, and whether it ended in an error.
fn read_all(stream: &[u8], step: usize) -> (Vec<Bytes>, bool) {
    let mut cutter = Dialect::SimpleChat.grammar().stream().expect("it is spoken on TCP");
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
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
    (messages, false)
}
