//! Who somebody is, and what they may do where.
//!
//! A session without a token, or with a key or token that lists no rules, may do what namespaces
//! and rooms allow to everybody. Rules narrow that; they never widen it. The first rule that names
//! a room decides, so that every refusal can name the one rule it comes from.

use std::fmt;
use std::sync::Arc;

use roomcast_wire::{ErrorCode, Name, Payload, Refusal, RoomPath};

use crate::glob;
use crate::io::Now;

/// Most rules that one token, key or namespace may have.
pub const RULES_MAX: usize = 64;

/// One thing that may be done in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Take a seat.
    Join,
    /// Say something.
    Publish,
    /// Ask who is there, and how many.
    Presence,
    /// Ask what was said, and have it repeated after a lost link.
    History,
    /// Make the room: by `create`, or by joining one that is not there.
    Create,
    /// Send to sessions and users. It is a right of a whole namespace: its room is `*`.
    Send,
}

impl Right {
    /// All rights, in the order in which they are named.
    pub const ALL: [Self; 6] =
        [Self::Join, Self::Publish, Self::Presence, Self::History, Self::Create, Self::Send];

    /// The word for it in tokens and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Create => "create",
            Self::Send => "send",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|right| right.as_str() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("`{}` is no right: {known}, or * for all", word.escape_debug())
        })
    }
}

/// Some rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RightSet(pub(crate) u8);

impl RightSet {
    /// Every right.
    #[must_use]
    pub fn all() -> Self {
        Right::ALL.into_iter().collect()
    }

    /// Whether `right` is among them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }
}

impl FromIterator<Right> for RightSet {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        Self(rights.into_iter().fold(0, |set, right| set | 1 << right as u8))
    }
}

impl fmt::Display for RightSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Right::ALL.into_iter().filter(|right| self.has(*right)).map(Right::as_str);
        match names.collect::<Vec<_>>() {
            names if names.is_empty() => f.write_str("nothing"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

/// What may be done in the rooms that a pattern describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(crate) namespace: Box<str>,
    pub(crate) room: Box<str>,
    pub(crate) can: RightSet,
}

impl Rule {
    /// A rule for `room`, a pattern in which `*` stands for any run of characters, or for
    /// `namespace/room`; without a namespace it is for the namespace `default`. `can` names rights,
    /// `*` all of them.
    ///
    /// # Errors
    /// The pattern is no name, a word is no right, or `send` is given for single rooms: what was
    /// wrong, for a person.
    pub fn new<'a>(room: &str, can: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let path = RoomPath::parse(room)
            .map_err(|error| format!("`{}` describes no room: {error}", room.escape_debug()))?;
        let mut rights = RightSet::default();
        for word in can {
            rights.0 |= match word {
                // For single rooms all there is: `send` has no room.
                "*" if path.room() == "*" => RightSet::all().0,
                "*" => RightSet::all().0 & !(1 << Right::Send as u8),
                word => 1 << Right::parse(word)? as u8,
            };
        }
        if rights.has(Right::Send) && path.room() != "*" {
            return Err(format!(
                "`{}` cannot allow send: it reaches a whole namespace, so write it for the room *",
                room.escape_debug()
            ));
        }
        let namespace = path.namespace().unwrap_or(Name::default_namespace().as_str()).into();
        Ok(Self { namespace, room: path.room().into(), can: rights })
    }

    /// The pattern of its namespaces.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What it allows.
    #[must_use]
    pub fn can(&self) -> RightSet {
        self.can
    }

    /// The same for `namespace` alone.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// Everything, in `namespace`.
    pub(crate) fn everything(namespace: &str) -> Self {
        Self { namespace: namespace.into(), room: "*".into(), can: RightSet::all() }
    }

    fn names(&self, namespace: &str, room: Option<&str>) -> bool {
        let in_room = match room {
            Some(room) => glob::matches(&self.room, room),
            None => &*self.room == "*",
        };
        in_room && glob::matches(&self.namespace, namespace)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.namespace != *Name::default_namespace().as_str() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.room)
    }
}

/// Where rules stand; refusals say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesOf {
    /// In a token.
    Token,
    /// At a key of the configuration.
    Key,
    /// At a namespace, for sessions without a token.
    Anonymous,
}

