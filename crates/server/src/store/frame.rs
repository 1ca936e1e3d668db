//! How the files of the log are written.
//!
//! A file begins with [`HEADER_BYTES`]: the word `roomcast`, the version and the file's number.
//! Behind it stand frames: the length of what follows the first 8 bytes (u32), the CRC-32 of all
//! that follows it (u32), when it was written in milliseconds since 1970 (u64), and the body, which
//! begins with its kind. Numbers are little-endian.

use bytes::Bytes;
use flate2::Crc;
use roomcast_core::Record;

/// The version that this program writes and reads.
pub(crate) const VERSION: u32 = 1;

pub(super) const HEADER_BYTES: usize = 16;

/// Length and checksum.
const PREFIX_BYTES: usize = 8;
const TIME_BYTES: usize = 8;

/// Largest frame: the largest message with all that surrounds it, or a snapshot.
pub(super) const FRAME_BYTES_MAX: usize = 40 << 20;

const MAGIC: &[u8; 8] = b"roomcast";

// Kinds of the log itself; those of records begin at 1.
const STARTED: u8 = 0x80;
const STOPPED: u8 = 0x81;
const SYNCED: u8 = 0x82;
const CUT: u8 = 0x83;

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// What the rooms have handed over.
    Record(Record),
    /// A server has begun, on a machine that was started for this life.
    Started { boot: Bytes },
    /// The server has ended in good order: the disk has all that is before this line.
    Stopped,
    /// The disk has the file up to here.
    Synced { bytes: u64 },
    /// An earlier file counts only up to here: what stands behind could not be brought to the disk,
    /// and nobody heard of it.
    Cut { file: u32, bytes: u64 },
}

/// The first bytes of a file.
pub(super) fn header(file: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&file.to_le_bytes());
    header
}

/// Looks at a file's first bytes.
///
/// # Errors
/// It is no file of a log, or of another version.
pub(super) fn check_header(file: u32, bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as a file of the log".to_owned());
    }
    match bytes.get(8..12).map(|version| u32::from_le_bytes([0, 1, 2, 3].map(|at| version[at]))) {
        Some(VERSION) if bytes.get(12..16) == Some(&file.to_le_bytes()) => Ok(()),
        Some(VERSION) => Err("it has the number of another file".to_owned()),
        Some(version) => Err(format!(
            "it has version {version} of the format, this program reads {VERSION}: use the \
             program that wrote it"
        )),
        None => Err("it ends within its first bytes".to_owned()),
    }
}

