//! Whether a node takes a body: asked before anything is frozen.

use std::collections::BTreeSet;

use migration::cpu::CpuNeeds;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::api::Reason;
use crate::exit::ExitCode;
use crate::warden::control::Needs;

/// What a node has for bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Its processor.
    pub cpu: CpuNeeds,
    /// Memory that programs could still get, in bytes.
    pub memory_free_bytes: u64,
    /// Families that it holds already.
    pub families: usize,
    /// Whether it takes processes of uid 0.
    pub allow_root: bool,
}

/// What a node keeps back from guests, as its agent was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// Processor features that it does not offer, as in `/proc/cpuinfo`.
    pub cpu_flags: Vec<String>,
    /// What bodies may have in all, in bytes; without it, all that is free.
    pub guest_memory_bytes: Option<u64>,
}

impl Reserve {
    /// What is left of `all` for one more body where bodies have `guests_bytes` already.
    #[must_use]
    pub fn offered(&self, mut all: Capacity, guests_bytes: u64) -> Capacity {
        all.cpu.flags.retain(|flag| !self.cpu_flags.contains(flag));
        if let Some(limit_bytes) = self.guest_memory_bytes {
            let left_bytes = limit_bytes.saturating_sub(guests_bytes);
            // What a body needs besides its own memory is not a guest's.
            let offered_bytes = left_bytes.saturating_add(MEMORY_SPARE_BYTES);
            all.memory_free_bytes = all.memory_free_bytes.min(offered_bytes);
        }
        all
    }
}

/// Compares what a body needs with what a node has; empty if the node takes it.
#[must_use]
pub fn check(needs: &Needs, capacity: &Capacity) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if needs.uid == 0 && !capacity.allow_root {
        refusals.push(Refusal::Root);
    }
    let has: BTreeSet<&String> = capacity.cpu.flags.iter().collect();
    let missing: Vec<String> = needs.cpu.flags.iter().filter(|flag| !has.contains(flag)).cloned().collect();
    if !missing.is_empty() {
        refusals.push(Refusal::CpuFlags { missing });
    }
    let unknown_state = needs.cpu.xfeatures & !capacity.cpu.xfeatures;
    if unknown_state != 0 {
        refusals.push(Refusal::CpuState { components: unknown_state });
    }
    if needs.cpu.xsave_bytes > capacity.cpu.xsave_bytes {
        let (needs_bytes, has_bytes) = (needs.cpu.xsave_bytes, capacity.cpu.xsave_bytes);
        refusals.push(Refusal::CpuStateSize { needs_bytes, has_bytes });
    }
    let needs_bytes = needs.memory_bytes.saturating_add(MEMORY_SPARE_BYTES);
    if capacity.memory_free_bytes < needs_bytes {
        refusals.push(Refusal::Memory { needs_bytes, free_bytes: capacity.memory_free_bytes });
    }
    if capacity.families >= FAMILIES_MAX {
        refusals.push(Refusal::Families);
    }
    if needs.threads > THREADS_MAX {
        refusals.push(Refusal::Threads { threads: needs.threads });
    }
    refusals
}

/// Why a node does not take a body.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// Only its home may offer a process.
    #[error("the offer does not come from the home of the process")]
    NotHome,
    /// The process belongs to uid 0.
    #[error("it takes no processes of uid 0")]
    Root,
    /// Instructions are missing.
    #[error("its processor lacks {}", listed(missing))]
    CpuFlags {
        /// As in `/proc/cpuinfo`.
        missing: Vec<String>,
    },
    /// Register state has no place.
    #[error("its processor does not keep the state components {components:#x} that the program may use")]
    CpuState {
        /// Bits of XCR0.
        components: u64,
    },
    /// Register state is too large.
    #[error("its XSAVE area holds {has_bytes} bytes, the program's has {needs_bytes}")]
    CpuStateSize {
        /// Of the program.
        needs_bytes: u32,
        /// Of the node.
        has_bytes: u32,
    },
    /// Too little memory.
    #[error("it has {} free, the program needs {}", mib(*free_bytes), mib(*needs_bytes))]
    Memory {
        /// With something to spare.
        needs_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
    /// It is full.
    #[error("it holds {FAMILIES_MAX} families, its limit")]
    Families,
    /// The family is too large.
    #[error("the program has {threads} threads, more than the {THREADS_MAX} that may move")]
    Threads {
        /// How many.
        threads: u32,
    },
    /// It does not answer.
    #[error("it does not answer: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// It speaks another version.
    #[error("it speaks another version: {reason}")]
    Version {
        /// Which, and which is ours.
        reason: String,
    },
    /// Its warden did not start.
    #[error("its warden did not start: {reason}")]
    Warden {
        /// Why.
        reason: String,
    },
}

