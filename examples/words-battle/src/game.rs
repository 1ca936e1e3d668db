//! The game as a machine without clock, chance or network: what happens goes in with the time, what
//! is to be told comes out of [`Game::take_told`], and [`Game::deadline`] says when to come back.
//!
//! ```text
//! Waiting ─start→ Greeting → Talking → Turn ⇄ Pause → Ending → Ended ─start→ …
//! ```

use std::sync::Arc;

use serde_json::{Value, json};

use crate::tell::{self, Told};
pub use crate::terms::{Found, Last, Mode, No, Outcome, Person, Phase, Player, Who};
use crate::words::Words;

/// The first letter of every game.
pub const FIRST_LETTER: char = 'w';

/// The colours of players, each with the shape that stands beside it on the page.
pub const COLORS: [&str; 7] = ["yellow", "red", "orange", "blue", "purple", "pink", "white"];

/// Most players of one game.
pub const PLAYERS_MAX: usize = 10;

/// How many may play if nobody says otherwise.
pub const PLAYERS_DEFAULT: usize = 3;

const PLAYERS_MIN: usize = 2;
const DURATION_S: std::ops::RangeInclusive<u64> = 20..=180;
const DURATION_DEFAULT_S: u64 = 60;
const TALK_S: u64 = 10;
const FIRST_TURN_S: u64 = 10;
const TURN_S: u64 = 11;
const NAME_CHARS_MAX: usize = 16;
const TEXT_CHARS_MAX: usize = 200;
/// The longest word of the list has 22 letters.
const WORD_CHARS_MAX: usize = 40;

#[derive(Debug, Clone, Copy)]
enum Step {
    Introduce,
    Talk,
    FirstTurn,
    NextTurn,
    TimesUp,
    Board,
}

/// One room's game.
#[derive(Debug)]
pub struct Game {
    room: String,
    mode: Mode,
    words: Arc<Words>,
    second_ms: u64,
    limit: usize,
    duration_s: u64,
    phase: Phase,
    people: Vec<Person>,
    turn: Option<Who>,
    letter: char,
    found: Vec<Found>,
    last: Option<Last>,
    only_one_left: bool,
    /// What comes next, and when.
    step: Option<(u64, Step)>,
    /// When the game is over, while it runs.
    ends: Option<u64>,
    told: Vec<Told>,
    version: u64,
}

impl Game {
    /// A game that waits for people. `second_ms`: how long a second of the rules lasts, in
    /// milliseconds; tests make it short. `limit` is brought between 2 and [`PLAYERS_MAX`].
    pub fn new(room: &str, mode: Mode, limit: usize, words: Arc<Words>, second_ms: u64) -> Self {
        let limit = if mode == Mode::Random { 2 } else { limit.clamp(PLAYERS_MIN, PLAYERS_MAX) };
        Self {
            room: room.to_owned(),
            mode,
            words,
            second_ms,
            limit,
            duration_s: DURATION_DEFAULT_S,
            phase: Phase::Waiting,
            people: Vec::new(),
            turn: None,
            letter: FIRST_LETTER,
            found: Vec::new(),
            last: None,
            only_one_left: false,
            step: None,
            ends: None,
            told: Vec::new(),
            version: 0,
        }
    }

    /// Somebody came in. Who comes while the game runs is told at once that it looks on.
    pub fn enter(&mut self, who: Who, slug: &str) {
        let is_maker = self.people.is_empty();
        let slug = slug.to_owned();
        self.people.push(Person { who, slug: slug.clone(), away: false, player: None });
        self.tell(tell::joined(who, &slug));
        if is_maker {
            self.tell(tell::is_maker(who, &slug));
        }
        self.tell(tell::know_yourself(who, &slug));
        if self.is_running() {
            self.tell(tell::not_in(who, ALREADY_STARTED));
        }
    }

    /// Somebody left for good.
    pub fn leave(&mut self, now: u64, who: Who) {
        let Some(at) = self.people.iter().position(|person| person.who == who) else { return };
        let person = self.people.remove(at);
        if at == 0
            && let Some(heir) = self.people.first()
        {
            let told = tell::is_maker(heir.who, &heir.slug);
            self.tell(told);
        }
        let Some(player) = person.player else { return };
        self.tell_players();
        if !self.is_running() || self.phase == Phase::Ending {
            return;
        }
        if self.players().count() < PLAYERS_MIN {
            self.only_one_left = true;
            return self.end(now);
        }
        if self.turn == Some(who) && self.phase == Phase::Turn {
            let Player { name, .. } = player;
            self.turn_over(
                now,
                Last { slug: person.slug, name, word: None, outcome: Outcome::Left },
            );
        }
    }

