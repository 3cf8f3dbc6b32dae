//! What keeps a whole process from being moved, besides its mappings; looked up without stopping it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use crate::foothold::SLOTS_MAX;
use crate::procfs;

/// Every reason, each with what to do about it.
///
/// # Errors
/// When `/proc/PID` cannot be read: the process is gone.
pub fn holds(pid: u32) -> io::Result<Vec<String>> {
    let task = pid.to_string();
    let mut holds = Vec::new();
    let tracer = procfs::status_value(&task, "TracerPid")?;
    if tracer != "0" {
        let name = tracer.parse().ok().and_then(|tracer| procfs::command(tracer).ok()).unwrap_or_default();
        holds.push(format!("it is traced by process {tracer} ({name}); let go of it there"));
    }
    if procfs::state(&task)? == 'T' {
        holds.push(format!("it is stopped; let it go on first: kill -CONT {pid}"));
    }
    if procfs::status_value(&task, "Seccomp")? != "0" {
        holds.push("it has a seccomp filter of its own; start it without its sandbox".to_owned());
    }
    if is_32_bit(pid) {
        holds.push("it is a 32-bit program; only 64-bit ones can be moved".to_owned());
    }
    let threads = procfs::threads(pid)?;
    if threads.len() > SLOTS_MAX as usize {
        let count = threads.len();
        holds.push(format!("it has {count} threads; no more than {SLOTS_MAX} can be moved"));
    }
    for tid in threads {
        if waits_for_vfork(pid, tid) {
            holds.push(format!("its thread {tid} {IN_VFORK}"));
        }
    }
    if let Some(what) = asynchronous_io(pid) {
        holds.push(format!("it uses {what}, whose requests the kernel keeps; start it without"));
    }
    Ok(holds)
}

/// Whether a hold is one that mostly lasts a millisecond.
#[must_use]
pub fn is_passing(hold: &str) -> bool {
    hold.ends_with(IN_VFORK)
}

const IN_VFORK: &str = "waits until a child of vfork(2) has started its program; try again then";

/// From the class in the header of its executable.
fn is_32_bit(pid: u32) -> bool {
    let mut class = [0];
    let read =
        File::open(format!("/proc/{pid}/exe")).and_then(|file| file.read_exact_at(&mut class, CLASS_AT));
    read.is_ok() && class == [CLASS_32]
}

fn waits_for_vfork(pid: u32, tid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).unwrap_or_default();
    let mut words = text.split_whitespace();
    let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
    let first = words.next().and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let has_flag = |flags: u64| flags & libc::CLONE_VFORK as u64 != 0;
    match (number, first) {
        (Some(libc::SYS_vfork), _) => true,
        (Some(libc::SYS_clone), Some(flags)) => has_flag(flags),
        // Its flags are the first word of a structure.
        (Some(libc::SYS_clone3), Some(addr)) => {
            let mut flags = [0; 8];
            let memory = File::open(format!("/proc/{pid}/mem"));
            memory.and_then(|memory| memory.read_exact_at(&mut flags, addr)).is_ok()
                && has_flag(u64::from_le_bytes(flags))
        }
        _ => false,
    }
}

fn asynchronous_io(pid: u32) -> Option<&'static str> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_ring = |path: io::Result<std::path::PathBuf>| {
        path.is_ok_and(|path| path.as_os_str() == "anon_inode:[io_uring]")
    };
    if links.map(|entry| fs::read_link(entry.path())).any(is_ring) {
        return Some("io_uring");
    }
    let maps = procfs::maps(pid).unwrap_or_default();
    maps.iter().find_map(|map| match map.name.as_str() {
        "anon_inode:[io_uring]" => Some("io_uring"),
        "/[aio] (deleted)" | "/[aio]" => Some("asynchronous I/O (io_setup)"),
        _ => None,
    })
}

/// `EI_CLASS` of an ELF header and its value for 32 bits.
const CLASS_AT: u64 = 4;
const CLASS_32: u8 = 1;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// Until `wanted` is among the reasons, which may take the program a moment.
    fn held(child: &mut Child, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = holds(child.id()).expect("a process that is there");
            if found.iter().any(|reason| reason.contains(wanted)) {
                break;
            }
            assert!(Instant::now() < deadline, "{wanted} is not in {found:?}");
            std::thread::yield_now();
        }
        child.kill().expect("an end");
        child.wait().expect("its end");
    }

    fn perl(script: &str) -> Child {
        Command::new("perl").args(["-e", script]).stdin(Stdio::null()).spawn().expect("perl")
    }

    #[test]
    fn an_ordinary_process_is_not_held() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep");
        let found = holds(sleeper.id()).expect("a process that is there");
        sleeper.kill().expect("an end");
        sleeper.wait().expect("its end");
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_stopped_process_is_held() {
        held(&mut perl("kill 'STOP', $$; sleep 60"), "kill -CONT");
    }

    #[test]
    fn a_filtered_process_is_held() {
        // prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT): it may still read.
        held(&mut perl("syscall(157, 22, 1, 0, 0, 0); sysread(STDIN, $_, 1) while 1"), "seccomp");
    }

    #[test]
    fn a_ring_is_found() {
        let script = "my $p = \"\\0\" x 120; syscall(425, 4, $p) >= 0 or exec 'sleep', '0'; sleep 60";
        let mut child = perl(script);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if holds(child.id()).is_ok_and(|found| found.iter().any(|reason| reason.contains("io_uring"))) {
                break;
            }
            if child.try_wait().expect("a status").is_some() {
                println!("this kernel has no io_uring");
                return;
            }
            assert!(Instant::now() < deadline, "a ring was not found");
            std::thread::yield_now();
        }
        child.kill().expect("an end");
        child.wait().expect("its end");
    }

    #[test]
    fn a_parent_of_a_vfork_child_is_held() {
        // vfork(2) in perl would return into the parent's frames; clone(CLONE_VFORK) with memory of its own does not.
        // The child dies with its parent (PR_SET_PDEATHSIG), also if that is dead by then.
        let mut parent = perl(
            "my $parent = $$; my $child = syscall(56, 0x4000 | 17, 0, 0, 0, 0);
             if ($child == 0) { syscall(157, 1, 9, 0, 0, 0); exit if getppid() != $parent } sleep 60",
        );
        held(&mut parent, "vfork");
    }
}
