//! The guest side before the call: one pass over the arguments, each handled as its kind says.

use super::layout::{Layout, Spot};
use super::memory::{Fault, Memory};
use super::message;
use super::request::{Place, Request};
use super::scatter::Scatter;
use super::split::Split;
use crate::syscall::classify::{arguments, classify, travels};
use crate::syscall::vocabulary::{Arg, Len};

/// A gathered call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What home needs.
    pub request: Request,
    /// The raw tail of the request.
    pub image: Vec<u8>,
    /// Where the outputs go.
    pub scatter: Scatter,
    /// Set if this is one piece of a larger call.
    pub split: Option<Split>,
}

/// A call that is not sent, because it cannot succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// The table does not send this call to home; its handler, or the filter, should have taken it.
    #[error("the call is not one that is sent to home")]
    NotForwarded,
    /// The program's memory is not there.
    #[error("a buffer of the call cannot be read")]
    Fault(#[from] Fault),
    /// A path has no NUL within the kernel's limit.
    #[error("a path is longer than 4095 bytes")]
    PathTooLong,
    /// A message does not fit the slot, and must not be cut.
    #[error("a message is longer than a slot")]
    MessageTooLong,
    /// Control messages beyond the limit.
    #[error("the control messages are longer than a slot takes")]
    ControlTooLong,
    /// The call's inputs do not fit the slot.
    #[error("the inputs of the call are longer than a slot")]
    TooLarge,
    /// A count or length that the kernel refuses, too.
    #[error("a count or length of the call is out of range")]
    Invalid,
}

impl GatherError {
    /// The (positive) errno for the program.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            GatherError::NotForwarded => libc::ENOSYS,
            GatherError::Fault(_) => libc::EFAULT,
            GatherError::PathTooLong => libc::ENAMETOOLONG,
            GatherError::MessageTooLong => libc::EMSGSIZE,
            GatherError::ControlTooLong => libc::ENOBUFS,
            GatherError::TooLarge => libc::E2BIG,
            GatherError::Invalid => libc::EINVAL,
        }
    }
}

/// Gathers a call.
///
/// # Errors
/// [`GatherError`] if the call cannot succeed; the program gets its errno.
pub fn gather(nr: u32, args: &[u64; 6], memory: &impl Memory) -> Result<Plan, GatherError> {
    gather_piece(nr, args, 0, memory)
}

/// Gathers the piece of a split call that follows its first `from` bytes; the arguments are the whole call's.
///
/// # Errors
/// As [`gather`].
pub fn gather_piece(nr: u32, args: &[u64; 6], from: u64, memory: &impl Memory) -> Result<Plan, GatherError> {
    if !travels(classify(nr, args)) {
        return Err(GatherError::NotForwarded);
    }
    let kinds = arguments(nr, args).ok_or(GatherError::NotForwarded)?;
    let mut gather = Gather::new(nr, args, from, memory);
    for (i, kind) in kinds.into_iter().enumerate() {
        gather.argument(i, kind)?;
    }
    gather.layout.finish(nr, gather.args, gather.split)
}

pub(super) struct Gather<'m, M> {
    pub(super) nr: u32,
    pub(super) from: u64,
    pub(super) memory: &'m M,
    pub(super) layout: Layout,
    /// What the program passed.
    pub(super) given: &'m [u64; 6],
    /// What home passes on.
    pub(super) args: [u64; 6],
    /// Length cells that were handled with the buffer they belong to.
    pub(super) handled: [bool; 6],
    pub(super) split: Option<Split>,
}

impl<'m, M: Memory> Gather<'m, M> {
    fn new(nr: u32, given: &'m [u64; 6], from: u64, memory: &'m M) -> Self {
        let args = *given;
        Gather { nr, from, memory, layout: Layout::default(), given, args, handled: [false; 6], split: None }
    }

    fn argument(&mut self, i: usize, kind: Arg) -> Result<(), GatherError> {
        if matches!(kind, Arg::Val | Arg::Fd | Arg::ByCommand) || self.handled[i] {
            return Ok(());
        }
        if let Arg::Out(Len::Deref(cell)) | Arg::InOut(Len::Deref(cell)) = kind {
            return self.value_result(i, cell, matches!(kind, Arg::InOut(_)));
        }
        let addr = self.given[i];
        if addr == 0 {
            return Ok(());
        }
        match kind {
            Arg::Val | Arg::Fd | Arg::ByCommand => {}
            Arg::Path => self.string(i, addr, GatherError::PathTooLong)?,
            Arg::Text => self.string(i, addr, GatherError::Invalid)?,
            Arg::Cut(len) => self.cut_string(i, addr, len as usize)?,
            Arg::Strings => self.strings(i, addr)?,
            Arg::In(len) => self.input(i, addr, len)?,
            Arg::Out(len) => self.output(i, addr, len)?,
            Arg::InOut(len) => self.in_out(i, addr, len)?,
            Arg::Timeout => self.timeout(i, addr)?,
            Arg::Remaining => self.remaining(i, addr)?,
            Arg::SigsetPair => self.sigset_pair(i, addr)?,
            Arg::IovIn(count) | Arg::IovOut(count) => {
                self.vector(i, addr, count, matches!(kind, Arg::IovIn(_)))?;
            }
            Arg::MsgIn => message::send(self, i, addr)?,
            Arg::MsgOut => message::receive(self, i, addr)?,
            Arg::MsgsIn(count) => message::send_many(self, i, addr, count)?,
            Arg::MsgsOut(count) => message::receive_many(self, i, addr, count)?,
        }
        Ok(())
    }

    /// Puts bytes into the image and lets argument `i` point to them.
    pub(super) fn put(&mut self, i: usize, bytes: &[u8]) -> Result<Spot, GatherError> {
        let spot = Spot::Image(self.layout.put(bytes)?);
        self.point(i, spot);
        Ok(spot)
    }

    /// Lets argument `i` point into the slot.
    pub(super) fn point(&mut self, i: usize, spot: Spot) {
        self.args[i] = 0;
        self.layout.point(Place::Arg(u8::try_from(i).expect("a call has six arguments")), spot);
    }

    /// Argument `i` as the `int` count it is.
    pub(super) fn count(&self, i: usize) -> Result<u64, GatherError> {
        let low = self.given[i] & u64::from(u32::MAX);
        if low > i32::MAX.unsigned_abs().into() { Err(GatherError::Invalid) } else { Ok(low) }
    }
}
