//! What a program at home writes is seen while it runs.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use migration::freeze::Frozen;
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::Changed;
use migration::tracee::Waiter;
use migration::tracking::{Phase, SharedWritten, Tracking};
use migration::watch;

/// SIGCHLD must be blocked in every thread, so there is only the main one.
fn main() {
    common::run(&TESTS);
}

const TESTS: [(&str, fn()); 1] =
    [("a_mapping_that_cannot_be_watched_keeps_no_other_from_it", beside_what_cannot_be_watched)];

/// As Java's modules are, and the cache of the C library's character sets.
fn beside_what_cannot_be_watched() {
    let mut python = with_a_file_shared_for_reading();
    let (pid, waiter) = (python.id(), Waiter::new().expect("a waiter"));
    let mut frozen = Frozen::new(pid, &waiter).expect("a frozen program");
    let area = HealingArea::find_unused(&frozen).expect("room");
    let uffd =
        watch::writes(&mut frozen, &area, &waiter).expect("a program that lives").expect("a userfaultfd");
    frozen.thaw();
    area.erase().expect("an erased area");

    let pagemap = File::open(format!("/proc/{pid}/pagemap")).expect("a pagemap");
    let mut tracking =
        Tracking::new(pagemap, Changed::Copied, Some(uffd), SharedWritten::default(), Vec::new());
    let mut look = || {
        let (layout, _) = layout::read(pid, &Side::HomeTracked).expect("a layout");
        let changes = tracking.look(&layout, Phase::Running).expect("a look");
        tracking.sent(&changes.send);
        changes.bytes()
    };
    let (all, later) = (look(), look());
    python.kill().and_then(|()| python.wait()).expect("its end");
    assert!(all >= HEAP_BYTES, "{all} bytes were found");
    assert!(later < HEAP_BYTES / 8, "{later} bytes changed in a program that waits");
}

fn with_a_file_shared_for_reading() -> Child {
    let script = format!(
        "import mmap, sys\n\
         heap = bytearray(b'x' * {HEAP_BYTES})\n\
         with open('/bin/sh', 'rb') as file: shared = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)\n\
         print('ready', flush=True)\n\
         sys.stdin.read()"
    );
    let mut command = Command::new("python3");
    let python = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("python3");
    let mut line = String::new();
    let said = python.stdout.take().expect("its output");
    BufReader::new(said).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", python.id())).expect("its mappings");
    assert!(maps.lines().any(|map| map.contains(" r--s ")), "{maps}");
    python
}

const HEAP_BYTES: u64 = 8 << 20;
