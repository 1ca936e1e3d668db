//! The log: numbered files, of which the newest is written. What is no longer needed goes with the
//! oldest file, when what that still has was copied to the newest.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use roomcast_core::Record;
use roomcast_core::record::{Restored, Restoring};
use roomcast_wire::Epoch;
use roomcast_wire::options::Durability;

use super::OpenError;
use super::disk::{Disk, Written, name};
use super::frame::{self, Frames, HEADER_BYTES, Line};
use super::index::{Index, Place};

/// How large a file gets before the next is begun. Small, so that little is copied at a time.
const FILE_BYTES: u64 = 16 << 20;

/// What is written at a time of what an old file still has: no publisher waits for more.
const MOVED_BYTES: usize = 256 << 10;

/// The files of the log.
pub(super) struct Log {
    disk: Box<dyn Disk>,
    /// Those that are written no more, with their bytes.
    sealed: VecDeque<(u32, u64)>,
    newest: Newest,
    index: Index,
    /// What was written since the disk last had everything.
    unsynced: Vec<Unsynced>,
    moving: Option<Moving>,
    buffer: Vec<u8>,
    file_bytes: u64,
}

struct Newest {
    file: u32,
    written: Box<dyn Written>,
    bytes: u64,
    synced: u64,
}

struct Unsynced {
    time_ms: u64,
    record: Record,
    place: Place,
    /// Whether it stands although the disk may not have it.
    stands: bool,
}

/// An old file whose lines are being copied.
struct Moving {
    file: u32,
    bytes: Bytes,
    at: usize,
}

/// What was found in the files.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(crate) struct Found {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Lines in them.
    pub lines: u64,
    /// Bytes at the end of the newest file that were never acknowledged.
    pub torn_bytes: u64,
}

/// What a log is opened with.
pub(super) struct Opening<'a> {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Names the life of the machine.
    pub boot: &'a [u8],
    /// What new epochs are drawn from.
    pub random: &'a mut dyn FnMut() -> u64,
    pub file_bytes: Option<u64>,
}

impl Log {
    /// Reads what is there, cuts off what was never acknowledged, and goes on behind it.
    pub fn open(
        disk: Box<dyn Disk>,
        opening: &mut Opening<'_>,
    ) -> Result<(Self, Restored, Found), OpenError> {
        let mut reading = Reading::default();
        reading.read_all(&*disk, opening.now_ms)?;
        let Reading { mut files, mut index, restoring, found, last, boot, stopped, .. } = reading;
        index.forget_parts();
        let mut restored = restoring.finish();
        let newest = match files.pop_back() {
            None => begin(&*disk, 1)?,
            Some((file, bytes)) => {
                let mut written = disk.reopen(file).map_err(io_error("open", file))?;
                written.cut(bytes).map_err(io_error("cut", file))?;
                written.sync().map_err(io_error("sync", file))?;
                Newest { file, written, bytes, synced: bytes }
            }
        };
        let mut log = Self {
            disk,
            sealed: files,
            newest,
            index,
            unsynced: Vec::new(),
            moving: None,
            buffer: Vec::new(),
            file_bytes: opening.file_bytes.unwrap_or(FILE_BYTES),
        };
        let file = log.newest.file;
        let mut lines = vec![Line::Started { boot: Bytes::copy_from_slice(opening.boot) }];
        // The machine has begun anew, and was not left in good order: the newest of what only the
        // operating system had may be gone, though clients have heard it.
        if last.is_some() && !stopped && boot.as_deref() != Some(opening.boot) {
            for room in &mut restored.rooms {
                if room.room.options.durable != Durability::Sync {
                    room.room.epoch = Epoch::new((opening.random)());
                    let (log, room) = (room.log, Box::new(room.room.clone()));
                    lines.push(Line::Record(Record::Room { log, room }));
                }
            }
        }
        log.append(opening.now_ms, lines, true).map_err(io_error("write", file))?;
        log.sync().map_err(io_error("sync", file))?;
        Ok((log, restored, found))
    }

    /// Writes lines behind all others. `stands`: they count although the disk may not have them.
    ///
    /// # Errors
    /// None of them is there.
    pub fn append(
        &mut self,
        time_ms: u64,
        lines: impl IntoIterator<Item = Line>,
        stands: bool,
    ) -> io::Result<()> {
        let lines = lines.into_iter().map(|line| (time_ms, line, stands));
        self.append_each(lines.collect())
    }

