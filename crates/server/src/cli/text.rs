//! Text of strangers on a person's terminal.

use std::io::{self, Write};
use std::process::ExitCode;

use roomcast_client::{Event, Member, Sender};
use serde_json::{Value, json};

/// Text in which nothing moves the cursor, rings the bell, changes the colour or reorders what is
/// read: every such character is written as `\u{…}`.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The beginning of a text that may be long, safe to print.
pub fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        None => plain(text),
        Some((at, _)) => format!("{}…", plain(&text[..at])),
    }
}

/// `1 member`, `2 members`.
pub fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// The same as [`plain`] for JSON text, which stays JSON: the escapes are JSON's own. Control
/// characters below U+0020 cannot stand in JSON unescaped, but for white space between values.
pub fn plain_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            // All of these are below U+10000, so one escape is enough.
            c if is_unsafe(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// C0 and C1 controls (ESC, and the one-character CSI U+009B), direction marks, and characters
/// without width.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{061c}')
}

/// Who said something, as the protocol writes it.
pub fn sender_json(sender: &Sender) -> Value {
    let mut value = json!({"session": sender.session.to_string()});
    if let Some(user) = &sender.user {
        value["user"] = user.as_str().into();
    }
    if let Some(name) = &sender.name {
        value["name"] = name.as_str().into();
    }
    value
}

/// A member, as the protocol writes it.
pub fn member_json(member: &Member) -> Value {
    let mut value = sender_json(member.sender());
    if member.raw().is_some() {
        value["data"] = member.data().unwrap_or_default();
    }
    if member.dropped() {
        value["dropped"] = true.into();
    }
    value
}

/// An event, as the protocol writes it.
pub fn event_json(room: &str, event: &Event) -> Value {
    let mut value = json!({
        "type": "event",
        "room": room,
        "event": match event.name() {
            roomcast_client::EventName::Text(name) => Value::from(name.as_str()),
            roomcast_client::EventName::Number(number) => Value::from(*number),
        },
    });
    if let Some(at) = event.position() {
        value["at"] = json!({"epoch": at.epoch.to_string(), "offset": at.offset});
    }
    if event.raw().is_some() {
        value["data"] = serde_json::from_str(&event.json()).unwrap_or_default();
    }
    if let Some(from) = event.from() {
        value["from"] = sender_json(from);
    }
    if !event.reliable() {
        value["reliable"] = false.into();
    }
    value
}

/// Prints one line. A reader that went away (`| head`) is a reason to end, not an error.
pub fn print(line: &str) -> Result<(), Gone> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|_| Gone)
}

/// Nobody reads the output any more.
#[derive(Debug)]
pub struct Gone;

/// How a verb ends that has printed all it had to say, or as much as somebody wanted to read.
pub fn outcome(printed: Result<(), Gone>) -> ExitCode {
    let (Ok(()) | Err(Gone)) = printed;
    ExitCode::SUCCESS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NASTY: &str = "a\x1b[31mb\u{9b}2J\u{7f}\u{202e}\r\n\u{7}ü🍾";

    #[test]
    fn nothing_of_a_stranger_reaches_the_terminal_raw() {
        let text = plain(NASTY);
        assert!(!text.chars().any(is_unsafe), "{text}");
        assert!(text.starts_with(r"a\u{1b}[31mb\u{9b}2J"), "{text}");
        assert!(text.ends_with("ü🍾"), "{text}");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = json!({"text": NASTY, NASTY: [1, 2]});
        let text = plain_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(is_unsafe), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(excerpt("a\rb"), r"a\u{d}b");
        assert_eq!(excerpt(&"ü".repeat(60)), "ü".repeat(60));
        assert_eq!(excerpt(&"ü".repeat(61)), "ü".repeat(60) + "…");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|n| count(n, "user")), ["0 users", "1 user", "2 users"]);
    }
}
