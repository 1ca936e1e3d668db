//! Events through rooms: each is sent once, and every member must hear it once and in order.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::histogram::Histogram;
use super::links::{Ear, Links};
use super::machine::{Machine, Probe};
use super::speech::{EventReader, Publish, Speech, Stamp, native_event_len};
use super::target::{Listening, Schedule, Usage};

/// How long what is under way may take after the last event.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Who says how much, and when.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rooms: u32,
    pub members: u32,
    /// How many members of a room take turns in publishing.
    pub publishers: u32,
    pub payload: usize,
    /// Whether events may be lost.
    pub unreliable: bool,
    pub pace: Pace,
    pub warmup: Duration,
    pub duration: Duration,
    /// Length of the messages that floor and peers pass on; by itself that of roomcast.
    pub event_len: Option<usize>,
}

/// When the next event is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// In each room so many at once, and the next as soon as all members have heard all of them.
    Closed { burst: u32 },
    /// So many a second in all rooms together, whether or not the server keeps up.
    Rate(f64),
}

/// What one run showed.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seconds: f64,
    pub events: u64,
    pub deliveries: u64,
    /// Mean length of a delivered message, without its framing.
    pub event_len: f64,
    pub latency: Histogram,
    /// CPU time while it was measured, and memory at the end.
    pub used: Option<Usage>,
    /// How quiet the machine was.
    pub machine: Machine,
}

impl Plan {
    pub fn links(&self) -> usize {
        self.rooms as usize * self.members as usize
    }

    /// Whether the order in which events are sent is the order they must come in: always, but for
    /// several publishers of one room at the same time.
    fn one_voice(&self) -> bool {
        self.publishers == 1 || matches!(self.pace, Pace::Closed { .. })
    }

    fn members_of(&self, room: u32) -> Range<usize> {
        let first = room as usize * self.members as usize;
        first..first + self.members as usize
    }
}

/// A plan under way against one that listens: links stay open from one slice to the next.
pub struct Flow<'a> {
    links: Links,
    hall: Hall,
    talk: Talk<'a>,
    target: &'a Listening,
}

impl<'a> Flow<'a> {
    /// Opens all links.
    pub fn open(plan: &'a Plan, target: &'a Listening) -> Result<Self> {
        let mut links = Links::new(target.endpoint.clone())?;
        let mut hall = Hall::new(plan, target.endpoint.speech);
        links.open_rooms(plan.links(), plan.members, &mut hall)?;
        Ok(Self { links, hall, talk: Talk::new(plan, target), target })
    }

    /// Speaks for the warm-up and the duration of the plan, measures the second, and waits until
    /// all is heard: whoever has the next slice has the machine alone.
    pub fn slice(&mut self) -> Result<Outcome> {
        self.talk.slice(&mut self.links, &mut self.hall, self.target)
    }

    /// Looks whether all was heard, and closes the links.
    pub fn finish(mut self) -> Result<()> {
        // What comes now comes twice.
        self.links.turn(Some(Duration::from_millis(50)), &mut self.hall)?;
        self.hall.check(&self.talk.rooms)?;
        self.links.close();
        Ok(())
    }
}

