//! The simulated program: threads that compute, make a call, learn its reply, and so on until a reply says that it is over.
//!
//! What a thread asks for is chosen freely each time, so that two bodies that were one do not stay alike.

use migration::handoff::Digest;

use super::random::mix;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reply {
    pub(super) value: u64,
    /// The thread makes no other call.
    pub(super) is_last: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Thread {
    /// Calls that have come to an end.
    pub(super) calls: u64,
    /// Stands for all of them.
    pub(super) history: u64,
    /// What it waits for.
    pub(super) outstanding: Option<u64>,
    pub(super) is_over: bool,
}

impl Thread {
    /// The number of the call that it is in, or makes next.
    pub(super) fn seq(&self) -> u64 {
        self.calls + 1
    }

    /// The call of this number has ended; true if it was waiting for that.
    pub(super) fn learn(&mut self, seq: u64, reply: Reply) -> bool {
        let Some(asked) = self.outstanding.filter(|_| self.seq() == seq) else { return false };
        self.calls += 1;
        self.history = mix(self.history, asked);
        self.outstanding = None;
        self.is_over = reply.is_last;
        true
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Body {
    pub(super) threads: Vec<Thread>,
}

impl Body {
    pub(super) fn new(threads: usize) -> Body {
        Body { threads: vec![Thread::default(); threads] }
    }

    pub(super) fn digest(&self) -> Digest {
        let of_thread = |digest, thread: &Thread| {
            let outstanding = thread.outstanding.map_or(0, |asked| mix(asked, 1));
            mix(mix(digest, thread.calls), mix(thread.history, outstanding ^ u64::from(thread.is_over)))
        };
        Digest(self.threads.iter().fold(7, of_thread))
    }
}
