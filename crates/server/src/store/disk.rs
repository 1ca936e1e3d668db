//! The files of the log, behind a small interface: tests have one whose disk is full or fails.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// Where the files are.
pub(crate) trait Disk: Send {
    /// The numbers of the files that are there, sorted.
    fn files(&self) -> io::Result<Vec<u32>>;
    /// All that a file holds.
    fn read(&self, file: u32) -> io::Result<Vec<u8>>;
    /// An empty file in place of what has the number. It is there after a power cut once
    /// [`Written::sync`] has succeeded.
    fn create(&self, file: u32) -> io::Result<Box<dyn Written>>;
    /// A file that is there, to go on with.
    fn reopen(&self, file: u32) -> io::Result<Box<dyn Written>>;
    /// Takes a file away.
    fn remove(&self, file: u32) -> io::Result<()>;
}

/// A file that is written.
pub(crate) trait Written: Send {
    /// Writes all of it at a place.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until the disk has it.
    fn sync(&mut self) -> io::Result<()>;
    /// Takes away what is behind a place.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// A folder of a file system.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    fn path(&self, file: u32) -> PathBuf {
        self.0.join(name(file))
    }

    fn open(&self, file: u32, anew: bool) -> io::Result<Box<dyn Written>> {
        let mut options = OpenOptions::new();
        // Resume secrets and what people say are nobody else's business.
        options.write(true).create(anew).truncate(anew).mode(0o600);
        let opened = options.open(self.path(file))?;
        if anew {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(Box::new(OpenFile(opened)))
    }
}

/// The name of a file: sorted by name they are sorted by number.
pub(super) fn name(file: u32) -> String {
    format!("log-{file:010}")
}

impl Disk for Folder {
    fn files(&self) -> io::Result<Vec<u32>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let named = entry?.file_name();
            let number = named.to_str().and_then(|named| named.strip_prefix("log-"));
            files.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        files.sort_unstable();
        Ok(files)
    }

    fn read(&self, file: u32) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    fn create(&self, file: u32) -> io::Result<Box<dyn Written>> {
        self.open(file, true)
    }

    fn reopen(&self, file: u32) -> io::Result<Box<dyn Written>> {
        self.open(file, false)
    }

    fn remove(&self, file: u32) -> io::Result<()> {
        fs::remove_file(self.path(file))
    }
}

struct OpenFile(File);

impl Written for OpenFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
