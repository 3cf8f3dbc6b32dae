//! Where threads must not be stopped for a move: inside of the kernel's own code in the program, the vdso.
//!
//! A clock is read there from a page whose place depends on the machine: in a time namespace, where bodies live, the
//! page that was at its place has the namespace's offsets, and the time is one page further. A thread that has looked
//! for the page in a time namespace and goes on without one reads where nothing is, and dies of SIGBUS (measured: a
//! program that only reads clocks does so on nearly every return); one that has read the time here and adds the offset
//! there leaps by the distance of two machines' clocks. So such a thread of a body is let go on step by step until it
//! is out, which takes less than a microsecond of its own time.
//!
//! The other way, from a machine's own clocks into a time namespace, is safe but for two instructions of `time`: the
//! kernel marks the namespace's page as being written, so that the vdso looks again. So a signal frame inside of the
//! vdso, which nothing can step out of, is kept from bodies only; and at home a thread is only stopped anew until it is
//! met elsewhere. It is not stepped there: the trap flag outlives the tracer, and a program whose warden is killed behind
//! a step dies of SIGTRAP (measured).

use std::fs;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use crate::image::SpecialVma;
use crate::landing::SYSCALL;
use crate::pages::PAGE_BYTES;
use crate::procfs;
use crate::sys::ptrace::Registers;

/// Where a process has its vdso.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdso(Range<u64>);

impl Vdso {
    /// Of a running program, from its auxiliary vector: reading its mappings takes a hundred times as long.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(pid: u32) -> io::Result<Vdso> {
        let vector = fs::read(format!("/proc/{pid}/auxv"))?;
        let words =
            vector.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        let words: Vec<u64> = words.collect();
        let entry = words.chunks_exact(2).find(|entry| entry[0] == libc::AT_SYSINFO_EHDR);
        Ok(Vdso::at(entry.map_or(0, |entry| entry[1])))
    }

    /// Of a program with these mappings of the kernel.
    #[must_use]
    pub fn among(special: &[SpecialVma]) -> Vdso {
        Vdso::at(special.iter().find(|vma| vma.name == NAME).map_or(0, |vma| vma.start))
    }

    fn at(start: u64) -> Vdso {
        let zeros = CODE.iter().rev().take_while(|byte| **byte == 0).count();
        let length = if start == 0 { 0 } else { CODE.len() - zeros };
        Vdso(start..start + length as u64)
    }

    /// Where a `syscall` instruction stands in it.
    #[must_use]
    pub fn syscall(&self) -> Option<u64> {
        let at = CODE.windows(SYSCALL.len()).position(|bytes| bytes == SYSCALL)?;
        (!self.0.is_empty()).then_some(self.0.start + at as u64)
    }

    /// Whether a thread with these registers is in the middle of it. One that makes a system call there is not: what
    /// it goes on with is the call's result.
    #[must_use]
    pub fn holds(&self, registers: &Registers) -> bool {
        let in_call = registers.orig_rax.cast_signed() >= 0;
        if in_call || !self.0.contains(&registers.rip) {
            return false;
        }
        let at = usize::try_from(registers.rip - self.0.start).unwrap_or(0);
        !CODE[at..].starts_with(&SYSCALL)
    }
}

/// What stands in the last page of it, in a program that homing has not touched.
///
/// # Errors
/// When this process cannot read its own.
pub(crate) fn last_page() -> io::Result<&'static [u8]> {
    let start = CODE.len().checked_sub(PAGE_BYTES);
    start.map(|start| &CODE[start..]).ok_or_else(|| io::Error::other("the vdso cannot be read"))
}

/// This machine's vdso, which is the same in every program of the machine.
static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| read_own().unwrap_or_default());

fn read_own() -> io::Result<Vec<u8>> {
    let pid = std::process::id();
    let Some(map) = procfs::maps(pid)?.into_iter().find(|map| map.name == NAME) else {
        return Ok(Vec::new());
    };
    let mut code = vec![0; usize::try_from(map.end - map.start).unwrap_or(0)];
    File::open("/proc/self/mem")?.read_exact_at(&mut code, map.start)?;
    Ok(code)
}

/// As `/proc/PID/maps` calls it.
pub(crate) const NAME: &str = "[vdso]";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sys::ptrace::NO_CALL;

    #[test]
    fn a_thread_is_inside_unless_it_makes_a_call() {
        let own = Vdso::of(std::process::id()).unwrap();
        let start = own.0.start;
        let call = own.syscall().unwrap() - start;
        let standing = |rip, orig_rax| own.holds(&Registers { rip, orig_rax, ..Registers::default() });
        assert!(standing(start, NO_CALL));
        assert!(standing(own.0.end - 1, NO_CALL));
        assert!(own.0.end - start < CODE.len() as u64, "there is room behind the code");
        assert!(!standing(start - 1, NO_CALL));
        assert!(!standing(own.0.end, NO_CALL));
        assert!(!standing(start + call, NO_CALL));
        assert!(!standing(start + call + 2, 228));
    }

    #[test]
    fn both_ways_find_the_same_place() {
        let pid = std::process::id();
        let map = procfs::maps(pid).unwrap().into_iter().find(|map| map.name == NAME).unwrap();
        let special = [SpecialVma { name: map.name, start: map.start, end: map.end }];
        assert_eq!(Vdso::among(&special), Vdso::of(pid).unwrap());
        assert_eq!(Vdso::among(&special).0.start, map.start);
        assert!(!Vdso::among(&[]).holds(&Registers { orig_rax: NO_CALL, ..Registers::default() }));
    }
}
