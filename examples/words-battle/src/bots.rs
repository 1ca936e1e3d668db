//! Players without a person: clients like any other, which read the state and say words.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use roomcast_client::{Client, RoomEvent};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::room::STATE;
use crate::words::Words;

/// What bots are called.
pub const NAMES: [&str; 9] =
    ["Ada", "Boole", "Curie", "Darwin", "Euler", "Fermi", "Gauss", "Hopper", "Ibn Sina"];

/// How a bot plays.
#[derive(Debug, Clone)]
pub struct Bot {
    /// What it is called.
    pub name: String,
    /// How long it thinks before it says a word.
    pub thinks: Duration,
    /// How long it waits before it starts a game.
    pub rests: Duration,
    /// One word in so many is wrong; 0: none. A player that never errs is no company.
    pub errs_in: usize,
}

/// What a bot saw at the end of a game.
#[derive(Debug, Clone)]
pub struct Board {
    /// Names and scores, best first.
    pub players: Vec<(String, u64)>,
    /// The words in the order they were found.
    pub words: Vec<String>,
}

impl Bot {
    /// Plays one game in a room and tells how it ended. The bot that came first starts the game as
    /// soon as `starts_with` have a name; 0: never.
    ///
    /// # Errors
    /// There is no such room, no seat in it, or no connection any more.
    pub async fn play(
        &self,
        client: &Client,
        room: &str,
        words: &Words,
        starts_with: usize,
    ) -> Result<Board> {
        let room = client.join(room).await.context("no seat")?;
        let name = json!({ "setname": self.name });
        room.publish("set-client-name", &name).await?;
        room.publish(STATE, &json!({})).await?;
        let mut me = String::new();
        let mut turns = 0;
        // What it does next unless something else happens first.
        let mut plan: Option<(Instant, &str, Value)> = None;
        loop {
            let due = plan.as_ref().map_or_else(Instant::now, |(due, ..)| *due);
            let happened = tokio::select! {
                happened = room.next_event() => happened,
                () = sleep_until(due), if plan.is_some() => {
                    if let Some((_, action, body)) = plan.take() {
                        // Too late is no fault: the turn has passed on, the game has begun.
                        _ = room.publish(action, &body).await;
                    }
                    continue;
                }
            };
            let event = match happened {
                Some(RoomEvent::Event(event)) => event,
                Some(_) => continue,
                None => bail!("{} was closed", room.name()),
            };
            if event.is("fail-join-room-notify") {
                bail!("{}: there is no seat for {}", room.name(), self.name);
            }
            if event.is("room-bot-end-game") {
                return Ok(board(&event.data()?));
            }
            if !event.is(STATE) {
                continue;
            }
            let state: Value = event.data()?;
            if let Some(you) = state["you"].as_str() {
                me = you.to_owned();
            }
            let players = state["players"].as_array().map_or(0, Vec::len);
            let rests = state["phase"] == "waiting" || state["phase"] == "ended";
            let starts = rests && starts_with > 0 && players >= starts_with;
            let (is_maker, has_turn) =
                (state["maker"] == me.as_str(), state["turn"] == me.as_str());
            if !(has_turn || starts && is_maker) {
                plan = None;
            } else if plan.is_none() && has_turn {
                turns += 1;
                let word = json!({ "message": self.choose(&state, words, turns) });
                plan = Some((Instant::now() + self.thinks, "attempt-word", word));
            } else if plan.is_none() {
                let room = json!({ "message": room.name() });
                plan = Some((Instant::now() + self.rests, "start-the-game", room));
            }
        }
    }

    fn choose(&self, state: &Value, words: &Words, turns: usize) -> String {
        let letter = state["letter"].as_str().and_then(|letter| letter.chars().next());
        let letter = letter.unwrap_or('w');
        if self.errs_in > 0 && turns.is_multiple_of(self.errs_in) {
            return format!("{letter}qxz");
        }
        let said = state["words"].as_array().into_iter().flatten();
        let said: BTreeSet<_> = said.filter_map(|found| found["word"].as_str()).collect();
        let known = words.beginning_with(letter);
        // Each begins elsewhere in the list, so that not all games are the same.
        let first = self.name.bytes().map(usize::from).sum::<usize>() * 31 + turns * 57;
        let mut choice = known.iter().cycle().skip(first % known.len().max(1)).take(known.len());
        choice.find(|word| !said.contains(**word)).map_or_else(String::new, |&word| word.to_owned())
    }
}

fn board(data: &Value) -> Board {
    let players = data["client_list"].as_array().into_iter().flatten();
    let words = data["word_list"].as_array().into_iter().flatten();
    Board {
        players: players
            .map(|player| {
                let name = player["name"].as_str().unwrap_or_default().to_owned();
                (name, player["score"].as_u64().unwrap_or_default())
            })
            .collect(),
        words: words.filter_map(|word| Some(word.as_str()?.to_owned())).collect(),
    }
}
