//! The log on a disk that is full, fails, and loses what it was not asked to keep.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use roomcast_core::record::{LogId, Restored, RoomRecord, SeatRecord, SessionRecord};
use roomcast_core::{LogEntry, LogNews, Record};
use roomcast_wire::options::Durability;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{Epoch, EventName, Name, Payload, Position, RoomOptions, Secret, SessionId};

use super::disk::{Disk, Written};
use super::frame::Line;
use super::log::{Found, Log, Opening};
use super::*;

/// A disk in memory. What was not synced is lost with the power.
#[derive(Clone, Default)]
struct Box0(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u32, File>,
    /// Bytes that may still be written; none: no bound.
    room_left: Option<usize>,
    syncs_fail: bool,
}

#[derive(Default, Clone)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

struct Handle(Box0, u32);

impl Box0 {
    fn with<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        what(&mut self.0.lock().unwrap())
    }

    fn cut_power(&self) {
        self.with(|state| state.files.values_mut().for_each(|it| it.bytes = it.synced.clone()));
    }

    fn open(&self, boot: &[u8]) -> Result<(Log, Restored, Found), OpenError> {
        let mut random = || 77;
        let disk = Box::new(self.clone());
        let opening =
            &mut Opening { now_ms: 1_000, boot, random: &mut random, file_bytes: Some(2_000) };
        Log::open(disk, opening)
    }
}

impl Disk for Box0 {
    fn files(&self) -> io::Result<Vec<u32>> {
        Ok(self.with(|state| state.files.keys().copied().collect()))
    }

    fn read(&self, file: u32) -> io::Result<Vec<u8>> {
        self.with(|state| state.files.get(&file).map(|file| file.bytes.clone()))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, file: u32) -> io::Result<Box<dyn Written>> {
        self.with(|state| state.files.insert(file, File::default()));
        Ok(Box::new(Handle(self.clone(), file)))
    }

    fn reopen(&self, file: u32) -> io::Result<Box<dyn Written>> {
        Ok(Box::new(Handle(self.clone(), file)))
    }

    fn remove(&self, file: u32) -> io::Result<()> {
        self.with(|state| state.files.remove(&file));
        Ok(())
    }
}

