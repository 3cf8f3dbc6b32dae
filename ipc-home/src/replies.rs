//! Home's memory of one thread's calls: each is executed at most once, whatever is heard of it twice.
//!
//! One reply is all there is to keep: a thread makes its next call only once it has the answer to the last one.

/// What to do about a call that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a, R> {
    /// It was never heard of: execute it.
    New,
    /// It is being executed.
    UnderWay,
    /// It was executed: this was the reply.
    Answered(&'a R),
    /// A later one was executed already, so nobody waits for this one.
    Stale,
}

/// Of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replies<R> {
    last: Option<(u64, R)>,
    under_way: Option<u64>,
}

impl<R> Default for Replies<R> {
    fn default() -> Replies<R> {
        Replies { last: None, under_way: None }
    }
}

impl<R> Replies<R> {
    /// Call number `seq` has come; calls are numbered from 1, over all moves.
    pub fn asked(&mut self, seq: u64) -> Asked<'_, R> {
        if self.under_way == Some(seq) {
            return Asked::UnderWay;
        }
        let newest = self.under_way.max(self.last.as_ref().map(|(last, _)| *last)).unwrap_or(0);
        if seq > newest {
            self.under_way = Some(seq);
            return Asked::New;
        }
        match &self.last {
            Some((last, reply)) if *last == seq => Asked::Answered(reply),
            _ => Asked::Stale,
        }
    }

    /// It was executed, with this reply.
    pub fn answered(&mut self, seq: u64, reply: R) {
        if self.under_way == Some(seq) {
            self.under_way = None;
        }
        self.last = Some((seq, reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_executed_once() {
        let mut replies = Replies::default();
        assert_eq!(replies.asked(1), Asked::New);
        assert_eq!(replies.asked(1), Asked::UnderWay);
        replies.answered(1, 'a');
        assert_eq!(replies.asked(1), Asked::Answered(&'a'));
        assert_eq!(replies.asked(2), Asked::New);
        assert_eq!(replies.asked(1), Asked::Answered(&'a'));
        replies.answered(2, 'b');
        assert_eq!(replies.asked(1), Asked::Stale);
        assert_eq!(replies.asked(2), Asked::Answered(&'b'));
    }
}
