//! How what happens looks as a line.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use roomcast_client::{ClientEvent, ClosedReason, Event, LeaveReason, Message, RoomEvent, Sender};
use serde_json::Value;

use super::super::subscribe::lost_words;
use super::super::text::{plain, plain_json};
use super::screen::{Look, Screen};

/// What a person says is an event of this name with data `{"text": …}`.
pub const CHAT: &str = "chat";

/// Something said in a room, as a line. The room is told where it is not the current one.
pub fn speech(screen: &Screen, event: &Event, elsewhere: Option<&str>) -> String {
    let room = elsewhere
        .map_or_else(String::new, |room| screen.paint(Look::Dim, &format!("[{}] ", plain(room))));
    let who = name(screen, &event.sender_name());
    match text_of(event.is(CHAT), event.data().ok()) {
        Some(text) => format!("{room}{who}: {}", plain(&text)),
        None => {
            let what = screen.paint(Look::Dim, &format!("[{}]", plain(&event.name().to_string())));
            format!("{room}{who} {what} {}", plain_json(&event.json()))
        }
    }
}

/// Something said to this person only.
pub fn whisper(screen: &Screen, message: &Message) -> String {
    let who = name(screen, &message.sender_name());
    let aside = screen.paint(Look::Dim, "(to you)");
    match text_of(message.is(CHAT), message.data().ok()) {
        Some(text) => format!("{who} {aside}: {}", plain(&text)),
        None => {
            let what = plain(&message.name().to_string());
            format!("{who} {aside} [{what}] {}", plain_json(&message.json()))
        }
    }
}

/// The name of somebody, in the colour that this name always has.
pub fn name(screen: &Screen, name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    screen.paint(Look::Person((hasher.finish() % 10) as u8), &plain(name))
}

/// What happened in a room beside speech, in words; none where it is not worth a line.
pub fn happening(event: &RoomEvent) -> Option<String> {
    let who = |sender: &Sender| plain(&called(sender));
    Some(match event {
        RoomEvent::MemberJoined(member) => format!("{} is here", plain(&member.name())),
        RoomEvent::MemberLeft { from, reason } => match reason {
            LeaveReason::Left => format!("{} left", who(from)),
            LeaveReason::Lost => format!("{} is gone", who(from)),
            LeaveReason::Kicked => format!("{} was put out", who(from)),
        },
        RoomEvent::MemberDropped(from) => format!("{} lost the connection", who(from)),
        RoomEvent::MemberResumed(from) => format!("{} is back", who(from)),
        RoomEvent::Presence { members, .. } => format!("{members} here"),
        RoomEvent::Recovered => "nothing was missed".to_owned(),
        RoomEvent::Lost(reason) => format!("something was missed: {}", lost_words(*reason)),
        RoomEvent::Closed { refused: Some(refused), .. } => {
            format!("the seat is lost: {}", plain(&refused.message))
        }
        RoomEvent::Closed { reason, .. } => match reason {
            Some(ClosedReason::Kicked) => "you were put out".to_owned(),
            Some(ClosedReason::Deleted) => "the room was deleted".to_owned(),
            Some(ClosedReason::Failed) => "the room failed; the server's log says why".to_owned(),
            _ => "the room has ended".to_owned(),
        },
        _ => return None,
    })
}

/// What happened to the connection, in words.
pub fn connection(event: &ClientEvent) -> Option<String> {
    Some(match event {
        ClientEvent::ConnectionLost { reason } => format!("connection lost: {}", plain(reason)),
        // A long absence would fill the screen: each tenth attempt is told.
        ClientEvent::Reconnecting { attempt, delay } if attempt % 10 == 0 => {
            format!("connecting again in {:.1} s", delay.as_secs_f32())
        }
        ClientEvent::Reconnected { resumed: true, transport, .. } => {
            format!("connected again by {transport}")
        }
        ClientEvent::Reconnected { transport, .. } => {
            format!("connected again by {transport}, as a new session")
        }
        ClientEvent::Unread { missed } => format!("{missed} messages came too fast"),
        ClientEvent::Refused(refused) => plain(&refused.message),
        // A goodbye too: the loss that follows has its words.
        _ => return None,
    })
}

/// What a sender is called.
pub fn called(sender: &Sender) -> String {
    let name = sender.name.as_ref().or(sender.user.as_ref());
    name.map_or_else(|| sender.session.to_string(), ToString::to_string)
}

fn text_of(is_chat: bool, data: Option<Value>) -> Option<String> {
    match data?.get("text")? {
        Value::String(text) if is_chat => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use roomcast_client::{LostReason, SessionId};

    use super::*;

    #[test]
    fn a_name_has_one_colour_and_carries_none_of_its_own() {
        let screen = Screen::plain(true);
        let shown = name(&screen, "Mina\x1b[31m");
        assert_eq!(shown, name(&screen, "Mina\x1b[31m"));
        assert_eq!(shown.matches('\x1b').count(), 2, "{shown:?}");
        assert_eq!(name(&Screen::plain(false), "Mina"), "Mina");
    }

    #[test]
    fn who_has_no_name_is_called_by_the_session() {
        let from = Sender { session: SessionId(2), user: None, name: None, metadata: None };
        let left = RoomEvent::MemberLeft { from, reason: LeaveReason::Left };
        assert_eq!(happening(&left), Some(format!("{} left", SessionId(2))));
    }

    #[test]
    fn what_was_missed_is_told() {
        let lost = RoomEvent::Lost(LostReason::Unread { missed: 3 });
        let told = happening(&lost).unwrap_or_default();
        assert!(told.contains("3 lines"), "{told}");
    }
}
