//! The verbs of the API, one entry each. What is read, what is checked and what the OpenAPI
//! document says all come from here.

use roomcast_core::{Act, Revoked, ServerCall};
use roomcast_wire::limits::MEMBER_DATA_BYTES_MAX;
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{ErrorCode, Refusal};

use super::given::{Field, Given, Kind};

/// One thing that can be asked for.
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// It changes nothing: GET asks for it too.
    pub(super) looks: bool,
    pub(super) reach: Reach,
    pub(super) fields: &'static [Field],
    pub(super) answer: Shape,
    pub(super) wanted: fn(&Given<'_>) -> Result<Wanted, Refusal>,
}

/// What a verb touches, as far as keys are bound to rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The room that it names.
    Room,
    /// A namespace: the one that it names, or `default`.
    Namespace,
    /// A user's namespace, or a session, which may be in any.
    Target,
    /// The whole server.
    Server,
}

/// What is to be done.
pub(super) enum Wanted {
    Call(ServerCall),
    /// What the HTTP thread knows itself.
    Info,
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Created,
    Delivered,
    History,
    Info,
    Members,
    Ok,
    Position,
    Presence,
    Room,
    Rooms,
    Seated,
}

/// The verb of a name.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

const ROOM: Field = Field::required("room", Kind::Room, "`room`, or `namespace/room`");
const NAMESPACE: Field = Field::optional("namespace", Kind::Name, "default: `default`");
const SESSION: Field = Field::required("session", Kind::Session, "which session");
const EVENT: Field = Field::required("event", Kind::Event, "what it is called");
const DATA: Field =
    Field::optional("data", Kind::Data, "what it says: any JSON, passed on as it is");
const KEY: Field = Field::optional(
    "key",
    Kind::Key,
    "idempotency key: what the room heard with it in the last `limits.key_ms` is not repeated",
);
const RELIABLE: Field = Field::optional(
    "reliable",
    Kind::Flag,
    "default true: delivered in order. false: may be dropped, the newest wins",
);
const ONE_SESSION: Field = Field::optional("session", Kind::Session, "one session; or `user`");
const ONE_USER: Field = Field::optional("user", Kind::Name, "all sessions of a user; or `session`");
const MEMBER_DATA: Field =
    Field::optional("data", Kind::Data, "what the other members see; at most 4 KiB");

