//! A byte stream cut anywhere: the first byte says how it is cut and which framing it has.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::framing::{TooLarge, read_length, read_line};

const BYTES_MAX: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((&plan, stream)) = data.split_first() else { return };
    let step = usize::from(plan >> 1) + 1;
    let lines = plan & 1 == 0;
    assert_eq!(read_all(stream, step, lines), read_all(stream, stream.len().max(1), lines));
});

/// All messages of a stream that comes in parts, and whether it ended in an error.
fn read_all(stream: &[u8], step: usize, lines: bool) -> (Vec<Bytes>, bool) {
    let mut buffer = BytesMut::new();
    let (mut scanned, mut messages) = (0, Vec::new());
    let mut next = |buffer: &mut BytesMut| -> Result<Option<Bytes>, TooLarge> {
        match lines {
            true => read_line(buffer, &mut scanned, BYTES_MAX),
            false => read_length(buffer, BYTES_MAX),
        }
    };
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            match next(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}