/// Everybody who hears, and what they have heard.
struct Hall {
    start: Instant,
    reader: EventReader,
    members_of_room: usize,
    one_voice: bool,
    members: Vec<Member>,
    /// Deliveries still under way, by room.
    waiting: Vec<u32>,
    /// Rooms where nothing is under way any more.
    silent: Vec<u32>,
    record: bool,
    deliveries: u64,
    bytes: u64,
    latency: Histogram,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Member {
    count: u64,
    /// Of all numbers heard: with the count it shows that each came once.
    sum: u64,
    /// Of all numbers heard, in order: members of a room that heard the same order agree in it.
    order: u64,
    /// The last offset in the room's own numbering.
    offset: u64,
}

impl Hall {
    fn new(plan: &Plan, speech: Speech) -> Self {
        Self {
            start: Instant::now(),
            reader: EventReader::new(speech),
            members_of_room: plan.members as usize,
            one_voice: plan.one_voice(),
            members: vec![Member::default(); plan.links()],
            waiting: vec![0; plan.rooms as usize],
            silent: Vec::new(),
            record: false,
            deliveries: 0,
            bytes: 0,
            latency: Histogram::default(),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Whether every member of every room heard all that was said there, once and in one order.
    fn check(&self, rooms: &[RoomTalk]) -> Result<()> {
        for (room, members) in self.members.chunks(self.members_of_room).enumerate() {
            let said = u64::from(rooms[room].next);
            let sum = said * said.saturating_sub(1) / 2;
            for (index, member) in members.iter().enumerate() {
                if member.count != said || member.sum != sum {
                    bail!(
                        "room {room}: {said} events were sent, member {index} heard {}",
                        member.count
                    );
                }
                if member.order != members[0].order {
                    bail!("room {room}: members 0 and {index} heard different orders");
                }
            }
        }
        Ok(())
    }
}

impl Ear for Hall {
    fn ready(&mut self, id: usize, offset: u64) {
        self.members[id].offset = offset;
    }

    fn message(&mut self, id: usize, message: &[u8]) -> Result<()> {
        let Some(heard) = self.reader.read(message)? else { return Ok(()) };
        let Stamp { room, number, due_ns } = heard.stamp;
        let member = &mut self.members[id];
        if room as usize != id / self.members_of_room {
            bail!("an event of room {room} came to a member of another");
        }
        if self.one_voice && u64::from(number) != member.count {
            bail!("room {room}: event {} was expected, but {number} came", member.count);
        }
        if let Some(offset) = heard.offset {
            if offset != member.offset + 1 {
                bail!("room {room}: offset {offset} came after {}", member.offset);
            }
            member.offset = offset;
        }
        member.count += 1;
        member.sum += u64::from(number);
        member.order = member.order.wrapping_mul(0x100_0000_01b3).wrapping_add(u64::from(number));
        let waiting = &mut self.waiting[room as usize];
        *waiting = waiting.checked_sub(1).context("more was heard than was said")?;
        if *waiting == 0 {
            self.silent.push(room);
        }
        if self.record {
            self.deliveries += 1;
            self.bytes += message.len() as u64;
            self.latency.add(self.now().saturating_sub(due_ns));
        }
        Ok(())
    }
}

/// Everybody who speaks.
struct Talk<'a> {
    plan: &'a Plan,
    rooms: Vec<RoomTalk>,
    out: Vec<u8>,
    events: u64,
}

struct RoomTalk {
    publish: Publish,
    /// The number of its next event.
    next: u32,
    /// Whose turn it is.
    turn: u32,
}

/// A moment to measure from.
struct Mark {
    at: Instant,
    usage: Option<Usage>,
    /// How long this thread has waited for a core.
    waited: Duration,
    events: u64,
}

impl<'a> Talk<'a> {
    fn new(plan: &'a Plan, target: &Listening) -> Self {
        let event_len = plan.event_len.unwrap_or_else(|| native_event_len(plan.payload));
        let endpoint = &target.endpoint;
        let voice = (endpoint.speech, endpoint.framing);
        let room = |room| RoomTalk {
            publish: Publish::new(voice, room, plan.unreliable, plan.payload, event_len),
            next: 0,
            turn: 0,
        };
        Self { plan, rooms: (0..plan.rooms).map(room).collect(), out: Vec::new(), events: 0 }
    }

    fn slice(&mut self, links: &mut Links, hall: &mut Hall, target: &Listening) -> Result<Outcome> {
        let begin = Instant::now();
        self.speak(links, hall, begin + self.plan.warmup)?;
        let probe = Probe::start(&target.cores);
        let from = self.mark(target)?;
        hall.record = true;
        self.speak(links, hall, begin + self.plan.warmup + self.plan.duration)?;
        hall.record = false;
        let to = self.mark(target)?;
        let used = from.usage.zip(to.usage).map(|(from, to)| to.since(from));
        let waited = to.waited.saturating_sub(from.waited);
        let machine = probe.finish(waited + used.map_or(Duration::ZERO, |used| used.waited));
        self.drain(links, hall)?;
        let deliveries = std::mem::take(&mut hall.deliveries);
        Ok(Outcome {
            seconds: (to.at - from.at).as_secs_f64(),
            events: to.events - from.events,
            deliveries,
            event_len: std::mem::take(&mut hall.bytes) as f64 / deliveries.max(1) as f64,
            latency: std::mem::take(&mut hall.latency),
            used,
            machine,
        })
    }

    fn mark(&self, target: &Listening) -> Result<Mark> {
        let (usage, waited) = (target.usage()?, Schedule::of_this_thread().read().1);
        Ok(Mark { at: Instant::now(), usage, waited, events: self.events })
    }

    fn speak(&mut self, links: &mut Links, hall: &mut Hall, until: Instant) -> Result<()> {
        match self.plan.pace {
            Pace::Closed { burst } => self.speak_in_turn(links, hall, until, burst),
            Pace::Rate(per_second) => self.speak_at_rate(links, hall, until, per_second),
        }
    }

    fn speak_in_turn(
        &mut self,
        links: &mut Links,
        hall: &mut Hall,
        until: Instant,
        burst: u32,
    ) -> Result<()> {
        if self.events == 0 {
            hall.silent = (0..self.plan.rooms).collect();
        }
        while Instant::now() < until {
            let mut silent = std::mem::take(&mut hall.silent);
            for room in silent.drain(..) {
                let now = hall.now();
                self.publish(links, hall, room, burst, now)?;
            }
            hall.silent = silent;
            links.turn(Some(Duration::from_millis(10)), hall)?;
        }
        Ok(())
    }

