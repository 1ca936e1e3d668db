//! Groups as users of Diarkis know them, over the rooms of one namespace.
//!
//! A group is a room of the namespace `groups` whose members come and go with a message of their
//! own instead of presence. [`GroupSetup`] says before the start what clients may do; [`Groups`]
//! does with groups what a server's own code does. `docs/coming-from-diarkis.md` maps each of
//! their functions.
//!
//! | file | what |
//! |---|---|
//! | `setup.rs` | [`GroupSetup`]: what is said before the start |
//! | `logic.rs` | what a group does beside relaying |
//! | `notice.rs` | [`Notice`]: what the others are told |
//! | `look.rs` | looking at groups, joining a random one, ticks |
//! | `error.rs` | an error for each documented cause |

mod error;
mod logic;
mod look;
mod notice;
mod setup;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use roomcast_core::logic::IntoData;
use roomcast_core::{Act, ServerCall, ServerReply};
use roomcast_wire::name::GENERATED_NAME_LEN;
use roomcast_wire::{Payload, Position, SessionId};
use serde_json::json;
use tokio::task::AbortHandle;

pub use self::error::{InvalidGroupId, JoinError, LeaveError, NewGroupError};
pub use self::look::{Group, GroupNode};
pub use self::notice::{Notice, event};
pub use self::setup::{GroupSetup, Lost};
use crate::system::random;
use crate::{CallError, RoomHandle, ServerHandle};

/// The namespace whose rooms are groups: the room of the group `ID` is `groups/ID`.
pub const NAMESPACE: &str = "groups";

/// How many characters the id of a group has.
pub const ID_CHARS: usize = GENERATED_NAME_LEN;

/// The longest time to live that is too short, in seconds.
const TTL_S_TOO_SHORT: u64 = 10;

/// The longest time to live of a room, in seconds.
const TTL_S_MAX: u64 = 86_400;

/// Shorter intervals are none, in milliseconds.
const INTERVAL_MS_MIN: u32 = 100;

/// The groups of a running server. Cheap to clone, and to be used from any task.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// use roomcast::groups::{GroupSetup, Groups, NewGroup, NewGroupError};
/// let setup = GroupSetup::default().expose_commands(true);
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").groups(setup).start()?;
/// let groups = Groups::new(&server.handle());
/// let nobody = roomcast::SessionId(1);
/// let wish = NewGroup { allow_empty: true, join: false, ttl_s: 60, interval_ms: 0 };
/// assert_eq!(groups.new_group(nobody, wish).await, Err(NewGroupError::NoSuchUser));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With clients, in a test:
/// ```
/// use roomcast::groups::{Group, GroupNode, GroupSetup, Groups, JoinError, LeaveError, NewGroup};
/// use roomcast::groups::{Lost, Notice, Sending};
///
/// let setup = GroupSetup::default()
///     .static_group(&"s".repeat(52), 100)?
///     .set_on_discard_message(|lost: &Lost<'_>| Notice::new(1, 8, lost.user.unwrap_or("who?")))
///     .set_on_rejoin_message(|_| Notice::new(1, 9, "back"));
/// let server = roomcast::testing::Server::start(roomcast::Server::builder().groups(setup))?;
/// let (mut anna, ben) = (server.client("Anna"), server.client("Ben"));
/// let groups = Groups::new(&server.handle());
/// # let (anna_id, ben_id) = (anna.session(), ben.session());
/// let id = server.run(async {
///     let wish = NewGroup { allow_empty: true, join: true, ttl_s: 60, interval_ms: 0 };
///     let id = groups.new_group(anna_id, wish).await?;
///     groups.join(&id, ben_id, 1, 2, "hello").await?;
///     assert_eq!(groups.join(&id, ben_id, 1, 2, "").await, Err(JoinError::AlreadyInGroup));
///     let how = Sending { reliable: true, echo: false };
///     groups.broadcast(&id, ben_id, 1, 3, "to the others", how).await?;
///     groups.announce(&id, 1, 4, "from nobody", true).await?;
///
///     let group: Group = groups.group(&id).await?.ok_or("it is gone")?;
///     assert_eq!((group.member_count, group.creator), (2, Some(anna_id)));
///     assert_eq!(groups.member_nodes(&id).await?, [GroupNode::This]);
///     assert_eq!(groups.latest_group_id(ben_id).await?, Some(id.clone()));
///     assert_eq!(groups.group_ids(ben_id).await?.len(), 1);
///     let (random, made) = groups.join_random(ben_id, wish, 1, 2, "").await?;
///     assert!(random.len() == 52 && !made);
///
///     groups.leave(&id, ben_id, 1, 5, "bye").await?;
///     assert_eq!(groups.leave(&id, ben_id, 1, 5, "").await, Err(LeaveError::NotAMember));
///     Ok::<_, Box<dyn std::error::Error>>(id)
/// })?;
/// assert_eq!(anna.expect("event")["data"], "hello");
/// assert_eq!(anna.expect("event")["data"], "to the others");
/// assert_eq!(anna.expect("event")["event"], 1 << 16 | 4);
/// assert_eq!(roomcast::groups::event(1, 4).to_string(), "65540");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Groups {
    server: ServerHandle,
    /// The task of each group that has a tick. Locked for as long as setting one takes.
    ticks: Arc<Mutex<HashMap<Box<str>, AbortHandle>>>,
}

/// A group that is to be made. See [`Groups`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewGroup {
    /// Whether it stays for `ttl_s` when nobody is in it. Otherwise it ends with its last member,
    /// and needs `join`.
    pub allow_empty: bool,
    /// Whether who makes it is its first member.
    pub join: bool,
    /// How long it stays empty, in seconds: more than 10, 86,400 at most.
    pub ttl_s: u64,
    /// How long what is said is gathered before it is delivered together, in milliseconds: below
    /// 100 it is not gathered, 10,000 at most.
    pub interval_ms: u32,
}

