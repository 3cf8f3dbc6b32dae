//! Puts what the kernel wrote at home where the program wanted it.

use super::memory::Memory;
use super::request::When;
use super::vector::{Segment, cut};

/// Where each output of a request goes in the body's memory; stays at the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scatter {
    sinks: Vec<Sink>,
}

/// Where one output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sink {
    to: Vec<Segment>,
    when: When,
    ignores_faults: bool,
}

impl Sink {
    pub(super) fn new(to: Vec<Segment>, when: When) -> Sink {
        Sink { to, when, ignores_faults: false }
    }

    /// Keeps the call's result when the program's memory cannot be written.
    pub(super) fn ignore_faults(&mut self) {
        self.ignores_faults = true;
    }
}

/// Home's reply does not fit the request; the peer is broken or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// The reply ends within an output.
    #[error("the reply ends within output {output}")]
    Short {
        /// Which output of the request.
        output: usize,
    },
    /// An output is longer than the program's room for it.
    #[error("output {output} has {len} bytes, the program has room for {room}")]
    TooLong {
        /// Which output of the request.
        output: usize,
        /// Its length in bytes.
        len: u64,
        /// The program's room in bytes.
        room: u64,
    },
    /// Bytes follow the last output.
    #[error("{len} bytes follow the last output of the reply")]
    Trailing {
        /// How many.
        len: usize,
    },
}

impl Scatter {
    pub(super) fn new(sinks: Vec<Sink>) -> Scatter {
        Scatter { sinks }
    }

    /// Writes a reply's outputs and returns the result for the program: home's, or `-EFAULT` if memory was missing.
    ///
    /// # Errors
    /// [`BadReply`] if the reply does not belong to this request; what came before the flaw has been written.
    pub fn apply(&self, result: i64, reply: &[u8], memory: &impl Memory) -> Result<i64, BadReply> {
        let mut rest = reply;
        let mut faulted = false;
        for (output, sink) in self.sinks.iter().enumerate().filter(|(_, sink)| sink.when.holds(result)) {
            let short = BadReply::Short { output };
            let len = u64::from(u32::from_le_bytes(take_chunk(&mut rest).ok_or(short)?));
            let room = sink.to.iter().map(|segment| segment.len).sum();
            if len > room {
                return Err(BadReply::TooLong { output, len, room });
            }
            for segment in cut(&sink.to, 0, len) {
                let count = usize::try_from(segment.len).map_err(|_| short)?;
                let data = rest.split_off(..count).ok_or(short)?;
                let written = memory.write(segment.addr, data);
                faulted |= written.is_err() && !sink.ignores_faults;
            }
        }
        if rest.is_empty() {
            Ok(if faulted { -i64::from(libc::EFAULT) } else { result })
        } else {
            Err(BadReply::Trailing { len: rest.len() })
        }
    }
}

fn take_chunk(rest: &mut &[u8]) -> Option<[u8; 4]> {
    let (chunk, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*chunk)
}