/// Sorted by name.
pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "announce",
        about: "Say something in a room without a sender.",
        looks: false,
        reach: Reach::Room,
        fields: &[ROOM, EVENT, DATA, RELIABLE, KEY],
        answer: Shape::Position,
        wanted: announce,
    },
    Verb {
        name: "broadcast",
        about: "Say something to every session of a namespace that has a link.",
        looks: false,
        reach: Reach::Namespace,
        fields: &[NAMESPACE, EVENT, DATA, RELIABLE],
        answer: Shape::Delivered,
        wanted: broadcast,
    },
    Verb {
        name: "create",
        about: "Make a room. No error if it is there; then nothing about it is changed.",
        looks: false,
        reach: Reach::Room,
        fields: &[
            ROOM,
            Field::optional(
                "options",
                Kind::Options,
                "options that differ from those of the namespace: `[rooms]` of the configuration",
            ),
        ],
        answer: Shape::Created,
        wanted: create,
    },
    Verb {
        name: "delete",
        about: "Close a room.",
        looks: false,
        reach: Reach::Room,
        fields: &[ROOM],
        answer: Shape::Ok,
        wanted: |given| call(ServerCall::Delete { room: given.room()? }),
    },
    Verb {
        name: "disconnect",
        about: "End a session: its seats are given up, its link is closed.",
        looks: false,
        reach: Reach::Server,
        fields: &[SESSION],
        answer: Shape::Delivered,
        wanted: |given| call(ServerCall::Disconnect { session: given.session()? }),
    },
    Verb {
        name: "history",
        about: "What was said in a room, oldest first.",
        looks: true,
        reach: Reach::Room,
        fields: &[
            ROOM,
            Field::optional("since", Kind::Position, "what came after it; without it the newest"),
            Field::optional("limit", Kind::Count, "how many events at most; default 100"),
        ],
        answer: Shape::History,
        wanted: |given| {
            let (room, since) = (given.room()?, given.position("since")?);
            call(ServerCall::History { room, since, limit: given.count("limit")? })
        },
    },
    Verb {
        name: "info",
        about: "What the server is, and how much goes on in it.",
        looks: true,
        reach: Reach::Server,
        fields: &[],
        answer: Shape::Info,
        wanted: |_| Ok(Wanted::Info),
    },
    Verb {
        name: "join",
        about: "Give a session a seat, whatever the room's `join` rule; makes the room if it is \
                not there.",
        looks: false,
        reach: Reach::Room,
        fields: &[ROOM, SESSION, MEMBER_DATA],
        answer: Shape::Seated,
        wanted: |given| {
            let data = given.data_of("data", MEMBER_DATA_BYTES_MAX)?;
            act(given, Act::Join { data, make: true })
        },
    },
    Verb {
        name: "kick",
        about: "Put a session, or all sessions of a user, out of a room.",
        looks: false,
        reach: Reach::Room,
        fields: &[ROOM, ONE_SESSION, ONE_USER],
        answer: Shape::Delivered,
        wanted: kick,
    },
    Verb {
        name: "leave",
        about: "Take a session's seat away as if it had left.",
        looks: false,
        reach: Reach::Room,
        fields: &[ROOM, SESSION, MEMBER_DATA],
        answer: Shape::Ok,
        wanted: |given| {
            let data = given.data_of("data", MEMBER_DATA_BYTES_MAX)?;
            act(given, Act::Leave { data })
        },
    },
    Verb {
        name: "members",
        about: "Who is in a room, in the order of joining.",
        looks: true,
        reach: Reach::Room,
        fields: &[ROOM],
        answer: Shape::Members,
        wanted: |given| call(ServerCall::Members { room: given.room()? }),
    },
    Verb {
        name: "presence",
        about: "How many members a room has, and how many users they are.",
        looks: true,
        reach: Reach::Room,
        fields: &[ROOM],
        answer: Shape::Presence,
        wanted: |given| call(ServerCall::Presence { room: given.room()? }),
    },
    Verb {
        name: "publish",
        about: "Say something in a room, whatever its `publish` rule: in the name of a session, or \
                of nobody.",
        looks: false,
        reach: Reach::Room,
        fields: &[
            ROOM,
            EVENT,
            DATA,
            KEY,
            RELIABLE,
            Field::optional("session", Kind::Session, "whose word it is; without it, the server's"),
            Field::optional(
                "echo",
                Kind::Flag,
                "whether that session hears it too; default: as the room says",
            ),
        ],
        answer: Shape::Position,
        wanted: publish,
    },
    Verb {
        name: "revoke",
        about: "Take rights back: a token's, all tokens of a user issued so far, or a session's. \
                Its sessions end at once.",
        looks: false,
        reach: Reach::Server,
        fields: &[
            ONE_SESSION,
            ONE_USER,
            Field::optional("token", Kind::Name, "the name (`jti`) of a token"),
        ],
        answer: Shape::Delivered,
        wanted: revoke,
    },
    Verb {
        name: "room",
        about: "What a room is like: options, members, newest position.",
        looks: true,
        reach: Reach::Room,
        fields: &[ROOM],
        answer: Shape::Room,
        wanted: |given| call(ServerCall::State { room: given.room()? }),
    },
    Verb {
        name: "rooms",
        about: "The rooms of a namespace, by name.",
        looks: true,
        reach: Reach::Namespace,
        fields: &[NAMESPACE],
        answer: Shape::Rooms,
        wanted: |given| call(ServerCall::Rooms { namespace: namespace(given)? }),
    },
    Verb {
        name: "send",
        about: "Say something to one session, or to all connected sessions of a user.",
        looks: false,
        reach: Reach::Target,
        fields: &[
            ONE_SESSION,
            ONE_USER,
            Field::optional("namespace", Kind::Name, "the user's namespace; default: `default`"),
            EVENT,
            DATA,
        ],
        answer: Shape::Delivered,
        wanted: send,
    },
];

