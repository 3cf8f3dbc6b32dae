//! The output of a job, as its parent keeps it: files of fixed length, of which the oldest go first.
//!
//! A byte is named by its number since the job's start, so that whoever reads on is not misled when old files go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Both.
    pub const ALL: [Stream; 2] = [Stream::Out, Stream::Err];

    fn file(self, dir: &Path, number: u64) -> PathBuf {
        let name = match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        };
        dir.join(format!("{name}.{number}"))
    }
}

/// Writes one output down.
#[derive(Debug)]
pub struct Keeper {
    dir: PathBuf,
    stream: Stream,
    end: u64,
    file: Option<File>,
    /// What the disk did not take.
    dropped_bytes: u64,
}

impl Keeper {
    /// Of a job that has written nothing yet.
    #[must_use]
    pub fn new(dir: &Path, stream: Stream) -> Keeper {
        Keeper { dir: dir.to_owned(), stream, end: 0, file: None, dropped_bytes: 0 }
    }

    /// Keeps what the job has written. It must not wait for a disk that is full: what is not taken is dropped.
    pub fn keep(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = FILE_BYTES - self.end % FILE_BYTES;
            let (now, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            match self.append(now) {
                Ok(()) => self.end += now.len() as u64,
                Err(error) => {
                    tracing::warn!("{} bytes of output are lost: {error}", now.len());
                    self.dropped_bytes += now.len() as u64;
                    self.file = None;
                }
            }
            bytes = rest;
        }
    }

    /// How much the disk did not take.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (number, at) = (self.end / FILE_BYTES, self.end % FILE_BYTES);
        if at == 0 {
            if let Some(old) = number.checked_sub(FILES_KEPT) {
                // It may be gone already.
                let _ = fs::remove_file(self.stream.file(&self.dir, old));
            }
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let path = self.stream.file(&self.dir, number);
                let mut options = OpenOptions::new();
                let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
                file.seek(SeekFrom::Start(at))?;
                empty.insert(file)
            }
        };
        file.write_all(bytes).inspect_err(|_| {
            // A reader must not take a torn piece for output.
            let _ = file.set_len(at);
        })
    }
}

/// A piece of output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The number of its first byte: greater than what was asked for if that is gone.
    pub offset: u64,
    /// Empty if there is no more yet.
    pub bytes: Vec<u8>,
}

/// Reads from byte `offset` on; from the end if that is before it.
///
/// # Errors
/// When a file cannot be read.
pub fn read(dir: &Path, stream: Stream, offset: u64) -> io::Result<Piece> {
    let wanted = offset / FILE_BYTES;
    let numbers = numbers(dir, stream);
    let Some(number) = numbers.iter().copied().find(|number| *number >= wanted) else {
        let end = match numbers.last() {
            None => 0,
            Some(last) => last * FILE_BYTES + stream.file(dir, *last).metadata()?.len(),
        };
        return Ok(Piece { offset: offset.min(end), bytes: Vec::new() });
    };
    let start = if number == wanted { offset } else { number * FILE_BYTES };
    let mut file = File::open(stream.file(dir, number))?;
    file.seek(SeekFrom::Start(start % FILE_BYTES))?;
    let mut bytes = Vec::new();
    file.take(PIECE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Piece { offset: start, bytes })
}

/// The numbers of the files that are there, in order.
fn numbers(dir: &Path, stream: Stream) -> Vec<u64> {
    let first = stream.file(dir, 0);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.file_stem() == first.file_stem());
    let mut numbers: Vec<u64> =
        files.filter_map(|path| path.extension()?.to_str()?.parse::<u64>().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The length of one file.
pub const FILE_BYTES: u64 = 8 << 20;

/// Files of each output that are kept: with both outputs 64 MiB for a job.
pub const FILES_KEPT: u64 = 4;

/// What is read at once.
pub const PIECE_BYTES_MAX: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(dir: &Path, mut offset: u64) -> (u64, Vec<u8>) {
        let first = read(dir, Stream::Out, offset).unwrap().offset;
        let mut all = Vec::new();
        loop {
            let piece = read(dir, Stream::Out, offset).unwrap();
            if piece.bytes.is_empty() {
                return (first, all);
            }
            offset = piece.offset + piece.bytes.len() as u64;
            all.extend(piece.bytes);
        }
    }

    #[test]
    fn output_is_kept_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(whole(dir.path(), 0), (0, vec![]));
        let mut keeper = Keeper::new(dir.path(), Stream::Out);
        let mut expected = Vec::new();
        for number in 0..50_000_u32 {
            let line = format!("line {number}\n").into_bytes();
            keeper.keep(&line);
            expected.extend(line);
        }
        assert_eq!(whole(dir.path(), 0), (0, expected.clone()));
        assert_eq!(whole(dir.path(), 1234).1, expected[1234..]);
        assert_eq!(read(dir.path(), Stream::Err, 0).unwrap(), Piece::default());
        let end = expected.len() as u64;
        assert_eq!(read(dir.path(), Stream::Out, u64::MAX).unwrap(), Piece { offset: end, bytes: vec![] });
    }

    #[test]
    fn the_oldest_goes_first_and_readers_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(dir.path(), Stream::Out);
        let block = vec![b'x'; usize::try_from(FILE_BYTES).unwrap() / 2 + 1];
        (0..2 * (FILES_KEPT + 2)).for_each(|_| keeper.keep(&block));
        let kept: u64 =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= FILES_KEPT * FILE_BYTES, "{kept}");
        let (first, all) = whole(dir.path(), 0);
        assert!(first > 0 && first.is_multiple_of(FILE_BYTES));
        assert_eq!(first + all.len() as u64, 2 * (FILES_KEPT + 2) * block.len() as u64);
    }
}
