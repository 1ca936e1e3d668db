//! The application in a script: what its hooks are asked, and what they say.
//!
//! ```text
//! hooks publish join           before the first step: which commands wait
//! hook < publish lobby chat "hi" from alice      what is asked
//! hook: go                     the oldest question: the command is carried out
//! hook: go data="ho" event=x   as the hook changed it: room=R options=JSON user=U name=N
//!                              admin, grant
//! hook: refuse TEXT
//! hooks calls                  before the first step: the application answers calls of clients
//! hook: answer [JSON]          the oldest call, or: error=TEXT
//! ```

use roomcast_core::hook::Call;
use roomcast_core::{HookMask, HubConfig, Question, ShardId, Ticket, Verdict};
use roomcast_wire::{ErrorCode, Name, Payload, Refusal, RoomOptions};

use super::show::data_text;
use super::stage::{Stage, payload};
use super::verbs::event;
use super::words::Words;

/// A question that waits for its verdict.
pub(super) struct Asked {
    pub shard: ShardId,
    pub ticket: Ticket,
    pub question: Question,
}

/// Which commands wait.
pub(super) fn configure(config: &mut HubConfig, words: Words<'_>) -> Result<(), String> {
    for word in words {
        let bit = match word {
            "calls" => {
                config.calls = true;
                HookMask::NONE
            }
            "connect" => HookMask::CONNECT,
            "create" => HookMask::CREATE,
            "join" => HookMask::JOIN,
            "leave" => HookMask::LEAVE,
            "publish" => HookMask::PUBLISH,
            "refresh" => HookMask::REFRESH,
            _ => return Err(format!("`{word}` is no hook")),
        };
        config.hooks = config.hooks | bit;
    }
    Ok(())
}

/// The oldest question gets its verdict.
pub(super) fn decide(stage: &mut Stage, mut words: Words<'_>) -> Result<(), String> {
    let verb = words.need("a verdict")?;
    if verb == "answer" {
        return answer(stage, words);
    }
    let Asked { shard, ticket, mut question } =
        stage.asked.pop_front().ok_or("nothing is asked")?;
    let verdict = match verb {
        "go" => {
            change(&mut question, words)?;
            Verdict::Go(question)
        }
        "refuse" => {
            let text = words.collect::<Vec<_>>().join(" ");
            Verdict::Refuse(Refusal::new(ErrorCode::Refused, text))
        }
        _ => return Err(format!("`{verb}` is no verdict")),
    };
    stage.world().decide(shard, ticket, verdict);
    Ok(())
}

fn answer(stage: &mut Stage, mut words: Words<'_>) -> Result<(), String> {
    let (shard, ticket) = stage.called.pop_front().ok_or("nobody calls")?;
    let answer = match words.value("error") {
        Some(text) => Err(Refusal::refused(text.to_owned())),
        None => Ok(words.next().map(payload).transpose()?),
    };
    stage.world().answer(shard, ticket, answer);
    Ok(())
}

fn change(question: &mut Question, mut words: Words<'_>) -> Result<(), String> {
    let name = |text: &str| Name::new(text).map_err(|error| error.to_string());
    let grants = words.flag("grant");
    match question {
        Question::Connect(connect) => {
            connect.granted |= grants;
            connect.identity.admin |= words.flag("admin");
            if let Some(user) = words.value("user") {
                connect.identity.user = Some(name(user)?);
            }
            if let Some(text) = words.value("name") {
                connect.identity.name = Some(name(text)?);
            }
        }
        Question::Create(create) => {
            create.granted |= grants;
            if let Some(room) = words.value("room") {
                room.clone_into(&mut create.room);
            }
            if let Some(options) = words.value("options") {
                create.options = create.options.patched(&payload(options)?)?;
            }
        }
        Question::Join(join) => {
            join.granted |= grants;
            if let Some(room) = words.value("room") {
                room.clone_into(&mut join.room);
            }
            change_data(&mut join.data, &mut words)?;
        }
        Question::Leave(leave) => change_data(&mut leave.data, &mut words)?,
        Question::Publish(publish) => {
            if let Some(text) = words.value("event") {
                publish.event = event(text)?;
            }
            change_data(&mut publish.data, &mut words)?;
        }
        Question::Refresh(refresh) => refresh.granted |= grants,
    }
    match words.next() {
        Some(word) => Err(format!("`{word}` cannot be changed here")),
        None => Ok(()),
    }
}

fn change_data(data: &mut Option<Payload>, words: &mut Words<'_>) -> Result<(), String> {
    if let Some(text) = words.value("data") {
        *data = Some(payload(text)?);
    }
    Ok(())
}

impl Stage {
    pub(super) fn show_called(&mut self, call: &Call) -> String {
        let room = call.room.as_ref().map_or(String::new(), |room| format!(" in {room}"));
        let (data, from) = (data_text(call.data.as_ref()), self.sender(&call.from));
        format!("call {}{data}{room} from {from}", call.call)
    }

    pub(super) fn show_question(&mut self, question: &Question) -> String {
        match question {
            Question::Connect(connect) => {
                let word = |word: &str, value: Option<&str>| {
                    value.map_or(String::new(), |value| format!(" {word}={value}"))
                };
                let refusal = connect.refusal.as_ref().map(|refusal| refusal.code.reason());
                format!(
                    "connect {}{}{}{}{}{}{}",
                    connect.namespace,
                    if connect.resumes { " resumes" } else { "" },
                    word("token", connect.token.as_deref()),
                    word("user", connect.identity.user.as_deref()),
                    word("name", connect.identity.name.as_deref()),
                    word("but", refusal),
                    if connect.identity.admin { " admin" } else { "" },
                )
            }
            Question::Create(create) => {
                let options = match create.options == RoomOptions::default() {
                    true => "",
                    false => " with options",
                };
                let join = if create.join { " join" } else { "" };
                let room = self.room(&create.room);
                format!("create {room}{options}{join} from {}", self.sender(&create.from))
            }
            Question::Join(join) => {
                let data = data_text(join.data.as_ref());
                format!("join {}{data} from {}", self.room(&join.room), self.sender(&join.from))
            }
            Question::Leave(leave) => {
                let data = data_text(leave.data.as_ref());
                format!("leave {}{data} from {}", leave.room, self.sender(&leave.from))
            }
            Question::Publish(publish) => {
                let data = data_text(publish.data.as_ref());
                let (room, event) = (&publish.room, &publish.event);
                format!("publish {room} {event}{data} from {}", self.sender(&publish.from))
            }
            Question::Refresh(refresh) => {
                let refusal = refresh.refusal.as_ref().map(|refusal| refusal.code.reason());
                let but = refusal.map_or(String::new(), |reason| format!(" but={reason}"));
                format!("refresh{but} from {}", self.sender(&refresh.from))
            }
        }
    }
}