/// Writes a line behind what `out` holds; returns its length.
pub(super) fn write(out: &mut Vec<u8>, time_ms: u64, line: &Line) -> u32 {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.extend_from_slice(&time_ms.to_le_bytes());
    match line {
        Line::Record(record) => record.encode(out),
        Line::Started { boot } => {
            out.push(STARTED);
            out.extend_from_slice(boot);
        }
        Line::Stopped => out.push(STOPPED),
        Line::Synced { bytes } => {
            out.push(SYNCED);
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        Line::Cut { file, bytes } => {
            out.push(CUT);
            out.extend_from_slice(&file.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }
    let len = out.len() - start;
    // The longest record is far below 4 GiB.
    let body = (len - PREFIX_BYTES) as u32;
    let crc = checksum(&out[start + PREFIX_BYTES..]);
    out[start..start + 4].copy_from_slice(&body.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    len as u32
}

/// A line, and where it stands.
#[derive(Debug)]
pub(super) struct Framed {
    pub at: u32,
    pub len: u32,
    pub time_ms: u64,
    pub line: Line,
}

/// Reads the lines of a file, up to its end or the first that is not whole.
pub(super) struct Frames<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Frames<'a> {
    /// Of a whole file, of which only the first `end` bytes count.
    pub fn new(bytes: &'a Bytes, end: usize) -> Self {
        Self { bytes, at: HEADER_BYTES, end: end.min(bytes.len()) }
    }

    /// From a place between two lines on.
    pub fn behind(bytes: &'a Bytes, at: usize) -> Self {
        Self { bytes, at, end: bytes.len() }
    }

    /// Where reading has come to.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// What stands here is no whole line.
    pub fn next(&mut self) -> Result<Option<Framed>, &'static str> {
        if self.at >= self.end {
            return Ok(None);
        }
        let (framed, after) = read(self.bytes, self.at, self.end)?;
        self.at = after;
        Ok(Some(framed))
    }

    /// Whether a later line says that the disk had more than what could be read: then it is no
    /// torn end.
    pub fn was_synced_beyond(&self) -> bool {
        (self.at + 1..self.end).any(|at| {
            // The kind first: it is cheap to look at.
            self.bytes.get(at + PREFIX_BYTES + TIME_BYTES) == Some(&SYNCED)
                && matches!(
                    read(self.bytes, at, self.end),
                    Ok((Framed { line: Line::Synced { bytes }, .. }, _)) if bytes > self.at as u64
                )
        })
    }
}

fn read(bytes: &Bytes, at: usize, end: usize) -> Result<(Framed, usize), &'static str> {
    let short = "a line is cut off";
    let prefix = bytes.get(at..at + PREFIX_BYTES).ok_or(short)?;
    let len = u32::from_le_bytes([0, 1, 2, 3].map(|at| prefix[at])) as usize;
    let crc = u32::from_le_bytes([4, 5, 6, 7].map(|at| prefix[at]));
    if !(TIME_BYTES + 1..=FRAME_BYTES_MAX).contains(&len) {
        return Err("a line has an impossible length");
    }
    let (start, after) = (at + PREFIX_BYTES, at + PREFIX_BYTES + len);
    let content = bytes.get(start..after).filter(|_| after <= end).ok_or(short)?;
    if checksum(content) != crc {
        return Err("a line does not fit its checksum");
    }
    let (time, body) = content.split_at(TIME_BYTES);
    let time_ms = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| time[at]));
    let line = read_line(&bytes.slice_ref(body)).ok_or("a line cannot be understood")?;
    let framed = Framed { at: at as u32, len: (after - at) as u32, time_ms, line };
    Ok((framed, after))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn read_line(body: &Bytes) -> Option<Line> {
    let number = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    match *body.first()? {
        STARTED => Some(Line::Started { boot: body.slice(1..) }),
        STOPPED => Some(Line::Stopped),
        SYNCED => Some(Line::Synced { bytes: number(1)? }),
        CUT => {
            let file = u32::from_le_bytes(body.get(1..5)?.try_into().ok()?);
            Some(Line::Cut { file, bytes: number(5)? })
        }
        _ => Record::decode(body).ok().map(Line::Record),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use roomcast_core::record::LogId;

    use super::*;

    fn file(lines: &[Line]) -> Vec<u8> {
        let mut out = header(1).to_vec();
        for line in lines {
            write(&mut out, 5, line);
        }
        out
    }

    fn lines() -> Vec<Line> {
        vec![
            Line::Started { boot: Bytes::from_static(b"boot") },
            Line::Record(Record::Closed { log: LogId(7) }),
            Line::Synced { bytes: 60 },
            Line::Cut { file: 3, bytes: 9 },
            Line::Stopped,
        ]
    }

    fn read_all(bytes: &Bytes) -> (Vec<Line>, Option<&'static str>) {
        let mut frames = Frames::new(bytes, bytes.len());
        let mut all = Vec::new();
        loop {
            match frames.next() {
                Ok(Some(framed)) => all.push(framed.line),
                Ok(None) => return (all, None),
                Err(why) => return (all, Some(why)),
            }
        }
    }

    #[test]
    fn lines_read_back_and_every_cut_keeps_what_is_before_it() {
        let whole = Bytes::from(file(&lines()));
        assert_eq!(check_header(1, &whole), Ok(()));
        assert_eq!(read_all(&whole), (lines(), None));
        for end in HEADER_BYTES..whole.len() {
            let (read, _) = read_all(&whole.slice(..end));
            assert_eq!(read, lines()[..read.len()], "cut at {end}");
            assert!(read.len() < lines().len());
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let whole = file(&lines());
        for at in HEADER_BYTES..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            let (read, fault) = read_all(&changed.into());
            assert!(fault.is_some() && read == lines()[..read.len()], "byte {at}");
        }
    }

    #[test]
    fn a_torn_end_is_told_from_damage() {
        let mut damaged = file(&[Line::Stopped, Line::Stopped]);
        let end = damaged.len() as u64;
        write(&mut damaged, 5, &Line::Synced { bytes: end });
        damaged[HEADER_BYTES + 20] ^= 1;
        for (len, beyond) in [(damaged.len(), true), (end as usize, false)] {
            let bytes = Bytes::from(damaged[..len].to_vec());
            let mut frames = Frames::new(&bytes, bytes.len());
            while let Ok(Some(_)) = frames.next() {}
            assert_eq!(frames.was_synced_beyond(), beyond);
        }
    }

    #[test]
    fn other_versions_are_refused_with_the_way_out() {
        let mut other = header(1);
        other[8] = 9;
        assert!(check_header(1, &other).unwrap_err().contains("version 9"));
        assert!(check_header(2, &header(1)).unwrap_err().contains("another file"));
        assert!(check_header(1, b"something").is_err());
    }
}
