//! The second tables: calls that are many calls, keyed by a command among their arguments.

use super::vocabulary::{Arg, Class, Command, Row, Special};

mod fcntl;
mod ioctl;
mod ipc;
mod prctl;

/// How one call looks up its command.
#[derive(Debug)]
pub struct Commands {
    /// The argument that holds the command.
    pub key: usize,
    /// The argument whose meaning depends on it.
    pub operand: usize,
    /// The (positive) errno for a command without a row, the kernel's own for one it does not know.
    pub unknown: i32,
    table: &'static [Command],
    guess: fn(u32) -> Option<Arg>,
}

impl Commands {
    /// The class of a command and what its operand is.
    #[must_use]
    pub fn look_up(&self, args: &[u64; 6]) -> (Class, Arg) {
        let code = low(args[self.key]);
        match self.table.binary_search_by_key(&code, |command| command.code) {
            Ok(at) => (self.table[at].class, self.table[at].arg),
            Err(_) => match (self.guess)(code) {
                Some(arg) => (Class::Home, arg),
                None => (Class::Refuse(self.unknown), Arg::Val),
            },
        }
    }

    /// The kernel's name of a command, where its table has a row.
    #[must_use]
    pub fn name(&self, code: u32) -> Option<&'static str> {
        let at = self.table.binary_search_by_key(&code, |command| command.code).ok()?;
        Some(self.table[at].name)
    }
}

/// The commands of a row, for a call that has them.
#[must_use]
pub fn of(row: &Row) -> Option<&'static Commands> {
    match (row.class, row.name) {
        (Class::Special(Special::Ioctl), _) => Some(&IOCTL),
        (Class::Special(Special::Fcntl), _) => Some(&FCNTL),
        (Class::Special(Special::Prctl), _) => Some(&PRCTL),
        (Class::Special(Special::IpcControl), "semctl") => Some(&SEMCTL),
        (Class::Special(Special::IpcControl), _) => Some(&MSGCTL),
        _ => None,
    }
}

static IOCTL: Commands =
    Commands { key: 1, operand: 2, unknown: libc::ENOTTY, table: ioctl::COMMANDS, guess: ioctl::by_encoding };
static FCNTL: Commands =
    Commands { key: 1, operand: 2, unknown: libc::EINVAL, table: fcntl::COMMANDS, guess: never };
static PRCTL: Commands =
    Commands { key: 0, operand: 1, unknown: libc::EINVAL, table: prctl::COMMANDS, guess: never };
static SEMCTL: Commands =
    Commands { key: 2, operand: 3, unknown: libc::EINVAL, table: ipc::SEMCTL, guess: never };
static MSGCTL: Commands =
    Commands { key: 1, operand: 2, unknown: libc::EINVAL, table: ipc::MSGCTL, guess: never };

/// Writes a table of commands as `code name class, argument;`.
macro_rules! commands {
    ($table:ident: $($code:literal $name:ident $class:expr, $arg:expr;)*) => {
        pub(super) const $table: &[$crate::syscall::vocabulary::Command] = {
            #[allow(unused_imports, reason = "not every table of commands uses every word")]
            use $crate::syscall::vocabulary::{Arg::*, Class::*, Len::*, Special::*};
            #[allow(unused_imports, reason = "not every table of commands refuses in every way")]
            use libc::{EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP, EPERM};
            &[$($crate::syscall::vocabulary::Command {
                code: $code,
                name: stringify!($name),
                class: $class,
                arg: $arg,
            }),*]
        };
        const _: () = $crate::syscall::commands::check($table);
    };
}
use commands;

const fn check(table: &[Command]) {
    let mut at = 1;
    while at < table.len() {
        assert!(
            table[at - 1].code < table[at].code,
            "commands are not sorted by code, or one is listed twice"
        );
        at += 1;
    }
}

/// The kernel takes commands as `unsigned int`.
#[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
fn low(arg: u64) -> u32 {
    arg as u32
}

fn never(_: u32) -> Option<Arg> {
    None
}
