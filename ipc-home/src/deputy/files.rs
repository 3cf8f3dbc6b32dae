//! The pages of file mappings, as home alone has them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use migration::pages::Run;
use migration::procfs;

/// Reads pages of the files that a deputy has mapped at these addresses. What lies behind the end of a file is zero.
///
/// # Errors
/// When the deputy has no file there, or the file cannot be read; `PermissionDenied` for a process that is not traced
/// by this one: a guest must not read what others at home have mapped.
pub fn read(pid: u32, pages: Run) -> io::Result<Vec<u8>> {
    let tracer = procfs::status_value(&pid.to_string(), "TracerPid")?;
    if !Path::new("/proc/self/task").join(tracer).exists() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (start, end) = (pages.start, pages.end());
    let mut data = vec![0; pages.bytes()];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_the_familys_is_not_read() {
        let pid = std::process::id();
        let map = procfs::maps(pid).unwrap().into_iter().find(|map| map.inode != 0).unwrap();
        let error = read(pid, Run { start: map.start, pages: 1 }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