    /// Writes lines, each with its time and whether it counts although the disk may not have it.
    ///
    /// # Errors
    /// None of them is there.
    pub fn append_each(&mut self, lines: Vec<(u64, Line, bool)>) -> io::Result<()> {
        if self.newest.bytes >= self.file_bytes && self.unsynced.is_empty() {
            self.roll()?;
        }
        self.buffer.clear();
        if self.newest.synced > HEADER_BYTES as u64 {
            let bytes = self.newest.synced;
            frame::write(&mut self.buffer, 0, &Line::Synced { bytes });
        }
        let mut written = Vec::with_capacity(lines.len());
        for (time_ms, line, stands) in lines {
            let at = self.newest.bytes + self.buffer.len() as u64;
            let len = frame::write(&mut self.buffer, time_ms, &line);
            let place = Place { file: self.newest.file, at: at as u32, len };
            if let Line::Record(record) = line {
                written.push(Unsynced { time_ms, record, place, stands });
            }
        }
        let at = self.newest.bytes;
        if let Err(error) = self.newest.written.write(at, &self.buffer) {
            // If this fails too, what follows in another file says where this one ends.
            _ = self.newest.written.cut(at);
            return Err(error);
        }
        self.newest.bytes += self.buffer.len() as u64;
        self.unsynced.append(&mut written);
        Ok(())
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    /// Nobody knows what the disk has of what was written since the last time: what the system
    /// kept for it is no longer to be trusted. [`Log::begin_again`] is the way out.
    pub fn sync(&mut self) -> io::Result<()> {
        self.newest.written.sync()?;
        self.newest.synced = self.newest.bytes;
        for Unsynced { record, place, .. } in self.unsynced.drain(..) {
            self.index.apply(&record, place);
        }
        Ok(())
    }

    /// Whether something was written that the disk may not have.
    pub fn is_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Bytes that the disk may not have.
    pub fn unsynced_bytes(&self) -> u64 {
        self.newest.bytes - self.newest.synced
    }

    /// Takes back what was written since the last sync, but for what stands, which is written
    /// again in a new file, with `lines` behind it. Until that succeeds nothing is lost.
    ///
    /// # Errors
    /// It is still not to be written.
    pub fn begin_again(&mut self, now_ms: u64, lines: Vec<Line>) -> io::Result<()> {
        self.unsynced.retain(|one| one.stands);
        let file = self.newest.file;
        let next = begin(&*self.disk, file + 1).map_err(io::Error::other)?;
        let before = std::mem::replace(&mut self.newest, next);
        let cut = Line::Cut { file, bytes: before.synced };
        let unsynced = std::mem::take(&mut self.unsynced);
        let again = unsynced.iter().map(|one| (one.time_ms, record_line(&one.record), true));
        let lines = lines.into_iter().map(|line| (now_ms, line, true));
        let all = std::iter::once((now_ms, cut, true)).chain(again).chain(lines);
        let done = self.append_each(all.collect()).and_then(|()| self.sync());
        if let Err(error) = done {
            self.unsynced = unsynced;
            self.newest = before;
            _ = self.disk.remove(file + 1);
            return Err(error);
        }
        let mut before = before;
        // What follows says where it ends, too.
        _ = before.written.cut(before.synced);
        self.sealed.push_back((file, before.synced));
        self.moving = None;
        Ok(())
    }

    /// Copies a little of what the oldest file still has, or lets a file go, if there is much that
    /// is not needed. Whether there is more to do.
    ///
    /// # Errors
    /// As of [`Log::append`] and [`Log::sync`].
    pub fn tidy(&mut self, now_ms: u64) -> io::Result<bool> {
        if self.is_unsynced() {
            return Ok(false);
        }
        let Some(&(file, end)) = self.sealed.front() else { return Ok(false) };
        if self.moving.is_none() {
            let all = self.newest.bytes + self.sealed.iter().map(|(_, bytes)| bytes).sum::<u64>();
            let is_needed = self.index.live_in(file) > 0;
            if is_needed && all <= 2 * self.index.live() + 4 * self.file_bytes {
                return Ok(false);
            }
            let mut bytes = Bytes::from(self.disk.read(file)?);
            bytes.truncate(end as usize);
            self.moving = Some(Moving { file, bytes, at: HEADER_BYTES });
        }
        let (lines, done) = self.next_moved(now_ms);
        if !lines.is_empty() {
            self.append_each(lines)?;
            self.sync()?;
        }
        if done {
            self.moving = None;
            self.disk.remove(file)?;
            self.sealed.pop_front();
        }
        Ok(true)
    }

    /// What is copied next; whether it is the last.
    fn next_moved(&mut self, now_ms: u64) -> (Vec<(u64, Line, bool)>, bool) {
        let mut lines = Vec::new();
        let Some(moving) = &mut self.moving else { return (lines, true) };
        let mut frames = Frames::behind(&moving.bytes, moving.at);
        let mut bytes = 0;
        // The file was read when the log was opened, or written since: it is whole.
        while bytes < MOVED_BYTES
            && let Ok(Some(framed)) = frames.next()
        {
            let place = Place { file: moving.file, at: framed.at, len: framed.len };
            if let Line::Record(record) = &framed.line
                && !matches!(record, Record::Room { .. })
                && self.index.is_live(record, place)
            {
                bytes += framed.len as usize;
                lines.push((framed.time_ms, framed.line, true));
            }
        }
        moving.at = frames.at();
        let done = bytes < MOVED_BYTES;
        if done {
            for log in self.index.rooms_behind(moving.file) {
                if let Some(room) = self.index.room_now(log) {
                    let room = Box::new(room);
                    lines.push((now_ms, Line::Record(Record::Room { log, room }), true));
                }
            }
        }
        (lines, done)
    }

    /// Begins the next file. The disk has all of the one before.
    fn roll(&mut self) -> io::Result<()> {
        let next = begin(&*self.disk, self.newest.file + 1).map_err(io::Error::other)?;
        let full = std::mem::replace(&mut self.newest, next);
        self.sealed.push_back((full.file, full.bytes));
        Ok(())
    }
}

fn record_line(record: &Record) -> Line {
    Line::Record(record.clone())
}

/// A new file.
fn begin(disk: &dyn Disk, file: u32) -> Result<Newest, OpenError> {
    let mut written = disk.create(file).map_err(io_error("make", file))?;
    written.write(0, &frame::header(file)).map_err(io_error("write", file))?;
    written.sync().map_err(io_error("sync", file))?;
    let bytes = HEADER_BYTES as u64;
    Ok(Newest { file, written, bytes, synced: bytes })
}

fn io_error(what: &'static str, file: u32) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { what: format!("cannot {what} {}", name(file)), source }
}

/// What is known while the files are read.
#[derive(Default)]
pub(super) struct Reading {
    pub files: VecDeque<(u32, u64)>,
    pub index: Index,
    pub restoring: Restoring,
    pub found: Found,
    /// When the newest line was written.
    pub last: Option<u64>,
    /// The life of the machine in which it was.
    pub boot: Option<Bytes>,
    /// The server had ended in good order.
    pub stopped: bool,
}

impl Reading {
    /// Reads all files.
    ///
    /// # Errors
    /// One cannot be read, or is damaged.
    pub fn read_all(&mut self, disk: &dyn Disk, now_ms: u64) -> Result<(), OpenError> {
        let mut files = VecDeque::new();
        for file in disk.files().map_err(io_error("list the folder of", 0))? {
            let bytes = disk.read(file).map_err(io_error("read", file))?;
            files.push_back((file, Bytes::from(bytes)));
        }
        // A file that was only just begun: what it was to say of the one before is not there.
        let is_empty =
            |bytes: &Bytes| !matches!(Frames::new(bytes, bytes.len()).next(), Ok(Some(_)));
        if files.back().is_some_and(|(_, bytes)| is_empty(bytes)) && files.len() > 1 {
            files.pop_back();
        }
        while let Some((file, bytes)) = files.pop_front() {
            let end = files.front().and_then(|(_, next)| cut_of(file, next));
            let is_last = files.is_empty();
            self.read_file((file, &bytes), end, is_last, now_ms, &mut |_| {})?;
        }
        Ok(())
    }

