//! Go's `encoding/gob`, as far as simple-chat-server speaks it: definitions of types, and structs
//! whose fields are found by their names. Type ids differ from one program to the next and say
//! nothing. The format: <https://pkg.go.dev/encoding/gob>.
//!
//! Nothing is believed: a count or length is at most what is left of its message, every value that
//! is passed over takes at least one byte, and definitions and depth are bounded. So a message is
//! read in time that its size bounds, and takes no more memory than its own bytes.

use crate::limits::DEPTH_MAX;

/// Most definitions of types before one value. The original's requests have 4 at most.
pub const TYPES_MAX: usize = 32;

/// Most fields of a struct. The original's have 3 at most.
pub const FIELDS_MAX: usize = 64;

/// The first id that a program's own types may have.
const OWN_TYPES: i64 = 64;

/// The ids that every program knows.
const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
const FLOAT: i64 = 4;
const BYTES: i64 = 5;
const STRING: i64 = 6;
const COMPLEX: i64 = 7;
const INTERFACE: i64 = 8;

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GobError(pub &'static str);

const CUT_NUMBER: GobError = GobError("a message ends in the middle of a number");

type Fallible<T> = Result<T, GobError>;

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

/// How a message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes the message takes, its length included.
    pub size: usize,
    /// Whether a type is defined; else it holds a value. None: the id has not come yet.
    pub defines: Option<bool>,
}

/// A field of a struct, as far as requests have any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Int(i64),
    Text(&'a [u8]),
}

/// What a definition says of a type.
#[derive(Debug)]
enum Shape<'a> {
    /// A slice or an array.
    List(i64),
    Map(i64, i64),
    Struct(Vec<(&'a [u8], i64)>),
    /// Written by a method of the type: bytes behind their length.
    Opaque,
}

/// The definitions before one value.
#[derive(Debug, Default)]
struct Types<'a>(Vec<(i64, Shape<'a>)>);

/// Looks at how the message begins that `bytes` begin with. `None`: its length has not come yet.
///
/// # Errors
/// No message begins so.
pub(super) fn head(bytes: &[u8]) -> Fallible<Option<Head>> {
    let mut reader = Reader(bytes);
    let Some(len) = reader.uint_if_there()? else { return Ok(None) };
    let len = usize::try_from(len).map_err(|_| GobError("a message is too long"))?;
    if len == 0 {
        return Err(GobError("a message is empty"));
    }
    let start = bytes.len() - reader.0.len();
    // The id is the message's own: the next one's bytes are none of it.
    let body = reader.0.get(..len);
    let mut reader = Reader(body.unwrap_or(reader.0));
    let defines = match reader.uint_if_there()?.map(signed) {
        None if body.is_some() => return Err(CUT_NUMBER),
        None => None,
        Some(id) if id <= -OWN_TYPES => Some(true),
        Some(id) if id > 0 => Some(false),
        Some(_) => return Err(GobError("a message begins with a type id that cannot be")),
    };
    Ok(Some(Head { size: start.saturating_add(len), defines }))
}

/// Reads one stream off `reader`: definitions, then the value of a struct. The values of the
/// fields `names` come back; fields that were not sent are none, others are passed over.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_struct<'a, const N: usize>(
    reader: &mut Reader<'a>,
    names: &[&str; N],
) -> Fallible<[Option<Field<'a>>; N]> {
    let mut types = Types::default();
    loop {
        let mut message = Reader(reader.bytes()?);
        let id = message.int()?;
        if id >= 0 {
            let found = types.read_struct(id, &mut message, names)?;
            message.expect_end()?;
            return Ok(found);
        }
        types.define(id, &mut message)?;
        message.expect_end()?;
    }
}

