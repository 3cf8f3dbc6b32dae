//! What a leader does about the voters, so that they follow what is agreed on the servers: a pure function.

use std::collections::BTreeSet;

use crate::cluster::rows::Conf;

/// What a leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Its own number.
    pub(super) me: u64,
    /// Who votes and who follows.
    pub(super) conf: Conf,
    /// The servers that belong to the cluster.
    pub(super) servers: BTreeSet<u64>,
    /// Those that have nearly all of the log.
    pub(super) caught_up: BTreeSet<u64>,
    /// Those that were heard lately.
    pub(super) alive: BTreeSet<u64>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// End the change of voters that is under way.
    Leave,
    /// Change these at once.
    Change(Vec<Change>),
    /// Let this one lead.
    Yield(u64),
}

/// What becomes of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It votes.
    Voter(u64),
    /// It follows.
    Learner(u64),
    /// It does neither.
    Remove(u64),
}

/// The next step, if anything is to be done.
///
/// One, three or five servers vote, as many as there are servers for: an even number would stand no more failures and
/// make each decision dearer. A newcomer follows first and votes when it has the log. A voter that was not heard for
/// long gives its vote to a server that follows.
pub(super) fn next_step(picture: &Picture) -> Option<Step> {
    let Picture { me, conf, servers, caught_up, alive } = picture;
    if !conf.voters_outgoing.is_empty() {
        // The leader that began the change may be gone, and then nobody else ends it.
        return Some(Step::Leave);
    }
    if let Some(newcomer) = servers.iter().find(|server| !conf.names(**server)) {
        return Some(Step::Change(vec![Change::Learner(*newcomer)]));
    }
    let rank = |id: &u64| match (conf.voters.contains(id), alive.contains(id)) {
        _ if id == me => 0,
        (true, true) => 1,
        (false, true) => 2,
        (true, false) => 3,
        (false, false) => 4,
    };
    let fit =
        |id: &u64| id == me || conf.voters.contains(id) || (caught_up.contains(id) && alive.contains(id));
    let mut candidates: Vec<u64> = servers.iter().copied().filter(fit).collect();
    candidates.sort_by_key(|id| (rank(id), *id));
    let wanted = match servers.len().min(candidates.len()) {
        0 => return None,
        1 | 2 => 1,
        3 | 4 => 3,
        _ => VOTERS_MAX,
    };
    let chosen: BTreeSet<u64> = candidates.into_iter().take(wanted).collect();
    let heir =
        chosen.iter().find(|id| conf.voters.contains(id) && caught_up.contains(id) && alive.contains(id));
    if !chosen.contains(me)
        && let Some(heir) = heir
    {
        return Some(Step::Yield(*heir));
    }
    let gone = |id: &&u64| !servers.contains(id);
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(chosen.iter().filter(|id| !conf.voters.contains(id)).map(|id| Change::Voter(*id)));
    let retired = conf.voters.iter().filter(|id| !chosen.contains(id));
    changes.extend(retired.map(|id| if gone(&id) { Change::Remove(*id) } else { Change::Learner(*id) }));
    changes.extend(conf.learners.iter().filter(gone).map(|id| Change::Remove(*id)));
    (!changes.is_empty()).then_some(Step::Change(changes))
}

/// More voters make each decision slower and hardly safer.
const VOTERS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        voters: &[u64],
        learners: &[u64],
        servers: &[u64],
        lagging: &[u64],
        dead: &[u64],
        want: Option<Step>,
    ) {
        let conf = Conf { voters: voters.to_vec(), learners: learners.to_vec(), ..Conf::default() };
        let all = || voters.iter().chain(learners).copied();
        let picture = Picture {
            me: voters[0],
            conf,
            servers: servers.iter().copied().collect(),
            caught_up: all().filter(|id| !lagging.contains(id)).collect(),
            alive: all().filter(|id| !dead.contains(id)).collect(),
        };
        assert_eq!(next_step(&picture), want, "{picture:?}");
    }

    fn change(changes: &[Change]) -> Option<Step> {
        Some(Step::Change(changes.to_vec()))
    }

    #[test]
    fn newcomers_follow_first_and_vote_by_threes_and_fives() {
        use Change::{Learner, Voter};
        check(&[1], &[], &[1], &[], &[], None);
        check(&[1], &[], &[1, 2], &[], &[], change(&[Learner(2)]));
        check(&[1], &[2], &[1, 2], &[], &[], None);
        check(&[1], &[2, 3], &[1, 2, 3], &[3], &[], None);
        check(&[1], &[2, 3], &[1, 2, 3], &[], &[], change(&[Voter(2), Voter(3)]));
        check(&[1, 2, 3], &[4], &[1, 2, 3, 4], &[], &[], None);
        check(&[1, 2, 3], &[4, 5], &[1, 2, 3, 4, 5], &[], &[], change(&[Voter(4), Voter(5)]));
        check(&[1, 2, 3, 4, 5], &[6], &[1, 2, 3, 4, 5, 6], &[], &[], None);
    }

    #[test]
    fn a_dead_voter_gives_its_vote_to_a_server_that_follows() {
        use Change::{Learner, Remove, Voter};
        check(&[1, 2, 3], &[4], &[1, 2, 3, 4], &[], &[3], change(&[Voter(4), Learner(3)]));
        check(&[1, 2, 3], &[4], &[1, 2, 3, 4], &[4], &[3], None);
        check(&[1, 2, 3], &[], &[1, 2, 3], &[], &[3], None);
        check(&[1, 2, 3], &[4], &[1, 2, 4], &[], &[3], change(&[Voter(4), Remove(3)]));
    }

    #[test]
    fn two_servers_stand_no_failure_so_that_one_decides() {
        use Change::{Learner, Remove};
        check(&[1, 2, 3], &[], &[1, 2], &[], &[], change(&[Learner(2), Remove(3)]));
        check(&[1, 2, 3], &[4, 5], &[1, 2, 3, 4], &[], &[], change(&[Remove(5)]));
    }

    #[test]
    fn a_leader_that_was_removed_lets_another_lead() {
        check(&[1, 2, 3], &[], &[2, 3], &[], &[], Some(Step::Yield(2)));
        check(&[1], &[2], &[2], &[], &[], change(&[Change::Voter(2), Change::Remove(1)]));
    }

    #[test]
    fn a_change_that_is_under_way_is_ended_first() {
        let conf = Conf { voters: vec![1, 2, 3], voters_outgoing: vec![1], ..Conf::default() };
        let all: BTreeSet<u64> = [1, 2, 3, 4].into();
        let picture = Picture { me: 1, conf, servers: all.clone(), caught_up: all.clone(), alive: all };
        assert_eq!(next_step(&picture), Some(Step::Leave));
    }
}