impl Written for Handle {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.with(|state| {
            let fits = state.room_left.map_or(bytes.len(), |left| left.min(bytes.len()));
            state.room_left = state.room_left.map(|left| left - fits);
            let file = &mut state.files.get_mut(&self.1).unwrap().bytes;
            file.resize(at as usize, 0);
            file.extend_from_slice(&bytes[..fits]);
            if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.with(|state| {
            if state.syncs_fail {
                return Err(io::Error::other("the disk says no"));
            }
            let file = state.files.get_mut(&self.1).unwrap();
            file.synced = file.bytes.clone();
            Ok(())
        })
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.with(|state| state.files.get_mut(&self.1).unwrap().bytes.truncate(len as usize));
        Ok(())
    }
}

const ROOM: LogId = LogId(5);

fn room(durable: Durability) -> Record {
    let options = RoomOptions { durable, ..RoomOptions::default() };
    let (name, epoch) = ("lobby".into(), Epoch::new(1));
    let (permanent, creator) = (false, None);
    let room =
        RoomRecord { name, options, epoch, permanent, creator, offset: 0, unreliable: 0, floor: 0 };
    Record::Room { log: ROOM, room: Box::new(room) }
}

fn event(offset: u64, floor: u64) -> Record {
    let position = Some(Position { epoch: Epoch::new(1), offset });
    let payload = Some(Payload::text(&format!("event {offset}, of some length")));
    let name = EventName::text("chat").unwrap();
    let event = Event { name, payload, from: None, position, reliable: true, unreliable: 0 };
    let key = offset.is_multiple_of(2).then(|| format!("key {offset}").into());
    Record::Event { log: ROOM, floor, key, event: Arc::new(event) }
}

fn session(id: u128) -> Record {
    let (user, name) = (Name::new("mina").ok(), None);
    let sender = Arc::new(Sender { session: SessionId(id), user, name, metadata: None });
    let (namespace, secret) = (Name::default_namespace(), Secret(9));
    let session = SessionRecord { sender, namespace, secret, admin: false, token_id: None };
    Record::Session { session: Box::new(session) }
}

fn seat(id: u128) -> Record {
    let seat = SeatRecord { session: SessionId(id), number: id as u64, data: None, invited: false };
    Record::Seat { log: ROOM, seat: Box::new(seat) }
}

fn say(log: &mut Log, record: Record) -> io::Result<()> {
    log.append(500, [Line::Record(record)], false)?;
    log.sync()
}

fn offsets(restored: &Restored) -> Vec<u64> {
    let Some(room) = restored.rooms.first() else { return Vec::new() };
    room.events.iter().map(|event| event.event.position.unwrap().offset).collect()
}

#[test]
fn what_was_written_is_there_again() {
    let disk = Box0::default();
    let (mut log, nothing, _) = disk.open(b"boot").unwrap();
    assert_eq!(nothing, Restored::default());
    for record in [room(Durability::Sync), event(1, 0), event(2, 0), session(1), seat(1), seat(2)] {
        say(&mut log, record).unwrap();
    }
    let (_, restored, found) = disk.open(b"another").unwrap();
    assert_eq!(offsets(&restored), [1, 2]);
    let room = &restored.rooms[0];
    assert_eq!((room.room.offset, room.room.epoch, &*room.room.name), (2, Epoch::new(1), "lobby"));
    assert_eq!((room.events[1].age_ms, room.events[1].key.as_deref()), (500, Some("key 2")));
    // Nobody can resume the second session: it has no seat any more.
    assert_eq!(room.seats.iter().map(|seat| seat.session.0).collect::<Vec<_>>(), [1]);
    assert_eq!(restored.sessions.len(), 1);
    assert_eq!((found.torn_bytes, found.files), (0, 1));
}

#[test]
fn a_power_cut_shows_as_a_new_epoch_where_the_disk_was_not_waited_for() {
    for (level, boot, stopped, same) in [
        (Durability::Memory, &b"boot"[..], false, true),
        (Durability::Memory, b"another", false, false),
        (Durability::Memory, b"another", true, true),
        (Durability::Sync, b"another", false, true),
    ] {
        let disk = Box0::default();
        let (mut log, ..) = disk.open(b"boot").unwrap();
        say(&mut log, room(level)).unwrap();
        say(&mut log, event(1, 0)).unwrap();
        if stopped {
            log.append(600, [Line::Stopped], true).unwrap();
            log.sync().unwrap();
        }
        for _ in 0..2 {
            let (_, restored, _) = disk.open(boot).unwrap();
            let epoch = restored.rooms[0].room.epoch;
            assert_eq!(epoch == Epoch::new(1), same, "{level:?} {stopped}");
            assert_eq!((offsets(&restored), restored.rooms[0].room.offset), (vec![1], 1));
        }
    }
}

#[test]
fn a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room() {
    let disk = Box0::default();
    let (mut log, ..) = disk.open(b"boot").unwrap();
    say(&mut log, room(Durability::Sync)).unwrap();
    say(&mut log, event(1, 0)).unwrap();
    for left in [0, 1, 7, 8, 9, 40] {
        disk.with(|state| state.room_left = Some(left));
        assert!(say(&mut log, event(2, 0)).is_err());
        assert!(log.begin_again(500, vec![]).is_err());
        let (_, restored, _) = disk.clone_files().open(b"boot").unwrap();
        assert_eq!(offsets(&restored), [1], "{left} bytes left");
    }
    disk.with(|state| state.room_left = None);
    log.begin_again(500, vec![Line::Record(session(1))]).unwrap();
    say(&mut log, event(2, 0)).unwrap();
    disk.cut_power();
    assert_eq!(offsets(&disk.open(b"boot").unwrap().1), [1, 2]);
}

#[test]
fn after_a_failed_sync_what_stands_is_written_anew_and_nothing_else() {
    let disk = Box0::default();
    let (mut log, ..) = disk.open(b"boot").unwrap();
    say(&mut log, room(Durability::Memory)).unwrap();
    say(&mut log, event(1, 0)).unwrap();
    log.append(500, [Line::Record(event(2, 0))], true).unwrap();
    log.append(500, [Line::Record(event(3, 0))], false).unwrap();
    disk.with(|state| state.syncs_fail = true);
    assert!(log.sync().is_err());
    assert!(log.begin_again(500, vec![]).is_err());
    disk.with(|state| state.syncs_fail = false);
    log.begin_again(500, vec![]).unwrap();
    // Event 3 was refused: its offset is given anew.
    say(&mut log, event(3, 0)).unwrap();
    disk.cut_power();
    let (_, restored, _) = disk.open(b"boot").unwrap();
    assert_eq!(offsets(&restored), [1, 2, 3]);
}

#[test]
fn what_is_not_needed_is_let_go_and_what_is_needed_stays() {
    let disk = Box0::default();
    let (mut log, ..) = disk.open(b"boot").unwrap();
    for record in [room(Durability::Sync), session(1), seat(1), session(2), seat(2)] {
        say(&mut log, record).unwrap();
    }
    say(&mut log, Record::SessionEnded { session: SessionId(2) }).unwrap();
    say(&mut log, Record::Unseat { log: ROOM, session: SessionId(2) }).unwrap();
    let state = Record::Snapshot { log: ROOM, offset: 0, state: "state".into() };
    say(&mut log, state).unwrap();
    for offset in 1..=2_000_u64 {
        say(&mut log, event(offset, offset.saturating_sub(20))).unwrap();
        while log.tidy(900).unwrap() {}
    }
    assert!(disk.files().unwrap().len() <= 6, "{:?}", disk.files());
    let (_, restored, _) = disk.open(b"boot").unwrap();
    assert_eq!(offsets(&restored), (1_981..=2_000).collect::<Vec<_>>());
    let room = &restored.rooms[0];
    assert_eq!((room.seats.len(), restored.sessions.len()), (1, 1));
    assert_eq!(room.snapshot.as_ref().map(|(offset, _)| *offset), Some(0));
}

#[test]
fn a_room_that_keeps_nothing_keeps_its_position() {
    let disk = Box0::default();
    let (mut log, ..) = disk.open(b"boot").unwrap();
    say(&mut log, room(Durability::Sync)).unwrap();
    for offset in 1..=500 {
        say(&mut log, event(offset, offset)).unwrap();
        while log.tidy(900).unwrap() {}
    }
    let (_, restored, _) = disk.open(b"boot").unwrap();
    assert_eq!((offsets(&restored), restored.rooms[0].room.offset), (vec![], 500));
    assert!(disk.files().unwrap().len() <= 6);
}

#[test]
fn damage_is_told_and_a_torn_end_is_cut() {
    let disk = Box0::default();
    let (mut log, ..) = disk.open(b"boot").unwrap();
    say(&mut log, room(Durability::Sync)).unwrap();
    for offset in 1..=3 {
        say(&mut log, event(offset, 0)).unwrap();
    }
    let whole = disk.with(|state| state.files[&1].bytes.clone());
    for at in 16..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        disk.with(|state| state.files.get_mut(&1).unwrap().bytes = bytes);
        match disk.open(b"boot") {
            Err(OpenError::Damaged { at: told, .. }) => assert!(told as usize <= at),
            // Nothing behind it says that it was acknowledged.
            Ok((_, restored, found)) => {
                assert_eq!(offsets(&restored), [1, 2], "byte {at}");
                assert!(found.torn_bytes > 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl Box0 {
    fn clone_files(&self) -> Self {
        let files = self.with(|state| state.files.clone());
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever happens to the disk, all that was acknowledged is there, once and in order, and
    /// nothing that was refused.
    #[test]
    fn all_that_was_acknowledged_is_there(
        steps in proptest::collection::vec((0..12_u8, any::<u16>()), 1..120),
    ) {
        let disk = Box0::default();
        let (mut log, ..) = disk.open(b"boot").unwrap();
        say(&mut log, room(Durability::Sync)).unwrap();
        let (mut acked, mut failed) = (0, false);
        for (step, number) in steps {
            match step {
                0 => {
                    disk.with(|state| state.room_left = Some(usize::from(number % 400)));
                }
                1 => disk.with(|state| state.syncs_fail = true),
                2 | 3 => disk.with(|state| {
                    state.room_left = None;
                    state.syncs_fail = false;
                }),
                4 | 5 => {
                    // The process dies; with it, sometimes, the power.
                    disk.with(|state| {
                        state.room_left = None;
                        state.syncs_fail = false;
                    });
                    if step == 5 {
                        disk.cut_power();
                    }
                    let (next, restored, _) = disk.open(b"boot").unwrap();
                    let newest = offsets(&restored).last().copied().unwrap_or(0);
                    prop_assert!(newest == acked || (step == 4 && failed && newest == acked + 1));
                    prop_assert!(offsets(&restored).iter().copied().eq(
                        restored.rooms[0].room.floor + 1..=newest
                    ));
                    (log, acked, failed) = (next, newest, false);
                }
                _ if failed => failed = log.begin_again(1_000, vec![]).is_err(),
                _ => match say(&mut log, event(acked + 1, acked.saturating_sub(9))) {
                    Ok(()) => {
                        acked += 1;
                        failed = std::iter::repeat_with(|| log.tidy(1_000))
                            .find(|more| !matches!(more, Ok(true)))
                            .is_some_and(|more| more.is_err());
                    }
                    Err(_) => failed = true,
                },
            }
        }
    }
}

#[test]
fn the_writer_says_what_stands_and_what_does_not() {
    let disk = Box0::default();
    let (log, ..) = disk.open(b"boot").unwrap();
    let (told, news) = mpsc::channel();
    let tell: Tell = Box::new(move |shard, news| told.send((shard, news)).unwrap());
    let writer = writer::Writer::new(log, 2, tell);
    let (jobs, queue) = mpsc::channel();
    let thread = std::thread::spawn(move || writer.run(&queue));
    let entry = |number, term, record| LogEntry { number, term, level: Durability::Sync, record };
    let hand = |entries| jobs.send(Job::Entries { shard: 1, entries }).unwrap();
    hand(vec![entry(1, 0, room(Durability::Sync)), entry(2, 0, event(1, 0))]);
    let stands = |written, synced| (1, LogNews::Stands { written, synced });
    assert_eq!(news.recv().unwrap(), stands(2, 0));
    assert_eq!(news.recv().unwrap(), stands(2, 2));
    disk.with(|state| state.room_left = Some(10));
    hand(vec![entry(3, 0, session(1)), entry(4, 0, event(2, 0))]);
    assert_eq!(news.recv().unwrap(), (0, LogNews::Failed { term: 1 }));
    assert_eq!(news.recv().unwrap(), (1, LogNews::Failed { term: 1 }));
    // The shard did not know yet.
    hand(vec![entry(5, 0, seat(1)), entry(6, 0, event(3, 0))]);
    disk.with(|state| state.room_left = None);
    assert_eq!(news.recv().unwrap(), (0, LogNews::Back));
    assert_eq!(news.recv().unwrap(), (1, LogNews::Back));
    hand(vec![entry(7, 0, event(4, 0)), entry(8, 1, event(2, 0))]);
    assert_eq!(news.recv().unwrap(), stands(8, 2));
    assert_eq!(news.recv().unwrap(), stands(8, 8));
    jobs.send(Job::Stop).unwrap();
    thread.join().unwrap();
    let (_, restored, _) = disk.open(b"another").unwrap();
    assert_eq!((offsets(&restored), restored.sessions.len()), (vec![1, 2], 1));
}
