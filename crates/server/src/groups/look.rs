//! Looking at groups, joining a random one, ticks.

use std::sync::PoisonError;
use std::time::Duration;

use roomcast_core::logic::IntoData;
use roomcast_wire::SessionId;
use roomcast_wire::push::MemberInfo;
use tokio::time::MissedTickBehavior;

use super::{Groups, JoinError, NAMESPACE, NewGroup, NewGroupError, random_number};
use crate::CallError;

/// Groups that [`Groups::join_random`] tries before it makes one.
const RANDOM_TRIES: usize = 8;

/// What there is to know about a group. See [`Groups`] for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Whether it stays for [`ttl_s`](Self::ttl_s) when nobody is in it.
    pub allow_empty: bool,
    /// How long it stays empty, in seconds.
    pub ttl_s: u64,
    /// How long what is said is gathered, in milliseconds; 0: not at all.
    pub interval_ms: u32,
    /// Whether it comes from the configuration and never ends.
    pub is_static: bool,
    /// Who made it; none: the configuration.
    pub creator: Option<SessionId>,
    /// How many members it has.
    pub member_count: u32,
    /// The members in the order of joining, at most `limits.list_max` of them.
    pub members: Vec<MemberInfo>,
    /// Where they are.
    pub nodes: Vec<GroupNode>,
}

/// A server that holds members of a group. See [`Groups`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupNode {
    /// The one that was asked. There are no others yet: several servers know nothing of each
    /// other's groups.
    This,
}

impl Groups {
    /// The ids of the groups that a session is in, in the order of joining.
    ///
    /// # Errors
    /// There is no such session, or the server has stopped.
    pub async fn group_ids(&self, session: SessionId) -> Result<Vec<String>, CallError> {
        let rooms = self.server.session(session).rooms().await?;
        Ok(rooms.iter().filter_map(|room| id_of(room)).collect())
    }

    /// The id of the group that a session made or joined last.
    ///
    /// # Errors
    /// There is no such session, or the server has stopped.
    pub async fn latest_group_id(&self, session: SessionId) -> Result<Option<String>, CallError> {
        Ok(self.group_ids(session).await?.pop())
    }

    /// What there is to know about a group; none: it is not there.
    ///
    /// # Errors
    /// The server has stopped.
    pub async fn group(&self, id: &str) -> Result<Option<Group>, CallError> {
        let room = self.room(id);
        let (state, members) = match (room.state().await, room.members().await) {
            (Ok(state), Ok(members)) => (state, members.members),
            (Err(CallError::Absent(_)), _) | (_, Err(CallError::Absent(_))) => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        Ok(Some(Group {
            id: id.to_owned(),
            allow_empty: state.options.keep_when_empty,
            ttl_s: state.options.ttl_s,
            interval_ms: state.options.merge_ms,
            is_static: state.permanent,
            creator: state.creator,
            member_count: state.members,
            nodes: nodes(state.members),
            members,
        }))
    }

    /// The servers that hold members of a group.
    ///
    /// # Errors
    /// There is no such group, or the server has stopped.
    pub async fn member_nodes(&self, id: &str) -> Result<Vec<GroupNode>, CallError> {
        Ok(nodes(self.room(id).presence().await?.members))
    }

    /// Puts a session into any group that is there and takes it, static ones too; if there is
    /// none, a group is made for it. The others hear `message` under `(ver, cmd)`, unless it is
    /// empty. The second value says whether the group was made.
    ///
    /// # Errors
    /// No group took the session, and none could be made.
    pub async fn join_random(
        &self,
        session: SessionId,
        otherwise: NewGroup,
        ver: u8,
        cmd: u16,
        message: impl IntoData,
    ) -> Result<(String, bool), NewGroupError> {
        let message = message.into_data().ok().flatten();
        let rooms = self.server.namespace(NAMESPACE).rooms().await;
        let rooms = rooms.map_err(NewGroupError::of)?.rooms;
        let first = random_number() % rooms.len().max(1);
        let (before, after) = rooms.split_at(first);
        for room in after.iter().chain(before).take(RANDOM_TRIES) {
            let Some(id) = id_of(&room.room) else { continue };
            match self.join(&id, session, ver, cmd, message.as_ref()).await {
                Ok(()) => return Ok((id, false)),
                Err(JoinError::NoSuchUser) => return Err(NewGroupError::NoSuchUser),
                Err(_) => {}
            }
        }
        let id = self.new_group(session, NewGroup { join: true, ..otherwise }).await?;
        Ok((id, true))
    }

    /// Calls `tick` with the group's id every `interval_s` seconds until the group ends, another
    /// tick is set for it, or `interval_s` is 0. It runs as a task of its own: a slow one delays
    /// its own next call and nothing else.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # let _entered = runtime.enter();
    /// use roomcast::groups::{GroupSetup, Groups};
    ///
    /// let id = "s".repeat(52);
    /// let setup = GroupSetup::default().static_group(&id, 0)?;
    /// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").groups(setup).start()?;
    /// let groups = Groups::new(&server.handle());
    /// # runtime.block_on(async {
    /// let tick = |id| async move { println!("{id} has a tick") };
    /// groups.set_on_tick(&id, 5, tick).await?;
    /// groups.set_on_tick(&id, 0, tick).await?; // no more of them
    /// # Ok::<(), roomcast::CallError>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such group, or the server has stopped.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub async fn set_on_tick<F, T>(
        &self,
        id: &str,
        interval_s: u64,
        mut tick: F,
    ) -> Result<(), CallError>
    where
        F: FnMut(String) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let room = self.room(id);
        room.presence().await?;
        let key = id.into();
        let id = id.to_owned();
        let task = (interval_s > 0).then(|| {
            tokio::spawn(async move {
                let mut clock = tokio::time::interval(Duration::from_secs(interval_s));
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                // The first one is at once.
                clock.tick().await;
                loop {
                    clock.tick().await;
                    match room.presence().await {
                        Ok(_) => tick(id.clone()).await,
                        // A server that has much to do still has the group.
                        Err(CallError::Busy(_)) => {}
                        Err(_) => break,
                    }
                }
            })
        });
        let mut ticks = self.ticks.lock().unwrap_or_else(PoisonError::into_inner);
        ticks.retain(|_, task| !task.is_finished());
        let before = match task {
            Some(task) => ticks.insert(key, task.abort_handle()),
            None => ticks.remove(&key),
        };
        if let Some(before) = before {
            before.abort();
        }
        Ok(())
    }
}

/// The id of the group that a room is.
fn id_of(room: &str) -> Option<String> {
    room.strip_prefix(NAMESPACE)?.strip_prefix('/').map(str::to_owned)
}

fn nodes(members: u32) -> Vec<GroupNode> {
    if members > 0 { vec![GroupNode::This] } else { Vec::new() }
}
