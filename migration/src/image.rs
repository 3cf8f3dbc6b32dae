//! What a body is, apart from its pages: plain wire types, separate from every live object.

use serde::{Deserialize, Serialize};

use crate::pages::PAGE;
pub use crate::sys::ptrace::{Registers, RseqArea};

/// Everything of a family that travels at the freeze.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyImage {
    /// The family's first process comes first.
    pub processes: Vec<ProcessImage>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessImage {
    /// Its pid at home, which it keeps.
    pub pid: u32,
    /// `/proc/PID/comm`.
    pub command: String,
    /// The layout of its memory.
    pub layout: Layout,
    /// Addresses that the kernel keeps about the image.
    pub mm: MmFields,
    /// Signals whose action is not the default one.
    pub actions: Vec<(i32, SignalAction)>,
    /// Signals that wait for the whole process, each a `siginfo_t`.
    pub pending: Vec<Vec<u8>>,
    /// `MEMBARRIER_CMD_GET_REGISTRATIONS`.
    pub membarrier: u32,
    /// The leader comes first.
    pub threads: Vec<ThreadImage>,
}

impl ProcessImage {
    /// Whether the program has a handler for this signal.
    #[must_use]
    pub fn catches(&self, signal: i32) -> bool {
        self.actions.iter().any(|(number, action)| *number == signal && action.handler > IGNORE)
    }
}

/// The mappings of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Told")]
pub struct Layout {
    /// Sorted by address, not overlapping.
    pub vmas: Vec<Vma>,
    /// The kernel's own mappings, at which addresses they must lie.
    pub special: Vec<SpecialVma>,
}

/// A layout as a peer tells it.
#[derive(Deserialize)]
struct Told {
    vmas: Vec<Vma>,
    special: Vec<SpecialVma>,
}

impl TryFrom<Told> for Layout {
    type Error = NoMemory;

    fn try_from(Told { vmas, special }: Told) -> Result<Layout, NoMemory> {
        vmas.iter().try_for_each(|vma| check_range(vma.start, vma.end))?;
        special.iter().try_for_each(|vma| check_range(vma.start, vma.end))?;
        let apart = vmas.is_sorted_by(|before, after| before.end <= after.start);
        apart.then_some(Layout { vmas, special }).ok_or(NoMemory)
    }
}

/// A peer tells of memory that no program can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no program can have memory like this")]
pub struct NoMemory;

/// Whole pages, at least one, at addresses of programs. What has passed can be added and subtracted without a second
/// thought.
pub(crate) fn check_range(start: u64, end: u64) -> Result<(), NoMemory> {
    let whole = start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE);
    if whole && start < end && end <= ADDRESS_END { Ok(()) } else { Err(NoMemory) }
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// `PROT_*`.
    pub protection: u32,
    /// Where its content comes from when a page was never written.
    pub backing: Backing,
    /// Advice that must hold at the next node too.
    pub advice: Advice,
}

impl Vma {
    /// Its size in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// True for a mapping of no bytes, which the kernel never has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// The source of pages that the program has not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// Zeros.
    Zero,
    /// Zeros, and the mapping grows downwards.
    Stack,
    /// A file that home has mapped at the same addresses: the page is fetched from there.
    Home,
}

/// `madvise` states that are visible in the `VmFlags` of smaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// `dc`: not copied at fork.
    pub dont_fork: bool,
    /// `wf`: zeroed in the child at fork.
    pub wipe_on_fork: bool,
    /// `dd`: not dumped.
    pub dont_dump: bool,
    /// `hg`: huge pages wanted.
    pub huge: bool,
    /// `nh`: huge pages not wanted.
    pub no_huge: bool,
    /// `nr`: no swap reserved.
    pub no_reserve: bool,
    /// `lo`: locked in memory.
    pub locked: bool,
}

/// A mapping of the kernel: `[vdso]`, `[vvar]`, `[vvar_vclock]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialVma {
    /// As `/proc/PID/maps` calls it.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// The fields of `struct prctl_mm_map`, in its order, and the auxiliary vector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MmFields {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    pub auxv: Vec<u8>,
}

/// The kernel's `struct sigaction` of x86_64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAction {
    /// 0: default; 1: ignore; else the handler's address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

impl SignalAction {
    /// From the kernel's layout.
    #[must_use]
    pub fn from_bytes(raw: &[u8; 32]) -> SignalAction {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        SignalAction { handler: word(0), flags: word(8), restorer: word(16), mask: word(24) }
    }

    /// To the kernel's layout.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut raw = [0; 32];
        for (at, word) in [(0, self.handler), (8, self.flags), (16, self.restorer), (24, self.mask)] {
            raw[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        raw
    }
}

/// One thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadImage {
    /// Its thread id at home, which it keeps.
    pub tid: u32,
    /// General registers; a call that must be issued again has -512, -513 or -514 in `rax` and its number in
    /// `orig_rax`, and the kernel does it when the thread goes on.
    pub registers: Registers,
    /// The XSAVE area.
    pub xstate: Vec<u8>,
    /// Blocked signals.
    pub mask: u64,
    /// Restartable sequences.
    pub rseq: RseqArea,
    /// Robust futex list: head and length.
    pub robust: (u64, u64),
    /// Cleared and woken at the thread's end.
    pub tid_address: u64,
    /// `stack_t`: pointer, flags, size.
    pub alternate_stack: (u64, i32, u64),
    /// Signals that wait for this thread, each a `siginfo_t`.
    pub pending: Vec<Vec<u8>>,
    /// The number of its last forwarded call that is complete; 0 before the first move.
    pub calls: u64,
    /// How much of the interrupted call's timeout is left.
    pub rest: Rest,
    /// Bytes that the earlier pieces of the interrupted call have moved, if it is made in pieces.
    pub moved: u64,
    /// Signals that home has forwarded to it so far.
    pub signals: u64,
}

/// How much is left of the timeout of a call that is to be issued again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// All of it, or it has none, or it names an instant.
    #[default]
    Whole,
    /// Home's kernel keeps it in the restart block of the original thread, which `restart_syscall` goes on with.
    AtHome,
    /// So many nanoseconds.
    Left(u64),
}

/// The end of a program's addresses where the processor has the most of them.
const ADDRESS_END: u64 = 1 << 56;

/// `SIG_IGN`; `SIG_DFL` is zero.
const IGNORE: u64 = 1;

#[cfg(test)]
mod tests {
    use transport::wire;

    use super::*;

    fn told(ranges: &[(u64, u64)]) -> bool {
        let vma = |&(start, end): &(u64, u64)| Vma {
            start,
            end,
            protection: 3,
            backing: Backing::Zero,
            advice: Advice::default(),
        };
        let mut bytes = Vec::new();
        let layout = Layout { vmas: ranges.iter().map(vma).collect(), special: Vec::new() };
        wire::encode(&layout, &mut bytes).expect("a message");
        wire::decode::<Layout>(&bytes).is_ok()
    }

    #[test]
    fn a_peer_cannot_tell_of_mappings_that_cannot_be() {
        assert!(told(&[]) && told(&[(0x1000, 0x3000), (0x3000, 0x4000)]));
        let end = ADDRESS_END;
        for bad in
            [(0x2000, 0x1000), (0x1000, 0x1000), (0x1000, 0x1800), (0x1800, 0x3000), (0x1000, end + PAGE)]
        {
            assert!(!told(&[bad]), "{bad:x?}");
        }
        assert!(!told(&[(0x3000, 0x4000), (0x1000, 0x2000)]));
        assert!(!told(&[(0x1000, 0x3000), (0x2000, 0x4000)]));
    }
}
