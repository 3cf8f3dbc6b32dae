//! The handoff, checked in every state that it can come to.
//!
//! The machines are those that the wardens run: home's residence and replies, the guests' keepers. Around them stand a
//! program that asks for one of two things in each call, a network that does all that a network may do, crashes, false
//! suspicion, and orders and their end at any moment.
#![allow(clippy::unwrap_used, reason = "a test")]

mod body;
mod explore;
mod happen;
mod weaken;
mod world;

use explore::{Found, Scope, explore};
use weaken::Weakening;
use world::{Budget, World};

const WHOLE: Budget =
    Budget { calls: 1, epochs: 3, guest_crashes: 1, home_crashes: 1, suspicions: 1, damages: 0 };

/// Small enough to be asked whether every family comes to an end.
const SMALL: Budget = Budget { epochs: 2, damages: 1, ..WHOLE };

const SAFETY: Scope = Scope { states_max: 20_000_000, liveness: false };
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

/// A rule is left out, and the search finds out what comes of it.
fn shows_without(budget: Budget, weakening: Weakening, scope: Scope) {
    let (wrong, way) =
        run(budget, Some(weakening), scope).violation.expect("the search misses a rule left out");
    println!("{wrong}\n  {}", way.join("\n  "));
}

#[test]
fn nothing_goes_wrong_with_one_call_and_three_epochs() {
    holds(WHOLE, SAFETY);
}

#[test]
fn every_family_comes_to_an_end() {
    holds(SMALL, LIVENESS);
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
