//! Nodes come and go, partitions move, words are lost: what follows for what this shard keeps.

use std::collections::BTreeSet;
use std::sync::Arc;

use roomcast_wire::push::LeaveReason;

use super::Shard;
use super::cluster::Home;
use crate::directory::{Directory, NodeId, Partition, ShardId};
use crate::envelope::{Reseat, RoomOp, Word};
use crate::io::LinkId;
use crate::key::ReplyTo;
use crate::session::Again;

/// What is told again.
enum Retold {
    /// What is at home in these partitions.
    Moved(BTreeSet<Partition>),
    /// What is at home with this shard.
    To(ShardId),
}

impl Shard {
    pub(super) fn on_directory(&mut self, directory: Arc<Directory>) {
        let Some(cluster) = &mut self.cluster else { return };
        let old = std::mem::replace(&mut cluster.directory, Arc::clone(&directory));
        for at in Partition::all() {
            if let Some((_, fence)) = directory.home(at) {
                let known = &mut cluster.fences[usize::from(at.0)];
                *known = fence.max(*known);
            }
        }
        for (node, info) in old.nodes() {
            let now = directory.node(node);
            let is_same = now.is_some_and(|now| now.incarnation == info.incarnation);
            if !is_same && node != self.id.node {
                self.forget_node(node);
            }
        }
        let mut gained = false;
        for at in Partition::all() {
            let (before, now) = (old.home(at), directory.home(at));
            if before != now {
                self.partition_moved(at, before.map(|(shard, _)| shard));
                gained |= now.is_some_and(|(shard, _)| shard == self.id);
            }
        }
        if gained {
            self.found_static_rooms();
        }
        self.look_at_early();
        self.begin_anew(&old);
    }

    /// A node that comes back under another incarnation was gone for the others: they have
    /// forgotten what it had told them.
    fn begin_anew(&mut self, old: &Directory) {
        let Some(cluster) = &self.cluster else { return };
        let own = self.id.node;
        let incarnation = |directory: &Directory| directory.node(own).map(|own| own.incarnation);
        if incarnation(old).is_none() || incarnation(old) == incarnation(&cluster.directory) {
            return;
        }
        let others = cluster.directory.nodes().map(|(node, _)| node);
        for node in others.filter(|node| *node != own).collect::<Vec<_>>() {
            self.on_disturbed(node);
        }
    }

    fn partition_moved(&mut self, at: Partition, before: Option<ShardId>) {
        let here = self.id;
        if before == Some(here) {
            self.lose_partition(at);
        }
        let Some(cluster) = &mut self.cluster else { return };
        match before.filter(|before| *before != here) {
            Some(before) if cluster.directory.node(before.node).is_some() => {
                if cluster.block(at, before) {
                    self.send(before, Word::Echo { at, from: here });
                }
            }
            _ => cluster.moved.push(at),
        }
    }

    /// What was at home here is at home elsewhere, or will be: whoever has seats in these rooms
    /// takes them there.
    fn lose_partition(&mut self, at: Partition) {
        let Some(cluster) = &self.cluster else { return };
        let rooms = self.rooms.iter().filter(|(_, room)| cluster.homes.of_room(&room.name) == at);
        let rooms: Vec<_> = rooms.map(|(slot, _)| slot as u32).collect();
        let namespaces = &self.namespaces;
        self.users.retain(|(namespace, user), _| {
            let namespace = namespaces.get(usize::from(*namespace)).map_or("", |(name, _)| name);
            cluster.homes.of_user(namespace, user) != at
        });
        for slot in rooms {
            // What was numbered is said: members here and elsewhere hear it before they go.
            self.flush_room(slot);
            self.remove_room(slot);
        }
    }

    pub(super) fn on_echo(&mut self, at: Partition, from: ShardId) {
        let here = self.id;
        self.send(from, Word::Echoed { at, from: here });
    }

    pub(super) fn on_echoed(&mut self, at: Partition, from: ShardId) {
        if let Some(cluster) = &mut self.cluster {
            cluster.unblock(at, from);
        }
    }

    pub(super) fn on_node_gone(&mut self, node: NodeId) {
        let Some(cluster) = &mut self.cluster else { return };
        if node == self.id.node || cluster.directory.node(node).is_none() {
            return;
        }
        let mut directory = Directory::clone(&cluster.directory);
        directory.remove_node(node);
        self.on_directory(Arc::new(directory));
    }

    /// A node is no more: its sessions have left, and it answers nothing.
    fn forget_node(&mut self, node: NodeId) {
        self.let_go(node);
        self.give_up_on(node);
        self.give_up_fetches_of(node);
        self.end_surveys_of(node);
        self.users.retain(|_, sessions| {
            sessions.retain(|session| session.shard.node != node);
            !sessions.is_empty()
        });
        let rooms: Vec<_> = self.rooms.iter().map(|(slot, _)| slot as u32).collect();
        for slot in rooms {
            let Some(room) = self.rooms.get(slot as usize) else { continue };
            if room.shards().all(|shard| shard.node != node) {
                continue;
            }
            let members = room.members().filter(|member| member.key.shard.node == node);
            let mut members: Vec<_> = members.map(|member| member.sender.session).collect();
            members.sort_unstable();
            for session in members {
                self.unseat(slot, session, LeaveReason::Lost, None);
            }
            self.room_is_dirty(slot);
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.unnamed.retain(|shard, _| shard.node != node);
        }
    }

