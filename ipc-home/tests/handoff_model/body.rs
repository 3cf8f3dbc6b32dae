//! The program of the model: each thread makes one call after another, and decides freely what to ask for.

use migration::handoff::Digest;

/// What the world has seen of a thread, or a thread of the world: the calls in their order, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct History {
    pub(crate) calls: u8,
    bits: u8,
}

impl History {
    pub(crate) fn push(&mut self, choice: bool) {
        self.bits |= u8::from(choice) << self.calls;
        self.calls += 1;
    }

    /// Of call number `seq`, from 1.
    pub(crate) fn choice(self, seq: u8) -> Option<bool> {
        (1..=self.calls).contains(&seq).then(|| self.bits >> (seq - 1) & 1 == 1)
    }
}

/// All that a thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Thread {
    /// What it knows.
    pub(crate) history: History,
    /// What it is waiting for.
    pub(crate) outstanding: Option<bool>,
}

impl Thread {
    /// The number of the call that it is in, or makes next.
    pub(crate) fn seq(self) -> u8 {
        self.history.calls + 1
    }

    /// The call that it is in has come to an end.
    pub(crate) fn learn(&mut self, choice: bool) {
        self.history.push(choice);
        self.outstanding = None;
    }

    /// Whether it can be the one that `log` tells of: at most the end of its call has not reached it yet.
    pub(crate) fn agrees_with(mut self, log: History) -> bool {
        if let Some(choice) = self.outstanding
            && self.history.calls < log.calls
        {
            self.learn(choice);
        }
        self.history == log
    }

    /// What is left of it when the last thing that happened to it is lost.
    fn damaged(mut self) -> Thread {
        if self.outstanding.take().is_none() && self.history.calls > 0 {
            self.history.calls -= 1;
            self.history.bits &= (1 << self.history.calls) - 1;
        }
        self
    }
}

/// All that a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Content {
    pub(crate) threads: [Thread; THREADS_MAX],
}

impl Content {
    pub(crate) fn digest(self) -> Digest {
        let packed = self.threads.iter().fold(0, |packed, Thread { history, outstanding }| {
            let outstanding = outstanding.map_or(0, |choice| 1 + u64::from(choice));
            packed << 24 | u64::from(history.calls) << 16 | u64::from(history.bits) << 8 | outstanding
        });
        Digest(packed)
    }

    /// An image that has arrived: here the digest is all there is of it.
    pub(crate) fn of(digest: Digest) -> Content {
        let mut packed = digest.0;
        let mut take = || {
            let byte = u8::try_from(packed & 0xff).unwrap_or(0);
            packed >>= 8;
            byte
        };
        let mut content = Content::default();
        for thread in content.threads.iter_mut().rev() {
            thread.outstanding = take().checked_sub(1).map(|choice| choice == 1);
            thread.history.bits = take();
            thread.history.calls = take();
        }
        content
    }

    pub(crate) fn damaged(mut self) -> Content {
        self.threads = self.threads.map(Thread::damaged);
        self
    }

    /// What is left of it where its memory reads as zeros: registers hold the call that a thread is in.
    pub(crate) fn hollow(mut self) -> Content {
        for thread in &mut self.threads {
            thread.history = History::default();
        }
        self
    }
}

/// Of one family.
pub(crate) const THREADS_MAX: usize = 2;
