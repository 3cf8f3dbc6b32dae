//! The handoff, checked in every state that it can come to.
//!
//! The machines are those that the wardens run: home's residence and replies, the guests' keepers. Around them stand a
//! program that asks for one of two things in each call, a network that does all that a network may do, crashes, false
//! suspicion, and orders and their end at any moment. Variants have two threads, let a body run before its memory is
//! there, and let hands take their time.
#![allow(clippy::unwrap_used, reason = "a test")]

mod body;
mod check;
mod coverage;
mod explore;
mod happen;
mod home;
mod weaken;
mod world;

use explore::{Found, Scope, explore};
use weaken::Weakening;
use world::{Budget, World};

const WHOLE: Budget = Budget {
    threads: 1,
    calls: 1,
    epochs: 3,
    guest_crashes: 1,
    home_crashes: 1,
    suspicions: 1,
    damages: 0,
    failures: None,
    is_postcopy: false,
};

/// Small enough to be asked whether every family comes to an end.
const SMALL: Budget = Budget { epochs: 2, damages: 1, ..WHOLE };

const THREADS: Budget = Budget { threads: 2, epochs: 2, suspicions: 0, ..WHOLE };

const POSTCOPY: Budget = Budget { calls: 2, epochs: 2, is_postcopy: true, ..WHOLE };

/// Hands and disks take time, and one of their deeds fails.
const SLOW: Budget =
    Budget { calls: 0, epochs: 2, guest_crashes: 0, home_crashes: 0, failures: Some(1), ..WHOLE };

const SLOW_CALL: Budget = Budget { calls: 1, epochs: 1, ..SLOW };

const SAFETY: Scope = Scope { states_max: 20_000_000, liveness: false };
/// For variants that are not looked at as a whole.
const BOUNDED: Scope = Scope { states_max: 40_000, liveness: false };
const LIVENESS: Scope = Scope { states_max: 20_000_000, liveness: true };

fn run(budget: Budget, weakening: Option<Weakening>, scope: Scope) -> Found {
    let found = explore(&World::new(budget, weakening), scope);
    let Found { states, transitions, depth, is_whole, .. } = found;
    println!(
        "{budget:?} without {weakening:?}: {states} states, {transitions} transitions, depth {depth}, all: {is_whole}"
    );
    found
}

fn holds(budget: Budget, scope: Scope) {
    let found = run(budget, None, scope);
    if let Some((wrong, way)) = found.violation {
        panic!("{wrong}\n{}", way.join("\n"));
    }
    assert!(found.is_whole);
}

/// In as many states as the scope says.
fn holds_so_far(budget: Budget, scope: Scope) {
    let found = run(budget, None, scope);
    if let Some((wrong, way)) = found.violation {
        panic!("{wrong}\n{}", way.join("\n"));
    }
    assert!(found.is_whole || found.states > scope.states_max);
}

/// A rule is left out, and the search finds out what comes of it.
fn shows_without(budget: Budget, weakening: Weakening, scope: Scope) {
    let (wrong, way) =
        run(budget, Some(weakening), scope).violation.expect("the search misses a rule left out");
    println!("{wrong}\n  {}", way.join("\n  "));
}

#[test]
fn nothing_goes_wrong_with_one_call_and_three_epochs_and_every_pair_of_state_and_event_is_known() {
    holds(WHOLE, SAFETY);
    holds_so_far(SLOW, BOUNDED);
    holds_so_far(SLOW_CALL, BOUNDED);
    coverage::check();
}

#[test]
fn every_family_comes_to_an_end() {
    holds(SMALL, LIVENESS);
}

#[test]
fn two_threads_each_have_their_calls() {
    holds(THREADS, SAFETY);
}

#[test]
fn postcopy_holds() {
    holds(POSTCOPY, SAFETY);
}

#[test]
fn epochs_are_never_reused() {
    shows_without(WHOLE, Weakening::EpochsAreReused, SAFETY);
}

#[test]
fn bodies_that_do_not_count_are_fenced() {
    shows_without(WHOLE, Weakening::NobodyIsFenced, SAFETY);
}

#[test]
fn replies_are_kept() {
    shows_without(WHOLE, Weakening::RepliesAreForgotten, SAFETY);
}

#[test]
fn the_source_stands_still() {
    shows_without(WHOLE, Weakening::SourceRunsOn, SAFETY);
}

#[test]
fn what_has_come_is_compared_with_what_was_sent() {
    shows_without(SMALL, Weakening::DamageIsAccepted, SAFETY);
}

#[test]
fn going_on_takes_a_new_epoch() {
    shows_without(SMALL, Weakening::LateWordsCount, LIVENESS);
}

#[test]
fn nothing_is_taken_back_after_a_call() {
    shows_without(WHOLE, Weakening::TakenBackAfterCalls, SAFETY);
}

#[test]
fn the_source_waits_until_the_family_has_begun() {
    shows_without(SMALL, Weakening::SourceForgetsEarly, LIVENESS);
}

#[test]
fn each_life_of_a_warden_is_another() {
    shows_without(WHOLE, Weakening::AnyIncarnationHears, SAFETY);
}

#[test]
fn calls_under_way_travel() {
    shows_without(WHOLE, Weakening::CallsStayBehind, SAFETY);
}

#[test]
fn each_thread_has_replies_of_its_own() {
    shows_without(THREADS, Weakening::RepliesAreShared, SAFETY);
}

#[test]
fn a_reply_finds_its_thread() {
    shows_without(THREADS, Weakening::RepliesGoAstray, SAFETY);
}

#[test]
fn every_thread_stands_still() {
    shows_without(THREADS, Weakening::OneThreadRunsOn, SAFETY);
}

#[test]
fn no_body_outlives_its_warden() {
    shows_without(POSTCOPY, Weakening::NobodyEndsTheFamily, SAFETY);
}

#[test]
fn home_keeps_the_memory_until_all_of_it_is_there() {
    shows_without(POSTCOPY, Weakening::MemoryIsDroppedEarly, SAFETY);
}

#[test]
fn only_what_is_whole_goes_on_to_the_next_seat() {
    shows_without(POSTCOPY, Weakening::TakenWithHoles, SAFETY);
}

#[test]
fn memory_that_changes_is_not_lent() {
    shows_without(POSTCOPY, Weakening::MemoryIsLentWhileItChanges, SAFETY);
}
