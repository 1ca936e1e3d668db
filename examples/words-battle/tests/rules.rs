//! Every rule of the game, and every fault of the original that must not come back. Time is a
//! number here.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};
use words_battle::game::{Game, Mode, Phase, Who};
use words_battle::tell::{From, Told};
use words_battle::words::Words;

const ANNA: Who = 1;
const BERT: Who = 2;
const CARL: Who = 3;

/// A game, its time, and what was told since it was last looked at.
struct Table {
    game: Game,
    now: u64,
}

impl Table {
    fn new(mode: Mode, limit: usize) -> Self {
        let words = ["water", "river", "rabbit", "tiger", "rain", "night"];
        let game = Game::new("cows", mode, limit, Arc::new(Words::of(&words)), 1_000);
        Self { game, now: 50_000 }
    }

    /// Anna, who made the room, and Bert, both with names.
    fn of_two() -> Self {
        let mut table = Self::new(Mode::Friends, 3);
        table.enter(ANNA, "Aaaaa111");
        table.enter(BERT, "Bbbbb222");
        table.name(ANNA, "Anna");
        table.name(BERT, "Bert");
        table.told();
        table
    }

    /// The first turn, which is Anna's, of a game of so many seconds.
    fn playing(seconds: u64) -> Self {
        let mut table = Self::of_two();
        let settings = json!({ "game_duration": seconds.to_string(), "player_limit": "3" });
        table.act(ANNA, "room-settings", settings).unwrap();
        table.act(ANNA, "start-the-game", json!({})).unwrap();
        table.after(12_000);
        assert_eq!(table.state()["turn"], "Aaaaa111");
        table.told();
        table
    }

    fn enter(&mut self, who: Who, slug: &str) {
        self.game.enter(who, slug);
    }

    fn name(&mut self, who: Who, name: &str) {
        self.act(who, "set-client-name", json!({ "setname": name })).unwrap();
    }

    fn act(&mut self, who: Who, action: &str, body: Value) -> Result<(), String> {
        self.game.act(self.now, who, action, &body, 4).map_err(|no| no.0)
    }

    fn word(&mut self, who: Who, word: &str) -> Result<(), String> {
        self.act(who, "attempt-word", json!({ "message": word }))
    }

    fn after(&mut self, ms: u64) {
        self.now += ms;
        self.game.pass_time(self.now);
    }

    fn told(&mut self) -> Vec<Told> {
        self.game.take_told()
    }

    fn actions(&mut self) -> Vec<&'static str> {
        self.told().into_iter().map(|told| told.action).collect()
    }

    fn state(&self) -> Value {
        self.game.state(self.now)
    }

    fn score(&self, name: &str) -> u64 {
        let state = self.state();
        let players = state["players"].as_array().unwrap();
        players.iter().find(|one| one["name"] == name).unwrap()["score"].as_u64().unwrap()
    }

    fn outcome(&self) -> Value {
        self.state()["last"]["outcome"].clone()
    }
}

#[test]
fn who_comes_in_is_announced_and_told_who_it_is() {
    let mut table = Table::new(Mode::Friends, 3);
    table.enter(ANNA, "Aaaaa111");
    let told = table.told();
    let heads: Vec<_> = told.iter().map(|told| (told.to, told.from, told.action)).collect();
    assert_eq!(
        heads,
        [
            (None, From::Person(ANNA), "join-room-notify"),
            (Some(ANNA), From::Bot, "is-room-maker"),
            (Some(ANNA), From::Bot, "know-yourself"),
        ]
    );
    assert_eq!(told[1].body, json!({ "message": "Aaaaa111" }));
    assert_eq!(told[2].body, json!({ "sender": "Aaaaa111" }));
    table.enter(BERT, "Bbbbb222");
    assert_eq!(table.actions(), ["join-room-notify", "know-yourself"]);
}

#[test]
fn a_name_makes_a_player_and_all_hear_the_list_in_the_order_of_slugs() {
    let mut table = Table::new(Mode::Friends, 3);
    table.enter(BERT, "Bbbbb222");
    table.enter(ANNA, "Aaaaa111");
    table.name(BERT, "Bert");
    table.name(ANNA, "Anna");
    let told = table.told().pop().unwrap();
    assert_eq!((told.to, told.from, told.action), (None, From::Keeper, "client-list-notify"));
    let list = &told.body["clientsinroomessage"];
    // Chance 4 of 7 colours, then 4 of the 6 that are left.
    let expected = json!([
        { "color": "pink", "name": "Anna", "score": 0, "slug": "Aaaaa111" },
        { "color": "purple", "name": "Bert", "score": 0, "slug": "Bbbbb222" },
    ]);
    assert_eq!(*list, expected);
}

