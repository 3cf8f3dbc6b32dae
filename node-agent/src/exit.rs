//! What `homing` says to the shell when it ends, and how it says what went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Every exit code that `homing` itself gives. A program started by `run` replaces `homing`, so its own code is
/// never translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed; the reason is on standard error.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such process or node.
    NotFound = 3,
    /// Not allowed.
    NotAllowed = 4,
    /// The agent cannot be reached.
    NoAgent = 5,
    /// The process cannot move now; `homing why` explains.
    Refused = 6,
    /// Still under way when `--timeout` ended.
    UnderWay = 7,
    /// The other side is too old or too new.
    Version = 8,
    /// `run`: our error, before the program started.
    NotStarted = 125,
    /// `run`: the program is there but cannot be executed.
    NotExecutable = 126,
    /// `run`: no such program.
    CommandNotFound = 127,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

/// Why a verb did not do what was asked: what failed and where, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How the command ends.
    pub code: ExitCode,
    /// What failed, and where.
    pub what: String,
    /// The reasons, the weightiest first.
    pub why: Vec<String>,
    /// What to do next, if something can be done.
    pub next: Option<String>,
}

impl Failure {
    /// Says what failed and where, with one reason.
    #[must_use]
    pub fn new(code: ExitCode, what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure { code, what: what.into(), why: vec![why.to_string()], next: None }
    }

    /// Says what failed and where, for an error with its whole chain of causes.
    #[must_use]
    pub fn from_error(code: ExitCode, what: impl Into<String>, error: &dyn std::error::Error) -> Failure {
        Failure::new(code, what, chain(error))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match self.why.as_slice() {
            [] => {}
            [only] => write!(f, ": {only}")?,
            several => several.iter().try_for_each(|reason| write!(f, "\n  - {reason}"))?,
        }
        self.next.iter().try_for_each(|next| write!(f, "\n  next: {next}"))
    }
}

impl std::error::Error for Failure {}

/// An error with its causes in one line, a cause left out where the text before it already says it.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The status of a job whose body was lost with its node or warden: EX_TEMPFAIL of sysexits.h, "try again".
pub const JOB_LOST: i32 = 75;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_manual() {
        for (code, number) in [
            (ExitCode::Done, 0),
            (ExitCode::Failed, 1),
            (ExitCode::Usage, 2),
            (ExitCode::NotFound, 3),
            (ExitCode::NotAllowed, 4),
            (ExitCode::NoAgent, 5),
            (ExitCode::Refused, 6),
            (ExitCode::UnderWay, 7),
            (ExitCode::Version, 8),
            (ExitCode::NotStarted, 125),
            (ExitCode::NotExecutable, 126),
            (ExitCode::CommandNotFound, 127),
        ] {
            assert_eq!(code as u8, number, "{code:?}");
        }
    }

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let one =
            Failure::new(ExitCode::NotFound, "cannot move 7", "alpha has no process 7").next("homing ps");
        assert_eq!(one.to_string(), "cannot move 7: alpha has no process 7\n  next: homing ps");
        let two = Failure { why: vec!["a".into(), "b".into()], ..one };
        assert_eq!(two.to_string(), "cannot move 7\n  - a\n  - b\n  next: homing ps");
    }
}
