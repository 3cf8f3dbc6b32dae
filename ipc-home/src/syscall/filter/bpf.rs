//! Classic BPF: the few instructions a seccomp filter needs, and a search tree over ranges of numbers.

/// One instruction, laid out as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Loads a 32-bit word of `struct seccomp_data` into the accumulator.
pub(super) const fn load(offset: u32) -> Instruction {
    Instruction { code: LD_W_ABS, jt: 0, jf: 0, k: offset }
}

/// Ends the filter with an action.
pub(super) const fn return_value(k: u32) -> Instruction {
    Instruction { code: RET_K, jt: 0, jf: 0, k }
}

/// Skips `count` instructions.
pub(super) const fn skip(count: u32) -> Instruction {
    Instruction { code: JA, jt: 0, jf: 0, k: count }
}

/// Skips `count` instructions if the accumulator is `k`.
pub(super) const fn skip_if_equal(k: u32, count: u8) -> Instruction {
    Instruction { code: JEQ_K, jt: count, jf: 0, k }
}

/// Skips `count` instructions unless the accumulator is `k`.
pub(super) const fn skip_unless_equal(k: u32, count: u8) -> Instruction {
    Instruction { code: JEQ_K, jt: 0, jf: count, k }
}

/// Skips `count` instructions if the accumulator is below `k`.
pub(super) const fn skip_if_below(k: u32, count: u8) -> Instruction {
    Instruction { code: JGE_K, jt: 0, jf: count, k }
}

/// Clears every bit of the accumulator that is not in `mask`.
pub(super) const fn keep(mask: u32) -> Instruction {
    Instruction { code: AND_K, jt: 0, jf: 0, k: mask }
}

/// In a leaf of [`by_range`]: goes on behind the whole tree, once [`land`] has seen the code.
pub(super) const LEAVE: Instruction = skip(u32::MAX);

/// Lets every [`LEAVE`] jump to the instruction behind the code.
pub(super) fn land(mut code: Vec<Instruction>) -> Vec<Instruction> {
    let end = length(&code);
    for (at, instruction) in (0..).zip(&mut code) {
        if *instruction == LEAVE {
            *instruction = skip(end - at - 1);
        }
    }
    code
}

/// A balanced search for the run that holds the accumulator; each run is its first number and what its leaf is made
/// of, the last run has no end.
pub(super) fn by_range<T: Copy>(
    runs: &[(u32, T)],
    leaf: impl Fn(T) -> Vec<Instruction> + Copy,
) -> Vec<Instruction> {
    if let [(_, only)] = runs {
        return leaf(*only);
    }
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let below = by_range(lower, leaf);
    let mut code = match u8::try_from(below.len()) {
        Ok(count) => vec![Instruction { code: JGE_K, jt: count, jf: 0, k: upper[0].0 }],
        Err(_) => vec![skip_if_below(upper[0].0, 1), skip(length(&below))],
    };
    code.extend(below);
    code.extend(by_range(upper, leaf));
    code
}

fn length(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).expect("a filter has at most 4096 instructions")
}

pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const RET_K: u16 = 0x06;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ_K: u16 = 0x15;
pub(super) const JGE_K: u16 = 0x35;
pub(super) const AND_K: u16 = 0x54;