#[test]
fn names_are_bounded_and_no_two_players_share_one() {
    let mut table = Table::new(Mode::Friends, 10);
    table.enter(ANNA, "Aaaaa111");
    table.enter(BERT, "Bbbbb222");
    table.enter(CARL, "Ccccc333");
    for bad in ["<b>x</b>", "a&b", "a\nb", "seventeen letters"] {
        assert!(table.act(ANNA, "set-client-name", json!({ "setname": bad })).is_err(), "{bad}");
    }
    table.act(ANNA, "set-client-name", json!({})).unwrap();
    table.name(BERT, "Guest");
    table.name(CARL, "Guest");
    let names: Vec<_> = table.state()["players"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["Guest", "Guest 2", "Guest 3"]);
    // The same player may change its name.
    table.name(BERT, "Bert");
    assert_eq!(table.game.player_count(), 3);
}

#[test]
fn a_name_of_one_letter_is_a_name() {
    let mut table = Table::of_two();
    table.name(ANNA, "Ä");
    table.act(ANNA, "send-message", json!({ "message": "hi" })).unwrap();
    let told = table.told().pop().unwrap();
    assert_eq!(told.body["useravatar"], "Ä");
}

#[test]
fn talk_before_a_name_is_refused() {
    let mut table = Table::new(Mode::Friends, 3);
    table.enter(ANNA, "Aaaaa111");
    let refused = table.act(ANNA, "send-message", json!({ "message": "hi" })).unwrap_err();
    assert!(refused.contains("set a name"), "{refused}");
    assert!(table.word(ANNA, "water").is_err());
    // And what comes from somebody who is not in the room at all.
    assert!(table.act(CARL, "set-client-name", json!({ "setname": "Carl" })).is_err());
}

#[test]
fn what_is_said_carries_colour_and_avatar_and_no_markup() {
    let mut table = Table::of_two();
    table.act(BERT, "send-message", json!({ "message": " <b>hi</b> " })).unwrap();
    let told = table.told().pop().unwrap();
    assert_eq!((told.to, told.from, told.action), (None, From::Person(BERT), "send-message"));
    let expected = json!({ "color": "pink", "message": "‹b›hi‹/b›", "useravatar": "Be" });
    assert_eq!(told.body, expected);
    for bad in ["", "   ", &"x".repeat(201)] {
        assert!(table.act(BERT, "send-message", json!({ "message": bad })).is_err());
    }
    assert!(table.act(BERT, "send-message", json!(7)).is_err());
}

#[test]
fn who_finds_no_seat_is_told_and_looks_on() {
    let mut table = Table::new(Mode::Friends, 2);
    for (who, slug) in [(ANNA, "Aaaaa111"), (BERT, "Bbbbb222"), (CARL, "Ccccc333")] {
        table.enter(who, slug);
        table.told();
        table.name(who, "Guest");
    }
    let told = table.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].to, told[0].action), (Some(CARL), "fail-join-room-notify"));
    assert_eq!(table.game.player_count(), 2);
    assert_eq!(table.state()["onlookers"], 1);
}

#[test]
fn limits_outside_the_rules_are_brought_inside() {
    for (asked, given) in [(0, 2), (1, 2), (10, 10), (4_000_000_000, 10)] {
        let table = Table::new(Mode::Friends, asked);
        assert_eq!(table.state()["limit"], given);
    }
    assert_eq!(Table::new(Mode::Random, 9).state()["limit"], 2);
}

