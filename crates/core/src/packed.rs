//! What crosses processes as bytes: records of the log, words between nodes.
//!
//! Numbers are written with 7 bits a byte, lowest first (LEB128), texts and bytes with their length
//! before them, an `Option` or the kind of an enum as one number. Nothing says which type it is:
//! who reads knows what was written, and what holds records has a version.
//!
//! Any bytes may be read: they give a value or an error, and no more memory is asked for than a
//! small multiple of what was given.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{
    Codec, Epoch, EventName, Name, Payload, Position, RoomOptions, Secret, SessionId,
};

/// The bytes are not what was to be read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// They end too early.
    #[error("the bytes end in the middle of a value")]
    Short,
    /// Something follows that nobody wrote.
    #[error("bytes follow after the value")]
    Long,
    /// This cannot be read.
    #[error("{0} cannot be read")]
    Invalid(&'static str),
}

/// What can be written as bytes and read back.
pub(crate) trait Packed: Sized {
    fn pack(&self, out: &mut Vec<u8>);
    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError>;
}

/// Reads a value that fills `bytes`. Payloads share them.
pub(crate) fn unpack_all<T: Packed>(bytes: &Bytes) -> Result<T, PackedError> {
    let mut from = Unpack { whole: bytes, rest: bytes, depth: 0 };
    let value = T::unpack(&mut from)?;
    if from.rest.is_empty() { Ok(value) } else { Err(PackedError::Long) }
}

/// Bytes that are read from the front.
pub(crate) struct Unpack<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
    /// How many pointers lead to what is read.
    depth: u8,
}

/// How deep values may be nested, in pointers: a word in a word in a word with options in it has
/// 5. What may hold itself is behind a pointer, so that no bytes end the stack.
const DEPTH_MAX: u8 = 16;

impl<'a> Unpack<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PackedError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(PackedError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// So many bytes as there are in the array.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PackedError> {
        self.take(N)?.try_into().map_err(|_| PackedError::Short)
    }

    fn byte(&mut self) -> Result<u8, PackedError> {
        let (&first, rest) = self.rest.split_first().ok_or(PackedError::Short)?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, PackedError> {
        let len = usize::unpack(self)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| PackedError::Invalid("a text"))
    }
}

impl Packed for u64 {
    fn pack(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest > 0x7f {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                // The tenth byte has one bit, and nothing is written longer than it must be.
                let fits = (shift < 63 || bits <= 1) && (shift == 0 || byte > 0);
                return fits.then_some(value).ok_or(PackedError::Invalid("a number"));
            }
        }
        Err(PackedError::Invalid("a number"))
    }
}

/// Numbers that are written as a `u64`.
macro_rules! packed_numbers {
    ($($number:ty),*) => { $(
        impl Packed for $number {
            fn pack(&self, out: &mut Vec<u8>) {
                (*self as u64).pack(out);
            }

            fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
                Self::try_from(u64::unpack(from)?).map_err(|_| PackedError::Invalid("a number"))
            }
        }
    )* };
}
packed_numbers!(u8, u16, u32, usize);

impl Packed for u128 {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        from.array().map(Self::from_be_bytes)
    }
}

impl Packed for bool {
    fn pack(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(PackedError::Invalid("a yes or no")),
        }
    }
}

impl Packed for Bytes {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        out.extend_from_slice(self);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let len = usize::unpack(from)?;
        let taken = from.take(len)?;
        Ok(from.whole.slice_ref(taken))
    }
}

impl Packed for Box<str> {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        Ok(from.text()?.into())
    }
}

impl<T: Packed> Packed for Option<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        self.is_some().pack(out);
        if let Some(value) = self {
            value.pack(out);
        }
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        bool::unpack(from)?.then(|| T::unpack(from)).transpose()
    }
}

/// Pointers to what is written.
macro_rules! packed_pointers {
    ($($pointer:ident),*) => { $(
        impl<T: Packed> Packed for $pointer<T> {
            fn pack(&self, out: &mut Vec<u8>) {
                T::pack(self, out);
            }

            fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
                from.depth += 1;
                if from.depth > DEPTH_MAX {
                    return Err(PackedError::Invalid("what is nested so deeply"));
                }
                let value = T::unpack(from).map($pointer::new);
                from.depth -= 1;
                value
            }
        }
    )* };
}
packed_pointers!(Arc, Box);

impl<T: Packed> Packed for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        for one in self {
            one.pack(out);
        }
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let len = usize::unpack(from)?;
        // Each has a byte at least.
        if len > from.rest.len() {
            return Err(PackedError::Short);
        }
        (0..len).map(|_| T::unpack(from)).collect()
    }
}

impl<T: Packed> Packed for Box<[T]> {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        for one in self {
            one.pack(out);
        }
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        Vec::unpack(from).map(Vec::into_boxed_slice)
    }
}

impl<A: Packed, B: Packed> Packed for (A, B) {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
        self.1.pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        Ok((A::unpack(from)?, B::unpack(from)?))
    }
}

impl Packed for String {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        from.text().map(Self::from)
    }
}

