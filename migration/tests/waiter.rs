//! News that nobody was waiting for, and what becomes of it.

mod common;

use std::process::Command;

use migration::landing::HealingArea;
use migration::remote::Remote;
use migration::sys::ptrace::{OPTIONS, Resume};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Running, TraceError, Waiter};

/// SIGCHLD must be blocked in every thread, so there is only the main one.
fn main() {
    common::run(&TESTS);
}

const TESTS: [(&str, fn()); 2] = [
    ("an_end_that_was_met_while_waiting_for_a_stop_is_told_to_whoever_looks_at_everything", an_end),
    ("a_stop_signal_outlasts_the_calls_that_it_came_among", a_stop),
];

fn an_end() {
    let waiter = Waiter::new().expect("a waiter");
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep");
    let task = Running::seize(sleeper.id(), OPTIONS).expect("a tracee");
    sleeper.kill().expect("a kill");
    let tid = task.tid();
    assert_eq!(waiter.next(task), Err(TraceError::Died(tid)));
    assert!(waiter.has_missed());
    assert_eq!(waiter.any(), Ok(Some((tid, Event::Killed(libc::SIGKILL)))));
    assert_eq!(waiter.any(), Ok(None));
    assert!(!waiter.has_missed());
    // The report was its parent's, too.
    assert!(sleeper.wait().is_err());
}

fn a_stop() {
    let waiter = Waiter::new().expect("a waiter");
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("sleep");
    let tid = sleeper.id();
    // Its program must have begun, or there is no page of it yet.
    let sleeps = || {
        let call = std::fs::read_to_string(format!("/proc/{tid}/syscall")).unwrap_or_default();
        call.split(' ').next() == Some(&libc::SYS_clock_nanosleep.to_string())
    };
    while !sleeps() {
        std::thread::yield_now();
    }
    let task = Running::seize(tid, OPTIONS).expect("a tracee");
    task.interrupt().expect("an interrupt");
    let (task, event) = waiter.next(task).expect("a stop");
    assert_eq!(event, Event::Stop(libc::SIGTRAP));
    let area = HealingArea::find(tid).expect("room");
    let mut remote = Remote::healing(&waiter, task, &area).expect("a thread");
    signal::tkill(tid, libc::SIGSTOP).expect("a signal");
    for _ in 0..3 {
        assert_eq!(remote.call(libc::SYS_getpid, [0; 6]), Ok(Ok(u64::from(tid))));
    }
    let task = remote.leave().expect("the thread").resume(Resume::Cont, 0).expect("a resumption");
    let (task, event) = waiter.next(task).expect("a stop");
    assert_eq!((task.tid(), event), (tid, Event::Signal(libc::SIGSTOP)));
    sleeper.kill().expect("a kill");
    assert_eq!(waiter.next(Running::attached(tid)), Err(TraceError::Died(tid)));
    assert!(sleeper.wait().is_err());
}