/// How a message goes. See [`Groups`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// `false`: may be dropped on its way; the newest wins.
    pub reliable: bool,
    /// Whether the sender hears it, too.
    pub echo: bool,
}

impl Default for Sending {
    /// In order, to the other members.
    fn default() -> Self {
        Self { reliable: true, echo: false }
    }
}

impl Groups {
    /// The groups of a server that was built with [`Builder::groups`](crate::Builder::groups).
    pub fn new(server: &ServerHandle) -> Self {
        Self { server: server.clone(), ticks: Arc::default() }
    }

    /// Makes a group and gives its id of 52 characters.
    ///
    /// # Errors
    /// [`NewGroupError`] names the cause; nothing was made.
    pub async fn new_group(
        &self,
        user: SessionId,
        group: NewGroup,
    ) -> Result<String, NewGroupError> {
        let NewGroup { allow_empty, join, ttl_s, interval_ms: interval } = group;
        if !(TTL_S_TOO_SHORT + 1..=TTL_S_MAX).contains(&ttl_s) {
            return Err(NewGroupError::InvalidTtl { ttl_s });
        }
        if !allow_empty && !join {
            return Err(NewGroupError::WouldBeEmpty);
        }
        let id = generated_id().ok_or(NewGroupError::Offline)?;
        let options = json!({
            "keep_when_empty": allow_empty,
            "ttl_s": ttl_s,
            "merge_ms": interval_ms(interval),
        });
        let act = Act::Create { options: Payload::json(&options).ok(), join };
        self.act(&id, user, act).await.map_err(NewGroupError::of)?;
        Ok(id)
    }

    /// Puts a session into a group. The others hear `message` under `(ver, cmd)`, unless it is
    /// empty.
    ///
    /// # Errors
    /// [`JoinError`] names the cause; nobody heard anything.
    pub async fn join(
        &self,
        id: &str,
        session: SessionId,
        ver: u8,
        cmd: u16,
        message: impl IntoData,
    ) -> Result<(), JoinError> {
        let data = Notice::new(ver, cmd, message).and_then(|notice| notice.write());
        match self.act(id, session, Act::Join { data, make: false }).await {
            Ok(ServerReply::Seated { is_new: false }) => Err(JoinError::AlreadyInGroup),
            Ok(_) => Ok(()),
            Err(error) => Err(JoinError::of(error, self.is_there(session).await)),
        }
    }

    /// Takes a session out of a group. The others hear `message` under `(ver, cmd)`, unless it is
    /// empty; the session's client gets `room_closed`.
    ///
    /// # Errors
    /// [`LeaveError`] names the cause; nobody heard anything.
    pub async fn leave(
        &self,
        id: &str,
        session: SessionId,
        ver: u8,
        cmd: u16,
        message: impl IntoData,
    ) -> Result<(), LeaveError> {
        let data = Notice::new(ver, cmd, message).and_then(|notice| notice.write());
        match self.act(id, session, Act::Leave { data }).await {
            Ok(_) => Ok(()),
            Err(error) => Err(LeaveError::of(error, self.is_there(session).await)),
        }
    }

    /// Says something in a group in a session's name.
    ///
    /// # Errors
    /// There is no such group or session, or the message cannot be taken.
    pub async fn broadcast(
        &self,
        id: &str,
        sender: SessionId,
        ver: u8,
        cmd: u16,
        message: impl IntoData,
        how: Sending,
    ) -> Result<Position, CallError> {
        let Sending { reliable, echo } = how;
        let room = room_of(id);
        let call = message.into_data().map_err(CallError::invalid).map(|data| {
            let act = Act::Publish {
                event: event(ver, cmd),
                data,
                reliable,
                echo: Some(echo),
                key: None,
            };
            ServerCall::Act { room, session: sender, act }
        });
        self.server.ask(call, position).await
    }

    /// Says something in a group without a sender. Clients cannot do that.
    ///
    /// # Errors
    /// There is no such group, or the message cannot be taken.
    pub async fn announce(
        &self,
        id: &str,
        ver: u8,
        cmd: u16,
        message: impl IntoData,
        reliable: bool,
    ) -> Result<Position, CallError> {
        let room = self.room(id);
        match reliable {
            true => room.publish(event(ver, cmd), message).await,
            false => room.publish_unreliable(event(ver, cmd), message).await,
        }
    }

    fn room(&self, id: &str) -> RoomHandle {
        self.server.room(room_of(id))
    }

    async fn act(&self, id: &str, session: SessionId, act: Act) -> Result<ServerReply, CallError> {
        let room = room_of(id);
        self.server.ask(Ok(ServerCall::Act { room, session, act }), Some).await
    }

    async fn is_there(&self, session: SessionId) -> bool {
        self.server.session(session).rooms().await.is_ok()
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// The interval that holds: too short ones are none.
fn interval_ms(asked: u32) -> u32 {
    if asked < INTERVAL_MS_MIN { 0 } else { asked }
}

/// 52 characters of base 32: 260 random bits.
fn generated_id() -> Option<String> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random = random::<ID_CHARS>()?;
    Some(random.iter().map(|byte| char::from(DIGITS[usize::from(byte % 32)])).collect())
}

fn random_number() -> usize {
    random().map_or(0, usize::from_ne_bytes)
}

/// The room that a group is.
fn room_of(id: &str) -> String {
    format!("{NAMESPACE}/{id}")
}

fn position(reply: ServerReply) -> Option<Position> {
    match reply {
        ServerReply::At(position) => Some(position),
        _ => None,
    }
}