#[test]
fn settings_are_the_makers_and_within_bounds() {
    let mut table = Table::of_two();
    let settings =
        |duration: Value, limit: Value| json!({ "game_duration": duration, "player_limit": limit });
    table.act(ANNA, "room-settings", settings(json!("40"), json!("2"))).unwrap();
    let told = table.told().pop().unwrap();
    assert_eq!((told.to, told.action), (None, "room-setting-applied"));
    assert_eq!((&table.state()["duration_s"], &table.state()["limit"]), (&json!(40), &json!(2)));
    table.act(ANNA, "room-settings", settings(json!(180), json!(10))).unwrap();
    for (duration, limit) in [
        (json!("10"), json!("2")),
        (json!("181"), json!("2")),
        (json!("40"), json!("1")),
        (json!("40"), json!("11")),
        (json!("soon"), json!("2")),
        (json!(-40), json!(2)),
        (json!(40.5), json!(2)),
        (json!("40"), json!(u64::MAX)),
    ] {
        let wish = settings(duration, limit);
        assert!(table.act(ANNA, "room-settings", wish.clone()).is_err(), "{wish}");
    }
    assert!(table.act(BERT, "room-settings", settings(json!("40"), json!("2"))).is_err());
    assert_eq!(table.state()["duration_s"], 180);
}

#[test]
fn only_the_maker_starts_and_only_with_two() {
    let mut table = Table::of_two();
    let refused = table.act(BERT, "start-the-game", json!({})).unwrap_err();
    assert!(refused.contains("made the room"), "{refused}");
    table.game.leave(table.now, BERT);
    let refused = table.act(ANNA, "start-the-game", json!({})).unwrap_err();
    assert!(refused.contains("two players"), "{refused}");
    assert_eq!(table.game.phase(), Phase::Waiting);
}

#[test]
fn the_preamble_takes_twelve_seconds() {
    let mut table = Table::of_two();
    table.act(ANNA, "start-the-game", json!({ "message": "cows" })).unwrap();
    assert_eq!(table.actions(), ["room-bot-greetings"]);
    table.after(999);
    assert_eq!(table.actions(), Vec::<&str>::new());
    table.after(1);
    let told = table.told().pop().unwrap();
    assert_eq!((told.action, &told.body["letter"]), ("send-message", &json!("")));
    table.after(1_000);
    let told = table.told().pop().unwrap();
    assert_eq!((told.action, &told.body["timer"]), ("message-by-bot", &json!(10)));
    assert_eq!(told.body["clientstats"].as_array().unwrap().len(), 2);
    assert_eq!(table.state()["talk_ms"], 10_000);
    table.act(BERT, "send-message", json!({ "message": "good luck" })).unwrap();
    assert!(table.act(ANNA, "room-settings", json!({})).is_err());
    assert!(table.act(ANNA, "start-the-game", json!({})).is_err());
    table.told();
    table.after(10_000);
    let told = table.told().pop().unwrap();
    let expected = json!({ "color": "purple", "name": "Anna", "score": 0, "slug": "Aaaaa111" });
    assert_eq!(told.body["whichclientturn"], expected);
    assert_eq!((&told.body["letter"], &told.body["timer"]), (&json!("w"), &json!(10)));
}

#[test]
fn a_right_word_is_a_point_and_its_last_letter_the_next_first() {
    let mut table = Table::playing(40);
    table.word(ANNA, " Water ").unwrap();
    let told = table.told();
    assert_eq!(told.iter().map(|told| told.action).collect::<Vec<_>>(), ["send-message"; 2]);
    assert_eq!((told[0].from, &told[0].body["message"]), (From::Person(ANNA), &json!("water")));
    assert_eq!(told[1].from, From::Bot);
    table.after(999);
    assert!(table.told().is_empty());
    table.after(1);
    let told = table.told().pop().unwrap();
    assert_eq!((&told.body["letter"], &told.body["timer"]), (&json!("r"), &json!(11)));
    assert_eq!(told.body["whichclientturn"]["name"], "Bert");
    assert_eq!((table.score("Anna"), table.score("Bert")), (1, 0));
    let found = json!([{ "word": "water", "slug": "Aaaaa111", "name": "Anna" }]);
    assert_eq!(table.state()["words"], found);
}

#[test]
fn a_wrong_word_is_no_point_and_the_letter_stays() {
    // The checks in their order: letter, list, said before.
    for (word, outcome) in
        [("river", "wrong-letter"), ("wxyz", "no-such-word"), ("xxxx", "wrong-letter")]
    {
        let mut table = Table::playing(40);
        table.word(ANNA, word).unwrap();
        assert_eq!(table.outcome(), outcome, "{word}");
        table.after(1_000);
        assert_eq!((table.state()["letter"].clone(), table.score("Anna")), (json!("w"), 0));
        assert_eq!(table.state()["turn"], "Bbbbb222");
    }
}

