//! What `/proc` tells about processes and about this machine.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use migration::cpu::CpuNeeds;
use migration::procfs;

use crate::job::program::RESOURCES;
use crate::queue::ResourceLimit;

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// In this pid namespace.
    pub pid: u32,
    /// `/proc/PID/comm`.
    pub comm: String,
    /// Real, effective and saved user.
    pub uids: [u32; 3],
    /// Processor time used so far, in clock ticks.
    pub cpu_ticks: u64,
    /// Threads.
    pub threads: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// True between its death and its parent's `wait`.
    pub zombie: bool,
    /// Kernel threads have no memory of their own and never move.
    pub kernel: bool,
}

impl Process {
    /// True if all its user ids are `uid`: only then has that user a right over it.
    #[must_use]
    pub fn belongs_to(&self, uid: u32) -> bool {
        self.uids == [uid; 3]
    }
}

/// Reads a process; `None` if there is none of this pid.
#[must_use]
pub fn process(pid: u32) -> Option<Process> {
    let stat = procfs::text(format!("/proc/{pid}/stat")).ok()?;
    let status = procfs::text(format!("/proc/{pid}/status")).ok()?;
    parse(pid, &stat, &status)
}

/// All processes of this pid namespace.
#[must_use]
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A process's command line with blanks between its arguments, or its short name if it has none.
#[must_use]
pub fn command_line(process: &Process) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let shown = &bytes[..bytes.len().min(COMMAND_BYTES_MAX)];
    let line = String::from_utf8_lossy(shown).replace('\0', " ");
    if line.trim().is_empty() { process.comm.clone() } else { line.trim_end().to_owned() }
}

/// Which network namespace a process is in, as the kernel numbers them; 0 means this agent's own process.
///
/// # Errors
/// When the process is gone or its namespace may not be seen.
pub fn network_namespace(pid: u32) -> io::Result<u64> {
    let path = if pid == 0 { "/proc/self/ns/net".into() } else { format!("/proc/{pid}/ns/net") };
    Ok(fs::metadata(path)?.ino())
}

/// The resource limits of a process, as far as they can be read.
#[must_use]
pub fn limits(pid: u32) -> Vec<ResourceLimit> {
    parse_limits(&fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default())
}

fn parse_limits(text: &str) -> Vec<ResourceLimit> {
    let value = |word: Option<&str>| match word? {
        "unlimited" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    let named = (0..).zip(RESOURCES).filter_map(|(resource, (_, name))| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace();
        Some(ResourceLimit { resource, soft: value(words.next())?, hard: value(words.next())? })
    });
    named.collect()
}

/// A number that only processes of this machine and this boot share.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The user's name, or the number if it has none here.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

/// Memory that programs could still get without swapping, in bytes.
#[must_use]
pub fn memory_free_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "MemAvailable:").map_or(0, |kib| kib.saturating_mul(1024))
}

/// What this machine's processor offers.
#[must_use]
pub fn cpu() -> CpuNeeds {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let mut flags: Vec<String> =
        line.trim_start_matches(['\t', ' ', ':']).split_whitespace().map(Into::into).collect();
    flags.sort_unstable();
    // Leaf 0xD: the state components that the processor offers, and the size of those that the kernel enabled.
    let leaf = std::arch::x86_64::__cpuid_count(0xd, 0);
    let xfeatures = u64::from(leaf.edx) << 32 | u64::from(leaf.eax);
    CpuNeeds { flags, xsave_bytes: leaf.ebx, xfeatures }
}

pub(crate) fn parse(pid: u32, stat: &str, status: &str) -> Option<Process> {
    // The name is in parentheses and may hold any character, parentheses and line ends too.
    let comm = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut uids = uids.split_whitespace().map_while(|uid| uid.parse().ok());
    let state = *fields.first()?;
    Some(Process {
        pid,
        comm: comm.to_owned(),
        uids: [uids.next()?, uids.next()?, uids.next()?],
        cpu_ticks: number(11)?.saturating_add(number(12)?),
        threads: u32::try_from(number(17)?).ok()?,
        start_ticks: number(19)?,
        rss_bytes: field(status, "VmRSS:").map_or(0, |kib| kib.saturating_mul(1024)),
        zombie: state == "Z" || state == "X",
        kernel: !status.contains("\nVmSize:") && state != "Z" && state != "X",
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Clock ticks per second in every `/proc` file, fixed for x86_64.
pub const TICKS_PER_S: u64 = 100;

/// Bytes of a command line that are shown.
const COMMAND_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) R 9 (\n) S 1 7 7 0 -1 0 1 2 3 4 50 60 0 0 20 0 3 0 12345 1000 10 0";
        let status = "Name:\tx\nUid:\t1000\t1001\t1002\t1000\nVmSize:\t9 kB\nVmRSS:\t 12 kB\n";
        let process = parse(7, stat, status).unwrap();
        assert_eq!(process.comm, "a) R 9 (\n");
        assert_eq!((process.cpu_ticks, process.threads, process.start_ticks), (110, 3, 12345));
        assert_eq!((process.rss_bytes, process.uids), (12 * 1024, [1000, 1001, 1002]));
        assert!(!process.belongs_to(1000) && !process.zombie && !process.kernel);
        assert_eq!(parse(7, "7 (a", status), None);
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_there_too() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(OsStr::from_bytes(b"\xff sleeps"));
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let found = process(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap().comm, "\u{fffd} sleeps");
    }

    #[test]
    fn this_process_is_there_and_a_wrong_pid_is_not() {
        let own = process(std::process::id()).unwrap();
        assert!(own.rss_bytes > 0 && own.threads > 0 && !own.kernel);
        assert!(command_line(&own).contains("node"));
        assert!(processes().iter().any(|process| process.pid == own.pid));
        assert_eq!(network_namespace(own.pid).unwrap(), network_namespace(0).unwrap());
        assert_eq!(process(u32::MAX), None);
    }

    #[test]
    fn limits_are_those_of_the_kernel() {
        let own = limits(std::process::id());
        assert_eq!(own.len(), RESOURCES.len(), "{own:?}");
        for (limit, (resource, name)) in own.iter().zip(RESOURCES) {
            let known = rustix::process::getrlimit(resource);
            assert_eq!((limit.soft, limit.hard), (known.current, known.maximum), "{name}");
        }
    }

    #[test]
    fn the_machine_is_known() {
        let cpu = cpu();
        assert!(cpu.flags.iter().any(|flag| flag == "sse2") && cpu.xsave_bytes >= 512);
        assert!(memory_free_bytes() > 0 && !boot_id().is_empty());
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "3999999999");
    }
}
