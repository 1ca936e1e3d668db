//! What the game speaks of.

/// Who is in the room: the session's number.
pub type Who = u128;

/// How people came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a link; the maker starts the game.
    Friends,
    /// Two strangers; the game starts by itself.
    Random,
}

/// Where the game stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has started it.
    Waiting,
    /// The bot says hello.
    Greeting,
    /// Free talk before the first turn.
    Talking,
    /// Somebody is to find a word.
    Turn,
    /// Between two turns.
    Pause,
    /// It is over; the board comes in a moment.
    Ending,
    /// The board was shown; it may be started again.
    Ended,
}

impl Phase {
    /// The word in `game-state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Greeting => "greeting",
            Self::Talking => "talking",
            Self::Turn => "turn",
            Self::Pause => "pause",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

/// How a turn came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A point; the word's last letter is the next first one.
    Correct,
    /// The word begins with another letter.
    WrongLetter,
    /// It is not in the list.
    NoSuchWord,
    /// Somebody said it before in this game.
    Reused,
    /// Nothing came in time.
    TimesUp,
    /// The player left.
    Left,
}

impl Outcome {
    /// The word in `game-state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::WrongLetter => "wrong-letter",
            Self::NoSuchWord => "no-such-word",
            Self::Reused => "word-reused",
            Self::TimesUp => "times-up",
            Self::Left => "left",
        }
    }
}

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No(pub String);

/// A player as all see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// What it is called.
    pub name: String,
    /// One of [`COLORS`](crate::game::COLORS).
    pub color: &'static str,
    /// Words found.
    pub score: u32,
}

/// Somebody in the room; without [`Player`] an onlooker.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its session.
    pub who: Who,
    /// Its short name, which never changes.
    pub slug: String,
    /// The link is lost, the seat kept.
    pub away: bool,
    /// Set with the name.
    pub player: Option<Player>,
}

/// How the last turn came out.
#[derive(Debug, Clone)]
pub struct Last {
    /// Whose turn it was: slug and name, which outlive the player.
    pub slug: String,
    /// See above.
    pub name: String,
    /// What was said, if anything.
    pub word: Option<String>,
    /// How it came out.
    pub outcome: Outcome,
}

/// A word that was found, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The word.
    pub word: String,
    /// Slug and name of who found it.
    pub slug: String,
    /// See above.
    pub name: String,
}
