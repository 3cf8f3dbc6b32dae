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
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use migration::tracee::Running;

    use super::*;

    #[test]
    fn only_a_process_that_is_traced_is_read() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let program =
            procfs::maps(pid).unwrap().into_iter().find(|map| map.name.ends_with("/sleep")).unwrap();
        let first = Run { start: program.start, pages: 1 };
        let of_a_stranger = read(pid, first);
        let _traced = Running::seize(pid, 0).unwrap();
        let of_the_family = read(pid, first);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_a_stranger.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        // The kernel lets root alone open what is mapped.
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            assert!(of_the_family.unwrap().starts_with(b"\x7fELF"));
        }
    }
}
