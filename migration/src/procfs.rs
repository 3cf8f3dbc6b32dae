//! Reading `/proc/PID`: maps, smaps flags, stat, status.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `PROT_*`.
    pub protection: u32,
    /// The fourth letter is `s`.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// `major:minor` as printed.
    pub device: String,
    /// 0 for anonymous memory.
    pub inode: u64,
    /// Path, `[name]` or empty.
    pub name: String,
}

impl MapLine {
    /// True for the kernel's own mappings, which every process gets anew.
    #[must_use]
    pub fn is_special(&self) -> bool {
        matches!(self.name.as_str(), "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]")
    }
}

/// Parses the whole of `/proc/PID/maps`.
///
/// The kernel tells the mappings of a running program in portions. When it joins mappings between two of them, it tells
/// the joined one behind its own first part (measured). Such an answer is not used.
///
/// # Errors
/// When it cannot be read, or a line is not of the documented form.
pub fn maps(pid: u32) -> io::Result<Vec<MapLine>> {
    for _ in 0..READS_MAX {
        let maps = parse_maps(&text(format!("/proc/{pid}/maps"))?)?;
        if are_apart(&maps) {
            return Ok(maps);
        }
    }
    Err(io::Error::other(format!("the mappings of process {pid} change faster than they can be read")))
}

pub(crate) fn parse_maps(text: &str) -> io::Result<Vec<MapLine>> {
    text.lines().map(|line| map_line(line).ok_or_else(bad)).collect()
}

fn are_apart(maps: &[MapLine]) -> bool {
    maps.is_sorted_by(|before, after| before.end <= after.start)
}

/// The `VmFlags` of each mapping, by its start address.
///
/// # Errors
/// When `/proc/PID/smaps` cannot be read.
pub fn vm_flags(pid: u32) -> io::Result<HashMap<u64, Vec<String>>> {
    Ok(parse_vm_flags(&text(format!("/proc/{pid}/smaps"))?))
}

pub(crate) fn parse_vm_flags(text: &str) -> HashMap<u64, Vec<String>> {
    let mut found = HashMap::new();
    let mut start = 0;
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            found.insert(start, flags.split_whitespace().map(str::to_owned).collect());
        } else if let Some(map) = map_line(line) {
            start = map.start;
        }
    }
    found
}

/// The numbers behind the command name in `/proc/PID/stat`: index 0 is the state's successor, so field N of proc(5)
/// is at `N - 4`.
///
/// # Errors
/// When it cannot be read.
pub fn stat_numbers(pid: u32) -> io::Result<Vec<u64>> {
    parse_stat(&text(format!("/proc/{pid}/stat"))?).ok_or_else(bad)
}

pub(crate) fn parse_stat(text: &str) -> Option<Vec<u64>> {
    let rest = text.rsplit_once(')')?.1;
    Some(
        rest.split_whitespace()
            .skip(1)
            .map(|word| word.parse::<i64>().map_or_else(|_| word.parse().unwrap_or(0), i64::cast_unsigned))
            .collect(),
    )
}

/// Field `number` of proc(5)'s list for `/proc/PID/stat`, from 4 on.
///
/// # Errors
/// When it cannot be read or is not there.
pub fn stat_field(pid: u32, number: usize) -> io::Result<u64> {
    stat_numbers(pid)?.get(number - 4).copied().ok_or_else(bad)
}

/// The value of a line of `/proc/PID/status` (or of a thread, with `PID/task/TID`).
///
/// # Errors
/// When it cannot be read or is not there.
pub fn status_value(task: &str, key: &str) -> io::Result<String> {
    let text = text(format!("/proc/{task}/status"))?;
    parse_status(&text, key).map(str::to_owned).ok_or_else(bad)
}

pub(crate) fn parse_status<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// The letter of `State` in `/proc/PID/status`: `S` sleeps, `T` is stopped, `Z` and `X` have ended.
///
/// # Errors
/// As [`status_value`].
pub fn state(task: &str) -> io::Result<char> {
    status_value(task, "State")?.chars().next().ok_or_else(bad)
}