impl<'a> Types<'a> {
    fn read_struct<const N: usize>(
        &self,
        id: i64,
        reader: &mut Reader<'a>,
        names: &[&str; N],
    ) -> Fallible<[Option<Field<'a>>; N]> {
        let Shape::Struct(fields) = self.shape(id)? else {
            return Err(GobError("the value is no struct"));
        };
        let mut found = [None; N];
        reader.fields(fields.len(), |reader, at| {
            let Some((name, id)) = fields.get(at) else { return Ok(()) };
            let wanted = names.iter().position(|wanted| wanted.as_bytes() == *name);
            match (wanted.and_then(|at| found.get_mut(at)), *id) {
                (None, id) => return self.skip(id, reader, DEPTH_MAX),
                (Some(slot), INT) => *slot = Some(Field::Int(reader.int()?)),
                (Some(slot), STRING) => *slot = Some(Field::Text(reader.bytes()?)),
                (Some(_), _) => return Err(GobError("a field is neither int nor string")),
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads what stands behind the negative `id`: a struct with one field for each sort of type.
    fn define(&mut self, id: i64, reader: &mut Reader<'a>) -> Fallible<()> {
        // The most negative number has no positive counterpart.
        let id = id.checked_neg().filter(|id| *id >= OWN_TYPES);
        let id = id.ok_or(GobError("a definition of a type that every program knows"))?;
        if self.shape(id).is_ok() {
            return Err(GobError("a type is defined twice"));
        }
        if self.0.len() >= TYPES_MAX {
            return Err(GobError("more than 32 types are defined before a value"));
        }
        let mut shape = None;
        reader.fields(7, |reader, sort| {
            let one = match sort {
                0 | 1 => reader.list_type(sort == 0)?,
                2 => reader.struct_type()?,
                3 => reader.map_type()?,
                _ => reader.opaque_type()?,
            };
            match shape.replace(one) {
                None => Ok(()),
                Some(_) => Err(GobError("a definition is of two sorts")),
            }
        })?;
        self.0.push((id, shape.ok_or(GobError("a definition is empty"))?));
        Ok(())
    }

    fn shape(&self, id: i64) -> Fallible<&Shape<'a>> {
        let found = self.0.iter().find(|(known, _)| *known == id);
        found.map(|(_, shape)| shape).ok_or(GobError("a type is not defined"))
    }

    /// Passes over a value that nobody asks for.
    fn skip(&self, id: i64, reader: &mut Reader<'a>, depth: usize) -> Fallible<()> {
        let depth = depth.checked_sub(1).ok_or(GobError("a value is nested more than 64 deep"))?;
        match id {
            BOOL | INT | UINT | FLOAT => reader.uint().map(drop),
            COMPLEX => reader.uint().and_then(|_| reader.uint()).map(drop),
            BYTES | STRING => reader.bytes().map(drop),
            INTERFACE => reader.skip_interface(),
            id => match self.shape(id)? {
                Shape::Opaque => reader.bytes().map(drop),
                Shape::List(element) => {
                    (0..reader.count()?).try_for_each(|_| self.skip(*element, reader, depth))
                }
                Shape::Map(key, element) => (0..reader.count()?).try_for_each(|_| {
                    self.skip(*key, reader, depth)?;
                    self.skip(*element, reader, depth)
                }),
                Shape::Struct(fields) => reader.fields(fields.len(), |reader, at| {
                    let field = fields.get(at);
                    field.map_or(Ok(()), |(_, id)| self.skip(*id, reader, depth))
                }),
            },
        }
    }
}

impl<'a> Reader<'a> {
    /// A number; `None`: it is not whole yet.
    fn uint_if_there(&mut self) -> Fallible<Option<u64>> {
        let Some((&first, rest)) = self.0.split_first() else { return Ok(None) };
        if first < 0x80 {
            self.0 = rest;
            return Ok(Some(first.into()));
        }
        let len = usize::from(!first) + 1;
        if len > 8 {
            return Err(GobError("a number has more than 8 bytes"));
        }
        let Some((digits, rest)) = rest.split_at_checked(len) else { return Ok(None) };
        self.0 = rest;
        Ok(Some(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit))))
    }

    fn uint(&mut self) -> Fallible<u64> {
        self.uint_if_there()?.ok_or(CUT_NUMBER)
    }

    fn int(&mut self) -> Fallible<i64> {
        self.uint().map(signed)
    }

    /// How many things follow. Each takes a byte at least.
    fn count(&mut self) -> Fallible<usize> {
        let count = usize::try_from(self.uint()?).ok();
        let fits = |count: &usize| *count <= self.0.len();
        count.filter(fits).ok_or(GobError("a count or length goes beyond its message"))
    }

    /// Bytes behind their length.
    fn bytes(&mut self) -> Fallible<&'a [u8]> {
        let len = self.count()?;
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn expect_end(&self) -> Fallible<()> {
        if self.0.is_empty() { Ok(()) } else { Err(GobError("bytes stand behind a value")) }
    }

    /// Calls `each` for every field that a struct of `count` fields was sent with.
    fn fields(
        &mut self,
        count: usize,
        mut each: impl FnMut(&mut Self, usize) -> Fallible<()>,
    ) -> Fallible<()> {
        let mut behind = 0_usize;
        loop {
            let delta = self.uint()?;
            if delta == 0 {
                return Ok(());
            }
            let next = usize::try_from(delta).ok().and_then(|delta| behind.checked_add(delta));
            let next = next.filter(|next| *next <= count);
            behind = next.ok_or(GobError("a struct has no such field"))?;
            each(self, behind - 1)?;
        }
    }

    /// The name of a concrete type, its id, and its value behind its length. A definition in
    /// between is for types that no request has.
    fn skip_interface(&mut self) -> Fallible<()> {
        if self.bytes()?.is_empty() {
            return Ok(());
        }
        if self.int()? < 0 {
            return Err(GobError("a type is defined within a value"));
        }
        self.bytes().map(drop)
    }

    /// The name and id that every definition begins with.
    fn common_type(&mut self) -> Fallible<()> {
        self.fields(2, |reader, at| match at {
            0 => reader.bytes().map(drop),
            _ => reader.int().map(drop),
        })
    }

    fn list_type(&mut self, has_len: bool) -> Fallible<Shape<'a>> {
        let mut element = 0;
        self.fields(2 + usize::from(has_len), |reader, at| {
            match at {
                0 => reader.common_type()?,
                1 => element = reader.int()?,
                // How long an array is: its value says so again.
                _ => drop(reader.int()?),
            }
            Ok(())
        })?;
        Ok(Shape::List(element))
    }

