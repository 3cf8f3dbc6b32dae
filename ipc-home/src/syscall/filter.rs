//! The seccomp filter of a body, generated from the table.
//!
//! ```text
//! architecture? ─other─> kill                  x32 bit? ─set─> kill (number -1: ENOSYS, as the kernel says)
//! allowed by its number? ─yes─> allow          nothing but the number was looked at: the kernel caches this
//! by number: allow, notify or trace; three calls look at an argument as well
//! ```
//! No address is exempt. Calls that homing itself makes in a body are made while its tracer suspends the filter for the
//! one thread that it holds; the body cannot.

use super::classify::{Gate, Trap, gate};
use super::table::{NR_END, row};
use super::vocabulary::Class;

mod bpf;

pub use bpf::Instruction;
use bpf::{LEAVE, by_range, keep, land, load, return_value, skip_if_below, skip_if_equal, skip_unless_equal};

/// The filter for a body.
///
/// A trace action carries the call's number as its data.
#[must_use]
pub fn filter() -> Vec<Instruction> {
    let mut code = guard().to_vec();
    let first =
        by_range(
            &runs(allowed_by_number),
            |allowed| {
                if allowed { vec![return_value(RET_ALLOW)] } else { vec![LEAVE] }
            },
        );
    code.extend(land(first));
    code.extend(by_range(&runs(further), |(gate, nr)| act(gate, nr)));
    code
}

/// Kills on another architecture and on x32 numbers; leaves the number in the accumulator.
fn guard() -> [Instruction; 8] {
    [
        load(OFFSET_ARCH),
        skip_if_equal(AUDIT_ARCH_X86_64, 1),
        return_value(RET_KILL_PROCESS),
        load(OFFSET_NR),
        skip_if_below(X32_BIT, 3),
        skip_unless_equal(u32::MAX, 1),
        return_value(RET_ERRNO | ENOSYS),
        return_value(RET_KILL_PROCESS),
    ]
}

fn act(gate: Gate, nr: u32) -> Vec<Instruction> {
    match gate {
        Gate::Number(trap) => vec![action(trap, nr)],
        Gate::Bits { arg, mask, value, equal, other } => {
            vec![
                load(low_half(arg)),
                keep(mask),
                skip_unless_equal(value, 1),
                action(equal, nr),
                action(other, nr),
            ]
        }
    }
}

fn action(trap: Trap, nr: u32) -> Instruction {
    return_value(match trap {
        Trap::Allow => RET_ALLOW,
        Trap::Notify => RET_USER_NOTIF,
        Trap::Trace => RET_TRACE | nr & RET_DATA,
    })
}

/// Neighbouring numbers of equal meaning in one run; the last run reaches to the end of all numbers.
fn runs<T: PartialEq>(meaning: impl Fn(u32) -> T) -> Vec<(u32, T)> {
    let mut runs: Vec<(u32, T)> = Vec::new();
    for nr in 0..=NR_END {
        let meaning = meaning(nr);
        if runs.last().is_none_or(|(_, last)| *last != meaning) {
            runs.push((nr, meaning));
        }
    }
    runs
}

fn gate_of(nr: u32) -> Gate {
    gate(row(nr).map_or(Class::Refuse(libc::ENOSYS), |row| row.class))
}

fn allowed_by_number(nr: u32) -> bool {
    gate_of(nr) == Gate::Number(Trap::Allow)
}

/// What the second search finds: the gate and, where it may trace, the number that the trace carries.
///
/// Numbers that the first search lets through never come here: they stand as notified, so that runs are long.
fn further(nr: u32) -> (Gate, u32) {
    match gate_of(nr) {
        Gate::Number(Trap::Allow | Trap::Notify) => (Gate::Number(Trap::Notify), 0),
        gate => (gate, nr),
    }
}

fn low_half(arg: usize) -> u32 {
    OFFSET_ARGS + 8 * u32::try_from(arg).expect("a call has six arguments")
}

// Offsets in struct seccomp_data.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const ENOSYS: u32 = libc::ENOSYS.unsigned_abs();

const RET_KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const RET_ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = libc::SECCOMP_RET_TRACE;
const RET_ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const RET_DATA: u32 = libc::SECCOMP_RET_DATA;

#[cfg(test)]
mod tests;
