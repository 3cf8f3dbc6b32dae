//! The mappings of a process as a wire type, and the reasons for which a mapping cannot move.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use crate::image::{Advice, Backing, Layout, SpecialVma, Vma};
use crate::procfs::{self, MapLine};
use crate::scratch;

/// A mapping that ties the process to its node, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The mapping, as `/proc/PID/maps` names it.
    pub mapping: String,
    /// Why it cannot move.
    pub reason: &'static str,
}

impl std::fmt::Display for Tie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.mapping, self.reason)
    }
}

/// On which side a process is read: at home files are files, at a guest they are watched anonymous memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// A process as its program made it.
    Home,
    /// The same while homing tracks its writes.
    HomeTracked,
    /// A body; homing's own mappings in it are left out.
    Guest {
        /// The code page and the arena.
        own: Vec<Range<u64>>,
    },
}

/// Reads the layout, and every reason against moving it.
///
/// # Errors
/// When `/proc/PID` cannot be read.
pub fn read(pid: u32, side: &Side) -> io::Result<(Layout, Vec<Tie>)> {
    let flags = procfs::vm_flags(pid)?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut layout = Layout::default();
    let mut ties = Vec::new();
    for map in procfs::maps(pid)? {
        if map.name == "[vsyscall]" {
            continue;
        }
        if map.is_special() {
            layout.special.push(SpecialVma { name: map.name, start: map.start, end: map.end });
            continue;
        }
        let homings_own = match side {
            Side::Home | Side::HomeTracked => scratch::is_left_behind(&map, &memory),
            Side::Guest { own } => own.iter().any(|range| range.contains(&map.start)),
        };
        if homings_own {
            continue;
        }
        let vma = classify(&map, &flags, side, &mut ties);
        layout.vmas.push(vma);
    }
    Ok((layout, ties))
}

fn classify(map: &MapLine, flags: &HashMap<u64, Vec<String>>, side: &Side, ties: &mut Vec<Tie>) -> Vma {
    let none = Vec::new();
    let flags = flags.get(&map.start).unwrap_or(&none);
    let has = |flag: &str| flags.iter().any(|found| found == flag);
    let mut tie = |reason| {
        let range = format!("{:x}-{:x}", map.start, map.end);
        let mapping = if map.name.is_empty() { range } else { format!("{range} {}", map.name) };
        ties.push(Tie { mapping, reason });
    };
    if has("sh") && !is_published_only(&map.name) {
        tie("writable memory shared with other processes or with a file");
    } else if has("io") || has("pf") {
        tie("memory of a device");
    } else if has("ht") {
        tie("huge pages of a hugetlb pool");
    } else if (has("um") || has("uw") && *side == Side::Home) && !matches!(side, Side::Guest { .. }) {
        tie("watched by the program's own userfaultfd");
    }
    let from_home = match side {
        Side::Home | Side::HomeTracked => map.inode != 0,
        Side::Guest { .. } => has("um"),
    };
    let backing = if from_home {
        Backing::Home
    } else if has("gd") {
        Backing::Stack
    } else {
        Backing::Zero
    };
    Vma {
        start: map.start,
        end: map.end,
        protection: map.protection,
        backing,
        advice: Advice {
            dont_fork: has("dc"),
            wipe_on_fork: has("wf"),
            dont_dump: has("dd"),
            huge: has("hg"),
            no_huge: has("nh"),
            no_reserve: has("nr"),
            locked: has("lo"),
        },
    }
}

/// A writable file mapping whose only purpose is to be looked at from outside: the performance counters of a Java VM
/// (`jps`, `jstat`). It moves like any file mapping; observers see the counters of the last stay at home.
fn is_published_only(name: &str) -> bool {
    name.contains("/hsperfdata_")
}

/// An address at which `bytes` are free in the layout and likely to stay so: the same one is then used at every node.
#[must_use]
pub fn free_range(layout: &Layout, bytes: u64) -> Option<u64> {
    free_range_beside(layout, &(0..0), bytes)
}

/// The same, with a range left out that is not in the layout.
#[must_use]
pub(crate) fn free_range_beside(layout: &Layout, taken: &Range<u64>, bytes: u64) -> Option<u64> {
    (0..CANDIDATES).map(|n| FIRST_CANDIDATE + n * CANDIDATE_STEP).find(|start| {
        let end = start + bytes;
        let is_free = |from: u64, to: u64| to <= *start || end <= from;
        is_free(taken.start, taken.end)
            && layout.vmas.iter().all(|vma| is_free(vma.start, vma.end))
            && layout.special.iter().all(|vma| is_free(vma.start, vma.end))
    })
}

/// Below the kernel's mmap area, above every heap and static program: ordinary programs map nothing here.
const FIRST_CANDIDATE: u64 = 0x1234_0000_0000;
const CANDIDATE_STEP: u64 = 0x40_0000_0000;
const CANDIDATES: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ties_of(name: &str) -> Vec<Tie> {
        let map = MapLine {
            start: 0x1000,
            end: 0x2000,
            protection: 3,
            shared: true,
            offset: 0,
            device: String::new(),
            inode: 7,
            name: name.to_owned(),
        };
        let flags = HashMap::from([(0x1000, vec!["sh".to_owned()])]);
        let mut ties = Vec::new();
        let vma = classify(&map, &flags, &Side::Home, &mut ties);
        assert_eq!(vma.backing, Backing::Home);
        ties
    }

    #[test]
    fn writable_shared_memory_holds_a_process_and_a_java_machines_counters_do_not() {
        assert_eq!(ties_of("/dev/zero (deleted)").len(), 1);
        assert_eq!(ties_of("/tmp/data").len(), 1);
        assert_eq!(ties_of("/tmp/hsperfdata_root/13935"), []);
    }
}