#[test]
fn a_word_counts_once_a_game() {
    let mut table = Table::playing(180);
    table.word(ANNA, "water").unwrap();
    table.after(1_000);
    table.word(BERT, "river").unwrap();
    table.after(1_000);
    table.word(ANNA, "river").unwrap();
    assert_eq!(table.outcome(), "word-reused");
    assert_eq!((table.score("Anna"), table.score("Bert")), (1, 1));
}

#[test]
fn an_attempt_out_of_turn_changes_nothing_and_gives_nobody_a_point() {
    let mut table = Table::playing(40);
    let before = table.state();
    let refused = table.word(BERT, "water").unwrap_err();
    assert!(refused.contains("your turn"), "{refused}");
    assert_eq!((table.state(), table.told().len()), (before, 0));
    // Nor is there a second attempt in the pause.
    table.word(ANNA, "wxyz").unwrap();
    assert!(table.word(ANNA, "water").is_err());
    // Nor before the first turn.
    let mut table = Table::of_two();
    assert!(table.word(ANNA, "water").is_err());
}

#[test]
fn an_empty_word_is_refused_and_the_turn_goes_on() {
    let mut table = Table::playing(40);
    for bad in ["", "   ", &"w".repeat(41)] {
        assert!(table.word(ANNA, bad).is_err());
    }
    for bad in [json!({}), json!({ "message": null }), json!({ "message": ["water"] }), json!(null)]
    {
        assert!(table.act(ANNA, "attempt-word", bad).is_err());
    }
    assert_eq!(table.state()["turn"], "Aaaaa111");
    table.word(ANNA, "water").unwrap();
    assert_eq!(table.score("Anna"), 1);
}

#[test]
fn time_runs_out_after_ten_seconds_at_first_and_eleven_later() {
    let mut table = Table::playing(180);
    table.after(9_999);
    assert!(table.told().is_empty());
    table.after(1);
    assert_eq!((table.actions(), table.outcome()), (vec!["send-message"], json!("times-up")));
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Bbbbb222");
    assert_eq!(
        (&table.state()["letter"], &table.state()["turn_ms"]),
        (&json!("w"), &json!(11_000))
    );
    table.after(11_000);
    assert_eq!(table.outcome(), "times-up");
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Aaaaa111");
}