/// A struct, by its fields in the order in which they are written.
macro_rules! packed_struct {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::packed::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                $( $crate::packed::Packed::pack(&self.$field, out); )*
            }

            fn unpack(
                from: &mut $crate::packed::Unpack<'_>,
            ) -> Result<Self, $crate::packed::PackedError> {
                $( let $field = $crate::packed::Packed::unpack(from)?; )*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// An enum: for each kind its number, and its fields in the order in which they are written; or a
/// name for the one thing in it.
macro_rules! packed_enum {
    ($name:ident {
        $($number:literal = $kind:ident $({ $($field:ident),* })? $(($one:ident))?),* $(,)?
    }) => {
        impl $crate::packed::Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$kind { $($($field),*)? $(0: $one)? } => {
                        out.push($number);
                        $( $( $crate::packed::Packed::pack($field, out); )* )?
                        $( $crate::packed::Packed::pack($one, out); )?
                    } )*
                }
            }

            fn unpack(
                from: &mut $crate::packed::Unpack<'_>,
            ) -> Result<Self, $crate::packed::PackedError> {
                let number: u8 = $crate::packed::Packed::unpack(from)?;
                match number {
                    $( $number => {
                        $( $( let $field = $crate::packed::Packed::unpack(from)?; )* )?
                        $( let $one = $crate::packed::Packed::unpack(from)?; )?
                        Ok(Self::$kind { $($($field),*)? $(0: $one)? })
                    } )*
                    _ => Err($crate::packed::PackedError::Invalid(stringify!($name))),
                }
            }
        }
    };
}
pub(crate) use {packed_enum, packed_struct};

packed_struct!(Position { epoch, offset });
packed_struct!(Sender { session, user, name, metadata });
packed_struct!(Event { name, payload, from, position, reliable, unreliable });

impl Packed for SessionId {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        u128::unpack(from).map(Self)
    }
}

impl Packed for Secret {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        u128::unpack(from).map(Self)
    }
}

impl Packed for Epoch {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bits().to_be_bytes()[2..]);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let bits = from.take(6)?.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        Ok(Self::new(bits))
    }
}

impl Packed for Name {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        Self::new(from.text()?).map_err(|_| PackedError::Invalid("a name"))
    }
}

impl Packed for EventName {
    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(name) => {
                out.push(0);
                name.pack(out);
            }
            Self::Number(number) => {
                out.push(1);
                number.pack(out);
            }
        }
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        match from.byte()? {
            0 => Name::unpack(from).map(Self::Text),
            1 => u64::unpack(from).map(Self::Number),
            _ => Err(PackedError::Invalid("an event's name")),
        }
    }
}

impl Packed for Payload {
    fn pack(&self, out: &mut Vec<u8>) {
        let codec = match self.codec() {
            Codec::Json => 0,
            Codec::MsgPack => 1,
        };
        out.push(codec | u8::from(self.is_arguments()) << 1);
        self.bytes().pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let kind = from.byte()?;
        let codec = match kind & 1 {
            _ if kind > 3 => return Err(PackedError::Invalid("a payload")),
            0 => Codec::Json,
            _ => Codec::MsgPack,
        };
        let payload = Self::new(codec, Bytes::unpack(from)?);
        let payload = payload.map_err(|_| PackedError::Invalid("a payload"))?;
        Ok(if kind > 1 { payload.into_arguments() } else { payload })
    }
}

/// As the JSON that configuration and clients write: an option that comes later has its default in
/// what was written before.
impl Packed for RoomOptions {
    fn pack(&self, out: &mut Vec<u8>) {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.into_boxed_str().pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        serde_json::from_str(from.text()?).map_err(|_| PackedError::Invalid("room options"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed<T: Packed>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.pack(&mut out);
        out
    }

    #[test]
    fn numbers_are_written_in_one_way_only() {
        for n in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX] {
            let bytes = Bytes::from(packed(&n));
            assert_eq!(unpack_all::<u64>(&bytes), Ok(n));
        }
        for wrong in [&[0x80, 0][..], &[0xff; 10], &[0xff; 11]] {
            let wrong = Bytes::from_static(wrong);
            assert_eq!(unpack_all::<u64>(&wrong), Err(PackedError::Invalid("a number")));
        }
        let large = Bytes::from(packed(&300_u64));
        assert_eq!(unpack_all::<u8>(&large), Err(PackedError::Invalid("a number")));
    }

    #[test]
    fn a_length_that_is_not_there_takes_no_memory() {
        let huge = Bytes::from(packed(&u64::MAX));
        assert_eq!(unpack_all::<Bytes>(&huge), Err(PackedError::Short));
        assert_eq!(unpack_all::<Box<str>>(&huge), Err(PackedError::Short));
    }

    proptest! {
        #[test]
        fn options_read_back(size in 0_u32..1_000, logic in proptest::option::of("[a-z]{1,9}")) {
            let mut options = RoomOptions { logic: logic.map(Into::into), ..Default::default() };
            options.history.size = size;
            let bytes = Bytes::from(packed(&options));
            prop_assert_eq!(unpack_all(&bytes), Ok(options));
        }
    }
}
