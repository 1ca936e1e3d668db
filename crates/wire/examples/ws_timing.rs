//! What reading a WebSocket frame and compressing a message cost: the best of many runs, printed.
//! `cargo run --release -p roomcast-wire --example ws_timing`
#![allow(clippy::unwrap_used)]
// The crate has no clock; what measures it needs one.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use roomcast_wire::ws::frame::{Opcode, Reader, deflate, inflate, write_masked};

const MAX: usize = 64 << 10;

fn main() {
    println!("masked text frame of 64 bytes, alone in its buffer: {:.1} ns", reading(1));
    println!("masked text frame of 64 bytes, one of 16: {:.1} ns", reading(16));
    let body = message(741);
    let sent = compress(&body);
    println!("compressing {} to {} bytes: {:.0} ns", body.len(), sent.len(), best(&body, compress));
    let decompress = |sent: &[u8]| inflate(sent, MAX).unwrap();
    println!("decompressing it: {:.0} ns", best(&sent, decompress));
}

/// Nanoseconds for each frame of a buffer that holds `batch` of them.
fn reading(batch: usize) -> f64 {
    let mut frame = BytesMut::new();
    write_masked(&mut frame, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], &[b'x'; 64]);
    let mut reader = Reader::new(false);
    let rounds = 2_000;
    let mut best = f64::MAX;
    for _ in 0..20 {
        let mut buffers: Vec<_> =
            (0..rounds).map(|_| BytesMut::from(&frame.repeat(batch)[..])).collect();
        let begin = Instant::now();
        for buffer in &mut buffers {
            while let Some(message) = reader.read(buffer, MAX).unwrap() {
                black_box(message);
            }
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / (rounds * batch) as f64);
    }
    best
}

/// Nanoseconds of the fastest of many calls.
fn best(input: &[u8], run: impl Fn(&[u8]) -> Bytes) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        black_box(run(input));
        begin.elapsed().as_nanos()
    };
    (0..1_000).map(time).min().unwrap() as f64
}

fn compress(body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    deflate(body, &mut out);
    out.freeze()
}

/// Text that repeats itself about as much as a chat's JSON.
fn message(len: usize) -> Vec<u8> {
    let line =
        |i: usize| format!("{{\"seat\":{i},\"text\":\"{:x}\"}},", i.wrapping_mul(0x9e37_79b9));
    (0..).flat_map(|i| line(i).into_bytes()).take(len).collect()
}