/// A signal set of `/proc/PID/status` (`SigBlk`, `SigCgt`, ...), bit n-1 for signal n.
///
/// # Errors
/// When it cannot be read.
pub fn signal_set(task: &str, key: &str) -> io::Result<u64> {
    u64::from_str_radix(&status_value(task, key)?, 16).map_err(|_| bad())
}

/// The thread ids of a process, in ascending order; the leader's is the pid.
///
/// # Errors
/// When the process is gone.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push(tid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// `/proc/PID/comm`.
///
/// # Errors
/// When the process is gone.
pub fn command(pid: u32) -> io::Result<String> {
    Ok(text(format!("/proc/{pid}/comm"))?.trim_end().to_owned())
}

/// The text of a file in which names stand that programs choose: they need not be UTF-8.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn map_line(line: &str) -> Option<MapLine> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let letters = words.next()?.as_bytes();
    let offset = words.next()?;
    let device = words.next()?;
    let inode = words.next()?;
    let name = words.next().unwrap_or("").trim_start();
    let bit = |at: usize, letter: u8, value: i32| {
        if letters.get(at) == Some(&letter) { value.unsigned_abs() } else { 0 }
    };
    Some(MapLine {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        protection: bit(0, b'r', libc::PROT_READ)
            | bit(1, b'w', libc::PROT_WRITE)
            | bit(2, b'x', libc::PROT_EXEC),
        shared: letters.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: device.to_owned(),
        inode: inode.parse().ok()?,
        name: name.to_owned(),
    })
}

/// Of a hundred answers about a program that does nothing but split and join mappings, fewer than one was of no use.
const READS_MAX: u32 = 20;

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected form of a /proc file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_taken_apart() {
        let line =
            "7f0a1c000000-7f0a1c021000 r-xs 00001000 fe:00 1234                       /a path/with spaces";
        let map = map_line(line).expect("a valid line");
        assert_eq!((map.start, map.end), (0x7f0a_1c00_0000, 0x7f0a_1c02_1000));
        assert_eq!(map.protection, (libc::PROT_READ | libc::PROT_EXEC).unsigned_abs());
        assert!(map.shared);
        assert_eq!((map.offset, map.inode, map.name.as_str()), (0x1000, 1234, "/a path/with spaces"));
    }

    #[test]
    fn an_answer_in_which_mappings_overlap_is_told_apart() {
        let told = |text: &str| -> Vec<MapLine> {
            text.lines().map(|line| map_line(line).expect("a valid line")).collect()
        };
        let first = "1000-3000 rw-p 00000000 00:00 0\n";
        assert!(are_apart(&told(&format!("{first}3000-4000 r--p 00000000 00:00 0\n"))));
        assert!(!are_apart(&told(&format!("{first}1000-4000 rw-p 00000000 00:00 0\n"))));
    }

    #[test]
    fn a_name_need_not_be_utf_8() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join(OsStr::from_bytes(b"\xff) S \xfe"));
        fs::copy("/bin/sleep", &program).expect("a copy");
        let mut child = std::process::Command::new(&program).arg("60").spawn().expect("a process");
        let pid = child.id();
        let seen = (command(pid), stat_field(pid, 22), state(&pid.to_string()), maps(pid), vm_flags(pid));
        child.kill().expect("it can be killed");
        child.wait().expect("it was killed");
        assert_eq!(seen.0.expect("a name"), "\u{fffd}) S \u{fffd}");
        assert!(seen.1.expect("a start time") > 0);
        assert!(seen.2.is_ok());
        assert!(seen.3.expect("mappings").iter().any(|map| map.name.ends_with("/\u{fffd}) S \u{fffd}")));
        assert!(!seen.4.expect("flags").is_empty());
    }

    #[test]
    fn this_process_reads_itself() {
        let pid = std::process::id();
        assert!(maps(pid).expect("own maps").iter().any(|map| map.name == "[stack]"));
        assert!(vm_flags(pid).expect("own smaps").values().any(|flags| flags.contains(&"gd".to_owned())));
        assert!(threads(pid).expect("own threads").contains(&pid));
        assert!(stat_field(pid, 22).expect("own start time") > 0);
    }
}
