//! Bugs planted on purpose, each at the boundary of the real machines: the simulator must find them.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Home executes the calls of bodies that do not count.
    NobodyIsFenced,
    /// After its warden's death, home grants again what it has granted before.
    EpochsAreReused,
    /// The record of an epoch never reaches the disk.
    EpochIsNotRecorded,
    /// A repeated call is executed again.
    RepeatsAreExecuted,
    /// A move forgets what was replied.
    RepliesAreForgotten,
    /// One thread's replies stand where another's are.
    RepliesAreShared,
    /// A repeated call gets no answer if it was executed.
    RepliesAreSentOnce,
    /// A body makes each call heard once only.
    CallsAreSentOnce,
    /// A reply wakes another thread.
    WrongThread,
    /// The source is discarded at the commit.
    DiscardBeforeRuns,
    /// A call of the new epoch does not tell that the family runs.
    TakenBackAfterCalls,
    /// A seat does not go on again.
    GoOnIsForgotten,
    /// A body runs before home has committed.
    StartOnAccepted,
    /// A seat is stopped in words only.
    SourceRunsOn,
    /// All threads but the last one stop.
    OneThreadRunsOn,
    /// Nobody looks whether what has come is what was sent.
    DamageIsAccepted,
    /// A late stop is obeyed in whatever epoch it comes.
    LateStopIsObeyed,
    /// What was said to one warden is heard by the next one at that node.
    AnyIncarnationHears,
    /// The calls that threads are in do not travel.
    CallsStayBehind,
    /// The number of a call begins anew after a move.
    SeqRestarts,
    /// A body computes on for 1.2 of the lease.
    LeaseIsTooLong,
    /// A body out of reach never ends.
    LeaseNeverEnds,
    /// A body that was held is not let go.
    HoldIsForever,
    /// A body lives on without its warden.
    BodyOutlivesWarden,
    /// The death of any seat is taken for that of the present one.
    AnyDeathCounts,
    /// A family that is lost leaves its job running.
    LossIsSilent,
    /// A family that is lost is run at home once more.
    SecondBody,
    /// Whoever asks while a move is under way takes its asker's place.
    AskerIsForgotten,
    /// Home goes by the words of whoever has not accepted.
    CommitBeforeAccepted,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 29] = [
        Bug::NobodyIsFenced,
        Bug::EpochsAreReused,
        Bug::EpochIsNotRecorded,
        Bug::RepeatsAreExecuted,
        Bug::RepliesAreForgotten,
        Bug::RepliesAreShared,
        Bug::RepliesAreSentOnce,
        Bug::CallsAreSentOnce,
        Bug::WrongThread,
        Bug::DiscardBeforeRuns,
        Bug::TakenBackAfterCalls,
        Bug::GoOnIsForgotten,
        Bug::StartOnAccepted,
        Bug::SourceRunsOn,
        Bug::OneThreadRunsOn,
        Bug::DamageIsAccepted,
        Bug::LateStopIsObeyed,
        Bug::AnyIncarnationHears,
        Bug::CallsStayBehind,
        Bug::SeqRestarts,
        Bug::LeaseIsTooLong,
        Bug::LeaseNeverEnds,
        Bug::HoldIsForever,
        Bug::BodyOutlivesWarden,
        Bug::AnyDeathCounts,
        Bug::LossIsSilent,
        Bug::SecondBody,
        Bug::AskerIsForgotten,
        Bug::CommitBeforeAccepted,
    ];
}
