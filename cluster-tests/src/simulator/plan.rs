//! What goes wrong in a run, and when: drawn from its seed before it begins, each kind in some of the seeds only.

use super::random::Random;
use super::stage::Time;

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Somebody wants this family to be at this node.
    Order {
        family: usize,
        to: usize,
    },
    Kill {
        family: usize,
    },
    AgentDies(usize),
    AgentReturns(usize),
    HomeWardenDies {
        family: usize,
    },
    /// All guest wardens at a node.
    GuestWardensDie(usize),
    NodeDies(usize),
    NodeReturns(usize),
    Cut {
        from: usize,
        to: usize,
        is_cut: bool,
    },
    /// Nothing goes wrong any more.
    Heal,
    /// Every family is ordered somewhere else once more.
    LastOrder,
    /// Programs come to their end.
    Enough,
    /// Everything must be over.
    Census,
}

/// How many of what there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) families: usize,
}

/// What happens from outside, with its times.
pub(super) fn draw(random: &mut Random, size: Size, is_live: bool) -> Vec<(Time, Fault)> {
    let mut faults = Vec::new();
    let pick = |random: &mut Random, count: usize| usize::try_from(random.below(count as u64)).unwrap_or(0);
    let moment = |random: &mut Random| random.within(SECOND, TROUBLE);
    for _ in 0..random.within(3, 9) {
        let (family, to) = (pick(random, size.families), pick(random, size.nodes));
        let time = moment(random);
        faults.push((time, Fault::Order { family, to }));
        if random.in_thousand(200) {
            // Another asker, at nearly the same time.
            let to = pick(random, size.nodes);
            faults.push((time + random.below(SECOND / 2), Fault::Order { family, to }));
        }
    }
    let some = |random: &mut Random, seldom: u64, most: u64| {
        if random.in_thousand(seldom) { random.within(1, most + 1) } else { 0 }
    };
    for _ in 0..some(random, 100, 1) {
        faults.push((moment(random), Fault::Kill { family: pick(random, size.families) }));
    }
    for _ in 0..some(random, 400, 3) {
        let (node, time) = (pick(random, size.nodes), moment(random));
        faults.push((time, Fault::AgentDies(node)));
        faults.push((time + random.within(SECOND / 10, 5 * SECOND), Fault::AgentReturns(node)));
    }
    for _ in 0..some(random, 150, 1) {
        faults.push((moment(random), Fault::HomeWardenDies { family: pick(random, size.families) }));
    }
    for _ in 0..some(random, 150, 1) {
        faults.push((moment(random), Fault::GuestWardensDie(pick(random, size.nodes))));
    }
    for _ in 0..some(random, 100, 1) {
        let (node, time) = (pick(random, size.nodes), moment(random));
        faults.push((time, Fault::NodeDies(node)));
        faults.push((time + random.within(SECOND, 10 * SECOND), Fault::NodeReturns(node)));
    }
    for _ in 0..some(random, 400, 4) {
        let (from, to, time) = (pick(random, size.nodes), pick(random, size.nodes), moment(random));
        let end = time + random.within(SECOND / 5, 12 * SECOND);
        let both = random.in_thousand(500);
        for (from, to) in [(from, to), (to, from)].into_iter().take(1 + usize::from(both)) {
            faults.push((time, Fault::Cut { from, to, is_cut: true }));
            faults.push((end, Fault::Cut { from, to, is_cut: false }));
        }
    }
    if is_live {
        faults.extend([
            (HEALED, Fault::Heal),
            (HEALED + CALM + LAST_MOVE, Fault::Enough),
            (HEALED + CALM + LAST_MOVE + CALM, Fault::Census),
        ]);
        // A move would wake whoever is stuck, so not everybody is moved.
        if random.in_thousand(500) {
            faults.push((HEALED + CALM, Fault::LastOrder));
        }
    } else {
        faults.push((HEALED, Fault::Census));
    }
    faults
}

const SECOND: Time = 1_000_000;

/// Orders and faults begin before this.
const TROUBLE: Time = 25 * SECOND;

/// All is well from here on, in a run that asks for progress.
const HEALED: Time = 30 * SECOND;

/// Longer than what was begun before can take: the deadlines of every step of a move, and two leases.
const CALM: Time = 35 * SECOND;

/// What a move may take when all is well.
const LAST_MOVE: Time = 6 * SECOND;
