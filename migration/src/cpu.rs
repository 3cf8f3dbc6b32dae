//! Which processor features a body may have come to depend on.

use serde::{Deserialize, Serialize};

/// What a body needs from a processor.
///
/// A program chooses its instructions once, at start (IFUNCs, JIT compilers), so a node must offer every feature
/// of the node where the program started, and its XSAVE area must hold every state component in use there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuNeeds {
    /// The `flags` line of `/proc/cpuinfo`, sorted.
    pub flags: Vec<String>,
    /// Size of the XSAVE area in bytes, as `PTRACE_GETREGSET(NT_X86_XSTATE)` returns it.
    pub xsave_bytes: u32,
    /// State components enabled by the kernel (XCR0).
    pub xfeatures: u64,
}