    /// Partitions that a node was home to wait no longer for what it sends back.
    fn let_go(&mut self, node: NodeId) {
        let Some(cluster) = &mut self.cluster else { return };
        for (at, before) in cluster.blocked_by(node) {
            cluster.unblock(at, before);
        }
    }

    /// Words may be lost in either direction: both sides tell each other anew who has seats and
    /// users where, and who has waited for an answer hears that there may be none.
    pub(super) fn on_disturbed(&mut self, node: NodeId) {
        let Some(cluster) = &self.cluster else { return };
        let here = self.id;
        let Some(workers) = cluster.directory.node(node).map(|info| info.workers) else { return };
        if node == here.node {
            return;
        }
        self.doubt(node);
        for worker in 0..workers {
            let to = ShardId { node, worker };
            self.send(to, Word::TellSeats { to: here });
            self.tell_seats(to);
        }
    }

    /// What was asked of a node may not have reached it, nor its answer this shard.
    fn doubt(&mut self, node: NodeId) {
        self.let_go(node);
        self.give_up_on(node);
        self.give_up_fetches_of(node);
        self.ask_surveys_again(node);
    }

    /// Another shard has noticed that words are lost.
    pub(super) fn on_tell_seats(&mut self, to: ShardId) {
        self.doubt(to.node);
        self.tell_seats(to);
    }

    /// Tells a shard of all seats and users that it is home to.
    fn tell_seats(&mut self, to: ShardId) {
        let from = self.id;
        self.send(to, Word::SeatsFollow { from });
        self.retell(&Retold::To(to));
        self.send(to, Word::SeatsTold { from });
    }

    /// At the end of a turn: partitions that have a home again hear of their seats and users, then
    /// what waits for them.
    pub(super) fn tell_moved(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.moved.is_empty() {
            return;
        }
        let moved: BTreeSet<_> = std::mem::take(&mut cluster.moved).into_iter().collect();
        self.retell(&Retold::Moved(moved.clone()));
        for at in moved {
            self.send_waiting(at);
        }
        self.settle();
    }

    fn is_retold(&self, home: Home, what: &Retold) -> bool {
        let (Home::Partition(at), Some(cluster)) = (home, &self.cluster) else { return false };
        let Some((shard, _)) = cluster.directory.home(at) else { return false };
        let is_it = match what {
            Retold::Moved(partitions) => partitions.contains(&at),
            Retold::To(to) => *to == shard,
        };
        is_it && !cluster.is_blocked(at)
    }

    fn retell(&mut self, what: &Retold) {
        let sessions: Vec<_> = self.sessions.iter().map(|(slot, _)| slot as u32).collect();
        for slot in sessions {
            let Some(session) = self.sessions.get(slot as usize) else { continue };
            if self.is_left_behind(slot, session.sender.session) {
                continue;
            }
            let is_here = session.link.is_some() || self.replays.has(slot);
            if let Some(user) = session.sender.user.as_ref().filter(|_| is_here)
                && self.is_retold(self.home_of_user(session.namespace, user), what)
            {
                self.tell_user_session(slot, true);
            }
            let Some(session) = self.sessions.get(slot as usize) else { continue };
            let seats = session.seats.iter().filter(|seat| seat.room.is_some());
            let seats = seats.filter(|seat| self.is_retold(self.home_of_room(&seat.name), what));
            let names: Vec<_> = seats.map(|seat| seat.name.clone()).collect();
            for name in names {
                let dropped = self.sessions[slot as usize].link.is_none();
                self.reseat(slot, &name, dropped);
            }
        }
    }

    /// Tells the home of a seat. Until that answers the seat hears nothing.
    pub(super) fn reseat(&mut self, slot: u32, name: &str, dropped: bool) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let link = session.link;
        let Some(seat) = session.seat_mut(name) else { return };
        let Some(life) = seat.room else { return };
        let (namespace, room) = (seat.namespace, seat.name.clone());
        let place = seat.place.take();
        let heard = place.and_then(|(at, _)| self.audiences.get(at as usize)?.heard);
        let again = seat.again.get_or_insert_with(Box::<Again>::default);
        again.heard = heard.or(again.heard);
        again.round = again.round.wrapping_add(1);
        let (since, data, round) = (again.heard, again.data.clone(), again.round);
        self.leave_place(place);
        let link = link.unwrap_or(LinkId::NONE);
        let generation = self.links.generation(link).unwrap_or_default();
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let reply = match since {
            Some(_) => ReplyTo::Again { link, generation, round },
            None => ReplyTo::Nobody,
        };
        let caller = session.caller(reply);
        let op = RoomOp::Reseat(Box::new(Reseat { life, since, data, dropped }));
        self.send_to_room(namespace, room, caller, op);
    }
}
