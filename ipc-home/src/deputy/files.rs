//! The pages of file mappings, as home alone has them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use migration::pages::{PAGE, PAGE_BYTES};
use migration::procfs;

/// Reads pages of the files that a deputy has mapped at these addresses. What lies behind the end of a file is zero.
///
/// # Errors
/// When the deputy has no file there, or the file cannot be read.
pub fn read(pid: u32, start: u64, pages: u32) -> io::Result<Vec<u8>> {
    let end = start + u64::from(pages) * PAGE;
    let mut data = vec![0; pages as usize * PAGE_BYTES];
    for map in procfs::maps(pid)?.iter().filter(|map| map.inode != 0) {
        let (from, to) = (map.start.max(start), map.end.min(end));
        if from >= to {
            continue;
        }
        let file = File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", map.start, map.end))?;
        let part = &mut data[index(from - start)..index(to - start)];
        read_until_end(&file, part, map.offset + (from - map.start))?;
    }
    Ok(data)
}

fn read_until_end(file: &File, part: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < part.len() {
        match file.read_at(&mut part[done..], offset + done as u64) {
            Ok(0) => return Ok(()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