    /// A link was lost (`true`) or is back. Nobody waits for who is away.
    pub fn set_away(&mut self, who: Who, away: bool) {
        if let Some(person) = self.people.iter_mut().find(|person| person.who == who) {
            person.away = away;
            self.version += 1;
        }
    }

    /// Somebody says something. `chance` is a random number.
    ///
    /// # Errors
    /// Why it cannot be done; nothing has changed then.
    pub fn act(
        &mut self,
        now: u64,
        who: Who,
        action: &str,
        body: &Value,
        chance: u64,
    ) -> Result<(), No> {
        match action {
            "set-client-name" => self.set_name(now, who, &text_of(body, "setname"), chance),
            "room-settings" => self.set_up(who, body),
            "start-the-game" => {
                self.need_maker(who)?;
                self.start(now)
            }
            "send-message" => self.chat(who, &text_of(body, "message")),
            "attempt-word" => self.attempt(now, who, &text_of(body, "message")),
            _ => Err(No(format!("this room knows no `{}`", action.escape_debug()))),
        }
    }

    /// Does what is due at `now`.
    pub fn pass_time(&mut self, now: u64) {
        while let Some(due) = self.deadline().filter(|&due| due <= now) {
            if self.ends.is_some_and(|ends| ends <= due) {
                self.end(due);
            } else if let Some((_, step)) = self.step.take() {
                self.take_step(due, step);
            }
        }
    }

    /// When [`Game::pass_time`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        let step = self.step.map(|(at, _)| at);
        match (step, self.ends) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What is to be told, in order.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Changes with everything that [`Game::state`] shows.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How many have a name and play.
    pub fn player_count(&self) -> usize {
        self.players().count()
    }

    /// Everything a page shows, times in milliseconds from now.
    pub fn state(&self, now: u64) -> Value {
        let turn_ends = self.step.filter(|_| self.phase == Phase::Turn).map(|(at, _)| at);
        let talk_ends = self.step.filter(|_| self.phase == Phase::Talking).map(|(at, _)| at);
        let left = |at: Option<u64>| at.map(|at| at.saturating_sub(now));
        let last = self.last.as_ref().map(|last| {
            json!({
                "slug": last.slug, "name": last.name, "word": last.word,
                "outcome": last.outcome.as_str(),
            })
        });
        let slug_of = |who| self.person(who).map(|person| person.slug.as_str());
        json!({
            "room": self.room,
            "mode": if self.mode == Mode::Random { "random" } else { "friends" },
            "phase": self.phase.as_str(),
            "players": tell::stats(&self.people),
            "away": self.people.iter().filter(|p| p.away).map(|p| &p.slug).collect::<Vec<_>>(),
            "onlookers": self.people.iter().filter(|person| person.player.is_none()).count(),
            "maker": self.people.first().map(|person| person.slug.as_str()),
            "limit": self.limit,
            "duration_s": self.duration_s,
            "letter": if self.phase == Phase::Turn || self.phase == Phase::Pause {
                self.letter.to_string()
            } else {
                String::new()
            },
            "turn": self.turn.filter(|_| self.phase == Phase::Turn).and_then(slug_of),
            "turn_ms": left(turn_ends),
            "talk_ms": left(talk_ends),
            "game_ms": left(self.ends),
            "words": tell::found(&self.found),
            "last": last,
        })
    }

    fn set_name(&mut self, now: u64, who: Who, name: &str, chance: u64) -> Result<(), No> {
        let person = self.person(who).ok_or_else(stranger)?;
        let is_player = person.player.is_some();
        if self.is_running() && !is_player {
            self.tell(tell::not_in(who, ALREADY_STARTED));
            return Ok(());
        }
        if !is_player && self.players().count() >= self.limit {
            self.tell(tell::not_in(who, "Every seat of this game is taken: you look on"));
            return Ok(());
        }
        let name = self.free_name(who, check_name(name)?);
        let color = self.free_color(chance);
        let Some(person) = self.people.iter_mut().find(|person| person.who == who) else {
            return Err(stranger());
        };
        match &mut person.player {
            Some(player) => player.name = name,
            None => person.player = Some(Player { name, color, score: 0 }),
        }
        self.tell_players();
        if self.mode == Mode::Random && self.phase == Phase::Waiting && self.players().count() == 2
        {
            return self.start(now);
        }
        Ok(())
    }