impl RulesOf {
    fn owner(self) -> &'static str {
        match self {
            Self::Token => "your token",
            Self::Key => "your key",
            Self::Anonymous => "the rules for sessions without a token",
        }
    }
}

/// Rules, of which the first that names a room decides. What no rule names is refused.
///
/// ```
/// use roomcast_core::{Grants, Right, Rule, RulesOf};
///
/// let rules = vec![Rule::new("battle-secret", [])?, Rule::new("battle-*", ["join", "publish"])?];
/// let grants = Grants::new(RulesOf::Token, rules);
/// assert!(grants.check(Right::Join, "default", Some("battle-7")).is_ok());
/// assert!(grants.check(Right::Join, "default", Some("battle-secret")).is_err());
/// assert!(grants.check(Right::History, "default", Some("battle-7")).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    pub(crate) of: RulesOf,
    pub(crate) rules: Vec<Rule>,
}

/// What [`Grants`] say to one wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Which rule decided, counted from 0; none names the room.
    pub rule: Option<usize>,
}

impl Grants {
    /// These rules, in their order.
    #[must_use]
    pub fn new(of: RulesOf, rules: Vec<Rule>) -> Self {
        Self { of, rules }
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether `right` is given for a room of a namespace; `room` is none where the right is one of
    /// the namespace ([`Right::Send`]).
    #[must_use]
    pub fn decide(&self, right: Right, namespace: &str, room: Option<&str>) -> Decision {
        let rule = self.rules.iter().position(|rule| rule.names(namespace, room));
        let allowed = rule.is_some_and(|rule| self.rules[rule].can.has(right));
        Decision { allowed, rule }
    }

    /// The same as words, for the one who was refused.
    ///
    /// # Errors
    /// The right is not given; the refusal names the rule.
    pub fn check(&self, right: Right, namespace: &str, room: Option<&str>) -> Result<(), Refusal> {
        let decision = self.decide(right, namespace, room);
        if decision.allowed {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Forbidden, self.explain(right, decision)))
    }

    /// A decision as a sentence.
    #[must_use]
    pub fn explain(&self, right: Right, decision: Decision) -> String {
        let owner = self.of.owner();
        let Some((at, rule)) = decision.rule.and_then(|at| Some((at, self.rules.get(at)?))) else {
            let what = if right == Right::Send { "is for the room `*`" } else { "names this room" };
            let right = right.as_str();
            return format!("no rule of {owner} {what}, so {right} is not allowed");
        };
        let but = match decision.allowed {
            true => String::new(),
            false => format!(", not {}", right.as_str()),
        };
        // Those for sessions without a token are of all namespaces: their numbers tell nothing.
        match self.of {
            RulesOf::Anonymous => format!("{owner}: `{rule}` allows {}{but}", rule.can),
            _ => format!("rule {} of {owner}: `{rule}` allows {}{but}", at + 1, rule.can),
        }
    }
}

/// Whom a token stands for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// Who it is; none: nobody in particular.
    pub user: Option<Name>,
    /// The display name; none: what `hello` says.
    pub name: Option<Name>,
    /// Whether everything is allowed everywhere, broadcast, announce, kick and delete included.
    /// Rules do not bind an admin.
    pub admin: bool,
    /// When it ends; none: never.
    pub expires: Option<Now>,
    /// When the token was made at the earliest, to tell those that a revocation is about from later
    /// ones; none: a revocation of its user is about it, however late it comes.
    pub issued: Option<Now>,
    /// The token's own name, by which it can be revoked.
    pub token_id: Option<Box<str>>,
    /// What the token says about its user, for the server's own code; clients never see it.
    pub metadata: Option<Payload>,
    /// What it is bound to; none: to what namespaces and rooms allow everybody.
    pub grants: Option<Arc<Grants>>,
}

/// Finds out whom a token stands for, where it is none of the configuration's keys.
///
/// Called by shards, for `hello` and `refresh`: it answers from what it has and never waits.
pub trait Authenticate: Send + Sync {
    /// Whom `token` stands for, shown on a listener of `namespace`.
    ///
    /// # Errors
    /// It stands for nobody, or nobody here: [`ErrorCode::InvalidToken`], without a word of the
    /// token itself.
    fn authenticate(&self, now: Now, namespace: &str, token: &str) -> Result<Identity, Refusal>;
}

impl fmt::Debug for dyn Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticate")
    }
}
