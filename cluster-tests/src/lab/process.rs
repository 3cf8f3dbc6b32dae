//! What `/proc` says about processes of nodes, from this process's own pid namespace.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::iter::Sum;
use std::ops::Add;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::LabError;

/// What a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// CPU time of all threads.
    pub own: Ticks,
    /// CPU time of its children that have ended and been waited for, and of theirs.
    pub reaped: Ticks,
}

/// CPU time in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
}

impl Ticks {
    /// In user mode and in the kernel.
    #[must_use]
    pub fn all(self) -> u64 {
        self.user + self.system
    }

    /// What was gained since `before`; nothing where what was counted then is gone.
    #[must_use]
    pub fn since(self, before: Ticks) -> Ticks {
        Ticks {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

impl Add for Ticks {
    type Output = Ticks;

    fn add(self, other: Ticks) -> Ticks {
        Ticks { user: self.user + other.user, system: self.system + other.system }
    }
}

impl Sum for Ticks {
    fn sum<I: Iterator<Item = Ticks>>(all: I) -> Ticks {
        all.fold(Ticks::default(), Add::add)
    }
}

/// Reads the usage of a process by its number here.
///
/// # Errors
/// [`LabError::Process`] when it is gone.
pub fn usage(pid: u32) -> Result<Usage, LabError> {
    let failed = |source| LabError::Process { pid, source };
    let stat = Stat::read(pid).map_err(failed)?;
    let ticks = |field| {
        let ticks = stat.field(field).and_then(|ticks| ticks.parse().ok());
        ticks.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    };
    let own = Ticks { user: ticks(USER_TICKS)?, system: ticks(SYSTEM_TICKS)? };
    let reaped = Ticks { user: ticks(REAPED_USER_TICKS)?, system: ticks(REAPED_SYSTEM_TICKS)? };
    let resident_kib = status_field(pid, "VmRSS:").map_err(failed)?;
    // A zombie has no memory and no such line.
    let resident_kib = resident_kib.first().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    Ok(Usage { resident_kib, own, reaped })
}

/// CPU time of process `leader` and of all that it has started.
pub(super) fn descendants_ticks(leader: u32) -> Ticks {
    let stats = all_processes().into_iter().filter_map(|pid| Some((pid, Stat::read(pid).ok()?.parent()?)));
    let stats: Vec<(u32, u32)> = stats.collect();
    let mut family = vec![leader];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(stats.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    family.into_iter().filter_map(|pid| usage(pid).ok()).map(|usage| usage.own + usage.reaped).sum()
}

/// CPU time of all processes that have ever been in the pid namespace of process `body`.
///
/// Children there whose parent does not wait for them are waited for by process 1.
pub(super) fn namespace_ticks(body: u32) -> Ticks {
    let Ok(namespace) = pid_namespace(body) else { return Ticks::default() };
    let there = all_processes().into_iter().filter(|pid| pid_namespace(*pid).is_ok_and(|of| of == namespace));
    there.filter_map(|pid| usage(pid).ok()).map(|usage| usage.own + usage.reaped).sum()
}

/// The child of process `parent` that runs a program of this name.
pub(super) fn child(parent: u32, program: &str) -> Option<u32> {
    all_processes().into_iter().find(|&pid| {
        Stat::read(pid).is_ok_and(|stat| stat.parent() == Some(parent) && stat.program() == Some(program))
    })
}

/// True when a process has ended, whether or not its parent knows it yet.
pub(super) fn has_ended(pid: u32) -> bool {
    Stat::read(pid).map_or(true, |stat| stat.field(STATE) == Some("Z"))
}

/// The number here of the process that is `pid` in the pid namespace of process `init`.
pub(super) fn outer_pid(init: u32, pid: u32) -> Option<u32> {
    let namespace = pid_namespace(init).ok()?;
    let pid_there = pid.to_string();
    all_processes().into_iter().find(|&candidate| {
        let is_there = pid_namespace(candidate).is_ok_and(|other| other == namespace);
        is_there && numbers(candidate).last() == Some(&pid_there)
    })
}

/// The number of process `pid` in the innermost pid namespace that it is in.
pub(super) fn inner_pid(pid: u32) -> Option<u32> {
    numbers(pid).last()?.parse().ok()
}

/// Processes in the pid namespace of process `init` and in those below it.
pub(super) fn below(init: u32) -> Result<Vec<u32>, LabError> {
    let own = pid_namespace(init).map_err(|source| LabError::Process { pid: init, source })?;
    // The node's own `/proc` shows its processes and those of namespaces below its own, and no others.
    let visible = PathBuf::from(format!("/proc/{init}/root/proc"));
    let seen = processes_of(&visible).into_iter();
    let mut namespaces: BTreeSet<PathBuf> =
        seen.filter_map(|pid| fs::read_link(visible.join(format!("{pid}/ns/pid"))).ok()).collect();
    namespaces.insert(own);
    let is_below = |&pid: &u32| pid_namespace(pid).is_ok_and(|namespace| namespaces.contains(&namespace));
    Ok(all_processes().into_iter().filter(is_below).collect())
}

/// Processes in pid namespaces below that of process `init`, without those that are process 1 there.
pub(super) fn inner_processes(init: u32) -> Result<Vec<u32>, LabError> {
    let own = pid_namespace(init).map_err(|source| LabError::Process { pid: init, source })?;
    let is_inner = |&pid: &u32| {
        pid_namespace(pid).is_ok_and(|namespace| namespace != own)
            && inner_pid(pid).is_some_and(|number| number != 1)
    };
    Ok(below(init)?.into_iter().filter(is_inner).collect())
}

/// True if a process stands still by SIGSTOP.
#[must_use]
pub fn is_suspended(pid: u32) -> bool {
    Stat::read(pid).is_ok_and(|stat| stat.field(STATE) == Some("T"))
}

/// Ends a process by SIGKILL, by its number here, if it is still there.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Stops a process until [`resume`], by its number here, if it is still there.
pub fn suspend(pid: u32) {
    signal(pid, Signal::STOP);
}

/// Lets a process go on, by its number here, if it is still there.
pub fn resume(pid: u32) {
    signal(pid, Signal::CONT);
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself in the meantime.
        let _ = kill_process(pid, signal);
    }
}

/// The pid namespace of a process, as the kernel names it.
pub(super) fn pid_namespace(pid: u32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
}

/// All processes that are visible here.
pub(super) fn all_processes() -> Vec<u32> {
    processes_of(Path::new("/proc"))
}

fn processes_of(proc: &Path) -> Vec<u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// `/proc/PID/stat`.
struct Stat(String);

impl Stat {
    fn read(pid: u32) -> io::Result<Stat> {
        fs::read_to_string(format!("/proc/{pid}/stat")).map(Stat)
    }

    /// A field by its number in the manual, from [`STATE`] on.
    fn field(&self, number: usize) -> Option<&str> {
        // The program's name may hold spaces and brackets; what follows its last bracket does not.
        self.0.rsplit_once(')')?.1.split_whitespace().nth(number - STATE)
    }

    fn parent(&self) -> Option<u32> {
        self.field(PARENT)?.parse().ok()
    }

    fn program(&self) -> Option<&str> {
        Some(self.0.rsplit_once(')')?.0.split_once('(')?.1)
    }
}

/// The numbers of a process, from this process's namespace inwards.
fn numbers(pid: u32) -> Vec<String> {
    status_field(pid, "NSpid:").unwrap_or_default()
}

fn status_field(pid: u32, name: &str) -> io::Result<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

const STATE: usize = 3;
const PARENT: usize = 4;
const USER_TICKS: usize = 14;
const SYSTEM_TICKS: usize = 15;
const REAPED_USER_TICKS: usize = 16;
const REAPED_SYSTEM_TICKS: usize = 17;
