//! Room scripts: text in, text out.
//!
//! A script is a list of steps, each followed by what the clients then read. [`play`] carries the
//! steps out and returns the script with what really happened; a test compares. `UPDATE=1`
//! rewrites the expectations: read the difference before you keep it.
//!
//! ```text
//! # A comment; it stays.
//! limits resume_ms=5000                    before the first step: Limits
//! namespace game anonymous=false create=false list_rooms=true options={"history":{"size":3}}
//! static town {"members_max":2}            a room that is always there
//! key sesame user=ops admin                a key for `hello`
//! plain                                    always one shard and JSON: where bytes are counted
//! shards 2                                 always so many
//! envelopes 50ms                           how long they are on their way between shards
//! nodes 3                                  always so many, of one shard each, and JSON; the
//!                                          clients connect to them in turn
//! home lobby 2                             the node that is home to a room from now on
//! node 1 kill                              or start, cut, reach, pause 5s, lose 2 (words to it)
//! alice: hello Mina token=sesame           verbs of clients: see `verbs.rs`
//! alice < welcome user=ops                 what alice read, until nothing more happens
//! + bob: join lobby                        `+`: in the same turn as the step before
//! repeat 3 bob: say lobby {i}              three times in one turn
//! open carol line namespace=game node=1    connect and say nothing (ws, line, length, msgpack)
//! cut bob      close bob      half_open bob     stop bob (reading)     read bob     mute bob
//! window bob 2000                          how many unread bytes its link takes
//! wait 61s                                 or 500ms
//! drain        restart      crash          the next server begins with what the log has
//! log                                      before the first step: there may be durable rooms
//! log fails 2s                             it takes nothing for so long
//! server: announce lobby note {"x":1}      the server's own code: see `verbs.rs`
//! hooks publish                            before the first step: what waits for `hook: go` or
//! hook: refuse no                          the like: see `hooks.rs`
//! ```
//! `@5` is the position with offset 5 in the first epoch of that room that the script saw, `@5/2`
//! in the second. `$1` is the first room whose name the server made up.

mod hooks;
mod show;
mod stage;
mod verbs;
mod words;

pub use stage::Variant;

use stage::Stage;

/// Carries out the steps of a script and returns it with what really happened.
///
/// # Errors
/// A line that makes no sense.
pub fn play(text: &str, variant: Variant) -> Result<String, String> {
    let mut stage = Stage::new(variant);
    let mut lines = Vec::new();
    let steps: Vec<_> = text.lines().filter(|line| !is_expectation(line)).collect();
    for (at, line) in steps.iter().enumerate() {
        lines.push((*line).to_owned());
        let step = line.trim();
        if step.is_empty() || step.starts_with('#') {
            continue;
        }
        let step = step.strip_prefix("+ ").unwrap_or(step);
        stage.carry_out(step).map_err(|error| format!("`{line}`: {error}"))?;
        let goes_on = steps.get(at + 1).is_some_and(|next| next.starts_with("+ "));
        if !goes_on {
            lines.extend(stage.settle());
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// The lines in which two texts differ, for a person.
pub fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), actual.lines().collect());
    let same = expected.iter().zip(&actual).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], mark: &str| {
        let lines = lines.iter().skip(same).take(12);
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    let before = expected.get(same.saturating_sub(4)..same).unwrap_or_default();
    let before: String = before.iter().map(|line| format!("  {line}\n")).collect();
    format!("line {}:\n{before}{}{}", same + 1, part(&expected, "-"), part(&actual, "+"))
}

/// `alice < joined lobby`, `server < done`.
fn is_expectation(line: &str) -> bool {
    line.split_once(" < ").is_some_and(|(who, _)| words::is_word(who))
}
