//! Masking (RFC 6455 section 5.3): the same operation sets and removes a mask.

/// Applies `mask` to `payload`, whose first byte meets the first byte of the mask.
pub(super) fn apply(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let key = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(key);
    // Whole words: the compiler makes vector instructions of it, and words are a multiple of the
    // mask, so each begins at its first byte.
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(key) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_the_word_size_is_masked_bytewise() {
        for len in 0..40_usize {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mask = [0x37, 0xfa, 0x21, 0x3d];
            let expected: Vec<u8> =
                plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            let mut masked = plain.clone();
            apply(&mut masked, mask);
            assert_eq!(masked, expected);
            apply(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }
}
