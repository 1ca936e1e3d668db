//! Identities and positions, and how they are written as text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text is not an identity of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct IdError(&'static str);

/// Writes the lowest bits of `bits` as base64url digits, 6 bits each. An event has two identities
/// in it: a general encoder took 500 of its 8,100 instructions.
#[inline(never)]
fn write_digits(mut bits: u64, out: &mut [u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(bits & 63) as usize];
        bits >>= 6;
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl $name {
            /// Length of the written form, in ASCII characters.
            pub const TEXT_LEN: usize = 22;

            /// Writes the identity (base64url, RFC 4648 section 5, without padding).
            pub fn write(self, buffer: &mut [u8; 22]) -> &str {
                self.write_bytes(buffer);
                std::str::from_utf8(&buffer[..]).unwrap_or_default()
            }

            /// The same as bytes, for who puts them in a frame.
            #[inline]
            pub(crate) fn write_bytes(self, buffer: &mut [u8; 22]) -> &[u8] {
                // Ten digits hold 60 bits. The last two hold 8 and four zeros.
                let (first, rest) = buffer.split_at_mut(10);
                let (second, last) = rest.split_at_mut(10);
                write_digits((self.0 >> 68) as u64, first);
                write_digits((self.0 >> 8) as u64, second);
                write_digits((self.0 as u64 & 0xff) << 4, last);
                buffer
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 16];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                    Ok(16) => Ok(Self(u128::from_be_bytes(bytes))),
                    _ => Err(IdError($what)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.write(&mut [0; 22]))
            }
        }
    };
}

random_id! {
    /// A session's public identity: 128 random bits, 22 characters.
    SessionId, "session id"
}
random_id! {
    /// What proves that a session may be resumed: 128 random bits, 22 characters, used once.
    Secret, "resume secret"
}

impl SessionId {
    /// A number of ten digits below 2³¹ that stands for the session where only numbers of 31 bits
    /// will do. Two sessions share one by chance once in 1.1 billion.
    pub fn number(self) -> u32 {
        const LOWEST: u32 = 1_000_000_000;
        const COUNT: u128 = (1 << 31) - LOWEST as u128;
        LOWEST + (self.0 as u64 as u128 % COUNT) as u32
    }
}

/// As messages have it: 22 characters. A [`Secret`] is written by the server's own replies only.
impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 22]))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Secret {
    /// Never shows the secret: debug output ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One life of a room's log: 48 random bits, written as 8 characters. A new epoch says that the
/// log before it cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// Length of the written form, in ASCII characters.
    pub const TEXT_LEN: usize = 8;

    /// Keeps the lowest 48 bits of `random`.
    pub fn new(random: u64) -> Self {
        Self(random & 0xffff_ffff_ffff)
    }

    /// Its 48 bits, as [`Epoch::new`] takes them.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Writes the epoch (base64url, RFC 4648 section 5, without padding).
    pub fn write(self, buffer: &mut [u8; 8]) -> &str {
        self.write_bytes(buffer);
        std::str::from_utf8(&buffer[..]).unwrap_or_default()
    }

    /// The same as bytes, for who puts them in a frame.
    #[inline]
    pub(crate) fn write_bytes(self, buffer: &mut [u8; 8]) -> &[u8] {
        write_digits(self.0, buffer);
        buffer
    }
}

impl FromStr for Epoch {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 8];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes[2..]) {
            Ok(6) => Ok(Self(u64::from_be_bytes(bytes))),
            _ => Err(IdError("epoch")),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.write(&mut [0; 8]))
    }
}

/// Where an event stands in its room's order. Offsets of one epoch count up by one from 1;
/// `offset: 0` is the position before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the log.
    pub epoch: Epoch,
    /// The event's number in it.
    pub offset: u64,
}

/// Up to where a client has heard what one shard told its links: a life of the shard and a number
/// that only grows. It is written behind what is told, where the dialect's clients name it when
/// they come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Which life of the shard.
    pub epoch: Epoch,
    /// The number of the last thing heard.
    pub number: u64,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.epoch, self.number)
    }
}

impl FromStr for Offset {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (epoch, number) = text.split_at_checked(Epoch::TEXT_LEN).ok_or(IdError("offset"))?;
        let is_number = number.len() <= 20 && number.bytes().all(|digit| digit.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number).ok_or(IdError("offset"))?;
        Ok(Self { epoch: epoch.parse()?, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_read_back() {
        for n in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let text = SessionId(n).to_string();
            assert_eq!(text, URL_SAFE_NO_PAD.encode(n.to_be_bytes()));
            assert_eq!(text.len(), SessionId::TEXT_LEN);
            assert_eq!(text.parse(), Ok(SessionId(n)));
        }
        let written = serde_json::to_value(SessionId(7)).map_err(|error| error.to_string());
        assert_eq!(written, Ok(SessionId(7).to_string().into()));
        for n in [0, 1, u64::MAX] {
            let text = Epoch::new(n).to_string();
            assert_eq!(text, URL_SAFE_NO_PAD.encode(&n.to_be_bytes()[2..]));
            assert_eq!(text.len(), Epoch::TEXT_LEN);
            assert_eq!(text.parse(), Ok(Epoch::new(n)));
        }
        for number in [0, 41, u64::MAX] {
            let offset = Offset { epoch: Epoch::new(7), number };
            assert_eq!(offset.to_string().parse(), Ok(offset));
        }
        for wrong in
            ["", "AAAAAAA", "AAAAAAAA", "AAAAAAAA+1", "AAAAAAAA-1", "AAAAAAAé1", "éAAAAAAA1"]
        {
            assert!(wrong.parse::<Offset>().is_err(), "{wrong}");
        }
        assert!(format!("AAAAAAAA{}1", u64::MAX).parse::<Offset>().is_err());
        assert!("AAAAAAAA000000000000000000001".parse::<Offset>().is_err());
        assert!("short".parse::<SessionId>().is_err());
        assert!("way too long for an epoch".parse::<Epoch>().is_err());
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Secret(7)), "Secret(..)");
    }
}
