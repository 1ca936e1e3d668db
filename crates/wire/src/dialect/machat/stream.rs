//! The byte stream: one JSON object without any end, then lines.

use bytes::{Buf, Bytes, BytesMut};

use super::super::{Cut, CutError, Cutter, Format};
use crate::CloseCode;

#[derive(Default)]
pub(super) struct HelloThenLines {
    /// What is to be told first; nothing where the handshake said it.
    begins: Option<Format>,
    stage: Stage,
    /// How much of the message that is not whole yet was looked at.
    scanned: usize,
    /// Most bytes of a line, as it was said last.
    line_bytes_max: usize,
}

enum Stage {
    /// The object is not whole.
    Hello(Object),
    /// A line break right behind the object belongs to it: people type it, and the original
    /// swallows it.
    Behind,
    Lines,
}

/// How far an object was read: only as much as it takes to find its end.
#[derive(Default)]
struct Object {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Hello(Object::default())
    }
}

impl Cutter for HelloThenLines {
    fn cut(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Cut>, CutError> {
        if !buffer.is_empty()
            && let Some(format) = self.begins.take()
        {
            return Ok(Some(Cut::Begins(format)));
        }
        loop {
            match &mut self.stage {
                Stage::Hello(object) => {
                    let found = find_end(object, buffer, &mut self.scanned)?;
                    // Before the whole of it has come, more is not waited for.
                    if found.unwrap_or(buffer.len()) > bytes_max {
                        return Err(too_large("a hello", bytes_max));
                    }
                    let Some(end) = found else { return Ok(None) };
                    self.scanned = 0;
                    self.stage = Stage::Behind;
                    return Ok(Some(Cut::Message(buffer.split_to(end).freeze())));
                }
                Stage::Behind => {
                    match &buffer[..] {
                        [] | [b'\r'] => return Ok(None),
                        [b'\n', ..] => buffer.advance(1),
                        [b'\r', b'\n', ..] => buffer.advance(2),
                        _ => {}
                    }
                    self.stage = Stage::Lines;
                }
                Stage::Lines => {
                    return Ok(self.line(buffer, bytes_max)?.map(Cut::Message));
                }
            }
        }
    }

    fn rest(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let is_line = matches!(self.stage, Stage::Lines) && !buffer.is_empty();
        let line = is_line.then(|| without_return(buffer.split()));
        line.filter(|line| line.len() <= self.line_bytes_max)
    }
}

impl HelloThenLines {
    /// On a stream whose first byte says that `format` is spoken.
    pub(super) fn begins(format: Format) -> Self {
        Self { begins: Some(format), ..Self::default() }
    }

