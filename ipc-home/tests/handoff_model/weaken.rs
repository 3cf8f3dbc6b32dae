//! Rules left out on purpose: the search must notice each. The machines stay as they are; the world around them
//! behaves as if the rule were not there.

use ipc_home::residence::Verdict;
use migration::handoff::{Ask, Event, State};

use crate::world::Warden;

/// Rules of the handoff, and what leaves them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Weakening {
    /// R1: what was granted before a crash is granted again.
    EpochsAreReused,
    /// R2: home executes the calls of whoever asks.
    NobodyIsFenced,
    /// R3: home executes a repeated call again.
    RepliesAreForgotten,
    /// R3: one thread's replies are kept where another's are.
    RepliesAreShared,
    /// R3: a reply goes to whichever thread waits.
    RepliesGoAstray,
    /// R4: the present seat does not stop the family before it sends what is left.
    SourceRunsOn,
    /// R4: it stops the first thread only.
    OneThreadRunsOn,
    /// R4: nobody looks whether what has come is what was sent.
    DamageIsAccepted,
    /// R5: a seat that goes on again keeps obeying what was said before.
    LateWordsCount,
    /// R6: a family is taken back although it has made calls.
    TakenBackAfterCalls,
    /// R6: the seat that a family leaves forgets it at the commit.
    SourceForgetsEarly,
    /// R7: a warden hears what was said to another.
    AnyIncarnationHears,
    /// R8: the call that a thread is in does not travel.
    CallsStayBehind,
    /// R9: a body lives on without its warden.
    NobodyEndsTheFamily,
    /// Post-copy: home lets the memory go once the body runs, as if it were all there.
    MemoryIsDroppedEarly,
    /// Post-copy: a body goes on to the next seat before it is whole.
    TakenWithHoles,
    /// Post-copy: a family that goes on at home after all gives its memory out still.
    MemoryIsLentWhileItChanges,
}

impl Weakening {
    pub(crate) fn misjudged(self, verdict: Verdict) -> Verdict {
        match (self, verdict) {
            (Weakening::NobodyIsFenced, Verdict::Fence) => Verdict::Execute,
            _ => verdict,
        }
    }

    /// What a warden takes an ask for.
    pub(crate) fn misheard(self, warden: &Warden, event: Event) -> Event {
        let State::Runs(present) = warden.keeper.state() else { return event };
        match (self, event) {
            (Weakening::LateWordsCount, Event::Asked(Ask::Stop(_))) => Event::Asked(Ask::Stop(present)),
            (Weakening::LateWordsCount, Event::Asked(Ask::Discard(_))) => Event::Asked(Ask::Discard(present)),
            _ => event,
        }
    }
}