    fn speak_at_rate(
        &mut self,
        links: &mut Links,
        hall: &mut Hall,
        until: Instant,
        per_second: f64,
    ) -> Result<()> {
        let step = 1e9 / per_second;
        let begin = hall.now() as f64;
        let mut sent = 0_u64;
        while Instant::now() < until {
            let now = hall.now();
            loop {
                // What is late counts from when it was due, so that a stall is not forgotten.
                let due = (begin + step * sent as f64) as u64;
                if due > now {
                    break;
                }
                let room = (self.events % u64::from(self.plan.rooms)) as u32;
                self.publish(links, hall, room, 1, due)?;
                sent += 1;
            }
            hall.silent.clear();
            // epoll waits in whole milliseconds, which is too coarse: look and go on.
            let spare = (begin + step * sent as f64) - hall.now() as f64;
            let timeout = if spare > 2e6 { Duration::from_millis(1) } else { Duration::ZERO };
            links.turn(Some(timeout), hall)?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        links: &mut Links,
        hall: &mut Hall,
        room: u32,
        burst: u32,
        due_ns: u64,
    ) -> Result<()> {
        let talk = &mut self.rooms[room as usize];
        self.out.clear();
        for _ in 0..burst {
            talk.publish.write(&mut self.out, Stamp { room, number: talk.next, due_ns });
            talk.next = talk.next.checked_add(1).context("too many events in one room")?;
        }
        let speaker = self.plan.members_of(room).start + talk.turn as usize;
        talk.turn = (talk.turn + 1) % self.plan.publishers;
        self.events += u64::from(burst);
        hall.waiting[room as usize] += burst * self.plan.members;
        links.send(speaker, &self.out)
    }

    fn drain(&mut self, links: &mut Links, hall: &mut Hall) -> Result<()> {
        let until = Instant::now() + DRAIN_MAX;
        loop {
            let waiting: u64 = hall.waiting.iter().map(|&waiting| u64::from(waiting)).sum();
            if waiting == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "{waiting} deliveries are missing {} s after the last event",
                    DRAIN_MAX.as_secs()
                );
            }
            links.turn(Some(Duration::from_millis(100)), hall)?;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::speech::Framing;
    use super::*;

    fn plan() -> Plan {
        Plan {
            rooms: 2,
            members: 2,
            publishers: 1,
            payload: 64,
            unreliable: false,
            pace: Pace::Closed { burst: 1 },
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            event_len: None,
        }
    }

    /// A hall where two events were said in room 0 and none in room 1.
    fn hall() -> (Hall, [RoomTalk; 2]) {
        let mut hall = Hall::new(&plan(), Speech::Native);
        hall.waiting[0] = 4;
        let talk = |next| RoomTalk {
            publish: Publish::new((Speech::Native, Framing::WebSocket), 0, false, 64, 0),
            next,
            turn: 0,
        };
        (hall, [talk(2), talk(0)])
    }

    fn hear(hall: &mut Hall, id: usize, room: u32, number: u32, offset: u64) -> Result<()> {
        let stamp = format!("{room:08x}{number:08x}{:016x}", 0);
        let event = format!(
            r#"{{"type":"event","data":"{stamp}","at":{{"epoch":"x","offset":{offset}}}}}"#
        );
        hall.message(id, event.as_bytes())
    }

    #[test]
    fn all_events_once_and_in_order_is_right() {
        let (mut hall, talk) = hall();
        for id in [0, 1] {
            hear(&mut hall, id, 0, 0, 1).unwrap();
            hear(&mut hall, id, 0, 1, 2).unwrap();
        }
        hall.check(&talk).unwrap();
        assert_eq!(hall.silent, [0]);
    }

    #[test]
    fn a_lost_event_is_found() {
        let (mut hall, talk) = hall();
        hear(&mut hall, 0, 0, 0, 1).unwrap();
        hear(&mut hall, 0, 0, 1, 2).unwrap();
        hear(&mut hall, 1, 0, 0, 1).unwrap();
        assert!(hall.check(&talk).unwrap_err().to_string().contains("member 1 heard 1"));
    }

    #[test]
    fn a_repeated_a_swapped_and_a_stray_event_are_found() {
        let (mut hall, _) = hall();
        hear(&mut hall, 0, 0, 0, 1).unwrap();
        assert!(hear(&mut hall, 0, 0, 0, 2).is_err(), "repeated");
        assert!(hear(&mut hall, 1, 0, 1, 1).is_err(), "swapped");
        assert!(hear(&mut hall, 2, 0, 0, 1).is_err(), "of another room");
        assert!(hear(&mut hall, 1, 0, 0, 2).is_err(), "a gap in the offsets");
    }

    #[test]
    fn members_who_heard_different_orders_are_found() {
        let plan = Plan { publishers: 2, pace: Pace::Rate(1.0), ..plan() };
        let (_, talk) = hall();
        let mut hall = Hall::new(&plan, Speech::Native);
        hall.waiting[0] = 4;
        for (id, number, offset) in [(0, 0, 1), (0, 1, 2), (1, 1, 1), (1, 0, 2)] {
            hear(&mut hall, id, 0, number, offset).unwrap();
        }
        assert!(hall.check(&talk).unwrap_err().to_string().contains("different orders"));
    }
}
