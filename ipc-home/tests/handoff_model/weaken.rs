//! Rules left out on purpose: the search must notice each. The machines stay as they are; the world around them
//! behaves as if the rule were not there.

use ipc_home::residence::Verdict;
use migration::handoff::{Ask, Event, State};

use crate::world::Warden;

/// Rules R1 to R8 of the handoff, and what leaves them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Weakening {
    /// R1: what was granted before a crash is granted again.
    EpochsAreReused,
    /// R2: home executes the calls of whoever asks.
    NobodyIsFenced,
    /// R3: home executes a repeated call again.
    RepliesAreForgotten,
    /// R4: the present seat does not stop the family before it sends what is left.
    SourceRunsOn,
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
