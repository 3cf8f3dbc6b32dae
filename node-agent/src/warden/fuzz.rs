//! Hostile bytes for wardens: what the other one says about a move, and which pages it wants.

use std::time::Duration;

use fuzzing::{choice, target};
use migration::foothold::Foothold;
use migration::handoff::{Ask, Digest};
use migration::image::{FamilyImage, Layout, ProcessImage, ThreadImage};
use migration::pages::Run;
use transport::wire::MESSAGE_BYTES_MAX;
use transport::{Epoch, KeyHash};

use super::bulk::Sent;
use super::handoff::{Clocks, ToGuest, ToHome};
use super::memory::{Fetch, Fetched, Placed};
use crate::fuzz::{all, messages};

fn family() -> FamilyImage {
    let thread =
        ThreadImage { tid: 77, xstate: vec![0; 64], pending: vec![vec![1; 128]], ..Default::default() };
    let process =
        ProcessImage { pid: 77, command: "sim".into(), threads: vec![thread], ..Default::default() };
    FamilyImage { processes: vec![process] }
}

#[test]
fn messages_about_moves() {
    let valid = || {
        let foothold = Foothold::find(&Layout::default()).unwrap();
        let lease = Duration::from_secs(120);
        let (epoch, digest) = (Epoch(2), Digest(7));
        let pages = ([10, 0, 0, 2], 7750).into();
        let sent = Sent { raw_bytes: 3, wire_bytes: 2, rounds: 1 };
        let to_guest = [
            ToGuest::Prepare { epoch, foothold, transfer: 1, pages_from: Some(KeyHash([1; 32])), lease },
            ToGuest::Context { epoch, digest, family: family(), transfer: 1 },
            ToGuest::Copy { epoch, pages, key: KeyHash([1; 32]), transfer: 2, rounds: true },
            ToGuest::Freeze { epoch, to_home: true },
            ToGuest::Thaw { former: Epoch(1), epoch },
            ToGuest::NewProgram { image: Box::new(family().processes.remove(0)), transfer: 3, digest },
            ToGuest::End { pid: 77, transfer: Some(3) },
            ToGuest::Clocks { question: 1, clocks: Clocks { monotonic_ns: -1, boottime_ns: 5 } },
        ];
        let to_home = [
            ToHome::Prepared { epoch, pages },
            ToHome::Copied { epoch, transfer: 1, sent },
            ToHome::Captured { epoch, digest, family: family(), sent },
            ToHome::ProgramFailed { transfer: 3, reason: "no".into() },
            ToHome::Refused(vec![("shmget".into(), 3)]),
            ToHome::OutOfMemory(1),
            ToHome::Failed { ask: Ask::Accept(epoch, digest), reason: "no".into() },
        ];
        let pages = Run { start: 0x5555_0000_0000, pages: 16 };
        let placed = Placed { number: 1, failure: Some("no".into()), damaged: vec![(77, vec![pages])] };
        [
            all(0, "to-guest", &to_guest),
            all(1, "to-home", &to_home),
            all(2, "fetch", &[Fetch { pid: 77, pages }]),
            all(3, "fetched", &[Fetched { pid: 77, start: pages.start }]),
            all(4, "placed", &[placed]),
        ]
        .concat()
    };
    target!("handoff").valid(valid).length_max(MESSAGE_BYTES_MAX).run(choice([
        messages::<ToGuest>(),
        messages::<ToHome>(),
        messages::<Fetch>(),
        messages::<Fetched>(),
        messages::<Placed>(),
    ]));
}
