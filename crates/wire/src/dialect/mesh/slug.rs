//! Slugs: the short names of clients, 5 letters and 3 digits.

use crate::SessionId;

const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many slugs there are: 52⁵ × 10³, or 38 bits.
const COUNT: u64 = 380_204_032_000;

/// The upper half of the ids of this grammar's sessions, so that a slug says whose it is.
const MARK: u128 = 0x6d65_7368_2d73_6c75 << 64;

/// The id of a new session of this grammar. Of `random` so much is used as a slug can say.
pub fn session_id(random: u128) -> SessionId {
    SessionId(MARK | u128::from(random as u64 % COUNT))
}

/// The slug of any session. Those of this grammar have one each; among the others two may share
/// one, once in 380 billion.
pub fn slug(session: SessionId) -> String {
    let mut rest = session.0 as u64 % COUNT;
    let mut slug = [0; 8];
    for digit in slug[5..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    for letter in slug[..5].iter_mut().rev() {
        *letter = LETTERS[(rest % 52) as usize];
        rest /= 52;
    }
    slug.iter().map(|&byte| char::from(byte)).collect()
}

/// The session of this grammar that has a slug; none if the text is no slug.
pub fn session_of(slug: &str) -> Option<SessionId> {
    let slug: &[u8; 8] = slug.as_bytes().try_into().ok()?;
    let mut index = 0;
    for letter in &slug[..5] {
        index = index * 52 + LETTERS.iter().position(|known| known == letter)? as u64;
    }
    for digit in &slug[5..] {
        index = index * 10 + u64::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?);
    }
    Some(SessionId(MARK | u128::from(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_read_back() {
        for random in [0, 1, 999, 1_000, u128::from(COUNT - 1), u128::MAX, 0x1234_5678_9abc << 7] {
            let id = session_id(random);
            let text = slug(id);
            assert_eq!(session_of(&text), Some(id), "{text}");
            let (letters, digits) = text.split_at(5);
            assert!(letters.bytes().all(|byte| byte.is_ascii_alphabetic()), "{text}");
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        }
        assert_eq!(slug(session_id(0)), "AAAAA000");
        assert_eq!(slug(SessionId(u128::MAX)).len(), 8);
    }

    #[test]
    fn what_is_no_slug_is_nobody() {
        for text in ["", "ZePyT81", "ZePyT8170", "ZePy1817", "ZePyTa17", "ZePyT81x", "ZePyä817"] {
            assert_eq!(session_of(text), None, "{text}");
        }
    }
}
