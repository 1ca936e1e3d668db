//! What a typed line means.

/// What a typed line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Nothing was typed.
    Nothing,
    /// To be said in the current room.
    Say(&'a str),
    /// Take a seat, or turn to a room.
    Join(&'a str),
    /// Give up a seat: in this room, or the current one.
    Leave(Option<&'a str>),
    /// Which rooms there are.
    Rooms,
    /// Who is in this room, or the current one.
    Who(Option<&'a str>),
    /// Be called otherwise.
    Name(&'a str),
    /// Say something to one person.
    Msg { who: &'a str, text: &'a str },
    /// What can be typed.
    Help,
    /// Enough.
    Quit,
    /// A command that cannot be understood, and what is wrong with it.
    Wrong(&'static str),
}

/// Reads a typed line. A line that begins with `//` is said with one `/`.
pub fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() { Line::Nothing } else { Line::Say(line) };
    };
    if command.starts_with('/') {
        return Line::Say(command);
    }
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let given = (!rest.is_empty()).then_some(rest);
    match (word, given) {
        ("join" | "j", Some(room)) => Line::Join(room),
        ("join" | "j", None) => Line::Wrong("which room? /join ROOM"),
        ("leave" | "part", room) => Line::Leave(room),
        ("rooms" | "list", _) => Line::Rooms,
        ("who" | "names", room) => Line::Who(room),
        ("name" | "nick", Some(name)) => Line::Name(name),
        ("name" | "nick", None) => Line::Wrong("which name? /name NAME"),
        ("msg" | "m", Some(rest)) => match rest.split_once(char::is_whitespace) {
            Some((who, text)) => Line::Msg { who, text: text.trim_start() },
            None => Line::Wrong("what shall be said? /msg WHO TEXT"),
        },
        ("msg" | "m", None) => Line::Wrong("to whom? /msg WHO TEXT"),
        ("help" | "h" | "?", _) => Line::Help,
        ("quit" | "q" | "exit", _) => Line::Quit,
        _ => Line::Wrong("no such command; /help shows all, // begins a line with /"),
    }
}

/// What `/help` shows.
pub const HELP: &str = "\
/join ROOM       take a seat, or turn to a room you are in
/leave [ROOM]    give up the seat
/rooms           which rooms there are
/who [ROOM]      who is here
/name NAME       be called otherwise
/msg WHO TEXT    to one person only: a name in this room, a user or a session
/help  /quit     (Ctrl-D and Ctrl-C leave too)
Anything else is said in the room; // begins a line with /";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_and_commands_understood() {
        for (text, expected) in [
            ("  ", Line::Nothing),
            (" hi there ", Line::Say("hi there")),
            ("//join", Line::Say("/join")),
            ("/join  a/b ", Line::Join("a/b")),
            ("/leave", Line::Leave(None)),
            ("/leave x", Line::Leave(Some("x"))),
            ("/who", Line::Who(None)),
            ("/msg zoe  a  b", Line::Msg { who: "zoe", text: "a  b" }),
            ("/name Mina K", Line::Name("Mina K")),
            ("/q", Line::Quit),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        for text in ["/join", "/msg", "/msg zoe", "/name ", "/fly", "/"] {
            assert!(matches!(parse(text), Line::Wrong(_)), "{text:?}");
        }
    }
}
