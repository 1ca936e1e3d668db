//! Writes replies and pushes, with the definitions and type ids of the original server: it is
//! them that its clients were tested with. Each value stands behind its definitions again, because
//! clients read each with a new decoder.

use bytes::{BufMut, BytesMut};

use super::super::speech::own_name;
use super::decode::Action;

/// `Action{Name int}`, id 65.
const ACTION: &[u8] =
    b"\x1d\xff\x81\x03\x01\x01\x06Action\x01\xff\x82\x00\x01\x01\x01\x04Name\x01\x04\x00\x00\x00";

/// `[]string`, id 66.
const STRINGS: &[u8] = b"\x0c\xff\x83\x02\x01\x02\xff\x84\x00\x01\x0c\x00\x00";

/// `Room{Name string, Members map[string]User}`, id 67; the map, 69; `User{ID string, Conn
/// interface{}}`, 68. No room is sent with its members.
const ROOM: &[u8] = b"\x28\xff\x85\x03\x01\x01\x04Room\x01\xff\x86\x00\x01\x02\
    \x01\x04Name\x01\x0c\x00\x01\x07Members\x01\xff\x8a\x00\x00\x00\
    \x25\xff\x89\x04\x01\x01\x14map[string]chat.User\x01\xff\x8a\x00\x01\x0c\x01\xff\x88\x00\x00\
    \x1c\xff\x87\x03\x01\x02\xff\x88\x00\x01\x02\x01\x02ID\x01\x0c\x00\x01\x04Conn\x01\x10\x00\
    \x00\x00";

/// `Message{Room, Author, Message string}`, id 70.
const MESSAGE: &[u8] = b"\x35\xff\x8b\x03\x01\x01\x07Message\x01\xff\x8c\x00\x01\x03\
    \x01\x04Room\x01\x0c\x00\x01\x06Author\x01\x0c\x00\x01\x07Message\x01\x0c\x00\x00\x00";

/// The list of rooms.
pub(super) fn rooms<'a>(names: impl ExactSizeIterator<Item = &'a str>, out: &mut BytesMut) {
    action(Action::GetRooms, out);
    out.put_slice(STRINGS);
    message(out, |body| {
        // The id, and the 0 that stands before all values but structs.
        body.put_slice(b"\xff\x84\x00");
        uint(names.len() as u64, body);
        for name in names {
            text(own_name(name), body);
        }
    });
}

/// What was done with a room.
pub(super) fn room(done: Action, name: &str, out: &mut BytesMut) {
    action(done, out);
    out.put_slice(ROOM);
    message(out, |body| {
        body.put_slice(b"\xff\x86");
        strings(&[own_name(name)], body);
    });
}

/// What somebody said.
pub(super) fn post(room: &str, author: &str, said: &str, out: &mut BytesMut) {
    action(Action::Post, out);
    out.put_slice(MESSAGE);
    message(out, |body| {
        body.put_slice(b"\xff\x8c");
        strings(&[own_name(room), author, said], body);
    });
}

fn action(action: Action, out: &mut BytesMut) {
    out.put_slice(ACTION);
    message(out, |body| {
        body.put_slice(b"\xff\x82");
        // Positive numbers are doubled: the lowest bit is the sign. 0 is not sent.
        match action as u8 {
            0 => body.put_u8(0),
            number => body.put_slice(&[1, number * 2, 0]),
        }
    });
}

/// A struct whose fields are all texts. Empty ones are not sent.
fn strings(fields: &[&str], out: &mut BytesMut) {
    let mut delta = 0;
    for field in fields {
        delta += 1;
        if !field.is_empty() {
            uint(delta, out);
            text(field, out);
            delta = 0;
        }
    }
    out.put_u8(0);
}

fn message(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let mut body = BytesMut::new();
    write(&mut body);
    uint(body.len() as u64, out);
    out.put_slice(&body);
}

fn text(text: &str, out: &mut BytesMut) {
    uint(text.len() as u64, out);
    out.put_slice(text.as_bytes());
}

/// One byte below 128, else the number of bytes, negated, before those of the number.
fn uint(number: u64, out: &mut BytesMut) {
    if number < 0x80 {
        return out.put_u8(number as u8);
    }
    let leading = (number.leading_zeros() / 8) as usize;
    out.put_u8((leading as u8).wrapping_sub(8));
    out.put_slice(number.to_be_bytes().get(leading..).unwrap_or_default());
}