    /// The next line, an empty one too.
    fn line(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, CutError> {
        self.line_bytes_max = bytes_max;
        let new = buffer.get(self.scanned..).unwrap_or_default();
        let Some(found) = new.iter().position(|&byte| byte == b'\n') else {
            self.scanned = buffer.len();
            // One byte more may be the `\r` of an end that is still to come.
            return match buffer.len() > bytes_max + 1 {
                true => Err(too_large("a line", bytes_max)),
                false => Ok(None),
            };
        };
        let mut line = buffer.split_to(self.scanned + found + 1);
        self.scanned = 0;
        line.truncate(line.len() - 1);
        let line = without_return(line);
        if line.len() > bytes_max {
            return Err(too_large("a line", bytes_max));
        }
        Ok(Some(line))
    }
}

fn without_return(mut line: BytesMut) -> Bytes {
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    line.freeze()
}

/// Where the object that the buffer begins with ends. Blanks before it are taken off.
fn find_end(
    object: &mut Object,
    buffer: &mut BytesMut,
    scanned: &mut usize,
) -> Result<Option<usize>, CutError> {
    if object.depth == 0 {
        let blanks = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        buffer.advance(blanks);
        if buffer.first().is_some_and(|&byte| byte != b'{') {
            return Err(CutError {
                code: CloseCode::Protocol,
                message: "begin with {\"name\":\"Mina\",\"room\":\"lounge\"}, then lines"
                    .to_owned(),
                answer: b"",
            });
        }
    }
    for (at, &byte) in buffer.iter().enumerate().skip(*scanned) {
        match byte {
            _ if object.escaped => object.escaped = false,
            b'\\' if object.in_string => object.escaped = true,
            b'"' => object.in_string = !object.in_string,
            _ if object.in_string => {}
            b'{' | b'[' => object.depth += 1,
            b'}' | b']' => {
                object.depth -= 1;
                if object.depth == 0 {
                    return Ok(Some(at + 1));
                }
            }
            _ => {}
        }
    }
    *scanned = buffer.len();
    Ok(None)
}

fn too_large(what: &str, bytes_max: usize) -> CutError {
    let message = format!("{what} of more than {bytes_max} bytes");
    CutError { code: CloseCode::TooLarge, message, answer: b"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that comes in pieces of `step` bytes, what is left at its end, and
    /// what is wrong with it.
    fn cut(stream: &[u8], step: usize) -> (Vec<String>, Option<String>, Option<String>) {
        let mut cutter = HelloThenLines::begins(Format::MACHAT_LINE);
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match cutter.cut(&mut buffer, 40) {
                    Ok(Some(Cut::Message(bytes))) => {
                        messages.push(String::from_utf8(bytes.to_vec()).unwrap());
                    }
                    Ok(Some(Cut::Begins(format))) => assert_eq!(format, Format::MACHAT_LINE),
                    Ok(None) => break,
                    Err(error) => return (messages, None, Some(error.message)),
                }
            }
        }
        let rest = cutter.rest(&mut buffer).map(|rest| String::from_utf8(rest.to_vec()).unwrap());
        (messages, rest, None)
    }

    #[test]
    fn the_hello_ends_where_its_object_does_and_nothing_behind_it_is_lost() {
        let long = "x".repeat(41);
        let [fits, fits_with_return, too_long] =
            [&long[1..], &format!("{}\r", &long[1..]), &long].map(|rest| format!("{{}}{rest}"));
        let table: &[(&str, &[&str], Option<&str>)] = &[
            ("{\"name\":\"a\"}one\ntwo\r\n", &["{\"name\":\"a\"}", "one", "two"], None),
            (" \n{\"a\":{\"b\":[1,{}]}}\n\nx\n", &["{\"a\":{\"b\":[1,{}]}}", "", "x"], None),
            ("{\"a\":\"}\\\"}\"}\r\nx", &["{\"a\":\"}\\\"}\"}"], Some("x")),
            ("{}\r", &["{}"], None),
            ("{}\rx\r", &["{}"], Some("\rx")),
            ("{\"a\"", &[], None),
            ("{}x\n\r\n\n", &["{}", "x", "", ""], None),
            (&fits, &["{}"], Some(&long[1..])),
            (&fits_with_return, &["{}"], Some(&long[1..])),
            (&too_long, &["{}"], None),
        ];
        for (stream, messages, rest) in table {
            for step in 1..=stream.len() {
                let (found, left, error) = cut(stream.as_bytes(), step);
                assert_eq!(found, *messages, "{stream:?}");
                assert_eq!(left.as_deref(), *rest, "{stream:?}");
                assert_eq!(error, None);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let long = "x".repeat(41);
        let hello = format!("{{\"name\":\"{long}\"}}");
        let line = format!("{{}}{long}\n");
        let endless = format!("{{}}{long}{long}");
        let deep = "{".repeat(50);
        let table = [
            ("hello\n", "begin with {"),
            ("[1]", "begin with {"),
            ("\u{0}", "begin with {"),
            (&*hello, "a hello of more than 40 bytes"),
            (&*deep, "a hello of more than 40 bytes"),
            (&*line, "a line of more than 40 bytes"),
            (&*endless, "a line of more than 40 bytes"),
        ];
        for (stream, said) in table {
            for step in [1, 7, stream.len()] {
                let error = cut(stream.as_bytes(), step).2.unwrap_or_default();
                assert!(error.starts_with(said), "{stream:?}: {error}");
            }
        }
    }
}
