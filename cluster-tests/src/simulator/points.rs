//! Named points in the simulated wardens and agents at which something may fail: seldom, and only where a seed says so.
//! Every one of them must have been hit in a test run.

use migration::handoff::Ask;

use super::random::Random;

/// Where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The record cannot be written.
    RecordFails,
    /// The record takes longer than anybody waits.
    RecordIsSlow,
    /// Hands cannot do what they are told.
    HandsFail,
    /// Hands take longer than anybody waits.
    HandsAreSlow,
    /// An image changes on its way.
    ImageIsDamaged,
    /// A call takes long at home.
    CallBlocks,
    /// The target's agent takes no family.
    PlaceIsRefused,
    /// An agent dies when it has placed a warden.
    AgentDiesAfterPlace,
    /// An agent dies when it has told the home warden to move.
    AgentDiesAfterMove,
    /// The home warden dies before it asks for this.
    HomeDiesBefore(Deed),
    /// The home warden dies when it has asked for this.
    HomeDiesAfter(Deed),
    /// A guest warden dies before it does this; `Discard` is its end anyway.
    GuestDiesBefore(Deed),
    /// A guest warden dies when it has done this.
    GuestDiesAfter(Deed),
}

/// What is asked for, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Make room.
    Prepare,
    /// Send memory.
    Copy,
    /// Stop.
    Stop,
    /// Send the rest.
    Take,
    /// Put together.
    Accept,
    /// Run.
    Start,
    /// Go on.
    GoOn,
    /// End.
    Discard,
}

impl Deed {
    pub(super) fn of(ask: Ask) -> Deed {
        match ask {
            Ask::Prepare(_) => Deed::Prepare,
            Ask::Copy(_) => Deed::Copy,
            Ask::Stop(_) => Deed::Stop,
            Ask::Take(_) => Deed::Take,
            Ask::Accept(..) => Deed::Accept,
            Ask::Start(_) => Deed::Start,
            Ask::GoOn { .. } => Deed::GoOn,
            Ask::Discard(_) => Deed::Discard,
        }
    }
}

impl Point {
    /// How many there are.
    pub const COUNT: usize = 9 + 2 * 8 + 2 * 7;

    fn number(self) -> usize {
        match self {
            Point::RecordFails => 0,
            Point::RecordIsSlow => 1,
            Point::HandsFail => 2,
            Point::HandsAreSlow => 3,
            Point::ImageIsDamaged => 4,
            Point::CallBlocks => 5,
            Point::PlaceIsRefused => 6,
            Point::AgentDiesAfterPlace => 7,
            Point::AgentDiesAfterMove => 8,
            Point::HomeDiesBefore(deed) => 9 + deed as usize,
            Point::HomeDiesAfter(deed) => 17 + deed as usize,
            Point::GuestDiesBefore(deed) => 25 + deed as usize,
            Point::GuestDiesAfter(deed) => 32 + deed as usize,
        }
    }
}

/// How often each was hit.
#[derive(Clone, Debug)]
pub(super) struct Points {
    /// Of a thousand passes, so many fail; 0 for most points of a seed.
    chances: [u64; Point::COUNT],
    pub(super) hits: [u64; Point::COUNT],
}

impl Points {
    /// A seed opens a quarter of them, and half of the seeds none.
    pub(super) fn new(random: &mut Random) -> Points {
        let mut chances = [0; Point::COUNT];
        if random.in_thousand(500) {
            chances.fill_with(|| if random.in_thousand(250) { random.within(10, 250) } else { 0 });
        }
        Points { chances, hits: [0; Point::COUNT] }
    }

    pub(super) fn close(&mut self) {
        self.chances = [0; Point::COUNT];
    }

    pub(super) fn hit(&mut self, point: Point, random: &mut Random) -> bool {
        let number = point.number();
        let is_hit = self.chances[number] > 0 && random.in_thousand(self.chances[number]);
        self.hits[number] += u64::from(is_hit);
        is_hit
    }
}
