//! What the game tells: names and fields of the original's messages, sentences of our own.

use serde_json::{Value, json};

use crate::game::{Found, Last, Outcome, Person, Player, Who};

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The room itself: the sender that pages take for the bot.
    Bot,
    /// The keeper of the list of players.
    Keeper,
    /// Somebody in the room.
    Person(Who),
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// None: everybody in the room.
    pub to: Option<Who>,
    /// Who says it.
    pub from: From,
    /// What it is called.
    pub action: &'static str,
    /// What it says.
    pub body: Value,
}

fn all(action: &'static str, body: Value) -> Told {
    Told { to: None, from: From::Bot, action, body }
}

fn one(who: Who, action: &'static str, body: Value) -> Told {
    Told { to: Some(who), from: From::Bot, action, body }
}

pub(crate) fn joined(who: Who, slug: &str) -> Told {
    let body = json!({ "newmessage": format!("{slug} is here now") });
    Told { from: From::Person(who), ..all("join-room-notify", body) }
}

pub(crate) fn is_maker(who: Who, slug: &str) -> Told {
    one(who, "is-room-maker", json!({ "message": slug }))
}

pub(crate) fn know_yourself(who: Who, slug: &str) -> Told {
    one(who, "know-yourself", json!({ "sender": slug }))
}

/// To one who cannot play.
pub(crate) fn not_in(who: Who, why: &str) -> Told {
    one(who, "fail-join-room-notify", json!({ "message": why }))
}

pub(crate) fn player_list(people: &[Person]) -> Told {
    let body = json!({ "clientsinroomessage": stats(people) });
    Told { from: From::Keeper, ..all("client-list-notify", body) }
}

pub(crate) fn settings(limit: usize, duration_s: u64) -> Told {
    let text = format!("This game: up to {limit} players, {duration_s} seconds");
    all("room-setting-applied", json!({ "message": text }))
}

pub(crate) fn greetings() -> Told {
    all("room-bot-greetings", json!({ "message": "welcome" }))
}

pub(crate) fn introduction(room: &str) -> Told {
    let text = format!(
        "Welcome to {room}. Say a word that begins with the letter shown; its last letter is the \
         next one's first. One point for each word that nobody has said yet."
    );
    all("send-message", json!({ "letter": "", "message": text }))
}

pub(crate) fn talk(people: &[Person], seconds: u64) -> Told {
    let body = json!({
        "clientstats": stats(people),
        "letter": "",
        "message": format!("{seconds} seconds to say hello to each other. Then it begins."),
        "timer": seconds,
    });
    all("message-by-bot", body)
}

pub(crate) fn turn(
    people: &[Person],
    person: &Person,
    player: &Player,
    letter: char,
    seconds: u64,
    last: Option<&Last>,
) -> Told {
    let before = last.map_or_else(|| "Here we go.".to_owned(), what_happened);
    let (name, shown) = (&player.name, letter.to_uppercase());
    let text = format!("{before} {name}: a word with {shown}, in {seconds} seconds.");
    let body = json!({
        "clientstats": stats(people),
        "letter": letter.to_string(),
        "message": text,
        "timer": seconds,
        "whichclientturn": stat(person, player),
    });
    all("message-by-bot", body)
}

fn what_happened(last: &Last) -> String {
    let name = &last.name;
    match last.outcome {
        Outcome::Correct => format!("A point for {name}."),
        Outcome::WrongLetter => format!("{name} took another letter."),
        Outcome::NoSuchWord => format!("The list does not have the word of {name}."),
        Outcome::Reused => format!("The word of {name} was said before."),
        Outcome::TimesUp => format!("{name} ran out of time."),
        Outcome::Left => format!("{name} has left."),
    }
}

/// Some pages show texts as markup, so the two signs that markup needs are replaced.
pub(crate) fn said(who: Who, player: &Player, text: &str) -> Told {
    let text: String = text
        .chars()
        .map(|c| match c {
            '<' => '‹',
            '>' => '›',
            c => c,
        })
        .collect();
    let avatar: String = player.name.chars().take(2).collect();
    let body = json!({ "color": player.color, "message": text, "useravatar": avatar });
    Told { from: From::Person(who), ..all("send-message", body) }
}

pub(crate) fn turn_over() -> Told {
    all("send-message", json!({ "message": "This turn is over." }))
}

pub(crate) fn game_over(only_one_left: bool) -> Told {
    all("send-message", json!({ "message": over(only_one_left) }))
}

pub(crate) fn board(people: &[Person], words: &[Found], only_one_left: bool) -> Told {
    let mut players: Vec<_> = sorted(people);
    // A stable sort: equal scores stay in the order of slugs.
    players.sort_by_key(|(_, player)| std::cmp::Reverse(player.score));
    let list: Vec<_> = players.into_iter().map(|(person, player)| stat(person, player)).collect();
    let body = json!({
        "client_list": list,
        "message": over(only_one_left),
        "word_list": words.iter().map(|found| &found.word).collect::<Vec<_>>(),
    });
    all("room-bot-end-game", body)
}

/// The words with who found them, for `game-state`.
pub(crate) fn found(words: &[Found]) -> Vec<Value> {
    let entry = |one: &Found| json!({ "word": one.word, "slug": one.slug, "name": one.name });
    words.iter().map(entry).collect()
}

fn over(only_one_left: bool) -> &'static str {
    match only_one_left {
        true => "The game is over: everybody else has left.",
        false => "The game is over.",
    }
}

/// The players in the order of their turns.
pub(crate) fn stats(people: &[Person]) -> Vec<Value> {
    sorted(people).into_iter().map(|(person, player)| stat(person, player)).collect()
}

fn sorted(people: &[Person]) -> Vec<(&Person, &Player)> {
    let players = people.iter().filter_map(|person| Some((person, person.player.as_ref()?)));
    let mut players: Vec<_> = players.collect();
    players.sort_by(|(a, _), (b, _)| a.slug.cmp(&b.slug));
    players
}

fn stat(person: &Person, player: &Player) -> Value {
    json!({
        "color": player.color,
        "name": player.name,
        "score": player.score,
        "slug": person.slug,
    })
}
