//! A chat with manners: every nick is short, plain and unique; lines are not empty; a room has a
//! topic, and newcomers are told it and what was said before they came.
//!
//! Clients publish `chat` with `{"text": …}` and `topic` with `{"text": …}`. They ask for what was
//! said before with `history`.

use roomcast::{Config, LogicEvent, MemberInfo, Refusal, Relay, RoomCtx, RoomLogic, Server};
use serde::{Deserialize, Serialize};

const NICK_MAX: usize = 16;
const LINE_MAX: usize = 500;

/// Every room has this logic, keeps a hundred lines, and knows each name once.
const CONFIG: &str = r#"
    [rooms]
    logic = "chat"
    names = "unique"
    history = { size = 100, age_s = 3600 }
"#;

#[derive(Default)]
struct Chat {
    topic: Option<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    text: String,
}

impl Line {
    fn check(self) -> Result<Self, Refusal> {
        let text = self.text.trim();
        match text.chars().count() {
            0 => Err(Refusal::refused("the line is empty")),
            1..=LINE_MAX => Ok(Self { text: text.to_owned() }),
            _ => Err(Refusal::refused(format!("a line has at most {LINE_MAX} characters"))),
        }
    }
}

fn check_nick(nick: &str) -> Result<(), Refusal> {
    let plain = |letter: char| letter.is_alphanumeric() || "-_".contains(letter);
    if nick.chars().count() > NICK_MAX || !nick.chars().all(plain) {
        let text = format!("a nick has at most {NICK_MAX} letters, digits, `-` and `_`");
        return Err(Refusal::refused(text));
    }
    Ok(())
}

impl RoomLogic for Chat {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        // `names = "unique"` has seen to it that there is one.
        check_nick(member.sender.name.as_deref().unwrap_or_default())?;
        if let Some(topic) = &self.topic {
            ctx.tell(member.sender.session, "topic", topic);
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let line = event.data::<Line>()?.check()?;
        match event.name() {
            Some("chat") => ctx.publish_from(event.from, "chat", &line),
            Some("topic") => {
                ctx.publish_from(event.from, "topic", &line);
                self.topic = Some(line);
            }
            _ => return Err(Refusal::refused("this room knows `chat` and `topic`")),
        }
        // The line as it was said is not relayed: the trimmed one was published.
        Ok(Relay::Nothing)
    }
}

fn main() -> anyhow::Result<()> {
    let server = Server::builder()
        .config(Config::from_toml(CONFIG, "chat")?)
        .listen(small_examples::url())
        .logic("chat", |_| Chat::default())
        .start()?;
    small_examples::run(server);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use roomcast::testing;
    use serde_json::json;

    use super::*;

    fn server() -> testing::Server {
        let config = Config::from_toml(CONFIG, "chat").unwrap();
        let builder = Server::builder().config(config).logic("chat", |_| Chat::default());
        testing::Server::start(builder).unwrap()
    }

    #[test]
    fn nicks_are_plain_and_unique() {
        let server = server();
        server.client("Mina").join("lobby");
        assert_eq!(server.client("Mina").try_join("lobby").unwrap_err().reason(), "name_taken");
        let denied = server.client("Mina the Great").try_join("lobby").unwrap_err();
        assert_eq!(denied.reason(), "refused");
    }

    #[test]
    fn lines_are_trimmed_kept_and_not_empty() {
        let server = server();
        let mut mina = server.client("Mina");
        mina.join("lobby");
        mina.publish("lobby", "topic", json!({ "text": "tea" }));
        mina.publish("lobby", "chat", json!({ "text": "  hi  " }));
        assert_eq!(mina.expect_event("chat")["data"]["text"], "hi");
        assert!(mina.try_publish("lobby", "chat", json!({ "text": " " })).is_err());
        assert!(mina.try_publish("lobby", "chat", json!(7)).is_err());
        let mut tom = server.client("Tom");
        tom.join("lobby");
        assert_eq!(tom.expect_event("topic")["data"]["text"], "tea");
        let history = tom.ask(json!({ "type": "history", "room": "lobby" })).unwrap();
        assert_eq!(history["events"][1]["data"]["text"], "hi");
    }
}
