//! From a call with its arguments to the one thing to be done about it.

use super::commands;
use super::table::row;
use super::vocabulary::{Arg, Class, Special};

/// Where this very call runs.
///
/// Commands are looked up, so `ioctl`, `fcntl`, `prctl`, `semctl` and `msgctl` never come back as themselves, and
/// of `Itimer` and `Sleep` only `Home` or `Local` remain. Numbers without a row are refused with `ENOSYS`.
///
/// The other specials need their handler and are handed through.
#[must_use]
pub fn classify(nr: u32, args: &[u64; 6]) -> Class {
    let Some(row) = row(nr) else { return Class::Refuse(libc::ENOSYS) };
    if let Some(commands) = commands::of(row) {
        return commands.look_up(args).0;
    }
    match row.class {
        Class::Special(Special::Itimer | Special::Sleep) => where_if(gate(row.class).test(args)),
        class => class,
    }
}

/// Whether a call of this class may be sent to home and run there as it stands.
///
/// The other specials reach the deputy only through their handlers.
#[must_use]
pub fn travels(class: Class) -> bool {
    match class {
        Class::Home => true,
        Class::Local | Class::Refuse(_) => false,
        Class::Special(special) => matches!(
            special,
            Special::Exec | Special::Exit | Special::ExitGroup | Special::SigSuspend | Special::Mirror
        ),
    }
}

fn where_if(trap: Trap) -> Class {
    if trap == Trap::Allow { Class::Local } else { Class::Home }
}

/// The arguments of this very call: those of its row, the operand of a command filled in.
///
/// None for a number without a row.
#[must_use]
pub fn arguments(nr: u32, args: &[u64; 6]) -> Option<[Arg; 6]> {
    let row = row(nr)?;
    let mut out = [Arg::Val; 6];
    out[..row.args.len()].copy_from_slice(row.args);
    if let Some(commands) = commands::of(row) {
        out[commands.operand] = commands.look_up(args).1;
    }
    Some(out)
}

/// What the filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// Lets it run.
    Allow,
    /// Hands it to the guest warden's listener.
    Notify,
    /// Stops the thread for its tracer.
    Trace,
}

/// What the filter looks at to choose a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The number decides.
    Number(Trap),
    /// Some bits of the low half of an argument decide: they are as given, or not.
    Bits {
        /// Which argument.
        arg: usize,
        /// The bits.
        mask: u32,
        /// What they are compared with.
        value: u32,
        /// If they are equal.
        equal: Trap,
        /// If they are not.
        other: Trap,
    },
}

impl Gate {
    /// The trap for a call with these arguments.
    #[must_use]
    pub fn test(self, args: &[u64; 6]) -> Trap {
        match self {
            Gate::Number(trap) => trap,
            Gate::Bits { arg, mask, value, equal, other } => {
                if args[arg] & u64::from(mask) == u64::from(value) { equal } else { other }
            }
        }
    }
}

/// How the filter treats a class.
///
/// A refused call is notified too, so that the warden can count it and `homing why` can name it.
#[must_use]
pub fn gate(class: Class) -> Gate {
    let special = match class {
        Class::Local => return Gate::Number(Trap::Allow),
        Class::Home | Class::Refuse(_) => return Gate::Number(Trap::Notify),
        Class::Special(special) => special,
    };
    match special {
        // Shared memory and huge pages would tie the body to its guest.
        Special::Mmap => {
            let mask = MAP_ANONYMOUS | MAP_SHARED | MAP_HUGETLB;
            Gate::Bits { arg: 3, mask, value: MAP_ANONYMOUS, equal: Trap::Allow, other: Trap::Trace }
        }
        Special::Sleep => {
            let (mask, value) = (TIMER_ABSTIME, TIMER_ABSTIME);
            Gate::Bits { arg: 1, mask, value, equal: Trap::Allow, other: Trap::Notify }
        }
        Special::Itimer => {
            Gate::Bits { arg: 0, mask: u32::MAX, value: 0, equal: Trap::Notify, other: Trap::Allow }
        }
        Special::Clone | Special::Exec | Special::Exit | Special::ExitGroup => Gate::Number(Trap::Trace),
        Special::Mremap
        | Special::SigAction
        | Special::SigMask
        | Special::SigSuspend
        | Special::Prctl
        | Special::Ioctl
        | Special::Fcntl
        | Special::IpcControl
        | Special::Mirror => Gate::Number(Trap::Notify),
    }
}

const MAP_SHARED: u32 = 0x1;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_HUGETLB: u32 = 0x4_0000;
const TIMER_ABSTIME: u32 = 1;
