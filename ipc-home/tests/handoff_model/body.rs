//! The program of the model: it makes one call after another, and decides freely what to ask for.

use migration::handoff::Digest;

/// What the world has seen of a program, or a program of the world: the calls in their order, a bit each.
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

/// All that a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Content {
    /// What it knows.
    pub(crate) history: History,
    /// What it is waiting for.
    pub(crate) outstanding: Option<bool>,
}

impl Content {
    /// The number of the call that it is in, or makes next.
    pub(crate) fn seq(self) -> u8 {
        self.history.calls + 1
    }

    /// The call that it is in has come to an end.
    pub(crate) fn learn(&mut self, choice: bool) {
        self.history.push(choice);
        self.outstanding = None;
    }

    pub(crate) fn digest(self) -> Digest {
        let outstanding = self.outstanding.map_or(0, |choice| 1 + u64::from(choice));
        Digest(u64::from(self.history.calls) << 16 | u64::from(self.history.bits) << 8 | outstanding)
    }

    /// What is left of it when the last thing that happened to it is lost.
    pub(crate) fn damaged(mut self) -> Content {
        if self.outstanding.take().is_none() && self.history.calls > 0 {
            self.history.calls -= 1;
            self.history.bits &= (1 << self.history.calls) - 1;
        }
        self
    }

    /// An image that has arrived: here the digest is all there is of it.
    pub(crate) fn of(digest: Digest) -> Content {
        let byte = |shift: u32| u8::try_from(digest.0 >> shift & 0xff).unwrap_or(0);
        let outstanding = byte(0).checked_sub(1).map(|choice| choice == 1);
        Content { history: History { calls: byte(16), bits: byte(8) }, outstanding }
    }
}