#[test]
fn the_game_ends_after_its_duration_from_the_start_on() {
    let mut table = Table::playing(40);
    table.word(ANNA, "water").unwrap();
    table.after(1_000);
    table.word(BERT, "rabbit").unwrap();
    table.after(1_000);
    table.word(ANNA, "tiger").unwrap();
    table.told();
    table.after(25_999);
    assert_ne!(table.game.phase(), Phase::Ending);
    table.told();
    table.after(1);
    assert_eq!(table.game.phase(), Phase::Ending);
    let told = table.told();
    assert_eq!(told.last().unwrap().action, "send-message");
    assert!(table.word(BERT, "rain").is_err());
    table.after(689);
    assert!(table.told().is_empty());
    table.after(1);
    let board = table.told().pop().unwrap();
    assert_eq!((board.to, board.action), (None, "room-bot-end-game"));
    let order: Vec<_> = board.body["client_list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["score"].as_u64().unwrap()))
        .collect();
    assert_eq!(order, [("Anna", 2), ("Bert", 1)]);
    assert_eq!(board.body["word_list"], json!(["water", "rabbit", "tiger"]));
    assert_eq!((table.game.phase(), table.game.deadline()), (Phase::Ended, None));
}

#[test]
fn a_late_look_at_the_clock_does_all_that_was_due_in_its_order() {
    let mut table = Table::of_two();
    table.act(ANNA, "start-the-game", json!({})).unwrap();
    table.after(3_600_000);
    let actions = table.actions();
    assert_eq!(actions.first(), Some(&"room-bot-greetings"));
    assert_eq!(actions[actions.len() - 2..], ["send-message", "room-bot-end-game"]);
    assert_eq!(table.game.phase(), Phase::Ended);
}

#[test]
fn after_the_board_the_maker_may_start_again() {
    let mut table = Table::playing(20);
    table.word(ANNA, "water").unwrap();
    table.after(60_000);
    assert_eq!(table.game.phase(), Phase::Ended);
    table.act(ANNA, "start-the-game", json!({})).unwrap();
    assert_eq!((table.score("Anna"), table.state()["words"].clone()), (0, json!([])));
    table.after(12_000);
    assert_eq!(table.state()["letter"], "w");
    table.word(ANNA, "water").unwrap();
    assert_eq!(table.outcome(), "correct");
}

#[test]
fn who_comes_late_is_told_at_once_and_looks_on() {
    let mut table = Table::playing(40);
    table.enter(CARL, "Ccccc333");
    let told = table.told();
    let last = told.last().unwrap();
    assert_eq!((last.to, last.action), (Some(CARL), "fail-join-room-notify"));
    table.name(CARL, "Carl");
    let told = table.told();
    assert_eq!((told.len(), told[0].action), (1, "fail-join-room-notify"));
    assert!(table.word(CARL, "water").is_err());
    assert_eq!(table.game.player_count(), 2);
    // In the next game there is a seat.
    table.after(60_000);
    table.name(CARL, "Carl");
    assert_eq!(table.game.player_count(), 3);
}

#[test]
fn who_leaves_in_its_turn_passes_it_on() {
    let mut table = Table::playing(40);
    table.enter(CARL, "Ccccc333");
    table.after(60_000);
    table.name(CARL, "Carl");
    table.act(ANNA, "start-the-game", json!({})).unwrap();
    table.after(12_000);
    table.told();
    table.game.leave(table.now, ANNA);
    // Bert is the next in the order of joining: the room is his now.
    let told = table.told();
    assert_eq!((told[0].to, told[0].action), (Some(BERT), "is-room-maker"));
    assert_eq!(table.outcome(), "left");
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Bbbbb222");
    table.word(BERT, "water").unwrap();
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Ccccc333");
}

#[test]
fn one_who_is_left_alone_gets_the_board() {
    let mut table = Table::playing(40);
    table.game.leave(table.now, ANNA);
    let told = table.told();
    assert!(told.iter().any(|told| {
        told.action == "send-message" && told.body["message"].as_str().unwrap().contains("left")
    }));
    table.after(690);
    let board = table.told().pop().unwrap();
    assert_eq!(board.action, "room-bot-end-game");
    assert_eq!(board.body["client_list"].as_array().unwrap().len(), 1);
    // Everybody gone: nothing is left to do.
    table.game.leave(table.now, BERT);
    table.game.leave(table.now, BERT);
    table.after(60_000);
    assert_eq!(table.game.deadline(), None);
}

#[test]
fn who_leaves_before_the_board_does_not_end_the_game_again() {
    let mut table = Table::playing(40);
    while table.state()["phase"] != "ending" {
        table.after(100);
    }
    table.told();
    let board_at = table.game.deadline();
    table.game.leave(table.now, BERT);
    assert_eq!(table.actions(), ["client-list-notify"]);
    assert_eq!(table.game.deadline(), board_at);
    table.after(690);
    let board = table.told().pop().unwrap();
    assert_eq!(board.body["message"], "The game is over.");
}

#[test]
fn nobody_waits_for_who_is_away() {
    let mut table = Table::playing(180);
    table.game.set_away(BERT, true);
    table.word(ANNA, "water").unwrap();
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Aaaaa111");
    assert_eq!(table.state()["away"], json!(["Bbbbb222"]));
    table.game.set_away(BERT, false);
    table.word(ANNA, "rain").unwrap();
    table.after(1_000);
    assert_eq!(table.state()["turn"], "Bbbbb222");
    // Both away: the clock runs on, and the game ends in its time.
    table.game.set_away(ANNA, true);
    table.game.set_away(BERT, true);
    table.after(180_000);
    assert_eq!(table.game.phase(), Phase::Ended);
}

#[test]
fn strangers_start_by_themselves() {
    let mut table = Table::new(Mode::Random, 3);
    table.enter(ANNA, "Aaaaa111");
    table.name(ANNA, "Anna");
    table.enter(BERT, "Bbbbb222");
    assert_eq!(table.game.phase(), Phase::Waiting);
    table.told();
    table.name(BERT, "Bert");
    assert_eq!(table.actions(), ["client-list-notify", "room-bot-greetings"]);
    table.after(12_000);
    assert_eq!(table.game.phase(), Phase::Turn);
}

#[test]
fn what_the_room_does_not_know_is_refused() {
    let mut table = Table::playing(40);
    for action in ["", "end-the-game", "know-yourself", "<script>"] {
        assert!(table.act(ANNA, action, json!({})).is_err());
    }
}
