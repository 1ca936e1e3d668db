//! `docs/coming-from-diarkis.md`.

mod commands;
mod hooks;
mod life;
mod look;
mod speech;

use roomcast::groups::{GroupSetup, Groups, NewGroup};
use roomcast::{Server, SessionId};

use crate::run;

/// A command of an application's.
const VER: u8 = 2;
const CMD: u16 = 10;
/// The event that it is.
const EVENT: u64 = 2 << 16 | 10;

/// A server with groups.
fn server(setup: GroupSetup) -> (Server, Groups) {
    let listeners = Server::builder().listen("ws://127.0.0.1:0").listen("tcp://127.0.0.1:0");
    let server = listeners.workers(2).groups(setup).start().unwrap();
    let groups = Groups::new(&server.handle());
    (server, groups)
}

/// A group that ends with its last member; its maker is in it.
const TEAM: NewGroup = NewGroup { allow_empty: false, join: true, ttl_s: 60, interval_ms: 0 };

/// A group that stays when nobody is in it; its maker is not in it.
const HALL: NewGroup = NewGroup { allow_empty: true, join: false, ttl_s: 60, interval_ms: 0 };

/// The group of a maker that is in it.
fn team(groups: &Groups, maker: SessionId) -> String {
    run(groups.new_group(maker, TEAM)).unwrap()
}

/// Puts sessions into a group without a word.
fn join_all(groups: &Groups, id: &str, sessions: &[SessionId]) {
    for &session in sessions {
        run(groups.join(id, session, VER, CMD, ())).unwrap();
    }
}