#[expect(clippy::unnecessary_wraps, reason = "the last word of every verb")]
fn call(call: ServerCall) -> Result<Wanted, Refusal> {
    Ok(Wanted::Call(call))
}

fn act(given: &Given<'_>, act: Act) -> Result<Wanted, Refusal> {
    call(ServerCall::Act { room: given.room()?, session: given.session()?, act })
}

pub(super) fn namespace(given: &Given<'_>) -> Result<String, Refusal> {
    let namespace = given.name("namespace")?;
    Ok(namespace.map_or_else(|| DEFAULT_NAMESPACE.to_owned(), |name| name.to_string()))
}

fn announce(given: &Given<'_>) -> Result<Wanted, Refusal> {
    call(ServerCall::Publish {
        room: given.room()?,
        event: given.event()?,
        data: given.data("data")?,
        from: None,
        reliable: given.flag("reliable")?.unwrap_or(true),
        key: given.key()?,
    })
}

fn publish(given: &Given<'_>) -> Result<Wanted, Refusal> {
    let echo = given.flag("echo")?;
    if !given.has("session") {
        if echo.is_some() {
            return Err(invalid("`echo` is for a publish in the name of a `session`"));
        }
        return announce(given);
    }
    let act_publish = Act::Publish {
        event: given.event()?,
        data: given.data("data")?,
        reliable: given.flag("reliable")?.unwrap_or(true),
        echo,
        key: given.key()?,
    };
    act(given, act_publish)
}

fn broadcast(given: &Given<'_>) -> Result<Wanted, Refusal> {
    call(ServerCall::Broadcast {
        namespace: namespace(given)?,
        event: given.event()?,
        data: given.data("data")?,
        from: None,
        reliable: given.flag("reliable")?.unwrap_or(true),
    })
}

fn create(given: &Given<'_>) -> Result<Wanted, Refusal> {
    let (room, options) = (given.room()?, given.options()?);
    call(ServerCall::CreateWith { room, options })
}

fn kick(given: &Given<'_>) -> Result<Wanted, Refusal> {
    given.exactly_one(&["session", "user"])?;
    let target = match given.name("user")? {
        Some(user) => user.to_string(),
        None => given.session()?.to_string(),
    };
    call(ServerCall::Kick { room: given.room()?, target })
}

fn revoke(given: &Given<'_>) -> Result<Wanted, Refusal> {
    given.exactly_one(&["session", "user", "token"])?;
    let revoked = match (given.name("user")?, given.name("token")?) {
        (Some(user), _) => Revoked::User(user),
        (None, Some(token)) => Revoked::Token(token.to_string()),
        (None, None) => Revoked::Session(given.session()?),
    };
    call(ServerCall::Revoke { revoked })
}

fn send(given: &Given<'_>) -> Result<Wanted, Refusal> {
    given.exactly_one(&["session", "user"])?;
    let (event, data) = (given.event()?, given.data("data")?);
    let Some(user) = given.name("user")? else {
        if given.has("namespace") {
            return Err(invalid("`namespace` is for a `user`: a session is known everywhere"));
        }
        let session = given.session()?;
        return call(ServerCall::Send { session, event, data, reliable: true });
    };
    call(ServerCall::SendToUser { namespace: namespace(given)?, user, event, data })
}

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::InvalidField, message)
}

#[cfg(test)]
mod tests {
    use super::super::given::FIELDS_MAX;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_verbs_are_what_they_say() {
        assert!(VERBS.is_sorted_by(|a, b| a.name < b.name));
        for verb in VERBS {
            assert!(verb.fields.len() <= FIELDS_MAX, "{}", verb.name);
            assert!(verb.about.ends_with('.'), "{}", verb.name);
            let has = |kind| verb.fields.iter().any(|field| field.kind == kind);
            assert_eq!(verb.reach == Reach::Room, has(Kind::Room), "{}", verb.name);
            assert_eq!(find(verb.name).map(|found| found.name), Some(verb.name));
            // Values of these kinds cannot stand in a query.
            assert!(!verb.looks || !(has(Kind::Data) || has(Kind::Options)), "{}", verb.name);
        }
        assert!(find("batch").is_none() && find("").is_none());
    }
}