impl Refusal {
    /// How a `move` ends that this refuses.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        match self {
            Refusal::Root => ExitCode::NotAllowed,
            Refusal::Version { .. } => ExitCode::Version,
            Refusal::Warden { .. } => ExitCode::Failed,
            _ => ExitCode::Refused,
        }
    }

    /// With what would change it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let fix = match self {
            Refusal::Root => Some("start its agent with --allow-root, or run the program as another user"),
            Refusal::CpuFlags { .. } | Refusal::CpuState { .. } | Refusal::CpuStateSize { .. } => {
                Some("choose a node with the same or a newer processor")
            }
            Refusal::Memory { .. } | Refusal::Families => Some("free something there or choose another node"),
            Refusal::NotHome | Refusal::Threads { .. } => None,
            Refusal::Unreachable { .. } => Some("see whether its agent runs: homing nodes"),
            Refusal::Version { .. } => Some("install the same version on both nodes"),
            Refusal::Warden { .. } => Some("run `homing doctor` there"),
        };
        Reason { text: self.to_string(), fix: fix.map(Into::into) }
    }
}

fn listed(flags: &[String]) -> String {
    let shown = flags.iter().take(FLAGS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match flags.len().saturating_sub(FLAGS_SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more features"),
    }
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// What must stay free besides the body: its warden, its page tables and what the node itself needs.
pub const MEMORY_SPARE_BYTES: u64 = 64 << 20;

/// Families that a node holds at most.
pub const FAMILIES_MAX: usize = 1024;

/// Threads that a family may have.
pub const THREADS_MAX: u32 = 4096;

const FLAGS_SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(flags: &[&str], xsave_bytes: u32, xfeatures: u64) -> CpuNeeds {
        CpuNeeds { flags: flags.iter().map(|&flag| flag.into()).collect(), xsave_bytes, xfeatures }
    }

    fn needs() -> Needs {
        let cpu = cpu(&["avx", "sse"], 832, 7);
        Needs { memory_bytes: 100 << 20, processes: 1, threads: 2, uid: 1000, cpu }
    }

    fn capacity() -> Capacity {
        let cpu = cpu(&["sse", "avx", "avx2"], 2432, 0xe7);
        Capacity { cpu, memory_free_bytes: 164 << 20, families: 0, allow_root: false }
    }

    #[test]
    fn a_node_that_has_all_takes_it() {
        assert_eq!(check(&needs(), &capacity()), []);
        let root = Needs { uid: 0, ..needs() };
        assert_eq!(check(&root, &Capacity { allow_root: true, ..capacity() }), []);
    }

    #[test]
    fn each_lack_is_named_and_has_its_exit_code() {
        let check = |needs: Needs, capacity: Capacity| match check(&needs, &capacity).as_slice() {
            [one] => (one.code(), one.to_string()),
            other => panic!("{other:?}"),
        };
        let (code, text) = check(Needs { uid: 0, ..needs() }, capacity());
        assert_eq!((code, text.as_str()), (ExitCode::NotAllowed, "it takes no processes of uid 0"));
        let (code, text) = check(Needs { cpu: cpu(&["amx_tile"], 0, 0), ..needs() }, capacity());
        assert_eq!((code, text.as_str()), (ExitCode::Refused, "its processor lacks amx_tile"));
        let (code, text) = check(Needs { cpu: cpu(&[], 0, 0x2_0000), ..needs() }, capacity());
        assert!(code == ExitCode::Refused && text.contains("0x20000"), "{text}");
        let (code, text) = check(Needs { cpu: cpu(&[], 11_008, 0), ..needs() }, capacity());
        assert!(code == ExitCode::Refused && text.contains("11008"), "{text}");
        let (code, text) = check(Needs { memory_bytes: (100 << 20) + 1, ..needs() }, capacity());
        assert_eq!(
            (code, text.as_str()),
            (ExitCode::Refused, "it has 164 MiB free, the program needs 165 MiB")
        );
        let (code, _) = check(Needs { threads: 4097, ..needs() }, capacity());
        assert_eq!(code, ExitCode::Refused);
        let (code, _) = check(needs(), Capacity { families: FAMILIES_MAX, ..capacity() });
        assert_eq!(code, ExitCode::Refused);
    }

    #[test]
    fn what_is_kept_back_is_not_offered() {
        let keep = |cpu_flags: &[&str], guest_memory_bytes| Reserve {
            cpu_flags: cpu_flags.iter().map(|&flag| flag.into()).collect(),
            guest_memory_bytes,
        };
        let offered =
            |reserve: Reserve, guests_bytes| check(&needs(), &reserve.offered(capacity(), guests_bytes));
        assert_eq!(offered(keep(&[], None), u64::MAX), []);
        assert_eq!(offered(keep(&["avx2", "amx_tile"], Some(100 << 20)), 0), []);
        let missing = vec!["avx".to_owned()];
        assert_eq!(offered(keep(&["avx"], None), 0), [Refusal::CpuFlags { missing }]);
        for (limit_bytes, guests_bytes) in [(99 << 20, 0), (150 << 20, 51 << 20), (0, u64::MAX)] {
            let refusals = offered(keep(&[], Some(limit_bytes)), guests_bytes);
            assert!(matches!(refusals.as_slice(), [Refusal::Memory { .. }]), "{refusals:?}");
        }
    }

    #[test]
    fn a_hostile_need_does_not_overflow() {
        let all = Needs { memory_bytes: u64::MAX, ..needs() };
        assert!(matches!(check(&all, &capacity()).as_slice(), [Refusal::Memory { .. }]));
    }
}