    /// The name, or with a number behind it if another player has it.
    fn free_name(&self, who: Who, name: String) -> String {
        let taken = |name: &str| {
            let mut others = self.people.iter().filter(|person| person.who != who);
            others.any(|other| other.player.as_ref().is_some_and(|player| player.name == name))
        };
        let numbered = (2..).map(|number| format!("{name} {number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or(name)
    }

    fn free_color(&self, chance: u64) -> &'static str {
        let taken = |color: &&str| self.players().any(|(_, player)| player.color == *color);
        let free: Vec<_> = COLORS.into_iter().filter(|color| !taken(color)).collect();
        let choice = if free.is_empty() { &COLORS[..] } else { &free };
        choice[(chance % choice.len() as u64) as usize]
    }

    fn set_up(&mut self, who: Who, body: &Value) -> Result<(), No> {
        self.need_maker(who)?;
        self.need_rest()?;
        let wish = |key: &str, now: u64| match text_of(body, key).trim() {
            "" => Ok(now),
            text => text.parse().map_err(|_| No(format!("`{key}` must be a whole number"))),
        };
        let duration_s = wish("game_duration", self.duration_s)?;
        let limit = wish("player_limit", self.limit as u64)?;
        if !DURATION_S.contains(&duration_s) {
            return Err(No("a game lasts 20 to 180 seconds".to_owned()));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if !(PLAYERS_MIN..=PLAYERS_MAX).contains(&limit) {
            return Err(No("a game has 2 to 10 players".to_owned()));
        }
        if self.mode == Mode::Random && limit != 2 {
            return Err(No("two strangers play alone".to_owned()));
        }
        (self.duration_s, self.limit) = (duration_s, limit);
        self.tell(tell::settings(limit, duration_s));
        Ok(())
    }

    fn start(&mut self, now: u64) -> Result<(), No> {
        self.need_rest()?;
        if self.players().count() < PLAYERS_MIN {
            return Err(No("a game needs two players with a name".to_owned()));
        }
        for player in self.people.iter_mut().filter_map(|person| person.player.as_mut()) {
            player.score = 0;
        }
        self.found.clear();
        (self.turn, self.last, self.letter) = (None, None, FIRST_LETTER);
        (self.phase, self.only_one_left) = (Phase::Greeting, false);
        self.ends = Some(now + self.duration_s * self.second_ms);
        self.step_in(now, 1, Step::Introduce);
        self.tell(tell::greetings());
        Ok(())
    }

    fn chat(&mut self, who: Who, text: &str) -> Result<(), No> {
        let player = self.need_player(who)?.clone();
        let text = text.trim();
        if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
            return Err(No(format!("a message has 1 to {TEXT_CHARS_MAX} characters")));
        }
        self.tell(tell::said(who, &player, text));
        Ok(())
    }

    fn attempt(&mut self, now: u64, who: Who, word: &str) -> Result<(), No> {
        let player = self.need_player(who)?.clone();
        if self.phase != Phase::Turn || self.turn != Some(who) {
            return Err(No("it is not your turn".to_owned()));
        }
        let word = word.trim().to_lowercase();
        if word.is_empty() || word.chars().count() > WORD_CHARS_MAX {
            return Err(No(format!("a word has 1 to {WORD_CHARS_MAX} letters")));
        }
        self.tell(tell::said(who, &player, &word));
        let outcome = self.judge(&word);
        let slug = self.person(who).map(|person| person.slug.clone()).unwrap_or_default();
        if outcome == Outcome::Correct {
            self.letter = word.chars().last().unwrap_or(self.letter);
            let (slug, name) = (slug.clone(), player.name.clone());
            self.found.push(Found { word: word.clone(), slug, name });
            if let Some(player) = self.player_mut(who) {
                player.score += 1;
            }
        }
        self.turn_over(now, Last { slug, name: player.name, word: Some(word), outcome });
        Ok(())
    }

    fn judge(&self, word: &str) -> Outcome {
        if !word.starts_with(self.letter) {
            Outcome::WrongLetter
        } else if !self.words.contains(word) {
            Outcome::NoSuchWord
        } else if self.found.iter().any(|found| found.word == word) {
            Outcome::Reused
        } else {
            Outcome::Correct
        }
    }

    fn turn_over(&mut self, now: u64, last: Last) {
        self.last = Some(last);
        self.phase = Phase::Pause;
        self.tell(tell::turn_over());
        self.step_in(now, 1, Step::NextTurn);
    }

    fn take_step(&mut self, now: u64, step: Step) {
        match step {
            Step::Introduce => {
                self.tell(tell::introduction(&self.room));
                self.step_in(now, 1, Step::Talk);
            }
            Step::Talk => {
                self.phase = Phase::Talking;
                self.tell(tell::talk(&self.people, TALK_S));
                self.step_in(now, TALK_S, Step::FirstTurn);
            }
            Step::FirstTurn => self.give_turn(now, FIRST_TURN_S),
            Step::NextTurn => self.give_turn(now, TURN_S),
            Step::TimesUp => {
                let person = self.turn.and_then(|who| self.person(who));
                let name = person.and_then(|person| Some(person.player.as_ref()?.name.clone()));
                let slug = person.map(|person| person.slug.clone()).unwrap_or_default();
                let (name, outcome) = (name.unwrap_or_default(), Outcome::TimesUp);
                self.turn_over(now, Last { slug, name, word: None, outcome });
            }
            Step::Board => {
                self.phase = Phase::Ended;
                self.tell(tell::board(&self.people, &self.found, self.only_one_left));
            }
        }
    }

    /// The next player in the order of slugs, whoever has left in between.
    fn give_turn(&mut self, now: u64, seconds: u64) {
        let before = self.last.as_ref().map_or("", |last| last.slug.as_str());
        let everybody_is_away = self.players().all(|(person, _)| person.away);
        let mut order: Vec<_> =
            self.players().filter(|(person, _)| everybody_is_away || !person.away).collect();
        order.sort_by(|(a, _), (b, _)| a.slug.cmp(&b.slug));
        let next = order.iter().find(|(person, _)| person.slug.as_str() > before);
        let Some((person, player)) = next.or(order.first()).copied() else { return };
        let told =
            tell::turn(&self.people, person, player, self.letter, seconds, self.last.as_ref());
        self.turn = Some(person.who);
        self.phase = Phase::Turn;
        self.tell(told);
        self.step_in(now, seconds, Step::TimesUp);
    }

    fn end(&mut self, now: u64) {
        self.phase = Phase::Ending;
        (self.turn, self.ends) = (None, None);
        self.tell(tell::game_over(self.only_one_left));
        // The original board comes 0.69 s after the word that it is over.
        self.step = Some((now + self.second_ms * 69 / 100, Step::Board));
    }

    fn step_in(&mut self, now: u64, seconds: u64, step: Step) {
        self.step = Some((now + seconds * self.second_ms, step));
    }

    fn tell(&mut self, told: Told) {
        self.version += 1;
        self.told.push(told);
    }

    fn tell_players(&mut self) {
        let told = tell::player_list(&self.people);
        self.tell(told);
    }

    fn is_running(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Ended)
    }