    /// Reads one file; `seen` is told each line's record.
    pub fn read_file(
        &mut self,
        (file, bytes): (u32, &Bytes),
        cut: Option<u64>,
        is_last: bool,
        now_ms: u64,
        seen: &mut dyn FnMut(&Record),
    ) -> Result<(), OpenError> {
        let damaged = |at: usize, why: &str| OpenError::Damaged {
            file: name(file),
            at: at as u64,
            why: why.to_owned(),
        };
        self.found.files += 1;
        self.found.bytes += bytes.len() as u64;
        if bytes.len() < HEADER_BYTES && is_last {
            self.found.torn_bytes += bytes.len() as u64;
            return Ok(());
        }
        frame::check_header(file, bytes).map_err(|why| damaged(0, &why))?;
        let end = cut.map_or(bytes.len(), |cut| cut as usize);
        let mut frames = Frames::new(bytes, end);
        loop {
            match frames.next() {
                Ok(None) => break,
                Ok(Some(framed)) => {
                    let place = Place { file, at: framed.at, len: framed.len };
                    self.found.lines += 1;
                    self.take(framed.time_ms, framed.line, place, now_ms, seen);
                }
                Err(why) if !is_last || frames.was_synced_beyond() => {
                    return Err(damaged(frames.at(), why));
                }
                Err(_) => {
                    self.found.torn_bytes += (bytes.len() - frames.at()) as u64;
                    break;
                }
            }
        }
        self.files.push_back((file, frames.at() as u64));
        Ok(())
    }

    fn take(
        &mut self,
        time_ms: u64,
        line: Line,
        place: Place,
        now_ms: u64,
        seen: &mut dyn FnMut(&Record),
    ) {
        self.stopped = matches!(line, Line::Stopped);
        self.last = Some(time_ms);
        match line {
            Line::Started { boot } => self.boot = Some(boot),
            Line::Record(record) => {
                seen(&record);
                self.index.apply(&record, place);
                self.restoring.add(now_ms.saturating_sub(time_ms), record);
            }
            Line::Stopped | Line::Synced { .. } | Line::Cut { .. } => {}
        }
    }
}

/// Where a file ends, if the one after it says so with its first line.
pub(super) fn cut_of(file: u32, next: &Bytes) -> Option<u64> {
    match Frames::new(next, next.len()).next() {
        Ok(Some(framed)) => match framed.line {
            Line::Cut { file: cut, bytes } if cut == file => Some(bytes),
            _ => None,
        },
        _ => None,
    }
}
