//! The commonest command in its commonest spelling, read in one pass.
//!
//! A hub that is not at saturation runs each event from cold caches: what counts there is how much
//! code is run through. The reader of any map of any fields runs through 130 cache lines of it for
//! a publish. This one takes
//! `{"type":"publish","ref":1,"room":"lobby","event":"chat","data":…}` with nothing between the
//! tokens, `ref` or not, and plain names; everything else is left to the other, which says the same
//! of what this one takes (a property test holds them together).

use std::borrow::Cow;

use bytes::Bytes;

use crate::codec::json;
use crate::codec::value::Kind;
use crate::limits::DEPTH_MAX;
use crate::name::{EVENT_NUMBER_MAX, NAME_BYTES_MAX};
use crate::{Command, EventName, Request, RoomPath};

/// Reads a publish; none: it is not one, or not spelled so, or wrong. `text` is all of `message`.
pub(super) fn publish<'a>(text: &'a str, message: &Bytes) -> Option<Request<'a>> {
    let rest = text.strip_prefix(r#"{"type":"publish","#)?;
    let (reference, rest) = match rest.strip_prefix(r#""ref":"#) {
        Some(rest) => {
            let (number, rest) = number(rest)?;
            (Some(number), rest.strip_prefix(',')?)
        }
        None => (None, rest),
    };
    let (room, rest) = name(rest.strip_prefix(r#""room":""#)?)?;
    let (event, rest) = name(rest.strip_prefix(r#","event":""#)?)?;
    let data = rest.strip_prefix(r#","data":"#)?.strip_suffix('}')?;
    let data = json::plain_or_any(data, DEPTH_MAX)?;
    // `null` is as good as absent.
    let data = (data.kind() != Kind::Null).then(|| data.payload(message));
    let command = Command::Publish {
        room: RoomPath::plain(Cow::Borrowed(room)),
        event: EventName::plain(event),
        data,
        reliable: true,
        key: None,
        echo: None,
    };
    Some(Request { reference, command })
}

/// A number in its shortest form, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(len)?;
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let number = digits.parse().ok().filter(|&number| number <= EVENT_NUMBER_MAX)?;
    Some((number, rest))
}

/// A name of ASCII characters that mean nothing to anybody, and what follows its closing quote.
fn name(text: &str) -> Option<(&str, &str)> {
    let is_plain = |&byte: &u8| (0x20..0x7f).contains(&byte) && !b"\"\\/".contains(&byte);
    let len = text.bytes().take(NAME_BYTES_MAX + 1).take_while(is_plain).count();
    let (name, rest) = text.split_at_checked(len)?;
    let rest = rest.strip_prefix('"')?;
    (1..=NAME_BYTES_MAX).contains(&len).then_some((name, rest))
}