    fn map_type(&mut self) -> Fallible<Shape<'a>> {
        let (mut key, mut element) = (0, 0);
        self.fields(3, |reader, at| {
            match at {
                0 => reader.common_type()?,
                1 => key = reader.int()?,
                _ => element = reader.int()?,
            }
            Ok(())
        })?;
        Ok(Shape::Map(key, element))
    }

    fn struct_type(&mut self) -> Fallible<Shape<'a>> {
        let mut all = Vec::new();
        self.fields(2, |reader, at| {
            if at == 0 {
                return reader.common_type();
            }
            for _ in 0..reader.count()? {
                if all.len() >= FIELDS_MAX {
                    return Err(GobError("a struct has more than 64 fields"));
                }
                all.push(reader.field_type()?);
            }
            Ok(())
        })?;
        Ok(Shape::Struct(all))
    }

    fn field_type(&mut self) -> Fallible<(&'a [u8], i64)> {
        let mut field: (&[u8], i64) = (b"", 0);
        self.fields(2, |reader, at| {
            match at {
                0 => field.0 = reader.bytes()?,
                _ => field.1 = reader.int()?,
            }
            Ok(())
        })?;
        Ok(field)
    }

    fn opaque_type(&mut self) -> Fallible<Shape<'a>> {
        self.fields(1, |reader, _| reader.common_type())?;
        Ok(Shape::Opaque)
    }
}

/// A number whose lowest bit is its sign.
fn signed(number: u64) -> i64 {
    let half = (number >> 1).cast_signed();
    if number & 1 == 0 { half } else { !half }
}
