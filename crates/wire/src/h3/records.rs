//! Type, length, value: how frames (RFC 9114 section 7.1) and capsules (RFC 9297 section 3.2)
//! follow each other on a stream.

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, H3Error, varint};

/// Cuts records off the front of a stream.
#[derive(Debug, Default)]
pub struct Records {
    /// So many bytes of a record that nobody wants are still to come.
    skip: u64,
}

impl Records {
    /// The next record of a wanted type, whole; others are passed over, whatever their length.
    /// `None`: more bytes are needed.
    ///
    /// # Errors
    /// A wanted record has more than [`FRAME_BYTES_MAX`] bytes. None of them is waited for.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        wanted: &[u64],
    ) -> Result<Option<(u64, Bytes)>, H3Error> {
        loop {
            let skipped = self.skip.min(buffer.len() as u64);
            self.skip -= skipped;
            // No more than the buffer has.
            _ = buffer.split_to(skipped as usize);
            let mut rest = &buffer[..];
            let (Some(kind), Some(len)) = (varint::take(&mut rest), varint::take(&mut rest)) else {
                return Ok(None);
            };
            let head = buffer.len() - rest.len();
            if !wanted.contains(&kind) {
                _ = buffer.split_to(head);
                self.skip = len;
                if rest_is_short(buffer, len) {
                    self.skip = len - buffer.len() as u64;
                    buffer.clear();
                    return Ok(None);
                }
                continue;
            }
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len > FRAME_BYTES_MAX {
                return Err(H3Error::ExcessiveLoad);
            }
            if buffer.len() < head + len {
                return Ok(None);
            }
            let mut record = buffer.split_to(head + len).freeze();
            return Ok(Some((kind, record.split_off(head))));
        }
    }

    /// Whether the stream may end here: not within a record.
    pub fn is_between(&self, buffer: &[u8]) -> bool {
        self.skip == 0 && buffer.is_empty()
    }
}

fn rest_is_short(buffer: &BytesMut, len: u64) -> bool {
    (buffer.len() as u64) < len
}

/// Appends one record.
pub fn write(out: &mut Vec<u8>, kind: u64, value: &[u8]) {
    varint::write(out, kind);
    varint::write(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(stream: &[u8], step: usize) -> Vec<(u64, Vec<u8>)> {
        let mut records = Records::default();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Ok(Some((kind, value))) = records.next(&mut buffer, &[1, 4]) {
                found.push((kind, value.to_vec()));
            }
        }
        assert!(records.is_between(&buffer));
        found
    }

    #[test]
    fn records_are_cut_wherever_reads_end_and_others_are_passed_over() {
        let mut stream = Vec::new();
        write(&mut stream, 0x21, &[7; 100]);
        write(&mut stream, 4, b"settings");
        write(&mut stream, 0xf0700, b"");
        write(&mut stream, 1, b"");
        write(&mut stream, 0x1f * 9 + 0x21, &[7; 3]);
        for step in [1, 2, 7, 64, 1_000] {
            assert_eq!(cut(&stream, step), [(4, b"settings".to_vec()), (1, Vec::new())], "{step}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_came() {
        let mut buffer = BytesMut::from(&[1, 0x80, 0x00, 0x40, 0x01][..]);
        let refused = Records::default().next(&mut buffer, &[1]);
        assert_eq!(refused, Err(H3Error::ExcessiveLoad));
    }
}
