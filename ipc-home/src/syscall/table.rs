//! **The** table: every x86_64 system call, one row each.
//!
//! The filter, the marshalling, the names in the dashboard and the coverage table all derive from it. A row that is
//! missing, doubled, out of order or that names an argument it does not have stops the compilation, each with its
//! own sentence.

use super::vocabulary::{ARG_COUNT, Arg, Class, Len, Row};

mod from_0;
mod from_100;
mod from_200;
mod from_300;

/// Numbers at and above this have no row: a newer libc gets `ENOSYS` and falls back by itself.
pub const NR_END: u32 = 470;

/// Numbers the kernel keeps free on x86_64: from the first one to the one before the second.
pub const NR_GAP: (u32, u32) = (337, 424);

/// The row of a number; none in the gap and above the table.
#[must_use]
pub fn row(nr: u32) -> Option<&'static Row> {
    INDEX.get(nr as usize).copied().flatten()
}

/// All rows in the order of their numbers.
pub fn calls() -> impl Iterator<Item = &'static Row> {
    INDEX.iter().copied().flatten()
}

/// Writes rows as `number name class, [arguments];`.
macro_rules! rows {
    ($($nr:literal $name:ident $class:expr, [$($arg:expr),*];)*) => {
        pub(super) const ROWS: &[$crate::syscall::vocabulary::Row] = {
            #[allow(unused_imports, reason = "not every block of rows uses every word")]
            use $crate::syscall::vocabulary::{Arg::*, Class::*, Len::*, Special::*};
            #[allow(unused_imports, reason = "not every block of rows refuses in both ways")]
            use libc::{ENOSYS, EPERM};
            &[$($crate::syscall::vocabulary::Row {
                nr: $nr,
                name: stringify!($name),
                class: $class,
                args: &[$($arg),*],
            }),*]
        };
    };
}
use rows;

const PARTS: [&[Row]; 4] = [from_0::ROWS, from_100::ROWS, from_200::ROWS, from_300::ROWS];

static INDEX: [Option<&'static Row>; NR_END as usize] = index(&PARTS);

const _: () = assert!(INDEX_IS_FULL, "a number outside the gap has no row");

const INDEX_IS_FULL: bool = {
    let index = index(&PARTS);
    let mut nr = 0;
    let mut full = true;
    while nr < NR_END {
        let in_gap = NR_GAP.0 <= nr && nr < NR_GAP.1;
        full &= index[nr as usize].is_some() != in_gap;
        nr += 1;
    }
    full
};

const fn index(parts: &[&'static [Row]]) -> [Option<&'static Row>; NR_END as usize] {
    let mut index: [Option<&'static Row>; NR_END as usize] = [None; NR_END as usize];
    let mut next = 0;
    let mut part = 0;
    while part < parts.len() {
        let mut at = 0;
        while at < parts[part].len() {
            let row = &parts[part][at];
            check(row);
            assert!(row.nr < NR_END, "a row lies above the end of the table");
            assert!(index[row.nr as usize].is_none(), "two rows have the same number");
            assert!(row.nr >= next, "rows are not sorted by number");
            index[row.nr as usize] = Some(row);
            next = row.nr + 1;
            at += 1;
        }
        part += 1;
    }
    index
}

const fn check(row: &Row) {
    assert!(row.args.len() <= ARG_COUNT, "a row has more than six arguments");
    match row.class {
        Class::Local => assert!(row.args.is_empty(), "a local call has arguments, but nothing of it travels"),
        Class::Refuse(errno) => {
            assert!(row.args.is_empty(), "a refused call has arguments, but nothing of it travels");
            assert!(errno > 0, "an errno is written as a positive number");
        }
        Class::Home | Class::Special(_) => {}
    }
    let mut at = 0;
    while at < row.args.len() {
        match row.args[at] {
            Arg::In(len) | Arg::Out(len) | Arg::InOut(len) => check_length(row, len),
            Arg::IovIn(count) | Arg::IovOut(count) | Arg::MsgsIn(count) | Arg::MsgsOut(count) => {
                check_number(row, count);
            }
            Arg::ByCommand => {
                assert!(matches!(row.class, Class::Special(_)), "only a special call has commands")
            }
            Arg::Val
            | Arg::Fd
            | Arg::Path
            | Arg::Text
            | Arg::Cut(_)
            | Arg::Strings
            | Arg::MsgIn
            | Arg::MsgOut
            | Arg::Timeout
            | Arg::Remaining
            | Arg::SigsetPair => {}
        }
        at += 1;
    }
}

const fn check_length(row: &Row, len: Len) {
    match len {
        Len::Bytes(_) | Len::Handle => {}
        Len::Arg(i) | Len::Items(i, _) | Len::Bits(i) | Len::Mail(i) | Len::BytesUnless(_, i, _) => {
            check_number(row, i);
        }
        Len::Deref(i) => {
            assert!(i < row.args.len(), "a length names an argument that the call does not have");
            assert!(
                matches!(row.args[i], Arg::InOut(Len::Bytes(4))),
                "a value-result length must point to a cell of four bytes"
            );
        }
    }
}

const fn check_number(row: &Row, i: usize) {
    assert!(i < row.args.len(), "a length names an argument that the call does not have");
    assert!(matches!(row.args[i], Arg::Val), "a length names an argument that is no number");
}

#[cfg(test)]
mod tests;
