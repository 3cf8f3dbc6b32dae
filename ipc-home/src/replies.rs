//! Home's memory of one thread's calls: each is executed at most once, whatever is heard of it twice.
//!
//! One reply is all there is to keep: a thread makes its next call only once it has the answer to the last one.

/// What to do about a call that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a, R> {
    /// It was not executed: execute it.
    New,
    /// It is being executed, or waits for that.
    UnderWay,
    /// It was executed: this was the reply.
    Answered(&'a R),
    /// A later one was asked for already, so nobody waits for this one.
    Stale,
}

/// Of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replies<R> {
    /// The number of the last call; calls are numbered from 1, over all moves.
    newest: u64,
    /// What was replied to it.
    reply: Option<R>,
}

impl<R> Default for Replies<R> {
    fn default() -> Replies<R> {
        Replies { newest: 0, reply: None }
    }
}

impl<R> Replies<R> {
    /// Call number `seq` has come. Whoever executes calls tells whether it is under way: one that was begun may have
    /// been given up since, and then nothing of it was executed.
    pub fn asked(&mut self, seq: u64, is_under_way: bool) -> Asked<'_, R> {
        if seq < self.newest {
            return Asked::Stale;
        }
        if seq > self.newest {
            // The next call says that the last reply has arrived.
            (self.newest, self.reply) = (seq, None);
        }
        match &self.reply {
            Some(reply) => Asked::Answered(reply),
            None if is_under_way => Asked::UnderWay,
            None => Asked::New,
        }
    }

    /// What was replied to this call, if that is known.
    #[must_use]
    pub fn to(&self, seq: u64) -> Option<&R> {
        self.reply.as_ref().filter(|_| seq == self.newest)
    }

    /// It was executed, with this reply.
    pub fn answered(&mut self, seq: u64, reply: R) {
        if seq >= self.newest {
            (self.newest, self.reply) = (seq, Some(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_executed_once() {
        let mut replies = Replies::default();
        assert_eq!(replies.asked(1, false), Asked::New);
        assert_eq!(replies.asked(1, true), Asked::UnderWay);
        replies.answered(1, 'a');
        assert_eq!(replies.asked(1, false), Asked::Answered(&'a'));
        assert_eq!(replies.asked(2, false), Asked::New);
        assert_eq!(replies.asked(1, false), Asked::Stale);
        replies.answered(2, 'b');
        assert_eq!(replies.asked(1, false), Asked::Stale);
        assert_eq!(replies.asked(2, false), Asked::Answered(&'b'));
    }

    #[test]
    fn a_call_that_was_given_up_is_executed_when_it_comes_again() {
        let mut replies = Replies::<char>::default();
        assert_eq!(replies.asked(1, false), Asked::New);
        assert_eq!(replies.asked(1, false), Asked::New);
    }

    #[test]
    fn a_late_reply_is_not_the_one_to_a_later_call() {
        let mut replies = Replies::default();
        assert_eq!(replies.asked(2, false), Asked::New);
        replies.answered(1, 'a');
        assert_eq!(replies.to(1), None);
        assert_eq!(replies.asked(2, false), Asked::New);
    }
}
