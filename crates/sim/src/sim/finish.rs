//! The end of a schedule: faults cease, everybody comes back, and then everything must be right.

use roomcast_wire::{Command, EventName, RoomPath};

use super::Sim;
use crate::oracle::{Asked, Guarantee, Said, Verdict, broken};

/// How long it takes until everything asked is answered, in milliseconds.
const SETTLE_MS: u64 = 15_000;

impl Sim {
    pub(super) fn finish(&mut self) -> Verdict {
        self.note(|| "everything is quiet now".to_owned());
        self.finishing = true;
        self.world.dials.short_writes = 0;
        self.mend_all();
        for player in &self.players {
            if let Some(wire) = player.wire {
                self.world.set_reads(wire, true);
                self.world.set_window(wire, 1 << 22);
            }
        }
        self.world.dials.window_bytes_min = 1 << 22;
        self.world.dials.window_bytes_max = 1 << 22;
        for player in &mut self.players {
            player.come_back_soon(self.world.now());
        }
        self.pass(self.plan.aftermath_ms())?;
        self.everybody(|sim, at, room| sim.join(at, room, false))?;
        self.listing = true;
        self.everybody(Self::look_at_members)?;
        self.say_in_every_room();
        self.pass(SETTLE_MS)?;
        self.everybody(|sim, at, room| sim.join(at, room, false))?;
        self.everybody(Self::look_at_members)?;
        for at in 0..self.players.len() {
            self.ask(at, Command::Ping, Asked::Ping);
        }
        self.pass(SETTLE_MS)?;
        self.check()
    }

    fn check(&mut self) -> Verdict {
        for player in &self.players {
            let Some(wire) = player.wire.filter(|_| player.ready) else {
                let text = format!("{} does not come back", player.name);
                return broken(Guarantee::Progress, text);
            };
            let pending = self.oracle.pending(wire);
            if pending > 0 {
                let text = format!("{pending} commands of {} are not answered", player.name);
                return broken(Guarantee::Publish, text);
            }
            self.oracle.check_outbox(wire, self.world.outbox_most(wire))?;
        }
        self.oracle.check_gaps()?;
        self.oracle.check_counters(&self.world.counters(), &self.plan.rooms())
    }

    /// Lets time pass; whoever is away comes back.
    fn pass(&mut self, ms: u64) -> Verdict {
        let until = self.world.now() + ms;
        self.run_until(until)
    }

    /// Everybody does something about each of its rooms.
    fn everybody(&mut self, mut act: impl FnMut(&mut Self, usize, &str)) -> Verdict {
        for at in 0..self.players.len() {
            let session = self.players[at].session.filter(|_| self.players[at].ready);
            let seats = session.map(|session| self.oracle.seats(session)).unwrap_or_default();
            for (room, _) in seats {
                act(self, at, &room);
            }
        }
        self.pass(SETTLE_MS)
    }

    fn look_at_members(&mut self, at: usize, text: &str) {
        let path = if text.contains('/') { text.to_owned() } else { format!("default/{text}") };
        let Ok(room) = RoomPath::parse(path) else { return };
        let asked = Asked::Members { room: text.to_owned() };
        self.ask(at, Command::Members { room: room.clone() }, asked);
        self.ask(at, Command::Presence { room }, Asked::Presence { room: text.to_owned() });
    }

    /// So that whatever was lost at the end of a room's log shows as a gap.
    fn say_in_every_room(&mut self) {
        for room in self.plan.rooms() {
            let member = (0..self.players.len()).find(|&at| {
                let session = self.players[at].session.filter(|_| self.players[at].ready);
                let seats = session.map(|session| self.oracle.seats(session)).unwrap_or_default();
                seats.iter().any(|(seat, _)| *seat == room)
            });
            let Some(at) = member else { continue };
            let event = EventName::Number(9);
            let session = self.players[at].session;
            let said = Said::new((room, session), (event, true), true, None, self.world.now());
            let number = self.oracle.say(said);
            self.say(at, number, true);
        }
    }
}
