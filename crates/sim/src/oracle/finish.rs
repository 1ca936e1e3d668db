//! What must hold when everything is quiet.

use std::collections::BTreeSet;

use roomcast_core::Counters;
use roomcast_wire::SessionId;
use roomcast_wire::incoming::Body;
use roomcast_wire::options::{PresenceRule, SlowRule};

use super::{Gap, Guarantee, Oracle, Verdict, broken};
use crate::world::WireId;

/// How much more than its bound an outbox may hold within a turn while its link is not behind.
const TURN_FACTOR: usize = 8;

impl Oracle {
    /// The final lists: who is there, as a member is told.
    pub(crate) fn final_list(&mut self, wire: WireId, body: &Body) -> Verdict {
        match body {
            Body::Members { room, members, .. } => {
                let listed = members.iter().map(|member| member.sender.session).collect();
                self.compare(room, "the list", &listed)?;
                let dropped = members.iter().find(|member| member.dropped);
                match dropped {
                    None => self.final_view(wire, room),
                    Some(_) => broken(Guarantee::Presence, format!("{room}: one is `dropped`")),
                }
            }
            Body::Presence { room, members, users } => {
                self.compare_counts(room, "the numbers", (*members, *users))?;
                let rule = self.plan.options(room).presence;
                let counts = self
                    .session_of(wire)
                    .and_then(|who| self.sessions.get(&who)?.seats.get(room)?.counts);
                match counts.filter(|_| rule == PresenceRule::Counts) {
                    Some(counts) => self.compare_counts(room, "the last push", counts),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// What a member knows from an earlier list and the pushes since.
    fn final_view(&self, wire: WireId, room: &str) -> Verdict {
        let options = self.plan.options(room);
        if options.presence != PresenceRule::Members || options.slow != SlowRule::Close {
            return Ok(());
        }
        let session = self.session_of(wire).and_then(|who| self.sessions.get(&who));
        match session.and_then(|session| session.seats.get(room)?.view.as_ref()) {
            Some(view) => self.compare(room, "what the pushes told", view),
            None => Ok(()),
        }
    }

    fn compare(&self, room: &str, what: &str, listed: &BTreeSet<SessionId>) -> Verdict {
        let truth = self.truth(room);
        if *listed == truth {
            return Ok(());
        }
        let text = format!(
            "{room}: {what} has {} too many and {} too few of {}",
            listed.difference(&truth).count(),
            truth.difference(listed).count(),
            truth.len()
        );
        broken(Guarantee::Presence, text)
    }

    fn compare_counts(&self, room: &str, what: &str, counts: (u32, u32)) -> Verdict {
        let truth = self.truth(room);
        let users: Vec<_> = truth
            .iter()
            .filter_map(|who| self.sessions.get(who))
            .map(|session| session.sender.user.clone())
            .collect();
        let known: BTreeSet<_> = users.iter().flatten().collect();
        let anonymous = users.iter().filter(|user| user.is_none()).count();
        let right = (truth.len() as u32, (known.len() + anonymous) as u32);
        if counts == right {
            return Ok(());
        }
        broken(Guarantee::Presence, format!("{room}: {what} {counts:?}, truth {right:?}"))
    }

    /// Everything that was not seen has a reason.
    pub(crate) fn check_gaps(&mut self) -> Verdict {
        let gaps = std::mem::take(&mut self.gaps);
        for gap in &gaps {
            self.counts.gaps += 1;
            self.check_gap(gap)?;
        }
        Ok(())
    }

    fn check_gap(&self, gap: &Gap) -> Verdict {
        let slow = self.plan.options(&gap.room).slow;
        if gap.behind && slow != SlowRule::Close && !gap.replayed {
            return Ok(());
        }
        let log = self.logs.get(&(gap.room.clone(), gap.epoch));
        let known = log.and_then(|log| log.get(&gap.offset)).map(|&said| &self.said[said]);
        let explains = |said: &super::Said| {
            let own = said.session == Some(gap.who) && !said.echo;
            own || (!said.reliable && (gap.behind || gap.replayed))
        };
        let explained = match known {
            Some(said) => explains(said),
            // A tick that was dropped for everybody.
            None if (gap.behind || gap.replayed) && self.plan.is_wild(&gap.room) => true,
            // Nobody saw it, and its sender never heard where it stands.
            None => self
                .said
                .iter()
                .any(|said| said.room == gap.room && said.positions.is_empty() && explains(said)),
        };
        if explained {
            return Ok(());
        }
        let what = known.map_or_else(|| "which nobody saw".to_owned(), |said| format!("{said:?}"));
        let guarantee = if gap.replayed { Guarantee::Recovery } else { Guarantee::Order };
        let text = format!("{:?} did not see {} of {}: {what}", gap.who, gap.offset, gap.room);
        broken(guarantee, text)
    }

    /// No outbox was ever above its bound.
    pub(crate) fn check_outbox(&self, wire: WireId, most: usize) -> Verdict {
        let Some(conn) = self.conns.get(&wire) else { return Ok(()) };
        let bound = TURN_FACTOR * self.plan.config.limits.outbox_bytes + conn.granted + 1_024;
        if most <= bound {
            return Ok(());
        }
        let text = format!("{} bytes waited for {}, at most {bound} may", most, conn.player);
        broken(Guarantee::SlowMembers, text)
    }

    /// The hub holds what is there and nothing else.
    pub(crate) fn check_counters(&mut self, counters: &[Counters], rooms: &[String]) -> Verdict {
        let sum = |of: fn(&Counters) -> u64| counters.iter().map(of).sum::<u64>();
        self.counts.slow = sum(|one| one.slow_readers_total);
        self.counts.failed = sum(|one| one.logics_failed_total);
        let links = self.conns.values().filter(|conn| !conn.ended).count() as u64;
        let here = self.sessions.values().filter(|session| session.conn.is_some());
        let seats: u64 = here.clone().map(|session| session.seats.len() as u64).sum();
        let occupied = rooms.iter().filter(|room| !self.truth(room).is_empty());
        let fixed = rooms.iter().filter(|room| self.plan.is_static(room));
        let filled: BTreeSet<_> = occupied.chain(fixed).collect();
        let counts = [
            ("links", sum(|one| one.links), links),
            ("sessions", sum(|one| one.sessions), here.count() as u64),
            ("sessions dropped", sum(|one| one.sessions_dropped), 0),
            ("seats", sum(|one| one.seats), seats),
            ("rooms", sum(|one| one.rooms), filled.len() as u64),
        ];
        for (what, counted, right) in counts {
            if counted != right {
                let text = format!("the hub counts {counted} {what}, there are {right}");
                return broken(Guarantee::Presence, text);
            }
        }
        Ok(())
    }
}