    fn need_rest(&self) -> Result<(), No> {
        if self.is_running() { Err(No("the game has started".to_owned())) } else { Ok(()) }
    }

    fn need_maker(&self, who: Who) -> Result<(), No> {
        match self.people.first() {
            Some(maker) if maker.who == who => Ok(()),
            _ => Err(No("only who made the room may do this".to_owned())),
        }
    }

    fn need_player(&self, who: Who) -> Result<&Player, No> {
        let player = self.person(who).and_then(|person| person.player.as_ref());
        player.ok_or_else(|| No("only players may do this: set a name first".to_owned()))
    }

    fn players(&self) -> impl Iterator<Item = (&Person, &Player)> {
        self.people.iter().filter_map(|person| Some((person, person.player.as_ref()?)))
    }

    fn person(&self, who: Who) -> Option<&Person> {
        self.people.iter().find(|person| person.who == who)
    }

    fn player_mut(&mut self, who: Who) -> Option<&mut Player> {
        self.people.iter_mut().find(|person| person.who == who)?.player.as_mut()
    }
}

const ALREADY_STARTED: &str = "The game has started without you: you look on";

fn stranger() -> No {
    No("you are not in this room".to_owned())
}

/// A text or a number as text; nothing for anything else.
pub fn text_of(body: &Value, key: &str) -> String {
    match body.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Names go into sentences that some pages show as markup: letters, digits and little else.
fn check_name(name: &str) -> Result<String, No> {
    let name = name.trim();
    if name.is_empty() {
        return Ok("Guest".to_owned());
    }
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    if name.chars().count() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
        let text = format!("a name has 1 to {NAME_CHARS_MAX} letters, digits, blanks, - _ or .");
        return Err(No(text));
    }
    Ok(name.to_owned())
}
